"""Dictionary of rendered expressions: features of pictures -> the ARKit weights that they show (Chen et al. 2019, Eq. 5).

    b_prior = b of the entries whose features lie nearest, by L2 (Eq. 5) or L1 (the authors' code)

Entries are pictures of random heads, each with the ARKit weights it was rendered with. Of the features the coordinates are kept by
which expressions differ: `matrix` turns them so, by ridge regression, and a distance counts in mm of vertices. Stored in 8 bits:
`weights/expression_dictionary.safetensors`, made by `models/build/expression_dictionary.py`; the card beside it tells more.
"""

import functools
import json
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.shipped import MAX_BYTES, WEIGHTS

NAME = "expression_dictionary"
ALL = 255               # a code of 8 bits that stands for a weight of 1
FIELDS = ("centre", "matrix", "step", "keys", "weights")


class ExpressionDictionary(NamedTuple):
    """Rendered expressions; N entries, F features, D coordinates, E weights."""

    centre: Float[Array, " F"]             # of the features
    matrix: Float[Array, "F D"]            # features about the centre -> coordinates
    step: Float[Array, " D"]               # a unit of `keys`
    keys: Int[Array, "N D"]                # 8 bits, coordinates of each entry
    weights: Int[Array, "N E"]             # 8 bits, ARKit weights in 255ths


def look_up(entries: ExpressionDictionary, seen: Float[Array, " F"], *, norm: Literal[1, 2] = 2, neighbours: int = 1
            ) -> Float[Array, " E"]:
    """The mean ARKit weights of the nearest entries.

    Args:
        entries: the dictionary.
        seen: features of a face, as those of the entries were made.
        norm: of the distance between features: 2 (Eq. 5) or 1.
        neighbours: how many entries; 1 in the paper.
    """
    place = jnp.dot(seen - entries.centre, entries.matrix, precision="highest")
    gap = entries.keys.astype(jnp.float32) * entries.step - place
    distance = jnp.sum(jnp.square(gap) if norm == 2 else jnp.abs(gap), axis=1)
    _, nearest = jax.lax.top_k(-distance, neighbours)
    return jnp.mean(entries.weights[nearest].astype(jnp.float32), axis=0) / ALL


def encode(centre: Float[np.ndarray, " F"], matrix: Float[np.ndarray, "F D"], features: Float[np.ndarray, "N F"],
           weights: Float[np.ndarray, "N E"]) -> dict[str, np.ndarray]:
    """The dictionary of pictures as it is stored: coordinates and weights in 8 bits."""
    places = (features - centre) @ matrix
    step = np.maximum(np.abs(places).max(axis=0), 1e-6) / 127
    return {"centre": centre.astype(np.float32), "matrix": matrix.astype(np.float32), "step": step.astype(np.float32),
            "keys": np.rint(places / step).astype(np.int8), "weights": np.rint(np.clip(weights, 0, 1) * ALL).astype(np.uint8)}


@functools.cache
def load_dictionary() -> tuple[ExpressionDictionary, tuple[str, ...]]:
    """The dictionary that comes with fitkit, read once, and the names of its weights.

    Raises:
        FitkitError: E_DATA, it is missing or damaged.
    """
    path = WEIGHTS / f"{NAME}.safetensors"
    stored, header = read_tensors(path, most=MAX_BYTES, code="E_DATA", what="the dictionary", mend="install fitkit again")
    with parsing("E_DATA", f"the dictionary {path} cannot be used", mend="install fitkit again"):
        names = tuple(str(name) for name in json.loads(header["names"]))
        fields: dict[str, Any] = {name: stored[name] for name in FIELDS}
        found = ExpressionDictionary(**fields)
    if found.weights.shape != (len(found.keys), len(names)) or found.matrix.shape != (len(found.centre), len(found.step)):
        raise FitkitError("E_DATA", f"the dictionary {path} does not fit this version; reinstall fitkit.")
    return jax.device_put(found), names
