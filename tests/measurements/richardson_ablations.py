"""The iterative CoarseNet of Richardson et al. 2017 without parts of it: feedback, mask, photo, delta, GMSE.

    python -m tests.measurements.richardson_ablations RUN HELD [--pictures N] [--most N]

RUN and HELD are runs of labels of kind `random`, of different seeds. The shipped network learns how far off points are and needs
PNCC for that, so that parts cannot be left out of it. Each row is a ridge regression of r from what is seen at points, of the same
examples at simulated iterates (Eq. 3), a fifth of them at r_0, the mean face; the ridge of each number is the best on pictures
left out (`richardson_cascade.one_iteration`). Printed: vertices after a similarity, mm, and error of angles, degrees, on held-out
pictures that look from r_0 and on those that look from elsewhere, and how much worse in vertices than "all, delta" (with the
standard error of that difference). And the loss with which the paper's network begins: GMSE and pose, weighed.

Without PNCC, or without normals, the mean face's are shown in its place; without feedback there is no mask, either, and nothing
says what r_t is. GMSE and plain mean squares differ where a regression tells fewer numbers than there are: here 32.
"""

import argparse
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fitkit.device import keep_compiled_programs
from fitkit.labels.hidden_modes import FACE
from fitkit.morphable.regions import region_mask
from fitkit.recipes.train.coarsenet.scores import similar_distance
from fitkit.recipes.train.coarsenet.task import CoarseNetData, load_labels
from fitkit.recipes.train.richardson_coarse.configuration import (
    PAPER_TRAINING,
    POINTS_TRAINING,
    SMALL_TRAINING,
    CoarseTables,
    build,
    coarse_tables,
)
from fitkit.recipes.train.richardson_coarse.task import RICHARDSON_COARSE, equal_start, examples
from tests.measurements.richardson_cascade import AT_ONCE, Looker, one_iteration

CONFIG = dataclasses.replace(POINTS_TRAINING, first=0.2, seed=3)
MAPPED = 224                # features of a point from the photo; the others are of the feedback
RANK = 32                   # numbers that geometry is brought to, for the metric's rows
WAYS = {"all": {}, "no mask": {"masked": False}, "PNCC alone": {"normals": False}, "normals alone": {"pncc": False},
        "no feedback": {"pncc": False, "normals": False, "masked": False}}


@dataclasses.dataclass(frozen=True)
class Some:
    """Examples."""

    grey: np.ndarray        # [N, s, s], 0 to 255
    true: np.ndarray        # [N, o], r_gt
    last: np.ndarray        # r_t


def some_of(labels: CoarseNetData, count: int) -> Some:
    """Examples of the training pictures of `labels`."""
    mean = build(CONFIG, nnx.Rngs(0)).mean[...]
    make = jax.jit(lambda batch: examples(batch, mean, CONFIG))
    made = [make(RICHARDSON_COARSE.batch(labels, CONFIG, range(start, start + AT_ONCE))) for start in range(0, count, AT_ONCE)]
    grey, true, last = (np.concatenate([np.asarray(each) for each in parts]) for parts in zip(*made, strict=True))
    return Some(np.rint(255 * grey).astype(np.uint8), true, last)


class Report:
    """The table: each row is what is told of the held-out examples."""

    def __init__(self, held: Some, mean: np.ndarray, tables: CoarseTables):
        model = tables.head.model
        inside = np.flatnonzero(np.asarray(region_mask(model, FACE)) > 0.5)[::4]
        self.modes = np.concatenate([np.asarray(model.identity), np.asarray(model.expression)])[:, inside].reshape(
            len(tables.gram), -1)
        self.middle, self.held = np.asarray(model.mean)[inside], held
        self.first = np.abs(held.last - mean).max(1) < 1e-5
        self.reference: np.ndarray | None = None
        print(f"{'':34s}{f'from r_0 ({self.first.sum()})':>22s}{f'from others ({(~self.first).sum()})':>22s}")

    def vertices(self, told: np.ndarray) -> np.ndarray:
        """Mean distance of the face's vertices after a similarity, mm, of each."""
        faces = [jnp.asarray((each[:, :len(self.modes)] @ self.modes).reshape(len(each), -1, 3) + self.middle, jnp.float32)
                 for each in (told, self.held.true)]
        return np.asarray(jax.jit(jax.vmap(lambda a, b: similar_distance(a, b, jnp.ones(len(self.middle)))))(*faces))

    def row(self, name: str, told: np.ndarray, *, reference: bool = False) -> None:
        """Print one; the others are compared with the reference."""
        error, count = self.vertices(told), len(self.modes)
        turned = np.abs(told - self.held.true)[:, count:count + 3].mean(1)
        self.reference = error if reference else self.reference
        text = f"{name:34s}"
        for chosen in (self.first, ~self.first):
            text += f"  {error[chosen].mean():6.3f} mm {turned[chosen].mean():6.2f} deg"
        if self.reference is not None:
            for chosen in (self.first, ~self.first):
                gap = (error - self.reference)[chosen]
                text += f"  {gap.mean():+7.3f} +- {gap.std() / np.sqrt(len(gap)):.3f}"
        print(text, flush=True)


def brought_down(learned: np.ndarray, told: np.ndarray, root: np.ndarray) -> np.ndarray:
    """`told` with its geometry brought to `RANK` numbers, the best for what was told of the learned examples in a metric's root."""
    count = len(root)
    axes = np.linalg.svd(learned[:, :count] @ root.T, full_matrices=False)[2][:RANK]
    geometry = np.linalg.solve(root, (told[:, :count] @ root.T @ axes.T @ axes).T).T
    return np.concatenate([geometry, told[:, count:]], axis=1)


def ablations(learned: Some, held: Some) -> None:
    """The rows."""
    tables = coarse_tables("makehuman")
    start = build(CONFIG, nnx.Rngs(0))
    mean, deviation = np.asarray(start.mean[...]), np.asarray(start.deviation[...])
    report = Report(held, mean, tables)
    report.row("mean face", np.repeat(mean[None], len(held.true), 0))
    report.row("r_t itself", held.last)

    def told(name: str, seen: np.ndarray, other: np.ndarray, *, delta: bool) -> tuple[np.ndarray, np.ndarray]:
        """What is told of learned and of held-out examples, in deviations of r from where it is told."""
        base, base_held = (each.last if delta else np.repeat(mean[None], len(each.true), 0) for each in (learned, held))
        of_learned, of_held = one_iteration(seen, (learned.true - base) / deviation, other)
        report.row(f"{name}, {'delta' if delta else 'absolute'}", base_held + deviation * of_held,
                   reference=name == "all" and delta)
        return of_learned, of_held

    for name, fields in WAYS.items():
        look = Looker(dataclasses.replace(CONFIG.network, **fields))
        seen, other = (look(each.grey, each.last) for each in (learned, held))
        if name == "all":
            count = len(tables.gram)
            both = told(name, seen, other, delta=True)
            gmse = np.linalg.cholesky(np.asarray(tables.gram) * deviation[:count, None] * deviation[None, :count]
                                      + 1e-4 * np.eye(count)).T
            for metric, root in (("GMSE", gmse), ("plain mean squares", np.eye(count))):
                report.row(f"all, delta, {RANK} numbers by {metric}", held.last + deviation * brought_down(*both, root))
            told(name, seen, other, delta=False)
            of_feedback = np.tile(np.arange(seen.shape[1] // 96) >= MAPPED, 96)
            for delta in (True, False):
                told("no photo", seen[:, of_feedback], other[:, of_feedback], delta=delta)
        else:
            for delta in (True, False) if name != "no feedback" else (False,):
                told(name, seen, other, delta=delta)


def starts(labels: CoarseNetData) -> None:
    """How the two terms of the loss begin."""
    rows = {"paper": PAPER_TRAINING, "small": SMALL_TRAINING,
            "small, plain mean squares": dataclasses.replace(SMALL_TRAINING, loss="coefficients")}
    for name, config in rows.items():
        weight = equal_start(build(dataclasses.replace(config, width=2), nnx.Rngs(0)), labels, config)
        print(f"start, {name}: geometry = {weight:.2f} x pose on the first ten batches; weight_pose is {config.weight_pose:.2f}")


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("held", type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=2400, help="that are learned from")
    parser.add_argument("--most", type=int, default=640, help="held-out pictures")
    options = parser.parse_args()
    keep_compiled_programs()
    labels = load_labels([options.run], [options.held], head="makehuman", most=options.pictures)
    starts(labels)
    held = CoarseNetData(train=labels.held, held=labels.held)
    ablations(some_of(labels, options.pictures), some_of(held, options.most))


if __name__ == "__main__":
    main()
