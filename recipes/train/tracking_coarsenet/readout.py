"""The matrices of a Tracking CoarseNet with MediaPipe's trunk, solved for: ridge regression (`models.coarsenet.mesh_tracking`).

    python -m fitkit.recipes.train.tracking_coarsenet.readout --data RUN --single coarsenet.safetensors --out FILE

Pose has four times as many features as the trunk gives, more than there are frames: its ridge is solved in the frames' own space,
by their products. What is told of identity and expression is taken over from the network of single pictures, which sees the same
crop by the same trunk. Colours are learned from frames that are not changed, for changed ones are in no light that labels know.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import tyro
from flax import nnx
from jaxtyping import Array, Float
from rich.progress import track

from fitkit.color import srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.geometry.camera import to_view_frame
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.io.atomic_files import write_bytes
from fitkit.models.coarsenet.estimate import pose_of
from fitkit.models.coarsenet.mesh_tracking import IDENTITY, UNIT, USUAL_SIZE, cell_means, polynomials, pose_of_pncc
from fitkit.models.coarsenet.network import POSE, CoarseNet, load_coarsenet
from fitkit.models.parameters import encode_network
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.configuration import POSE_DEVIATION, POSE_MEAN, HeadTables, tables_of
from fitkit.recipes.train.coarsenet.losses import surface_points
from fitkit.recipes.train.coarsenet.readout import STILL
from fitkit.recipes.train.coarsenet.task import BatchArrays
from fitkit.recipes.train.tracking_coarsenet.configuration import TrackingTraining, build
from fitkit.recipes.train.tracking_coarsenet.frames import MIRRORED, frame_pncc, training_frames
from fitkit.recipes.train.tracking_coarsenet.task import TRACKING_COARSENET, FrameData, batch, load, score
from fitkit.rendering.shading import sh_basis
from fitkit.types import Camera

POSE_LAYERS = ("pose.kernel", "pose.bias", "before.kernel", "before.bias")
# Added to the variance of standardised features: of `RIDGES` the one that is best on held-out frames
RIDGES = (0.3, 1.0, 3.0)
COLOUR_RIDGE = 0.03
# Of the pose, how much is left to what the network of single pictures tells of it: by least squares on 500 held-out frames, the
# mean of frames before as labelled and drawn further away
SINGLE_SHARE = np.array([0.25, 0.25, 0.1, 0.5, 0.75, 0.35], np.float32)
TRUST = 400.0               # how much more the polynomials of the frame before may say than a feature; chosen
READ = 600                  # poses drawn, whose PNCC is read
LENS = (4.0, 0.35, 0.7)     # of these: focal length in sides, deviation of its logarithm, of the principal point in sides
LIGHT_RIDGE, LIGHT_MEAN = 2e-3, 1.8     # of the light that a face's colours tell: about white light of that constant harmonic


def solve_pose(features: Float[np.ndarray, "n f"], before: Float[np.ndarray, "n 6"], wanted: Float[np.ndarray, "n 6"], ridge: float
               ) -> dict[str, np.ndarray]:
    """Kernels and biases of `MeshTracking.pose` and `.before`: least squares with a ridge, by the products of the frames.

    Args:
        features: of the trunk.
        before: poses of the frames before.
        wanted: what is to be told of the difference, in its deviations.
        ridge: added to the variance of standardised features.
    """
    middle, spread = features.mean(axis=0), features.std(axis=0) + STILL
    standard = (features - middle) / spread
    gates = np.concatenate([np.ones((len(before), 1)), before[:, :3] / UNIT[:3]], axis=1).astype(np.float32)
    numbers = np.asarray(polynomials(jnp.asarray(before)))
    products = (standard @ standard.T) * (gates @ gates.T) + TRUST * (numbers @ numbers.T)
    products[np.diag_indices(len(products))] += ridge * len(products)
    mean = wanted.mean(axis=0)
    answer = scipy.linalg.solve(products, wanted - mean, assume_a="pos", overwrite_a=True)
    matrices = np.concatenate([standard.T @ (gates[:, [gate]] * answer) for gate in range(4)], axis=1) / spread[:, None]
    return {"pose.kernel": matrices, "pose.bias": -middle @ matrices,
            "before.kernel": TRUST * (numbers.T @ answer), "before.bias": mean}


def shared_pose(found: Mapping[str, np.ndarray], kernel: Float[np.ndarray, "f 6"], bias: Float[np.ndarray, " 6"],
                deviation: Float[np.ndarray, " 6"]) -> dict[str, np.ndarray]:
    """The kernels and biases of `solve_pose`, and those of a network that tells a pose itself, by `SINGLE_SHARE`.

    Args:
        found: of `solve_pose`.
        kernel: of that network, behind the same features.
        bias: of that network.
        deviation: of what is told.
    """
    own = {name: found[name] * np.tile(1 - SINGLE_SHARE, found[name].shape[-1] // POSE) for name in POSE_LAYERS}
    share, usual = SINGLE_SHARE / deviation, np.array([0, 0, 0, 0, 0, USUAL_SIZE])
    own["pose.kernel"][:, :POSE] += share * kernel
    own["pose.bias"][:POSE] += share * (bias - usual)
    own["before.kernel"][:POSE] -= np.diag(share * UNIT)        # less the pose of the frame before
    return own


def solve_linear(features: Float[np.ndarray, "n f"], wanted: Float[np.ndarray, "n o"], ridge: float
                 ) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of least squares with a ridge on standardised features."""
    middle, mean = features.mean(axis=0), wanted.mean(axis=0)
    spread = features.std(axis=0) + STILL
    standard = (features - middle) / spread
    square = standard.T @ standard / len(features) + ridge * np.eye(features.shape[1])
    kernel = scipy.linalg.solve(square, standard.T @ (wanted - mean) / len(features), assume_a="pos") / spread[:, None]
    return kernel, mean - middle @ kernel


def solve_reading(config: TrackingTraining, places: Float[np.ndarray, "4 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of `MeshTracking.read`: of what a PNCC tells of the pose of poses that are drawn, what is wrong."""
    tables, rng = tables_of(config.head), np.random.default_rng(config.seed)

    @jax.jit
    def seen(pose: Array, focal: Array, principal: Array) -> Array:
        return pose_of_pncc(frame_pncc(tables, pose, focal, principal, config=config), jnp.asarray(places))

    pose = (rng.normal(size=(READ, POSE)) * POSE_DEVIATION + POSE_MEAN).astype(np.float32)
    focal = (LENS[0] * np.exp(LENS[1] * rng.normal(size=READ))).astype(np.float32)
    principal = (0.5 + LENS[2] * rng.normal(size=(READ, 2))).astype(np.float32)
    told = np.stack([np.asarray(seen(*each)) for each in zip(pose, focal, principal, strict=True)])
    return solve_linear(np.asarray(polynomials(jnp.asarray(told))), pose - told, 1e-4)


def light_of(labels: BatchArrays, view: Camera, tables: HeadTables) -> Float[Array, "9 3"]:
    """The light in which a face's pixels have their colours, its skin and geometry being those of the labels."""
    vertices, corners = shape(tables.model, labels["identity"], labels["expression"]), tables.model.triangles[labels["triangle"]]
    normals, albedo = (surface_points(each, corners, labels["barycentric"]) for each in (
        to_view_frame(view, vertex_normals(vertices, tables.model.triangles)), vertex_albedo(tables.model, labels["albedo"])))
    basis, colour = sh_basis(safe_normalize(normals)), srgb_to_linear(labels["colour"] / jnp.float32(255))
    usual = jnp.zeros(9).at[0].set(LIGHT_MEAN)

    def channel(albedo: Array, colour: Array) -> Array:
        rows = basis * albedo[:, None]
        square = rows.T @ rows + LIGHT_RIDGE * jnp.sum(jnp.square(albedo)) * jnp.eye(9)
        return usual + jnp.linalg.solve(square, rows.T @ (colour - rows @ usual))

    return jax.vmap(channel, in_axes=1, out_axes=1)(albedo, colour)


def gather(data: FrameData, network: CoarseNet, config: TrackingTraining, *, passes: int) -> dict[str, np.ndarray]:
    """What the matrices are solved from, of every training frame, changed anew in each pass."""
    tables = tables_of(config.head)

    @nnx.jit
    def seen(network: CoarseNet, some: dict[str, Any]) -> dict[str, Array]:
        shown = training_frames(some, config)
        pose = jax.vmap(lambda camera: pose_of(camera, tables.middle))(shown.camera)
        before, pose = (jnp.where(shown.mirrored[:, None], each * MIRRORED, each) for each in (shown.before, pose))
        labels = {name: some[name] for name in ("identity", "expression", "albedo", "triangle", "barycentric", "colour")}
        light = jax.vmap(lambda label, camera: light_of(label, camera, tables))(labels, shown.camera)
        plain = plain_crops(some["pictures"], side=config.side).pictures
        appearance = jnp.concatenate([some["albedo"], light.reshape(len(light), -1)], axis=1)
        return {"features": network.tracking.mesh(shown.pictures[..., :3]), "before": before, "difference": pose - before,
                "colours": cell_means(plain), "appearance": appearance}

    rows = range(0, passes * len(data.train) // config.batch * config.batch, config.batch)
    parts = [jax.tree.map(np.asarray, dict(seen(network, batch(data, config, range(first, first + config.batch)))))
             for first in track(rows, description="features")]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def fit_readout(seen: dict[str, np.ndarray], network: CoarseNet, single: pathlib.Path, config: TrackingTraining, *, ridge: float
                ) -> CoarseNet:
    """The network with its matrices.

    Args:
        seen: of `gather`.
        network: of `build`.
        single: weights of the network of single pictures.
        config: of the training.
        ridge: of the pose.
    """
    mean, deviation = np.asarray(network.mean[...]), np.asarray(network.deviation[...])
    start = config.network.identity + config.network.expression
    difference = seen["difference"] / deviation[start:start + POSE]
    found = solve_pose(seen["features"].astype(np.float32), seen["before"], difference, ridge)
    found["read.kernel"], found["read.bias"] = solve_reading(config, np.asarray(network.tracking.places[...]))
    wanted = (seen["appearance"] - mean[start + POSE:]) / deviation[start + POSE:]
    found["appearance.kernel"], found["appearance.bias"] = solve_linear(seen["colours"].astype(np.float64), wanted, COLOUR_RIDGE)
    given, stored = load_coarsenet(path=single)
    if (stored.trunk, stored.upright, stored.tracking) != ("mesh", False, False):
        raise FitkitError("E_FIELD", f"{single} holds weights of {stored}; name a network of single pictures with trunk mesh that"
                          " looks once, made by fitkit.recipes.train.coarsenet.readout")
    output, means, spreads = (np.asarray(given[name]) for name in ("output.kernel", "mean", "deviation"))
    kernel, bias = output * spreads, means + spreads * np.asarray(given["output.bias"])        # of numbers as they are
    kept, pose = np.r_[:IDENTITY, config.network.identity:start], np.s_[start:start + POSE]
    found["shape.kernel"], found["shape.bias"] = kernel[:, kept] / deviation[kept], (bias[kept] - mean[kept]) / deviation[kept]
    found |= shared_pose(found, kernel[:, pose], bias[pose], deviation[pose])
    for name, value in found.items():
        layer, variable = name.split(".")
        nnx.update(getattr(network.tracking, layer), {variable: jnp.asarray(value, jnp.float32)})
    return network


def main(*, data: tuple[pathlib.Path, ...], out: pathlib.Path, single: pathlib.Path, passes: int = 1,
         held: tuple[pathlib.Path, ...] = ()) -> None:
    """Write the weights of a Tracking CoarseNet whose matrices are solved for, and print its scores.

    Args:
        data: runs of labels of kind `frames`; others, too.
        out: file to write, .safetensors.
        single: weights of a network of single pictures with the same trunk, which looks once.
        passes: over the frames, changed anew each time; the products of 10,000 frames take a gigabyte.
        held: runs to score on; by default the last part of each run.

    Raises:
        FitkitError: E_USAGE, E_RESULT of the labels; E_DATA of the weights; E_OUTPUT, the file cannot be written.
    """
    config = TRACKING_COARSENET.configs["small"]
    labels = load(data, held, config)
    network = build(config, nnx.Rngs(config.seed))
    seen = gather(labels, network, config, passes=passes)
    best: tuple[float, bytes, dict[str, float]] | None = None
    for ridge in RIDGES:
        figures = score(fit_readout(seen, network, single, config, ridge=ridge), labels, config)
        if best is None or figures["points"] < best[0]:
            best = figures["points"], encode_network(network, {"task": TRACKING_COARSENET.name, "config": json.dumps(
                TRACKING_COARSENET.described(config))}), figures
    assert best is not None
    write_bytes(out, best[1])
    print(best[2])


if __name__ == "__main__":
    tyro.cli(main, prog="python -m fitkit.recipes.train.tracking_coarsenet.readout")
