"""Fine relief in two parts: what lasts, and the folds that an expression makes, which leave with it.

Skin that an expression compresses folds. So the relief that lies where the fitted expression compresses the skin is laid to it,
more the more it compresses, and to each of its shapes by the compression that this shape makes alone; the rest lasts. A part then
grows and fades in proportion to its shape's weight: at the fitted weights the relief is the fitted one, at rest what lasts.

In: a head, its parameters and the `Relief` of a fit. Out: `ExpressionRelief`; `expressed_relief` gives the relief of another
expression, `vertex_slopes` what morph targets need. Called by `fitkit.results`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.strain import compression, vertex_means
from fitkit.morphable.model import shape
from fitkit.rendering.texture import cached_texel_fragments, values_at_fragments
from fitkit.types import FaceParameters, MorphableModel
from fitkit.uv.displacement import Relief, relief_on

FOLDING = (0.03, 0.12)      # compression between which relief turns from lasting to the expression's; chosen, about the 0.08 that
                            # skin bears without a fold in `recipes/synthesize/relief/compression.py`
LEAST_WEIGHT = 0.1          # fitted weight of a shape below which no relief is laid to it: it would grow tenfold; chosen
MOST_GROWTH = 1.5           # times the fitted relief that a fold may become under greater weights; chosen


class ExpressionRelief(NamedTuple):
    """A relief by what makes it."""

    displacement: Float[Array, "T T"]        # of the fit, mm outwards
    share: Float[np.ndarray, "V K"]          # of it that `shapes` make, about each vertex, in [0, 1]; what is left of 1 lasts
    fitted: Float[np.ndarray, " E"]          # the fitted expression
    shapes: tuple[int, ...]                  # expressions; none and K = 1: all as one


def split_relief(model: MorphableModel, face: FaceParameters, relief: Relief) -> ExpressionRelief:
    """What of a fit's relief its expression makes.

    Args:
        model: the head.
        face: the fit.
        relief: of the fit.
    """
    fitted = np.asarray(face.expression)
    # shapes of a head that are not ARKit's have no sign and mean nothing one by one
    shapes = tuple(np.flatnonzero(fitted >= LEAST_WEIGHT).tolist()) if model.named is None else ()
    rest = _shaped(model, face, np.zeros_like(fitted))
    alone = [np.where(np.arange(len(fitted)) == index, fitted, 0) for index in shapes] or [fitted]
    each = np.stack([_compressed(model, rest, _shaped(model, face, weights)) for weights in alone], axis=1)
    whole = _compressed(model, rest, _shaped(model, face, fitted))
    share = np.clip((whole - FOLDING[0]) / (FOLDING[1] - FOLDING[0]), 0, 1)[:, None]
    total = each.sum(1, keepdims=True)
    return ExpressionRelief(relief.displacement, np.where(total > 0, share * each / np.where(total > 0, total, 1.0), 0.0), fitted,
                            shapes)


def expressed_relief(model: MorphableModel, face: FaceParameters, split: ExpressionRelief) -> Relief:
    """The relief of a face under its expression, which may be another than the fitted one.

    Args:
        model: the head.
        face: expression is the wanted one.
        split: of the fit.
    """
    wanted, fitted = np.asarray(face.expression, np.float64), np.asarray(split.fitted, np.float64)
    if split.shapes:
        growth = wanted[list(split.shapes)] / fitted[list(split.shapes)]
    else:
        growth = np.array([wanted @ fitted / max(float(fitted @ fitted), LEAST_WEIGHT**2)])
    left = 1 + split.share @ (np.clip(growth, 0, MOST_GROWTH) - 1)
    fragments = cached_texel_fragments(model, split.displacement.shape[0])
    at_texels = values_at_fragments(fragments, model.triangles, jnp.asarray(left[:, None], jnp.float32))[..., 0]
    return relief_on(model, face, split.displacement * jnp.where(fragments.triangle >= 0, at_texels, 1.0))


def vertex_slopes(model: MorphableModel, face: FaceParameters, split: ExpressionRelief) -> dict[int, Float[np.ndarray, "V 3"]]:
    """Of each of the split's shapes the slope of its folds at weight 1, mean about each vertex: mm per mm, head frame.

    Args:
        model: the head.
        face: at rest.
        split: of the fit; one of no shapes gives none.
    """
    fragments = cached_texel_fragments(model, split.displacement.shape[0])
    covered = np.asarray(fragments.triangle) >= 0
    corners = np.asarray(model.triangles)[np.asarray(fragments.triangle)[covered]]
    weight, slope = np.asarray(fragments.barycentric)[covered], np.asarray(relief_on(model, face, split.displacement).gradient)
    whole = np.bincount(corners.ravel(), weight.ravel(), len(model.mean))
    sums = [np.bincount(corners.ravel(), (weight * slope[covered][:, axis, None]).ravel(), len(model.mean)) for axis in range(3)]
    mean = np.stack(sums, axis=1) / np.maximum(whole, 1.0)[:, None]
    return {index: mean * split.share[:, [row]] / float(split.fitted[index]) for row, index in enumerate(split.shapes)}


_shape = quick_jit()(shape)


def _shaped(model: MorphableModel, face: FaceParameters, weights: Float[np.ndarray, " E"]) -> Float[np.ndarray, "V 3"]:
    return np.asarray(_shape(model, face.identity, jnp.asarray(weights, jnp.float32)), np.float64)


def _compressed(
    model: MorphableModel, rest: Float[np.ndarray, "V 3"], moved: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, " V"]:
    """How much shorter the skin about each vertex became in the direction in which it did so most, mean by area."""
    triangles = np.asarray(model.triangles)
    found = compression(rest, moved, triangles)
    return vertex_means(np.maximum(1 - found.stretch, 0), found.double_area, triangles, len(rest))
