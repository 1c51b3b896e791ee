"""Writes reach the disk before they take their name: the order of flushes and renames, as the system is asked for them."""

import os

import pytest

from fitkit.io.atomic_files import whole_folder, write_bytes


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
