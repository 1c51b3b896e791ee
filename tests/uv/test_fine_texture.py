"""Textures of more than 1024 texels: what a photo shows above the map's resolution is there, and nothing where it shows none."""

import numpy as np
import pytest

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.uv.fine_texture import FineView, check_size, enlarged_texture

TEXTURE = 128           # texels of the small map
ROWS, COLUMNS = np.mgrid[:2 * TEXTURE, :2 * TEXTURE]


def texels(scale):
    """Places of the texels in a photo that shows the map itself `scale` times as large."""
    centres = (np.arange(TEXTURE, dtype=np.float32) + 0.5) * scale
    return np.stack(np.meshgrid(centres, centres), -1)


@pytest.fixture(scope="module")
def made():
    """Lines of one fine texel over a smooth map, of which a photo shows the left half of twice the size."""
    smooth = 0.3 + 0.1 * np.sin(ROWS / 90.0) * np.cos(COLUMNS / 70.0)
    true = (smooth * np.where(COLUMNS % 2 == 0, 0.9, 1.0 / 0.9))[..., None] * np.ones(3)
    albedo = np.asarray(linear_to_srgb(smooth.reshape(TEXTURE, 2, TEXTURE, 2).mean((1, 3))[..., None] * np.ones(3)))
    share = np.where(np.arange(TEXTURE) < 64, 1.0, 0.0) * np.ones((TEXTURE, 1))
    position = np.concatenate([texels(0.4), np.zeros((TEXTURE, TEXTURE, 1))], -1)
    position[40:] += 50.0      # another island of the map
    view = FineView(photo=np.asarray(linear_to_srgb(true))[:, :134].astype(np.float32), pixels=texels(2.0), share=share,
                    position=position)
    return np.asarray(srgb_to_linear(enlarged_texture(albedo.astype(np.float32), [view], size=2 * TEXTURE) / 255.0)), true, smooth


def test_detail_of_the_photo_is_there_and_nothing_elsewhere(made):
    found, true, smooth = made
    assert found.shape == (256, 256, 3)
    np.testing.assert_allclose(found[90:250, 6:120], true[90:250, 6:120], rtol=0.03)
    np.testing.assert_allclose(found[:, 136:], np.repeat(smooth[..., None], 3, -1)[:, 136:], rtol=0.03)


def test_nothing_is_read_across_the_border_of_an_island(made):
    found, _, smooth = made
    np.testing.assert_allclose(found[79:81, 6:120, 0], smooth[79:81, 6:120], rtol=0.03)


def test_a_size_that_is_none_is_refused_in_a_sentence():
    with pytest.raises(FitkitError, match="1024, 2048 or 4096 texels a side, not 1000") as error:
        check_size(1000)
    assert error.value.code == "E_USAGE" and check_size(4096) == 4096
