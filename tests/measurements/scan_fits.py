"""Recipe `scan` on ICT-FaceKit people: their meshes without colours, and depth images as a Kinect would take of them.

    python -m tests.measurements.scan_fits [--people 20] [--depth] [--sheet FILE]

Each person's whole head is written to a PLY file, in the head's own frame, and fitted as a user would: the front, the landmarks and
the unit are found by the recipe. Printed is the mean distance of the vertices of the narrow face (brow to chin) that can be seen
from outside (no nostrils, no inside of lips and lids) from the fitted skin where the recipe says that it lies in the scan's frame,
with no further alignment: of the head's modes, and with the displacement that mesh_detailed.glb has; beside them the benchmarks'
floor, which is registered to all vertices of the narrow face. `--depth`: from 700 mm, 640 x 480 pixels, noise and quantisation of a
Kinect by Handa et al. 2014 ("A benchmark for RGB-D visual odometry, 3D reconstruction and SLAM", Section IV-C):
`z' = 35130 / round(35130 / z + n + 0.5)` in centimetres, n of deviation 1/6, pixels shifted by a deviation of 1/2; rounded to
millimetres, holes at the outline.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import scipy.spatial
import trimesh

import fitkit
from fitkit.fitting.scan_origin import head_to_scan
from fitkit.geometry.point_to_mesh import closest, make_surface
from fitkit.io.images import write_image
from fitkit.morphable.regions import triangles_of_part
from fitkit.recipes.scan import registration
from fitkit.rendering.rasterizer import rasterize
from fitkit.results.result import FitResult
from fitkit.uv.displacement import detailed_mesh
from tests.fixtures.ict_archive import NARROW_FACE, load_ict, subject_vertices

WIDTH, HEIGHT, FOCAL, DISTANCE = 640, 480, 585.0, 700.0      # pixels and mm, of the depth camera
BASELINE = 35130.0           # of Handa's disparities, cm
VIEWS = [(yaw, pitch) for yaw in (-70, -35, 0, 35, 70) for pitch in (-45, 0, 45)]      # degrees, from which a vertex is seen or not
BEHIND = 0.5                 # mm behind what a view sees, beyond which a vertex is hidden
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
    vertices, triangles = ict["neutral"].astype(np.float64), np.asarray(ict["triangles"])
    seen = np.zeros(NARROW_FACE, bool)
    for view in VIEWS:
        turned = vertices @ scipy.spatial.transform.Rotation.from_euler("yx", view, degrees=True).as_matrix().T
        exact, placing = depth_image(turned, triangles, side=1024)
        camera = turned[:NARROW_FACE] @ placing[:3, :3].T + placing[:3, 3]
        column, row = np.clip((camera[:, :2] / camera[:, 2:] * 1024 * DISTANCE / 300 + 512).astype(int), 0, 1023).T
        seen |= (exact[row, column] > 0) & (camera[:, 2] < exact[row, column] + BEHIND)
    return np.flatnonzero(seen)


def distances(result: FitResult, points: np.ndarray) -> tuple[float, float]:
    """Mean distance, mm, of points in the scan's frame from the fitted skin: of the modes, and displaced."""
    assert result.scan is not None
    model, placing = result.model, np.linalg.inv(head_to_scan(result.scan, result.camera))
    local = points @ placing[:3, :3].T + placing[:3, 3]
    skin = np.asarray(model.triangles)[np.asarray(triangles_of_part(model, "skin"))]
    coarse = closest(make_surface(np.asarray(result.mesh().vertices), skin), local)[2].mean()
    assert result.relief is not None
    fine = detailed_mesh(model, result.parameters, result.relief)
    return float(coarse), float(closest(make_surface(fine.vertices, fine.triangles[fine.part == 0]), local)[2].mean())


def floor(vertices: np.ndarray, ict: dict[str, Any], chosen: np.ndarray) -> float:
    """Mean distance, mm, of vertices from the benchmarks' registration to the narrow face."""
    head = registration.head_arrays(fitkit.load_head("makehuman"))
    begin = registration.start_from_marks(head, vertices[ict["landmarks"]])
    found = registration.register(head, vertices[:NARROW_FACE:2], begin)
    local = (vertices[chosen] - found.translation) @ found.rotation
    return float(closest(make_surface(head.shape(found.coefficients), head.triangles), local)[2].mean())


def measure(
    seed: int, ict: dict[str, Any], chosen: np.ndarray, folder: Path, *, depth: bool
) -> tuple[FitResult, tuple[float, ...]]:
    """Fit one person; distances of the `chosen` vertices."""
    vertices, triangles = subject_vertices(ict, seed).astype(np.float64), np.asarray(ict["triangles"])
    if not depth:
        path = folder / f"person{seed}.ply"
        trimesh.Trimesh(vertices, triangles, process=False).export(path)
        result = fitkit.fit(path, recipe="scan")
        return result, (*distances(result, vertices[chosen]), floor(vertices, ict, chosen))
    exact, placing = depth_image(vertices, triangles)
    path = folder / f"depth{seed}.png"
    write_image(path, kinect_depth(exact, np.random.default_rng(seed)).astype(np.uint16), bits=16)
    camera = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    result = fitkit.fit(path, recipe="scan", intrinsics=camera)
    return result, distances(result, vertices[chosen] @ placing[:3, :3].T + placing[:3, 3])


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
            result, row = measure(seed, ict, chosen, Path(folder), depth=arguments.depth)
            rows.append(row)
            floors = f", floor {row[2]:.3f}" if len(row) > 2 else ""
            print(f"{seed}: modes {row[0]:.3f} mm, displaced {row[1]:.3f}{floors}; {result.status} {result.reason};"
                  f" {result.timings['fit']:.1f} s; recipe says"
                  f" {result.losses['distance_mean']:.3f}, {result.losses['distance_displaced']:.3f}", flush=True)
        if arguments.sheet:
            write_image(arguments.sheet, result.pictures["comparison"])
    for name, column in zip(("modes", "displaced", "floor"), np.array(rows).T, strict=False):
        print(f"{name}: mean of {len(rows)} {column.mean():.3f} mm ({column.min():.3f} to {column.max():.3f})")


if __name__ == "__main__":
    main()
