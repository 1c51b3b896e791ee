"""Share of faces found, and how well their points lie, on renderings of turned heads: by yaw, light and head model.

    python -m tests.measurements.turned_faces --cache FOLDER [--lights hard key_fill portrait] [--skin procedural] [--people 3]

Each person is turned to both sides under the same light, so that the light comes from before and from behind the face. Error: mean
distance of the detector's inner 51 points to the true ones, % of the outer-eye distance as it would be from the front. Pictures are
kept in the cache folder. Light `overcast` and skin `photographic` are left out of tuning: for the last report alone.
"""

import argparse
import dataclasses
import io
import pathlib
import sys
import time
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from PIL import Image

from fitkit.device import keep_compiled_programs
from fitkit.evaluation.synthetic import benchmark, kinds, subjects
from fitkit.evaluation.synthetic.kinds import Kind
from fitkit.evaluation.synthetic.photograph import photograph
from fitkit.evaluation.synthetic.populations import embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.evaluation.synthetic.subjects import View
from fitkit.geometry.camera import head_rotation, project
from fitkit.models.heads import ict_source
from fitkit.models.mediapipe.facemesh import find_faces
from fitkit.morphable.correspondence import ibug_points
from tests.conftest import ASSETS

ICT = "models/ict-facekit.tar.xz"
YAWS = (0, 30, 45, 60, 75)      # degrees, to both sides
STUDIO = Studio(width=288, height=384, samples=8, subdivisions=1)      # small: it shows a detector as much
MAX_ERROR = 0.5                 # of the outer-eye distance: a face whose points lie farther off is another, or none; chosen
JAW = 17                        # points of the jaw line, which detector and head define differently
OUTER_EYES = (36, 45)           # of the 68 points


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A picture with its truth."""

    people: str
    light: str
    yaw: int                # degrees, positive towards the viewer's right
    seed: int
    file: pathlib.Path
    points: np.ndarray      # [51, 2] pixels
    unit: float             # outer-eye distance from the front, pixels


def turned_view(seed: int, yaw: int) -> View:
    """The benchmark's view of a subject, with the side given."""
    view = subjects.view(seed, abs(yaw), STUDIO.width, STUDIO.height)
    camera = dataclasses.replace(view.camera, rotation=head_rotation(*np.radians([yaw, view.pitch, view.roll])))
    return dataclasses.replace(view, yaw=float(yaw), camera=camera)


def cases(folder: pathlib.Path, lights: list[str], skin: str, seeds: range) -> Iterator[Case]:
    """All pictures, made where they are not in the folder."""
    for population in (ict_population(ict_source.read(str(ASSETS / ICT))), embedded_population()):
        for light in lights:
            kind = Kind(light=light, people=population.name, skin=skin)
            place = benchmark.picture_folder(folder, population, STUDIO, kind=kind, skins=str(ASSETS / "skins"))
            for seed in seeds:
                person, paint = subjects.person(population, seed), SkinPaint(kind, population, seed, str(ASSETS / "skins"))
                marks = population.marks(person.vertices)
                for yaw in sorted({side * yaw for yaw in YAWS for side in (-1, 1)}):
                    view = turned_view(seed, yaw)
                    file = place / f"s{seed:03d}{yaw:+03d}.jpg"
                    if not file.is_file():
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(photograph(paint, person, view, STUDIO).jpeg)
                    pixels = np.asarray(project(view.camera, jnp.asarray(marks, jnp.float32))[0])
                    length = np.linalg.norm(marks[OUTER_EYES[0]] - marks[OUTER_EYES[1]])
                    yield Case(people=population.name, light=light, yaw=yaw, seed=seed, file=file, points=pixels[JAW:],
                               unit=float(view.camera.focal * length / view.camera.translation[2]))


def point_error(case: Case) -> float:
    """Mean distance of the points of the found face to the true ones, in outer-eye distances; infinite where none is found."""
    image = np.asarray(Image.open(io.BytesIO(case.file.read_bytes())).convert("RGB"), np.float32) / 255
    errors = [np.linalg.norm(ibug_points(face.points)[JAW:] - case.points, axis=1).mean() / case.unit for face in find_faces(image)]
    return float(min([error for error in errors if error < MAX_ERROR], default=np.inf))


def table(rows: list[tuple[Case, float]]) -> list[str]:
    """Lines: for each head model and light, and for all, found / shown and the mean error of those found, by yaw."""
    lines = [f"{'people':9s} {'light':9s}" + "".join(f"{f'yaw {yaw}':>16}" for yaw in YAWS)]
    groups = list(dict.fromkeys((case.people, case.light) for case, _ in rows))
    for group in [*groups, ("all", "")]:
        line = f"{group[0]:9s} {group[1]:9s}"
        for yaw in YAWS:
            errors = np.array([error for case, error in rows
                               if abs(case.yaw) == yaw and group in ((case.people, case.light), ("all", ""))])
            found = errors[np.isfinite(errors)]
            line += f"{len(found):5d}/{len(errors):<3d}" + (f"{100 * found.mean():5.1f} %" if len(found) else "     - ")
        lines.append(line)
    return lines


def main() -> None:
    """Make the pictures, find the faces, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder that keeps the pictures")
    parser.add_argument("--lights", nargs="+", default=["hard", "key_fill", "portrait"], choices=kinds.LIGHTS)
    parser.add_argument("--skin", default="procedural", choices=kinds.SKINS)
    parser.add_argument("--people", type=int, default=3, help="of each head model, of the split open to tuning")
    options = parser.parse_args()
    if not (ASSETS / ICT).exists():
        sys.exit(f"{ASSETS / ICT} is not there; the heads are looked for in shared/assets beside the checkout")
    keep_compiled_programs()
    rows, seconds = [], []
    for case in cases(options.cache, options.lights, options.skin, range(options.people)):
        start = time.perf_counter()
        rows.append((case, point_error(case)))
        seconds.append(time.perf_counter() - start)
        if not np.isfinite(rows[-1][1]):
            print(f"not found: {case.people} {case.light} person {case.seed} yaw {case.yaw:+d} {case.file}", flush=True)
    print(*table(rows), sep="\n")
    print(f"{np.median(seconds):.2f} s a picture (median), {np.max(seconds[1:]):.2f} s at most")


if __name__ == "__main__":
    main()
