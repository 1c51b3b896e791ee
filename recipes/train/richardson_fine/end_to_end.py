"""End-to-end training (Richardson et al. 2017, Section 4.4): CoarseNet, the rendering layer and FineNet under one loss.

    photo -> CoarseNet, four looks -> depth by the rendering layer -> FineNet -> Eq. 14, and |r - r'|^2 of CoarseNet's last word r

r' is what the CoarseNet says that the training starts from, and stays. The first three looks are its, too, and the gradient goes
through the last one: they differ by what the fidelity term lets CoarseNet change. Its weight is not told by the paper. As the
term's gradient is zero at the start, it cannot be made equal to the other one there; it is chosen so that r stays within 5 %.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from fitkit.labels.hidden_modes import hidden_modes
from fitkit.models import heads
from fitkit.models.coarsenet.crop import crop_of_points, cut_crop, with_margin
from fitkit.models.coarsenet.estimate import camera_of, rescaled, split_outputs
from fitkit.models.parameters import with_parameters
from fitkit.models.richardson.coarse import (
    CoarseConfig,
    IterativeCoarseNet,
    first_numbers,
    inner_grey,
    iterate,
    load_coarse,
    shown,
)
from fitkit.models.richardson.feedback import FeedbackHead, feedback_head
from fitkit.models.richardson.fine_inference import load_fine, network_of
from fitkit.models.richardson.fine_network import HypercolumnNet
from fitkit.recipes.train.finenet.data import Mixture, open_crops
from fitkit.recipes.train.finenet.labelled_face import Pictures
from fitkit.recipes.train.richardson_fine import task
from fitkit.recipes.train.richardson_fine.criterion import CriterionConfig, lit_surface, terms_of, weighted
from fitkit.recipes.train.richardson_fine.data import COEFFICIENTS, CoarseState, draw_example, with_coefficients
from fitkit.recipes.train.richardson_fine.grey_face import face_of
from fitkit.recipes.train.task import Task, picture_at
from fitkit.types import Camera

AT_ONCE = 8         # pictures of one call of CoarseNet
ITERATIONS = 4      # Richardson 2017, Section 4.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndToEndTraining(CriterionConfig):
    """A training of both networks, from trained ones.

    Attributes:
        crop: side of the crops that FineNet sees, pixels.
        flat: share of pictures without relief, where there are such.
        most: pictures with relief and without that are trained on; what CoarseNet says of each is asked before.
        weight_coarse: of |r - r'|^2, in deviations of r over its labels.
        train_coarse: whether CoarseNet is trained; else FineNet alone, on what CoarseNet says.
        coarse: weight file of CoarseNet; empty for the one that comes with fitkit.
        fine: of FineNet.
    """

    crop: int
    flat: float = 0.25
    most: int = 200
    weight_coarse: float = 1.0
    train_coarse: bool = True
    coarse: str = ""
    fine: str = ""


CONFIGS = {
    "paper": EndToEndTraining(batch=32, steps=20_000, rate=1e-5, crop=200, most=10_000, weight_shading=255.0**2,
                              weight_fidelity=5e-3, weight_smoothness=1.0, gain_reach=None, shading_scale=None),
    "small": EndToEndTraining(batch=4, steps=200, rate=2e-4, clip=1.0, crop=128),
}


class Both(nnx.Module):
    """CoarseNet and FineNet."""

    def __init__(self, coarse: IterativeCoarseNet, fine: HypercolumnNet):
        """`coarse` and `fine`: trained."""
        self.coarse, self.fine = coarse, fine


class Seen(NamedTuple):
    """Pictures, and what CoarseNet says of each before it is trained."""

    fields: tuple[dict[str, np.ndarray], ...]       # of the labels
    grey: Float[np.ndarray, "n s s"]                # what CoarseNet sees
    corner: Float[np.ndarray, "n 2"]                # of its square, pixels of the picture
    side: Float[np.ndarray, " n"]                   # of its square
    first: Float[np.ndarray, "n o"]                 # r_0
    last: Float[np.ndarray, "n o"]                  # after three looks
    word: Float[np.ndarray, "n o"]                  # r', after four


class Data(NamedTuple):
    """What is trained on, and what is held out."""

    trained: Seen
    held: Seen


@functools.cache
def coarse_of(path: str) -> tuple[dict[str, Array], CoarseConfig, FeedbackHead]:
    """Weights, sizes and the drawn head of a CoarseNet; `path` empty for the shipped one."""
    parameters, sizes = load_coarse(path=Path(path)) if path else load_coarse()
    return parameters, sizes, feedback_head(heads.load(task.HEAD))


def build(config: EndToEndTraining, rngs: nnx.Rngs) -> Both:
    """Both networks with their trained weights."""
    del rngs
    with jax.ensure_compile_time_eval():
        parameters, sizes, _ = coarse_of(config.coarse)
        weights, fine_sizes = load_fine(path=Path(config.fine)) if config.fine else load_fine()
    coarse = with_parameters(nnx.eval_shape(lambda: IterativeCoarseNet(sizes, rngs=nnx.Rngs(0))), parameters)
    return Both(coarse, with_parameters(network_of(fine_sizes), weights))


def load(runs: Sequence[Path], held: Sequence[Path], config: EndToEndTraining) -> Data:
    """The first pictures of runs, in their random order, and what CoarseNet says of each."""
    crops = with_coefficients(open_crops(runs, held, flat=config.flat))
    return Data(_seen(crops.trained, config, config.most), _seen(crops.held, config, max(config.most // 8, AT_ONCE)))


def _seen(mixture: Mixture, config: EndToEndTraining, most: int) -> Seen:
    parameters, sizes, head = coarse_of(config.coarse)
    flat = round(most * mixture.share) if len(mixture.flat) else 0
    fields = _fields(mixture.relief, most - flat, config) + _fields(mixture.flat, flat, config)
    squares = [crop_of_points(each["points468"]) for each in fields]
    wide = [with_margin(square, sizes.numbers.margin) for square in squares]
    pictures = np.stack([cut_crop(each["picture"], square, side=sizes.numbers.seen)
                         for each, square in zip(fields, wide, strict=True)])
    words = []
    for start in range(0, len(pictures), AT_ONCE):
        part = pictures[start:start + AT_ONCE].astype(np.float32) / 255
        padded = np.concatenate([part, np.repeat(part[-1:], AT_ONCE - len(part), axis=0)])
        first = first_numbers(parameters, jnp.asarray(padded), sizes)
        told = iterate(parameters, head, jnp.asarray(padded), first, config=sizes, iterations=ITERATIONS)
        words.append(np.concatenate([first[None], told])[:, :len(part)])
    told = np.concatenate(words, axis=1)
    return Seen(tuple(fields), np.asarray(inner_grey(jnp.asarray(pictures, jnp.float32) / 255, sizes)),
                np.stack([square.corner for square in squares]), np.array([square.side for square in squares], np.float32),
                told[0], told[-2], told[-1])


def _fields(part: Pictures, count: int, config: EndToEndTraining) -> list[dict[str, np.ndarray]]:
    sources = [dataclasses.replace(each, fields=(*each.fields, "points468")) for each in part.sources]
    if not len(part):
        return []
    chosen = picture_at(range(min(count, len(part))), count=len(part), seed=config.seed)
    return [sources[run][int(place)] for run, place in part.places[chosen]]


def batch(data: Data, config: EndToEndTraining, places: range) -> dict[str, np.ndarray]:
    """Examples at these places."""
    return examples(data.trained, config.seed, places, crop=config.crop)


def examples(seen: Seen, seed: int, places: range, *, crop: int) -> dict[str, np.ndarray]:
    """Crops of the pictures as they are (`draw_example`), and beside them what CoarseNet sees and has said."""
    made = []
    for place, row in zip(places, picture_at(places, count=len(seen.fields), seed=seed), strict=True):
        fields = seen.fields[row]
        state = CoarseState(*(fields[name] for name in COEFFICIENTS))
        drawn = draw_example(np.random.default_rng((seed, place, 2)), face_of(fields), state, crop=crop, anew=False)
        made.append(drawn | {"grey": seen.grey[row], "square": seen.corner[row], "side": seen.side[row], "first": seen.first[row],
                             "last": seen.last[row], "word": seen.word[row]})
    return {name: np.stack([each[name] for each in made]) for name in made[0]}


def loss(network: Both, batch: Any, config: EndToEndTraining) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Eq. 14 and the fidelity of CoarseNet, over a batch."""
    drawn = {name: jnp.asarray(values) for name, values in batch.items()}
    numbers, _, each = run(network, drawn, config)
    terms = {name: jnp.mean(values) for name, values in each.items()}
    change = (numbers - drawn["word"]) / network.coarse.deviation[...][None]
    terms["coarse"] = jnp.mean(jnp.square(change))
    return weighted(terms, config) + config.weight_coarse * terms["coarse"], terms


def run(network: Both, drawn: dict[str, Array], config: EndToEndTraining
        ) -> tuple[Float[Array, "b o"], Float[Array, "b s s"], dict[str, Float[Array, " b"]]]:
    """r of examples, FineNet's displacements, and the terms of Eq. 14 of each."""
    _, sizes, drawn_head = coarse_of(config.coarse)
    start = jax.lax.stop_gradient(network.coarse.mean[...])
    picture = jax.lax.stop_gradient(shown(drawn_head, drawn["grey"], drawn["last"], start, sizes))
    numbers = network.coarse(picture, drawn["last"], drawn["first"], drawn_head).astype(jnp.float32)
    numbers = numbers if config.train_coarse else jax.lax.stop_gradient(numbers)
    head = task.training_head()

    def lit(example: dict[str, Array]) -> Any:
        told, camera = posed(example["numbers"], example["side"], example["square"], sizes)
        return lit_surface(head, {**example, **told}, camera)

    surfaces = jax.lax.map(lit, {**drawn, "numbers": numbers})
    found = network.fine(surfaces.planes[..., :network.fine.blocks[0][0].in_features]).astype(jnp.float32)
    terms = jax.vmap(lambda one, displacement, example: terms_of(one, displacement, example, config))(surfaces, found, drawn)
    return numbers, found, terms


def posed(numbers: Float[Array, " o"], side: Float[Array, ""], corner: Float[Array, " 2"], sizes: CoarseConfig
          ) -> tuple[dict[str, Array], Camera]:
    """Coefficients of r, depth and pixel size of its face, mm, and the weak-perspective camera, pixels of the picture (Eq. 5)."""
    face, middle = split_outputs(numbers, sizes.numbers), _middle()
    camera = camera_of(face.pose, middle, focal=jnp.float32(1.0), principal=jnp.full(2, 0.5), perspective=False)
    camera = rescaled(camera, side, corner)
    held = jax.lax.stop_gradient(camera)
    depth = held.translation[2] + jnp.dot(held.rotation[2], middle)
    return {"identity": face.identity, "expression": face.expression, "middle": depth,
            "pixel": held.translation[2] / held.focal}, camera


@functools.cache
def _middle() -> Float[Array, " 3"]:
    with jax.ensure_compile_time_eval():
        return hidden_modes(heads.load(task.HEAD)).middle


def score(network: Both, data: Data, config: EndToEndTraining) -> dict[str, float]:
    """Of held-out pictures: terms of Eq. 14, and how far CoarseNet went from where it started, deviations and share of r."""
    judged = examples(data.held, task.SCORED_SEED, range(len(data.held.fields)), crop=config.crop)
    numbers, _, terms = nnx.jit(lambda network, drawn: run(network, drawn, config))(network, jax.tree.map(jnp.asarray, judged))
    deviation, mean = (np.asarray(each[...])[None] for each in (network.coarse.deviation, network.coarse.mean))
    change, word = (np.asarray(numbers) - judged["word"]) / deviation, (judged["word"] - mean) / deviation
    return {**{name: float(np.mean(values)) for name, values in terms.items()}, "change": float(np.sqrt(np.mean(change**2))),
            "relative_change": float(np.sqrt(np.sum(change**2) / np.sum(word**2)))}


def pictures(network: Both, data: Data, config: EndToEndTraining) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """A row a held-out picture: photo, found displacement."""
    judged = examples(data.held, task.SCORED_SEED, range(task.DRAWN), crop=config.crop)
    found = np.asarray(nnx.jit(lambda network, drawn: run(network, drawn, config)[1])(network, jax.tree.map(jnp.asarray, judged)))
    shown_planes = judged["seen"], found / task.CONTRAST + 0.5
    sheet = np.concatenate([np.concatenate(list(each), axis=0) for each in shown_planes], axis=1)
    return {"crops": np.repeat(np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)}


RICHARDSON = Task(
    name="richardson", summary="CoarseNet and FineNet end to end, from shading alone", paper="Richardson et al. 2017, Section 4.4",
    configs=CONFIGS, build=build, load=load, batch=batch, loss=loss, score=score, pictures=pictures)
