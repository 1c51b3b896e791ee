"""What a job of a run is, where its result lies, and whether that is there already.

A job is one face under one set of settings: sha256 of the photo, which face, recipe with every setting, the head's digest, given
points, lens, the other photos of a person, and the format of results. Its folder is named `<stem>-<32 digits of the job>-<recipe>`:
128 bits, and what is found under a name is held to all 256. Needs no JAX.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fitkit.batch.manifest import Source
from fitkit.configuration import nearest
from fitkit.errors import FitkitError
from fitkit.io.cameras.given import GivenCamera, of_content
from fitkit.io.untrusted import FileRefused, open_bounded
from fitkit.results import ALL, OUTPUTS
from fitkit.results.integrity import FORMAT, whole_result

DIGITS = 32                  # hexadecimal, of a job in its folder's name
STEM = 100                   # bytes of a photo's name in its folder's; file systems take 255
MOST_BYTES = 2 << 30         # of a photo or a file of points that is read to be hashed
CHUNK = 1 << 20              # bytes that are hashed at once
POINT_FILES = (".pts", ".npy")
MOST_NAMES = 1000            # of a folder that are compared with a name that is not in it

PHOTO_CODES = {"missing": "E_NOFILE", "unreadable": "E_NOFILE", "large": "E_TOOLARGE"}
ALONE = OUTPUTS[:-1]      # all names but `all`


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Photos that are fitted together, read and found: one, or several of a person."""

    sources: tuple[Source, ...]
    digests: tuple[str, ...]               # sha256 of each photo
    point_digests: tuple[str, ...]         # of each photo's file of points; empty where they are detected

    def jobs(self, settings: Mapping[str, Any], face: int | None) -> tuple[str, ...]:
        """The job of each photo: sha256, hexadecimal.

        Args:
            settings: what is the same for every photo of a run.
            face: 1, 2, ... where every face of a photo is asked for; None for the largest.
        """
        shared = {"format": FORMAT, "settings": dict(settings), "face": face,
                  "person": list(zip(self.digests, self.point_digests, strict=True)) if len(self.sources) > 1 else None}
        return tuple(
            _sha256_of(shared | {"photo": digest, "points": points, "focal": source.focal, "camera": _camera_content(source)})
            for source, digest, points in zip(self.sources, self.digests, self.point_digests, strict=True))


def photo_messages(task: Task) -> list[dict[str, Any]]:
    """The photos of a task as JSON values, for a worker."""
    return [{"path": str(source.path), "points": None if source.points is None else str(source.points), "sha256": digest,
             "points_sha256": points, "focal": source.focal, "camera": _camera_content(source)}
            for source, digest, points in zip(task.sources, task.digests, task.point_digests, strict=True)]


def task_of(photos: Sequence[Mapping[str, Any]]) -> Task:
    """The task of `photo_messages`."""
    return Task(
        sources=tuple(Source(path=Path(photo["path"]), focal=photo["focal"], camera=message_camera(photo)) for photo in photos),
        digests=tuple(photo["sha256"] for photo in photos), point_digests=tuple(photo["points_sha256"] for photo in photos))


def message_camera(photo: Mapping[str, Any]) -> GivenCamera | None:
    """The camera of one of `photo_messages`."""
    return None if photo["camera"] is None else of_content(photo["camera"])


def _camera_content(source: Source) -> dict[str, Any] | None:
    return None if source.camera is None else source.camera.content()


def read_source(source: Source, *, points: Path | None = None) -> tuple[Source, str, str]:
    """A photo with its points found, and the digests of both files.

    Args:
        source: a photo.
        points: a file of points, or a folder that holds one named after the photo, where the source names none.

    Raises:
        FitkitError: E_NOFILE, E_NOTIMAGE, E_TOOLARGE, E_LANDMARKS.
    """
    if source.points is None and points is not None:
        source = dataclasses.replace(source, points=_points_of(source.path, points) if points.is_dir() else points)
    return source, _file_sha256(source.path, PHOTO_CODES, otherwise="E_NOTIMAGE"), \
        "" if source.points is None else _file_sha256(source.points, {}, otherwise="E_LANDMARKS")


def unread_job(source: str, settings: Mapping[str, Any]) -> str:
    """In place of the job of a photo that cannot be read."""
    return _sha256_of({"unread": source, "settings": dict(settings)})


def folder_name(path: Path, job: str, recipe: str, face: int | None) -> str:
    """Name of the folder of a job's result."""
    stem = os.fsdecode(os.fsencode(path.stem)[:STEM])
    return f"{stem}-{job[:DIGITS]}-{recipe}" + ("" if face is None else f"-face{face}")


def find_results(
    task: Task, settings: Mapping[str, Any], out: Path, *, every_face: bool, outputs: Sequence[str]
) -> list[tuple[Source, Path, dict[str, Any]]] | None:
    """The results of a task that are there already: photo, folder and content of fit.json of each face.

    Returns:
        None unless all of them are there, whole, of this very job, and with the outputs asked for.
    """
    found: list[tuple[Source, Path, dict[str, Any]]] = []
    faces = 1
    while len(found) < faces * len(task.sources):
        face = len(found) // len(task.sources) + 1 if every_face else None
        for source, job in zip(task.sources, task.jobs(settings, face), strict=True):
            folder = out / folder_name(source.path, job, settings["recipe"], face)
            content = result_of(folder, job, outputs)
            if content is None:
                return None
            found.append((source, folder, content))
            faces = content["job"]["faces"] if every_face else 1
    return found


def result_of(folder: Path, job: str, outputs: Sequence[str]) -> dict[str, Any] | None:
    """The content of fit.json of a whole result of this job with these outputs; None where there is none."""
    content = whole_result(folder) if folder.is_dir() else None
    asked = content.get("job") if content else None
    if not isinstance(asked, dict) or asked.get("sha256") != job or not set(outputs) <= set(asked.get("outputs", ())):
        return None
    return content if isinstance(asked.get("faces"), int) else None


def keep_or_write(
    folder: Path, job: str, outputs: Sequence[str], write: Callable[[Sequence[str], bool], None], *, overwrite: bool
) -> bool:
    """Write the folder of a job unless its result is there by now; False where it is.

    Args:
        folder: of the job.
        job: sha256, hexadecimal.
        outputs: asked for; what a whole result has besides is made again with them.
        write: called with the outputs, and whether a folder may be replaced.
        overwrite: write it in any case.
    """
    there = folder.is_dir()
    if there and not overwrite:
        if result_of(folder, job, outputs):
            return False
        found = result_of(folder, job, ())
        outputs = sorted({*outputs, *(found["job"]["outputs"] if found else ())} & set(ALONE))
    try:
        write(outputs, there)
    except FitkitError as error:
        if error.code != "E_EXISTS" or overwrite or result_of(folder, job, outputs) is None:
            raise
        return False      # another process was faster
    return True


def chosen_outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    """Names of outputs with `all` spelled out, sorted."""
    spelled = (ALL if name == "all" else (name,) for name in outputs)
    return tuple(sorted({name for names in spelled for name in names}))


def in_shard(sources: Sequence[Source], shard: tuple[int, int]) -> bool:
    """Whether photos that are fitted together belong to shard i of n: by their person or path, whatever else the run names."""
    number, count = shard
    return zlib.crc32(os.fsencode(sources[0].person or str(sources[0].path))) % count == number - 1


def _points_of(photo: Path, folder: Path) -> Path:
    candidates = [folder / (photo.stem + suffix) for suffix in POINT_FILES]
    for path in candidates:
        if path.is_file():
            return path
    names = " nor ".join(path.name for path in candidates)
    raise FitkitError("E_LANDMARKS", f"there is neither {names} in {folder} for {photo}; add one, or choose a detector")


def _file_sha256(path: Path, codes: Mapping[str, str], *, otherwise: str) -> str:
    digest = hashlib.sha256()
    try:
        with open_bounded(path, most=MOST_BYTES) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except FileRefused as error:
        hint = "check the path" if error.kind == "missing" else "leave it out"
        raise FitkitError(codes.get(error.kind, otherwise), f"{path} {error.reason}; {_similar(path) or hint}") from error
    return digest.hexdigest()


def _similar(path: Path) -> str:
    """A file beside a missing one whose name is like it, as the end of a sentence."""
    try:
        with os.scandir(path.parent) as entries:
            near = nearest(path.name, [entry.name for entry in itertools.islice(entries, MOST_NAMES)])
    except OSError:
        return ""
    return f"did you mean {path.parent / near}?" if near and near != path.name else ""


def _sha256_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
