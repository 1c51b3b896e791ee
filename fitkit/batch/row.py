"""What became of one face or shard, as the ledger keeps it: made from a result's fit.json, or for a photo that came to none."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fitkit.batch.manifest import Source
from fitkit.results.metric.angle_errors import said_of_yaw


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What became of one face, of one photo where it came to none, or of one shard. The ledger's columns, without `fitkit`."""

    job: str
    stem: str
    id: str
    task: str
    person: str | None
    path: str
    face: int | None
    folder: str | None
    recipe: str
    status: str
    code: str | None = None
    reason: str = ""
    seconds: float = 0.0
    confidence: float | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def bare_row(source: Source) -> Row:
    """The row of a photo of which nothing else is known yet."""
    return Row(job="", stem=source.path.stem, id=source.id or "", task="", person=source.person, path=str(source.path), face=None,
               folder=None, recipe="", status="")


def row_of(source: Source, task: str, folder: Path, content: Mapping[str, Any], *, seconds: float | None = None) -> Row:
    """The row of a result that is in place.

    Args:
        source: its photo.
        task: its task's key.
        folder: its folder.
        content: of its fit.json.
        seconds: of work; without them what fit.json says.
    """
    confidence = content["confidence"]      # a number that JSON cannot hold stands as an object
    taken = sum(value for value in content["timings"].values() if isinstance(value, float | int))
    return Row(
        job=content["job"]["sha256"], stem=source.path.stem, id=source.id or "", task=task, person=source.person,
        path=str(source.path), face=content["photo"]["face"], folder=folder.name, recipe=content["recipe"]["name"],
        status=content["status"], reason=content["reason"], seconds=round(taken if seconds is None else seconds, 3),
        confidence=confidence if isinstance(confidence, float | int) else None, record=record_of(content))


def record_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a row keeps of fit.json: losses, pose, camera, landmark error in outer-eye distances, and what else a report shows."""
    camera, points = content["camera"], content["landmarks"]
    return {
        "losses": content["losses"], "landmark_error": _landmark_error(points["photo"], points["detected"]),
        "pose": camera["euler_degrees"], "camera": {name: camera[name] for name in ("K", "R", "t", "perspective", "focal_source")},
        "timings": content["timings"], "warnings": content["warnings"], "photo": content["photo"],
        "outputs": content["job"]["outputs"], "said": _said(content),
    }


def _said(content: Mapping[str, Any]) -> str:
    """What a run's print says of a face beside its status: of a turned one the yaw, of one whose size is known that."""
    size = content.get("size", {})
    words = [said_of_yaw(content["camera"])]
    if size.get("asked"):
        words.append(f"size by {size['source']}, \u00b1 {100 * size['deviation']:.1f} %")
    return "; ".join(filter(None, words))


def _landmark_error(fitted: Sequence[Sequence[float]], detected: Sequence[Sequence[float]]) -> float | None:
    """Mean distance of the 68 points in outer-eye distances: `results.fit_quality.landmark_error`, without JAX."""
    def distance(one: Sequence[float], other: Sequence[float]) -> float:
        return ((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2) ** 0.5

    try:
        height = max(point[1] for point in detected) - min(point[1] for point in detected)
        unit = max(distance(detected[36], detected[45]), 0.5 * height, 1e-6)
        return sum(map(distance, fitted, detected)) / len(detected) / unit
    except (TypeError, IndexError):      # a number that JSON cannot hold stands as an object
        return None
