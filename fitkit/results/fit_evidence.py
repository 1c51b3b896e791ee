"""What a finished fit shows of whether it can be believed: a few cheap numbers, from coefficients, points and the photo's crop.

In: the head, a recipe's input and its solution. Out: a number by name, those that the recipe can tell; each is
taken so that more of it is worse. `fit_quality` makes one score of them. Photo and rendering are compared at the vertices
of the face's skin, each weighted by how it faces the camera.
"""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb
from fitkit.compilation import quick_jit
from fitkit.fitting.state import FaceState, Observation, Solution
from fitkit.geometry.pose import head_to_view, project_view
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import region_mask
from fitkit.rendering.shading import sh_basis
from fitkit.types import MorphableModel

SKIN = "fit_skin"           # the region of the vertices
AGREEING = "agreeing"       # the loss of recipes that compare colours: the share of visible skin whose colours agree
BURNT = 0.985               # sRGB, of the brightest channel, from which it is clipped; chosen below JPEG's noise about 1
LEAST_LEVEL = 1 / 256       # sRGB; so that black has a logarithm
LEAST_SPREAD = 0.01         # sRGB; deviation of grey values under which a face shows nothing
LEAST_REGION = 0.5          # weight in `SKIN` of the vertices that tell how unusual a shape is; chosen, as is the next
EVERY = 4                   # of them, one is taken: a bound on work


def fit_evidence(model: MorphableModel, observation: Observation, solution: Solution) -> dict[str, float]:
    """The evidence of one fit.

    Args:
        model: the head.
        observation: the recipe's input, in pixels of the crop.
        solution: of the recipe.
    """
    state = solution.state
    places, weight, rendered = (np.asarray(values, np.float64) for values in _skin_vertices(model, state))
    crop = np.asarray(observation.crop)
    seen, photo, change = _sampled(crop, places)
    own = weight * seen / max(float((weight * seen).sum()), 1e-9)
    grey, drawn = photo.mean(-1) - own @ photo.mean(-1), rendered.mean(-1) - own @ rendered.mean(-1)
    spread = float(np.sqrt(own @ np.square(grey)))
    evidence = {
        "dark": -float(np.log2(max(own @ photo.mean(-1), LEAST_LEVEL))),
        "burnt": float(own @ (photo.max(-1) > BURNT)),
        "flat": -float(np.log2(max(spread, LEAST_SPREAD))),
        "blurred": -float(np.log2(max(own @ change / max(spread, LEAST_SPREAD), LEAST_LEVEL))),
        "unusual": _unusual(model, np.asarray(state.face.identity, np.float64)),
    }
    if AGREEING in solution.losses:
        evidence["disagreeing"] = 1.0 - float(solution.losses[AGREEING])
        contrast = spread * float(np.sqrt(own @ np.square(drawn)))
        evidence["unlike"] = 1.0 - float(own @ (grey * drawn)) / max(contrast, LEAST_SPREAD**2)
        evidence["skin"] = float(jnp.mean(jnp.square(state.face.albedo)))
    return evidence


def _unusual(model: MorphableModel, identity: Float[np.ndarray, " I"]) -> float:
    """How far a shape is from the mean person's along its normals, mm, rms over the face; place and size do not count."""
    return float(np.sqrt(np.square(_normal_motion(model) @ (identity - np.asarray(model.identity_mean))).mean()))


@lru_cache(maxsize=8)
def _normal_motion(model: MorphableModel) -> Float[np.ndarray, "n I"]:
    """How far each identity coefficient moves vertices of the face along their normals, mm, less what a similarity could do."""
    chosen = np.flatnonzero(np.asarray(region_mask(model, SKIN)) > LEAST_REGION)[::EVERY]
    mean = shape(model, model.identity_mean, jnp.zeros(model.expression.shape[0]))
    normals = np.asarray(vertex_normals(mean, model.triangles), np.float64)[chosen]
    basis = np.asarray(model.identity, np.float64)[:, chosen]
    centred = np.asarray(mean, np.float64)[chosen]
    centred -= centred.mean(0)
    shifts = np.broadcast_to(np.eye(3)[:, None], (3, *centred.shape))
    turns = np.stack([np.cross(axis, centred) for axis in np.eye(3)])
    motions = np.linalg.qr(np.concatenate([shifts, turns, centred[None]]).reshape(7, -1).T)[0]
    flat = basis.reshape(len(basis), -1)
    return np.einsum("knc,nc->nk", (flat - flat @ motions @ motions.T).reshape(basis.shape), normals)


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
