"""What a finished fit shows of whether it can be believed: a few cheap numbers, from coefficients, points and the photo's crop.

In: the head, a recipe's input and its solution. Out: a number by name, those that the recipe can tell; each is
taken so that more of it is worse. `fit_quality` makes one score of them. Photo and rendering are compared at the vertices
of the face's skin, each weighted by how it faces the camera.
"""

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb
from fitkit.compilation import quick_jit
from fitkit.fitting.point_posterior import message_energy
from fitkit.fitting.state import FaceState, Observation, Solution
from fitkit.geometry.pose import head_to_view, project_view
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import region_mask
from fitkit.rendering.shading import sh_basis
from fitkit.results.fit_quality import landmark_error
from fitkit.types import MorphableModel

SKIN = "fit_skin"           # the region of the vertices
AGREEING = "agreeing"       # the loss of recipes that compare colours: the share of visible skin whose colours agree
BURNT = 0.985               # sRGB, of the brightest channel, from which it is clipped; chosen below JPEG's noise about 1
LEAST_LEVEL = 1 / 256       # sRGB; so that black has a logarithm
LEAST_SPREAD = 0.01         # sRGB; deviation of grey values under which a face shows nothing
AREA = 25.0                 # mm, side of the areas of which the worst are taken; chosen, and so are the next two
LEAST_SHARE = 0.01          # of the visible skin, that an area must have
WORST = 3                   # areas

_told = quick_jit()(message_energy)


def fit_evidence(
    model: MorphableModel, observation: Observation, solution: Solution, fitted: Float[np.ndarray, "68 2"]
) -> dict[str, float]:
    """The evidence of one fit.

    Args:
        model: the head.
        observation: the recipe's input, in pixels of the crop.
        solution: of the recipe.
        fitted: the head's 68 points, pixels of the crop.
    """
    state = solution.state
    places, weight, rendered = (np.asarray(values, np.float64) for values in _skin_vertices(model, state))
    crop = np.asarray(observation.crop)
    seen, photo, change = _sampled(crop, places)
    own = weight * seen / max(float((weight * seen).sum()), 1e-9)
    grey, drawn = photo.mean(-1) - own @ photo.mean(-1), rendered.mean(-1) - own @ rendered.mean(-1)
    spread = float(np.sqrt(own @ np.square(grey)))
    evidence = {
        "points": landmark_error(fitted, np.asarray(observation.ibug)),
        "dark": -float(np.log2(max(own @ photo.mean(-1), LEAST_LEVEL))),
        "burnt": float(own @ (photo.max(-1) > BURNT)),
        "flat": -float(np.log2(max(spread, LEAST_SPREAD))),
        "blurred": -float(np.log2(max(own @ change / max(spread, LEAST_SPREAD), LEAST_LEVEL))),
        "identity": float(jnp.mean(jnp.square(state.face.identity - model.identity_mean))),
        "turned": abs(float(np.degrees(np.arctan2(state.pose.rotation[0, 2], state.pose.rotation[2, 2])))),
    }
    if observation.message is not None:
        evidence["told"] = float(_told(state, observation.message)) / observation.message.target.size
    if AGREEING in solution.losses:
        evidence["disagreeing"] = 1.0 - float(solution.losses[AGREEING])
        contrast = spread * float(np.sqrt(own @ np.square(drawn)))
        evidence["unlike"] = 1.0 - float(own @ (grey * drawn)) / max(contrast, LEAST_SPREAD**2)
        evidence["covered"] = _worst_areas(np.asarray(model.mean), own, np.square(photo - rendered).mean(-1))
        evidence["skin"] = float(jnp.mean(jnp.square(state.face.albedo)))
    return evidence


def _worst_areas(places: Float[np.ndarray, "V 3"], weight: Float[np.ndarray, " V"], squared: Float[np.ndarray, " V"]) -> float:
    """Root mean squared difference in the few areas of the face, `AREA` wide, where it is largest."""
    column, row = (np.floor(places[:, axis] / AREA).astype(int) for axis in (0, 1))
    area = np.unique(np.stack([column, row]), axis=1, return_inverse=True)[1].ravel()
    share = np.bincount(area, weight)
    mean = np.bincount(area, weight * squared) / np.maximum(share, 1e-9)
    return float(np.sqrt(np.sort(mean[share > LEAST_SHARE])[-WORST:].mean())) if (share > LEAST_SHARE).any() else 0.0


def _sampled(
    crop: Float[np.ndarray, "S S 3"], places: Float[np.ndarray, "V 2"]
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, "V 3"], Float[np.ndarray, " V"]]:
    """Whether the photo shows a place, its colour there, and how much the grey values change from pixel to pixel."""
    column, row = np.floor(np.nan_to_num(places, nan=-1.0)).clip(-1, len(crop)).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < len(crop)) & (row < len(crop))
    column, row = column.clip(0, len(crop) - 1), row.clip(0, len(crop) - 1)
    photo = crop[row, column]
    change = np.abs(scipy.ndimage.laplace(np.nan_to_num(crop).mean(-1)))[row, column]
    return (inside & np.isfinite(photo).all(-1)).astype(float), np.nan_to_num(photo).astype(float), change.astype(float)


@quick_jit()
def _skin_vertices(model: MorphableModel, state: FaceState) -> tuple[Float[Array, "V 2"], Float[Array, " V"], Float[Array, "V 3"]]:
    """Vertices in the crop, pixels; their weight, skin that faces the camera; and their rendered colour, sRGB."""
    view = head_to_view(state.pose, shape(model, state.face.identity, state.face.expression))
    normals = vertex_normals(view, model.triangles)
    colour = vertex_albedo(model, state.face.albedo) * (sh_basis(normals) @ state.face.light)
    weight = jnp.clip(normals[:, 2], 0.0, 1.0) * region_mask(model, SKIN)
    return project_view(state.pose, view), weight, linear_to_srgb(jnp.clip(colour, 0.0, 1.0))
