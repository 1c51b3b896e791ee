"""Fits pictures of known people, photos, and faulty copies of both, and keeps the evidence of every fit: a line of JSON each.

    python -m fitkit.models.build.fit_quality.table CACHE --out TABLE [--photos FOLDER] [--truth FILE] [--kinds KIND ...]
        [--people FIRST LAST] [--yaws DEGREE ...] [--faults N]

CACHE is the folder of `fitkit eval synthetic`: pictures that it lacks are made. Rows that the table has are kept, so that a killed
run goes on where it was; people and kinds are taken in turn, so that any part of it will do.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fitkit import pipeline
from fitkit.detection.landmarks import Landmarks, box_of
from fitkit.errors import FitkitError
from fitkit.evaluation import registration_floor
from fitkit.evaluation.synthetic import benchmark, subjects
from fitkit.evaluation.synthetic.kinds import parse_all
from fitkit.evaluation.synthetic.populations import embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.fitting.observation import as_photo, known_lens, observe
from fitkit.io.images import read_image
from fitkit.models.build.fit_quality.faults import OF_PHOTO, OF_POINTS
from fitkit.models.heads import ict_source
from fitkit.results.fit_evidence import fit_evidence
from fitkit.results.from_solution import fitted_points

KINDS = ("portrait", "hard", "key_fill", "embedded", "plain+rasterizer", "spectacles", "hand", "scarf")
PHOTOS = (".jpg", ".jpeg", ".png")     # file names taken for photos
FAULTS = (*OF_PHOTO, *OF_POINTS)

Row = dict[str, Any]


class Table:
    """The rows of a file, and the fits that add to them."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.job = pipeline.prepare(recipe="inverse_rendering", head="makehuman", size=224, seed=0, detector="mediapipe",
                                    progress=None, fields={"stages": 1})
        self.head = registration_floor.head_arrays(self.job.model)
        self.other = np.zeros((0, 2))      # points of the picture before
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        self.known = {(row["kind"], row["person"], row["yaw"], row["fault"]) for row in map(json.loads, text.splitlines())}

    def add(self, path: pathlib.Path, facts: Row, faults: list[str], truth: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Fit a picture as it is, and a copy with each of the faults."""
        if all((*facts.values(), fault) in self.known for fault in ("", *faults)):
            return
        pixels = read_image(path).pixels
        points = self._points(pixels)
        if points is None:
            return
        for fault in ("", *faults):
            spoilt, given = self._spoilt(pixels, points, fault, np.random.default_rng(len(self.known)))
            row = facts | {"fault": fault}
            if given is not None:
                row |= self._fitted(spoilt, given, truth)
            self.known.add((*facts.values(), fault))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        self.other = points

    def _points(self, pixels: np.ndarray) -> np.ndarray | None:
        try:
            return np.asarray(pipeline.read(pixels, self.job, landmarks=None, focal=None, intrinsics=None).faces[0].points, float)
        except FitkitError:
            return None

    def _spoilt(self, pixels: np.ndarray, points: np.ndarray, fault: str, generator: np.random.Generator) -> Any:
        """A faulty copy and its points; None where no face is found in it."""
        if fault in OF_PHOTO:
            spoilt = OF_PHOTO[fault](pixels, points, generator)
            return spoilt, self._points(spoilt)
        if fault in OF_POINTS:
            return pixels, OF_POINTS[fault](points, self.other if len(self.other) else points[::-1], generator)
        return pixels, points

    def _fitted(self, pixels: np.ndarray, points: np.ndarray, truth: tuple[np.ndarray, np.ndarray] | None) -> Row:
        """The evidence of a fit; its error and the mean person's, mm, where the truth is known: the scan and its marks."""
        model, image = self.job.model, as_photo(pixels)
        face = Landmarks(points=points.astype(np.float32), scheme="mediapipe468", score=1.0, box=box_of(points))
        observation, _ = observe(model, image, face, known_lens(image, None, None), self.job.size)
        solution = self.job.recipe.function(model, observation, self.job.config)
        row: Row = {"evidence": fit_evidence(model, observation, solution, np.asarray(fitted_points(model, solution.state)[1]))}
        if truth is not None:
            fitted = np.concatenate([np.asarray(solution.state.face.identity), np.asarray(solution.state.face.expression)])
            mean = benchmark.mean_person(self.head, model, np.zeros(len(model.expression)))
            row["error"], row["mean"] = (benchmark.now_errors(self.head, vertices, *truth, kinds=("scaled",))["scaled"].mean
                                         for vertices in (self.head.shape(fitted.astype(np.float64)), mean))
        return row


def pictures(options: argparse.Namespace) -> Iterator[tuple[pathlib.Path, Row, tuple[np.ndarray, np.ndarray]]]:
    """Each picture of the ruler, made where the cache lacks it: its path, what it is, and the scan of the person with its marks."""
    studio = Studio()
    populations = {"embedded": embedded_population(), "ict": ict_population(ict_source.read(options.truth))}
    for seed in range(*options.people):
        for kind in parse_all(options.kinds):
            population = populations[kind.people]
            person = subjects.person(population, seed, expressions=kind.expression)
            truth = person.vertices[population.face[population.scanned]], population.marks(person.vertices)
            folder = benchmark.picture_folder(options.cache, population, studio, kind=kind, skins=options.skins)
            for yaw in options.yaws:
                view = subjects.view(seed, yaw, studio.width, studio.height, wide=kind.lens == "wide")
                path = benchmark.ensure_picture(SkinPaint(kind, population, seed, options.skins), person, view, studio, folder)
                yield path, {"kind": kind.name, "person": seed, "yaw": yaw}, truth


def main() -> None:
    """Add to a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=pathlib.Path, help="folder of `fitkit eval synthetic`")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="table to write or to go on with")
    parser.add_argument("--truth", required=True, help="folder or archive of ICT-FaceKit")
    parser.add_argument("--skins", help="folder of MakeHuman's skins, for kinds with photographed skin")
    parser.add_argument("--photos", type=pathlib.Path, help="folder of photos")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="of pictures")
    parser.add_argument("--people", nargs=2, type=int, default=(0, 20), help="first seed, and the one after the last")
    parser.add_argument("--yaws", nargs="*", type=int, default=[0, 30, 60], help="degrees")
    parser.add_argument("--faults", type=int, default=1, help="faulty copies of each picture, and four times as many of a photo")
    options = parser.parse_args()
    table = Table(options.out)
    for number, (path, facts, truth) in enumerate(pictures(options)):
        table.add(path, facts, chosen_faults(number, options.faults), truth)
    photos = sorted(path for path in options.photos.iterdir() if path.suffix.lower() in PHOTOS) if options.photos else []
    for number, path in enumerate(photos):
        table.add(path, {"kind": "photo", "person": path.name, "yaw": 0}, chosen_faults(number, 4 * options.faults), None)


def chosen_faults(number: int, count: int) -> list[str]:
    """Some of the faults, in turn from picture to picture."""
    return [FAULTS[(number * count + k) % len(FAULTS)] for k in range(count)]


if __name__ == "__main__":
    main()
