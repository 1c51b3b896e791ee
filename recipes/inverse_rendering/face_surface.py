"""What a crop shows of the fitted head, pixel by pixel: slopes, albedo, and how much each pixel is skin that can fold.

In: a head, its `FaceState` and the `Fragments` of a square crop. Out: a `Surface`, which stage 2 displaces, and its rendering
(Guo et al. 2018, Eq. 4).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb
from fitkit.fitting.state import FaceState
from fitkit.geometry import depth_maps
from fitkit.geometry.pose import camera_from_pose, head_to_view
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import foldable_skin, region_mask
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.shading import irradiance_planes
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import Detail, Fragments, MorphableModel

LEVEL = "forehead"             # region where folds run level, and strands of hair hang across them; it begins above the frown


class Surface(NamedTuple):
    """What the crop shows of the morphable head; planes `[S, S]`, empty pixels 0."""

    depth: Float[Array, "S S"]           # camera z, mm
    slopes: Float[Array, "2 S S"]        # of its smooth normals: the facets of the mesh are no folds
    albedo: Float[Array, "3 S S"]        # linear RGB
    mask: Float[Array, "S S"]            # how much a pixel is face skin that turns to the camera, in [0, 1]
    level_folds: Float[Array, "S S"]     # how much it is of where folds run level, in [0, 1]
    upright: Float[Array, " 2"]          # the head's way up in the picture (x, y), unit
    sight: Float[Array, "2 S S"]         # lines of sight (x, y) at unit depth


def level_folds(model: MorphableModel) -> Float[Array, " V"]:
    """Per vertex, how much all folds run level there, in [0, 1]."""
    return region_mask(model, LEVEL) if LEVEL in model.region_names else jnp.zeros(model.mean.shape[0])


def visible_surface(
    model: MorphableModel, state: FaceState, seen: Fragments, config: GeometryRefinementConfig
) -> Surface:
    """The fitted head's surface at the pixels that see it."""
    view = head_to_view(state.pose, shape(model, state.face.identity, state.face.expression))
    masks = jnp.stack([foldable_skin(model, fade=config.refinement_outline_fade), level_folds(model)], -1)
    values = jnp.concatenate([vertex_normals(view, model.triangles), vertex_albedo(model, state.face.albedo), masks], -1)
    picture = jnp.moveaxis(values_at_fragments(seen, model.triangles, values), -1, 0)
    normals = picture[:3] / jnp.sqrt(jnp.sum(jnp.square(picture[:3]), 0) + 1e-12)
    height, width = seen.triangle.shape
    lines = depth_maps.sight_lines(camera_from_pose(state.pose), height=height, width=width)
    slopes = depth_maps.slopes_from_normals(normals, lines)
    facing = 1.0 / jnp.sqrt(1.0 + jnp.sum(jnp.square(slopes), 0))
    low, high = config.refinement_facing
    towards = jnp.clip((facing - low) / (high - low), 0.0, 1.0)
    part = jnp.where(seen.triangle >= 0, model.part[seen.triangle], -1) == model.part_names.index("skin")
    mask = jnp.where(part, towards * picture[6], 0.0)
    up = state.pose.rotation[:2, 1] * jnp.array([1.0, -1.0])
    return Surface(depth=seen.depth, slopes=jnp.where(seen.triangle >= 0, slopes, 0.0),
                   albedo=jnp.clip(picture[3:6], 0.0, 1.0), mask=mask, level_folds=picture[7],
                   upright=up / jnp.sqrt(jnp.sum(jnp.square(up)) + 1e-12), sight=lines)


def render(surface: Surface, light: Float[Array, "K 3"], mix: Float[Array, "3 3"], slopes: Float[Array, "2 S S"]
           ) -> Float[Array, "3 S S"]:
    """The head's colours, sRGB, if its surface had these slopes (Guo 2018, Eq. 4)."""
    x, y, z = depth_maps.normals_from_slopes(slopes, surface.sight)
    irradiance = jnp.stack(irradiance_planes(x, y, z, light))
    return jnp.einsum("chw,ce->ehw", linear_to_srgb(jnp.maximum(surface.albedo * irradiance, 0.0)), mix)


def displaced_detail(surface: Surface, state: FaceState, mask: Float[Array, "S S"], pixels: Float[Array, "S S"]) -> Detail:
    """The surface moved along the depth.

    Args:
        surface: of the fit.
        state: the fit.
        mask: how much each pixel may be moved, in [0, 1].
        pixels: displacement, as many as a millimetre has at that depth times mm.
    """
    camera = camera_from_pose(state.pose)
    scale = depth_maps.pixels_per_mm(surface.depth, camera)
    displacement = jnp.where(scale > 0, pixels / jnp.where(scale > 0, scale, 1.0), 0.0)
    normals = depth_maps.normals_from_slopes(surface.slopes + depth_maps.differences(pixels), surface.sight)
    there = surface.depth > 0
    return Detail(camera=camera, mask=mask, displacement=displacement, depth=surface.depth + displacement,
                  normals=jnp.where(there[..., None], jnp.moveaxis(normals, 0, -1), 0.0), albedo=None)
