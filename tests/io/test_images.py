"""The decoder, the encoder, colour curves and the working crop. Expected colours are written by hand."""

import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.fitting.observation import working_crop
from fitkit.io import images

# Four corners, far apart: red, green / blue, near white.
CORNERS = np.array([[[250, 10, 20], [15, 240, 30]], [[5, 25, 230], [245, 235, 225]]], np.uint8)
GREY = np.array([[[0.0] * 3, [64 / 255] * 3], [[128 / 255] * 3, [1.0] * 3]], np.float32)
ORIENTATION = 0x0112


def blocks(corners, side=16):
    return np.kron(corners, np.ones((side, side) + (1,) * (corners.ndim - 2), corners.dtype))


def read(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return images.read_image(path)


def centres(pixels, side=16):
    return pixels[side // 2 :: side, side // 2 :: side]


def png16(samples):
    """A 16-bit PNG written here, chunk by chunk: Pillow writes none in colour."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tif", "a.webp"])
def test_lossless_colour_is_exact(tmp_path, name):
    photo = read(tmp_path, Image.fromarray(CORNERS), name, **({"lossless": True} if name.endswith("webp") else {}))
    assert photo.pixels.dtype == np.float32
    np.testing.assert_array_equal(photo.pixels, CORNERS.astype(np.float32) / 255)
    assert photo.warnings == ()
    assert len(photo.sha256) == 64


def test_jpeg_is_close(tmp_path):
    photo = read(tmp_path, Image.fromarray(blocks(CORNERS)), "a.jpg", quality=95, subsampling=0)
    np.testing.assert_allclose(centres(photo.pixels), CORNERS / 255, atol=0.02)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_gives_three_equal_channels(tmp_path, mode):
    levels = np.array([[0, 64], [128, 255]], np.uint8)
    image = Image.fromarray(levels) if mode != "I;16" else Image.fromarray(levels.astype(np.uint16) * 257)
    photo = read(tmp_path, image.convert("LA") if mode == "LA" else image)
    np.testing.assert_allclose(photo.pixels, GREY, atol=1e-6)


def test_one_bit(tmp_path):
    photo = read(tmp_path, Image.fromarray(np.array([[False, True]])))
    np.testing.assert_array_equal(photo.pixels, [[[0, 0, 0], [1, 1, 1]]])


def test_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 100, 50, 10, 20, 30])
    image.putpixel((1, 0), 1)
    photo = read(tmp_path, image)
    np.testing.assert_allclose(photo.pixels * 255, [[[200, 100, 50], [10, 20, 30]]], atol=1e-4)


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 0, 51], [9, 9, 9, 0]]], np.uint8)
    photo = read(tmp_path, Image.fromarray(rgba))
    # A fifth of (200, 100, 0) and four fifths of 255.
    np.testing.assert_allclose(photo.pixels * 255, [[[200, 100, 50], [244, 224, 204], [255, 255, 255]]], atol=1e-3)
    assert photo.warnings == ("transparency was laid over white",)


def test_transparent_palette_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 100, 50, 10, 20, 30])
    image.putpixel((1, 0), 1)
    photo = read(tmp_path, image, transparency=1)
    np.testing.assert_allclose(photo.pixels * 255, [[[200, 100, 50], [255, 255, 255]]], atol=1e-4)


def test_cmyk_without_profile(tmp_path):
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0]], [[0, 255, 255, 0], [0, 0, 0, 255]]], np.uint8)
    photo = read(tmp_path, _cmyk(blocks(inks)), "a.jpg")
    expected = [[[1, 1, 1], [0, 1, 1]], [[1, 0, 0], [0, 0, 0]]]  # white, cyan, red, black
    np.testing.assert_allclose(centres(photo.pixels), expected, atol=0.02)
    tiff = read(tmp_path, _cmyk(blocks(inks)), "a.tif")
    np.testing.assert_allclose(centres(tiff.pixels), expected, atol=1e-6)


def _cmyk(inks):
    return Image.merge("CMYK", [Image.fromarray(np.ascontiguousarray(inks[..., k])) for k in range(4)])


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_keeps_its_depth(tmp_path, channels):
    samples = np.random.default_rng(0).integers(0, 65536, (5, 4, channels)).astype(np.uint16)
    samples[..., 3:] = 65535
    samples[0, 0, :3] = [0x80FF, 0x0001, 0xFFFE]
    path = tmp_path / "a.png"
    path.write_bytes(png16(samples))
    photo = images.read_image(path)
    np.testing.assert_allclose(photo.pixels * 65535, samples[..., :3], atol=0.01)
    assert photo.warnings == ()


def test_16_bit_grey_with_alpha_png(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png16(np.array([[[0x8080, 0xFFFF], [0x0000, 0x0000]]], np.uint16)))
    np.testing.assert_allclose(images.read_image(path).pixels, [[[128 / 255] * 3, [1.0] * 3]], atol=1e-6)


def test_float_tiff_is_clipped_and_says_so(tmp_path):
    photo = read(tmp_path, Image.fromarray(np.array([[0.25, 1.5], [-0.5, np.nan]], np.float32)), "a.tif")
    np.testing.assert_allclose(photo.pixels[..., 0], [[0.25, 1], [0, 0]])
    assert "clipped" in photo.warnings[0]


# Where the stored corners (r g / b w) stand once upright, for each EXIF orientation, written out by hand.
UPRIGHT = {1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb"}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_exif_orientation(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    # Taller than wide, so that a turn that forgets the size shows.
    stored = blocks(CORNERS)[:, ::2]
    photo = read(tmp_path, Image.fromarray(stored), name, exif=exif, quality=95)
    turned = orientation >= 5
    assert photo.pixels.shape == ((16, 32, 3) if turned else (32, 16, 3))
    rows, columns = (8, 16) if turned else (16, 8)
    found = photo.pixels[rows // 2 :: rows, columns // 2 :: columns].reshape(4, 3)
    colours = dict(zip("rgbw", CORNERS.reshape(4, 3) / 255, strict=True))
    np.testing.assert_allclose(found, [colours[c] for c in UPRIGHT[orientation]], atol=0.06)


def test_heic_is_upright_and_keeps_its_lens(tmp_path):
    pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    assert images.reads_heif()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(0x8769)[0xA405] = 50
    photo = read(tmp_path, Image.fromarray(blocks(CORNERS, 32)), "a.heic", format="HEIF", quality=100, exif=exif.tobytes())
    colours = {"r": CORNERS[0, 0], "g": CORNERS[0, 1], "b": CORNERS[1, 0], "w": CORNERS[1, 1]}
    expected = [colours[corner] / 255 for corner in UPRIGHT[6]]
    np.testing.assert_allclose(centres(photo.pixels, 32).reshape(4, 3), expected, atol=0.06)
    assert photo.exif_focal == pytest.approx(50 * np.hypot(64, 64) / np.hypot(36, 24)) and photo.warnings == ()


def test_heic_without_its_reader_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("fitkit.io.image_decoder.reads_heif", lambda: False)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(FitkitError, match=r"HEIC photo, which needs pip install 'fitkit\[heic\]'"):
        images.read_image(tmp_path / "a.heic")



def linear_profile(space):
    """An ICC v2 profile of gamma 1, written here: grey, or sRGB's primaries (D50) with red and blue exchanged."""

    def xyz(*values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    gamma_one = b"curv\0\0\0\0" + struct.pack(">IHH", 1, 256, 0)
    name = b"linear\0"
    if space == b"GRAY":
        tags = {b"kTRC": gamma_one}
    else:
        red, green, blue = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)
        tags = {b"bXYZ": xyz(*red), b"gXYZ": xyz(*green), b"rXYZ": xyz(*blue)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma_one)
    tags[b"wtpt"] = xyz(0.9642, 1.0, 0.8249)
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body


def test_colour_profile_is_converted_to_srgb(tmp_path):
    # Linear 55/255 = 0.2157 is sRGB 128/255; linear 0 and 1 stay. Stored red is the profile's blue.
    stored = np.array([[[255, 55, 0], [0, 55, 255]]], np.uint8)
    profile = linear_profile(b"RGB ")
    photo = read(tmp_path, Image.fromarray(stored), icc_profile=profile)
    np.testing.assert_allclose(photo.pixels * 255, [[[0, 128, 255], [255, 128, 0]]], atol=2)
    alpha = read(tmp_path, Image.fromarray(np.dstack([stored, [[255, 0]]]).astype(np.uint8)), icc_profile=profile)
    np.testing.assert_allclose(alpha.pixels * 255, [[[0, 128, 255], [255, 255, 255]]], atol=2)


@pytest.mark.parametrize("space", [b"GRAY", b"RGB "])
@pytest.mark.parametrize("mode", ["L", "LA"])
def test_profiles_of_grey_photos(tmp_path, space, mode):
    grey = Image.fromarray(np.array([[0, 55, 255]], np.uint8)).convert(mode)
    photo = read(tmp_path, grey, icc_profile=linear_profile(space))
    np.testing.assert_allclose(photo.pixels[..., 1] * 255, [[0, 128, 255]], atol=2)
    np.testing.assert_allclose(photo.pixels, np.repeat(photo.pixels[..., 1:2], 3, axis=-1), atol=1 / 255)
    assert photo.warnings == ()


def test_profile_of_another_colour_space_is_named(tmp_path):
    photo = read(tmp_path, Image.fromarray(CORNERS), icc_profile=linear_profile(b"GRAY"))
    np.testing.assert_array_equal(photo.pixels, CORNERS.astype(np.float32) / 255)
    assert "colour profile" in photo.warnings[0]


def test_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read(tmp_path, Image.fromarray(CORNERS), icc_profile=profile)
    np.testing.assert_array_equal(photo.pixels, CORNERS.astype(np.float32) / 255)
    assert photo.warnings == ()


def test_broken_colour_profile_is_named(tmp_path):
    photo = read(tmp_path, Image.fromarray(CORNERS), icc_profile=b"not a profile")
    np.testing.assert_array_equal(photo.pixels, CORNERS.astype(np.float32) / 255)
    assert "colour profile" in photo.warnings[0]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_animation_gives_its_first_frame(tmp_path, name):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    photo = read(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(photo.pixels[0, 0] * 255, [250, 0, 0], atol=2)
    assert photo.warnings == ("it has several frames or pages: the first was taken",)


def _with_exif(tmp_path, tags, size=(30, 40)):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(tags)
    return read(tmp_path, Image.new("RGB", size), "a.jpg", exif=exif)


def test_focal_from_35_mm_equivalent(tmp_path):
    # The diagonal of 30 x 40 is 50 px, that of 36 x 24 mm is 43.2666 mm.
    photo = _with_exif(tmp_path, {0xA405: 26})
    assert photo.exif_focal == pytest.approx(26 * 50 / 43.2666, rel=1e-5)


def test_focal_from_sensor_resolution_follows_the_size(tmp_path):
    # 4 mm at 100 px/mm (1000 px per centimetre) is 400 px on the 300 x 400 original, 40 px here.
    tags = {0x920A: 4.0, 0xA20E: 1000.0, 0xA210: 3, 0xA002: 400, 0xA003: 300}
    assert _with_exif(tmp_path, tags).exif_focal == pytest.approx(40, rel=1e-4)


def test_focal_of_a_cropped_photo_is_not_used(tmp_path):
    photo = _with_exif(tmp_path, {0xA405: 26, 0xA002: 400, 0xA003: 400})
    assert photo.exif_focal is None
    assert "cropped" in photo.warnings[0]


@pytest.mark.parametrize("tags", [{0xA405: 4000}, {0x920A: 85.0, 0xA20E: 160.0, 0xA210: 4}])
def test_focal_no_lens_has_is_not_used(tmp_path, tags):
    photo = _with_exif(tmp_path, tags)
    assert photo.exif_focal is None
    assert "does not fit" in photo.warnings[0]


@pytest.mark.parametrize("tags", [{}, {0xA405: 0}, {0x920A: 4.0}, {0x920A: 4.0, 0xA20E: 0.0}])
def test_no_focal_without_sound_tags(tmp_path, tags):
    photo = _with_exif(tmp_path, tags)
    assert photo.exif_focal is None
    assert photo.warnings == ()


def test_srgb_curve_known_values():
    # IEC 61966-2-1: 0.5 -> 0.21404114, the joint 0.04045 -> 0.0031308, 1 -> 1.
    srgb = jnp.array([0.0, 0.04045, 0.5, 1.0])
    linear = np.array([0.0, 0.0031308, 0.21404114, 1.0])
    np.testing.assert_allclose(srgb_to_linear(srgb), linear, rtol=2e-5)
    np.testing.assert_allclose(linear_to_srgb(jnp.float32(linear)), srgb, rtol=2e-5)


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
def test_colour_curves_have_finite_gradients(curve):
    points = jnp.array([-2.0, -0.055, -0.03, 0.0, 1e-30, 0.002, 0.0031308, 0.04045, 0.5, 1.0, 3.0])
    slopes = jax.vmap(jax.grad(curve))(points)
    assert np.isfinite(slopes).all()
    assert (slopes > 0).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 5)])
def test_written_pictures_come_back(tmp_path, bits, shape):
    pixels = np.random.default_rng(0).random(shape, np.float32)
    path = images.write_image(tmp_path / "new" / "a.png", pixels, bits=bits)
    back = images.read_image(path).pixels
    expected = pixels if pixels.ndim == 3 else pixels[..., None]
    np.testing.assert_allclose(back, np.broadcast_to(expected, back.shape), atol=0.51 / (2**bits - 1))
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_integers_are_written_as_they_are(tmp_path):
    levels = np.arange(12, dtype=np.uint16).reshape(2, 2, 3) * 5000
    path = images.write_image(tmp_path / "a.png", levels, bits=16)
    np.testing.assert_allclose(images.read_image(path).pixels * 65535, levels, atol=0.01)
    with pytest.raises(ValueError, match="uint8"):
        images.encode_png(levels)
    with pytest.raises(ValueError, match=r"\[H, W, 3\]"):
        images.encode_png(np.zeros((2, 2, 4)))


def test_find_photos(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    missing = tmp_path / "missing.jpg"
    assert images.find_photos([tmp_path, missing]) == [tmp_path / "a.png", tmp_path / "b.JPG", missing]
    assert images.find_photos(str(tmp_path / "a.png")) == [tmp_path / "a.png"]


def ramp(height, width):
    """Red is x, green is y, of the pixel centre, over 1000."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x / 1000, y / 1000, np.ones_like(x)], axis=-1).astype(np.float32)


@pytest.mark.parametrize("extent", [10.0, 32.0, 47.3, 64.0, 130.0, 333.3])
def test_crop_coordinates(extent):
    # On a ramp every smooth resampling gives the position itself: photo = crop * scale + offset.
    crop, scale, offset = working_crop(ramp(500, 600), (301.7, 222.2), extent, 32)
    assert crop.shape == (32, 32, 3)
    y, x = np.mgrid[:32, :32] + 0.5
    np.testing.assert_allclose(scale, extent / 32)
    expected = np.stack([x * scale + offset[0], y * scale + offset[1]], axis=-1)
    np.testing.assert_allclose(np.asarray(crop)[..., :2] * 1000, expected, atol=0.02)
    np.testing.assert_allclose(np.asarray(crop)[..., 2], 1, atol=1e-5)


def test_crop_at_its_own_size_is_a_copy():
    pixels = np.random.default_rng(0).random((40, 50, 3), np.float32)
    crop, scale, offset = working_crop(pixels, (25, 20), 16, 16)
    np.testing.assert_allclose(crop, pixels[12:28, 17:33], atol=1e-6)
    assert (scale, offset.tolist()) == (1.0, [17.0, 12.0])


def test_crop_averages_what_it_shrinks():
    # A one-pixel chequerboard: shrunk without care it would stay black and white; averaged it is grey.
    board = np.indices((400, 400)).sum(0) % 2
    pixels = np.repeat(board[..., None], 3, axis=2).astype(np.float32)
    for extent in (300.0, 333.0):
        crop, _, _ = working_crop(pixels, (200, 200), extent, 50)
        np.testing.assert_allclose(crop, 0.5, atol=0.08)


def test_crop_against_block_means():
    pixels = np.random.default_rng(1).random((64, 64, 3), np.float32)
    crop, _, _ = working_crop(pixels, (32, 32), 64, 16)
    means = pixels.reshape(16, 4, 16, 4, 3).mean((1, 3))
    np.testing.assert_allclose(crop, means, atol=1e-5)


def test_crop_beyond_the_border_continues_the_edge():
    pixels = np.zeros((20, 20, 3), np.float32)
    pixels[:, -1] = 1
    crop, _, _ = working_crop(pixels, (100, 10), 20, 20)
    np.testing.assert_allclose(crop, 1, atol=1e-6)


def test_crop_refuses_nonsense():
    with pytest.raises(ValueError, match="extent"):
        working_crop(ramp(4, 4), (2, 2), 0.0, 8)
    with pytest.raises(ValueError, match="centre"):
        working_crop(ramp(4, 4), (np.nan, 2), 4.0, 8)
