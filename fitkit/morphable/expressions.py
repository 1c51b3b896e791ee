"""Expressions by name: a head's own, and ARKit's on heads whose own are others. Pure functions of a `MorphableModel`.

ARKit's weights of a face that was fitted with other coefficients are those whose expressions come nearest to its own, by least
squares.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from fitkit.morphable.regions import face_region
from fitkit.types import MorphableModel

RIDGE = 1e-3        # of squared weights, beside coefficients in units of their prior scale; chosen
LEAST = 1e-4        # mm^2, added to the metric of weights that move no vertex of the face; chosen


def expression_choices(model: MorphableModel) -> tuple[str, ...]:
    """The names that an expression may be given by."""
    return (*model.expression_names, *model.named_expressions)


def mirrored_names(names: Sequence[str]) -> list[int]:
    """Of each name the index of that with left and right exchanged: the expression of a mirror image."""
    swapped = [name.replace("Left", "*").replace("Right", "Left").replace("*", "Right") for name in names]
    return [list(names).index(name) for name in swapped]


def named_weights(model: MorphableModel, expression: Float[np.ndarray, " E"] | Float[Array, " E"]) -> Float[np.ndarray, " N"]:
    """Weights of the head's `named_expressions`, in [0, 1], that come nearest to coefficients; none on a head without them."""
    if model.named is None:
        return np.zeros(0, np.float32)
    scale = np.asarray(model.expression_scale, np.float64)
    basis = (np.asarray(model.named, np.float64) / scale).T
    rows = np.concatenate([basis, np.sqrt(RIDGE) * np.eye(basis.shape[1])])
    right = np.concatenate([np.asarray(expression, np.float64) / scale, np.zeros(basis.shape[1])])
    return scipy.optimize.lsq_linear(rows, right, bounds=(0.0, 1.0)).x.astype(np.float32)


def expression_metric(model: MorphableModel) -> Float[np.ndarray, "E E"]:
    """M such that `|M (a - b)|^2` is the mean squared distance, mm^2, of the face's vertices under expressions a and b."""
    share = np.asarray(face_region(model), np.float64)
    flat = np.asarray(model.expression, np.float64) * np.sqrt(share / share.sum())[:, None]
    flat = flat.reshape(len(flat), -1)
    return np.asarray(np.linalg.cholesky(flat @ flat.T + LEAST * np.eye(len(flat))).T)


def arkit_basis(model: MorphableModel, names: Sequence[str]) -> Float[np.ndarray, "N E"]:
    """A head's expression coefficients per weight of each of ARKit's expressions; zeros of those that the head has not.

    ICT-FaceKit has some of ARKit's shapes as a left and a right one: both move with the weight.
    """
    basis = np.zeros((len(names), len(model.expression_names)), np.float32)
    for row, name in zip(basis, names, strict=True):
        if name in model.named_expressions and model.named is not None:
            row += np.asarray(model.named)[model.named_expressions.index(name)]
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in model.expression_names:
                row[model.expression_names.index(full)] = 1.0
    return basis


def weight_range(model: MorphableModel, name: str) -> tuple[float, float]:
    """The least and the greatest weight of an expression; ARKit's are in [0, 1]."""
    if name in model.expression_names:
        index = model.expression_names.index(name)
        return float(model.expression_lower[index]), float(model.expression_upper[index])
    return 0.0, 1.0


def with_weights(
    model: MorphableModel, expression: Float[np.ndarray, " E"] | Float[Array, " E"], change: Mapping[str, float]
) -> Float[np.ndarray, " E"]:
    """Coefficients of an expression after some weights are set by name; every name is one of `expression_choices`."""
    changed = np.array(expression, np.float32)
    present = dict(zip(model.named_expressions, named_weights(model, changed).tolist(), strict=True))
    for name, weight in change.items():
        if name in model.expression_names:
            changed[model.expression_names.index(name)] = weight
        else:
            row = np.asarray(model.named)[model.named_expressions.index(name)] if model.named is not None else 0.0
            changed = changed + np.float32(weight - present[name]) * row
    if model.named is None:
        return changed
    return np.clip(changed, np.asarray(model.expression_lower), np.asarray(model.expression_upper))
