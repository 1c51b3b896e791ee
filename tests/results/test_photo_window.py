"""The window of a photo: that tiles are its parts, and that cutting and pasting undo each other, border included."""

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import project
from fitkit.results.photo_window import (
    MAX_TILES,
    TILE,
    Window,
    crop_window,
    inside_photo,
    join_tiles,
    paste_window,
    reduce_doubled,
    tiles_of,
    window_around,
)
from tests.fixtures.tiny_head import tiny_camera


def square(extent):
    """Points that the camera of `tiny_camera(focal=1000)` sees as a square of `extent` pixels."""
    half = extent / 2.0
    return jnp.array([[-half, -half, 0.0], [half, half, 0.0]])


@pytest.mark.parametrize(("extent", "side", "scale"), [
    (40, TILE, 0.5), (240, TILE, 0.5), (260, 2 * TILE, 0.5), (480, 2 * TILE, 0.5), (500, 2 * TILE, 1.0), (1000, 3 * TILE, 1.0),
    (1900, 4 * TILE, 1.0), (3900, 4 * TILE, 2.0)])
def test_a_window_is_made_of_tiles_and_holds_the_points(extent, side, scale):
    camera = tiny_camera(size=2000.0, focal=1000.0)
    distance = float(camera.translation[2])
    window = window_around(np.asarray(project(camera, square(extent) * distance / 1000.0)[0]))
    assert window.side == side and window.scale == pytest.approx(scale, rel=0.05)
    assert len(tiles_of(window)) == (side // TILE)**2 <= MAX_TILES**2
    assert side * window.scale >= extent * 1.04
    np.testing.assert_allclose(window.corner + side * window.scale / 2, 1000.0, atol=1.0)


def test_tiles_side_by_side_are_the_window():
    photo = np.random.default_rng(0).random((1300, 1250, 3), np.float32)
    window = Window(corner=np.array([100.0, -40.0]), side=2 * TILE, scale=1.0)
    np.testing.assert_array_equal(join_tiles([crop_window(photo, tile) for tile in tiles_of(window)]), crop_window(photo, window))


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_pasting_back_what_was_cut_changes_nothing(scale):
    photo = np.random.default_rng(1).random((130, 120, 3), np.float32)
    for corner in ([10.0, 20.0], [-30.0, 50.0], [90.0, -100.0], [500.0, 500.0]):
        window = Window(corner=np.array(corner), side=128, scale=scale)
        np.testing.assert_array_equal(paste_window(photo.copy(), crop_window(photo, window), window), photo)


def test_reducing_averages():
    photo = np.random.default_rng(2).random((64, 64, 3), np.float32)
    half = crop_window(photo, Window(corner=np.zeros(2), side=32, scale=2.0))
    np.testing.assert_allclose(half, photo.reshape(32, 2, 32, 2, 3).mean((1, 3)), atol=1e-6)


def test_opacity_blends():
    window = Window(corner=np.array([2.0, 2.0]), side=4, scale=1.0)
    blended = paste_window(
        np.zeros((8, 8), np.float32), np.ones((4, 4), np.float32), window, opacity=np.full((4, 4), 0.25, np.float32))
    assert blended.sum() == pytest.approx(4.0) and blended[2, 2] == 0.25 and blended[1, 1] == 0


def test_halving_takes_colour_from_what_covers():
    colour, cover = np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.float32)
    colour[0, 0], cover[0, 0] = 0.8, 1.0
    halved, opacity, window = reduce_doubled(colour, cover, Window(corner=np.zeros(2), side=4, scale=0.5))
    assert window.side == 2 and window.scale == 1.0
    np.testing.assert_allclose(halved[0, 0], 0.8)
    np.testing.assert_allclose(opacity, [[0.25, 0], [0, 0]])


def test_pixels_of_a_window_lie_on_the_photo_or_beyond():
    inside = inside_photo(Window(corner=np.array([-4.0, 6.0]), side=TILE, scale=2.0), 10, 20)
    assert inside.sum() == 2 * 10                     # two rows of two pixels each, ten columns of them
    assert inside[:2, 2:12].all()
