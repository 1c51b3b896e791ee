import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from fitkit.geometry.filters import blur_along, gaussian_blur, smoothstep


def test_smoothstep_by_hand():
    values = np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 9.0])
    expected = np.array([0.0, 0.0, 5 / 32, 0.5, 27 / 32, 1.0, 1.0])
    np.testing.assert_array_equal(smoothstep(values, 0.0, 2.0), expected)
    np.testing.assert_array_equal(smoothstep(jnp.asarray(values, jnp.float32), 0.0, 2.0), expected.astype(np.float32))
    np.testing.assert_array_equal(smoothstep(values, np.zeros(7), np.full(7, 2.0)), expected, "a ramp for each value")


def test_smoothstep_keeps_the_kind_of_array():
    assert isinstance(smoothstep(np.ones(2), 0.0, 1.0), np.ndarray) and smoothstep(np.ones(2), 0.0, 1.0).dtype == np.float64
    assert isinstance(smoothstep(jnp.ones(2), 0.0, 1.0), jax.Array)


def test_smoothstep_is_level_at_both_ends():
    slope = jax.vmap(jax.grad(lambda value: smoothstep(value, 1.0, 3.0)))(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(slope, [0.0, 0.75, 0.0], atol=1e-6)


def test_blur_is_the_gaussian_of_scipy(rng):
    planes = rng.uniform(size=(2, 40, 40)).astype(np.float32)
    for deviation in (1.0, 2.5, 6.0):
        expected = scipy.ndimage.gaussian_filter(planes, (0, deviation, deviation), mode="constant", truncate=8.0)
        np.testing.assert_allclose(gaussian_blur(jnp.asarray(planes), deviation), expected, atol=1e-5)


def test_blur_takes_a_traced_deviation_and_keeps_a_constant():
    ones = jnp.ones((64, 64))
    found = jax.jit(gaussian_blur)(ones, jnp.float32(2.0))
    np.testing.assert_allclose(found[20:44, 20:44], 1.0, atol=1e-5)
    assert found[0, 0] < 0.5, "nothing comes in over the border"


def test_blur_along_lines_is_that_of_scipy_along_an_axis_and_of_points_on_a_slanted_line(rng):
    plane, size = rng.uniform(size=(64, 64)).astype(np.float32), 64
    for axis, double in ((1, (1.0, 0.0)), (0, (-1.0, 0.0))):
        lines = jnp.broadcast_to(jnp.array(double)[:, None, None], (2, size, size))
        found = blur_along(jnp.asarray(plane)[None], lines, 3.0)[0]
        expected = scipy.ndimage.gaussian_filter1d(plane, 3.0, axis=axis, mode="wrap", truncate=8.0)
        # two further directions, an eighth of a half turn away, take part by 0.11 each
        others = sum(scipy.ndimage.map_coordinates(plane, _along(size, np.pi / 2 * (axis == 0) + turn * np.pi / 8, step), order=3,
                                                   mode="grid-wrap") * weight
                     for turn in (-1, 1) for step, weight in zip(*_kernel(3.0), strict=True))
        share = np.cos(np.pi / 4) ** 6
        np.testing.assert_allclose(found, (expected + share * others) / (1 + 2 * share), atol=0.02)


def _kernel(deviation):
    steps = np.arange(-12, 13)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    return steps, weights / weights.sum()


def _along(size, angle, step):
    down, across = np.mgrid[:size, :size].astype(float)
    return down + step * np.sin(angle), across + step * np.cos(angle)
