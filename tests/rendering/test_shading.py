import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from fitkit.rendering import shading
from tests.fixtures import numpy_oracles

pytestmark = pytest.mark.usefixtures("strict_ranks")


def directions(rng, count):
    x = rng.normal(size=(count, 3))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def real_harmonics(n):
    """The nine functions from scipy's complex ones, in the documented order, without the Condon-Shortley phase."""
    n = np.asarray(n, np.float64)
    polar, azimuth = np.arccos(np.clip(n[:, 2], -1, 1)), np.arctan2(n[:, 1], n[:, 0])

    def y(degree, order):
        value = sph_harm_y(degree, abs(order), polar, azimuth)
        if order == 0:
            return value.real
        return np.sqrt(2) * (-1) ** order * (value.real if order > 0 else value.imag)
    return np.stack([y(0, 0), y(1, -1), y(1, 0), y(1, 1), y(2, -2), y(2, -1), y(2, 0), y(2, 1), y(2, 2)], axis=1)


def test_basis_is_that_of_scipy(rng):
    n = directions(rng, 40)
    np.testing.assert_allclose(shading.sh_basis(n), real_harmonics(n), atol=1e-6)


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_fewer_bands_are_the_first_functions(bands, rng):
    n = directions(rng, 5)
    np.testing.assert_array_equal(shading.sh_basis(n, bands=bands), shading.sh_basis(n)[:, : bands**2])


def test_basis_is_orthonormal_by_numerical_integration():
    z, weight = np.polynomial.legendre.leggauss(12)
    azimuth = 2 * np.pi * np.arange(24) / 24
    z, azimuth = (x.ravel() for x in np.meshgrid(z, azimuth, indexing="ij"))
    ring = np.sqrt(1 - z**2)
    basis = np.asarray(shading.sh_basis(jnp.asarray(np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z], 1), jnp.float32)))
    gram = (basis * np.repeat(weight, 24)[:, None] * 2 * np.pi / 24).T @ basis
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-5)


@pytest.mark.parametrize("functions", [1, 4, 9])
def test_irradiance_is_the_basis_times_the_light(functions, rng):
    n, light = directions(rng, 7), rng.normal(size=(functions, 3)).astype(np.float32)
    expected = real_harmonics(n)[:, :functions] @ light
    np.testing.assert_allclose(shading.sh_irradiance(n, light), expected, atol=1e-5)
    albedo = rng.uniform(size=(7, 3)).astype(np.float32)
    np.testing.assert_allclose(shading.shade(albedo, n, light), albedo * expected, atol=1e-5)


def test_a_constant_light_leaves_the_albedo(rng):
    albedo = rng.uniform(size=(7, 3)).astype(np.float32)
    light = jnp.full((1, 3), 1 / shading.sh_basis(jnp.array([0.0, 0.0, 1.0]), bands=1)[0])
    np.testing.assert_allclose(shading.shade(albedo, directions(rng, 7), light), albedo, rtol=1e-6)


def test_light_from_a_direction_is_lamberts_cosine(rng):
    n, towards = directions(rng, 200), directions(rng, 1)[0]
    found = np.asarray(shading.sh_irradiance(n, shading.light_from_direction(towards, ambient=0.2, strength=0.7)))
    cosine = np.maximum(n @ towards, 0)
    assert np.abs(found - (0.2 + 0.7 * cosine)[:, None]).max() < 0.07      # three bands hold the lobe to 0.09


def test_bounded_irradiance_is_irradiance_within_bounds_and_has_finite_gradients(rng):
    """Ordinary light is untouched; where one lamp leaves black, or goes negative in one colour, there is light."""
    n = jnp.asarray(directions(rng, 500), jnp.float32)
    soft = shading.light_from_direction(jnp.array([0.3, 0.4, 0.8]), ambient=0.7, strength=0.1)
    np.testing.assert_allclose(shading.bounded_irradiance(n, soft), shading.sh_irradiance(n, soft), rtol=1e-5)
    hard = shading.light_from_direction(jnp.array([1.0, 0.0, 0.0]), ambient=0.0, strength=jnp.array([1.0, 0.8, 0.3]))
    hard = hard.at[3, 1].add(1.0)
    assert float(shading.sh_irradiance(n, hard).min()) < 0.0
    found, mean = np.asarray(shading.bounded_irradiance(n, hard)), np.asarray(hard[0]) * 0.28209479
    level = (found / mean).mean(-1)
    assert level.min() > 0.8 * 0.87 - 1e-3 and np.abs(np.log(found / mean / level[:, None])).max() < 0.3
    gradient = jax.vmap(jax.grad(lambda n: shading.bounded_irradiance(n[None], hard).sum()))(jnp.concatenate([n, 0.0 * n[:1]]))
    assert np.isfinite(gradient).all()


def test_irradiance_has_the_gradient_of_central_differences(float64, rng):
    n, light, weights = directions(rng, 3).astype(float), rng.normal(size=(9, 3)), rng.normal(size=(3, 3))

    def loss(n, light):
        return (shading.sh_irradiance(jnp.asarray(n), jnp.asarray(light)) * weights).sum()
    to_normals, to_light = jax.grad(loss, (0, 1))(jnp.asarray(n), jnp.asarray(light))
    np.testing.assert_allclose(to_normals, numpy_oracles.central_difference(lambda x: loss(x, light), n), atol=1e-7)
    np.testing.assert_allclose(to_light, numpy_oracles.central_difference(lambda x: loss(n, x), light), atol=1e-7)


def test_phong_by_hand():
    albedo, up = jnp.full((1, 3), 0.5), jnp.array([[0.0, 0.0, 1.0]])
    white = {"ambient": 0.1, "diffuse": 0.6, "specular": 0.3, "shininess": 4.0}
    slanted = jnp.array([[np.sqrt(0.75), 0.0, 0.5]])
    np.testing.assert_allclose(shading.shade_phong(albedo, up, up, up, **white), 0.5 * 0.7 + 0.3, rtol=1e-6)
    np.testing.assert_allclose(shading.shade_phong(albedo, up, up, slanted, **white), 0.5 * (0.1 + 0.3) + 0.3 * 0.5**4, rtol=1e-6)
    np.testing.assert_allclose(shading.shade_phong(albedo, up, up, -up, **white), 0.05, rtol=1e-6)     # lit from behind


def test_phong_has_finite_gradients_in_a_batch_where_the_highlight_ends():
    side = jnp.array([1.0, 0.0, 0.0])
    normals = jnp.stack([side, jnp.array([0.0, 0.0, 1.0]), jnp.zeros(3), -side])

    def loss(n):
        return shading.shade_phong(jnp.ones(3), n, jnp.array([0.0, 0.0, 1.0]), side, shininess=0.5 + 1.0).sum()
    assert np.isfinite(jax.vmap(jax.grad(loss))(normals)).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("count", [1, 4, 9])
def test_shading_in_planes_is_shading_and_has_the_gradient_of_central_differences(count, rng):
    surface, light, weights = rng.normal(size=(6, 7)), rng.normal(size=(count, 3)), jnp.asarray(rng.normal(size=(3, 7)))
    unit = surface[:3] / np.linalg.norm(surface[:3], axis=0)
    np.testing.assert_allclose(shading.shade_planes(jnp.asarray(surface), jnp.asarray(light)).T,
                               shading.shade(surface[3:].T, unit.T, jnp.asarray(light)), atol=1e-12)

    @jax.jit
    def loss(surface, light):
        return (shading.shade_planes(surface, light) * weights).sum()
    by_surface, by_light = jax.grad(loss, (0, 1))(jnp.asarray(surface), jnp.asarray(light))
    np.testing.assert_allclose(by_surface, numpy_oracles.central_difference(lambda x: loss(x, light), surface), atol=1e-8)
    np.testing.assert_allclose(by_light, numpy_oracles.central_difference(lambda x: loss(surface, x), light), atol=1e-8)


def test_shading_in_planes_of_a_missing_normal_has_a_finite_gradient_in_a_batch():
    surface = jnp.stack([jnp.zeros((6, 3)), jnp.ones((6, 3))])
    gradient = jax.vmap(jax.grad(lambda s: shading.shade_planes(s, jnp.ones((9, 3))).sum()))(surface)
    assert np.isfinite(gradient).all() and (gradient[0, :3] == 0).all() and (gradient[1] != 0).any()
