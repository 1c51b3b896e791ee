"""Writes reach the disk before they take their name: the order of flushes and renames, as the system is asked for them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fitkit.errors import FitkitError
from fitkit.io import atomic_files
from fitkit.io.atomic_files import clear_abandoned, is_locked, whole_folder, workplace, write_bytes


@pytest.fixture
def asked(monkeypatch):
    """What the system is asked, in order: ("flush", inode) and ("rename", inode of what is renamed)."""
    events, fsync = [], os.fsync

    def flush(descriptor):
        events.append(("flush", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renaming(real):
        def rename(source, target):
            events.append(("rename", os.stat(source).st_ino))
            real(source, target)
        return rename

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "rename", renaming(os.rename))
    monkeypatch.setattr(os, "replace", renaming(os.replace))
    return events


@pytest.mark.skipif(os.name == "nt", reason="directories cannot be flushed there")
def test_a_file_is_flushed_then_renamed_then_its_folder_flushed(tmp_path, asked):
    path = write_bytes(tmp_path / "a", b"new")
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert asked == [("flush", file), ("rename", file), ("flush", folder)]


@pytest.mark.skipif(os.name == "nt", reason="directories cannot be flushed there")
def test_a_folder_is_flushed_with_its_files_then_renamed(tmp_path, asked):
    with whole_folder(tmp_path / "result") as folder:
        write_bytes(folder / "a", b"1")
    folder, file = (tmp_path / "result").stat().st_ino, (tmp_path / "result" / "a").stat().st_ino
    moved = asked.index(("rename", folder))
    assert {("flush", file), ("flush", folder)} <= set(asked[:moved])
    assert asked[moved + 1:] == [("flush", tmp_path.stat().st_ino)]


@pytest.mark.parametrize("exchanges", [True, False])
def test_replacing_leaves_one_of_both_at_any_moment(tmp_path, monkeypatch, exchanges):
    """Whatever rename fails: the old folder or the new one is there, whole."""
    if not exchanges:
        monkeypatch.setattr(atomic_files, "_exchange", lambda first, second: False)
    target = tmp_path / "result"
    with whole_folder(target) as folder:
        write_bytes(folder / "a", b"old")
    rename, calls = os.rename, []

    def failing(source, to):
        calls.append(source)
        if len(calls) == failing.at:
            raise OSError(28, "No space left on device")
        rename(source, to)

    monkeypatch.setattr(os, "rename", failing)
    for failing.at in (2, 3):
        calls.clear()
        try:
            with whole_folder(target, overwrite=True) as folder:
                write_bytes(folder / "a", b"new")
        except FitkitError as error:
            assert error.code == "E_OUTPUT" and not exchanges
        assert (target / "a").read_bytes() == (b"new" if exchanges else b"old")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_what_a_dead_process_moved_aside_comes_back(tmp_path):
    """Killed between its two renames, where the system cannot exchange folders."""
    place = tmp_path / f".{'0' * 16}.part"
    (place / "old" / "result").mkdir(parents=True)
    (place / "old" / "result" / "a").write_bytes(b"old")
    (place / "lock").touch()
    (tmp_path / f".{'1' * 16}.part").mkdir()
    (tmp_path / f".{'1' * 16}.part" / "mesh.obj").touch()      # of an earlier fitkit, which locked nothing
    (tmp_path / f".{'2' * 16}.part").touch()
    (tmp_path / ".mine.part").mkdir()
    assert clear_abandoned(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", "result"]
    assert (tmp_path / "result" / "a").read_bytes() == b"old"
    assert clear_abandoned(tmp_path / "nowhere") == 0


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_leftovers_are_told_by_their_lock(tmp_path):
    script = "import sys, time\nfrom fitkit.io.atomic_files import workplace\n" \
             "with workplace(sys.argv[1]) as place:\n    (place / 'half').mkdir(); print(place, flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    place = Path(other.stdout.readline().strip())
    with workplace(tmp_path) as own:
        assert is_locked(place) and is_locked(own) and clear_abandoned(tmp_path) == 0
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
        assert not is_locked(place) and clear_abandoned(tmp_path) == 1
        assert list(tmp_path.iterdir()) == [own]
    assert not any(tmp_path.iterdir())


def test_losing_a_race_for_a_name_is_said(tmp_path):
    with pytest.raises(FitkitError, match="E_EXISTS"), whole_folder(tmp_path / "result") as late:
        write_bytes(late / "a", b"late")
        with whole_folder(tmp_path / "result") as early:
            write_bytes(early / "a", b"early")
    assert (tmp_path / "result" / "a").read_bytes() == b"early"
