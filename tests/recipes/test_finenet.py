"""FineNet in use: the shipped weights carve a groove where a photo shows one and nothing on smooth skin, in place of stage 2."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.fitting.state import rasterize_state
from fitkit.geometry.depth_maps import differences
from fitkit.models.heads import makehuman
from fitkit.recipes import finenet
from fitkit.recipes.inverse_rendering import geometry_refinement
from fitkit.recipes.inverse_rendering.face_surface import render, visible_surface
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.shading import light_from_direction
from tests.measurements.wrinkles import random_state

SIZE = 256
DEPTH, WIDTH = 0.8, 2.0          # mm, of the groove
ABOVE = 62.0                     # mm above the head's origin, where the forehead is


@functools.cache
def face():
    """A head lit from above, what a picture sees of it, and its surface."""
    model = makehuman.load()
    state = random_state(np.random.default_rng(5), model, SIZE)
    light = light_from_direction(jnp.array([0.3, 0.8, 0.6]), ambient=0.3, strength=0.6)
    object.__setattr__(state.face, "light", light)
    seen = rasterize_state(state, model, size=SIZE)
    return model, state, seen, visible_surface(model, state, seen, GeometryRefinementConfig())


def photo_of(moved):
    """The face with a displacement, mm along the depth; as bright as skin around it where it is not."""
    _, state, _, surface = face()
    slopes = surface.slopes + differences(jnp.asarray(moved, jnp.float32)) * state.pose.scale
    picture = jnp.moveaxis(render(surface, state.face.light, jnp.eye(3), slopes), 0, -1)
    return jnp.where(surface.depth[..., None] > 0, picture, 0.4)


@functools.cache
def groove():
    """A level groove across the forehead, mm; positive is away from the camera."""
    _, state, _, surface = face()
    row, column = (np.mgrid[:SIZE, :SIZE] + 0.5)
    up = (float(state.pose.centre[1] + state.pose.principal[1]) - row) / float(state.pose.scale)
    across = (column - float(state.pose.centre[0] + state.pose.principal[0])) / float(state.pose.scale)
    shape = np.exp(-0.5 * ((up - ABOVE) / WIDTH) ** 2) * np.exp(-0.5 * (across / 22) ** 4)
    return DEPTH * shape * np.asarray(surface.mask)


def test_a_groove_is_carved_where_the_photo_has_one_and_smooth_skin_stays_smooth():
    model, state, seen, surface = face()
    carved, plain = (finenet.refine(model, state, photo_of(moved), seen) for moved in (groove(), 0 * groove()))
    there = groove() > 0.1
    assert there.sum() > 200
    gap = [np.linalg.norm(np.stack(np.gradient(groove() - share * np.asarray(carved.displacement))), axis=0)[there].mean()
           for share in (0.0, 1.0)]
    assert gap[1] < 0.85 * gap[0]
    assert np.corrcoef(np.asarray(carved.displacement)[there], groove()[there])[0, 1] > 0.5
    assert np.sqrt(np.mean(np.asarray(plain.displacement)[np.asarray(surface.mask) > 0.5] ** 2)) < 0.1


def test_the_detail_is_as_stage_2_makes_it():
    model, state, seen, surface = face()
    photo = photo_of(groove()).at[:, :100].set(jnp.nan)
    detail = finenet.refine(model, state, photo, seen)
    other = geometry_refinement.refine(model, state, photo, seen, config=GeometryRefinementConfig())
    for name in ("camera", "displacement", "depth", "normals", "mask"):
        mine, theirs = getattr(detail, name), getattr(other, name)
        assert name == "camera" or (mine.shape == theirs.shape and mine.dtype == theirs.dtype and bool(jnp.isfinite(mine).all()))
    assert not detail.mask[:, :100].any() and not detail.displacement[:, :100].any()
    np.testing.assert_allclose(detail.depth, surface.depth + detail.displacement, rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(detail.normals, axis=-1), surface.depth > 0, atol=1e-4)


def test_relief_stays_where_the_photo_has_lines_and_goes_where_it_has_none():
    """The network's answer is everywhere the same; the groove runs over a part of the face."""
    model, state, seen, surface = face()
    kept = finenet.refine(model, state, photo_of(groove()), seen, lines=True,
                          displacement=lambda photo, view, camera: jnp.ones(photo.shape[:2]))
    share = np.asarray(kept.displacement) / np.maximum(np.asarray(surface.mask), 1e-3)
    assert share[groove() > 0.5 * groove().max()].mean() > 0.8
    plain = finenet.refine(model, state, jnp.full_like(photo_of(groove()), 0.5), seen, lines=True,
                           displacement=lambda photo, view, camera: jnp.ones(photo.shape[:2]))
    assert np.abs(plain.displacement).max() < 0.05


@pytest.mark.parametrize("name", ["finenet", "shading"])
def test_stage_2_is_chosen_by_a_field(monkeypatch, name):
    from fitkit.recipes.inverse_rendering import recipe

    called = []
    for module, title in ((finenet, "finenet"), (geometry_refinement, "shading")):
        monkeypatch.setattr(module, "refine", lambda *args, title=title, **fields: called.append(title))
    model, state, _, _ = face()
    solution, observation = recipe.Solution(state=state, losses={}), type("Seen", (), {"crop": photo_of(0 * groove())})
    recipe._refine(model, observation, solution, recipe.InverseRenderingConfig(stages=2, detail=name))
    assert called == [name]
