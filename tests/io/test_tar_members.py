"""Archives of strangers: what `tarfile` writes in its three formats is read; links, bombs and damaged headers are refused."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from fitkit.io.tar_members import BLOCK, LZMA_MEMORY, MAX_EXTENDED, tar_members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
PACKERS = {"plain": bytes, "xz": lzma.compress, "gzip": gzip.compress, "bzip2": bz2.compress}
LONG = "d/" * 40 + "f" * 90      # more than the 100 bytes of the oldest header


def archive(*members, form="pax", **header):
    """The bytes of an archive of (name, content) pairs; `header` sets fields of the last member's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[form], pax_headers=header.pop("pax_headers", {})) as file:
        for index, (name, content) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if index == len(members) - 1:
                for key, value in header.items():
                    setattr(info, key, value)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def read(data, *, most=10**6, most_each=10**5):
    return {member.name: member.read() for member in tar_members(io.BytesIO(data), most=most, most_each=most_each)}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packer", PACKERS)
def test_archives_are_read(form, packer):
    members = [("a/b.txt", b"1" * 700), (LONG, b"2" * BLOCK), ("empty", b""), ("é", b"3")]
    assert read(PACKERS[packer](archive(*members, form=form, mtime=12))) == dict(members)


def test_what_is_not_read_is_passed_over():
    data = archive(("a", b"1" * 700), ("b", b"2"), pax_headers={"comment": "of all"}, mtime=1.5)
    assert [member.name for member in tar_members(io.BytesIO(data), most=10**6, most_each=10**5)] == ["a", "b"]


@pytest.mark.parametrize(("kind", "says"), [
    (tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a link"), (tarfile.CHRTYPE, "a device"), (tarfile.FIFOTYPE, "a named pipe"),
    (tarfile.GNUTYPE_SPARSE, "sparse"), (b"Z", "unknown kind")])
def test_what_is_no_regular_file_is_refused(kind, says):
    with pytest.raises(ValueError, match=says):
        read(archive(("a", b""), ("b", b""), type=kind, linkname="/etc/passwd"))


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", "a\\..\\b"])
def test_names_that_lead_outside_are_refused(name):
    with pytest.raises(ValueError, match="outside"):
        read(archive((name, b"1")))


@pytest.mark.parametrize("pax", [{"comment": "x" * 2 * MAX_EXTENDED}, {"GNU.sparse.major": "1", "path": "a"}])
def test_extended_headers_are_bounded_and_never_sparse(pax):
    with pytest.raises(ValueError, match="far too large|sparse"):
        read(archive(("a", b"1"), form="pax", pax_headers=pax))


@pytest.mark.parametrize("packer", PACKERS)
def test_bombs(packer):
    with pytest.raises(ValueError, match="unpacked it is larger than 1 MB"):
        read(PACKERS[packer](archive(*[(str(i), bytes(90_000)) for i in range(20)])), most=2**20)
    with pytest.raises(ValueError, match="of 200000 bytes is far too large"):
        read(PACKERS[packer](archive(("a", bytes(200_000)))))


def test_a_dictionary_that_fills_the_memory_is_refused():
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2 * LZMA_MEMORY}]
    with pytest.raises(lzma.LZMAError, match="limit"):
        read(lzma.compress(archive(("a", b"1")), filters=filters))


def test_damaged_headers_and_ends():
    data = archive(("a", b"1" * 700))
    for kept in (0, 100, BLOCK, BLOCK + 300, BLOCK + 699):
        with pytest.raises(EOFError, match="ends early"):
            read(data[:kept])
    for place, byte in ((5, b"x"), (126, b"9"), (150, b"7"), (124, b"\x80")):
        with pytest.raises(ValueError, match="damaged"):
            read(data[:place] + byte + data[place + 1:])
