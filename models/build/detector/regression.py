"""Learns what the detector's points tell of a face, from pictures of known people: `models/weights/point_regression.safetensors`.

    python -m fitkit.models.build.detector.regression DIR --truth ict:PATH [--network joint] [--out FILE]

Takes the shards of `models/build/detector/pictures.py`. Writes the tables of `types.PointRegression` for yaws from 0 to `YAWS[-1]`;
those of the other side mirror them. At each yaw, pictures weighted by how near theirs is: ridge regression of the coordinates of
`fitting.point_posterior` on the features of the points. The ridge is chosen, and the covariance measured, on people left out.

With `--network joint` what CoarseNet sees in the same crop is a feature beside the points (`joint_regression.safetensors`): errors
that both have in common are learned with them.
"""

import argparse
import pathlib
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Float, Int

from fitkit.evaluation.synthetic.populations import embedded_population, ict_population
from fitkit.fitting.observation import FOCAL_MEAN
from fitkit.fitting.point_posterior import (
    mean_poses,
    picture_features,
    pose_coordinates,
    prediction_units,
    upright_turn,
    upright_yaw,
)
from fitkit.fitting.state import FaceState
from fitkit.geometry.pose import Pose
from fitkit.models.build.detector.pictures import STUDIO
from fitkit.models.heads import ict_source, makehuman
from fitkit.models.heads.ict import registration
from fitkit.models.heads.makehuman import mirror_coordinates, mirror_features
from fitkit.models.mediapipe.facemesh import MAX_MOTION, MIN_PROBABILITY
from fitkit.morphable.correspondence import mirrored_points, point_modes
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes.coarsenet.aligned import JOINT_REGRESSION, load_glance, network_pictures, state_of_upright
from fitkit.types import MorphableModel

YAWS = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0)     # degrees, of the rows; chosen
YAW_DEVIATION = 10.0        # degrees, of a picture's weight for a row; chosen
LEAST_WEIGHT = 0.01         # under which a picture is left out of a row
SHAPES = 60                 # directions in which faces differ; chosen
RIDGES = (1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)      # of the features' mean square, tried
FOLDS = 5                   # of people
SHRINK = 0.02               # share of the diagonal in the covariance, against chance correlations; chosen
LOOKED_AT = 100             # crops in one program of the network; of the 100 pictures of a shard
FILES = {"none": makehuman.POINT_REGRESSION, "joint": JOINT_REGRESSION}
CAMERA_TO_VIEW = np.diag([1.0, -1.0, -1.0])


class Pictures(NamedTuple):
    """Features of the points in pictures and the true coordinates, each picture also mirrored."""

    person: Int[np.ndarray, " P"]
    population: Int[np.ndarray, " P"]          # 0 embedded, 1 ICT-FaceKit
    yaw: Float[np.ndarray, " P"]               # degrees, of the mean person on the points
    features: Float[np.ndarray, "P F"]
    coordinates: Float[np.ndarray, "P D"]
    shapes: Float[np.ndarray, "Z N 3"]


def read_pictures(
    folder: pathlib.Path, truth: str, *, without: int | None = None, network: Literal["none", "joint"] = "none"
) -> Pictures:
    """All pictures of the shards of a folder in which the detector would have said that it sees a face.

    Args:
        folder: of the shards.
        truth: ICT-FaceKit's folder or archive.
        without: leave out people of this last digit, for tests.
        network: whether CoarseNet's answers are features beside the points.
    """
    names = ("population", "seed", "identity", "dense", "rotation", "translation", "focal", "principal", "points", "probability",
             "moved", *(() if network == "none" else ("crop", "square")))
    shards = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    seen = {name: np.concatenate([shard[name] for shard in shards]) for name in names}
    valid = (seen["probability"] >= MIN_PROBABILITY) & (seen["moved"] <= MAX_MOTION)
    valid &= True if without is None else seen["seed"] // 2 % 10 != without
    seen = {name: values[valid] for name, values in seen.items()}
    model = makehuman.load(detector=False)
    places, weight = mean_places(model), (model.dense_weight > 0).astype(jnp.float32)
    truth_places, truth_poses = in_our_frame(seen, ict_source.read(truth), model, places)
    difference = (truth_places - places) * np.asarray(weight)[:, None]
    both = np.concatenate([difference, difference[:, mirrored_points()] * [-1, 1, 1]]).reshape(2 * len(difference), -1)
    shapes = np.linalg.eigh(both.T @ both)[1][:, :-SHAPES - 1:-1].T.reshape(SHAPES, -1, 3)

    log_focal = np.full(len(difference), np.log(FOCAL_MEAN * max(STUDIO.width, STUDIO.height)), np.float32)
    points = jnp.asarray(seen["points"], jnp.float32)
    poses = mean_poses(jnp.asarray(places, jnp.float32), weight, points, log_focal, jnp.asarray(seen["principal"], jnp.float32))
    found = np.asarray(picture_features(poses, jnp.asarray(places, jnp.float32), weight, points), np.float64)
    yaw = np.asarray(jax.vmap(upright_yaw)(poses))
    apart = jax.vmap(lambda pose, reference: pose_coordinates(pose, reference, upright_turn(reference)))(truth_poses, poses)
    known = np.concatenate([np.einsum("pnd,znd->pz", difference, shapes), np.asarray(apart, np.float64)], 1)
    (order, sign), mirror = mirror_features(), mirror_coordinates(shapes)
    features = np.concatenate([found, found[:, order] * sign])
    if network == "joint":
        own = _coordinates(model, network_states(model, seen), poses, places, shapes)
        features = np.concatenate(
            [features, np.concatenate([own, own @ mirror.T]) * prediction_units(SHAPES, len(places))], 1)
    return Pictures(
        person=np.tile(seen["seed"], 2), population=np.tile(seen["population"], 2), yaw=np.concatenate([yaw, -yaw]),
        features=features, coordinates=np.concatenate([known, known @ mirror.T]), shapes=shapes)


def network_states(model: MorphableModel, seen: dict[str, np.ndarray]) -> FaceState:
    """What CoarseNet sees in the detector's crops, in pixels of the pictures, stacked; the lens is not known to it."""
    reader, focal = load_glance(), jnp.float32(FOCAL_MEAN * max(STUDIO.width, STUDIO.height))
    placed = jax.jit(jax.vmap(partial(state_of_upright, model), in_axes=(0, 0, None, 0)))
    states = []
    for start in range(0, len(seen["crop"]), LOOKED_AT):
        rows = slice(start, start + LOOKED_AT)
        answers = reader.read(network_pictures(seen["crop"][rows], reader))
        states.append(placed(answers, jnp.asarray(seen["square"][rows], jnp.float32), focal,
                             jnp.asarray(seen["principal"][rows], jnp.float32)))
    stacked: FaceState = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states)
    return stacked


def _coordinates(model: MorphableModel, states: FaceState, poses: Pose, places: np.ndarray, shapes: np.ndarray
                 ) -> Float[np.ndarray, "P D"]:
    """The coordinates of states, stacked, about the mean person in these poses."""
    face = states.face
    modes = point_modes(model, model.dense)
    coefficients = np.concatenate([np.asarray(face.identity), np.asarray(face.expression)], 1).astype(np.float64)
    answers = np.einsum("znd,ndk->zk", shapes, np.asarray(modes.basis, np.float64))
    shape_part = coefficients @ answers.T + np.einsum("znd,nd->z", shapes, np.asarray(modes.mean, np.float64) - places)
    apart = jax.vmap(lambda pose, reference: pose_coordinates(pose, reference, upright_turn(reference)))(states.pose, poses)
    return np.concatenate([shape_part, np.asarray(apart, np.float64)], 1)


def mean_places(model: MorphableModel) -> Float[np.ndarray, "N 3"]:
    """The points on the mean person, mm."""
    neutral = shape(model, model.identity_mean, jnp.zeros(model.expression.shape[0]))
    return np.asarray(values_at_points(model.dense, model.triangles, neutral), np.float64)


def in_our_frame(
    seen: dict[str, np.ndarray], arrays: ict_source.IctArrays, model: MorphableModel, places: np.ndarray
) -> tuple[Float[np.ndarray, "P N 3"], Pose]:
    """True places of the points and true poses, as if the embedded head had been photographed.

    People differ from their population's mean as they do; the mean of either is our mean person, on whom ICT-FaceKit's points lie
    by the fixed table of places: their distances there are errors of the table, not of the detector.
    """
    found, rotation = np.zeros_like(seen["dense"]), seen["rotation"].astype(np.float64)
    translation = seen["translation"].astype(np.float64)
    for number, people in enumerate((embedded_population(), ict_population(arrays))):
        own = np.flatnonzero(seen["population"] == number)
        # a person's vertices were moved so that the middle of the face is the origin
        modes = people.identity[:, people.face].mean(1)
        coefficients = seen["identity"][own, :len(modes)]
        middle = people.mean[people.face].mean(0) + coefficients @ modes
        dense = seen["dense"][own] + middle[:, None]
        translation[own] -= np.einsum("pij,pj->pi", CAMERA_TO_VIEW @ rotation[own], middle)
        if people.name == "embedded":
            found[own] = dense
            continue
        table = registration().dense
        corners = arrays.triangles[np.asarray(table.triangle)]
        average = np.einsum("nc,ncd->nd", np.asarray(table.barycentric, np.float64), people.mean[corners])
        frame, shift = rigid(average, places, np.asarray(model.dense_weight) > 0)
        found[own] = places + (dense - average) @ frame.T
        rotation[own] = rotation[own] @ frame.T
        translation[own] -= np.einsum("pij,j->pi", CAMERA_TO_VIEW @ rotation[own], shift)
    scale = seen["focal"] / translation[:, 2]
    turn, principal, centre, log_scale, log_focal = (jnp.asarray(values, jnp.float32) for values in (
        rotation, seen["principal"], translation[:, :2] * scale[:, None], np.log(scale), np.log(seen["focal"])))
    return found, Pose(rotation=turn, principal=principal, centre=centre, log_scale=log_scale, log_focal=log_focal)


def rigid(source: np.ndarray, target: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and shift that bring points of `rows` onto others, least squares (Kabsch 1976)."""
    middle, goal = source[rows].mean(0), target[rows].mean(0)
    left, _, right = np.linalg.svd((source[rows] - middle).T @ (target[rows] - goal))
    turn = (left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right).T
    return turn, goal - turn @ middle


def ridge_regression(
    features: np.ndarray, known: np.ndarray, weight: np.ndarray, ridge: float
) -> Float[np.ndarray, "D F"]:
    """Weighted ridge regression; `ridge` relative to the features' mean square."""
    square = (features * weight[:, None]).T @ features
    return np.linalg.solve(square + ridge * np.trace(square) * np.eye(len(square)),
                           (features * weight[:, None]).T @ known).T


def learn(pictures: Pictures) -> dict[str, np.ndarray]:
    """The tables by name, rows at `YAWS`."""
    fold = pictures.person // 2 % FOLDS
    tables: dict[str, list[np.ndarray]] = {"matrix": [], "factor": []}
    for yaw in YAWS:
        weight = np.exp(-0.5 * np.square((pictures.yaw - yaw) / YAW_DEVIATION))
        near = weight > LEAST_WEIGHT
        features, known, weight, part = pictures.features[near], pictures.coordinates[near], weight[near], fold[near]
        spread = known.std(0)
        tried = []
        for ridge in RIDGES:
            left = np.zeros_like(known)
            for out in range(FOLDS):
                matrix = ridge_regression(features[part != out], known[part != out], weight[part != out], ridge)
                left[part == out] = known[part == out] - features[part == out] @ matrix.T
            # shapes in mm; pose in its own spread
            loss = np.average((left[:, :SHAPES] ** 2).sum(1) / (spread[:SHAPES] ** 2).sum()
                              + (left[:, SHAPES:] ** 2 / spread[SHAPES:] ** 2).mean(1), weights=weight)
            tried.append((loss, ridge, left))
        _, ridge, left = min(tried, key=lambda each: each[0])
        covariance = (left * weight[:, None]).T @ left / weight.sum()
        covariance = (1 - SHRINK) * covariance + SHRINK * np.diag(np.diagonal(covariance))
        tables["matrix"].append(ridge_regression(features, known, weight, ridge))
        tables["factor"].append(np.linalg.cholesky(covariance))
        print(f"yaw {yaw:.0f}: {near.sum()} pictures, ridge {ridge:g}; of people left out, {_told(left, known, weight)}")
    return {"yaw": np.array(YAWS), "shapes": pictures.shapes, **{name: np.stack(values) for name, values in tables.items()}}


def _told(left: np.ndarray, known: np.ndarray, weight: np.ndarray) -> str:
    """Which share of the variance of coordinates is told, in words."""
    variance = np.average(np.square(known - np.average(known, axis=0, weights=weight)), axis=0, weights=weight)
    error = np.average(np.square(left), axis=0, weights=weight)
    first, pose = (", ".join(f"{value:.2f}" for value in (1 - error / variance)[part]) for part in (slice(6), slice(SHAPES, None)))
    share = 1 - error[:SHAPES].sum() / variance[:SHAPES].sum()
    return f"told of shape {share:.2f}, of its first directions {first}, of pose and lens {pose}"


def main() -> None:
    """Learn and write the tables from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=pathlib.Path, help="folder of the shards of `models/build/detector/pictures.py`")
    parser.add_argument("--truth", required=True, help="ict:PATH of ICT-FaceKit's folder or archive")
    parser.add_argument("--without", type=int, help="leave out the people of this last digit")
    parser.add_argument("--out", type=pathlib.Path, help="weight file to write")
    parser.add_argument("--network", choices=list(FILES), default="none", help="with the points, what CoarseNet sees")
    options = parser.parse_args()
    tables = learn(read_pictures(options.pictures, options.truth.removeprefix("ict:"), without=options.without,
                                 network=options.network))
    safetensors.numpy.save_file({name: np.ascontiguousarray(values, np.float16 if name == "matrix" else np.float32)
                                 for name, values in tables.items()}, options.out or FILES[options.network])


if __name__ == "__main__":
    main()
