"""From the request of a run of labels to what makes its records: motion and results are read, photos and their fits looked up."""

import dataclasses
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from fitkit import api, configuration
from fitkit.errors import FitkitError
from fitkit.io.images import read_image
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.labels.shards import Make
from fitkit.recipes.synthesize.labels import MAKERS, detail
from fitkit.recipes.synthesize.labels.frames import Motion
from fitkit.recipes.synthesize.labels.own_relief import skin_relief
from fitkit.recipes.synthesize.labels.vary import FittedFace, crop_face
from fitkit.recipes.synthesize.relief.photos import photo_reliefs
from fitkit.recipes.synthesize.relief.sources import SIZE
from fitkit.recipes.synthesize.relief.surface import texel_surface

LARGEST_MOTION = 2**16      # bytes of a file of motion


def label_maker(request: Mapping[str, Any]) -> tuple[Make, dict[str, Any]]:
    """What makes the records of a run, and the run's settings, as run.json holds them.

    Args:
        request: labels (the kind), count, per_shard, fields (of the kind's configuration), and where the kind takes it motion (a
            TOML file), fits (a folder of results) or faces (for each photo its path, sha256, and the folder of its fit).

    Raises:
        FitkitError: E_USAGE, a file of motion that is none; E_HEAD, E_DATA; E_RESULT, a damaged result; E_EMPTYDIR, none with
            wrinkles on the embedded head.
    """
    fields: dict[str, Any] = dict(request["fields"])
    given: dict[str, Any] = {}
    if request["motion"] is not None:
        fields["motion"] = read_motion(request["motion"])
    chosen = MAKERS[request["labels"]]
    config = chosen.config(**fields)
    settings = {"kind": request["labels"], "count": request["count"], "per_shard": request["per_shard"],
                **dataclasses.asdict(config), "skins": fields.get("skins") is not None}
    if request["faces"] is not None:
        given["faces"] = FittedPhotos(request["faces"], head=config.head, size=config.size)
        settings["photos"] = [photo["sha256"] for photo in request["faces"]]
    if request["fits"] is not None:
        given["photos"] = reliefs_of_results(Path(request["fits"]))
        settings["fits"] = hashlib.sha256(b"".join(each.tobytes() for each in given["photos"])).hexdigest()
    return chosen.maker(config, **given), settings


class FittedPhotos(Sequence[FittedFace]):
    """The fitted faces of photos, each read when it is asked for; the last one is held.

    Args:
        photos: path, sha256, and folder of the result, which holds its pictures, of each.
        head: morphable head that the photos were fitted with.
        size: side of the labelled pictures, pixels.
    """

    def __init__(self, photos: Sequence[Mapping[str, str]], *, head: str, size: int):
        self._photos, self._head, self._size = photos, head, size
        self._last: tuple[int, FittedFace] | None = None

    def __len__(self) -> int:
        return len(self._photos)

    @overload
    def __getitem__(self, index: int) -> FittedFace: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[FittedFace]: ...

    def __getitem__(self, index: int | slice) -> FittedFace | Sequence[FittedFace]:
        """A face.

        Raises:
            FitkitError: E_NOFILE, its photo is gone or has changed; E_RESULT, its fit is gone or damaged.
        """
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        if self._last is None or self._last[0] != index:
            self._last = index, self._read(self._photos[index])
        return self._last[1]

    def _read(self, photo: Mapping[str, str]) -> FittedFace:
        read, fitted = read_image(photo["path"]), api.load(photo["folder"], head=self._head)
        if read.sha256 != photo["sha256"]:
            raise FitkitError("E_NOFILE", f"{photo['path']} has changed since it was fitted; run the same command again")
        relief = skin_relief(fitted.model, fitted.parameters, fitted.detail)
        texture = fitted.animated_texture(pixels=read.pixels)          # the photo may have moved since it was fitted
        return crop_face(read.pixels, np.asarray(fitted.landmarks_detected), fitted.camera, fitted.parameters, texture, relief,
                         size=self._size, name=Path(photo["path"]).name, sha256=read.sha256)


def reliefs_of_results(folder: Path) -> list[np.ndarray]:
    """The wrinkles of fitted photos, in the embedded head's UV.

    Raises:
        FitkitError: E_RESULT, a damaged result; E_EMPTYDIR, none that has wrinkles on the embedded head.
    """
    reliefs: list[np.ndarray] = []
    for path in sorted(folder.glob("**/fit.json")):
        result = api.load(path.parent)
        if result.detail is not None and result.status == "converged" and result.model.name == detail.HEAD:
            reliefs += photo_reliefs(result.model, result.parameters, result.detail, texel_surface(size=SIZE))
    if not reliefs:
        raise FitkitError("E_EMPTYDIR", f"the folder {folder} holds no result with wrinkles of the head {detail.HEAD}; make"
                          " some with fitkit fit PHOTO... --out DIRECTORY")
    return reliefs


def read_motion(path: str) -> Motion:
    """The motion that `fitkit labels motion` wrote.

    Raises:
        FitkitError: E_USAGE.
    """
    mend = "give a file that fitkit labels motion wrote"
    data = read_bytes(path, most=LARGEST_MOTION, code="E_USAGE", mend=mend)
    with parsing("E_USAGE", f"{path} is no TOML file of motion", mend=mend):
        table = tomllib.loads(data.decode())
    return Motion(**configuration.check_fields(Motion, table, where=path))
