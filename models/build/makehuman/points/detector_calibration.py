"""Measures what real people and the detector are like on the embedded head: `models/weights/makehuman_calibration.safetensors`.

    python -m fitkit.models.build.makehuman.points.detector_calibration --truth ict:PATH --cache DIR
        [--people 1000 1200] [--seeds 0 20] [--out FILE]

Its tables:
`identity_axes`, the modes along which people differ, in terms of those the head was built with; `identity_mean`, their mean along
them; places of the 68 and the 468 points on the head, moved to where the detector sees them on a face that looks at the camera;
`dense_bias` and `dense_deviation` of `MorphableModel`, where it sees the 468 from there as the head turns, and how steadily.

Data: the first two from people drawn from ICT-FaceKit's model of scans (seeds 1000-1199 and their mirror images, of neither split);
the others from the develop split, seeds 0-19, and their Mitsuba pictures, as `fitkit eval synthetic` makes them. Their truth
is laid on our head through the fixed table between the two topologies: tight along the normal, loose along the surface, under the
prior. Points of eyelids and lips stay, and get no bias: their lines are sharp, and the detector sees them where they are.
"""

import argparse
import dataclasses
import functools
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from rich.progress import track

from fitkit.evaluation.metrics.alignment import align_points
from fitkit.evaluation.synthetic import benchmark, mitsuba_scene, subjects
from fitkit.geometry.camera import project
from fitkit.geometry.vectors import vertex_normals
from fitkit.io import images
from fitkit.models.heads import ict_source, makehuman
from fitkit.models.heads.ict import registration
from fitkit.models.mediapipe.facemesh import load_detector
from fitkit.morphable.correspondence import CONTOUR, ibug_points
from fitkit.types import MorphableModel, SurfacePoints

YAWS = (0, 30, 60)
LOOSE = 0.05             # weight of the distance along the surface beside that along the normal
SPREAD = 0.7             # mm, of a place in the table
WITNESSES = 1500.0       # how many independent places all vertices together count as
SOUND = 0.5              # least weight of a place in the table
SHARP = ("lips", "eyelids")      # regions without bias
BROADER = 3.0            # variance of the prior over that of the people measured: others differ more
UNLIKE = 0.25            # and so much of the built modes' own variance besides, for people unlike all of them
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


def miss(points: np.ndarray, places: np.ndarray, view: subjects.View) -> np.ndarray:
    """Detected less true points, mm in the upright view frame [N, 2], as if the head were turned to its left."""
    camera = view.camera
    rotation = VIEW @ np.asarray(camera.rotation, float)
    pixels = np.asarray(project(camera, jnp.asarray(places, jnp.float32))[0])
    seen = (points - pixels) * float(camera.translation[2] / camera.focal) * [1, -1]
    up = rotation[:2, 1] / np.linalg.norm(rotation[:2, 1])
    return np.asarray(seen @ np.array([[up[1], up[0]], [-up[0], up[1]]]))


@dataclasses.dataclass(frozen=True, eq=False)
class Registrar:
    """Lays ICT people on our head."""

    model: MorphableModel
    arrays: ict_source.IctArrays
    rows: np.ndarray            # our vertices that have a sound place on their head
    corners: np.ndarray         # the places: vertices of their triangles
    inside: np.ndarray          # and barycentric coordinates
    weight: np.ndarray

    @classmethod
    def of(cls, model: MorphableModel, arrays: ict_source.IctArrays) -> "Registrar":
        """For one pair of heads."""
        table = registration()
        weight = np.asarray(table.to_ict_weight) * (_region(model, "fit_skin") > 0.05)
        rows = np.flatnonzero(weight > SOUND)
        corners = arrays.triangles[np.asarray(table.to_ict.triangle)[rows]]
        return cls(model, arrays, rows, corners, np.asarray(table.to_ict.barycentric)[rows], weight[rows])

    def lay(self, vertices: np.ndarray, *, neutral: bool) -> tuple[np.ndarray, np.ndarray]:
        """`lay_on` for their vertices."""
        normals = np.asarray(vertex_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(self.arrays.triangles)))
        target, normal = (np.einsum("nc,ncd->nd", self.inside, values[self.corners]) for values in (vertices, normals))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        return lay_on(self.model, target, normal, self.weight, self.rows, neutral=neutral)


def people(registrar: Registrar, seeds: range) -> dict[str, np.ndarray]:
    """`identity_axes` and `identity_mean`: a normal distribution of identities as wide as people are, and then some."""
    model = registrar.model
    found = np.stack([registrar.lay(subjects.person(registrar.arrays, seed).neutral, neutral=True)[0][: len(model.identity)]
                      for seed in track(seeds, "people")])
    found = np.concatenate([found, mirrored(model, found)])
    root = np.linalg.cholesky(BROADER * np.cov(found.T) + UNLIKE * np.eye(found.shape[1]))
    shape = root.T @ np.asarray(model.identity, float).reshape(len(root), -1)
    order = np.linalg.eigh(shape @ shape.T)[1][:, ::-1]            # by variance, as the modes of a head are
    axes = order.T @ root.T
    return {"identity_axes": axes, "identity_mean": np.linalg.solve(axes.T, found.mean(0))}


def mirrored(model: MorphableModel, coefficients: np.ndarray) -> np.ndarray:
    """The coefficients [n, I] of the mirrored heads: least squares over the modes, which are not quite closed under mirroring."""
    mean, modes = np.asarray(model.mean, float), np.asarray(model.identity, float)
    heads = mean + np.tensordot(coefficients, modes, 1)
    other = (heads[:, np.asarray(model.mirror)] * [-1, 1, 1] - mean).reshape(len(heads), -1)
    flat = modes.reshape(len(modes), -1)
    gram = flat @ flat.T
    return np.asarray(np.linalg.solve(gram + 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram)), flat @ other.T).T)


@dataclasses.dataclass(frozen=True, eq=False)
class Sight:
    """A picture of a person whose head is known, and the points detected in it."""

    head: np.ndarray            # [V, 3] ours, laid on the person, mm
    view: subjects.View
    points: np.ndarray          # [468, 2] pixels


def sights(registrar: Registrar, cache: pathlib.Path, seeds: range) -> list[Sight]:
    """The pictures of `seeds` in which a face is found."""
    arrays, studio = registrar.arrays, mitsuba_scene.Studio()
    folder = benchmark.picture_folder(cache, arrays, studio)
    result = []
    for seed in track(seeds, "pictures"):
        person = subjects.person(arrays, seed)
        head = registrar.lay(person.vertices, neutral=False)[1]
        for yaw in YAWS:
            view = subjects.view(seed, yaw, studio.width, studio.height)
            picture = images.read_image(benchmark.ensure_picture(arrays, person, view, studio, folder)).pixels
            faces: Any = load_detector()(picture)
            if faces:
                result.append(Sight(head, view, faces[0].points))
    return result


def detector(model: MorphableModel, seen: list[Sight]) -> dict[str, np.ndarray]:
    """`dense_bias` and `dense_deviation`: where the detector sees the points of a head, from their places."""
    triangles = np.asarray(model.triangles)[np.asarray(model.dense.triangle)]
    places = functools.partial(np.einsum, "nc,ncd->nd", np.asarray(model.dense.barycentric))
    middle = places(np.asarray(model.mean)[triangles])
    other = np.linalg.norm(middle[:, None] * [-1, 1, 1] - middle, axis=-1).argmin(1)       # the point on the other side
    misses: dict[int, list[np.ndarray]] = {yaw: [] for yaw in YAWS}
    for sight in seen:
        found = miss(sight.points, places(sight.head[triangles]), sight.view)
        misses[abs(round(sight.view.yaw))].append(found if sight.view.yaw >= 0 else found[other] * MIRROR)
    mean = {yaw: np.mean(found, 0) for yaw, found in misses.items()}
    mean[0] = (mean[0] + mean[0][other] * MIRROR) / 2
    turned = [mean[60][other] * MIRROR, mean[30][other] * MIRROR, mean[0], mean[30], mean[60]]
    found = np.asarray(model.dense_weight) > 0
    spread = {yaw: np.std(np.stack(each)[:, found], axis=0, ddof=1) for yaw, each in misses.items()}      # of each coordinate
    deviation = np.sqrt([np.mean(np.square(spread[abs(yaw)])) for yaw in (-60, -30, 0, 30, 60)])
    return {"dense_bias": np.stack(turned) * dull(model)[:, None], "dense_deviation": deviation}


def moved(model: MorphableModel, points: SurfacePoints, shift: np.ndarray) -> SurfacePoints:
    """Points of the skin, moved `shift` [n, 2] mm to the right and up as the mean head is seen from the front.

    Where that leads off the head the point stays.
    """
    vertices = np.asarray(model.mean, float)
    faces = np.flatnonzero(np.asarray(model.part) == model.part_names.index("skin"))
    corners = vertices[np.asarray(model.triangles)[faces]]                                        # [F, 3, 3]
    start = np.einsum("nc,ncd->nd", np.asarray(points.barycentric), vertices[np.asarray(model.triangles)[points.triangle]])
    triangle, share = np.array(points.triangle), np.array(points.barycentric)
    for index in np.flatnonzero(np.abs(shift).max(1) > 0):
        x, y = np.moveaxis(corners[:, :, :2] - (start[index, :2] + shift[index]), 2, 0)
        doubled = np.roll(x, -1, 1) * np.roll(y, -2, 1) - np.roll(y, -1, 1) * np.roll(x, -2, 1)   # areas opposite each corner
        under = np.flatnonzero((doubled >= 0).all(1) & (doubled.sum(1) > 0))                      # seen, and holds the point
        if len(under):
            shares = doubled[under] / doubled[under].sum(1, keepdims=True)
            best = np.abs((shares * corners[under, :, 2]).sum(1) - start[index, 2]).argmin()
            triangle[index], share[index] = faces[under[best]], shares[best]
    return SurfacePoints(triangle=jnp.asarray(triangle), barycentric=jnp.asarray(share, jnp.float32))


def _region(model: MorphableModel, name: str) -> np.ndarray:
    return np.asarray(model.regions)[model.region_names.index(name)]


def dull(model: MorphableModel) -> np.ndarray:
    """1 for the dense points that may be biased, 0 on lips and eyelids [468]."""
    masks = [_region(model, name) for name in SHARP]
    sharp = np.max(masks, axis=0)[np.asarray(model.triangles)[np.asarray(model.dense.triangle)]].max(1) > 0.3
    return (~sharp).astype(np.float32)


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--truth", required=True, help="ict:PATH")
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="of `fitkit eval synthetic`")
    parser.add_argument("--people", type=int, nargs=2, default=(1000, 1200), help="seeds of the people who make the prior")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 20), help="of the people whose pictures show the detector's bias")
    parser.add_argument("--out", type=pathlib.Path, default=makehuman.CALIBRATION)
    options = parser.parse_args()
    model = makehuman.load(calibrated=False)
    registrar = Registrar.of(model, ict_source.read(options.truth.removeprefix("ict:")))
    tables = people(registrar, range(*options.people))
    seen = sights(registrar, options.cache, range(*options.seeds))
    shift = detector(model, seen)["dense_bias"][2]
    inner = ibug_points(shift) * (np.arange(68) >= CONTOUR)[:, None]      # the jaw is where the head ends, no place on it
    points: dict[str, Any] = {"dense": moved(model, model.dense, shift), "landmarks": moved(model, model.landmarks, inner)}
    tables |= detector(dataclasses.replace(model, **points), seen)
    tables = {name: values.astype(np.float32) for name, values in tables.items()}
    for name, places in points.items():
        tables |= {f"{name}_triangle": np.asarray(places.triangle), f"{name}_barycentric": np.asarray(places.barycentric)}
    safetensors.numpy.save_file(tables, options.out)
    for name, values in tables.items():
        print(f"{name}: rms {np.sqrt(np.mean(np.square(values))):.3f}, largest {np.abs(values).max():.2f}")


if __name__ == "__main__":
    main()
