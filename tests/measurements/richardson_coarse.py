"""The iterative CoarseNet of Richardson et al. 2017 on held-out labels: iteration by iteration, and by yaw.

    python -m tests.measurements.richardson_coarse HELD                    tables of iterations and of yaw; parameter counts
    python -m tests.measurements.richardson_coarse --look PHOTO... --out sheet.png     photos, and their feedback after each

HELD is a run of labels of kind `random`. Vertices are those of the face, after a similarity, mm, and
as a share below the mean head's; points are the 68, % of the distance of the outer eyes; angles are mean absolute errors,
degrees. Row 0 is r_0, which for the shipped network is CoarseNet's. Pictures are not averaged with their mirror images here.
"""

import argparse
import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from fitkit.device import keep_compiled_programs
from fitkit.io.images import read_image
from fitkit.models.coarsenet.crop import crop_of_box, cut_crop, with_margin
from fitkit.models.coarsenet.estimate import pose_of, rescaled, split_outputs
from fitkit.models.mediapipe.face_boxes import find_boxes
from fitkit.models.richardson.coarse import PAPER, IterativeCoarseNet, first_numbers, iterate, load_coarse
from fitkit.models.richardson.feedback import render_feedback
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.data import LabelArrays
from fitkit.recipes.train.coarsenet.task import label_camera, load_labels
from fitkit.recipes.train.richardson_coarse.configuration import coarse_tables
from fitkit.recipes.train.richardson_coarse.scores import figures

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
    parser.add_argument("--look", type=pathlib.Path, nargs="+", help="photos")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("iterations.png"))
    options = parser.parse_args()
    keep_compiled_programs()
    if options.look:
        look(options.look, options.out, options.iterations)
    elif options.held:
        # the last part of a run would be held out: it is read as a held-out one, and nothing is trained on
        held = load_labels([options.held], [options.held], head="makehuman", most=options.most).held
        parameter_counts()
        iterations(held, options.iterations, options.weights)
    else:
        parser.error("a run of held-out labels, or --look with photos")


if __name__ == "__main__":
    main()
