"""Losses of DFDN against loops, its patches, its schedule, and one step of the paper's game."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.models.dfdn.inputs import PLANES
from fitkit.models.dfdn.patches import AREAS
from fitkit.recipes.train.dfdn import losses, patches, task
from fitkit.recipes.train.dfdn.basis import kept_variance, patch_basis
from fitkit.recipes.train.dfdn.patches import SKIN, Patches, chosen_places
from fitkit.recipes.train.step import differentiable_loss, schedule

SIDE, RNG = 24, np.random.default_rng(3)
TINY = dataclasses.replace(task.CONFIGS["small"], side=SIDE, components=3, pdim_width=2, pdim_levels=2, hidden=(8,), pdrm_width=2,
                           pdrm_levels=2, pdrm_fine=2, judge_width=2, batch=4, steps=100, turn=2)


def harmonics(x, y, z):
    """Real spherical harmonics of three bands, by their formulas (Ramamoorthi and Hanrahan 2001)."""
    return np.array([0.282095, 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z,
                     0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y)])


def curved(side):
    """Points of a surface that is nearly a plane, seen from +z, rows downwards; its normals."""
    row, column = np.mgrid[:side, :side].astype(float)
    height = 0.02 * (column - side / 2) ** 2 + 0.1 * np.sin(row)
    normals = np.stack([-0.04 * (column - side / 2), 0.1 * np.cos(row), np.ones_like(row)], -1)
    return np.stack([column, -row, height], -1), normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def test_geometry_loss_is_eq_10():
    found, target, weight = RNG.normal(size=(3, 2, 4, 4))
    weight = np.abs(weight)
    sums = [sum(weight[b, i, j] * abs(found[b, i, j] - target[b, i, j]) for i in range(4) for j in range(4)) / max(
        weight[b].sum(), 1.0) for b in range(2)]
    np.testing.assert_allclose(losses.geometry_loss(*map(jnp.asarray, (found, target, weight))), sums, rtol=1e-5)
    assert not losses.geometry_loss(jnp.ones((1, 2, 2)), jnp.zeros((1, 2, 2)), jnp.zeros((1, 2, 2))).any()


def test_appearance_loss_is_eqs_11_to_14():
    points, normals = curved(7)
    displacement, albedo, colour = (RNG.uniform(0, 0.3, (7, 7, *more)) for more in ((), (3,), (3,)))
    light = RNG.normal(size=(9, 3)) * 0.1 + np.array([1.0, *[0.0] * 8])[:, None]
    moved, total = points + displacement[..., None] * normals, 0.0

    def cross(surface, i, j):
        across, down = 0.5 * (surface[i, j + 1] - surface[i, j - 1]), 0.5 * (surface[i + 1, j] - surface[i - 1, j])
        product = np.cross(down, across)
        return product / np.linalg.norm(product)

    for i in range(1, 6):
        for j in range(1, 6):
            fine = normals[i, j] + cross(moved, i, j) - cross(points, i, j)
            fine /= np.linalg.norm(fine)
            total += np.mean(np.abs(colour[i, j] - albedo[i, j] * (harmonics(*fine) @ light))) / 25
    given = [jnp.asarray(each, jnp.float32)[None] for each in (displacement, points, normals, albedo, light, colour)]
    np.testing.assert_allclose(losses.appearance_loss(*given, jnp.ones((1, 7, 7))), [total], rtol=1e-4)
    outwards = losses.surface_normals(given[1])[0, 1:-1, 1:-1]
    assert np.einsum("ijk,ijk->ij", outwards, normals[1:-1, 1:-1]).min() > 0.98
    assert not losses.surface_normals(given[1])[0, 0].any()


def test_appearance_moves_nothing_but_the_displacement():
    points, normals = curved(5)
    given = [jnp.asarray(each, jnp.float32)[None] for each in (
        np.zeros((5, 5)), points, normals, np.ones((5, 5, 3)), np.ones((9, 3)), np.zeros((5, 5, 3)), np.ones((5, 5)))]
    slopes = jax.jit(jax.grad(lambda *args: losses.appearance_loss(*args).sum(), argnums=(0, 3, 4)))(*given)
    assert bool(jnp.isfinite(slopes[0]).all()) and bool((slopes[0] != 0).any())
    assert not slopes[1].any() and not slopes[2].any()


@pytest.mark.parametrize("kind", ["log", "squares"])
def test_adversaries_losses_are_eq_7(kind):
    real, fake = RNG.normal(size=(2, 2, 3, 3))
    sigmoid = lambda x: 1 / (1 + np.exp(-x))      # noqa: E731
    judged = -np.log(sigmoid(real)) - np.log(1 - sigmoid(fake)) if kind == "log" else 0.5 * ((real - 1) ** 2 + fake**2)
    made = -np.log(sigmoid(fake)) if kind == "log" else (fake - 1) ** 2
    found = losses.discriminator_loss(jnp.asarray(real), jnp.asarray(fake), adversary=kind)
    np.testing.assert_allclose(found, judged.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(losses.generator_loss(jnp.asarray(fake), adversary=kind), made.mean((1, 2)), rtol=1e-5)


def some_patches(count, *, appearance=False):
    planes = RNG.normal(size=(count, SIDE, SIDE, len(PLANES))).astype(np.float16)
    planes[..., SKIN] = 1
    points, normals = (np.repeat(each[None], count, axis=0) for each in curved(SIDE))
    maps = np.concatenate([points, normals, np.full((*points.shape[:3], 6), 0.5)], axis=-1)
    maps = maps if appearance else np.zeros((count, 0, 0, 12))
    target = RNG.normal(size=(count, SIDE, SIDE)).astype(np.float16) * 0.1
    return Patches(planes, target, maps.astype(np.float32), np.ones((count, 9, 3), np.float32))


def test_the_schedule_is_pdim_then_labels_then_both_in_turn():
    data = task.Data(some_patches(5), some_patches(3, appearance=True), some_patches(2))
    early, later, last = (task.batch(data, TINY, range(step * 4, step * 4 + 4)) for step in (1, 5, 50))
    assert not early["refined"].any() and early["labelled"].all()
    assert later["refined"].all() and later["labelled"].all()
    assert last["refined"].all() and last["labelled"].tolist() == [1, 0, 1, 0] and not last["target"][1].any()
    one = task.batch(data, TINY, range(201, 202))
    np.testing.assert_array_equal(one["planes"][0], last["planes"][1])
    rates = [float(schedule(dataclasses.replace(TINY, warmup=10, constant=40, final=0.0))(step)) for step in (0, 10, 49, 75, 100)]
    np.testing.assert_allclose(rates, [0, TINY.rate, TINY.rate, TINY.rate / 2, 0], atol=1e-9)


def test_both_areas_together_are_half_of_each(monkeypatch):
    one, other = some_patches(4), some_patches(3)
    monkeypatch.setattr(task, "open_runs", lambda *_, **__: types.SimpleNamespace(
        labelled=types.SimpleNamespace(trained=None, held=None), photographs=()))
    monkeypatch.setattr(task, "kept_patches", lambda name, facts, make, area: one if area == "forehead" else other)
    found = task.load((), (), dataclasses.replace(TINY, area="both"))
    assert found.photographs is None
    np.testing.assert_array_equal(found.labelled.target, np.concatenate([one.target[[0, 2]], other.target[[0, 2]]]))


def test_each_network_is_moved_by_its_own_side():
    data = task.Data(some_patches(5), some_patches(3, appearance=True), some_patches(2))
    given = task.batch(data, TINY, range(200, 204))

    graph, parameters, rest = nnx.split(jax.jit(lambda: task.build(TINY, nnx.Rngs(0)))(), nnx.Param, ...)

    @jax.jit
    def slopes(weight):
        config = dataclasses.replace(TINY, weight_geometry=weight)
        return jax.value_and_grad(differentiable_loss(task.DFDN, config, graph), has_aux=True)(parameters, rest, given)

    ((game, (terms, _)), moved), ((_, _), other) = slopes(100.0), slopes(0.0)
    assert np.isfinite(float(game)) and all(float(terms[name]) > 0 for name in ("fine", "slopes", "appearance", "discriminator"))
    for one, same in zip(jax.tree.leaves(moved["judge"]), jax.tree.leaves(other["judge"]), strict=True):
        np.testing.assert_allclose(one, same, atol=1e-5)      # geometry does not move it
    mine, theirs = (jax.tree.leaves(each["generator"]["pdrm"]) for each in (moved, other))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in mine) and any(bool(leaf.any()) for leaf in theirs)


def test_patches_are_taken_where_wrinkles_are():
    size, area = 104, "mouth"
    displacement = np.zeros((size, size))
    displacement[70, 20:80] = 1.0
    places = chosen_places(np.random.default_rng(0), displacement, np.ones((size, size)), area, side=16, count=8)
    (top, left), (down, across) = AREAS[area]
    assert all(top * 16 <= row <= top * 16 + down * 8 and left * 16 <= column <= across * 8 for row, column in places)
    on = [row <= 70 < row + 16 for row, _ in places[:-patches.SCATTERED]]
    assert all(on) and len({column for _, column in places[:-patches.SCATTERED]}) > 3


def test_the_basis_holds_what_patches_have_in_common():
    shapes = RNG.normal(size=(3, 64))
    made = (RNG.normal(size=(40, 3)) * [3.0, 2.0, 1.0] @ shapes).reshape(40, 8, 8)
    basis = patch_basis(made, components=5)
    assert basis.shape == (64, 5) and kept_variance(basis, made) > 1 - 1e-6
    exact = np.linalg.svd(made.reshape(40, -1), compute_uv=False)[:3] / 40**0.5
    np.testing.assert_allclose(np.linalg.norm(basis, axis=0)[:3], exact, rtol=1e-3)
    cosines = task.cosines(8, 6)
    np.testing.assert_allclose(cosines.T @ cosines, np.diag(np.diag(cosines.T @ cosines)), atol=1e-5)
