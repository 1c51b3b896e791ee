"""The matrices of the small iterative CoarseNet, solved for: how far off each point of the feedback is, by ridge regression.

    python -m fitkit.recipes.train.richardson_coarse.points --data RUN --out richardson_coarse.safetensors

Each point has a regression of its own, from what is seen at it alone; an example counts for it as much as the point is visible. r_t
is drawn as CoarseNet would tell r_gt, whose word r_0 is in use: every coefficient shrunk towards the mean as far as CoarseNet is
unsure of it, poses off by what it errs. (Eq. 3, between the truth and another face, lets a network trust r_t more than it should:
on faces that CoarseNet told, regressions from there made points worse.) What regressions and r_0 err by on people that were not
learned from says how much the network believes each.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from jaxtyping import Array, Float, Int
from rich.progress import track

from fitkit.io.atomic_files import write_bytes
from fitkit.models.coarsenet.network import POSE
from fitkit.models.parameters import encode_network, named_state
from fitkit.models.richardson.coarse import IterativeCoarseNet, first_numbers, shown
from fitkit.models.richardson.point_features import point_places
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.data import LabelArrays
from fitkit.recipes.train.coarsenet.readout import true_numbers
from fitkit.recipes.train.coarsenet.task import CoarseNetData
from fitkit.recipes.train.richardson_coarse.configuration import POINTS_TRAINING, RichardsonCoarseTraining, build, coarse_tables
from fitkit.recipes.train.richardson_coarse.task import RICHARDSON_COARSE, batch, examples, load, score

RIDGE = 0.05        # added to the variance of each standardised feature; of 0.01, 0.05, 0.2 the best on pictures held out
STILL = 1e-3        # deviation of a feature that says nothing
APART = 8           # of so many batches the last is not learned from: what the points err by is measured on it
LEAST = 0.25        # mm^2, added to the variance of each number: covariances of few examples have directions of none
TRUST = 8.0         # times that covariance: errors of points and of r_0 are alike; of 0.5 to 4, 2 was best on 256 pictures held
                    # out, of a CoarseNet that looked once; this is chosen for the better one that came since
RELIABLE = (0.02, 0.95)     # bounds of the share of a coefficient's variance that CoarseNet tells


class Found(NamedTuple):
    """What is learned from: of N examples, each point."""

    features: Float[np.ndarray, "N k f"]
    off: Float[np.ndarray, "N k 2"]         # how far off it is, mm in the picture's plane


class Sums(NamedTuple):
    """Over examples, each counting as much as the point is visible: of products of features, and a 1, with themselves and `off`."""

    square: Float[np.ndarray, "k f+1 f+1"]
    product: Float[np.ndarray, "k f+1 2"]


def first_errors(network: IterativeCoarseNet, held: LabelArrays, config: RichardsonCoarseTraining
                 ) -> tuple[Float[np.ndarray, "n o"], Float[np.ndarray, "n o"]]:
    """What r_0 errs by on held-out pictures, and the truth, both in deviations of r from its mean."""
    mean, deviation = (np.asarray(each[...]) for each in (network.mean, network.deviation))
    parameters: Any = named_state(network)
    errors, truths = [], []
    for start in range(0, len(held), config.batch):
        labels = {name: jnp.asarray(value) for name, value in held.take(slice(start, start + config.batch)).items()}
        layout = config.network.numbers
        seen = plain_crops(labels["pictures"], side=layout.seen, margin=layout.margin)
        true = np.asarray(true_numbers(labels, seen, coarse_tables(config.head).head, layout))
        errors.append((np.asarray(first_numbers(parameters, seen.pictures, config.network)) - true) / deviation)
        truths.append((true - mean) / deviation)
    return np.concatenate(errors), np.concatenate(truths)


def told_like(key: Int[Array, " 2"], true: Float[Array, "b o"], errors: Float[np.ndarray, "n o"], truths: Float[np.ndarray, "n o"]
              ) -> Float[Array, "b o"]:
    """r_t as r_0 would tell `true`; all in deviations of r from its mean; `key`: the data of a random key.

    A coefficient z of which the share q of the variance is told becomes q z and noise of variance q (1 - q): so a ridge tells it.
    """
    count = true.shape[1] - POSE
    variance = np.square(truths[:, :count]).mean(0)
    share = np.clip(1.0 - np.square(errors[:, :count]).mean(0) / variance, *RELIABLE)
    for_noise, for_pose = jax.random.split(jax.random.wrap_key_data(key.astype(jnp.uint32)))
    noise = np.sqrt(share * (1.0 - share) * variance) * jax.random.normal(for_noise, (len(true), count))
    some = jax.random.randint(for_pose, (len(true),), 0, len(errors))
    return jnp.concatenate([share * true[:, :count] + noise, true[:, count:] + jnp.asarray(errors)[some, count:]], axis=1)


def looks(network: IterativeCoarseNet, data: CoarseNetData, config: RichardsonCoarseTraining,
          errors: tuple[Float[np.ndarray, "n o"], Float[np.ndarray, "n o"]], *, passes: int) -> Iterator[Found]:
    """Batches of all training pictures, each changed anew and at another r_t in every pass; `errors`: of `first_errors`."""
    head = coarse_tables(config.head).feedback

    @nnx.jit
    def seen(network: IterativeCoarseNet, some: dict[str, Any]) -> tuple[Array, Array]:
        mean, deviation = network.mean[...], network.deviation[...]
        made = examples(some, mean, config)
        last = mean + deviation * told_like(some["key"][0], (made.true - mean) / deviation, *errors)
        pictures = shown(head, made.grey, last, mean, config.network)
        true, told = (jax.vmap(lambda r: point_places(r, head, config.network.numbers))(r) for r in (made.true, last))
        return network.points.features(pictures, head), (true - told) / jnp.exp(last[:, -1])[:, None, None]

    rows = range(0, passes * len(data.train) // config.batch * config.batch, config.batch)
    for first in track(rows, description="points"):
        features, off = seen(network, batch(data, config, range(first, first + config.batch)))
        yield Found(np.asarray(features), np.asarray(off))


def sums_of(found: Found) -> Sums:
    """The sums of some examples."""
    features = np.concatenate([found.features, np.ones_like(found.features[..., :1])], axis=-1).swapaxes(0, 1)
    weighted = features * found.features.swapaxes(0, 1)[..., -1:]
    return Sums(weighted.swapaxes(1, 2) @ features, weighted.swapaxes(1, 2) @ found.off.swapaxes(0, 1))


def solve_points(sums: Sums, *, ridge: float = RIDGE) -> tuple[Float[np.ndarray, "k f 2"], Float[np.ndarray, "k 2"]]:
    """Kernel and bias of each point: least squares with a ridge on standardised features."""
    square, product = (np.asarray(each, np.float64) for each in sums)
    count = np.maximum(square[:, -1:, -1:], 1.0)
    middle, mean = square[:, :-1, -1:] / count, product[:, -1:] / count
    covariance = square[:, :-1, :-1] / count - middle @ middle.swapaxes(1, 2)
    deviation = np.sqrt(np.maximum(np.einsum("kff->kf", covariance), 0.0))[..., None] + STILL
    matrix = covariance / deviation / deviation.swapaxes(1, 2) + ridge * np.eye(covariance.shape[1])
    kernel = np.linalg.solve(matrix, (product[:, :-1] / count - middle @ mean) / deviation) / deviation
    return kernel, (mean - middle.swapaxes(1, 2) @ kernel)[:, 0]


def error_covariance(errors: Float[np.ndarray, "N k 2"], visible: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "k*2 k*2"]:
    """Covariance of what points err by, each pair where both are visible."""
    weight = np.repeat(visible, 2, axis=1)
    flat = errors.reshape(len(errors), -1) * weight
    covariance = flat.T @ flat / (weight.T @ weight + 1.0)
    values, vectors = np.linalg.eigh(covariance)        # of pairs that are seen together in different examples it may be indefinite
    return (vectors * np.maximum(values, 0.0)) @ vectors.T + LEAST * np.eye(len(covariance))


def fit_points(network: IterativeCoarseNet, found: Iterable[Found], errors: Float[np.ndarray, "n o"]) -> IterativeCoarseNet:
    """The network with its matrices solved for, and how sure it is of them and of r_0, whose errors are given."""
    total, kept = None, list[Found]()
    for number, some in enumerate(found):
        if number % APART == APART - 1:
            kept.append(Found(some.features.astype(np.float16), some.off))
            continue
        sums = sums_of(some)
        total = sums if total is None else Sums(*(old + new for old, new in zip(total, sums, strict=True)))
    assert total is not None and kept, "there are fewer pictures than `APART` batches"
    kernel, bias = solve_points(total)
    wrong = [np.einsum("bkf,kfo->bko", some.features.astype(np.float32), kernel) + bias - some.off for some in kept]
    visible = np.concatenate([some.features[..., -1] for some in kept]).astype(np.float64)
    covariance = TRUST * error_covariance(np.concatenate(wrong), visible)
    doubt = np.sqrt(np.square(errors).mean(0))
    nnx.update(network.points, {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32),
                                "covariance": jnp.asarray(covariance, jnp.float32), "doubt": jnp.asarray(doubt, jnp.float32)})
    return network


def main(*, data: tuple[pathlib.Path, ...], out: pathlib.Path, passes: int = 1, most: int | None = None,
         held: tuple[pathlib.Path, ...] = ()) -> None:
    """Write the weights of a small iterative CoarseNet, and print its scores.

    Args:
        data: runs of labels.
        out: file to write, .safetensors.
        passes: over the pictures, each changed anew and shown at another r_t.
        most: batches of 32 pictures; all where None.
        held: runs to score on; by default the last part of each run.

    Raises:
        FitkitError: E_USAGE, E_RESULT of the labels; E_OUTPUT, the file cannot be written.
    """
    config = POINTS_TRAINING
    labels = load(data, held, config)
    network = build(config, nnx.Rngs(config.seed))
    errors = first_errors(network, labels.held, config)
    network = fit_points(network, itertools.islice(looks(network, labels, config, errors, passes=passes), most), errors[0])
    header = {"task": RICHARDSON_COARSE.name, "config": json.dumps(dataclasses.asdict(config.network))}
    write_bytes(out, encode_network(network, header))
    print(score(network, labels, config))


if __name__ == "__main__":
    tyro.cli(main, prog="python -m fitkit.recipes.train.richardson_coarse.points")
