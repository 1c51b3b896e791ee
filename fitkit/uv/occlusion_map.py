"""Ambient occlusion of a fitted head in its UV: how much of an even sky each texel sees, the head at rest.

In: a head and its identity. Out: a map `[1024, 1024]` in [0, 1], for the occlusion texture of GLB files.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.morphable.model import shape
from fitkit.rendering.ambient_occlusion import ambient_occlusion
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import MorphableModel
from fitkit.uv.albedo_completion import with_filled_gutters
from fitkit.uv.layout import Layout, layout_of


def bake_occlusion(model: MorphableModel, identity: Float[Array, " I"]) -> Float[Array, "1024 1024"]:
    """Ambient occlusion of the head without expression, at every texel; between the islands that of the nearest."""
    vertices = _at_rest(model, identity)
    return _baked(model, ambient_occlusion(vertices, model.triangles), layout_of(model))


@quick_jit()
def _at_rest(model: MorphableModel, identity: Float[Array, " I"]) -> Float[Array, "V 3"]:
    return shape(model, identity, jnp.zeros(len(model.expression)))


@quick_jit()
def _baked(model: MorphableModel, values: Float[Array, " V"], layout: Layout) -> Float[Array, "T T"]:
    on_texels = values_at_fragments(layout.fragments, model.triangles, values[:, None])
    return with_filled_gutters(jnp.moveaxis(on_texels, -1, 0), layout)[..., 0]
