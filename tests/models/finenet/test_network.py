"""FineNet: its sizes, what it begins with, and the planes that it is given against loops and a rendered surface."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.color import linear_to_srgb
from fitkit.geometry.depth_maps import normals_from_slopes
from fitkit.models.finenet import inputs, shading_solution
from fitkit.models.finenet.inputs import CoarseView
from fitkit.models.finenet.network import PAPER, FineNet, FineNetSizes
from fitkit.rendering.shading import light_from_direction, sh_basis

SIDE = 64


def count(sizes):
    network = nnx.eval_shape(lambda: FineNet(sizes, rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def test_parameters_are_as_many_as_the_papers_network_has():
    assert count(PAPER) == 28_942_209
    assert count(FineNetSizes()) == 455_616


def test_a_picture_of_any_size_that_halves_gives_one_displacement_a_pixel():
    for sizes in (FineNetSizes(), PAPER):
        found = jax.eval_shape(lambda planes, sizes=sizes: FineNet(sizes, rngs=nnx.Rngs(0))(planes),
                               jax.ShapeDtypeStruct((3, 64, 96, sizes.planes), jnp.float32))
        assert found.shape == (3, 64, 96)


def test_an_untrained_network_answers_what_least_squares_find():
    planes = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 9)), jnp.float32)
    for count, expected in ((9, planes[..., -1]), (2, 0 * planes[..., 0])):
        found = jax.jit(lambda planes: FineNet(FineNetSizes(widths=(4,), planes=planes.shape[-1]), rngs=nnx.Rngs(0))(planes))
        np.testing.assert_array_equal(found(planes[..., :count]), expected)


def test_grey_and_depth_agree_with_a_loop():
    rng = np.random.default_rng(1)
    grey, around = rng.uniform(0, 1, (2, 50))
    depth = np.where(rng.uniform(size=50) < 0.3, 0.0, rng.uniform(500, 900, 50))
    for value, near, shown in zip(grey, around, inputs.brightness(grey, around, 0.25), strict=True):
        fine = max(-1.5, min(1.5, 4 * (value - near) / (near + 0.05 * 0.25)))
        assert np.isclose(shown, min(near / 0.25 - 1, 2.0) + fine, atol=1e-6)
    for z, shown in zip(depth, inputs.relative_depth(depth, 640.0, 0.8), strict=True):
        assert np.isclose(shown, 1.0 if z == 0 else max(-1.0, min(1.0, (z - 640.0) / (128 * 0.8))), atol=1e-6)


@pytest.fixture(scope="module")
def waves():
    """A leaning plane with low waves, one way and the other, lit from above: its displacement, photo and coarse view."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    moved = jnp.asarray(0.15 * np.sin(x / 2.2) + 0.2 * np.sin(y / 2.5), jnp.float32)
    slopes = jnp.stack([jnp.full((SIDE, SIDE), 0.3), jnp.full((SIDE, SIDE), -0.2)])
    sight = jnp.stack(jnp.broadcast_arrays((x - 30) / 900, (y - 30) / 900))
    light = light_from_direction(jnp.array([0.5, 0.6, 0.7]), ambient=0.3, strength=0.6)[:, 0]
    gradient = jnp.stack([jnp.gradient(moved, axis=axis) for axis in (1, 0)])
    normals = jnp.moveaxis(normals_from_slopes(slopes + gradient, sight), 0, -1)
    photo = linear_to_srgb(jnp.repeat((0.4 * (sh_basis(normals) @ light))[..., None], 3, axis=-1))
    every = jnp.ones((SIDE, SIDE))
    return moved, gradient, photo, CoarseView(600 * every, every, slopes, sight, 0.4 * every, light)


def planes_of(photo, view):
    made = inputs.view_planes(photo, view, jnp.float32(0.5), jnp.float32(600.0), jnp.float32(0.8))
    return dict(zip(inputs.PLANES, np.moveaxis(np.asarray(made), -1, 0), strict=True))


def test_brightness_is_a_matter_of_slopes_to_first_order(waves):
    _, gradient, photo, view = waves
    seen, middle = planes_of(photo, view), np.s_[16:-16, 16:-16]
    told = (seen["by_across"] * gradient[0] + seen["by_down"] * gradient[1]) / inputs.SHOWN["by"][0]
    ratio = seen["ratio"] / inputs.SHOWN["ratio"][0]
    assert ratio[middle].std() > 0.02
    assert np.abs(ratio - told)[middle].mean() < 0.15 * np.abs(ratio)[middle].mean()
    step = 1e-2      # of the derivatives themselves
    for name, lean in (("by_across", (step, 0.0)), ("by_down", (0.0, step))):
        leaning = [view._replace(slopes=view.slopes + sign * jnp.array(lean)[:, None, None]) for sign in (1, -1)]
        both = [inputs.log_irradiance(each)[0] for each in leaning]
        np.testing.assert_allclose(seen[name] / inputs.SHOWN["by"][0], (both[0] - both[1]) / (2 * step), rtol=0.03, atol=2e-3)
    assert not seen["hue"].any()


def test_the_solution_has_the_slopes_that_light_tells_of(waves):
    moved, gradient, photo, view = waves
    seen, middle = planes_of(photo, view), np.s_[16:-16, 16:-16]
    across, down = (np.gradient(seen["solved"], axis=axis) for axis in (1, 0))
    told = [np.sum([seen[f"by_{way}"] * each for way, each in zip(("across", "down"), pair, strict=True)], axis=0)[middle]
            for pair in (gradient, (across, down))]
    assert np.corrcoef(told[0].ravel(), told[1].ravel())[0, 1] > 0.95
    assert np.abs(told[1] - told[0]).mean() < 0.35 * np.abs(told[0]).mean()


def test_the_solution_is_that_of_the_normal_equations():
    rng, side = np.random.default_rng(2), 7
    ratio, across, down = 0.2 * rng.normal(size=(side, side)), *rng.uniform(0.2, 0.8, (2, side, side))
    there = np.ones((side, side))
    there[:2, :3] = 0
    rows, targets = [], []
    weight = there / (1 + (ratio / shading_solution.UNLIKELY) ** 2) ** 2

    def unit(r, c, value=1.0):
        row = np.zeros((side, side))
        if 0 <= r < side and 0 <= c < side:
            row[r, c] = value * there[r, c]
        return row

    for r in range(side):
        for c in range(side):
            root = np.sqrt(weight[r, c])
            slope = across[r, c] * (unit(r, c + 1) - unit(r, c)) + down[r, c] * (unit(r + 1, c) - unit(r, c))
            rows += [root * slope, np.sqrt(shading_solution.RIDGE) * unit(r, c)]
            targets += [root * ratio[r, c], 0.0]
            around = unit(r + 1, c) + unit(r - 1, c) + unit(r, c + 1) + unit(r, c - 1) - 4 * unit(r, c)
            rows.append(np.sqrt(shading_solution.BEND) * around)
            targets.append(0.0)
    expected = np.linalg.lstsq(np.stack(rows).reshape(len(rows), -1), np.array(targets), rcond=None)[0].reshape(side, side)
    given = [jnp.asarray(each, jnp.float32) for each in (ratio, np.stack([across, down]), there)]
    found = shading_solution.shading_solution(*given)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_planes_of_a_mirrored_crop_are_mirrored(waves):
    _, _, photo, view = waves
    sign = jnp.array([-1.0, 1.0])[:, None, None]
    normal_signs = jnp.array([1.0, 1, 1, -1, -1, 1, 1, -1, 1])      # of the harmonics when x turns round
    turned = CoarseView(view.depth[:, ::-1], view.face[:, ::-1], sign * view.slopes[..., ::-1], sign * view.sight[..., ::-1],
                        view.albedo[:, ::-1], view.light * normal_signs)
    first, other = planes_of(photo, view), planes_of(photo[:, ::-1], turned)
    for name, sign in zip(inputs.PLANES, inputs.MIRRORED, strict=True):
        inside, near = (np.s_[10:-10, 10:-10], 0.15) if name == "solved" else (np.s_[:, :], 2e-3)      # differences look one way
        np.testing.assert_allclose(other[name][:, ::-1][inside] * sign, first[name][inside], atol=near)
