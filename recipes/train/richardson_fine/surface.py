"""What a picture shows of a coarse head, pixel by pixel: depth by the rendering layer, slopes, albedo modes, skin that can fold.

In: a folded head, coefficients and a camera. Out: a `CoarseSurface`, which the loss compares with the picture. Through its depth
gradients reach coefficients and pose as Eq. 7 of Richardson et al. 2017 has it; everything else is held.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import LUMINANCE
from fitkit.geometry import depth_maps
from fitkit.geometry.camera import to_view_frame
from fitkit.geometry.vectors import vertex_normals
from fitkit.models.richardson.depth_layer import depth_layer
from fitkit.morphable.model import shape
from fitkit.morphable.regions import foldable_skin
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import Camera, MorphableModel

ALBEDO_MODES = 10           # Richardson 2017, Section 4.3.1
# Chosen, as stage 2 of `inverse_rendering` has them
FADE = 4.0                  # mm over which skin counts more beside brows, eyes, lips, nostrils and the nose's ridge
FACING = (0.2, 0.45)        # cosines of normal and line of sight between which a pixel's weight rises from 0 to 1


class CoarseHead(NamedTuple):
    """A head, and what its vertices look like."""

    model: MorphableModel                # folded
    skin: Float[Array, "V 2+K"]          # luminance of the mean albedo, of its first modes, and how much it is skin that folds


class CoarseSurface(NamedTuple):
    """What a picture sees of the head; planes, 0 where it does not see it."""

    depth: Float[Array, "s s"]           # camera z, mm; its gradient is that of Eq. 7
    scale: Float[Array, "s s"]           # pixels per mm
    slopes: Float[Array, "2 s s"]        # pixels per pixel, of its smooth normals: the facets of the mesh are no folds
    sight: Float[Array, "2 s s"]         # lines of sight at unit depth
    albedo: Float[Array, "s s"]          # luminance of the mean albedo, linear
    modes: Float[Array, "K s s"]         # of its modes, per standard deviation
    skin: Float[Array, "s s"]            # how much a pixel is face skin that can fold and turns to the camera, in [0, 1]


def coarse_head(model: MorphableModel) -> CoarseHead:
    """The tables of a folded head."""
    luminance = jnp.array(LUMINANCE)
    tones = [model.albedo_mean @ luminance, *(model.albedo[:ALBEDO_MODES] @ luminance)]
    return CoarseHead(model, jnp.stack([*tones, foldable_skin(model, fade=FADE)], axis=-1))


def coarse_surface(head: CoarseHead, identity: Float[Array, " I"], expression: Float[Array, " E"], camera: Camera, *, side: int
                   ) -> CoarseSurface:
    """The surface of a face in a square picture.

    Args:
        head: of `coarse_head`.
        identity: of the folded head.
        expression: of the folded head.
        camera: pixels of the picture.
        side: of the picture, pixels.
    """
    depth, seen = depth_layer(head.model, identity, expression, camera, side=side)
    held = jax.lax.stop_gradient
    vertices, fixed = held(shape(head.model, identity, expression)), held(camera)
    normals = to_view_frame(fixed, vertex_normals(vertices, head.model.triangles))
    values = values_at_fragments(held(seen), head.model.triangles, jnp.concatenate([normals, head.skin], axis=-1))
    x, y, z, albedo, *modes, skin = jnp.moveaxis(values, -1, 0)
    length = jnp.sqrt(x * x + y * y + z * z + 1e-12)
    sight = depth_maps.sight_lines(fixed, height=side, width=side)
    there = seen.triangle >= 0
    slopes = jnp.where(there, depth_maps.slopes_from_normals(jnp.stack([x, y, z]) / length, sight), 0.0)
    facing = 1.0 / jnp.sqrt(1.0 + jnp.sum(jnp.square(slopes), axis=0))
    towards = jnp.clip((facing - FACING[0]) / (FACING[1] - FACING[0]), 0.0, 1.0)
    part = jnp.where(there, head.model.part[seen.triangle], -1) == head.model.part_names.index("skin")
    return CoarseSurface(depth=depth, scale=depth_maps.pixels_per_mm(held(depth), fixed), slopes=slopes, sight=sight, albedo=albedo,
                         modes=jnp.stack(modes), skin=jnp.where(part, towards * skin, 0.0))
