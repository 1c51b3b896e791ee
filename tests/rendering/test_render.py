import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import head_rotation, project, to_camera_frame, to_view_frame
from fitkit.geometry.vectors import vertex_normals
from fitkit.rendering import render
from fitkit.types import Camera
from tests.fixtures import numpy_oracles
from tests.fixtures.tiny_head import tiny_head

pytestmark = pytest.mark.usefixtures("strict_ranks")

SIZE = {"height": 40, "width": 36}
render_color = jax.jit(render.render_color, static_argnames=("height", "width"))      # one program; step by step, hundreds


def portrait(yaw=0.4, perspective=True, dtype=jnp.float32):
    return Camera(focal=jnp.asarray(230.0, dtype), principal=jnp.asarray([18.0, 20.0], dtype),
                  rotation=head_rotation(yaw, 0.1, 0.0).astype(dtype), translation=jnp.asarray([0.0, 0.0, 1300.0], dtype),
                  perspective=perspective)


@pytest.fixture
def light(rng):
    return jnp.asarray(np.concatenate([[[2.0] * 3], rng.normal(size=(8, 3)) * 0.3]), jnp.float32)


def test_color_is_albedo_times_irradiance_of_the_interpolated_normal(light):
    head, camera = tiny_head(), portrait()
    image, mask, fragments = render_color(head, head.mean, head.albedo_mean, camera, light, **SIZE)
    pixels, depth = (np.asarray(x, np.float64) for x in project(camera, head.mean))
    normals = numpy_oracles.vertex_normals(np.asarray(head.mean, np.float64), np.asarray(head.triangles))
    normals = normals @ np.asarray(camera.rotation).T
    values = np.concatenate([normals * [[1, -1, -1]], np.asarray(head.albedo_mean)], axis=1)
    ids = np.asarray(fragments.triangle)
    expected = numpy_oracles.interpolate(ids, pixels, depth, np.asarray(head.triangles), values)
    n = expected[..., :3] / np.maximum(np.linalg.norm(expected[..., :3], axis=-1, keepdims=True), 1e-9)
    basis = [1, n[..., 1], n[..., 2], n[..., 0], n[..., 0] * n[..., 1], n[..., 1] * n[..., 2], 3 * n[..., 2] ** 2 - 1,
             n[..., 0] * n[..., 2], n[..., 0] ** 2 - n[..., 1] ** 2]
    constants = [0.282095, *[0.488603] * 3, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274]
    shade = sum(c * np.asarray(b)[..., None] * np.asarray(light[k]) for k, (c, b) in enumerate(zip(constants, basis, strict=True)))
    error = np.abs(image - np.where(ids[..., None] >= 0, expected[..., 3:] * shade, 0))
    assert np.quantile(error, 0.99) < 1e-3 and error.max() < 0.05
    np.testing.assert_array_equal(mask, ids >= 0)
    assert 0.2 < mask.mean() < 0.8


def test_the_fast_path_gives_the_same_picture(light):
    head, camera = tiny_head(), portrait()
    image, mask, _ = render_color(head, head.mean, head.albedo_mean, camera, light, **SIZE)
    pixel, color, _ = render.render_foreground(head.triangles, head.mean, head.albedo_mean, camera, light, size=1300, **SIZE)
    picture = jnp.zeros((40 * 36, 3)).at[pixel].set(color.T, mode="drop").reshape(40, 36, 3)
    assert mask.sum() < 1300
    np.testing.assert_allclose(picture, image, atol=1e-6)


def test_a_constant_texture_is_a_constant_albedo(light):
    head, camera = tiny_head(), portrait()
    tone = jnp.array([0.6, 0.4, 0.3])
    textured, _, _ = render.render_textured(head, head.mean, jnp.broadcast_to(tone, (8, 8, 3)), camera, light, **SIZE)
    plain, _, _ = render_color(head, head.mean, jnp.broadcast_to(tone, head.mean.shape), camera, light, **SIZE)
    np.testing.assert_allclose(textured, plain, atol=1e-6)


def test_depth_normals_and_pncc_of_a_sphere_like_head():
    head, camera = tiny_head(), portrait(0.0)
    depth = np.asarray(render.render_depth(head, head.mean, camera, **SIZE))
    normals = np.asarray(render.render_normals(head, head.mean, camera, **SIZE))
    pncc = np.asarray(render.render_pncc(head, head.mean, camera, **SIZE))
    seen = depth > 0
    assert (normals[~seen] == 0).all() and (pncc[~seen] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals[seen], axis=-1), 1.0, atol=1e-5)
    assert normals[20, 18, 2] > 0.9 and normals[20, 26, 0] > normals[20, 10, 0] and normals[12, 18, 1] > normals[28, 18, 1]
    assert pncc.min() >= 0 and pncc.max() <= 1 and pncc[20, 26, 0] > pncc[20, 10, 0] and pncc[12, 18, 1] > pncc[28, 18, 1]
    assert depth[20, 18] < depth[20, 9]
    np.testing.assert_allclose(render.render_depth(head, head.mean, camera, hold_barycentrics=True, **SIZE), depth, rtol=1e-5)


def test_the_light_stays_when_the_head_turns():
    head = tiny_head()
    from_right = jnp.zeros((4, 3)).at[0].set(2.0).at[3].set(1.0)
    for yaw in (-0.5, 0.0, 0.5):
        image, mask, _ = render_color(head, head.mean, jnp.ones_like(head.mean), portrait(yaw), from_right, **SIZE)
        columns = np.flatnonzero(np.asarray(mask).any(axis=0))
        middle = (columns[0] + columns[-1]) // 2
        assert image[:, middle:].sum() / mask[:, middle:].sum() > image[:, :middle].sum() / mask[:, :middle].sum()


@pytest.mark.parametrize("perspective", [True, False])
def test_gradients_to_vertices_match_central_differences_while_visibility_holds(float64, perspective, rng):
    head = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.float32 else x, tiny_head())
    camera = portrait(perspective=perspective, dtype=float)
    light = jnp.asarray(rng.normal(size=(9, 3)))
    weights = jnp.asarray(rng.normal(size=(40, 36, 3)))

    @jax.jit
    def loss(vertices):
        image, _, fragments = render_color(head, vertices, head.albedo_mean, camera, light, **SIZE)
        return (image * weights).sum(), fragments.triangle
    (_, ids), gradient = jax.value_and_grad(loss, has_aux=True)(head.mean)
    step, checked = 1e-5, 0
    for vertex in rng.permutation(np.unique(np.asarray(head.triangles)[np.unique(ids[ids >= 0])]))[:12]:
        for axis in range(3):
            up, down = (loss(head.mean.at[vertex, axis].add(s)) for s in (step, -step))
            if (up[1] != ids).any() or (down[1] != ids).any():
                continue
            checked += 1
            np.testing.assert_allclose(gradient[vertex, axis], (up[0] - down[0]) / (2 * step), rtol=1e-4, atol=1e-5)
    assert checked > 20


def test_gradients_reach_albedo_camera_and_light(light):
    head = tiny_head()

    def loss(albedo, camera, light):
        return (render_color(head, head.mean, albedo, camera, light, **SIZE)[0] ** 2).sum()
    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1, 2)))(head.albedo_mean, portrait(), light)):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0


def test_a_broken_face_in_a_batch_changes_no_other(light):
    head = tiny_head()
    batch = jnp.stack([head.mean, head.mean.at[5].set(jnp.nan), head.mean * 0])

    @jax.jit
    @functools.partial(jax.vmap, in_axes=0)
    def loss_and_gradient(vertices):
        def loss(vertices):
            _, color, _ = render.render_foreground(head.triangles, vertices, head.albedo_mean, portrait(), light, size=900, **SIZE)
            return (color**2).sum()
        return jax.value_and_grad(loss)(vertices)
    value, gradient = loss_and_gradient(batch)
    alone = loss_and_gradient(batch[:1])
    np.testing.assert_allclose(value[0], alone[0][0], rtol=1e-5)
    np.testing.assert_allclose(gradient[0], alone[1][0], atol=1e-4)
    assert value[2] == 0 and (gradient[2] == 0).all()


def test_vertex_normals_turn_with_the_view(light):
    camera = portrait(0.7)
    head = tiny_head()
    turned = vertex_normals(to_camera_frame(camera, head.mean) * jnp.array([[1.0, -1.0, -1.0]]), head.triangles)
    np.testing.assert_allclose(to_view_frame(camera, vertex_normals(head.mean, head.triangles)), turned, atol=1e-4)
