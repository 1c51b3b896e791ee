import dataclasses
from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import head_rotation, project, rescale_camera
from fitkit.models.heads import makehuman
from fitkit.rendering.rasterizer import barycentrics, foreground, interpolate, interpolate_at, rasterize
from fitkit.types import Camera
from tests.fixtures import numpy_oracles
from tests.fixtures.tiny_head import tiny_head

pytestmark = pytest.mark.usefixtures("strict_ranks")

SIZES = {"specks": 0.8, "small": 4.0, "medium": 40.0, "large": 400.0, "wide": 4e4, "extreme": 3e5}


PADDED = (180, 75)      # vertices and triangles of the largest soup

compiled_interpolate = jax.jit(interpolate, static_argnames=("perspective", "hold_barycentrics"))


def draw(pixels, depth, triangles, *, height=30, width=40, capacity=None, cull=True, perspective=True):
    """`rasterize`, compiled as seldom as may be: always all options, and small scenes padded by triangles without area."""
    pixels, depth, triangles = np.asarray(pixels, np.float32), np.asarray(depth, np.float32), np.asarray(triangles, np.int32)
    vertices, faces = (max(size - len(x), 0) for size, x in zip(PADDED, (pixels, triangles), strict=True))
    pixels, depth = np.pad(pixels, ((0, vertices), (0, 0))), np.pad(depth, (0, vertices), constant_values=1)
    return rasterize(pixels, depth, np.pad(triangles, ((0, faces), (0, 0))), height=height, width=width, capacity=capacity,
                     cull=cull, perspective=perspective)


def assert_same(pixels, depth, triangles, *, height=30, width=40, capacity=None, **options):
    """Indices exactly those of the oracle, everywhere; depth close to it."""
    pixels, depth = np.asarray(pixels, np.float32), np.asarray(depth, np.float32)
    ids, z = numpy_oracles.visible_triangles(pixels, depth, triangles, height=height, width=width, **options)
    found = draw(pixels, depth, triangles, height=height, width=width, capacity=capacity, **options)
    np.testing.assert_array_equal(found.triangle, ids)
    assert found.overflow == 0
    return found, ids, z


def soup(rng, count, size, *, spread=40.0):
    """Random triangles; every fifth is squeezed to a sliver, and some share their vertices."""
    centre = rng.uniform(-0.1 * spread, 1.1 * spread, (count, 1, 2))
    corners = centre + rng.normal(size=(count, 3, 2)) * size
    corners[::5, 2] = corners[::5, 0] + 0.5 * (corners[::5, 1] - corners[::5, 0]) + rng.normal(size=(len(corners[::5]), 2)) * 0.01
    triangles = np.arange(3 * count).reshape(-1, 3)
    shared = rng.integers(0, 3 * count, (count // 4, 3))
    return corners.reshape(-1, 2), rng.uniform(300, 900, 3 * count), np.concatenate([triangles, shared])


def test_one_triangle_on_six_pixels():
    # Corners (0, 0), (0, 2), (3, 0): the long side passes below the first two centres of the upper row and of none
    # but the first of the lower one. Barycentrics by hand: w1 = y / 2, w2 = x / 3.
    found = draw([[0, 0], [0, 2], [3, 0]], [500, 500, 500], [[0, 1, 2]], perspective=False)
    np.testing.assert_array_equal(found.triangle[:2, :3], [[0, 0, -1], [0, -1, -1]])
    np.testing.assert_allclose(found.barycentric[0, 0], [7 / 12, 3 / 12, 2 / 12], atol=1e-6)
    np.testing.assert_allclose(found.barycentric[0, 1], [3 / 12, 3 / 12, 6 / 12], atol=1e-6)
    np.testing.assert_allclose(found.barycentric[1, 0], [1 / 12, 9 / 12, 2 / 12], atol=1e-6)
    np.testing.assert_array_equal(found.barycentric[0, 2], 0)
    np.testing.assert_array_equal(found.depth[:2, :3], [[500, 500, 0], [500, 0, 0]])
    assert (found.triangle >= 0).sum() == 3


def test_perspective_depth_is_linear_in_its_inverse():
    found = draw([[0, 0], [0, 8], [8, 0]], [100, 100, 300], [[0, 1, 2]])
    np.testing.assert_allclose(found.depth[0, 3], 1 / ((1 - 3.5 / 8) / 100 + 3.5 / 8 / 300), rtol=1e-6)
    affine = draw([[0, 0], [0, 8], [8, 0]], [100, 100, 300], [[0, 1, 2]], perspective=False)
    np.testing.assert_allclose(affine.depth[0, 3], 100 + 200 * 3.5 / 8, rtol=1e-6)


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_soups_of_any_size_match_the_oracle(size, cull, perspective, rng):
    assert_same(*soup(rng, 60, SIZES[size]), cull=cull, perspective=perspective)


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(seed=st.integers(0, 10**6), size=st.floats(0.3, 2e5), step=st.sampled_from([0.0, 0.5, 1.0]))
def test_random_soups_match_the_oracle(seed, size, step):
    pixels, depth, triangles = soup(np.random.default_rng(seed), 24, size)
    if step:       # corners on the pixel grid: centres fall on edges and corners
        pixels = np.round(pixels / step) * step
    assert_same(pixels, depth, triangles, cull=False)


def test_small_capacity_only_takes_more_rounds(rng):
    scene = soup(rng, 60, 8.0)
    one, _, _ = assert_same(*scene)
    many, _, _ = assert_same(*scene, capacity=97)
    np.testing.assert_array_equal(one.triangle, many.triangle)


def test_shared_edges_leave_no_hole_and_no_overlap(rng):
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(7.0)), -1) * 5 + rng.integers(-2, 3, (7, 9, 2)) * 0.5
    index = np.arange(63).reshape(7, 9)
    a, b, c, d = (index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel())
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    covered = np.zeros((30, 40), int)
    for triangle in triangles:
        covered += np.asarray(draw(grid.reshape(-1, 2), np.ones(63), triangle[None]).triangle) == 0
    assert (covered[3:-3, 3:-3] == 1).all() and covered.max() == 1
    assert_same(grid.reshape(-1, 2), np.ones(63), triangles)


def test_ties_go_to_the_lowest_index_whatever_the_order_of_corners(rng):
    pixels, depth = rng.uniform(0, 40, (3, 2)), rng.uniform(300, 900, 3)
    turned = np.array([[1, 2, 0], [0, 1, 2], [2, 0, 1], [0, 2, 1]])
    found, ids, _ = assert_same(np.tile(pixels, (2, 1)), np.tile(depth, 2), np.concatenate([turned, turned + 3]), cull=False)
    assert set(np.unique(ids)) == {-1, 0}


def test_back_faces_are_dropped_only_when_culled():
    pixels, depth, back = [[0, 0], [0, 8], [8, 0]], [1, 1, 1], [[0, 2, 1]]
    assert (draw(pixels, depth, back).triangle == -1).all()
    assert (draw(pixels, depth, back, cull=False).triangle[:3, :3] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e7])
def test_a_bad_vertex_drops_its_triangles_and_no_other(bad):
    pixels = np.array([[0, 0], [0, 8], [8, 0], [8, 8]], np.float32)
    triangles = [[0, 1, 2], [2, 1, 3]]
    for coordinate in range(2):
        broken = pixels.copy()
        broken[3, coordinate] = bad
        found = draw(broken, np.ones(4), triangles)
        assert set(np.unique(found.triangle)) == {-1, 0}
        assert np.isfinite(found.barycentric).all() and np.isfinite(found.depth).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -5.0])
def test_a_vertex_without_depth_drops_its_triangle(bad):
    found = draw([[0, 0], [0, 8], [8, 0]], [1, 1, bad], [[0, 1, 2]])
    assert (found.triangle == -1).all() and (found.depth == 0).all()


def test_weak_perspective_takes_depth_of_either_sign():
    found = draw([[0, 0], [0, 8], [8, 0]], [1, 1, -5], [[0, 1, 2]], perspective=False)
    assert (found.triangle[:3, :3] == 0).all()


def test_degenerate_and_off_frame_triangles_see_nothing(rng):
    pixels = np.array([[0, 0], [5, 5], [9, 9], [-50, -50], [-50, -20], [-20, -50], [45, 0], [45, 30], [60, 3]], np.float32)
    triangles = [[0, 0, 1], [0, 1, 2], [1, 1, 1], [3, 4, 5], [6, 7, 8]]
    found, _, _ = assert_same(pixels, np.ones(9), triangles, cull=False)
    assert (found.triangle == -1).all()


@pytest.mark.parametrize("yaw", [0, 40, 80])
@pytest.mark.parametrize("perspective", [True, False])
def test_head_matches_the_oracle(yaw, perspective):
    head = tiny_head()
    camera = portrait(np.deg2rad(yaw), perspective)
    pixels, depth = project(camera, head.mean)
    found, _, z = assert_same(pixels, depth, np.asarray(head.triangles), height=48, width=56, perspective=perspective)
    # Depth is that of the exact positions, the oracle's that of the snapped ones: they part where the surface falls away.
    error = np.abs(found.depth - z)[z > 0]
    assert np.quantile(error, 0.97) < 0.05 and error.max() < 3.0


@pytest.mark.parametrize("yaw", [0, 40, 80])
def test_the_embedded_head_matches_the_oracle(yaw):
    head = makehuman.load()
    camera = dataclasses.replace(rescale_camera(portrait(np.deg2rad(yaw)), 2.0, 0.0), translation=jnp.array([0.0, 0.0, 1100.0]))
    pixels, depth = project(camera, head.mean - head.mean.mean(axis=0, keepdims=True))
    _, ids, _ = assert_same(pixels, depth, np.asarray(head.triangles), height=96, width=112)
    assert (ids >= 0).mean() > 0.2


def portrait(yaw, perspective=True):
    return Camera(focal=jnp.float32(260.0), principal=jnp.array([28.0, 24.0]), rotation=head_rotation(yaw, 0.1, 0.05),
                  translation=jnp.array([0.0, 0.0, 1300.0]), perspective=perspective)


def test_interpolation_matches_the_oracle(rng):
    head = tiny_head()
    for perspective in (True, False):
        pixels, depth = project(portrait(0.5, perspective), head.mean)
        found = draw(pixels, depth, head.triangles, height=48, width=56, perspective=perspective)
        values = rng.normal(size=(len(pixels), 4)).astype(np.float32)
        expected = numpy_oracles.interpolate(np.asarray(found.triangle), *(np.asarray(x, np.float64) for x in (pixels, depth)),
                                         np.asarray(head.triangles), values, perspective=perspective)
        got = compiled_interpolate(found, pixels, depth, head.triangles, values, perspective=perspective)
        # On a sliver at the rim the exact point lies a hair outside the snapped triangle, where weights are held to it.
        assert np.mean(np.abs(got - expected) > 2e-3) < 0.01
        assert (np.asarray(got)[np.asarray(found.triangle) < 0] == 0).all()


def test_compacted_pixels_are_those_of_the_picture(rng):
    head = tiny_head()
    pixels, depth = project(portrait(0.5), head.mean)
    found = draw(pixels, depth, head.triangles, height=48, width=56)
    values = rng.normal(size=(len(pixels), 4)).astype(np.float32)
    picture = np.asarray(compiled_interpolate(found, pixels, depth, head.triangles, values)).reshape(-1, 4)
    seen = np.flatnonzero(np.asarray(found.triangle) >= 0)
    for size in (len(seen) + 50, len(seen) - 50):
        pixel = jax.jit(foreground, static_argnames="size")(found, size=size)
        count = min(size, len(seen))
        np.testing.assert_array_equal(pixel[:count], seen[:count])
        np.testing.assert_array_equal(pixel[count:], 48 * 56)
        compact = jax.jit(interpolate_at)(pixel, found, pixels, depth, head.triangles, values)
        np.testing.assert_array_equal(compact[:, :count].T, picture[seen[:count]])
        assert (compact[:, count:] == 0).all()


def test_interpolation_is_the_same_compiled(rng):
    head, side = tiny_head(), 512
    camera = rescale_camera(portrait(0.3), 9.0, 0.0)
    pixels, depth = project(camera, head.mean)
    values = jnp.asarray(rng.normal(size=(len(pixels), 6)), jnp.float32)
    found = rasterize(pixels, depth, head.triangles, height=side, width=side)
    assert found.triangle.size > 200_000 and (found.triangle >= 0).mean() > 0.3
    compiled = compiled_interpolate(found, pixels, depth, head.triangles, values)
    np.testing.assert_allclose(compiled, interpolate(found, pixels, depth, head.triangles, values), atol=1e-5)
    # against values looked up by hand at a few pixels, channel by channel
    for row, column in rng.permutation(np.argwhere(np.asarray(found.triangle) >= 0))[:20]:
        expected = found.barycentric[row, column] @ values[head.triangles[found.triangle[row, column]]]
        np.testing.assert_allclose(compiled[row, column], expected, atol=1e-5)


def scene(rng):
    """Three triangles on 12 x 12 pixels, float64, and weights that make a scalar of a picture."""
    pixels = np.array([[1.1, 0.8], [0.7, 10.9], [10.2, 1.3], [11.1, 11.3], [3.0, 12.6]])
    depth = np.array([400.0, 520.0, 610.0, 450.0, 480.0])
    return pixels, depth, jnp.array([[0, 1, 2], [2, 1, 3], [1, 4, 3]]), rng.normal(size=(5, 2)), rng.normal(size=(12, 12, 2))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("perspective", [True, False])
def test_gradients_match_central_differences(perspective, rng):
    pixels, depth, triangles, values, weights = scene(rng)
    found = rasterize(jnp.asarray(pixels), jnp.asarray(depth), triangles, height=12, width=12, perspective=perspective)
    assert (found.triangle >= 0).sum() > 60
    everywhere = jnp.arange(144, dtype=jnp.int32)

    def loss(pixels, depth, values):
        pixels, depth, values = (jnp.asarray(x) for x in (pixels, depth, values))
        picture = interpolate(found, pixels, depth, triangles, values, perspective=perspective)
        bary, z = barycentrics(everywhere, found.triangle.ravel(), pixels, depth, triangles, width=12, perspective=perspective)
        return ((picture + bary[:2].T.reshape(12, 12, 2)) * weights).sum() + (z.reshape(12, 12) * weights[..., 0]).sum()
    arguments = (pixels, depth, values)
    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))(*(jnp.asarray(x) for x in arguments))
    jitted = jax.jit(loss)
    for i in range(3):
        def along(x, i=i):
            return jitted(*arguments[:i], x, *arguments[i + 1:])
        expected = numpy_oracles.central_difference(along, arguments[i], step=1e-5)
        np.testing.assert_allclose(gradient[i], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("float64")
def test_fragments_carry_the_same_gradients_forward_and_backward(rng):
    pixels, depth, triangles, _, weights = (jnp.asarray(x) for x in scene(rng))

    def loss(pixels, depth):
        found = rasterize(pixels, depth, triangles, height=12, width=12)
        return (found.depth * weights[..., 0]).sum() + (found.barycentric[..., 0] * weights[..., 1]).sum()
    gradient = jax.jit(jax.grad(loss, (0, 1)))(pixels, depth)
    direction = (jnp.asarray(rng.normal(size=(5, 2))), jnp.asarray(rng.normal(size=5)))
    tangent = jax.jit(lambda *at: jax.jvp(loss, at, direction)[1])(pixels, depth)
    np.testing.assert_allclose(tangent, sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)), rtol=1e-9)
    assert (jnp.abs(gradient[0]) > 0).all()


def test_held_barycentrics_pass_gradients_to_values_only(rng):
    pixels, depth, triangles, values, weights = (jnp.asarray(x) for x in scene(rng))
    pixels, depth, values, weights = (x.astype(jnp.float32) for x in (pixels, depth, values, weights))
    found = rasterize(pixels, depth, triangles, height=12, width=12)

    def loss(pixels, depth, values):
        return (interpolate(found, pixels, depth, triangles, values, hold_barycentrics=True) * weights).sum()
    to_pixels, to_depth, to_values = jax.jit(jax.grad(loss, (0, 1, 2)))(pixels, depth, values)
    assert (to_pixels == 0).all() and (to_depth == 0).all()
    # Richardson 2017, Eq. 7: each pixel gives its gradient to a corner, weighted by the corner's barycentric.
    expected = np.zeros((5, 2))
    for row, column in np.argwhere(np.asarray(found.triangle) >= 0):
        for corner in range(3):
            vertex = triangles[found.triangle[row, column], corner]
            expected[vertex] += np.asarray(found.barycentric[row, column, corner] * weights[row, column])
    np.testing.assert_allclose(to_values, expected, atol=1e-4)


def test_degenerate_input_has_finite_gradients_in_a_batch():
    triangles = jnp.array([[0, 1, 2], [2, 1, 3]])
    square = jnp.array([[1.0, 1.0], [1.0, 9.0], [9.0, 1.0], [9.0, 9.0]])
    batch = jnp.stack([square, jnp.zeros((4, 2)), square.at[3].set(jnp.nan), square.at[2].set(square[1]),
                       square.at[:, 0].multiply(1e-3) + 1.5])
    depth = jnp.stack([jnp.full(4, 500.0)] * 4 + [jnp.array([500.0, 0.0, -3.0, 500.0])])

    def loss(pixels, depth):
        found = rasterize(pixels, depth, triangles, height=10, width=10)
        return found.depth.sum() + interpolate(found, pixels, depth, triangles, pixels).sum()
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss, (0, 1))))(batch, depth)
    for face in (0, 1, 3, 4):
        assert np.isfinite(value[face])
        assert all(np.isfinite(g[face]).all() for g in gradient)
    assert np.isfinite(value[2])        # the broken vertex is not seen
    assert np.isfinite(gradient[0][2][:3]).all()


def test_a_batch_gives_each_face_its_own_picture(rng):
    head = tiny_head()
    poses = [project(portrait(yaw), head.mean) for yaw in (0.0, 0.6, -1.2)]
    pixels, depth = (jnp.stack(x) for x in zip(*poses, strict=True))
    pixels = pixels.at[1].multiply(200.0)       # wide triangles in one of them
    batch = jax.vmap(partial(rasterize, triangles=head.triangles, height=48, width=56, capacity=700))(pixels, depth)
    for i in range(3):
        single = draw(pixels[i], depth[i], head.triangles, height=48, width=56)
        for name in ("triangle", "overflow"):
            np.testing.assert_array_equal(getattr(batch, name)[i], getattr(single, name))
        np.testing.assert_allclose(batch.depth[i], single.depth, rtol=1e-5)


def test_a_frame_without_triangles_is_empty():
    found = rasterize(np.zeros((3, 2), np.float32), np.ones(3, np.float32), np.zeros((0, 3), np.int32), height=4, width=5)
    assert (found.triangle == -1).all() and found.triangle.shape == (4, 5)
    assert [field.name for field in dataclasses.fields(found)] == ["triangle", "barycentric", "depth", "overflow"]
