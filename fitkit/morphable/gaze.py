"""Where the eyes look, as rotations: what ARKit's eight eyeLook weights turn an eyeball by. Pure functions of a `MorphableModel`.

A linear model moves the vertices of an eyeball along lines; a program with joints turns it instead. The rotation of a weight of 1
is the nearest one to the eyeball's move (Kabsch 1976), and rotation vectors of several weights add.
"""

import dataclasses

import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial.transform import Rotation

from fitkit.types import MorphableModel

EYES = ("eye_left", "eye_right")      # parts of a head that are eyeballs
LOOK = "eyeLook"                      # how the names of the weights begin


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Eyeball:
    """One eyeball of a head."""

    name: str                                # of its part
    vertices: Int[np.ndarray, " n"]          # of the head
    turn: Float[np.ndarray, "E 3"]           # rotation vector of each weight at 1, radians, head frame

    def centre(self, neutral: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " 3"]:
        """What it turns about, mm: the middle of its surface."""
        places = np.asarray(neutral)[self.vertices]
        return (places.min(0) + places.max(0)) / 2

    def rotations(self, expression: Float[np.ndarray, "T E"]) -> Float[np.ndarray, "T 3"]:
        """Rotation vectors of expressions, radians, head frame."""
        return np.asarray(expression) @ self.turn


def eyeballs(model: MorphableModel) -> list[Eyeball]:
    """The eyeballs that are parts of their own and that no weight but `LOOK` moves; none of a head without them."""
    found = []
    part, triangles, moves = np.asarray(model.part), np.asarray(model.triangles), np.asarray(model.expression)
    for index, name in enumerate(model.part_names):
        vertices = np.unique(triangles[part == index])
        if name not in EYES or not len(vertices):
            continue
        moved = np.abs(moves[:, vertices]).max((1, 2)) > 0
        if all(word.startswith(LOOK) for word, moves_it in zip(model.expression_names, moved, strict=True) if moves_it):
            places = np.asarray(model.mean)[vertices]
            found.append(Eyeball(name=name, vertices=vertices, turn=np.stack([_turn(places, move) for move in moves[:, vertices]])))
    return found


def _turn(places: Float[np.ndarray, "n 3"], move: Float[np.ndarray | Array, "n 3"]) -> Float[np.ndarray, " 3"]:
    """The rotation vector nearest to a move of points."""
    if not np.any(move):
        return np.zeros(3)
    after = places + move
    rotation, _ = Rotation.align_vectors(after - after.mean(0), places - places.mean(0))
    return rotation.as_rotvec()
