"""How large a fitted head is: true millimetres in one of its own, with the deviation; and measurements.json.

A photo tells shapes, and sizes only by what is known besides: a length on the face; cameras whose distances have a unit; the
irises, whose size hardly differs between people; or nothing but that people's heads are alike: then it is that of the mean head.
How large a fit came out says next to nothing: of rendered people the mean head's size is as near, and photographs come out some
10 % small (`tests/measurements/photo_sizes.py`). Errors are those of fits to rendered people (`tests/measurements/true_size.py`):
logarithms of the true over the fitted head's size, of a measure beyond that, of what is read of an iris. With m = log(mean head's
size over the fitted one's), of which true sizes deviate by s, and x = log(11.7 / iris), which varies about the size's logarithm
by v = (0.45 / 11.7)^2 + IRIS_READ^2, the posterior is normal: mean (m v + x s^2) / (s^2 + v), variance s^2 v / (s^2 + v).
"""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

from fitkit.errors import FitkitError
from fitkit.morphable.model import shape
from fitkit.results.metric.iris import IRIS_DEVIATION, IRIS_TYPICAL
from fitkit.results.metric.known_size import PUPILS, RULER, KnownSize
from fitkit.results.metric.measures import MEASURES, length, measures, places
from fitkit.types import FaceParameters, MorphableModel

# Relative deviations, `python -m tests.measurements.true_size FOLDER --people 4`, and `--first 100 --people 8` (24 people of two
# heads, three lenses, none known, turned by at most 30 degrees; recipe landmarks): people's sizes beside the mean head's (24 of
# each head); what is read of an iris from in front; the size by calibrated cameras (`tests.measurements.known_cameras`, 8 people),
# by a scan (chosen: its own noise); any length beside its head's size; each measure beside it, its mean included
HEAD, IRIS_READ, ANY_LENGTH = 0.049, 0.025, 0.06
DEVIATIONS = MappingProxyType({"cameras": 0.03, "scan": 0.01})
SHAPE: Mapping[str, float] = MappingProxyType({
    "interpupillary_distance": 0.025, "face_width": 0.034, "jaw_width": 0.041, "face_height": 0.027, "lower_face_height": 0.051,
    "nose_length": 0.059, "nose_width": 0.158, "nose_depth": 0.131, "mouth_width": 0.048, "inner_eye_distance": 0.063,
    "outer_eye_distance": 0.025, "right_eye_width": 0.035, "left_eye_width": 0.032})
POSSIBLE = (0.5, 1.6)        # true over fitted size: from a newborn's head to beyond any adult's; chosen
SOURCES = ("head", "iris", "length", "cameras", "scan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrueSize:
    """The size of a fitted head."""

    factor: float = 1.0              # true millimetres in a millimetre of the fitted head
    deviation: float = HEAD          # of the factor, relative
    source: str = "head"             # of `SOURCES`
    asked: bool = False              # the user gave a size: meshes are written in it
    iris: float | None = None        # diameter, mm of the head, where irises were read
    known: KnownSize | None = None

    def content(self) -> dict[str, Any]:
        """As JSON values, for fit.json."""
        return {
            "about": "factor: true millimetres in one of the fitted head; deviation is relative; source: a length that was given,"
                     " the"
            " irises, cameras with a unit, or nothing but that heads are alike; asked: meshes, depth, t and landmarks are in true"
            " millimetres, params.safetensors is not",
            **dataclasses.asdict(self)}


def read_size_content(content: Mapping[str, Any]) -> TrueSize:
    """The size that fit.json holds.

    Raises:
        ValueError: it holds none that could be.
    """
    known = content["known"]
    size = TrueSize(**{field.name: content[field.name] for field in dataclasses.fields(TrueSize) if field.name != "known"},
                    known=None if known is None else KnownSize(**known))
    for value in (size.factor, size.deviation, 1.0 if size.iris is None else size.iris):
        if not isinstance(value, int | float) or not 0 < value < 1e3:
            raise ValueError("the size of a head")
    if size.source not in SOURCES or not isinstance(size.asked, bool):
        raise ValueError("the source of a head's size")
    return size


def true_size(
    model: MorphableModel, parameters: FaceParameters, *, known: KnownSize | None, iris: float | None,
    measured_by: str | None
) -> TrueSize:
    """The size of a fitted head.

    Args:
        model: the head.
        parameters: of the fit.
        known: what the user knows.
        iris: diameter of the irises, mm of the head, where they were read.
        measured_by: "cameras" where several saw it and the unit of their places is known, "scan" for a scan; else None.

    Raises:
        FitkitError: E_USAGE: a place that the head does not have, or a length that no head of this shape has.
    """
    if known is not None and known.first:
        own = length(model, parameters.identity, known.first, known.second)
        if own <= 0 or not POSSIBLE[0] <= known.millimetres / own <= POSSIBLE[1]:
            raise FitkitError("E_USAGE", f"{known.millimetres:g} mm between {known.first} and {known.second} cannot be, as an"
                                         " average face of"
                              f" this shape has {own:.0f} mm; check places and unit")
        deviation = math.hypot(_shape_deviation(known), RULER / known.millimetres)
        return TrueSize(factor=known.millimetres / own, deviation=deviation, source="length", asked=True, iris=iris, known=known)
    if measured_by is not None:
        return TrueSize(deviation=DEVIATIONS[measured_by], source=measured_by, iris=iris, known=known)
    expected = size_of_the_mean(model, parameters)
    if iris is None:
        return TrueSize(factor=math.exp(expected), asked=known is not None, known=known)
    mean, deviation = size_by_iris(iris, expected)
    return TrueSize(factor=math.exp(mean), deviation=deviation, source="iris", asked=known is not None, iris=iris, known=known)


def size_by_iris(iris: float, expected: float) -> tuple[float, float]:
    """Mean and deviation of the logarithm of the head's size, of an iris of so many of its millimetres; `expected` without one."""
    read = (IRIS_DEVIATION / IRIS_TYPICAL) ** 2 + IRIS_READ**2
    own = HEAD**2
    return (expected * read + math.log(IRIS_TYPICAL / iris) * own) / (own + read), math.sqrt(own * read / (own + read))


def size_of_the_mean(model: MorphableModel, parameters: FaceParameters) -> float:
    """The logarithm of the mean head's size over a fitted one's, both at rest: of the spread of the 51 points within the face."""
    calm = jnp.zeros(len(model.expression))
    sizes = [np.square(points - points.mean(0)).sum() for points in (
        places(model, shape(model, identity, calm))[0][17:] for identity in (model.identity_mean, parameters.identity))]
    return 0.5 * math.log(sizes[0] / sizes[1])


def measurements(model: MorphableModel, parameters: FaceParameters, size: TrueSize) -> dict[str, Any]:
    """What measurements.json says."""
    found = {}
    for name, own in measures(model, parameters.identity).items():
        first, second, what = MEASURES[name]
        value = own * size.factor
        given = size.known is not None and {size.known.first, size.known.second} == {first, second}
        deviation = RULER if given else value * math.hypot(size.deviation, SHAPE[name])
        found[name] = {"mm": round(value, 2), "deviation": round(deviation, 2), "about": what, "from": first, "to": second}
    return {
        "about": "of the face at rest; right and left are the subject's own; deviations (one standard deviation, mm) are those of"
                 " fits to"
        " rendered people, and hold the deviation of the head's size and that of its shape: this is an estimate from pictures, not"
        " a"
        " measurement of a person",
        "size": {"source": size.source, "factor": round(size.factor, 4), "deviation_percent": round(100 * size.deviation, 1),
                 "iris_mm_of_the_head": None if size.iris is None else round(size.iris, 2),
                 "given": None if size.known is None or not size.known.first else size.known.content()},
        "measures": found,
    }


def scaled_model(model: MorphableModel, factor: float) -> MorphableModel:
    """The head in other millimetres: the same coefficients give vertices `factor` times as large."""
    joints = model.joints
    if joints is not None:
        joints = dataclasses.replace(joints, place=joints.place * factor, basis=joints.basis * factor,
                                     correctives=joints.correctives * factor)
    return dataclasses.replace(model, mean=model.mean * factor, identity=model.identity * factor, joints=joints,
                               expression=model.expression * factor)


def _shape_deviation(known: KnownSize) -> float:
    """How far a length is off the head's size."""
    if (known.first, known.second) == PUPILS:
        return SHAPE["interpupillary_distance"]
    pairs = {frozenset(places[:2]): SHAPE[name] for name, places in MEASURES.items()}
    return float(np.float64(pairs.get(frozenset((known.first, known.second)), ANY_LENGTH)))
