"""Files a user may hand in by mistake: each has its own code and one sentence, and none reaches the decoder's bowels."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.io import atomic_files, image_decoder, images
from tests.io.test_images import png16
from tests.measurements.decoder_memory import CHILD


def refused(code, action, *arguments, **options):
    with pytest.raises(FitkitError) as caught:
        action(*arguments, **options)
    assert caught.value.code == code
    sentence = caught.value.message
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def encoded(form, size=(64, 48)):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format=form)
    return buffer.getvalue()


def test_missing_file_offers_the_nearest_name(tmp_path):
    (tmp_path / "portrait.jpg").write_bytes(b"")
    assert "portrait.jpg?" in refused("E_NOFILE", images.read_image, tmp_path / "potrait.jpg")
    assert "did you mean" not in refused("E_NOFILE", images.read_image, tmp_path / "zzz.webp")
    assert "no directory" in refused("E_NOFILE", images.read_image, tmp_path / "nowhere" / "a.jpg")


def test_directories(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    assert str(tmp_path) in refused("E_EMPTYDIR", images.find_photos, [tmp_path])
    assert "directory" in refused("E_NOTIMAGE", images.read_image, tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        (b"just some text", "known format"),
        (bytes(range(256)) * 4, "known format"),
    ],
)
def test_other_kinds_of_file(tmp_path, content, says):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert says in refused("E_NOTIMAGE", images.read_image, path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated(tmp_path, form, part):
    whole = encoded(form)
    path = tmp_path / "a.img"
    path.write_bytes(whole)
    assert images.read_image(path).pixels.shape == (48, 64, 3)
    path.write_bytes(whole[: int(len(whole) * part)])
    refused("E_NOTIMAGE", images.read_image, path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_flipped_bytes_decode_or_are_refused(tmp_path, form):
    whole = bytearray(encoded(form))
    random = np.random.default_rng(0)
    path = tmp_path / "a.img"
    for _ in range(25):
        damaged = whole.copy()
        for place in random.integers(0, len(whole), 8):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            pixels = images.read_image(path).pixels
        except FitkitError as error:
            assert error.code in ("E_NOTIMAGE", "E_TOOLARGE")  # noqa: PT017
        else:
            assert pixels.ndim == 3
            assert np.isfinite(pixels).all()


@pytest.mark.parametrize("side", [10_001, 20_000, 2_000_000])
def test_too_large_is_refused_from_the_header(tmp_path, side):
    # A header alone: with no pixel behind it, decoding would say "truncated".
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = tmp_path / "a.png"
    header = struct.pack(">IIBBBBB", side, 10_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
    assert "100 megapixels" in refused("E_TOOLARGE", images.read_image, path)


def test_unwritable_output(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    refused("E_OUTPUT", images.write_image, tmp_path / "file" / "a.png", np.zeros((2, 2, 3)))
    (tmp_path / "folder").mkdir()
    refused("E_OUTPUT", atomic_files.write_bytes, tmp_path / "folder", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_whole_folder_is_complete_or_absent(tmp_path):
    target = tmp_path / "deep" / "result"
    with pytest.raises(RuntimeError), atomic_files.whole_folder(target) as folder:
        (folder / "a").write_bytes(b"1")
        raise RuntimeError
    assert list((tmp_path / "deep").iterdir()) == []
    with atomic_files.whole_folder(target) as folder:
        (folder / "a").write_bytes(b"1")
    assert (target / "a").read_bytes() == b"1"


def test_whole_folder_keeps_what_is_there(tmp_path):
    target = tmp_path / "result"
    target.mkdir()
    (target / "mine").write_bytes(b"1")
    with pytest.raises(FitkitError, match="E_EXISTS"), atomic_files.whole_folder(target):
        pytest.fail("the folder was handed out")
    with pytest.raises(RuntimeError), atomic_files.whole_folder(target, overwrite=True):
        raise RuntimeError
    assert (target / "mine").read_bytes() == b"1"
    with atomic_files.whole_folder(target, overwrite=True) as folder:
        (folder / "new").write_bytes(b"2")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_whole_folder_never_replaces_a_file(tmp_path):
    (tmp_path / "result").write_bytes(b"mine")
    with pytest.raises(FitkitError, match="E_EXISTS"), atomic_files.whole_folder(tmp_path / "result", overwrite=True):
        pytest.fail("the folder was handed out")
    assert (tmp_path / "result").read_bytes() == b"mine"


def test_pages_are_not_counted(tmp_path):
    """A TIFF of 200,000 pages, and one whose pages go round in a circle, cost what their first page costs."""
    first = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(first, "TIFF")
    whole = bytearray(first.getvalue())
    place, = struct.unpack("<I", whole[4:8])
    entries, = struct.unpack("<H", whole[place:place + 2])
    end = place + 2 + 12 * entries      # where the offset of the next page stands

    def read_with(next_page, behind=b""):
        whole[end:end + 4] = struct.pack("<I", next_page)
        (tmp_path / "a.tif").write_bytes(bytes(whole) + behind)
        return images.read_image(tmp_path / "a.tif").warnings

    said = ("it has several frames or pages: the first was taken",)
    pages = b"".join(struct.pack("<HI", 0, len(whole) + 6 * (i + 1)) for i in range(200_000))      # empty, one behind the other
    assert read_with(0) == () and read_with(place) == ()
    assert read_with(len(whole), pages) == said
    circle = struct.pack("<HIHI", 0, len(whole) + 6, 0, len(whole))
    assert read_with(len(whole), circle) == said


@pytest.mark.parametrize("size", [(100_000, 9), (9, 65_536)])
def test_sides_that_no_camera_has(tmp_path, size):
    Image.new("1", size).save(tmp_path / "a.png")
    assert "sides of at most 65535" in refused("E_TOOLARGE", images.read_image, tmp_path / "a.png")


@pytest.mark.parametrize("size", [(65_535, 2), (1, 65_535)])
def test_extreme_shapes_are_read(tmp_path, size):
    Image.new("L", size, 255).save(tmp_path / "a.png")
    assert images.read_image(tmp_path / "a.png").pixels.min() == 1.0


@pytest.mark.parametrize(("form", "per_pixel"), [("PNG", 17), ("PNG of 16 bits", 21), ("WEBP", 28)])
def test_what_would_take_too_much_memory_is_refused_by_its_header(tmp_path, monkeypatch, form, per_pixel):
    path = tmp_path / "a.img"
    path.write_bytes(_header_of_16_bits(100, 100) if "16" in form else encoded(form, (100, 100)))
    needed = path.stat().st_size + 100 * 100 * per_pixel
    monkeypatch.setattr(image_decoder, "MAX_MEMORY", needed - 1)
    assert "GB to decode" in refused("E_TOOLARGE", images.read_image, path)
    monkeypatch.setattr(image_decoder, "MAX_MEMORY", needed)
    with open(path, "rb") as file:
        image_decoder.check_header(file, "a.img")


def _header_of_16_bits(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the peak of memory is read from /proc")
def test_peak_of_memory_while_decoding(tmp_path):
    """16 bits, 8 megapixels, in a process of its own: result, two decoded copies and the file, and little beside."""
    path = tmp_path / "a.png"
    path.write_bytes(png16(np.zeros((2000, 4000, 3), np.uint16)))
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    done = subprocess.run([sys.executable, "-c", CHILD, str(path), str(tmp_path / "tiny.png")], capture_output=True, text=True)
    assert 12 * 8e6 < int(done.stdout) < (20 + 6) * 8e6, done.stderr


def test_libtiff_keeps_silent(tmp_path, capfd):
    """Its decoder has its own opinion of a damaged file, printed past Python on the process's standard error."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, "TIFF", compression="tiff_lzw")
    damaged = bytearray(buffer.getvalue())
    damaged[5000:5200] = bytes(200)
    (tmp_path / "a.tif").write_bytes(damaged)
    refused("E_NOTIMAGE", images.read_image, tmp_path / "a.tif")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "") or sys.platform == "win32"


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes on Windows")
def test_special_files_are_no_photos(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    assert "named pipe" in refused("E_NOTIMAGE", images.read_image, tmp_path / "a.jpg")
    assert "device" in refused("E_NOTIMAGE", images.file_sha256, tmp_path / "b.jpg")


def test_the_header_is_read_before_anything_is_hashed(tmp_path, monkeypatch):
    monkeypatch.setattr(images.hashlib, "file_digest", lambda *_: pytest.fail("it was hashed"))
    (tmp_path / "a.jpg").write_bytes(b"no photo" * 1000)
    refused("E_NOTIMAGE", images.file_sha256, tmp_path / "a.jpg")
    with open(tmp_path / "b.jpg", "wb") as file:
        file.truncate(2 * images.MAX_BYTES)
    assert "at most" in refused("E_TOOLARGE", images.read_image, tmp_path / "b.jpg")
