"""The second look of a CoarseNet: its crop against SciPy's sampling, its poses against turned cameras."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from flax import nnx

from fitkit.models.coarsenet.estimate import camera_of, pose_of, rescaled, turned
from fitkit.models.coarsenet.mesh_trunk import FEATURES, SIDE
from fitkit.models.coarsenet.network import POSE, CoarseNet, CoarseNetConfig
from fitkit.models.coarsenet.upright import (
    LOG_SIZE,
    MARGIN,
    PLACE,
    change_of_crop,
    pose_in_crop,
    rotation,
    seen_in,
    upright_picture,
)

MIDDLE = jnp.array([1.0, 20.0, 60.0])
LENS = {"focal": jnp.float32(2.1), "principal": jnp.array([0.9, -0.3])}
SEEN = jnp.array([25.0, 0.06, -0.05, -5.3])     # lean, x, y, logarithm of the size


def test_a_pose_goes_to_the_upright_crop_and_back():
    pose = jnp.array([-35.0, 12.0, 21.0, 0.05, -0.09, -5.25])
    scale, offset = change_of_crop(SEEN)
    camera = rescaled(turned(camera_of(pose, MIDDLE, **LENS), rotation(SEEN[0])), scale, offset)
    upright = pose_of(camera, MIDDLE)
    np.testing.assert_allclose(pose_in_crop(upright, SEEN), pose, atol=2e-3)


def test_a_face_that_is_seen_right_stands_upright():
    """Its axis points up, and place and size are those of all upright crops."""
    pose = jnp.array([-35.0, 12.0, 21.0, 0.05, -0.09, -5.25])
    seen = seen_in(pose)
    scale, offset = change_of_crop(seen)
    upright = rescaled(turned(camera_of(pose, MIDDLE, **LENS), rotation(seen[0])), scale, offset)
    straight = dataclasses.replace(camera_of(pose_of(upright, MIDDLE), MIDDLE, **LENS, perspective=False))
    assert abs(float(straight.rotation[0, 1])) < 1e-4 and float(straight.rotation[1, 1]) < -0.5
    np.testing.assert_allclose(pose_of(upright, MIDDLE)[3:], [*PLACE, LOG_SIZE], atol=1e-4)


def test_the_upright_crop_is_scipys_sampling(rng):
    picture = rng.random((40, 40, 3)).astype(np.float32)
    angle, times = math.radians(25.0), math.exp(LOG_SIZE + 5.3)
    expected = np.empty((16, 16, 3))
    for row in range(16):
        for column in range(16):
            right, down = (column + 0.5) / 16 - 0.5 - PLACE[0], (row + 0.5) / 16 - 0.5 - PLACE[1]
            x = 0.06 + (math.cos(angle) * right + math.sin(angle) * down) / times
            y = -0.05 + (-math.sin(angle) * right + math.cos(angle) * down) / times
            at = [(y / MARGIN + 0.5) * 40 - 0.5, (x / MARGIN + 0.5) * 40 - 0.5]
            for channel in range(3):
                expected[row, column, channel] = scipy.ndimage.map_coordinates(
                    picture[..., channel], np.array(at)[:, None], order=1, mode="nearest")[0]
    np.testing.assert_allclose(upright_picture(jnp.asarray(picture), SEEN, side=16), expected, atol=1e-4)


class Brightness(nnx.Module):
    """Stands for a trunk: all features are the mean of the picture."""

    def __call__(self, pictures):
        return jnp.repeat(jnp.mean(pictures, axis=(1, 2, 3))[:, None], FEATURES, axis=1)


def test_a_network_looks_twice():
    """The second look sees what the first has turned upright, and its pose is given in the crop."""
    config = CoarseNetConfig(side=SIDE, trunk="mesh", identity=2, expression=1, upright=True)
    assert (config.seen, config.margin) == (240, MARGIN)
    network = CoarseNet(dataclasses.replace(config), rngs=nnx.Rngs(0))
    network.mesh = Brightness()
    nnx.update(network.first, {"bias": jnp.concatenate([jnp.zeros(2), SEEN])})
    nnx.update(network.output, {"kernel": jnp.full((FEATURES, config.outputs), 1 / FEATURES)})
    picture = jnp.zeros((1, 240, 240, 3)).at[:, :90].set(1.0)
    bright = float(jnp.mean(upright_picture(picture[0], SEEN, side=SIDE)))
    numbers = jax.jit(lambda x: network.look_twice(x))(picture)[0]
    np.testing.assert_allclose(numbers[:-POSE], bright, rtol=1e-4)
    np.testing.assert_allclose(numbers[-POSE:], pose_in_crop(jnp.full(POSE, bright), SEEN), rtol=1e-4)
