"""Files a user may hand in by mistake: each has its own code and one sentence, and none reaches the decoder's bowels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.io import atomic_files, images


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
