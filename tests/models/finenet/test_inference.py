"""FineNet's inputs of a crop: what does not change them, and what has no face."""

import jax.numpy as jnp
import numpy as np

from fitkit.models.finenet import inference, inputs
from fitkit.models.finenet.inputs import CoarseView
from fitkit.rendering.shading import light_from_direction
from fitkit.types import Camera

SIDE = 64
LIGHT = light_from_direction(jnp.array([0.3, 0.6, 0.7]), ambient=0.3, strength=0.6)[:, 0]


def crop_of_a_ball(*, size, exposure, distance):
    """A ball before nothing, through a lens as long as it is far: photo, what is known of it, camera."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    inside = x**2 + y**2 < 0.6
    height = np.sqrt(np.maximum(0.6 - x**2 - y**2, 0))
    depth = np.where(inside, distance - 100 * height, 0.0)
    photo = np.repeat((exposure * (0.3 + 0.2 * x + 0.2 * height))[..., None], 3, axis=-1)
    camera = Camera(focal=jnp.asarray(size * distance / 200.0), principal=jnp.full(2, size / 2), rotation=jnp.eye(3),
                    translation=jnp.array([0.0, 0.0, distance]), perspective=True)
    slopes = np.stack([x, y]) / np.maximum(height, 0.3) * inside
    view = CoarseView(*(jnp.asarray(each, jnp.float32) for each in (depth, inside, slopes, 0 * slopes, 0.4 * inside)), LIGHT)
    return jnp.asarray(photo, jnp.float32), view, camera


def test_the_network_sees_neither_exposure_nor_distance_nor_resolution():
    first, pixel = inference.crop_planes(*crop_of_a_ball(size=SIDE, exposure=1.0, distance=4000.0))
    other, again = inference.crop_planes(*crop_of_a_ball(size=SIDE, exposure=0.6, distance=8000.0))
    finer, third = inference.crop_planes(*crop_of_a_ball(size=2 * SIDE, exposure=1.0, distance=4000.0))
    assert first.shape == (inputs.SIZE, inputs.SIZE, len(inputs.PLANES))
    np.testing.assert_allclose(first[..., :2], other[..., :2], atol=5e-3)
    assert np.abs(first - finer).mean() < 0.04 and abs(float(pixel / again) - 1) < 0.01 and abs(float(pixel / third) - 1) < 0.02


def test_a_crop_without_a_face_or_without_a_photo_is_no_displacement():
    photo, view, camera = crop_of_a_ball(size=SIDE, exposure=1.0, distance=800.0)
    nothing = view._replace(depth=0 * view.depth, face=0 * view.face)
    for pictures in ((photo * jnp.nan, view), (photo, nothing)):
        assert not inference.fine_displacement(*pictures, camera).any()
    assert jnp.isfinite(inference.fine_displacement(photo.at[:9].set(jnp.nan), view, camera)).all()
