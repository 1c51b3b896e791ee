"""The measures of a head: distances between places on its neutral face, millimetres.

Places are those of the 68 iBUG points (0 to 67), the middles of the eyeballs (`pupil_right`, `pupil_left`) and vertices (v0, v1 and
so on). Right and left are the subject's own.
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.configuration import nearest
from fitkit.errors import FitkitError
from fitkit.morphable.gaze import eyeballs
from fitkit.morphable.model import shape, values_at_points
from fitkit.types import MorphableModel

PUPILS = {"pupil_right": "eye_right", "pupil_left": "eye_left"}
# names of places that are worth one -> number of the iBUG point
NAMED = MappingProxyType({
    "chin": 8, "nasion": 27, "nose_tip": 30, "nose_right": 31, "subnasale": 33, "nose_left": 35, "eye_right_outer": 36,
    "eye_right_inner": 39, "eye_left_inner": 42, "eye_left_outer": 45, "mouth_right": 48, "mouth_left": 54, "ear_right": 0,
    "ear_left": 16, "jaw_right": 4, "jaw_left": 12})
# measure -> its two places, and what it is
MEASURES: Mapping[str, tuple[str, str, str]] = MappingProxyType({
    "interpupillary_distance": ("pupil_right", "pupil_left", "between the middles of the eyeballs: of pupils that look far away"),
    "face_width": ("ear_right", "ear_left", "before the ears, at the height of the eyes"),
    "jaw_width": ("jaw_right", "jaw_left", "at the angles of the jaw"),
    "face_height": ("nasion", "chin", "from the root of the nose to the chin"),
    "lower_face_height": ("subnasale", "chin", "from under the nose to the chin"),
    "nose_length": ("nasion", "subnasale", "from its root to its lower end"),
    "nose_width": ("nose_right", "nose_left", "at the wings"),
    "nose_depth": ("subnasale", "nose_tip", "from its lower end to its tip"),
    "mouth_width": ("mouth_right", "mouth_left", "between the corners, at rest"),
    "inner_eye_distance": ("eye_right_inner", "eye_left_inner", "between the inner corners"),
    "outer_eye_distance": ("eye_right_outer", "eye_left_outer", "between the outer corners"),
    "right_eye_width": ("eye_right_outer", "eye_right_inner", "between its corners"),
    "left_eye_width": ("eye_left_inner", "eye_left_outer", "between its corners"),
})


def measures(model: MorphableModel, identity: Float[Array, " I"]) -> dict[str, float]:
    """All measures of a person, mm of the head; those whose places a head does not have are left out."""
    vertices = shape(model, identity, jnp.zeros(len(model.expression)))
    points, pupils = places(model, vertices)
    return {name: float(np.linalg.norm(place(first, points, pupils) - place(second, points, pupils)))
            for name, (first, second, _) in MEASURES.items() if pupils or first not in PUPILS}


def length(model: MorphableModel, identity: Float[Array, " I"], first: str, second: str) -> float:
    """Distance between two named places of a neutral person, mm of the head.

    Raises:
        FitkitError: E_USAGE for a place that the head does not have.
    """
    vertices = shape(model, identity, jnp.zeros(len(model.expression)))
    points, pupils = places(model, vertices)
    found = [place(name, points, pupils, vertices=np.asarray(vertices)) for name in (first, second)]
    return float(np.linalg.norm(found[0] - found[1]))


def places(model: MorphableModel, vertices: Float[Array, "V 3"]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The 68 points of a head and the middles of its eyeballs by the name of the pupil, mm; of a head without eyeballs none."""
    balls = {ball.name: ball.centre(np.asarray(vertices)) for ball in eyeballs(model)}
    pupils = {name: balls[part] for name, part in PUPILS.items()} if len(balls) == len(PUPILS) else {}
    return np.asarray(values_at_points(model.landmarks, model.triangles, vertices)), pupils


def place(name: str, points: np.ndarray, pupils: Mapping[str, np.ndarray], *, vertices: np.ndarray | None = None) -> np.ndarray:
    """A place by its name, mm.

    Raises:
        FitkitError: E_USAGE where there is none of this name.
    """
    if name in NAMED:
        return np.asarray(points[NAMED[name]])
    if name in pupils:
        return pupils[name]
    if name.isdecimal() and int(name) < len(points):
        return np.asarray(points[int(name)])
    if vertices is not None and name[:1] == "v" and name[1:].isdecimal() and int(name[1:]) < len(vertices):
        return np.asarray(vertices[int(name[1:])])
    near = nearest(name, [*NAMED, *pupils])
    raise FitkitError("E_USAGE", f"{name[:40]} is no place on this head{f' (did you mean {near}?)' if near else ''}; there are"
                      f" {', '.join([*NAMED, *pupils])}, 0 to 67 for the iBUG points, and v0 to"
                      f" v{0 if vertices is None else len(vertices) - 1}"
                      " for vertices")
