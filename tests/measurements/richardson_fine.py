"""FineNet of Richardson et al. 2017 on synthetic wrinkles at 200 and 400 pixels, what its loss could tell, and its rendering layer.

    python -m tests.measurements.richardson_fine [--heads N] [--weights FILE ...] [--sizes N ...] [--fitted] [--optimum N] [--layer]
    python -m tests.measurements.richardson_fine --heads 2 --sizes 200 --train DETAIL VARY --set batch=4 crop=96 steps=150
    python -m tests.measurements.richardson_fine --heads 2 --sizes 200 --end-to-end DETAIL VARY --held RANDOM --set steps=60

The heads are those of `wrinkles`, from seed 100 on: nothing was tuned on them. A row is a weight file and a size: the share of the
normals' error in wrinkles that it removes from the true coarse head's, the displacement's correlation, rms on flat skin. `--fitted`
gives the same after a real first stage, high-passed. `--optimum` minimises the loss itself, pixel by pixel, on heads from seed 0
on, with all its terms and with each left out: a network cannot tell more than that.

`--train` trains a network for each row, from nothing and as long as the others: with all terms of the loss, the same from another
seed (what rows differ by without a reason), without E_f, without E_sm, and with a strictly linear regressor (Section 4.2: one 1x1
convolution). `--end-to-end` goes on from the shipped networks under Section 4.4's loss, once with CoarseNet trained along and once
with it frozen; printed beside the heads: CoarseNet's vertices on held-out labels of kind `random`.
"""

import argparse
import dataclasses
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fitkit.color import LUMINANCE, srgb_to_linear
from fitkit.configuration import parse_assignments
from fitkit.device import keep_compiled_programs
from fitkit.fitting.state import rasterize_state
from fitkit.geometry import depth_maps
from fitkit.geometry.pose import camera_from_pose
from fitkit.models.coarsenet.estimate import folded_face
from fitkit.models.parameters import named_state
from fitkit.models.richardson.fine_inference import displacement, load_fine
from fitkit.models.richardson.fine_network import HypercolumnSizes
from fitkit.models.shipped import WEIGHTS
from fitkit.recipes import finenet
from fitkit.recipes.train.coarsenet.task import load_labels
from fitkit.recipes.train.loop import train
from fitkit.recipes.train.richardson_coarse.configuration import coarse_tables
from fitkit.recipes.train.richardson_coarse.scores import figures
from fitkit.recipes.train.richardson_fine import losses, task
from fitkit.recipes.train.richardson_fine.criterion import LitSurface, terms_of, weighted
from fitkit.recipes.train.richardson_fine.end_to_end import RICHARDSON, coarse_of
from fitkit.recipes.train.richardson_fine.surface import coarse_surface
from fitkit.recipes.train.task import Task
from fitkit.types import Detail
from tests.measurements.wrinkles import Case, Row, angle, fitted, make_case, measure, measure_fitted, summary
from tests.models.richardson import test_depth_layer as layer

FIRST = 100                 # seed
SIZES = (200, 400)          # pixels (Richardson 2017, Fig. 11)
NOISE = 0.005               # deviation of the photo's pixels, sRGB
STEPS, RATE = 400, 0.1      # of Adam towards the loss's optimum, pixels
# What is left out of the loss, or changed: fields of its configuration
VARIANTS: dict[str, dict[str, Any]] = {
    "all terms": {}, "E_f off": {"weight_fidelity": 0.0}, "E_sm off": {"weight_smoothness": 0.0}, "no gain": {"gain_reach": None},
    "squares": {"shading_scale": None}, "the paper's": dataclasses.asdict(task.CONFIGS["paper"])}


Networks = dict[str, tuple[dict[str, jax.Array], HypercolumnSizes]]      # weights and sizes, by name
# Trainings: what differs from the first
TRAININGS: dict[str, dict[str, Any]] = {
    "all terms": {}, "another seed": {"seed": 1}, "E_f off": {"weight_fidelity": 0.0}, "E_sm off": {"weight_smoothness": 0.0},
    "strictly linear regressor": {"regressor": ()}}


def refined(case: Case, state: Any, weights: dict[str, jax.Array], sizes: HypercolumnSizes) -> Detail:
    """The wrinkles that a network sees on a state, at the case's own size."""
    network = partial(displacement, weights, sizes=sizes, side=len(case.photo))
    seen = rasterize_state(state, case.model, size=len(case.photo))
    return finenet.refine(case.model, state, jnp.asarray(case.photo), seen, displacement=network)


def heads(networks: Networks, count: int, sizes: list[int], *, real: bool) -> None:
    """The table of networks and sizes."""
    for size in sizes:
        rows: dict[str, list[Row]] = {}
        for seed in range(FIRST, FIRST + count):
            case = make_case(seed, size=size, noise=NOISE)
            start = fitted(case, seed).state if real else case.state
            for name, network in networks.items():
                judge = measure_fitted if real else measure
                rows.setdefault(name, []).append(judge(case, refined(case, start, *network)))
        for name, each in rows.items():
            print(f"{size} px, {count} heads{', after a real stage 1' if real else ''}, {name}: "
                  + "error removed {:.3f}  correlation {:.3f}  flat skin {:.4f} mm".format(*summary(each)), flush=True)


def unjudged(made: Task) -> Task:
    """A task whose networks are judged here alone."""
    return dataclasses.replace(made, score=lambda *_: {}, pictures=lambda *_: {})


def trained(runs: list[Path], fields: dict[str, Any]) -> Networks:
    """A network for each row of `TRAININGS`."""
    found: Networks = {}
    for name, changed in TRAININGS.items():
        config = dataclasses.replace(task.CONFIGS["small"], **{"rate": 1e-3, "warmup": 20, **fields, **changed})
        with tempfile.TemporaryDirectory() as work:
            network = train(unjudged(task.RICHARDSON_FINE), config, runs, work=Path(work), every=config.steps).network
        found[name] = named_state(network), HypercolumnSizes(**task.described(config))
        print(f"trained: {name}, {time.process_time():.0f} core-s", flush=True)
    return found


def end_to_end_rows(runs: list[Path], held: Path, fields: dict[str, Any], most: int) -> Networks:
    """FineNet trained on with CoarseNet, and without; and the table of CoarseNet's vertices."""
    _, sizes, _ = coarse_of("")
    labels = load_labels([held], [held], head=task.HEAD, most=most).held
    start = load_fine()
    found: Networks = {"as it comes": start}
    for name, along in (("CoarseNet frozen", False), ("end to end", True)):
        config = dataclasses.replace(RICHARDSON.configs["small"], **fields, train_coarse=along)
        with tempfile.TemporaryDirectory() as work:
            network = train(unjudged(RICHARDSON), config, runs, work=Path(work), every=config.steps).network
        told = figures(named_state(network.coarse), labels, coarse_tables(task.HEAD), sizes, iterations=4)
        print(f"{name}: vertices after each look "
              + ", ".join(f"{each['vertices'].mean():.4f}" for each in told)
              + f" mm, {len(labels)} pictures, {time.process_time():.0f} core-s", flush=True)
        found[name] = named_state(network.fine), start[1]
    return found


def prepared(seed: int, size: int) -> tuple[Case, LitSurface, jax.Array]:
    """A case, its lit coarse surface and its intensity."""
    case, head = make_case(seed, size=size, noise=NOISE), task.training_head()
    face = folded_face(case.model, case.state.face.identity, case.state.face.expression, camera_from_pose(case.state.pose))
    surface = coarse_surface(head, *face, side=size)
    linear = np.asarray(srgb_to_linear(jnp.asarray(case.photo))) @ np.array(LUMINANCE)
    picture = jnp.asarray(linear / np.median(linear[np.asarray(surface.skin) > 0.5]), jnp.float32)
    light = losses.least_squares_light(surface, picture, surface.skin)
    albedo = losses.least_squares_albedo(surface, light, picture, surface.skin)
    return case, LitSurface(surface, light, albedo, jnp.zeros((size, size, 9))), picture


def optimum(count: int, size: int) -> None:
    """The table of what is left out of the loss."""
    cases = [prepared(seed, size) for seed in range(count)]
    for name, fields in VARIANTS.items():
        base = task.CONFIGS["small"]
        config = dataclasses.replace(base, **{key: value for key, value in fields.items() if key in VARIED})
        solve = jax.jit(partial(minimised, config=config))
        rows = []
        for case, lit, picture in cases:
            found = solve(lit, picture) * lit.surface.skin
            slopes = lit.surface.slopes + depth_maps.differences(found)
            normals = np.moveaxis(np.asarray(depth_maps.normals_from_slopes(slopes, lit.surface.sight)), 0, -1)
            moved = np.asarray(jnp.where(lit.surface.scale > 0, found / jnp.maximum(lit.surface.scale, 1e-6), 0.0))
            there = case.wrinkled
            rows.append(Row(before=float(angle(case.smooth, case.normals)[there].mean()),
                            after=float(angle(normals, case.normals)[there].mean()),
                            correlation=float(np.corrcoef(moved[there], case.displacement[there])[0, 1]),
                            flat=float(np.sqrt(np.mean(moved[case.flat] ** 2)))))
        print(f"optimum of the loss, {size} px, {count} heads, {name}: "
              + "error removed {:.3f}  correlation {:.3f}  flat skin {:.4f} mm".format(*summary(rows)), flush=True)


VARIED = ("weight_shading", "weight_fidelity", "weight_smoothness", "gain_reach", "shading_scale")


def minimised(lit: LitSurface, picture: jax.Array, *, config: task.HypercolumnTraining) -> jax.Array:
    """The displacement that minimises the loss of one picture, pixels."""
    adam = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    example = {"picture": picture, "shown": jnp.ones_like(picture)}
    slope = jax.grad(lambda moved: weighted(terms_of(lit, moved, example, config), config))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        moved, moments = carry
        updates, moments = adam.update(slope(moved) * picture.size / config.weight_shading, moments)
        return (moved + updates, moments), None

    start = jnp.zeros_like(picture)
    return jax.lax.scan(step, (start, adam.init(start)), None, length=STEPS)[0][0]


def rendering_layer() -> None:
    """The largest difference of depth and gradients from loops, relative to the largest gradient, in double precision."""
    with jax.enable_x64(True):
        for perspective in (False, True):
            print(f"rendering layer, {'pinhole' if perspective else 'weak perspective'}: depth differs by at most {{:.1e}} mm,"
                  " gradients by {:.1e} of the largest".format(*layer.differences_from_loops(perspective)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=10)
    parser.add_argument("--weights", type=Path, nargs="*", default=[WEIGHTS / "richardson_fine.safetensors"])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="of the pictures, pixels")
    parser.add_argument("--fitted", action="store_true", help="after a real first stage, too")
    parser.add_argument("--optimum", type=int, default=0, help="heads on which the loss itself is minimised")
    parser.add_argument("--layer", action="store_true", help="the rendering layer beside loops")
    parser.add_argument("--train", type=Path, nargs="*", help="runs of labels: a network is trained for each row")
    parser.add_argument("--end-to-end", type=Path, nargs="*", help="runs of labels: both networks are trained on")
    parser.add_argument("--held", type=Path, help="run of kind random on which CoarseNet is judged")
    parser.add_argument("--most", type=int, default=200, help="pictures of it")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the trainings")
    given = parser.parse_args()
    keep_compiled_programs()
    if given.layer:
        rendering_layer()
    fields = parse_assignments(given.set)
    if given.train:
        networks = trained(given.train, fields)
    elif given.end_to_end:
        networks = end_to_end_rows(given.end_to_end, given.held, fields, given.most)
    else:
        networks = {path.stem: load_fine(path=path) for path in given.weights}
    for real in (False, True)[:1 + given.fitted]:
        heads(networks, given.heads, given.sizes, real=real)
    for size in given.sizes if given.optimum else ():
        optimum(given.optimum, size)


if __name__ == "__main__":
    main()
