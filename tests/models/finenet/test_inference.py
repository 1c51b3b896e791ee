"""FineNet's inputs of a crop: what does not change them, and what has no face."""

import jax.numpy as jnp
import numpy as np

from fitkit.models.finenet import inference, inputs
from fitkit.types import Camera

SIDE = 64


def crop_of_a_ball(*, size, exposure, distance):
    """A ball before nothing, through a lens as long as it is far: photo, depth, face, camera."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    inside = x**2 + y**2 < 0.6
    height = np.sqrt(np.maximum(0.6 - x**2 - y**2, 0))
    depth = np.where(inside, distance - 100 * height, 0.0)
    photo = np.repeat((exposure * (0.3 + 0.2 * x + 0.2 * height))[..., None], 3, axis=-1)
    camera = Camera(focal=jnp.asarray(size * distance / 200.0), principal=jnp.full(2, size / 2), rotation=jnp.eye(3),
                    translation=jnp.array([0.0, 0.0, distance]), perspective=True)
    return *(jnp.asarray(each, jnp.float32) for each in (photo, depth, inside)), camera


def test_the_network_sees_neither_exposure_nor_distance_nor_resolution():
    first, pixel = inference.network_planes(*crop_of_a_ball(size=SIDE, exposure=1.0, distance=4000.0))
    other, again = inference.network_planes(*crop_of_a_ball(size=SIDE, exposure=0.6, distance=8000.0))
    finer, third = inference.network_planes(*crop_of_a_ball(size=2 * SIDE, exposure=1.0, distance=4000.0))
    assert first.shape == (inputs.SIZE, inputs.SIZE, 2)
    np.testing.assert_allclose(first, other, atol=5e-3)
    assert np.abs(first - finer).mean() < 0.02 and abs(float(pixel / again) - 1) < 0.01 and abs(float(pixel / third) - 1) < 0.02


def test_a_crop_without_a_face_or_without_a_photo_is_no_displacement():
    photo, depth, face, camera = crop_of_a_ball(size=SIDE, exposure=1.0, distance=800.0)
    for pictures in ((photo * jnp.nan, depth, face), (photo, 0 * depth, 0 * face)):
        assert not inference.fine_displacement(*pictures, camera).any()
    assert jnp.isfinite(inference.fine_displacement(photo.at[:9].set(jnp.nan), depth, face, camera)).all()
