"""Pose, size and measures of fitted heads against the truth, on rendered people by several lenses: the deviations that results say.

    python -m tests.measurements.true_size FOLDER [--people 8] [--first 0] [--recipe landmarks] [--lenses 28 50 85] [--together]
        [--table FILE]

People of ICT-FaceKit and of the embedded head at yaw 0, 30, 45 and 60, each seen by lenses of 28, 50 and 85 mm from as near as
fills the picture; irises drawn from 10.4 to 13.2 mm, so that what is read of them is seen to follow them. Each picture is fitted
with the true focal length and without; with `--together` the four pictures of one lens are fitted as one person, with the true
focal length, with a lens of each picture, and with one lens (`--same-lens`). Printed: how far yaw, pitch and roll (camera axes)
are off by yaw; and of pictures turned by 30 degrees at most what irises measure over the truth, and the truth over fitted size
and measures, in per cent (mean and deviation), and how far the focal length is off. FOLDER keeps pictures; `--table` the numbers.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

import fitkit
from fitkit.device import keep_compiled_programs
from fitkit.evaluation.synthetic import skin_appearance, subjects
from fitkit.evaluation.synthetic.kinds import RENDERERS, Kind
from fitkit.evaluation.synthetic.photograph import photograph
from fitkit.evaluation.synthetic.populations import Population, embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.evaluation.synthetic.subjects import Person, View
from fitkit.geometry.camera import head_angles, head_rotation
from fitkit.io import atomic_files
from fitkit.models.heads import ict_source
from fitkit.morphable.model import shape, values_at_points
from fitkit.results.metric import measures
from fitkit.results.metric.iris import IRIS_DEVIATION, IRIS_TYPICAL, iris_diameter
from fitkit.results.metric.scaled import MOST_TURNED as MOST_TURNED_IRIS
from fitkit.results.metric.true_size import size_of_the_mean
from fitkit.types import Camera, MorphableModel
from tests.conftest import ASSETS

ICT = "models/ict-facekit.tar.xz"
STUDIO = Studio(width=576, height=768, subdivisions=1)
YAWS = (0, 30, 45, 60)
IRIS_RADII = (5.2, 6.6)          # mm on the mean head
RING = 0.35                      # mm that `skin_appearance.eyeball` paints the limbus dark beyond the radius
MOST_TURNED = 30                 # degrees of yaw of pictures whose sizes are judged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture and its truth."""

    name: str
    path: pathlib.Path
    population: Population
    person: Person
    view: View
    iris: float                  # diameter, mm


def pictures(folder: pathlib.Path, seeds: range, lenses: list[int]) -> Iterator[Picture]:
    """All pictures, made where they are not in the folder."""
    for population in (ict_population(ict_source.read(str(ASSETS / ICT))), embedded_population()):
        kind = Kind(renderer=RENDERERS[1], people=population.name)
        for seed in seeds:
            generator = np.random.default_rng((seed, 77))
            skin_appearance.IRIS_RADIUS = radius = float(generator.uniform(*IRIS_RADII))
            person, paint = subjects.person(population, seed), SkinPaint(kind, population, seed, None)
            iris = 2 * (radius + RING) * np.mean([_growth(person.neutral[mesh.rows], population.mean[mesh.rows])
                                                  for mesh in population.parts if mesh.paint == "eye"])
            for yaw in YAWS:
                for lens in (28, 50, 85):
                    view = drawn_view(yaw, lens, generator)
                    path = folder / f"{population.name}-{seed}-{yaw}-{lens}.jpg"
                    if lens not in lenses:
                        continue
                    if not path.is_file():
                        atomic_files.write_bytes(path, photograph(paint, person, view, STUDIO).jpeg)
                    yield Picture(name=path.stem, path=path, population=population, person=person, view=view, iris=float(iris))


def _growth(person: np.ndarray, mean: np.ndarray) -> float:
    """How much larger a person's eyeball is than the mean head's."""
    return float(np.linalg.norm(person - person.mean(0), axis=1).mean() / np.linalg.norm(mean - mean.mean(0), axis=1).mean())


def drawn_view(yaw: int, lens: int, generator: np.random.Generator) -> View:
    """A camera from so near that the head has the size that the benchmark gives it."""
    side = 1.0 if generator.uniform() < 0.5 else -1.0
    pitch, roll = generator.uniform(-1, 1, 2) * subjects.MAX_TILT
    focal = lens / subjects.FULL_FRAME * max(STUDIO.width, STUDIO.height)
    distance = focal * subjects.HEAD_HEIGHT / (generator.uniform(*subjects.HEAD_SHARE) * STUDIO.height)
    shift = generator.normal(0, 1, 2) * (subjects.SHIFT * distance * STUDIO.width / focal)
    camera = Camera(focal=jnp.float32(focal), principal=jnp.asarray([STUDIO.width / 2, STUDIO.height / 2], jnp.float32),
                    rotation=head_rotation(*np.radians([side * yaw, pitch, roll])),
                    translation=jnp.asarray([*shift, distance], jnp.float32), perspective=True)
    return View(yaw=side * yaw, pitch=float(pitch), roll=float(roll), lens=float(lens), camera=camera)


def true_places(population: Population, model: MorphableModel, vertices: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Where our head's 68 points and pupils lie on a person: by the correspondence of both heads, not by each one's own points."""
    mean = shape(model, model.identity_mean, jnp.zeros(len(model.expression)))
    table = np.asarray(values_at_points(population.dense_places, model.triangles, mean))
    nearest = cKDTree(table).query(measures.places(model, mean)[0])[1]
    eyes = [vertices[mesh.rows] for mesh in population.parts if mesh.paint == "eye"]
    middles = sorted(((eye.min(0) + eye.max(0)) / 2 for eye in eyes), key=lambda middle: middle[0])
    return vertices[population.face[population.dense_rows[nearest]]], dict(zip(("pupil_right", "pupil_left"), middles, strict=True))


def true_measures(population: Population, model: MorphableModel, vertices: np.ndarray) -> dict[str, float]:
    """The measures of a person, mm."""
    points, pupils = true_places(population, model, vertices)
    return {name: float(np.linalg.norm(measures.place(first, points, pupils) - measures.place(second, points, pupils)))
            for name, (first, second, _) in measures.MEASURES.items()}


def angles(camera: Camera) -> np.ndarray:
    """Yaw, pitch and roll to the camera's axes, degrees: those to the line of sight differ by where a head has its origin."""
    return np.asarray(head_angles(camera), np.float64)


def measured(pictures: Sequence[Picture], recipe: str) -> list[dict[str, Any]]:
    """Rows: errors of each picture's fits, of several by one lens as of one person."""
    rows: list[dict[str, Any]] = [{"name": each.name, "yaw": each.view.yaw, "lens": each.view.lens, "iris": each.iris}
                                  for each in pictures]
    focal = float(pictures[0].view.camera.focal)
    fields = {"stages": 1} if recipe == "inverse_rendering" else {}
    ways: dict[str, dict[str, Any]] = {"known": {"focal": focal}, "unknown": {}}
    if len(pictures) > 1:
        ways["unknown, one lens"] = {"same_lens": True}
    for way, given in ways.items():
        paths = [each.path for each in pictures]
        found = fitkit.fit(paths if len(paths) > 1 else paths[0], recipe=recipe, **fields, **given)
        for row, picture, result in zip(rows, pictures, found if isinstance(found, list) else [found], strict=True):
            if isinstance(result, fitkit.FitkitError):
                raise result
            row[way] = errors(picture, result)
    return rows


def errors(picture: Picture, result: fitkit.FitResult) -> dict[str, Any]:
    """How far a fit is off."""
    points, _ = true_places(picture.population, result.model, picture.person.neutral)
    own = measures.measures(result.model, result.parameters.identity)
    true = true_measures(picture.population, result.model, picture.person.neutral)
    neutral = shape(result.model, result.parameters.identity, jnp.zeros(len(result.model.expression)))
    fitted = measures.places(result.model, neutral)[0][17:]
    size = [np.sqrt(np.square(each - each.mean(0)).sum()) for each in (points[17:], fitted)]
    return {"angles": (angles(result.camera) - angles(picture.view.camera)).tolist(), "size": float(np.log(size[0] / size[1])),
            "measures": {name: float(np.log(true[name] / own[name])) for name in own}, "iris": iris_of(result),
            "expected": size_of_the_mean(result.model, result.parameters),
            "focal": float(result.camera.focal / picture.view.camera.focal), "distance": float(result.camera.translation[2])}


def iris_of(result: fitkit.FitResult) -> float | None:
    """What the photo's irises measure, mm of the fitted head."""
    if result.irises is None:
        return None
    vertices = np.asarray(result.mesh().vertices, np.float64)
    return iris_diameter(result.model, vertices, result.camera, result.photo.pixels, result.irises)


def together(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    """The pictures of each person by one lens."""
    for _, own in itertools.groupby(pictures, key=lambda each: (each.population.name, each.person.neutral.tobytes())):
        every = sorted(own, key=lambda each: each.view.lens)
        for _, some in itertools.groupby(every, key=lambda each: each.view.lens):
            yield list(some)


def report(rows: list[dict[str, Any]]) -> None:
    """Print all figures."""
    for way in [name for name, value in rows[0].items() if isinstance(value, dict)]:
        print(f"\nfocal length {way}: angles, fitted - true, degrees; yaw towards larger angles")
        for yaw in YAWS:
            some = [row for row in rows if abs(row["yaw"]) == yaw]
            errors = np.array([row[way]["angles"] for row in some])
            errors[:, 0] *= [np.sign(row["yaw"]) or 1 for row in some]
            print(f"  yaw {yaw:2d}: {len(some)} pictures, yaw {errors[:, 0].mean():+.1f}, rms"
                  f" {np.sqrt(np.square(errors).mean(0)).round(1)}"
                  + "".join(f"; {lens:.0f} mm {errors[[row['lens'] == lens for row in some], 0].mean():+.1f}"
                            for lens in sorted({row["lens"] for row in some})))
        some = [row for row in rows if abs(row["yaw"]) <= MOST_TURNED]
        size = np.array([row[way]["size"] for row in some])
        focal = 100 * np.log([row[way]["focal"] for row in rows])
        by_mean = size - [row[way]["expected"] for row in some]
        print(f"  size, true over fitted: {100 * size.mean():+.1f} %, deviation {100 * size.std():.1f}; over the mean head's"
              f" {100 * by_mean.mean():+.1f}, {100 * by_mean.std():.1f}; focal length, all pictures,"
              f" fitted over true {focal.mean():+.1f} %, rms {np.sqrt(np.square(focal).mean()):.1f}")
        report_irises([row for row in rows if abs(row["yaw"]) <= MOST_TURNED_IRIS], way)
        for name in measures.MEASURES:
            values = np.array([[row[way]["measures"][name], row[way]["size"]] for row in some])
            print(f"  {name:24s} true over fitted {100 * values[:, 0].mean():+5.1f} %, deviation {100 * values[:, 0].std():.1f},"
                  " at the"
                  f" true size {100 * (values[:, 0] - values[:, 1]).std():.1f} (mean"
                  f" {100 * (values[:, 0] - values[:, 1]).mean():+.1f})")


def report_irises(rows: list[dict[str, Any]], way: str) -> None:
    """Print what irises tell, by the kind of head; the size's deviation is that of a person whose irises deviate by 0.45 mm."""
    for kind in sorted({row["name"].partition("-")[0] for row in rows}):
        some = [row for row in rows if row["name"].startswith(kind)]
        seen = [row for row in some if row[way]["iris"] is not None]
        # of the head's millimetres and its size: what the iris measures in true ones
        ratio = np.array([np.log(row[way]["iris"] / row["iris"]) + row[way]["size"] for row in seen])
        own = np.std([row[way]["size"] - row[way]["expected"] for row in some])
        size = [1 / np.sqrt(1 / own**2 + 1 / ((IRIS_DEVIATION / IRIS_TYPICAL) ** 2 + read**2)) for read in (ratio.std(), 0.0)]
        print(f"  irises of {kind} seen in {len(seen)} of {len(some)}: measured over true {100 * ratio.mean():+.1f} %, deviation"
              f" {100 * ratio.std():.1f}; size by the mean head {100 * own:.1f}, with irises {100 * size[0]:.1f}, were they read"
              f" exactly {100 * size[1]:.1f} %")


def report_people(count: int) -> None:
    """Print how people's sizes lie about the mean head's."""
    model = fitkit.load_head("makehuman")
    at_rest = shape(model, model.identity_mean, jnp.zeros(len(model.expression)))
    for population in (ict_population(ict_source.read(str(ASSETS / ICT))), embedded_population()):
        points = [true_places(population, model, subjects.person(population, seed).neutral)[0][17:] for seed in range(count)]
        spreads = [np.square(each - each.mean(0)).sum() for each in (*points, measures.places(model, at_rest)[0][17:])]
        ratio = 50 * np.log(np.array(spreads[:-1]) / spreads[-1])
        print(f"{population.name}: {count} people over the mean head {ratio.mean():+.1f} %, deviation {ratio.std():.1f}")


def main() -> None:
    """Make the pictures, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="seed of the first; those from 100 on are for the last report alone")
    parser.add_argument("--recipe", default="landmarks")
    parser.add_argument("--lenses", type=int, nargs="+", default=[28, 50, 85])
    parser.add_argument("--together", action="store_true", help="the pictures of a person by one lens as of one person")
    parser.add_argument("--table", type=pathlib.Path, help="a file for the numbers of each picture")
    options = parser.parse_args()
    keep_compiled_programs()
    report_people(24)
    rows = []
    made = pictures(options.folder, range(options.first, options.first + options.people), options.lenses)
    for some in together(made) if options.together else ([each] for each in made):
        try:
            rows.extend(measured(some, options.recipe))
        except fitkit.FitkitError as error:
            print(f"{some[0].name}: {error}")
        if options.table:
            atomic_files.write_bytes(options.table, json.dumps(rows).encode())
    report(rows)


if __name__ == "__main__":
    main()
