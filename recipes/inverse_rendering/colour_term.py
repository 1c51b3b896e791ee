"""The colour term of stage 1: E_con of Guo et al. 2018 (Eq. 6) over visible skin, robust against what is no skin.

A pixel that disagrees with the rendering counts little, and so does an area that does; a smooth field over the face, which errors
of light and albedo make, is eliminated (`fitkit.fitting.smooth_field`). In: a state, the crop and the head's `SkinTables`. Out:
energy, gradient and the pixels with their weights; the matrix is `fitkit.fitting.photometric`'s.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.fitting import losses, photometric, solvers
from fitkit.fitting.photometric import FrozenPixels, SkinTables
from fitkit.fitting.smooth_field import FieldPrior, fitted_field
from fitkit.fitting.state import FaceState, rasterize_state
from fitkit.geometry.filters import gaussian_blur
from fitkit.geometry.pose import POSE_TANGENT, retract_pose
from fitkit.morphable.model import shape_gradient, vertex_albedo
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.recipes.landmarks import head_vertices
from fitkit.types import MorphableModel

SKIN = "fit_skin"       # the region whose pixels are compared
FOREHEAD = "forehead"   # the region that `forehead_discount` is of
MIN_SKIN = 0.05         # mean of a triangle's corners in region `SKIN` under which it is left out
MIN_COUNT = 1e-3        # of pixels under a neighbourhood's Gaussian
BOX = (0.125, 0.25, 0.25, 0.25, 0.125)      # kernel of `blur_photo`: a box of four pixels, centred on a pixel


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColourTermConfig:
    """Fields of the colour term.

    Attributes:
        weight_photo: weight of E_con (Guo 2018, Eq. 5: 1).
        field_functions: number of smooth functions over the face that residuals of colour are freed from (`smooth_field`).
        field_ridge: how little these may take, relative to the pixels under an average one.
        field_mean: the same of their mean over the face.
        colour_scale: colour difference, sRGB, at which a pixel counts for a quarter.
        area_scale: the same of the mean over a neighbourhood, at which all of it counts for a quarter: rims, hands, cast shadows.
        area_reach: millimetres of the Gaussian over which that mean is taken.
        highlight_share: what is left of that where the photo is brighter than the rendering.
        pixel_share: most pixels compared, as a share of the crop's; the skin of a face takes less, so that all are.
        forehead_discount: weight that a pixel of the forehead loses: hair falls over it, and shaded hair would pass for shape.
        eye_weight: weight of a pixel on an eyeball: reflections and lashes are in the way.
    """

    weight_photo: float = 1.0
    field_functions: int = 20
    field_ridge: float = 0.1
    field_mean: float = 30.0
    colour_scale: float = 0.2
    area_scale: float = 0.1
    area_reach: float = 5.0
    highlight_share: float = 0.5
    pixel_share: float = 0.5
    forehead_discount: float = 0.8
    eye_weight: float = 0.3


def skin_triangles(model: MorphableModel, *, forehead_discount: float, eye_weight: float) -> Float[Array, " F"]:
    """Weight of each triangle in the energy, in [0, 1]: face skin, less on the forehead, and the eyeballs for colour and gaze."""
    part, weight = np.asarray(model.part), np.asarray(region_mask(model, SKIN))
    if FOREHEAD in model.region_names:
        weight = weight * (1.0 - forehead_discount * np.asarray(region_mask(model, FOREHEAD)))
    skin = np.asarray(jnp.mean(weight[np.asarray(model.triangles)], -1))
    skin = np.where(np.asarray(triangles_of_part(model, "skin")) & (skin > MIN_SKIN), skin, 0.0)
    eyes = [index for index, name in enumerate(model.part_names) if name.startswith("eye_")]
    return jnp.asarray(np.where(np.isin(part, eyes), eye_weight, skin), jnp.float32)


def visible_pixels(
    photo: Float[Array, "S S 3"], state: FaceState, model: MorphableModel, mask: Float[Array, " F"], config: ColourTermConfig
) -> FrozenPixels:
    """The pixels that show skin, each with the weight of its triangle."""
    size = photo.shape[0]
    fragments = rasterize_state(state, model, size=size)
    return photometric.freeze_pixels(fragments.triangle, mask, photo, round(config.pixel_share * size * size))


def reweighted(
    pixels: FrozenPixels, difference: Float[Array, "3 N"], state: FaceState, size: int, config: ColourTermConfig
) -> FrozenPixels:
    """The pixels with robust weights: those that disagree with the rendering count little, alone or as an area.

    What covers a face or darkens it disagrees everywhere, and would bend the shape and tint the skin; the places where shape and
    light are still wrong are mostly seams.
    """
    # highlights only ever brighten: a pixel brighter than the rendering counts less than a darker one
    scale = config.colour_scale * jnp.where(jnp.mean(difference, 0) < 0, config.highlight_share, 1.0)
    squared = jnp.mean(jnp.square(difference), 0)
    column, row = pixels.position.astype(int)
    canvas = jnp.zeros((2, size, size)).at[:, row, column].add(pixels.weight * jnp.stack([squared, jnp.ones_like(squared)]))
    total, count = gaussian_blur(canvas, config.area_reach * state.pose.scale)[:, row, column]
    area = total / jnp.maximum(count, MIN_COUNT)
    robust = solvers.robust_weight(squared, scale) * solvers.robust_weight(area, jnp.asarray(config.area_scale))
    return dataclasses.replace(pixels, weight=pixels.weight * robust)


def pixel_residuals(state: FaceState, model: MorphableModel, pixels: FrozenPixels) -> Float[Array, "3 N"]:
    """Rendered minus photographed colour at frozen pixels."""
    return photometric.residuals(pixels, state.pose, head_vertices(state, model), vertex_albedo(model, state.face.albedo),
                                 state.face.light, model.triangles)


def colour_energy(
    residual: Float[Array, "3 N"], pixels: FrozenPixels, skin: SkinTables, config: ColourTermConfig
) -> Float[Array, ""]:
    """E_con, the smooth field eliminated."""
    field, penalty = fitted_field(residual, pixels.weight, pixels.triangle, skin.smooth, field_prior(config))
    return losses.photo_consistency(residual - field, pixels.weight) + penalty


def field_prior(config: ColourTermConfig) -> FieldPrior:
    """The prior of the smooth field."""
    return FieldPrior(ridge=config.field_ridge, mean=config.field_mean)


def photo_gradient(
    pixels: FrozenPixels, state: FaceState, model: MorphableModel, skin: SkinTables, size: int, config: ColourTermConfig
) -> tuple[FrozenPixels, Float[Array, ""], Float[Array, " n"]]:
    """The pixels with robust weights at this state, E_con with those weights fixed, and half its gradient in the tangent."""
    def difference(vertices: Array, step: Array, colours: Array, light: Array) -> Float[Array, "3 N"]:
        return photometric.residuals(pixels, retract_pose(state.pose, step), vertices, colours, light, model.triangles)

    seen, back = jax.vjp(difference, head_vertices(state, model), jnp.zeros(POSE_TANGENT),
                         vertex_albedo(model, state.face.albedo), state.face.light)
    held = reweighted(pixels, lax.stop_gradient(seen), state, size, config)
    value, by_difference = jax.value_and_grad(colour_energy)(seen, held, skin, config)
    by_vertices, by_step, by_colours, by_light = back(by_difference)

    by_albedo = jnp.dot(model.albedo.reshape(model.albedo.shape[0], by_colours.size), by_colours.ravel(), precision="highest")
    by_shape = shape_gradient(model, state.face.identity, state.face.expression, by_vertices)
    return held, value, 0.5 * jnp.concatenate([*by_shape, by_step, by_albedo, by_light.ravel()])


def blur_photo(photo: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """The photo averaged over four pixels a side in linear light; NaN stays where it is outside the photo, and beside it."""
    kernel = jnp.array(BOX)
    padded = jnp.pad(srgb_to_linear(photo), ((2, 2), (2, 2), (0, 0)), mode="edge")
    size = photo.shape[0]
    rows = sum((kernel[k] * padded[k:k + size] for k in range(5)), jnp.zeros(()))
    return linear_to_srgb(sum((kernel[k] * rows[:, k:k + size] for k in range(5)), jnp.zeros(())))
