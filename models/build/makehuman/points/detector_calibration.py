"""Measures the prior of identity and the places of points on the embedded head: `models/weights/makehuman_calibration.safetensors`.

    python -m fitkit.models.build.makehuman.points.detector_calibration --truth ict:PATH --cache DIR
        [--people 1000 1200] [--seeds 0 20] [--out FILE]

Takes ICT-FaceKit and the picture cache of `fitkit eval synthetic`. Writes
- `identity_axes` and `identity_mean`: modes and mean of people, in coefficients of the modes that the head was built with;
- places of the 68 and the 468 points on the head, moved to where the detector sees them on a frontal face.

The first come from 200 people drawn from ICT-FaceKit's model of scans (seeds 1000-1199, in neither split) and their mirror images,
the places from the frontal Mitsuba pictures of the develop split (seeds 0-19). ICT's vertices are registered to our head through
the fixed correspondence of the two topologies: strictly along the normal, weakly along the surface, under the prior. Points of
eyelids and lips are not moved: their edges are well defined. What the points tell of a face is learned by `models/build/detector`.
"""

import argparse
import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from rich.progress import track

from fitkit.evaluation.metrics.alignment import align_points
from fitkit.evaluation.synthetic import benchmark, subjects
from fitkit.evaluation.synthetic.kinds import PORTRAIT
from fitkit.evaluation.synthetic.populations import ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.geometry.camera import project
from fitkit.geometry.vectors import vertex_normals
from fitkit.io import images
from fitkit.models.heads import ict_source, makehuman
from fitkit.models.heads.ict import registration
from fitkit.models.mediapipe.facemesh import load_detector
from fitkit.morphable.correspondence import CONTOUR, ibug_points, mirrored_points
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.types import MorphableModel, SurfacePoints

VIEW = np.diag([1.0, -1.0, -1.0])       # camera frame to view frame (x right, y up)
MIRROR = np.array([-1.0, 1.0])          # of a point of an image

# Registration; chosen
TANGENT_WEIGHT = 0.05       # of the squared distance along the surface, beside that along the normal
DEVIATION = 0.7             # mm, of a correspondence
EFFECTIVE_POINTS = 1500.0   # number of independent points that all correspondences together count as
MIN_WEIGHT = 0.5            # correspondences of less weight are left out
IN_FIT_SKIN = 0.05          # and those where the mask `fit_skin` is less
NEUTRAL_SCALE = 1e-3        # of the expressions' prior scale, on neutral faces: hardly any expression

# Prior and places; chosen on the develop people of `fitkit eval synthetic`
COVARIANCE_FACTOR = 3.0     # variance of the prior relative to the people measured: others differ more
BUILT_VARIANCE = 0.25       # of the built modes' own variance, added for people unlike all of them
FIXED = ("lips", "eyelids")             # regions whose points stay, where their mask is above
IN_FIXED = 0.3


def register_vertices(model: MorphableModel, target: np.ndarray, normals: np.ndarray, weight: np.ndarray, rows: np.ndarray, *,
           neutral: bool, steps: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Register the embedded head to points on another, by Gauss-Newton steps over pose, identity and expression.

    Args:
        model: the embedded head.
        target: [n, 3] points of the other head, mm, that correspond to our vertices `rows`.
        normals: [n, 3] unit normals there.
        weight: [n] of the correspondences.
        rows: [n] vertices.
        neutral: whether the other face is neutral.
        steps: number of Gauss-Newton steps.

    Returns:
        coefficients [K] of identity and expression; the whole head in the target's frame [V, 3], mm.
    """
    modes = np.concatenate([model.identity, model.expression]).astype(float)
    near = modes[:, rows].transpose(1, 2, 0)
    scale = np.concatenate([np.ones(len(model.identity)), np.asarray(model.expression_scale) * (NEUTRAL_SCALE if neutral else 1.0)])
    lower = np.concatenate([np.full(len(model.identity), -np.inf), model.expression_lower])
    upper = np.concatenate([np.full(len(model.identity), np.inf), model.expression_upper])
    root = np.sqrt(weight * EFFECTIVE_POINTS / len(rows)) / DEVIATION
    found = np.zeros(len(modes))
    for _ in range(steps):
        here = np.asarray(model.mean, float)[rows] + near @ found
        pose = align_points(here, target, scale=False)
        place, normal = pose.undo(target), normals @ pose.rotation
        rotations = np.stack([np.cross(axis, here - here.mean(0)) for axis in np.eye(3)], 2)
        columns = np.concatenate([near, rotations, np.broadcast_to(np.eye(3), (len(here), 3, 3))], 2)
        across = np.einsum("nd,ndk->nk", normal, columns) * root[:, None]
        along = (columns * (root * TANGENT_WEIGHT**0.5)[:, None, None]).reshape(-1, columns.shape[2])
        matrix = across.T @ across + along.T @ along + 1e-9 * np.eye(columns.shape[2])
        gradient = across.T @ (((place - here) * normal).sum(1) * root)
        gradient += along.T @ ((place - here) * (root * TANGENT_WEIGHT**0.5)[:, None]).ravel()
        matrix[np.arange(len(found)), np.arange(len(found))] += 1 / scale**2
        gradient[: len(found)] -= found / scale**2
        found = np.clip(found + np.linalg.solve(matrix, gradient)[: len(found)], lower, upper)
    return found, pose.apply(np.asarray(model.mean, float) + np.tensordot(found, modes, 1))


def detection_error(points: np.ndarray, places: np.ndarray, view: subjects.View) -> np.ndarray:
    """Detected `points` [N, 2], pixels, minus projections of their `places` [N, 3], mm: [N, 2] in mm of the upright view frame."""
    camera = view.camera
    rotation = VIEW @ np.asarray(camera.rotation, float)
    pixels = np.asarray(project(camera, jnp.asarray(places, jnp.float32))[0])
    seen = (points - pixels) * float(camera.translation[2] / camera.focal) * [1, -1]
    up = rotation[:2, 1] / np.linalg.norm(rotation[:2, 1])
    return np.asarray(seen @ np.array([[up[1], up[0]], [-up[0], up[1]]]))


@dataclasses.dataclass(frozen=True, eq=False)
class Registrar:
    """Registers people of ICT-FaceKit's topology to the embedded head."""

    model: MorphableModel
    arrays: ict_source.IctArrays
    rows: np.ndarray            # [n] our vertices with a valid correspondence
    corners: np.ndarray         # [n, 3] vertices of ICT's triangles on which they lie
    barycentric: np.ndarray     # [n, 3] and where in these
    weight: np.ndarray          # [n]

    @classmethod
    def of(cls, model: MorphableModel, arrays: ict_source.IctArrays) -> "Registrar":
        """For one pair of heads."""
        table = registration()
        weight = np.asarray(table.to_ict_weight) * (_region(model, "fit_skin") > IN_FIT_SKIN)
        rows = np.flatnonzero(weight > MIN_WEIGHT)
        corners = arrays.triangles[np.asarray(table.to_ict.triangle)[rows]]
        return cls(model, arrays, rows, corners, np.asarray(table.to_ict.barycentric)[rows], weight[rows])

    def register(self, vertices: np.ndarray, *, neutral: bool) -> tuple[np.ndarray, np.ndarray]:
        """`register_vertices` for a person's vertices [W, 3], mm."""
        normals = np.asarray(vertex_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(self.arrays.triangles)))
        target, normal = (np.einsum("nc,ncd->nd", self.barycentric, values[self.corners]) for values in (vertices, normals))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        return register_vertices(self.model, target, normal, self.weight, self.rows, neutral=neutral)


def identity_prior(registrar: Registrar, seeds: range) -> dict[str, np.ndarray]:
    """`identity_axes` [I, I] and `identity_mean` [I]: a normal distribution of identities, wider than the people of `seeds`."""
    model, people = registrar.model, ict_population(registrar.arrays)
    found = np.stack([registrar.register(subjects.person(people, seed).neutral, neutral=True)[0][: len(model.identity)]
                      for seed in track(seeds, "people")])
    found = np.concatenate([found, mirrored(model, found)])
    root = np.linalg.cholesky(COVARIANCE_FACTOR * np.cov(found.T) + BUILT_VARIANCE * np.eye(found.shape[1]))
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
class Detection:
    """Points detected in a picture of a person whose head is known."""

    head: np.ndarray            # [V, 3] the embedded head registered to the person, mm
    view: subjects.View
    points: np.ndarray          # [468, 2] pixels


def frontal_detections(registrar: Registrar, cache: pathlib.Path, seeds: range) -> list[Detection]:
    """Detections in the frontal pictures of the people of `seeds`; pictures without a detected face are left out."""
    people, studio = ict_population(registrar.arrays), Studio()
    folder = benchmark.picture_folder(cache, people, studio)
    result = []
    for seed in track(seeds, "pictures"):
        person, paint = subjects.person(people, seed), SkinPaint(PORTRAIT, people, seed, None)
        view = subjects.view(seed, 0.0, studio.width, studio.height)
        picture = images.read_image(benchmark.ensure_picture(paint, person, view, studio, folder)).pixels
        faces: Any = load_detector()(picture)
        if faces:
            result.append(Detection(registrar.register(person.vertices, neutral=False)[1], view, faces[0].points))
    return result


def frontal_shift(model: MorphableModel, seen: list[Detection]) -> np.ndarray:
    """Mean of the detector's errors in frontal pictures, both sides alike: [468, 2] mm right and up; 0 on lips and eyelids."""
    triangles, other = np.asarray(model.triangles)[np.asarray(model.dense.triangle)], mirrored_points()
    barycentric = np.asarray(model.dense.barycentric)
    mean = np.mean([detection_error(each.points, np.einsum("nc,ncd->nd", barycentric, each.head[triangles]), each.view)
                    for each in seen], 0)
    return np.asarray((mean + mean[other] * MIRROR) / 2 * movable_points(model)[:, None])


def move_points(model: MorphableModel, points: SurfacePoints, shift: np.ndarray) -> SurfacePoints:
    """Points of the skin, moved `shift` [n, 2] mm to the right and up as the mean head is seen from the front.

    A point that this would move off the head stays.
    """
    vertices = np.asarray(model.mean, float)
    faces = np.flatnonzero(triangles_of_part(model, "skin"))
    corners = vertices[np.asarray(model.triangles)[faces]]                                        # [F, 3, 3]
    start = np.einsum("nc,ncd->nd", np.asarray(points.barycentric), vertices[np.asarray(model.triangles)[points.triangle]])
    triangle, share = np.array(points.triangle), np.array(points.barycentric)
    for index in np.flatnonzero(np.abs(shift).max(1) > 0):
        x, y = np.moveaxis(corners[:, :, :2] - (start[index, :2] + shift[index]), 2, 0)
        doubled = np.roll(x, -1, 1) * np.roll(y, -2, 1) - np.roll(y, -1, 1) * np.roll(x, -2, 1)   # areas opposite each corner
        under = np.flatnonzero((doubled >= 0).all(1) & (doubled.sum(1) > 0))                      # contains the point, in front
        if len(under):
            shares = doubled[under] / doubled[under].sum(1, keepdims=True)
            best = np.abs((shares * corners[under, :, 2]).sum(1) - start[index, 2]).argmin()
            triangle[index], share[index] = faces[under[best]], shares[best]
    return SurfacePoints(triangle=jnp.asarray(triangle), barycentric=jnp.asarray(share, jnp.float32))


def _region(model: MorphableModel, name: str) -> np.ndarray:
    return np.asarray(region_mask(model, name))


def movable_points(model: MorphableModel) -> np.ndarray:
    """1 for the dense points that may be moved, 0 on lips and eyelids [468]."""
    masks = [_region(model, name) for name in FIXED]
    fixed = np.max(masks, axis=0)[np.asarray(model.triangles)[np.asarray(model.dense.triangle)]].max(1) > IN_FIXED
    return (~fixed).astype(np.float32)


def main() -> None:
    """Measure and write the tables from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--truth", required=True, help="ict:PATH of ICT-FaceKit's folder or archive")
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="picture cache of `fitkit eval synthetic`")
    parser.add_argument("--people", type=int, nargs=2, default=(1000, 1200), help="range of seeds of the people for the prior")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 20), help="range of seeds of the people for the places of points")
    parser.add_argument("--out", type=pathlib.Path, default=makehuman.CALIBRATION, help="weight file to write")
    options = parser.parse_args()
    model = makehuman.load(calibrated=False)
    registrar = Registrar.of(model, ict_source.read(options.truth.removeprefix("ict:")))
    tables = identity_prior(registrar, range(*options.people))
    shift = frontal_shift(model, frontal_detections(registrar, options.cache, range(*options.seeds)))
    inner = ibug_points(shift) * (np.arange(68) >= CONTOUR)[:, None]      # the jaw line is an outline, no place on the head
    points: dict[str, Any] = {
        "dense": move_points(model, model.dense, shift), "landmarks": move_points(model, model.landmarks, inner)}
    tables = {name: values.astype(np.float32) for name, values in tables.items()}
    for name, places in points.items():
        tables |= {f"{name}_triangle": np.asarray(places.triangle), f"{name}_barycentric": np.asarray(places.barycentric)}
    safetensors.numpy.save_file(tables, options.out)
    for name, values in tables.items():
        print(f"{name}: rms {np.sqrt(np.mean(np.square(values))):.3f}, largest {np.abs(values).max():.2f}")


if __name__ == "__main__":
    main()
