"""A worker with a stand-in in place of the fit: photos are small text files, whose words say what becomes of them. Without JAX.

    ok | doubtful | noface | defect | nodata      the fit, or its error
    sleep=S      seconds in the solver            stuck        the decoder hangs
    crash        ends the process                 grow=MB      holds so much memory
    poison       NaN, in the batch                memory=N     out of memory where more than N faces are solved at once
    full         the disk is full                 faces=N      so many faces

Environment: STAND_IN_CALLS names a file that gets a line for each photo that is read.
"""

import dataclasses
import json
import math
import os
import signal
import time
from pathlib import Path

from fitkit.batch.job import folder_name, keep_or_write, task_of
from fitkit.batch.plan import PHOTOS
from fitkit.batch.workers.serve import Face, Reading, main
from fitkit.configuration import check_choice, check_fields
from fitkit.device import select_device
from fitkit.errors import FitkitError
from fitkit.io.atomic_files import whole_folder, write_bytes
from fitkit.results.integrity import DIGEST, FORMAT, content_digest, describe_files, is_ours


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerConfig:
    """Inner fields.

    Attributes:
        iterations: most steps.
    """

    iterations: int = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Fields of the toy recipe.

    Attributes:
        weight: of the points, which is explained
            on two lines.
        robust: whether far points count less.
        schedule: steps per level.
        inner: fields of the first stage.
    """

    weight: float = 10.0
    robust: bool = True
    schedule: tuple[int, ...] = (8, 4)
    inner: InnerConfig = InnerConfig()


class StandIn:
    """What a worker does with a task, in a millisecond."""

    words = PHOTOS

    def __init__(self, request, report):
        self.request, self.report = request, report
        if request["device"] is not None:
            select_device(request["device"])
        check_choice(request["recipe"], ("inverse_rendering", "landmarks"), code="E_RECIPE", what="recipe")
        fields = dataclasses.asdict(ToyConfig(**check_fields(ToyConfig, request["fields"])))
        self.settings = {name: request[name] for name in ("recipe", "size", "seed", "detector", "head")} | {"fields": fields}
        self.batch_size = request["batch_size"] or 1
        self.kept = []

    def read(self, task):
        faces, failures, together = [], [], len(task["photos"]) > 1
        for place, photo in enumerate(task["photos"]):
            note({"photo": Path(photo["path"]).name, "points": photo["points"], "focal": photo["focal"],
                        "batch": self.batch_size, "together": together, "pid": os.getpid()} | self.settings)
            words = dict(part.partition("=")[::2] for part in Path(photo["path"]).read_text().split())
            if "stuck" in words:
                time.sleep(1000)
            if "crash" in words:
                os.kill(os.getpid(), signal.SIGKILL)
            if "noface" in words:
                error = FitkitError("E_NOFACE", f"no face was found in {photo['path']}; try --landmarks")
                if not together:
                    raise error
                failures.append({"place": place, "code": error.code, "message": error.message, "traceback": ""})
                continue
            count = int(words.get("faces", 1)) if self.request["every_face"] else 1
            for number in range(count):
                faces.append(Face(place, number + 1 if self.request["every_face"] else None, "68", 100, words))
        return Reading(task, faces, failures, together)

    def solve(self, faces, together):
        self.report({"event": "progress", "fraction": 0.5})
        if self.request.get("watch"):
            self.report({"event": "watched", "name": "p0.jpg"})
            self.report({"event": "watched", "stage": "toy", "step": 1})
        for face in faces:
            if len(faces) > int(face.content.get("memory", 1000)):
                raise MemoryError
            self.kept += [bytearray(int(face.content["grow"]) << 20)] if "grow" in face.content else []
            time.sleep(float(face.content.get("sleep", 0)))
            if "defect" in face.content:
                raise ZeroDivisionError("division by zero")
            if "nodata" in face.content:
                raise FitkitError("E_DATA", "the weights are missing; install fitkit again")
        return [math.nan if "poison" in face.content else 1 / 7 + len(face.content) for face in faces]

    def write(self, task, face, solution, faces):
        photo, request = task["photos"][face.place], self.request
        if "full" in face.content:
            raise FitkitError("E_OUTPUT", f"cannot write {request['out']}: No space left on device; choose a writable place")
        job = task_of(task["photos"]).jobs(self.settings, face.number)[face.place]
        folder = Path(request["out"]) / folder_name(Path(photo["path"]), job, request["recipe"], face.number)
        status = "doubtful" if "doubtful" in face.content or math.isnan(solution) else "converged"
        reason = "the points are far off" if status == "doubtful" else ""

        def write(outputs, overwrite):
            asked = {"sha256": job, "faces": faces, "outputs": list(outputs)}
            save(folder, request, asked, status, reason, face, solution, overwrite, photo["sha256"])

        made = keep_or_write(folder, job, request["outputs"], write, overwrite=request["overwrite"])
        return {"place": face.place, "face": face.number, "folder": folder.name, "status": status if made else "kept",
                "reason": reason, "seconds": 1.75, "timings": {"detect": 0.25, "fit": 1.5},
                "warnings": ["an animation"] if "animation" in face.content else []}


def note(value):
    """Enter a value in the file of calls; whether it is the first of its kind there."""
    if "STAND_IN_CALLS" not in os.environ:
        return True
    line = json.dumps({name: each for name, each in value.items() if name != "pid"})[:-1]
    with open(os.environ["STAND_IN_CALLS"], "a+") as file:
        file.seek(0)
        first = not any(each.startswith(line) for each in file)
        file.write(json.dumps(value) + "\n")
    return first


def save(folder, request, job, status, reason, face, solution, overwrite, sha256):
    """A result folder as `results.save` writes it, with one file."""
    with whole_folder(folder, overwrite=overwrite and is_ours(folder), inside=Path(request["inside"])) as new:
        write_bytes(new / "params.safetensors", repr(solution).encode() * 50)
        points = [[float(i), float(i % 7)] for i in range(68)]
        content = {
            "format": FORMAT, "status": status, "reason": reason, "confidence": 0.5, "warnings": [], "losses": {"total": 0.25},
            "photo": {"face": face.number, "width": 8, "height": 8, "sha256": sha256},
            "recipe": {"name": request["recipe"]}, "timings": {"fit": 1.5},
            "camera": {"euler_degrees": {"yaw": 1.0, "pitch": 2.0, "roll": 3.0}, "K": [], "R": [], "t": [], "perspective": True,
                       "focal_source": "estimated"},
            "landmarks": {"detected": points, "photo": points}, "files": describe_files(new, ["params.safetensors"]), "job": job}
        write_bytes(new / "fit.json", json.dumps(content | {DIGEST: content_digest(content)}).encode())


if __name__ == "__main__":
    main(StandIn)
