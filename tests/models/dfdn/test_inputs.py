"""What DFDN's networks are given: the surface of the UV map, and light, skin and relief told from a rendered photo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.color import linear_to_srgb
from fitkit.fitting.state import FaceState, rasterize_state
from fitkit.geometry.pose import Pose, camera_from_pose
from fitkit.geometry.vectors import vertex_normals
from fitkit.models.dfdn import inputs
from fitkit.models.dfdn.inputs import (
    PLANES,
    explain,
    log_irradiance,
    network_patches,
    planes_of,
    proxy_tables,
    surface_pulls,
    unwrap,
)
from fitkit.models.heads import makehuman
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.recipes.dfdn.refinement import refine
from fitkit.rendering.shading import sh_basis
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import FaceParameters

SIDE, SIZE = 16, 160        # texels of a patch; pixels of the photo
LIGHT = np.zeros((9, 3), np.float32)
LIGHT[:4] = np.array([2.6, 0.7, 0.9, -0.8])[:, None]        # head frame


@functools.cache
def face():
    """A head, its state, vertices, and its photo under `LIGHT`."""
    model, rng = makehuman.load(), np.random.default_rng(2)
    identity, albedo = (rng.normal(0, width, len(each)).astype(np.float32) for width, each in ((0.4, model.identity),
                                                                                            (0.6, model.albedo)))
    turn, scale = np.radians(8.0), SIZE / 217.0            # about the vertical; pixels a mm
    turned = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]], np.float32)
    middle = scale * np.array([71.0 * np.sin(turn), 25.0])     # of the face, from the head's origin, across and down
    pose = Pose(rotation=turned, centre=np.float32(-middle), log_scale=np.float32(np.log(scale)),
                log_focal=np.float32(np.log(700.0 * scale)), principal=np.full(2, SIZE / 2, np.float32))
    state = FaceState(face=FaceParameters(identity=identity, expression=np.zeros(len(model.expression), np.float32), albedo=albedo,
                                          light=LIGHT), pose=pose)
    vertices, seen = shape(model, identity, state.face.expression), rasterize_state(state, model, size=SIZE)
    return model, state, vertices, seen, photographed(model, vertices, albedo, seen)


@jax.jit
def photographed(model, vertices, albedo, seen):
    colours = vertex_albedo(model, albedo) * (sh_basis(normalized(vertex_normals(vertices, model.triangles))) @ LIGHT)
    photo = linear_to_srgb(jnp.clip(values_at_fragments(seen, model.triangles, colours), 0, 1))
    return jnp.where(seen.triangle[..., None] >= 0, photo, jnp.nan)


def normalized(values):
    return values / jnp.linalg.norm(values, axis=-1, keepdims=True).clip(1e-9)


def shown(photo=None):
    model, state, vertices, _, own = face()
    return unwrap(model, proxy_tables(model, SIDE), vertices, camera_from_pose(state.pose), own if photo is None else photo)


irradiance = jax.jit(log_irradiance)


def test_pulls_are_the_gradient_along_the_surface():
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:9, :9].astype(np.float32)
    points = np.stack([0.6 * column + 0.1 * row, -0.5 * row, 0.05 * column * row], -1)
    by = rng.normal(size=3)
    heights = points @ by                                # a linear function of space, whose gradient is known
    across, down = (0.5 * (np.roll(heights, -1, axis) - np.roll(heights, 1, axis)) for axis in (1, 0))
    pulls = np.asarray(surface_pulls(jnp.asarray(points)))
    found = pulls[0] * across[..., None] + pulls[1] * down[..., None]
    tangents = [0.5 * (np.roll(points, -1, axis) - np.roll(points, 1, axis))[4, 4] for axis in (1, 0)]
    normal = np.cross(*tangents) / np.linalg.norm(np.cross(*tangents))
    np.testing.assert_allclose(found[4, 4], by - normal * (by @ normal), atol=1e-4)


def test_light_and_skin_explain_a_rendering():
    model = face()[0]
    seen = shown()
    skin = explain(model, proxy_tables(model, SIDE), seen)
    rendered = skin.albedo * (sh_basis(seen.normals) @ skin.light)
    there = np.asarray(seen.skin) > 0.9
    assert there.sum() > 1000
    error = np.abs(np.asarray(linear_to_srgb(jnp.clip(rendered, 0, 1)) - seen.colour))[there]
    assert error.mean() < 0.02
    planes = np.asarray(planes_of(seen, skin))
    assert np.isfinite(planes).all() and np.abs(planes[there][:, PLANES.index("solved")]).mean() < 0.3


def test_irradiance_grows_as_its_slopes_say():
    seen = shown()
    light = jnp.asarray(LIGHT[:, 0])
    here, by = irradiance(seen, light)
    step = 0.05 * inputs.UNIT_TEXEL * surface_pulls(seen.points)
    for axis in range(2):
        leant = normalized(seen.normals - step[axis])
        there = np.asarray(seen.skin) > 0.9
        change = (jnp.log(sh_basis(leant) @ light) - here) / 0.05
        np.testing.assert_allclose(np.asarray(change)[there], np.asarray(by[axis])[there], atol=0.05)


def test_a_groove_is_solved_inwards():
    """The photo of a groove across the forehead, by its first order; DFDN's least squares press it in."""
    model, state, _, seen_pixels, photo = face()
    seen = shown()
    _, by = irradiance(seen, jnp.asarray(LIGHT[:, 0]))
    row = np.arange(104)[:, None] - 18.0
    groove = -1.2 * np.exp(-0.5 * (row / 1.2) ** 2) * np.ones((1, 104))       # in units of a texel
    ratio = np.asarray(by[1]) * np.diff(groove, axis=0, append=0.0)
    marked = seen._replace(colour=jnp.clip(seen.colour * jnp.exp(jnp.asarray(ratio))[..., None] ** (1 / 2.2), 0, 1))
    planes = np.asarray(planes_of(marked, explain(model, proxy_tables(model, SIDE), marked)), np.float64)
    there = (np.asarray(seen.skin) > 0.9) & (np.abs(row) < 4)
    assert np.corrcoef(planes[..., -1][there], (groove * np.ones((104, 104)))[there])[0, 1] > 0.7
    # and a map becomes pixels that lie deeper where it is pressed in
    pressed = jnp.asarray(groove * inputs.UNIT_TEXEL, jnp.float32)
    detail = refine(model, state, photo, seen_pixels, map_of=lambda *_: (pressed * seen.skin, seen.skin))
    moved = np.asarray(detail.displacement)
    assert moved.max() > 0.3 and moved.min() > -1e-3 and np.abs(moved[SIZE // 2:]).max() < 0.05
    nothing = shown(photo * jnp.nan)
    assert not nothing.skin.any() and bool(jnp.isfinite(nothing.colour).all())


def test_the_value_is_given_about_its_mean():
    planes = np.random.default_rng(1).uniform(size=(104, 104, len(PLANES))).astype(np.float32)
    planes[..., PLANES.index("seen")] = np.arange(104) % 2
    patch = np.asarray(network_patches(jnp.asarray(planes), ((3, 5),), SIDE))[0]
    inside = planes[3:19, 5:21]
    there = inside[..., PLANES.index("seen")] > 0
    np.testing.assert_allclose(patch[..., 0][there], 2 * (inside[..., 0] - inside[..., 0][there].mean())[there], atol=1e-5)
    assert not patch[..., 0][~there].any()
