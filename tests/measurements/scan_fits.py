"""Recipe `scan` on ICT-FaceKit people: their meshes without colours, and depth images as a Kinect would take of them.

    python -m tests.measurements.scan_fits [--people 20] [--depth] [--sheet FILE]

Each person's whole head, without what is transparent (tear fluid, shadow cards, lashes), is written to a PLY file, in the head's
own frame, and fitted as a user would: the front, the landmarks and the unit are found by the recipe. Printed is the mean distance
of the vertices of the narrow face (brow to chin) that can be seen from outside (no nostrils, no inside of lips and lids) from the
fitted skin where the recipe says that it lies in the scan's frame, with no further alignment: of the head's modes, and with the
displacement that mesh_detailed.glb has; beside them the benchmarks' floor, which is registered to all vertices of the narrow face;
the same for those of the vertices that the recipe's cameras saw (a point of theirs within 4 mm) and those that they did not; and,
as the benchmark measures fits, NoW's distance from what a scanner sees of the face. `--depth`: from 700 mm, 640 x 480 pixels,
noise and quantisation of a Kinect by Handa et al. 2014 ("A benchmark for RGB-D visual odometry, 3D reconstruction and SLAM",
Section IV-C): `z' = 35130 / round(35130 / z + n + 0.5)` in centimetres, n of deviation 1/6, pixels shifted by a deviation of 1/2;
rounded to millimetres, holes at the outline.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import scipy.spatial
import trimesh

import fitkit
from fitkit import pipeline
from fitkit.evaluation.metrics import scan_to_mesh
from fitkit.evaluation.synthetic.populations import ict_population
from fitkit.fitting.scan_origin import head_to_scan
from fitkit.geometry.point_to_mesh import Surface, closest, make_surface
from fitkit.io.images import write_image
from fitkit.models.heads import ict_source
from fitkit.models.heads.ict import OPAQUE_TRIANGLES
from fitkit.morphable.regions import triangles_of_part
from fitkit.recipes.scan import registration
from fitkit.rendering.rasterizer import rasterize
from fitkit.results.result import FitResult
from fitkit.uv.displacement import detailed_mesh
from tests.fixtures.ict_archive import ARCHIVE, NARROW_FACE, load_ict, subject_vertices

WIDTH, HEIGHT, FOCAL, DISTANCE = 640, 480, 585.0, 700.0      # pixels and mm, of the depth camera
BASELINE = 35130.0           # of Handa's disparities, cm
VIEWS = [(yaw, pitch) for yaw in (-70, -35, 0, 35, 70) for pitch in (-45, 0, 45)]      # degrees, from which a vertex is seen or not
BEHIND = 0.5                 # mm behind what a view sees, beyond which a vertex is hidden
NEAR = 4.0                   # mm from a point that the recipe's cameras saw, within which they saw a vertex
FLYING = 20.0                # mm: a depth that its neighbours differ from by more is not measured


def kinect_depth(depth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A depth map [H, W], mm, 0 where nothing is, as a Kinect gives it."""
    rows, columns = np.mgrid[:depth.shape[0], :depth.shape[1]].astype(float)
    at = [rows + generator.normal(0, 0.5, depth.shape), columns + generator.normal(0, 0.5, depth.shape)]
    shifted = scipy.ndimage.map_coordinates(depth, at, order=1)
    whole = (scipy.ndimage.minimum_filter(depth, 3) > 0) & (scipy.ndimage.maximum_filter(depth, 3) - scipy.ndimage.minimum_filter(
        depth, 3) < FLYING)
    disparity = BASELINE / np.maximum(shifted / 10, 1) + generator.normal(0, 1 / 6, depth.shape)
    return np.where(whole, np.rint(10 * BASELINE / np.round(disparity + 0.5)), 0.0)


def depth_image(vertices: np.ndarray, triangles: np.ndarray, *, side: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """An exact depth map, mm, of a head from in front, and 4x4 from the head's frame to the camera's; `side`: of another camera."""
    width, height, focal = (WIDTH, HEIGHT, FOCAL) if side is None else (side, side, side * DISTANCE / 300)
    placing = np.diag([1.0, -1.0, -1.0, 1.0])
    placing[:3, 3] = [0, 0, DISTANCE] - placing[:3, :3] @ vertices[:NARROW_FACE].mean(0)
    camera = vertices @ placing[:3, :3].T + placing[:3, 3]
    pixels = camera[:, :2] / camera[:, 2:] * focal + [width / 2, height / 2]
    seen = rasterize(jnp.asarray(pixels, jnp.float32), jnp.asarray(camera[:, 2], jnp.float32), jnp.asarray(triangles, jnp.int32),
                     height=height, width=width)
    return np.asarray(seen.depth, np.float64), placing


def outside(ict: dict[str, Any]) -> np.ndarray:
    """Vertices of the narrow face that can be seen from outside."""
    vertices, triangles = ict["neutral"].astype(np.float64), np.asarray(ict["triangles"][:OPAQUE_TRIANGLES])
    seen = np.zeros(NARROW_FACE, bool)
    for view in VIEWS:
        turned = vertices @ scipy.spatial.transform.Rotation.from_euler("yx", view, degrees=True).as_matrix().T
        exact, placing = depth_image(turned, triangles, side=1024)
        camera = turned[:NARROW_FACE] @ placing[:3, :3].T + placing[:3, 3]
        column, row = np.clip((camera[:, :2] / camera[:, 2:] * 1024 * DISTANCE / 300 + 512).astype(int), 0, 1023).T
        seen |= (exact[row, column] > 0) & (camera[:, 2] < exact[row, column] + BEHIND)
    return np.flatnonzero(seen)


def surfaces(result: FitResult) -> tuple[Surface, Surface]:
    """The fitted skin: of the modes, and displaced."""
    model = result.model
    skin = np.asarray(model.triangles)[np.asarray(triangles_of_part(model, "skin"))]
    assert result.relief is not None
    fine = detailed_mesh(model, result.parameters, result.relief)
    return (make_surface(np.asarray(result.mesh().vertices, np.float64), skin),
            make_surface(np.asarray(fine.vertices, np.float64), np.asarray(fine.triangles)[fine.part == 0]))


def distances(result: FitResult, points: np.ndarray) -> list[np.ndarray]:
    """Distance, mm, of points in the scan's frame from the fitted skin: of the modes, and displaced."""
    assert result.scan is not None
    placing = np.linalg.inv(head_to_scan(result.scan, result.camera))
    local = points @ placing[:3, :3].T + placing[:3, 3]
    return [closest(surface, local)[2] for surface in surfaces(result)]


def benchmarked(result: FitResult, vertices: np.ndarray) -> list[float]:
    """NoW's distance, mm, with scale, of the modes and displaced, from what a scanner sees: as the benchmark measures fits."""
    population = ict_population(ict_source.read(ARCHIVE))
    scan, marks = vertices[population.face[population.scanned]], population.marks(vertices)
    own = registration.head_arrays(result.model).landmarks(np.asarray(result.mesh().vertices, np.float64))
    found = []
    for surface in surfaces(result):
        corners = surface.corners.reshape(-1, 3)
        triangles = np.arange(len(corners)).reshape(-1, 3)
        found.append(scan_to_mesh.now(scan, marks, corners, triangles, own, scale=True).mean)
    return found


def floor(vertices: np.ndarray, ict: dict[str, Any], chosen: np.ndarray) -> float:
    """Mean distance, mm, of vertices from the benchmarks' registration to the narrow face."""
    head = registration.head_arrays(fitkit.load_head("makehuman"))
    begin = registration.start_from_marks(head, vertices[ict["landmarks"]])
    found = registration.register(head, vertices[:NARROW_FACE:2], begin)
    local = (vertices[chosen] - found.translation) @ found.rotation
    return float(closest(make_surface(head.shape(found.coefficients), head.triangles), local)[2].mean())


def measure(seed: int, ict: dict[str, Any], chosen: np.ndarray, folder: Path) -> tuple[FitResult, dict[str, float]]:
    """Fit one person's mesh; mean distances, by name, of the `chosen` vertices."""
    vertices, triangles = subject_vertices(ict, seed).astype(np.float64), np.asarray(ict["triangles"][:OPAQUE_TRIANGLES])
    path = folder / f"person{seed}.ply"
    trimesh.Trimesh(vertices, triangles, process=False).export(path)
    job = pipeline.prepare(recipe="scan", head="makehuman", size=224, seed=0, detector="mediapipe", progress=None, fields={})
    reading = pipeline.read(path, job, landmarks=None, focal=None)
    result = pipeline.fit_photo(reading, job, largest=True)[0]
    assert reading.scan is not None and result.scan is not None
    in_scan = reading.scan.points @ result.scan.to_scan[:3, :3].T + result.scan.to_scan[:3, 3]
    in_scan = in_scan[np.isfinite(in_scan).all(1)]
    seen = scipy.spatial.cKDTree(in_scan).query(vertices[chosen])[0] < NEAR
    modes, displaced = distances(result, vertices[chosen])
    by_benchmark = benchmarked(result, vertices)
    return result, {
        "modes": modes.mean(), "displaced": displaced.mean(), "floor": floor(vertices, ict, chosen),
        "seen modes": modes[seen].mean(), "seen displaced": displaced[seen].mean(),
        "unseen modes": modes[~seen].mean(), "unseen share": (~seen).mean(),
        "NoW modes": by_benchmark[0], "NoW displaced": by_benchmark[1]}


def measure_depth(seed: int, ict: dict[str, Any], chosen: np.ndarray, folder: Path) -> tuple[FitResult, dict[str, float]]:
    """The same of one person's depth image."""
    vertices, triangles = subject_vertices(ict, seed).astype(np.float64), np.asarray(ict["triangles"][:OPAQUE_TRIANGLES])
    exact, placing = depth_image(vertices, triangles)
    path = folder / f"depth{seed}.png"
    write_image(path, kinect_depth(exact, np.random.default_rng(seed)).astype(np.uint16), bits=16)
    camera = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    result = fitkit.fit(path, recipe="scan", intrinsics=camera)
    modes, displaced = distances(result, vertices[chosen] @ placing[:3, :3].T + placing[:3, 3])
    by_benchmark = benchmarked(result, vertices)
    return result, {"modes": modes.mean(), "displaced": displaced.mean(), "NoW modes": by_benchmark[0],
                    "NoW displaced": by_benchmark[1]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=20, help="seeds 100, 101, ...")
    parser.add_argument("--depth", action="store_true", help="depth images in place of meshes")
    parser.add_argument("--sheet", help="PNG of the last person's comparison sheet")
    arguments = parser.parse_args()
    ict, rows = load_ict(), []
    chosen = outside(ict)
    print(f"{len(chosen)} of {NARROW_FACE} vertices of the narrow face are seen from outside")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(100, 100 + arguments.people):
            started = time.process_time()
            result, row = (measure_depth if arguments.depth else measure)(seed, ict, chosen, Path(folder))
            rows.append(row)
            print(f"{seed}: {', '.join(f'{name} {value:.3f}' for name, value in row.items())}; {result.status} {result.reason};"
                  f" {result.timings['fit']:.1f} s of fit, {time.process_time() - started:.0f} core-s in all; recipe says"
                  f" {result.losses['distance_mean']:.3f}, {result.losses['distance_displaced']:.3f}", flush=True)
        if arguments.sheet:
            write_image(arguments.sheet, result.pictures["comparison"])
    for name in rows[0]:
        column = np.array([row[name] for row in rows])
        print(f"{name}: mean of {len(rows)} {column.mean():.3f} ({column.min():.3f} to {column.max():.3f})")


if __name__ == "__main__":
    main()
