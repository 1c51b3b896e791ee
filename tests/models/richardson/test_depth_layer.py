"""The rendering layer of Richardson et al. 2017 against loops: depth, and the gradients of Eq. 7, in double precision."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import head_rotation
from fitkit.models.richardson.depth_layer import depth_layer
from fitkit.types import Camera
from tests.fixtures.tiny_head import tiny_head

SIDE = 24


def scene(perspective):
    """A small head, its coefficients and camera, in double precision."""
    head = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tiny_head())
    rng = np.random.default_rng(3)
    identity, expression = (jnp.asarray(scale * rng.normal(size=len(basis)))
                            for scale, basis in ((0.5, head.identity), (0.1, head.expression)))
    camera = Camera(focal=jnp.asarray(130.0), principal=jnp.asarray([12.0, 11.5]), rotation=head_rotation(0.4, 0.2, 0.1),
                    translation=jnp.asarray([3.0, -2.0, 1300.0]), perspective=perspective)
    return head, identity, expression, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), camera)


def posed(head, identity, expression, camera):
    """Vertices in camera frame and picture, by loops over modes (Eq. 5, the mean shape added)."""
    shape = np.array(head.mean, np.float64)
    for coefficients, basis in ((identity, head.identity), (expression, head.expression)):
        for weight, mode in zip(np.asarray(coefficients), np.asarray(basis), strict=True):
            shape = shape + weight * mode
    points = shape @ np.asarray(camera.rotation).T + np.asarray(camera.translation)
    divisor = points[:, 2] if camera.perspective else np.full(len(points), float(camera.translation[2]))
    return points, points[:, :2] / divisor[:, None] * float(camera.focal) + np.asarray(camera.principal)


def drawn_by_loops(head, points, pixels, perspective):
    """Of each pixel the triangle in front that turns to the camera, its corners' weights, and depth (Eq. 6)."""
    depth, corners, weights = np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE, 3), -1), np.zeros((SIDE, SIDE, 3))
    for triangle in np.asarray(head.triangles):
        (a, b, c), z = pixels[triangle], points[triangle, 2]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area >= 0:       # counter-clockwise seen from outside, y down
            continue
        low, high = np.clip([np.floor([a, b, c]).min(0), np.ceil([a, b, c]).max(0)], 0, SIDE).astype(int)
        for row in range(low[1], high[1]):
            for column in range(low[0], high[0]):
                p = np.array([column + 0.5, row + 0.5])
                share = np.array([(v[0] - u[0]) * (p[1] - u[1]) - (v[1] - u[1]) * (p[0] - u[0])
                                  for u, v in ((b, c), (c, a), (a, b))]) / area
                if (share < 0).any():
                    continue
                share = share / z / (share / z).sum() if perspective else share
                here = share @ z
                if depth[row, column] == 0 or here < depth[row, column]:
                    depth[row, column], corners[row, column], weights[row, column] = here, triangle, share
    return depth, corners, weights


def gradients_by_loops(head, camera, points, corners, weights, slope):
    """Eq. 7, and what Eq. 5 makes of it, to identity, expression, rotation, translation, focal length; and to vertices' depths."""
    to_depth = np.zeros(len(points))
    for row, column in np.argwhere(corners[..., 0] >= 0):
        for corner, weight in zip(corners[row, column], weights[row, column], strict=True):
            to_depth[corner] += weight * slope[row, column]
    third = np.asarray(camera.rotation)[2]
    to_identity, to_expression = ([sum(to_depth[v] * (mode[v] @ third) for v in range(len(points))) for mode in np.asarray(basis)]
                                  for basis in (head.identity, head.expression))
    to_rotation = np.zeros((3, 3))
    to_rotation[2] = to_depth @ ((points - np.asarray(camera.translation)) @ np.asarray(camera.rotation))
    return (to_identity, to_expression, to_rotation, [0.0, 0.0, to_depth.sum()], 0.0), to_depth


def differences_from_loops(perspective):
    """Largest difference of depth, mm, and of gradients relative to the largest, under random slopes dE / dz of every pixel."""
    head, identity, expression, camera = scene(perspective)
    slope = np.random.default_rng(0).normal(size=(SIDE, SIDE))

    def energy(identity, expression, rotation, translation, focal):
        seen = dataclasses.replace(camera, rotation=rotation, translation=translation, focal=focal)
        depth, _ = depth_layer(head, identity, expression, seen, side=SIDE)
        return jnp.sum(depth * slope), depth

    arguments = identity, expression, camera.rotation, camera.translation, camera.focal
    (_, depth), gradients = jax.jit(jax.value_and_grad(energy, argnums=(0, 1, 2, 3, 4), has_aux=True))(*arguments)
    points, pixels = posed(head, identity, expression, camera)
    expected, corners, weights = drawn_by_loops(head, points, pixels, perspective)
    assert (expected > 0).mean() > 0.3
    oracle, to_depth = gradients_by_loops(head, camera, points, corners, weights, slope)
    hidden = np.setdiff1d(np.arange(len(points)), corners)
    assert len(hidden) and (to_depth[hidden] == 0).all()      # no gradient to hidden vertices
    largest = max(np.abs(np.asarray(each)).max() for each in oracle)
    gaps = [np.abs(np.asarray(found) - wanted).max() for found, wanted in zip(gradients, oracle, strict=True)]
    return np.abs(np.asarray(depth) - expected).max(), max(gaps) / largest


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("perspective", [False, True])
def test_depth_and_gradients_are_those_of_loops(perspective):
    depth, gradients = differences_from_loops(perspective)
    assert depth < 1e-9 and gradients < 1e-9


@pytest.mark.usefixtures("float64")
def test_places_in_the_picture_get_no_gradient():
    head, identity, expression, camera = scene(False)

    def energy(shift):
        moved = dataclasses.replace(camera, translation=camera.translation + jnp.append(shift, 0.0))
        return jnp.sum(jnp.square(depth_layer(head, identity, expression, moved, side=SIDE)[0]))

    assert (np.asarray(jax.jit(jax.grad(energy))(jnp.zeros(2))) == 0).all()
