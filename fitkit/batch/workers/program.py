"""What a worker does with the photos of a run: reads them, finds their faces, solves, writes. It wakes JAX; its leader does not.

In: the request of a run and its tasks, as JSON values (`flow.py` makes them). Out: result folders, and what became of each face.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fitkit import pipeline
from fitkit.batch.job import folder_name, keep_or_write, message_camera, task_of
from fitkit.batch.plan import PHOTOS
from fitkit.batch.workers.serve import Face, Message, Reading, Report, failure
from fitkit.batch.workers.waking import wake
from fitkit.batch.workers.watching import WatchedFit
from fitkit.errors import FitkitError
from fitkit.results.metric.known_size import of_content
from fitkit.results.person_texture import of_one_person
from fitkit.results.save import head_digest, save_result
from fitkit.uv.layout import TEXTURE


class FaceProgram:
    """Fits photos with a recipe and writes their folders.

    Raises:
        FitkitError: what would stop every photo: E_RECIPE, E_FIELD, E_HEAD, E_DATA, E_DEVICE, E_USAGE.
    """

    words = PHOTOS

    def __init__(self, request: Mapping[str, Any], report: Report):
        self._request = request
        wake(request["device"], report)
        self._job = pipeline.prepare(
            recipe=request["recipe"], head=request["head"], size=request["size"], seed=request["seed"],
            detector=request["detector"], fields=request["fields"], texture_size=request.get("texture_size", TEXTURE),
            known_size=of_content(request.get("known_size")),
            progress=lambda share: report({"event": "progress", "fraction": share}))
        self._watched = WatchedFit(self._job.model, report) if request.get("watch") else None
        if self._watched is not None:
            self._job = dataclasses.replace(self._job, watch=self._watched.step)
        self.settings = {
            "recipe": self._job.name, "fields": dataclasses.asdict(self._job.config), "size": self._job.size,
            "seed": self._job.seed, "head": head_digest(self._job.model), "detector": request["detector"]}
        if self._job.texture_size != TEXTURE:      # jobs of earlier runs, which had no choice, keep their names
            self.settings["texture_size"] = self._job.texture_size
        if request.get("known_size") is not None:
            self.settings["known_size"] = request["known_size"]
        self.batch_size = request["batch_size"] or pipeline.batch_size()
        self._programs = self.batch_size      # faces that a program has room for; fewer after it ran out of memory

    def read(self, task: Message) -> Reading:
        """Decode the photos of a task and find their faces. A photo without a face is a failure of its own."""
        faces, failures = [], []
        together = len(task["photos"]) > 1
        for place, photo in enumerate(task["photos"]):
            try:
                reading = pipeline.read(
                    photo["path"], self._job, landmarks=photo["points"], focal=photo["focal"], camera=message_camera(photo))
                if reading.image.sha256 != photo["sha256"]:
                    raise FitkitError("E_NOFILE", f"{photo['path']} changed while it was read; fit it again")
                numbers = range(len(reading.faces)) if self._request["every_face"] else (0,)
                for number in numbers:
                    observed = pipeline.observe_face(reading, number, self._job, place=place)
                    faces.append(Face(place, number + 1 if self._request["every_face"] else None, observed.bucket,
                                      reading.image.pixels.nbytes, self._without_pixels(observed)))
            except Exception as error:
                if not together:
                    raise
                failures.append({"place": place, **failure(error, photo["path"], self._request["traceback"])})
        return Reading(task, faces, failures, together)

    def solve(self, faces: Sequence[Face], together: bool) -> list[Any]:
        """Solve faces in one program; with each solution the seconds that it took, and the person where all are one's."""
        begun = time.perf_counter()
        self._programs = min(self._programs, self.batch_size)
        alone = self._watched if len(faces) == 1 and not together else None
        if alone is not None:
            alone.begin(faces[0].content.reading.image.path, faces[0].content.observation)
        solutions = pipeline.solve([face.content for face in faces], self._job, size=self._programs, together=together)
        if alone is not None:
            alone.end(solutions[0])
        seconds = (time.perf_counter() - begun) / len(faces)
        if not together or self._request["outputs"] == ["params"]:
            return [(solution, seconds, None) for solution in solutions]
        results = [pipeline.result_of(face.content, solution, self._job, seconds=seconds, number=face.number)
                   for face, solution in zip(faces, solutions, strict=True)]
        return [(solution, seconds, result.person) for solution, result in zip(solutions, of_one_person(results), strict=True)]

    def write(self, task: Message, face: Face, solution: Any, faces: int) -> Message:
        """Write the folder of a face, unless another process was faster."""
        begun = time.perf_counter()
        photo = task["photos"][face.place]
        result = pipeline.result_of(face.content, solution[0], self._job, seconds=solution[1], number=face.number)
        result = dataclasses.replace(result, person=solution[2])
        job = task_of(task["photos"]).jobs(self.settings, face.number)[face.place]
        folder = Path(self._request["out"]) / folder_name(Path(photo["path"]), job, self._job.name, face.number)

        def save(outputs: Sequence[str], overwrite: bool) -> None:
            save_result(result, folder, outputs=outputs, overwrite=overwrite, inside=Path(self._request["inside"]),
                        job={"sha256": job, "faces": faces, "outputs": list(outputs)})

        made = keep_or_write(folder, job, self._request["outputs"], save, overwrite=self._request["overwrite"])
        taken = time.perf_counter() - begun
        return {"place": face.place, "face": face.number, "folder": folder.name, "status": result.status if made else "kept",
                "reason": result.reason, "seconds": sum(result.timings.values()) + taken, "warnings": list(result.warnings),
                "timings": {**result.timings, "write": taken}}

    def _without_pixels(self, observed: pipeline.Observed) -> pipeline.Observed:
        """A face without its photo, where nothing is made of it but coefficients: thousands of photos are in memory otherwise."""
        if self._request["outputs"] != ["params"]:
            return observed
        image = observed.reading.image
        bare = dataclasses.replace(image, pixels=np.empty((*image.pixels.shape[:2], 0), np.float32))
        return dataclasses.replace(observed, reading=dataclasses.replace(observed.reading, image=bare))
