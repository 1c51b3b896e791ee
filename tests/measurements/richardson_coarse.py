"""The iterative CoarseNet of Richardson et al. 2017 on held-out labels: iteration by iteration, by yaw, and without parts of it.

    python -m tests.measurements.richardson_coarse HELD                    tables of iterations and of yaw; parameter counts
    python -m tests.measurements.richardson_coarse HELD --ablate RUN       rows of ablations, each trained anew on RUN
    python -m tests.measurements.richardson_coarse --look PHOTO... --out sheet.png     photos, and their feedback after each

HELD and RUN are runs of labels of kind `random`, of different seeds. Vertices are those of the face, after a similarity, mm, and
as a share below the mean head's; points are the 68, % of the distance of the outer eyes; angles are mean absolute errors,
degrees. Row 0 is r_0, which for the shipped network is CoarseNet's. Pictures are not averaged with their mirror images here.

Ablations: the shipped network learns how far off points are and needs PNCC for that, so that parts cannot be left out of it. Each
row is a ridge regression of r from what is seen at points, from the same examples at simulated iterates (Eq. 3).
"""

import argparse
import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from fitkit.device import keep_compiled_programs
from fitkit.io.images import read_image
from fitkit.labels.hidden_modes import FACE
from fitkit.models.coarsenet.crop import crop_of_box, cut_crop, with_margin
from fitkit.models.coarsenet.estimate import pose_of, rescaled, split_outputs
from fitkit.models.mediapipe.face_boxes import find_boxes
from fitkit.models.richardson.coarse import PAPER, IterativeCoarseNet, first_numbers, iterate, load_coarse, shown
from fitkit.models.richardson.feedback import render_feedback
from fitkit.morphable.regions import region_mask
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.configuration import output_statistics
from fitkit.recipes.train.coarsenet.data import LabelArrays
from fitkit.recipes.train.coarsenet.scores import similar_distance
from fitkit.recipes.train.coarsenet.task import CoarseNetData, label_camera, load_labels
from fitkit.recipes.train.richardson_coarse.configuration import POINTS_TRAINING, build, coarse_tables
from fitkit.recipes.train.richardson_coarse.scores import figures
from fitkit.recipes.train.richardson_coarse.task import RICHARDSON_COARSE, examples

MAPPED = 224                # features of a point from the photo; the others are of the feedback
RANK, RIDGES = 32, 0.5      # numbers that geometry is brought to; ridge of a group of features, of the mean square of its kernel
YAWS = (0, 30, 60, 85)      # degrees; a face counts for the nearest
COLUMNS = ("vertices", "points", "yaw", "pitch", "roll")


def line(name: str, found: dict[str, np.ndarray], chosen: Any = slice(None)) -> str:
    """A row of figures."""
    means = {key: float(np.mean(values[chosen])) for key, values in found.items()}
    cells = "".join(f"{means[key]:9.3f}" for key in COLUMNS)
    return f"{name:24s}{len(found['yaw'][chosen]):6d}{cells}{100 * (1 - means['vertices'] / means['mean_head']):9.1f}"


def true_yaw(held: LabelArrays) -> np.ndarray:
    """Degrees, of the head about the line of sight."""
    tables = coarse_tables("makehuman").head
    arrays = {name: jnp.asarray(value) for name, value in held.take(slice(None)).items()
              if name in ("focal", "principal", "rotation", "translation")}
    shown_as = plain_crops(jnp.zeros((len(held), *held.pictures.shape[1:]), jnp.uint8), side=8)
    cameras = jax.vmap(rescaled)(label_camera(arrays), shown_as.scale, shown_as.offset)
    return np.asarray(jax.vmap(lambda camera: pose_of(camera, tables.middle))(cameras))[:, 0]


def iterations(held: LabelArrays, count: int, path: pathlib.Path | None) -> None:
    """The tables of the shipped network."""
    parameters, config = load_coarse(path=path) if path else load_coarse()
    each = figures(parameters, held, coarse_tables("makehuman"), config, iterations=count)
    print(f"{'':30s}" + "".join(f"{name:>9s}" for name in COLUMNS) + "  % below the mean head")
    for number, found in enumerate(each):
        print(line(f"iteration {number}", found), flush=True)
    nearest = np.abs(np.abs(true_yaw(held))[:, None] - np.array(YAWS)).argmin(1)
    for index, yaw in enumerate(YAWS):
        for number in (0, 1, len(each) - 1):
            if (nearest == index).any():
                print(line(f"about yaw {yaw}, iteration {number}", each[number], nearest == index))
    print(f"mean head: {each[0]['mean_head'].mean():.3f} mm")


def parameter_counts() -> None:
    """Of the paper's network, by shape."""
    for name, config in (("paper, 290 outputs", PAPER), ("paper, this head", dataclasses.replace(PAPER, expression=52))):
        network = nnx.eval_shape(lambda config=config: IterativeCoarseNet(config, rngs=nnx.Rngs(0)))
        count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
        print(f"{name}: {count:,} parameters")


class Seen(NamedTuple):
    """What ridge regressions see of N examples: features of points, in groups, of the whole picture, r_gt and r_t."""

    maps: np.ndarray            # [N, k, 224]
    places: np.ndarray          # [N, k, 3], with visibility
    normals: np.ndarray         # [N, k, 3]
    unmasked: np.ndarray        # [N, k, 224]: maps of the picture without a mask
    true: np.ndarray
    last: np.ndarray


def examples_seen(labels: CoarseNetData, batches: int) -> Seen:
    """Examples at simulated iterates (Eq. 3)."""
    config = dataclasses.replace(POINTS_TRAINING, first=0.2, seed=3)
    network, head = build(config, nnx.Rngs(0)), coarse_tables("makehuman").feedback

    @nnx.jit
    def see(network: Any, some: Any) -> Any:
        made = examples(some, network.mean[...], config)
        ways = [dataclasses.replace(config.network, masked=masked) for masked in (True, False)]
        both = [network.points.features(shown(head, made.grey, made.last, network.mean[...], way), head) for way in ways]
        return both[0].astype(jnp.float16), both[1][..., :MAPPED].astype(jnp.float16), made.true, made.last

    rows = [range(start, start + config.batch) for start in range(0, batches * config.batch, config.batch)]
    parts = [[np.asarray(each) for each in see(network, RICHARDSON_COARSE.batch(labels, config, row))] for row in rows]
    points, unmasked, true, last = (np.concatenate(part) for part in zip(*parts, strict=True))
    places = np.concatenate([points[..., MAPPED:MAPPED + 2], points[..., -1:]], axis=-1)
    return Seen(points[..., :MAPPED], places, points[..., MAPPED + 2:-1], unmasked, true, last)


def ridge_ablations(seen: Seen) -> None:
    """Rows of what is shown, of the mask, of what is told, and of the metric, each a ridge regression from the same examples.

    The metric is that in which the regression is brought to `RANK` numbers: with all of them it would not matter.
    """
    tables = coarse_tables("makehuman")
    count, kept = len(tables.gram), len(seen.true) * 7 // 8
    mean, deviation = output_statistics(tables.head.model)
    groups = {name: _kernel(getattr(seen, name)) for name in ("maps", "places", "normals", "unmasked")}
    rows = {
        "all, delta": (("maps", "places", "normals"), True, "gmse"), "absolute": (("maps", "places", "normals"), False, "gmse"),
        "PNCC alone": (("maps", "places"), True, "gmse"), "no photo": (("places", "normals"), True, "gmse"),
        "no mask": (("unmasked", "places", "normals"), True, "gmse"),
        "coefficients, not GMSE": (("maps", "places", "normals"), True, "coefficients")}
    test = slice(kept, None)
    first = np.abs(seen.last[test] - mean).max(1) < 1e-5

    def report(name: str, told: np.ndarray) -> None:
        error = _vertices(told, seen.true[test], tables)
        turned = np.abs(told - seen.true[test])[:, count:count + 3].mean(1)
        print(f"{name:24s} {error[first].mean():7.3f} {error[~first].mean():7.3f} mm  {turned[first].mean():6.2f}"
              f" {turned[~first].mean():6.2f} degrees", flush=True)

    print(f"ridge rows, {kept} examples: from r_0, from others")
    report("r_t itself", seen.last[test])
    for name, (shown_groups, delta, metric) in rows.items():
        kernel = sum(groups[group] for group in shown_groups)
        start = seen.last if delta else np.repeat(mean[None], len(seen.last), 0)
        wanted = (seen.true - start) / deviation
        middle = wanted[:kept].mean(0)
        solved = np.linalg.solve(kernel[:kept, :kept] + RIDGES * len(shown_groups) * np.eye(kept, dtype=np.float32),
                                 wanted[:kept] - middle)
        fitted = kernel[:, :kept] @ solved
        root = np.eye(len(mean))
        if metric == "gmse":
            root[:count, :count] = np.linalg.cholesky(tables.gram * deviation[:count, None] * deviation[None, :count]
                                                      + 1e-4 * np.eye(count)).T
        axes = np.linalg.svd((fitted[:kept] @ root.T)[:, :count], full_matrices=False)[2][:RANK]
        geometry = np.linalg.solve(root[:count, :count], ((fitted @ root.T)[:, :count] @ axes.T @ axes).T).T
        report(name, (start + deviation * (np.concatenate([geometry, fitted[:, count:]], 1) + middle))[test])


def _kernel(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(len(values), -1).astype(np.float32)
    flat = (flat - flat.mean(0)) / (flat.std(0) + 1e-3)
    return flat @ flat.T / flat.shape[1]


def _vertices(told: np.ndarray, true: np.ndarray, tables: Any) -> np.ndarray:
    """Mean distance of the face's vertices after a similarity, mm, of each."""
    model = tables.head.model
    inside = np.flatnonzero(np.asarray(region_mask(model, FACE)) > 0.5)[::4]
    modes = np.concatenate([np.asarray(model.identity), np.asarray(model.expression)])[:, inside].reshape(len(tables.gram), -1)
    faces = [jnp.asarray((each[:, :len(modes)] @ modes).reshape(len(each), -1, 3) + np.asarray(model.mean)[inside], jnp.float32)
             for each in (told, true)]
    return np.asarray(jax.jit(jax.vmap(lambda a, b: similar_distance(a, b, jnp.ones(len(inside)))))(*faces))


def look(paths: list[pathlib.Path], out: pathlib.Path, count: int) -> None:
    """A sheet: a row for each photo, its crop and then the normals of r_0 and of each iteration, over it."""
    parameters, config = load_coarse()
    tables = coarse_tables("makehuman")
    pictures = []
    for path in paths:
        image = np.round(np.asarray(read_image(path).pixels) * 255).astype(np.uint8)
        crop = with_margin(crop_of_box(find_boxes(image.astype(np.float32) / 255)[0].box), config.numbers.margin)
        pictures.append(cut_crop(image, crop, side=config.numbers.seen))
    stacked = jnp.asarray(np.stack(pictures), jnp.float32) / 255
    edge = (config.numbers.seen - config.side) // 2
    first = first_numbers(parameters, stacked, config)
    told = [first, *iterate(parameters, tables.feedback, stacked, first, config=config, iterations=count)]
    columns = [np.asarray(stacked)[:, edge:edge + config.side, edge:edge + config.side]]
    for numbers in told:
        maps = np.asarray(jax.lax.map(lambda r: render_feedback(
            tables.feedback, split_outputs(r, config.numbers), side=config.side), numbers))
        covered = (maps[..., 3:] != 0).any(-1, keepdims=True)
        columns.append(np.where(covered, 0.35 * columns[0] + 0.65 * (0.5 + 0.5 * maps[..., 3:]), columns[0]))
    rows = [np.concatenate(list(row), axis=1) for row in zip(*columns, strict=True)]
    Image.fromarray(np.round(np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8)).save(out)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("held", type=pathlib.Path, nargs="?", help="run of labels that nothing was trained on")
    parser.add_argument("--most", type=int, help="pictures of it")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--weights", type=pathlib.Path, help="of another network")
    parser.add_argument("--ablate", type=pathlib.Path, help="run of labels to train on")
    parser.add_argument("--batches", type=int, default=150, help="of 32 pictures to ablate with")
    parser.add_argument("--look", type=pathlib.Path, nargs="+", help="photos")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("iterations.png"))
    options = parser.parse_args()
    keep_compiled_programs()
    if options.look:
        look(options.look, options.out, options.iterations)
    elif options.held:
        runs = [options.ablate] if options.ablate else []
        labels = load_labels(runs or [options.held], [options.held] if runs else [], head="makehuman", most=options.most)
        held = labels.held if runs else labels.train        # without runs to train on, all of it but its last part
        if options.ablate:
            ridge_ablations(examples_seen(labels, options.batches))
        else:
            parameter_counts()
            iterations(held, options.iterations, options.weights)
    else:
        parser.error("a run of held-out labels, or --look with photos")


if __name__ == "__main__":
    main()
