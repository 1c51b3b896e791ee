"""One synthetic person fitted with every head from the same picture: how far the fitted faces lie apart.

    python -m tests.measurements.one_person [--recipe NAME] [--set FIELD=VALUE ...] [--people 2] [--yaw 0 30] [--sheet FILE]

The heads are the embedded one, ICT-FaceKit, and imported files in the layouts of GNM, FLAME, Basel and Surrey that hold real faces
(`tests/fixtures/carried_heads.py` says which). People of ICT-FaceKit (seeds 100, 101, ...), photographed by Mitsuba in portrait
light. Of two fits the one's MediaPipe points (those that lie on skin) are measured to the other's skin, both ways, after the other
was laid on them by landmarks and ICP, with and without scale; printed are the means over pairs of heads, each pair, and each head's
distance from the truth, as the benchmark measures it (NoW).
"""

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import fitkit
from fitkit.configuration import parse_assignments
from fitkit.evaluation.metrics.alignment import align_points, align_surface
from fitkit.evaluation.registration_floor import head_arrays
from fitkit.evaluation.synthetic import benchmark, subjects
from fitkit.evaluation.synthetic.kinds import PORTRAIT
from fitkit.evaluation.synthetic.populations import ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.geometry.point_to_mesh import closest, make_surface
from fitkit.io.images import write_image
from fitkit.models.heads import ict_source
from fitkit.models.heads.importing import importer
from tests.fixtures import carried_heads
from tests.fixtures.ict_archive import ARCHIVE


def imported(folder, names):
    """Names of heads by family: files are made and imported where they do not lie in the folder yet."""
    found = {"makehuman": "makehuman", "ict": f"ict:{ARCHIVE}"}
    for family, write in carried_heads.WRITERS.items():
        if family not in names:
            continue
        kept = sorted(Path(folder).glob(f"{family}-*.path"))
        path = Path(kept[0].read_text()) if kept else write(folder, ARCHIVE)
        if not kept:
            report = importer.import_head(path)
            gaps = np.array(list(report.expressions.values()))
            print(f"{family}: registered to {report.residual:.3f} mm, points {report.points_residual:.2f} mm, ARKit's expressions"
                  f" {100 * np.median(gaps[:, 0] / np.maximum(gaps[:, 1], 1e-9)):.0f} % of their motion away (median)", flush=True)
            (Path(folder) / f"{family}-done.path").write_text(str(path))
        found[family] = f"{family}:{path}"
    return {name: found[name] for name in names}


class Face:
    """A fitted face: vertices, skin, 68 landmarks, and MediaPipe's points on it."""

    def __init__(self, result):
        model = result.model
        self.vertices = np.asarray(result.mesh().vertices, np.float64)
        arrays = head_arrays(model)
        self.triangles, self.marks = arrays.triangles, arrays.landmarks(self.vertices)
        corners = np.asarray(model.triangles)[np.asarray(model.dense.triangle)]
        points = np.einsum("nk,nkd->nd", np.asarray(model.dense.barycentric, np.float64), self.vertices[corners])
        self.points = points[np.asarray(model.dense_weight) > 0]


def apart(one, other, *, scale):
    """Mean distance of one face's points from the other's skin, mm, after the other was aligned to them."""
    surface = make_surface(other.vertices, other.triangles)
    placed = align_surface(surface, one.points, align_points(other.marks, one.marks, scale=scale), scale=scale)
    return float(placed.scale * closest(surface, placed.undo(one.points))[2].mean())


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="inverse_rendering")
    parser.add_argument("--set", nargs="*", default=["stages=1"], help="fields of the recipe")
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--yaw", type=int, nargs="*", default=[0, 30])
    parser.add_argument("--only", nargs="*", default=["makehuman", "ict", *carried_heads.WRITERS], help="heads")
    parser.add_argument("--heads", help="folder that keeps the files of heads from run to run")
    parser.add_argument("--pictures", help="folder that keeps the benchmark's pictures")
    parser.add_argument("--sheet", help="PNG of the last picture's overlays, one beside the other")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(arguments.heads or made)
        folder.mkdir(exist_ok=True)
        os.environ.setdefault("XDG_DATA_HOME", str(folder / "data"))      # where imports are kept
        compare(arguments, imported(folder, arguments.only), Path(arguments.pictures or made))


def compare(arguments, heads, cache):
    """Fit every picture with every head and print the distances."""
    population, studio, fields = ict_population(ict_source.read(ARCHIVE)), Studio(), parse_assignments(arguments.set)
    shots, pairs, truths = benchmark.picture_folder(cache, population, studio), {}, {}
    for seed, yaw in itertools.product(range(100, 100 + arguments.people), arguments.yaw):
        person, view = subjects.person(population, seed), subjects.view(seed, yaw, studio.width, studio.height)
        picture = benchmark.ensure_picture(SkinPaint(PORTRAIT, population, seed, None), person, view, studio, shots)
        scan, marks = person.vertices[population.face[population.scanned]], population.marks(person.vertices)
        faces, overlays = {}, []
        for name, head in heads.items():
            started = time.perf_counter()
            result = fitkit.fit(picture, recipe=arguments.recipe, head=head, **fields)
            spent, arrays, faces[name] = time.perf_counter() - started, head_arrays(result.model), Face(result)
            errors = benchmark.now_errors(arrays, faces[name].vertices, scan, marks)
            truths.setdefault(name, []).append([errors[kind].mean for kind in ("scaled", "metric")])
            print(f"{seed} yaw {yaw} {name:10} from the truth {errors['scaled'].mean:.3f} / {errors['metric'].mean:.3f} mm;"
                  f" {result.status} {result.reason} {spent:.1f} s", flush=True)
            overlays.append(result.pictures["overlay"])
        for one, other in itertools.permutations(faces, 2):
            found = [apart(faces[one], faces[other], scale=scale) for scale in (True, False)]
            pairs.setdefault(tuple(sorted((one, other))), []).append(found)
        means = np.mean([np.mean(values, axis=0) for values in pairs.values()], axis=0)
        print(f"faces of {len(heads)} heads lie {means[0]:.3f} / {means[1]:.3f} mm apart, with scale and without", flush=True)
    for (one, other), values in pairs.items():
        print(f"{one:10} {other:10} {np.mean(values, axis=0)[0]:.3f} / {np.mean(values, axis=0)[1]:.3f} mm apart")
    for name, values in truths.items():
        print(f"{name:10} from the truth {np.mean(values, axis=0)[0]:.3f} / {np.mean(values, axis=0)[1]:.3f} mm")
    if arguments.sheet:
        write_image(arguments.sheet, np.concatenate(overlays, axis=1))


if __name__ == "__main__":
    main()
