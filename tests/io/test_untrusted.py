"""Files of strangers: what is no regular file, sparse or too long is refused at once; what a parser raises is one error."""

import copy
import os
import socket

import pytest

from fitkit.errors import FitkitError, visible
from fitkit.io.untrusted import open_file, parsing, read_bytes

POSIX = pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
ASKED = {"code": "E_SCAN", "mend": "give another"}


def refused(path, *, most=100):
    with pytest.raises(FitkitError) as caught:
        read_bytes(path, most=most, **ASKED)
    assert caught.value.code == "E_SCAN" and caught.value.message.endswith("; give another")
    return caught.value.message


def special(kind, folder):
    """A path of a kind that is no regular file."""
    path = folder / "special"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    elif kind == "device":
        return "/dev/zero"
    else:
        path.mkdir()
    return path


@POSIX
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(("kind", "says"), [("fifo", "named pipe"), ("socket", "socket"), ("device", "device"),
                                            ("directory", "directory")])
def test_special_files_and_links_to_them(tmp_path, monkeypatch, kind, says, linked):
    monkeypatch.chdir(tmp_path)      # the name of a socket has room for 100 bytes
    path = special(kind, tmp_path)
    if linked:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    assert says in refused(path)


@POSIX
def test_what_is_exchanged_between_look_and_opening_is_refused_all_the_same(tmp_path, monkeypatch):
    path, regular = special("fifo", tmp_path), tmp_path / "regular"
    regular.write_bytes(b"1")
    monkeypatch.setattr(os, "stat", lambda *_, look=os.stat, **__: look(regular))
    assert "named pipe" in refused(path)


def test_missing_unreadable_and_impossible_names(tmp_path):
    assert "does not exist" in refused(tmp_path / "none")
    assert "does not exist" in refused(__file__ + "/below")
    assert "cannot be opened" in refused(tmp_path / "a\0b")
    assert "cannot be opened" in refused(tmp_path / ("a" * 5000))
    if os.name != "nt":
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        assert "cannot be opened" in refused(tmp_path / "circle")


def test_no_more_than_the_limit_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    assert read_bytes(path, most=100, **ASKED) == bytes(100)
    assert "101 bytes" in (path.write_bytes(bytes(101)) and refused(path))


def test_a_file_that_grows_while_it_is_read_is_cut_off(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(50))
    with pytest.raises(FitkitError, match="at most 100 are read"), open_file(path, most=100, **ASKED) as file:
        assert file.read(10) == bytes(10)
        path.write_bytes(bytes(100))
        assert len(file.read()) == 90
        path.write_bytes(bytes(5000))
        file.read()
        pytest.fail("it was read")


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="there is no /proc")
def test_a_size_that_is_untrue_helps_nobody():
    assert os.stat("/proc/self/environ").st_size == 0
    assert "at most 3 are read" in refused("/proc/self/environ", most=3)
    assert read_bytes("/proc/self/environ", most=10**7, **ASKED)


def test_a_file_is_read_in_lines_and_from_any_place(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one\ntwo\n")
    with open_file(path, most=100, **ASKED) as file:
        assert list(file) == [b"one\n", b"two\n"]
        assert file.seek(4) == 4 and file.read(3) == b"two" and file.seek(0, os.SEEK_END) == 8


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="the system does not tell holes")
def test_sparse_files(tmp_path):
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.truncate(2**24)
    if os.stat(path).st_blocks > 100:
        pytest.skip("this file system keeps no holes")
    assert "sparse" in refused(path, most=2**30)
    path.write_bytes(bytes(2**21))      # zeros that were written are no hole
    assert len(read_bytes(path, most=2**30, **ASKED)) == 2**21


@pytest.mark.parametrize("error", [RecursionError("deep"), OverflowError(), KeyError("a\nb"), MemoryError()])
def test_whatever_a_parser_raises_is_one_sentence(error):
    with pytest.raises(FitkitError) as caught, parsing("E_SCAN", "a.obj is no mesh", mend="export it again"):
        raise error
    assert caught.value.message.startswith(f"a.obj is no mesh ({type(error).__name__}")
    assert caught.value.message.endswith("); export it again") and caught.value.__cause__ is error
    with pytest.raises(FitkitError, match="E_HEAD"), parsing("E_SCAN", "a.obj is no mesh", mend="export it again"):
        raise FitkitError("E_HEAD", "another")


@pytest.mark.parametrize(("text", "shown"), [
    ("a\x1b[2Jb", r"a\x1b[2Jb"), ("a\nb\r\tc", r"a\nb\r\tc"), ("\u202egpj", r"\u202egpj"), ("\u2066a\u2069", r"\u2066a\u2069"),
    ("a\u2028b\u2029c", r"a\u2028b\u2029c"), ("\x00\x7f\x9b", r"\x00\x7f\x9b"), ("\udcff", r"\udcff"), ("\ufeffa", r"\ufeffa"),
    ("\U000e0041", r"\U000e0041"), ("Zoë 山田 👩\u200d🚀\u3000a", "Zoë 山田 👩\u200d🚀\u3000a")])
def test_what_acts_on_a_terminal_is_shown_escaped(text, shown):
    assert visible(text) == shown
    error = FitkitError("E_NOFILE", f"no such photo: {text}")
    assert error.message == f"no such photo: {shown}" and str(error) == f"E_NOFILE: {error.message}"


def test_messages_end_and_travel():
    error = FitkitError("E_NOFILE", "begin" + "x" * 10**6 + "end")
    assert error.message.startswith("begin") and error.message.endswith("end") and len(error.message) < 2000
    again = copy.copy(error)      # by `__reduce__`, as between processes
    assert (again.code, again.message, str(again)) == (error.code, error.message, str(error))
