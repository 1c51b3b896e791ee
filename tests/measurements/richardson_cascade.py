"""Could the iterations of Richardson et al. 2017 fall further if each had a matrix of its own? A cascade of ridge regressions.

    python -m tests.measurements.richardson_cascade RUN HELD [--pictures N] [--most N] [--save FILE]

Supervised descent (Xiong and De la Torre 2013) with the paper's feedback: r_0 is the mean face; r is drawn into the picture, what
is seen at 96 points (`fitkit.models.richardson.point_features`) tells r_gt - r by a linear map, and the next map is learned from
what this one leaves. So that pictures which are learned from are left what new ones are, each is told by maps of the other folds.
The ridge of each number is the best on those folds; held-out pictures are only judged. Printed for each iteration as
`richardson_coarse` prints them; and CoarseNet's word, and its mean with the cascade's last, weighed for each number on the other
half of the held-out pictures.
"""

import argparse
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from flax import nnx

from fitkit.device import keep_compiled_programs
from fitkit.models.richardson.coarse import CoarseConfig, first_numbers, load_coarse, shown
from fitkit.models.richardson.feedback import grey_of
from fitkit.models.richardson.point_features import SIDE
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.data import LabelArrays
from fitkit.recipes.train.coarsenet.readout import true_numbers
from fitkit.recipes.train.coarsenet.task import CoarseNetData, load_labels
from fitkit.recipes.train.richardson_coarse.configuration import POINTS_TRAINING, CoarseTables, build, coarse_tables
from fitkit.recipes.train.richardson_coarse.scores import errors_of
from fitkit.recipes.train.richardson_coarse.task import RICHARDSON_COARSE, examples
from tests.measurements.richardson_coarse import COLUMNS, line

CONFIG = POINTS_TRAINING
FOLDS = 3
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)        # of the mean square of a feature vector of standardised features
AT_ONCE = 32
STILL = 1e-3                                # deviation of a feature that says nothing


def pictures_of(labels: CoarseNetData, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey augmented pictures, 0 to 255, and r_gt."""
    mean = build(CONFIG, nnx.Rngs(0)).mean[...]
    made = jax.jit(lambda some: examples(some, mean, CONFIG)[:2])
    parts = [made(RICHARDSON_COARSE.batch(labels, CONFIG, range(start, start + AT_ONCE))) for start in range(0, count, AT_ONCE)]
    grey, true = zip(*parts, strict=True)
    return np.concatenate([np.rint(255 * np.asarray(each)).astype(np.uint8) for each in grey]), np.concatenate(true)


class Looker:
    """What is seen at points of grey pictures in which r is drawn."""

    def __init__(self, config: CoarseConfig = CONFIG.network) -> None:
        """`config`: of what is shown."""
        self.network, self.head = build(CONFIG, nnx.Rngs(0)), coarse_tables("makehuman").feedback

        @nnx.jit
        def see(network: Any, grey: jax.Array, last: jax.Array) -> jax.Array:
            picture = shown(self.head, grey / jnp.float32(255), last, network.mean[...], config)
            return network.points.features(picture, self.head).astype(jnp.float16)

        self.see = see

    def __call__(self, grey: np.ndarray, last: np.ndarray) -> np.ndarray:
        """[N, k * f]."""
        parts = []
        for start in range(0, len(grey), AT_ONCE):
            rows = np.arange(start, start + AT_ONCE).clip(max=len(grey) - 1)
            parts.append(np.asarray(self.see(self.network, grey[rows], last[rows]))[:len(grey) - start])
        return np.concatenate(parts).reshape(len(grey), -1)


def kernel(rows: np.ndarray, others: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Products of standardised features, over their number."""
    total = np.zeros((len(rows), len(others)), np.float32)
    for start in range(0, rows.shape[1], 2048):
        part = slice(start, start + 2048)
        a, b = ((each[:, part].astype(np.float32) - middle[part]) / spread[part] for each in (rows, others))
        total += a @ b.T
    return total / rows.shape[1]


def solved(square: np.ndarray, wanted: np.ndarray, ridge: float) -> np.ndarray:
    """(K + ridge I)^-1 wanted."""
    return scipy.linalg.solve(square + ridge * np.eye(len(square), dtype=np.float32), wanted, assume_a="pos")


def one_iteration(seen: np.ndarray, wanted: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is told of pictures that are learned from, by maps of the other folds, and of held-out ones.

    Args:
        seen: [N, F].
        wanted: [N, o], r_gt - r, in deviations.
        held: [n, F], of pictures that are not learned from.
    """
    middle = seen.mean(0, dtype=np.float32)
    spread = seen.std(0, dtype=np.float32) + STILL
    square, across = kernel(seen, seen, middle, spread), kernel(held, seen, middle, spread)
    fold, told = np.arange(len(seen)) % FOLDS, np.zeros((len(RIDGES), *wanted.shape), np.float32)
    for number in range(FOLDS):
        here, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        level = wanted[rest].mean(0)
        for index, ridge in enumerate(RIDGES):
            told[index][here] = square[np.ix_(here, rest)] @ solved(square[np.ix_(rest, rest)], wanted[rest] - level, ridge) + level
    best = np.square(told - wanted).mean(1).argmin(0)
    level, of_held = wanted.mean(0), np.zeros((len(held), wanted.shape[1]), np.float32)
    for index in np.unique(best):
        chosen = best == index
        of_held[:, chosen] = across @ solved(square, (wanted - level)[:, chosen], RIDGES[index]) + level[chosen]
    return np.take_along_axis(told, best[None, None], 0)[0], of_held


def judged(numbers: np.ndarray, held: LabelArrays, tables: CoarseTables) -> dict[str, np.ndarray]:
    """Figures of r of held-out pictures."""
    parts = []
    for start in range(0, len(held), 50):
        arrays = {name: jnp.asarray(value) for name, value in held.take(slice(start, start + 50)).items()}
        parts.append(errors_of(jnp.asarray(numbers[start:start + 50]), arrays, tables, CONFIG.network))
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def word_of_coarsenet(held: LabelArrays) -> np.ndarray:
    """r_0 of the network that comes with fitkit."""
    parameters, config = load_coarse()
    words = []
    for start in range(0, len(held), 50):
        crops = plain_crops(jnp.asarray(held.pictures[start:start + 50]), side=config.numbers.seen, margin=config.numbers.margin)
        words.append(np.asarray(first_numbers(parameters, crops.pictures, config)))
    return np.concatenate(words)


def true_of(held: LabelArrays, tables: CoarseTables) -> np.ndarray:
    """r_gt."""
    arrays = {name: jnp.asarray(value) for name, value in held.take(slice(None)).items()}
    crops = plain_crops(jnp.zeros((len(held), *held.pictures.shape[1:]), jnp.uint8), side=8)
    return np.asarray(true_numbers(arrays, crops, tables.head, CONFIG.network.numbers))


def weighed(first: np.ndarray, second: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The mean of two words, each number weighed as is best on the other half."""
    mixed = np.empty_like(first)
    for half in (0, 1):
        here, rest = (np.arange(len(first)) % 2 == half), (np.arange(len(first)) % 2 != half)
        gap = (second - first)[rest]
        share = np.clip((gap * (true - first)[rest]).sum(0) / ((gap**2).sum(0) + 1e-9), 0, 1)
        mixed[here] = first[here] + share * (second - first)[here]
    return mixed


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("held", type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=6000, help="that are learned from")
    parser.add_argument("--most", type=int, help="held-out pictures")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--save", type=pathlib.Path, help="words after each iteration, .npz")
    options = parser.parse_args()
    keep_compiled_programs()
    begun = time.process_time()
    labels = load_labels([options.run], [options.held], head="makehuman", most=options.pictures)
    held = LabelArrays(**labels.held.take(slice(options.most)))
    tables, look = coarse_tables("makehuman"), Looker()
    mean, deviation = (np.asarray(each[...]) for each in (look.network.mean, look.network.deviation))
    grey, true = pictures_of(labels, options.pictures)
    grey_held = np.concatenate([np.rint(255 * np.asarray(grey_of(plain_crops(
        jnp.asarray(held.pictures[start:start + 50]), side=SIDE).pictures))).astype(np.uint8) for start in range(0, len(held), 50)])
    last, told = np.repeat(mean[None], len(true), 0), [np.repeat(mean[None], len(held), 0)]
    print(f"{'':30s}" + "".join(f"{name:>9s}" for name in COLUMNS) + "  % below the mean head")
    print(line("iteration 0", judged(told[0], held, tables)), flush=True)
    for number in range(1, options.iterations + 1):
        step, of_held = one_iteration(look(grey, last), (true - last) / deviation, look(grey_held, told[-1]))
        last, told = last + deviation * step, [*told, told[-1] + deviation * of_held]
        left = np.sqrt(np.square((true - last) / deviation)[:, -6:].mean())
        print(line(f"iteration {number}", judged(told[-1], held, tables)),
              f" pose left where learned {left:.3f}, {time.process_time() - begun:.0f} core-s", flush=True)
        if options.save:
            np.savez(options.save, told=np.stack(told), last=last, true=true)
    word = word_of_coarsenet(held)
    print(line("CoarseNet's word", judged(word, held, tables)))
    print(line("their mean", judged(weighed(word, told[-1], true_of(held, tables)), held, tables)))


if __name__ == "__main__":
    main()
