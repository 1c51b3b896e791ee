"""The wrinkles that stage 2 found on a photo, drawn on the pictures that are made of it.

Albedo maps of such fits are free of the wrinkles' shading, which these give back in the new pose. Relief is mm outwards along the
normals, in UV; a record holds it along the depth.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.depth_maps import displaced_normals, sight_lines
from fitkit.labels.drawing import HEAD, WHITE16, Drawn, Scene
from fitkit.labels.fine_head import FineHead
from fitkit.labels.record import MAPS
from fitkit.labels.rerendering import render_labels
from fitkit.morphable.regions import foldable_skin
from fitkit.rendering.texture import cached_texel_fragments, sample_texture, values_at_fragments
from fitkit.types import Detail, FaceParameters, Fragments, MorphableModel
from fitkit.uv.displacement import bake_relief

# Chosen, not tuned
SIZE = 512              # side of the map, texels
FADE = 3.0              # mm over which relief fades in beside brows, eyes, nose and lips
DEEPEST = 1.5           # mm: what is deeper is an edge of hair or glasses
FACING = (0.3, 0.5)     # cosine of normal and line of sight from which a picture shows relief, and from which all of it


def skin_relief(model: MorphableModel, face: FaceParameters, detail: Detail | None) -> Float[np.ndarray, "S S"]:
    """The relief of a fit in UV, mm outwards; 0 where there is none.

    Args:
        model: the head as it is.
        face: of the fit.
        detail: of the same fit; None where its recipe found none.
    """
    if detail is None:
        return np.zeros((SIZE, SIZE), np.float32)
    return np.asarray(on_skin(model, bake_relief(model, face, detail, size=SIZE).displacement))


def on_skin(model: MorphableModel, relief: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """Relief on skin that can fold, within bounds, and nowhere else."""
    allowed = _foldable(model, cached_texel_fragments(model, relief.shape[0]))
    return jnp.clip(relief, -DEEPEST, DEEPEST) * allowed


@quick_jit()
def _foldable(model: MorphableModel, texels: Fragments) -> Float[Array, "S S"]:
    return values_at_fragments(texels, model.triangles, foldable_skin(model, fade=FADE)[:, None])[..., 0]


@jax.jit
def with_relief(model: MorphableModel, fine: FineHead, drawn: Drawn, scenes: Scene, heights: Float[Array, "S S"]) -> Drawn:
    """Stacked pictures with relief: its displacement, and depth, normals and colours that follow it.

    Args:
        model: the folded head.
        fine: `fine_head(model)`.
        drawn: pictures of a head alone, without a shirt.
        scenes: of the pictures.
        heights: relief, mm outwards, in the head's UV.
    """
    def one(row: tuple[Drawn, Scene]) -> tuple[Array, dict[str, Array]]:
        drawn, scene = row
        maps, camera, head = drawn.maps, scene.camera, drawn.mask & HEAD > 0
        slot = jnp.maximum(jnp.cumsum(head.ravel()) - 1, 0).reshape(head.shape)
        planes, depth = jnp.moveaxis(maps["normals"][slot].astype(jnp.float32), -1, 0), maps["depth"][slot]
        lines = sight_lines(camera, height=head.shape[0], width=head.shape[1])
        cosine = planes[2] - lines[0] * planes[0] + lines[1] * planes[1]
        outwards = sample_texture(heights[..., None], maps["uv"][slot] / WHITE16)[..., 0]
        shown = jnp.clip((cosine - FACING[0]) / (FACING[1] - FACING[0]), 0.0, 1.0) * head
        along = (-outwards * shown / jnp.maximum(cosine, FACING[0])).astype(MAPS["displacement"][0])
        displacement = along.astype(jnp.float32)
        moved = displaced_normals(planes, displacement, jnp.where(head, depth + displacement, 0.0), camera)
        # as a record is rendered anew
        picture = render_labels(model, fine, scene.identity, scene.expression, camera, maps["albedo_map"][slot] / WHITE16,
                                maps["lit"][slot] / 255, displacement, scene.light, size=head.shape[0])
        at = jnp.nonzero(head.ravel(), size=len(maps["depth"]), fill_value=0)[0]
        new = {"displacement": along, "depth": depth + displacement, "normals": jnp.moveaxis(moved, 0, -1)}
        return (jnp.where(head[..., None], picture, drawn.picture),
                {name: values.reshape(-1, *values.shape[2:])[at].astype(MAPS[name][0]) for name, values in new.items()})

    pictures, maps = lax.map(one, (drawn, scenes))
    return dataclasses.replace(drawn, picture=pictures, maps={**drawn.maps, **maps})
