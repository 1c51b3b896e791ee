"""The matrices of a CoarseNet with MediaPipe's trunk, solved for: ridge regression of the labels from the trunk's features.

    python -m fitkit.recipes.train.coarsenet.readout --data RUN --out coarsenet.safetensors

Least squares in one go are worth many hours of steps from a matrix of zeros. `fitkit train coarsenet --config mesh
--set start=coarsenet.safetensors` trains on from there. Features are standardised, and the matrix is folded into raw ones.
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import tyro
from flax import nnx
from jaxtyping import Array, Float
from rich.progress import track

from fitkit.io.atomic_files import write_bytes
from fitkit.models.coarsenet.estimate import mirrored_outputs, pose_of
from fitkit.models.coarsenet.network import POSE, CoarseNet, CoarseNetConfig
from fitkit.models.parameters import encode_network
from fitkit.recipes.train.coarsenet.augmentation import Augmented
from fitkit.recipes.train.coarsenet.configuration import CoarseNetTraining, HeadTables, build, tables_of
from fitkit.recipes.train.coarsenet.task import (
    COARSENET,
    BatchArrays,
    CoarseNetData,
    batch,
    crop_camera,
    load,
    score,
    shown_pictures,
)

# Added to the variance of each standardised feature; of 0.02, 0.05, 0.1 the best on held-out pictures and their mirror images
RIDGE = 0.02
AT_ONCE = 32        # batches whose products are summed at once
STILL = 1e-3        # deviation of a feature that says nothing


def true_numbers(labels: BatchArrays, shown: Augmented, tables: HeadTables, config: CoarseNetConfig) -> Float[Array, "b o"]:
    """What a network whose numbers stand as `config` says should say of augmented pictures."""
    pose = jax.vmap(lambda seen: pose_of(seen, tables.middle))(crop_camera(labels, shown))
    numbers = jnp.concatenate([jnp.asarray(labels["identity"]), jnp.asarray(labels["expression"]), pose], axis=1)
    return jnp.where(shown.mirrored[:, None], mirrored_outputs(numbers, tables.signs, tables.partner, config), numbers)


def solve_ridge(count: int, sums: dict[str, Float[np.ndarray, "..."]]) -> tuple[Float[np.ndarray, "f o"], Float[np.ndarray, " o"]]:
    """The matrix and the offset of least squares with a ridge.

    Args:
        count: of examples.
        sums: over them: `f` of features, `y` of what is wanted, `ff` and `fy` of their products.
    """
    middle, mean = sums["f"] / count, sums["y"] / count
    covariance = sums["ff"] / count - np.outer(middle, middle)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0)) + STILL
    covariance /= np.outer(deviation, deviation)
    covariance[np.diag_indices(len(covariance))] += RIDGE
    wanted = (sums["fy"] / count - np.outer(middle, mean)) / deviation[:, None]
    matrix = scipy.linalg.solve(covariance, wanted, assume_a="pos", overwrite_a=True) / deviation[:, None]
    return matrix, mean - middle @ matrix


def fit_readout(data: CoarseNetData, config: CoarseNetTraining, *, passes: int, first_passes: int = 1) -> CoarseNet:
    """The network whose matrices are solved for on the training pictures, each augmented anew in every pass.

    Args:
        data: of which the held-out pictures are not looked at.
        config: of the network.
        passes: over the pictures.
        first_passes: for the matrix of the first look, which tells roll, place and size alone.
    """
    network = build(config, nnx.Rngs(config.seed))
    if config.upright:
        matrix, offset = _solve(network, data, config, passes=first_passes, upright=False)
        _put(network.first, matrix[:, -POSE:], offset[-POSE:])
    _put(network.output, *_solve(network, data, config, passes=passes, upright=config.upright))
    return network


def _put(layer: nnx.Linear, matrix: Float[np.ndarray, "f o"], offset: Float[np.ndarray, " o"]) -> None:
    nnx.update(layer, {"kernel": jnp.asarray(matrix, jnp.float32), "bias": jnp.asarray(offset, jnp.float32)})


def _solve(network: CoarseNet, data: CoarseNetData, config: CoarseNetTraining, *, passes: int, upright: bool
           ) -> tuple[Float[np.ndarray, "f o"], Float[np.ndarray, " o"]]:
    """The ridge regression of normalised labels from features of plain or of upright crops."""
    @nnx.jit
    def seen(network: CoarseNet, some: dict[str, Any]) -> tuple[Array, Array]:
        shown = shown_pictures(some, config, upright=upright)
        true = true_numbers(some, shown, tables_of(config.head), config.network)
        return network.mesh(shown.pictures), (true - network.mean[...]) / network.deviation[...]

    sums: dict[str, Any] = {}
    rows, waiting = range(0, passes * len(data.train) // config.batch * config.batch, config.batch), list[tuple[Any, ...]]()
    for first in track(rows, description="upright features" if upright else "features"):
        waiting.append(tuple(map(np.asarray, seen(network, batch(data, config, range(first, first + config.batch))))))
        if len(waiting) == AT_ONCE or first == rows[-1]:
            f, y = (np.concatenate(each) for each in zip(*waiting, strict=True))
            for name, value in {"f": f.sum(0), "y": y.sum(0), "ff": f.T @ f, "fy": f.T @ y}.items():
                sums[name] = sums[name] + value if name in sums else value.astype(np.float64)
            waiting.clear()
    return solve_ridge(len(rows) * config.batch, sums)


def main(
    *, data: tuple[pathlib.Path, ...], out: pathlib.Path, passes: int = 2, held: tuple[pathlib.Path, ...] = (),
    most: int | None = None,
) -> None:
    """Write the weights of a CoarseNet whose matrices are solved for, and print its scores.

    Args:
        data: runs of labels.
        out: file to write, .safetensors.
        passes: over the pictures, augmented anew each time.
        held: runs to score on; by default the last part of each run.
        most: pictures that are read of each run; None for all.

    Raises:
        FitkitError: E_USAGE, E_RESULT of the labels; E_OUTPUT, the file cannot be written.
    """
    config = dataclasses.replace(COARSENET.configs["mesh"], most=most)
    labels = load(data, held, config)
    network = fit_readout(labels, config, passes=passes)
    write_bytes(out, encode_network(network, {"task": COARSENET.name, "config": json.dumps(COARSENET.described(config))}))
    print(score(network, labels, config))


if __name__ == "__main__":
    tyro.cli(main, prog="python -m fitkit.recipes.train.coarsenet.readout")
