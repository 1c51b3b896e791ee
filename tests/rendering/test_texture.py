import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import head_rotation
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.rendering import texture
from fitkit.rendering.render import render_textured
from fitkit.types import Camera
from tests.fixtures import numpy_oracles
from tests.fixtures.tiny_head import tiny_head

pytestmark = pytest.mark.usefixtures("strict_ranks")

WHITE = jnp.full((1, 3), 1 / 0.28209479)     # SH light under which the picture is the albedo


def portrait(yaw, *, size=96, perspective=True):
    return Camera(focal=jnp.float32(5.0 * size), principal=jnp.full(2, size / 2), rotation=head_rotation(yaw, 0.0, 0.0),
                  translation=jnp.array([0.0, 0.0, 1300.0]), perspective=perspective)


def test_samples_match_the_oracle_and_repeat_the_edge(rng):
    image = rng.uniform(size=(4, 6, 3)).astype(np.float32)
    uv = rng.uniform(-0.2, 1.2, (40, 2)).astype(np.float32)
    expected = [numpy_oracles.bilinear(image, float(u), float(v)) for u, v in uv]
    np.testing.assert_allclose(texture.sample_texture(image, uv), expected, atol=2e-6)


def test_texel_centres_return_the_texels_and_v_points_up(rng):
    image = rng.uniform(size=(3, 5, 2)).astype(np.float32)
    row, column = np.mgrid[:3, :5]
    uv = jnp.asarray(np.stack([(column + 0.5) / 5, 1 - (row + 0.5) / 3], -1), jnp.float32)
    np.testing.assert_allclose(texture.sample_texture(image, uv), image, atol=1e-6)
    np.testing.assert_allclose(texture.sample_texture(image, jnp.array([0.0, 1.0])), image[0, 0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
def test_a_texture_of_one_texel_across_is_constant_across(shape):
    image = jnp.arange(float(shape[0] * shape[1])).reshape(*shape, 1)
    corners = texture.sample_texture(image, jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(corners[:, 0], [0.0, shape[0] * shape[1] - 1.0])


def test_gradients_match_central_differences(float64, rng):
    image, uv, weights = rng.normal(size=(4, 5, 2)), rng.uniform(0.2, 0.8, (6, 2)), rng.normal(size=(6, 2))

    @jax.jit
    def loss(image, uv):
        return (texture.sample_texture(image, uv) * weights).sum()
    to_image, to_uv = jax.grad(loss, (0, 1))(jnp.asarray(image), jnp.asarray(uv))
    np.testing.assert_allclose(to_image, numpy_oracles.central_difference(lambda x: loss(x, uv), image), atol=1e-7)
    np.testing.assert_allclose(to_uv, numpy_oracles.central_difference(lambda x: loss(image, x), uv), atol=1e-6)


def surface_at_texels(head, size):
    values, covered = texture.values_at_texels(
        head, jnp.concatenate([head.mean, vertex_normals(head.mean, head.triangles)], -1), size=size)
    return values[..., :3], safe_normalize(values[..., 3:]), covered


def test_texels_lie_on_the_head():
    head = tiny_head()
    points, normals, covered = surface_at_texels(head, 64)
    assert covered.mean() > 0.7
    expected = np.asarray(head.mean)[np.asarray(head.triangles[0])].mean(axis=0)
    u, v = np.asarray(head.uv)[np.asarray(head.uv_triangles[0])].mean(axis=0)
    np.testing.assert_allclose(points[int((1 - v) * 64), int(u * 64)], expected, atol=8.0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1)[np.asarray(covered)], 1.0, atol=1e-5)
    assert (np.asarray(points)[~np.asarray(covered)] == 0).all()


@pytest.mark.parametrize("perspective", [True, False])
def test_unwrapping_a_rendering_gives_its_texture_back(perspective):
    head, size = tiny_head(), 64
    points, _, _ = surface_at_texels(head, size)
    low, high = head.mean.min(axis=0)[None, None], head.mean.max(axis=0)[None, None]
    painted = (points - low) / (high - low)
    camera = portrait(0.3, size=200, perspective=perspective)
    photo, _, _ = render_textured(head, head.mean, painted, camera, WHITE, height=200, width=200)
    found, weight = texture.unwrap_photo(photo, camera, head, head.mean, size=size)
    trusted = np.asarray(weight) > 0.25
    assert trusted.mean() > 0.12
    assert np.quantile(np.abs(found - painted)[trusted], 0.95) < 0.03
    assert (np.asarray(found)[np.asarray(weight) == 0] == 0).all()


def test_hidden_and_averted_texels_have_no_weight():
    head = tiny_head()
    _, weight = texture.unwrap_photo(jnp.ones((96, 96, 3)), portrait(0.0), head, head.mean, size=64)
    points, normals, covered = (np.asarray(x) for x in surface_at_texels(head, 64))
    assert (np.asarray(weight)[covered & (normals[..., 2] < -0.1)] == 0).all()
    facing = covered & (normals[..., 2] > 0.8)
    assert (np.asarray(weight)[facing] > 0.4).mean() > 0.95


def test_a_point_behind_another_surface_is_hidden():
    # Two squares, one behind the other, side by side in the texture.
    square = np.array([[-20, -20, 0], [20, -20, 0], [20, 20, 0], [-20, 20, 0]], np.float32)
    vertices = jnp.asarray(np.concatenate([square * [[2, 2, 1]], square + [[0, 0, 30]]]), jnp.float32)
    two = np.array([[0, 1, 2], [0, 2, 3]])
    flat = (square[:, :2] + 20) / 40 * [[0.4, 0.8]] + [[0.05, 0.1]]
    model = dataclasses.replace(
        tiny_head(), mean=vertices, triangles=jnp.asarray(np.concatenate([two, two + 4]), jnp.int32),
        uv=jnp.asarray(np.concatenate([flat, flat + [[0.5, 0.0]]]), jnp.float32),
        uv_triangles=jnp.asarray(np.concatenate([two, two + 4]), jnp.int32))
    _, weight = texture.unwrap_photo(jnp.ones((96, 96, 3)), portrait(0.0), model, vertices, size=64)
    behind, front = np.asarray(weight)[:, :32], np.asarray(weight)[:, 32:]
    assert (front[10:50, 6:28] > 0.95).all()
    assert behind[32, 16] == 0 and behind[8, 5] > 0.95      # its middle is covered, its rim is not
