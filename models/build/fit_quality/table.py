"""Fits pictures of known people, photos, and faulty copies of both, and keeps the evidence of every fit: a line of JSON each.

    python -m fitkit.models.build.fit_quality.table CACHE --out TABLE [--photos FOLDER] [--truth FILE] [--kinds KIND ...]
        [--people FIRST LAST] [--yaws DEGREE ...] [--faults N] [--shards FILE ...]

CACHE is the folder of `fitkit eval synthetic`: pictures that it lacks are made. Rows that the table has are kept, so that a killed
run goes on where it was; people and kinds are taken in turn, so that any part of it will do. `--shards` names files of
`models/build/detector/pictures.py`, preferably such that the detector's regression was not learned from: each picture shows
another person, and how far a fit is off depends more on the person than on the picture.
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
from fitkit.evaluation.synthetic.kinds import parse, parse_all
from fitkit.evaluation.synthetic.populations import embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.fitting.observation import Lens, known_lens, observe
from fitkit.io.given_photo import as_photo
from fitkit.io.images import read_image
from fitkit.models.build.detector.pictures import STUDIO
from fitkit.models.build.fit_quality.faults import OF_PHOTO, OF_POINTS
from fitkit.models.heads import ict_source
from fitkit.results.fit_evidence import fit_evidence

KINDS = ("portrait", "hard", "key_fill", "embedded", "plain+rasterizer", "spectacles", "hand", "scarf")
PHOTOS = (".jpg", ".jpeg", ".png")     # file names taken for photos
FAULTS = (*OF_PHOTO, *OF_POINTS)
LEAST_PROBABILITY, MOST_MOTION = 0.7, 0.03      # of a detection in a shard that is taken for one; as the detector itself, about
EVERY = 3                  # points of a shard's scan, one is measured: a bound on work
GUESSED_LENS = (1.6, 0.4, 1.0)     # focal length in longer sides of a shard's picture, its deviation and bound: of an unknown lens

Row = dict[str, Any]
Truth = tuple[np.ndarray, np.ndarray]      # points of a scan and its marks, mm


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

    def add(self, path: pathlib.Path, facts: Row, faults: list[str], truth: Truth | None) -> None:
        """Fit a picture as it is, and a copy with each of the faults."""
        if all((*facts.values(), fault) in self.known for fault in ("", *faults)):
            return
        pixels = read_image(path).pixels
        points = self._points(pixels)
        if points is not None:
            self.add_pixels(pixels, points, facts, faults, truth)

    def add_pixels(
        self, pixels: np.ndarray, points: np.ndarray, facts: Row, faults: list[str], truth: Truth | None, lens: Lens | None = None
    ) -> None:
        """The same of pixels, sRGB in [0, 1], in which points were detected."""
        reference = None
        for fault in ("", *faults):
            if (*facts.values(), fault) in self.known:
                continue
            spoilt, given = self._spoilt(pixels, points, fault, np.random.default_rng(len(self.known)))
            row = facts | {"fault": fault}
            if given is not None:
                row |= self._fitted(spoilt, given, truth, lens)
                if truth is not None:
                    mean = benchmark.mean_person(self.head, self.job.model, np.zeros(len(self.job.model.expression)))
                    reference = self._error(mean, truth) if reference is None else reference
                    row["mean"] = reference
            self.known.add((*facts.values(), fault))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        self.other = points

    def _points(self, pixels: np.ndarray) -> np.ndarray | None:
        try:
            return np.asarray(pipeline.read(pixels, self.job).faces[0].points, float)
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

    def _fitted(self, pixels: np.ndarray, points: np.ndarray, truth: Truth | None, lens: Lens | None) -> Row:
        """The evidence of a fit; its error, mm, where the truth is known."""
        model, image = self.job.model, as_photo(pixels)
        face = Landmarks(points=points.astype(np.float32), scheme="mediapipe468", score=1.0, box=box_of(points))
        observation, _ = observe(model, image, face, lens or known_lens(image, None, None), self.job.size)
        solution = self.job.recipe.function(model, observation, self.job.config)
        row: Row = {"evidence": fit_evidence(model, observation, solution)}
        if truth is not None:
            fitted = np.concatenate([np.asarray(solution.state.face.identity), np.asarray(solution.state.face.expression)])
            row["error"] = self._error(self.head.shape(fitted.astype(np.float64)), truth)
        return row

    def _error(self, vertices: np.ndarray, truth: Truth) -> float:
        """Mean distance of the scan, aligned with scale, mm."""
        return benchmark.now_errors(self.head, vertices, *truth, kinds=("scaled",))["scaled"].mean


def pictures(options: argparse.Namespace) -> Iterator[tuple[pathlib.Path, Row, Truth]]:
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


def shard_pictures(path: pathlib.Path, truth: str) -> Iterator[tuple[np.ndarray, np.ndarray, Row, Truth, Lens]]:
    """Each picture of a shard in which the detector saw a face: pixels, points, what it is, scan and marks, lens.

    The pixels are those of the square that the detector looked at, its roll undone.
    """
    populations = (embedded_population(), ict_population(ict_source.read(truth)))
    with np.load(path) as file:
        shard = {name: file[name] for name in file.files}
    for row in np.flatnonzero((shard["probability"] > LEAST_PROBABILITY) & (shard["moved"] < MOST_MOTION)):
        population, seed, name = populations[shard["population"][row]], int(shard["seed"][row]), str(shard["kind"][row])
        person = subjects.person(population, seed, expressions=parse(name).expression)
        scan = person.vertices[population.face[population.scanned]][::EVERY], population.marks(person.vertices)
        x, y, side, roll = shard["square"][row]
        pixels = shard["crop"][row].astype(np.float32) / 255
        zoom = len(pixels) / side
        turn = zoom * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        principal, points = ((shard[places][row] - [x, y]) @ turn + len(pixels) / 2 for places in ("principal", "points"))
        ratio, deviation, bound = GUESSED_LENS
        lens = Lens(ratio * max(STUDIO.width, STUDIO.height) * zoom, deviation, bound, principal.astype(np.float32), "estimated")
        forward = shard["rotation"][row][:, 2]
        facts = {"kind": name, "person": seed, "yaw": round(float(np.degrees(np.arctan2(forward[0], forward[2]))))}
        yield pixels, points, facts, scan, lens


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
    parser.add_argument("--shards", nargs="*", type=pathlib.Path, default=[], help="of models/build/detector/pictures.py")
    parser.add_argument("--faults", type=int, default=1, help="faulty copies of each picture, and four times as many of a photo")
    options = parser.parse_args()
    table = Table(options.out)
    for number, (path, facts, truth) in enumerate(pictures(options)):
        table.add(path, facts, chosen_faults(number, options.faults), truth)
    photos = sorted(path for path in options.photos.iterdir() if path.suffix.lower() in PHOTOS) if options.photos else []
    for number, path in enumerate(photos):
        table.add(path, {"kind": "photo", "person": path.name, "yaw": 0}, chosen_faults(number, 4 * options.faults), None)
    for number, (pixels, points, facts, truth, lens) in enumerate(
            picture for shard in options.shards for picture in shard_pictures(shard, options.truth)):
        table.add_pixels(pixels, points, facts, chosen_faults(number, options.faults), truth, lens)


def chosen_faults(number: int, count: int) -> list[str]:
    """Some of the faults, in turn from picture to picture."""
    return [FAULTS[(number * count + k) % len(FAULTS)] for k in range(count)]


if __name__ == "__main__":
    main()
