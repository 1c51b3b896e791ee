"""What the training loop is told of D-Net, the first of DF2Net's three steps (Zeng et al. 2019, Sections 3.3 and 3.6).

The network that comes with fitkit starts from CoarseNet's head (`starts`) and is shown that head's face; the paper's sees the true
face, a little beside its place.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from fitkit.models.df2net.depth_frame import continued, depth_normals
from fitkit.models.df2net.dnet import PAPER, DNet, DNetSizes
from fitkit.models.df2net.inference import network_colours
from fitkit.recipes.train.df2net.appearance import worn_colours
from fitkit.recipes.train.df2net.examples import (
    DENSE_FIELDS,
    LEAST_FACE,
    Dense,
    Pictures,
    Square,
    dense_example,
    open_pictures,
    square_of,
)
from fitkit.recipes.train.df2net.losses import inner, normal_loss, reconstruction_loss
from fitkit.recipes.train.df2net.starts import coarse_depths, cut_start
from fitkit.recipes.train.task import Task, TrainingConfig, picture_at

# Chosen, not tuned
OF_EACH = 2                         # crops of a picture that is read
SCALE, SHIFT = 0.06, 0.025          # deviations of the crop's side (its logarithm) and place (sides)
MISPLACED = 0.015                   # sides: deviation of the mask's place, as that of a fit is wrong
SCORED, SHOWN = 96, 8               # held-out pictures that are judged, and those of them that are drawn
AT_ONCE = 8                         # pictures of one call of the compiled network


@dataclasses.dataclass(frozen=True, kw_only=True)
class DNetTraining(TrainingConfig):
    """A training of D-Net.

    Attributes:
        side: of the network's pictures, pixels.
        width: channels of its first level.
        levels: of the network.
        block: side of blocks of pixels that enter as channels of one.
        dropout: share of numbers dropped on the way up.
        started: whether the network is given the depth of CoarseNet's head.
        most_yaw: degrees; faces turned by more are left out.
        weight_reconstruction: of Eq. 1.
        weight_normals: of Eq. 2.
    """

    side: int
    width: int
    levels: int
    block: int
    dropout: float
    started: bool
    most_yaw: float = 90.0
    weight_reconstruction: float = 10.0
    weight_normals: float = 0.1

    @property
    def sizes(self) -> DNetSizes:
        """Of the network."""
        return DNetSizes(**described(self))


def described(config: DNetTraining) -> dict[str, Any]:
    """The network's sizes: fields of `DNetSizes`."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(DNetSizes)}


CONFIGS = {
    # Section 3.6: 10 epochs of 70,000 pictures, 1e-3, falling to a hundredth (by tenths at epochs 8 and 9 in the paper)
    "paper": DNetTraining(batch=64, steps=10_940, rate=1e-3, final=0.01, **dataclasses.asdict(PAPER)),
    "small": DNetTraining(batch=16, steps=6_000, rate=2e-3, warmup=100, final=0.02, clip=1.0, **dataclasses.asdict(DNetSizes())),
}


class Started(NamedTuple):
    """Pictures, and where the network starts on each."""

    pictures: Pictures
    starts: Float[np.ndarray, "n s s"] | None       # `coarse_depths`; None: it sees the picture alone


def load(runs: Sequence[Path], held: Sequence[Path], config: DNetTraining) -> tuple[Started, Started]:
    """The runs, opened, and what CoarseNet sees in their pictures.

    Raises:
        FitkitError: as `open_pictures` and `coarse_depths`.
    """
    trained, judged = (Started(pictures, coarse_depths(pictures) if config.started else None) for pictures in open_pictures(
        runs, held, fields=DENSE_FIELDS, most_yaw=config.most_yaw))
    return trained, judged


def batch(data: tuple[Started, Started], config: DNetTraining, places: range) -> dict[str, np.ndarray]:
    """Crops at these places; `OF_EACH` in a row are of one picture, which is read once."""
    reads = range(places.start // OF_EACH, -(-places.stop // OF_EACH))
    pictures, starts = data[0]
    made = []
    for read, number in zip(reads, picture_at(reads, count=len(pictures), seed=config.seed), strict=True):
        fields, start = pictures.read(int(number)), None if starts is None else starts[number]
        made += [draw_example(np.random.default_rng((config.seed, place)), fields, start, side=config.side)
                 for place in range(max(places.start, read * OF_EACH), min(places.stop, (read + 1) * OF_EACH))]
    return {name: np.stack([each[name] for each in made]) for name in made[0]}


def draw_example(
    rng: np.random.Generator, fields: dict[str, np.ndarray], start: Float[np.ndarray, "s s"] | None, *, side: int
) -> dict[str, np.ndarray]:
    """One crop of a picture, a little beside its place: `picture`, `shown`, `depth`, `mask`, `start`, and `key`, of dropout."""
    centre, length = square_of(fields)
    square = Square(centre + SHIFT * length * rng.normal(size=2), length * float(np.exp(SCALE * rng.normal())))
    face = dense_example(fields, square, side=side)
    made = arrays_of(rng, face) if start is None else arrays_from(fields, face, start, square)
    made["picture"] = worn_colours(rng, face.colour)
    if rng.uniform() < 0.5:
        made = {name: values[:, ::-1] for name, values in made.items()}
    key = {"key": rng.integers(2**32, size=2, dtype=np.uint32)}
    return {name: np.ascontiguousarray(values) for name, values in made.items()} | key


def arrays_of(rng: np.random.Generator, face: Dense) -> dict[str, np.ndarray]:
    """A crop masked a little beside the face, as a fit would mask it."""
    across, down = np.rint(MISPLACED * len(face.face) * rng.normal(size=2)).astype(int)
    shown = np.roll(face.face, (down, across), (0, 1))
    mask = face.face * np.float32(face.face.mean() > LEAST_FACE)
    return {"shown": shown, "depth": face.depth, "mask": mask.astype(np.float32)}


def arrays_from(fields: dict[str, np.ndarray], face: Dense, start: Float[np.ndarray, "s s"], square: Square
                ) -> dict[str, np.ndarray]:
    """A crop masked by the face of CoarseNet's head, and that head's depth."""
    depth, shown = cut_start(start, fields, square, side=len(face.face))
    mask = face.face & shown
    return {"shown": shown, "depth": face.depth, "mask": (mask * (mask.mean() > LEAST_FACE)).astype(np.float32), "start": depth}


def loss(network: DNet, batch: Any, config: DNetTraining) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """10 L_rec + 0.1 L_nor (Section 3.3)."""
    drop = batch["key"][0].astype(jnp.uint32) if config.dropout else None
    found = _depth(network, batch, drop=drop).astype(jnp.float32)
    normals, truth = (depth_normals(depth, side=config.side) for depth in (found, batch["depth"]))
    terms = {"reconstruction": reconstruction_loss(found, batch["depth"], batch["mask"]),
             "normals": normal_loss(normals, truth, batch["mask"])}
    return config.weight_reconstruction * terms["reconstruction"] + config.weight_normals * terms["normals"], terms


def _depth(network: DNet, batch: Any, *, drop: Array | None = None) -> Float[Array, "b h w"]:
    """What the network says of a batch."""
    start = jax.vmap(continued)(batch["start"], batch["shown"]) if "start" in batch else None
    found: Array = network(network_colours(batch["picture"], batch["shown"]), start=start, drop=drop)
    return found


def score(network: DNet, data: tuple[Started, Started], config: DNetTraining) -> dict[str, float]:
    """Depth error in hundredths of half a crop, about millimetres, as it is and after a line; error of normals, degrees.

    Of a network that is started, also that of its start after a line.
    """
    judged = _judged(data[1], config, SCORED)
    found, truth, mask = _found(network, judged), judged["depth"], judged["mask"] > 0
    gaps = [np.abs(one - true)[inside].mean() for one, true, inside in zip(found, truth, mask, strict=True)]
    normals = [np.asarray(depth_normals(jnp.asarray(depth), side=config.side)) for depth in (found, truth)]
    angle = np.degrees(np.arccos(np.clip(np.sum(normals[0] * normals[1], axis=-1), -1, 1)))
    before = {"start_after_line": _after_line(judged["start"], truth, mask)} if "start" in judged else {}
    return {"depth": 100 * float(np.mean(gaps)), "depth_after_line": _after_line(found, truth, mask),
            "normals_degrees": float(angle[np.asarray(inner(jnp.asarray(judged["mask"]))) > 0].mean()), **before}


def _after_line(found: Float[np.ndarray, "n s s"], truth: Float[np.ndarray, "n s s"], mask: Bool[np.ndarray, "n s s"]) -> float:
    """Mean error in hundredths of half a crop after each picture's best scale and shift."""
    gaps = []
    for one, true, inside in zip(found, truth, mask, strict=True):
        gaps.append(np.abs(np.polyval(np.polyfit(one[inside], true[inside], 1), one[inside]) - true[inside]).mean())
    return 100 * float(np.mean(gaps))


def pictures(network: DNet, data: tuple[Started, Started], config: DNetTraining) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """A row a held-out crop: colours, true depth, found depth, and the normals of both."""
    judged = _judged(data[1], config, SHOWN)
    depths = judged["depth"], _found(network, judged)
    inside = judged["mask"][..., None]
    shown = [judged["picture"] * inside]
    shown += [np.repeat((depth[..., None] + 1) * inside, 3, axis=-1) for depth in depths]
    shown += [(np.asarray(depth_normals(jnp.asarray(depth), side=config.side)) + 1) / 2 * inside for depth in depths]
    sheet = np.concatenate([np.concatenate(list(each), axis=0) for each in shown], axis=1)
    return {"crops": np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)}


def _judged(held: Started, config: DNetTraining, count: int) -> dict[str, np.ndarray]:
    """The first held-out pictures, nothing of them changed."""
    made = []
    for number in range(min(count, len(held.pictures))):
        fields = held.pictures.read(number)
        square = square_of(fields)
        face = dense_example(fields, square, side=config.side)
        each = {"shown": face.face, "depth": face.depth, "mask": face.face.astype(np.float32)} if held.starts is None else (
            arrays_from(fields, face, held.starts[number], square))
        if each["mask"].mean() > LEAST_FACE:
            made.append(each | {"picture": face.colour})
    return {name: np.stack([each[name] for each in made]) for name in made[0]}


def _found(network: DNet, judged: dict[str, np.ndarray]) -> Float[np.ndarray, "n s s"]:
    run = nnx.jit(_depth)
    parts = [slice(first, first + AT_ONCE) for first in range(0, len(judged["picture"]), AT_ONCE)]
    return np.concatenate([np.asarray(run(network, {name: values[part] for name, values in judged.items()}), np.float32)
                           for part in parts])


DNET = Task(
    name="dnet", summary="dense depth of a face from one picture", paper="Zeng et al. 2019 (DF2Net), Section 3.3", configs=CONFIGS,
    build=lambda config, rngs: DNet(config.sizes, rngs=rngs), load=load, batch=batch, loss=loss, score=score, pictures=pictures,
    described=described)
