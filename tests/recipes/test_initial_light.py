"""What stage 1 believes of light and skin before it has looked at shape: its start, and the prior on light."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.fitting.state import SH_WHITE, FaceState, neutral_state
from fitkit.geometry.pose import Pose, camera_from_pose, head_to_view, project_view
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.recipes.inverse_rendering.initial_light import InitialLightConfig, fit_initial_light
from fitkit.recipes.priors import FACING_HEMISPHERE, LightPriorConfig, expected_light, light_precision
from fitkit.rendering import render
from fitkit.rendering.shading import sh_basis

SIZE = 128
PRIOR = LightPriorConfig(light_chroma=0.15)
FACE = "fit_skin"


@functools.cache
def head():
    return fitkit.load_head("makehuman")


def facing() -> FaceState:
    """A typical face before the camera."""
    return neutral_state(head(), Pose(
        rotation=jnp.eye(3), centre=jnp.zeros(2), log_scale=jnp.log(0.5), log_focal=jnp.log(500.0),
        principal=jnp.full(2, SIZE / 2)))


def photographed(melanin: float) -> np.ndarray:
    """The sRGB photo of that face with so much of the first mode of albedo, in the light of a portrait, beside a lamp."""
    state, model = facing(), head()
    colours = vertex_albedo(model, jnp.zeros(model.albedo.shape[0]).at[0].set(melanin))
    vertices = shape(model, state.face.identity, state.face.expression)
    photo = np.array(linear_to_srgb(render.render_color(
        model, vertices, colours, camera_from_pose(state.pose), expected_light(PRIOR), height=SIZE, width=SIZE)[0]))
    photo[4:20, 4:20] = 1.0             # without any light in the picture, it would be taken for underexposed
    return photo


def points() -> jnp.ndarray:
    """The 68 points of that face, pixels."""
    state, model = facing(), head()
    places = values_at_points(model.landmarks, model.triangles, shape(model, state.face.identity, state.face.expression))
    return project_view(state.pose, head_to_view(state.pose, places))


def start(photo: np.ndarray):
    """State and exposure at the start."""
    return jax.jit(fit_initial_light, static_argnames=("config", "skin"))(
        facing(), head(), jnp.asarray(photo), points(), config=InitialLightConfig(), skin=FACE)


def skin_of(photo: np.ndarray) -> np.ndarray:
    """Median albedo of the facial skin at the start."""
    state, _ = start(photo)
    colours = np.asarray(vertex_albedo(head(), state.face.albedo))
    return np.median(colours[np.asarray(head().regions[head().region_names.index(FACE)]) > 0.9], axis=0)


@pytest.mark.parametrize("melanin", [-1.5, 0.0, 1.5])
def test_spectacles_and_hair_do_not_darken_the_skin_that_the_fit_starts_from(melanin):
    photo = photographed(melanin)
    plain = skin_of(photo)
    photo[46:60, 30:98] = 0.05          # dark spectacles
    photo[20:80, 30:52] = 0.12          # hair down one side
    # without its eyes only the lamp tells how the photo is exposed, which is half a stop here
    assert (0.88 * plain < skin_of(photo)).all() and (skin_of(photo) < 2**0.5 * plain).all()


@pytest.mark.parametrize("melanin", [-1.5, 1.5])
def test_of_a_photo_at_half_the_exposure_more_than_half_of_the_stop_is_found(melanin):
    photo = photographed(melanin)
    dark = np.asarray(linear_to_srgb(0.5 * srgb_to_linear(jnp.asarray(photo))))
    stops = np.log2(skin_of(dark).mean() / skin_of(photo).mean())
    assert abs(stops) < 0.5
    assert np.log2(start(dark)[1] / start(photo)[1]) < -0.35


def test_with_eyes_as_dark_as_skin_the_brightest_parts_tell_the_exposure():
    photo = photographed(-1.5)
    for first, last in ((36, 42), (42, 48)):
        left, top = np.floor(np.asarray(points()[first:last]).min(0)).astype(int)
        right, bottom = np.ceil(np.asarray(points()[first:last]).max(0)).astype(int)
        photo[top:bottom, left:right] = 0.2
    dark = np.asarray(linear_to_srgb(2.0**-1.5 * srgb_to_linear(jnp.asarray(photo))))
    assert np.log2(start(photo)[1]) == pytest.approx(0.34 - 0.3, abs=0.01)
    assert np.log2(start(dark)[1]) == pytest.approx(0.75 * -1.5 + 0.34 + 0.3, abs=0.01)
    assert abs(np.log2(skin_of(dark).mean() / skin_of(photo).mean())) < 0.75


def test_a_photo_without_a_pixel_of_the_face_gives_a_finite_start():
    assert np.isfinite(skin_of(np.full((SIZE, SIZE, 3), np.nan, np.float32))).all()
    assert np.isfinite(skin_of(np.zeros((SIZE, SIZE, 3), np.float32))).all()


def test_the_facing_hemisphere_is_that_of_a_ball_as_it_is_seen():
    points = np.random.default_rng(0).uniform(-1, 1, (400_000, 2))
    x, y = points[np.square(points).sum(1) < 1].T
    normals = np.stack([x, y, np.sqrt(1 - x * x - y * y)], -1).astype(np.float32)
    np.testing.assert_allclose(SH_WHITE * np.asarray(sh_basis(normals)).mean(0), FACING_HEMISPHERE, atol=5e-3)


def test_the_prior_on_light_is_the_sum_that_its_docstring_says():
    offset = np.random.default_rng(1).standard_normal((9, 3))       # in units of white light
    grey = offset.mean(1, keepdims=True)
    of_band = np.repeat(PRIOR.light_deviation, [1, 3, 5])[:, None]
    tint = np.where(np.arange(9) == 0, 0.15, 0.15 * PRIOR.light_side_chroma)[:, None]
    wanted = (3 * (grey / of_band) ** 2).sum() + (((offset - grey) / tint) ** 2).sum()
    wanted += 3 * (np.array(FACING_HEMISPHERE) @ grey[:, 0] / PRIOR.light_exposure) ** 2
    found = (SH_WHITE * offset).ravel() @ np.asarray(light_precision(9, PRIOR)) @ (SH_WHITE * offset).ravel()
    assert found == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_allclose(light_precision(4, PRIOR), light_precision(9, PRIOR)[:12, :12])
