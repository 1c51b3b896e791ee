"""Photos as Python programs hand them over: each kind gives the pixels that its file gives, or one sentence."""

import io

import numpy as np
import pytest
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.io.given_photo import as_photo, is_photo
from fitkit.io.images import read_image

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(COLOURS).save(path)
    return path


def test_every_form_of_a_file_is_the_same_photo(file):
    expected = read_image(file)
    with file.open("rb") as opened:
        forms = [str(file), file, file.read_bytes(), io.BytesIO(file.read_bytes()), opened]
        for form in forms:
            photo = as_photo(form)
            assert is_photo(form) and photo.sha256 == expected.sha256
            np.testing.assert_array_equal(photo.pixels, expected.pixels)
    assert not is_photo([file]) and not is_photo((COLOURS,))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16"])
def test_a_pillow_image_is_read_as_its_file(tmp_path, mode):
    image = Image.fromarray(COLOURS).convert("L" if mode == "I;16" else mode)
    image = Image.fromarray(np.asarray(image, np.uint16) * 257) if mode == "I;16" else image
    image.save(tmp_path / "a.tif")
    np.testing.assert_allclose(as_photo(image).pixels, read_image(tmp_path / "a.tif").pixels, atol=1e-6)


def test_a_pillow_image_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                                      # a quarter turn clockwise mends it
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        photo = as_photo(image)
    np.testing.assert_allclose(photo.pixels, np.rot90(COLOURS, -1) / 255, atol=1e-6)


def test_arrays_of_every_kind():
    expected = COLOURS / np.float32(255)
    grey = COLOURS[..., 0]
    for array, pixels in (
        (COLOURS, expected), (COLOURS.astype(np.uint16) * 257, expected), (expected.astype(np.float64), expected),
        (grey, np.repeat(expected[..., :1], 3, 2)), (grey[..., None], np.repeat(expected[..., :1], 3, 2)),
        (np.dstack([COLOURS, np.full_like(grey, 51)]), expected * 0.2 + 0.8),
    ):
        photo = as_photo(array)
        assert photo.pixels.dtype == np.float32 and photo.pixels.shape == (5, 4, 3)
        np.testing.assert_allclose(photo.pixels, pixels, atol=1e-6)
    assert as_photo(np.dstack([COLOURS, np.full_like(grey, 51)])).warnings == ("transparency was laid over white",)


@pytest.mark.parametrize(("given", "sentence"), [
    (b"", "empty"), (b"not a picture", "the given bytes"), (io.StringIO("text"), "binary mode"),
    (np.zeros((4, 4, 2), np.uint8), "uint8 [4, 4, 2]"), (np.zeros((4, 4, 3), np.int64), "int64"),
    (np.full((4, 4, 3), 255.0), "outside [0, 1]"), (np.full((4, 4, 3), np.nan), "outside [0, 1]"), (7, "not int"),
])
def test_what_is_no_photo_is_one_sentence(given, sentence):
    with pytest.raises(FitkitError, match="E_NOTIMAGE") as caught:
        as_photo(given)
    assert sentence in caught.value.message


def test_a_huge_pillow_image_is_refused():
    with pytest.raises(FitkitError, match="E_TOOLARGE"):
        as_photo(Image.new("1", (20_000, 5_001)))
