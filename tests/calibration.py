"""Measures what real people and the detector are like on the embedded head: `models/weights/makehuman_calibration.safetensors`.

`python -m tests.calibration --truth ict:PATH --cache DIR [--seeds 0 20] [--out FILE]`. Two tables of `MorphableModel`:
`identity_mean`, the mean coefficients of people, and `dense_bias`, where the detector sees each of its 468 points on them.

Data: ICT-FaceKit people of seeds 0-19 (the develop split; never the test split) and their Mitsuba pictures, as `fitkit eval
synthetic` makes and caches them. Each person's truth is laid on our head through the fixed table between the two topologies:
tight along the normal, loose along the surface, under the prior. Eyelids and lips get no bias: their lines are sharp, and the
detector sees them where they are.
"""

import argparse
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from fitkit import api, images
from fitkit import camera as cameras
from fitkit.alignment import align_points
from fitkit.evaluation import scene, synthetic, truth
from fitkit.geometry import vertex_normals
from fitkit.models import ict_source
from fitkit.models.heads import ict, makehuman
from fitkit.types import MorphableModel

YAWS = (0, 30, 60)
LOOSE = 0.05             # weight of the distance along the surface beside that along the normal
SPREAD = 0.7             # mm, of a place in the table
WITNESSES = 1500.0       # how many independent places all vertices together count as
SOUND = 0.5              # least weight of a place in the table
SHARP = ("lips", "eyelids")      # regions without bias
VIEW = np.diag([1.0, -1.0, -1.0])
MIRROR = np.array([-1.0, 1.0])


def lay_on(model: MorphableModel, target: np.ndarray, normals: np.ndarray, weight: np.ndarray, rows: np.ndarray, *,
           neutral: bool, steps: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of identity and expression that lay our vertices `rows` on their places `target` [n, 3], and the head there.

    Returns:
        coefficients [K]; the whole head in the target's frame [V, 3], mm.
    """
    modes = np.concatenate([model.identity, model.expression]).astype(float)
    near = modes[:, rows].transpose(1, 2, 0)
    scale = np.concatenate([np.ones(len(model.identity)), np.asarray(model.expression_scale) * (1e-3 if neutral else 1.0)])
    lower = np.concatenate([np.full(len(model.identity), -np.inf), model.expression_lower])
    upper = np.concatenate([np.full(len(model.identity), np.inf), model.expression_upper])
    root = np.sqrt(weight * WITNESSES / len(rows)) / SPREAD
    found = np.zeros(len(modes))
    for _ in range(steps):
        here = np.asarray(model.mean, float)[rows] + near @ found
        pose = align_points(here, target, scale=False)
        place, normal = pose.undo(target), normals @ pose.rotation
        spin = np.stack([np.cross(axis, here - here.mean(0)) for axis in np.eye(3)], 2)
        columns = np.concatenate([near, spin, np.broadcast_to(np.eye(3), (len(here), 3, 3))], 2)
        across = np.einsum("nd,ndk->nk", normal, columns) * root[:, None]
        along = (columns * (root * LOOSE**0.5)[:, None, None]).reshape(-1, columns.shape[2])
        matrix = across.T @ across + along.T @ along + 1e-9 * np.eye(columns.shape[2])
        gradient = across.T @ (((place - here) * normal).sum(1) * root)
        gradient += along.T @ ((place - here) * (root * LOOSE**0.5)[:, None]).ravel()
        matrix[np.arange(len(found)), np.arange(len(found))] += 1 / scale**2
        gradient[: len(found)] -= found / scale**2
        found = np.clip(found + np.linalg.solve(matrix, gradient)[: len(found)], lower, upper)
    return found, pose.apply(np.asarray(model.mean, float) + np.tensordot(found, modes, 1))


def miss(points: np.ndarray, places: np.ndarray, view: truth.View) -> np.ndarray:
    """Detected less true points, mm in the upright view frame [N, 2], as if the head were turned to its left."""
    camera = view.camera
    rotation = VIEW @ np.asarray(camera.rotation, float)
    pixels = np.asarray(cameras.project(camera, jnp.asarray(places, jnp.float32))[0])
    seen = (points - pixels) * float(camera.translation[2] / camera.focal) * [1, -1]
    up = rotation[:2, 1] / np.linalg.norm(rotation[:2, 1])
    return np.asarray(seen @ np.array([[up[1], up[0]], [-up[0], up[1]]]))


def calibrate(model: MorphableModel, source: str, cache: pathlib.Path, seeds: range) -> dict[str, np.ndarray]:
    """Both tables from the people of `seeds`."""
    arrays, table, studio = ict_source.read(source), ict.registration(), scene.Studio()
    skin = np.asarray(model.regions)[model.region_names.index("fit_skin")]
    weight = np.asarray(table.to_ict_weight) * (skin > 0.05)
    rows = np.flatnonzero(weight > SOUND)
    corners = arrays.triangles[np.asarray(table.to_ict.triangle)[rows]]
    inside = np.asarray(table.to_ict.barycentric)[rows]
    dense = np.asarray(model.triangles)[np.asarray(model.dense.triangle)], np.asarray(model.dense.barycentric)
    middle = np.einsum("nc,ncd->nd", dense[1], np.asarray(model.mean)[dense[0]])
    other = np.linalg.norm(middle[:, None] * [-1, 1, 1] - middle, axis=-1).argmin(1)       # the point on the other side
    folder = synthetic.picture_folder(cache, arrays, studio)
    means, misses = [], {yaw: [] for yaw in YAWS}      # type: ignore[var-annotated]
    for seed in seeds:
        person = truth.person(arrays, seed)

        def laid(vertices: np.ndarray, *, neutral: bool) -> tuple[np.ndarray, np.ndarray]:
            normals = np.asarray(vertex_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(arrays.triangles)))
            target, normal = (np.einsum("nc,ncd->nd", inside, values[corners]) for values in (vertices, normals))
            normal /= np.linalg.norm(normal, axis=1, keepdims=True)
            return lay_on(model, target, normal, weight[rows], rows, neutral=neutral)

        means.append(laid(person.neutral, neutral=True)[0][: len(model.identity)])
        head = laid(person.vertices, neutral=False)[1]
        places = np.einsum("nc,ncd->nd", dense[1], head[dense[0]])
        for yaw in YAWS:
            view = truth.view(seed, yaw, studio.width, studio.height)
            picture = images.read_image(synthetic.ensure_picture(arrays, person, view, studio, folder)).pixels
            faces: Any = api._detector("mediapipe")(picture)
            if faces:
                found = miss(faces[0].points, places, view)
                misses[yaw].append(found if view.yaw >= 0 else found[other] * MIRROR)
    bias = {yaw: np.mean(found, 0) for yaw, found in misses.items()}
    bias[0] = (bias[0] + bias[0][other] * MIRROR) / 2
    turned = [bias[60][other] * MIRROR, bias[30][other] * MIRROR, bias[0], bias[30], bias[60]]
    return {"identity_mean": np.mean(means, 0, dtype=np.float32), "dense_bias": np.stack(turned).astype(np.float32)
            * dull(model)[:, None]}


def dull(model: MorphableModel) -> np.ndarray:
    """1 for the dense points that may be biased, 0 on lips and eyelids [468]."""
    masks = [np.asarray(model.regions)[model.region_names.index(name)] for name in SHARP]
    sharp = np.max(masks, axis=0)[np.asarray(model.triangles)[np.asarray(model.dense.triangle)]].max(1) > 0.3
    return (~sharp).astype(np.float32)


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--truth", required=True, help="ict:PATH")
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="of `fitkit eval synthetic`")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 20))
    parser.add_argument("--out", type=pathlib.Path, default=makehuman.CALIBRATION)
    options = parser.parse_args()
    tables = calibrate(api.load_head("makehuman"), options.truth.removeprefix("ict:"), options.cache, range(*options.seeds))
    safetensors.numpy.save_file(tables, options.out)
    for name, values in tables.items():
        print(f"{name}: rms {np.sqrt(np.mean(np.square(values))):.3f}, largest {np.abs(values).max():.2f}")


if __name__ == "__main__":
    main()
