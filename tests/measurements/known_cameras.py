"""Photos of one instant by known cameras against one photo: errors of the shape, millimetres, on rendered people.

    python -m tests.measurements.known_cameras FOLDER [--people 4] [--recipe landmarks] [--yaws -40 0 40]

People of ICT-FaceKit and of the embedded head (seeds 100 on), each with one expression, seen by a camera in front and one at each
side, of 35 to 85 mm. Compared: the photo from the front alone, its lens known; all photos as of one person (lens known, each with
its own pose and expression); and with R and t, in millimetres and without their unit. Error: the NoW challenge's distance from what
a scanner sees of the true face to the fit, aligned with and without scale; the size of the fitted head over the true one. FOLDER
keeps pictures.
"""

import argparse
import dataclasses
import pathlib
from typing import Any

import numpy as np

import fitkit
from fitkit.device import keep_compiled_programs
from fitkit.evaluation import registration_floor
from fitkit.evaluation.synthetic import benchmark, subjects
from fitkit.evaluation.synthetic.kinds import RENDERERS, Kind
from fitkit.evaluation.synthetic.populations import Population, embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.evaluation.synthetic.subjects import Person, View
from fitkit.geometry.camera import head_rotation
from fitkit.models.heads import ict_source
from tests.conftest import ASSETS

ICT = "models/ict-facekit.tar.xz"
STUDIO = Studio(subdivisions=1)
FIRST = 100             # seed; those below develop
FRONT = "one photo"
WAYS = (FRONT, "one person", "one instant, no unit", "one instant, mm")


def side_view(seed: int, yaw: int) -> View:
    """The benchmark's view of a subject, from a side that is given."""
    view = subjects.view(seed, abs(yaw), STUDIO.width, STUDIO.height)
    camera = dataclasses.replace(view.camera, rotation=head_rotation(*np.radians([yaw, view.pitch, view.roll])))
    return dataclasses.replace(view, yaw=float(yaw), camera=camera)


def in_world(view: View, seed: int) -> dict[str, Any]:
    """The camera of a view as `--camera` takes it, in a world that is turned and shifted against the head."""
    generator = np.random.default_rng((seed, 5))
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    rotation = np.asarray(view.camera.rotation, np.float64) @ turn.T
    place = np.asarray(view.camera.translation, np.float64) - rotation @ generator.normal(0, 500, 3)
    focal, (x, y) = float(view.camera.focal), np.asarray(view.camera.principal).tolist()
    return {"K": [[focal, 0, x], [0, focal, y], [0, 0, 1]], "R": rotation.tolist(), "t": place.tolist()}


def fits(photos: list[pathlib.Path], cameras: list[dict[str, Any]], recipe: str) -> dict[str, Any]:
    """A fit of the first photo in each of the `WAYS`."""
    lenses = [{"K": camera["K"]} for camera in cameras]
    fields = {"stages": 1} if recipe == "inverse_rendering" else {}

    def together(given: list[dict[str, Any]]) -> Any:
        found = fitkit.fit(photos, recipe=recipe, camera=given, **fields)
        errors = [each for each in found if isinstance(each, fitkit.FitkitError)]
        return errors[0] if errors else found[0]

    return {FRONT: fitkit.fit(photos[0], recipe=recipe, camera=lenses[0], **fields), "one person": together(lenses),
            "one instant, no unit": together(cameras), "one instant, mm": together([c | {"unit": "mm"} for c in cameras])}


def measure(head: registration_floor.HeadArrays, population: Population, person: Person, result: fitkit.FitResult) -> np.ndarray:
    """NoW error with and without scale, mm; size of the fitted head over the true one."""
    parts = (result.parameters.identity, result.parameters.expression)
    vertices = head.shape(np.concatenate([np.asarray(part, np.float64) for part in parts]))
    marks = population.marks(person.vertices)
    errors = benchmark.now_errors(head, vertices, person.vertices[population.face[population.scanned]], marks)
    own = head.landmarks(vertices)[17:]
    spread = [np.sqrt(np.square(points - points.mean(0)).sum()) for points in (own, marks[17:])]
    return np.array([errors["scaled"].mean, errors["metric"].mean, spread[0] / spread[1]])


def main() -> None:
    """Make the pictures, fit, print a line a person and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--recipe", default="landmarks")
    parser.add_argument("--yaws", type=int, nargs="+", default=[0, -40, 40])
    options = parser.parse_args()
    keep_compiled_programs()
    head = registration_floor.head_arrays(fitkit.load_head("makehuman"))
    rows: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    for population in (ict_population(ict_source.read(str(ASSETS / ICT))), embedded_population()):
        kind = Kind(renderer=RENDERERS[1], people=population.name)
        for seed in range(FIRST, FIRST + options.people):
            person, paint = subjects.person(population, seed), SkinPaint(kind, population, seed, None)
            views = [side_view(seed, yaw) for yaw in options.yaws]
            photos = [benchmark.ensure_picture(paint, person, view, STUDIO, options.folder / f"{population.name}{view.yaw:+.0f}")
                      for view in views]
            for way, result in fits(photos, [in_world(view, seed) for view in views], options.recipe).items():
                if isinstance(result, fitkit.FitkitError):
                    print(f"{population.name} {seed} {way}: {result}")
                    continue
                rows[way].append(measure(head, population, person, result))
                print(f"{population.name} {seed} {way:22s} {np.round(rows[way][-1], 3)}", flush=True)
    for way, found in rows.items():
        table = np.array(found)
        print(f"{way:22s} {len(table)} people: {table[:, 0].mean():.2f} mm with scale, {table[:, 1].mean():.2f} mm without; size"
              " off by"
              f" {100 * np.abs(table[:, 2] - 1).mean():.1f} % ({100 * (table[:, 2].mean() - 1):+.1f})")


if __name__ == "__main__":
    main()
