"""What the training loop is told of Emotion-Net: configurations, pictures, loss, scores.

A picture is the square around a face, grey, as `fitkit.models.expression.features` cuts it; in training it is moved, scaled,
turned, mirrored and lit otherwise. Emotions follow from the ARKit weights of the labels (`recipes.synthesize.emotions`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from fitkit.errors import FitkitError
from fitkit.labels.reading import open_labels, source_of
from fitkit.models import heads
from fitkit.models.coarsenet.crop import FaceCrop, cut_crop
from fitkit.models.expression.emotion_net import EmotionNet, EmotionNetSizes, SeenEmotion
from fitkit.models.finenet.inputs import GREY
from fitkit.morphable.expressions import expression_metric, mirrored_names
from fitkit.recipes.synthesize.emotions import CLASSES, emotion_of
from fitkit.recipes.train.task import Task, TrainingConfig, picture_at
from fitkit.types import MorphableModel

# Chosen, not tuned
MARGIN = 1.25               # side of a stored picture over that of the crop: room to move it
TIGHT = 1.1                 # side of the crop over the box of the face's 468 points
HELD_SHARE = 1 / 16         # of a run's pictures, its last, where no run of held-out pictures is given
MOVED, SCALED, TURNED = 0.06, 0.08, 8.0     # deviations: of place and size, in sides; of roll, degrees
EXPOSED, CONTRASTED = 0.3, 0.2              # deviations of the logarithms of brightness and contrast
AT_ONCE = 100               # pictures of one call of the compiled network


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmotionNetTraining(TrainingConfig):
    """A training of Emotion-Net.

    Attributes:
        side: of the pictures, pixels.
        width: channels of the network's first stage.
        dense: its dense layers.
        classes: its emotions.
        regressed: numbers besides the emotions: 52 of the labels' weights, or none.
        dropout: factor of the shares that the network drops.
        balanced: whether a batch holds as many of each emotion (the authors' code); else as they come.
        weight_first: of the squared kernel of the first convolution (the authors' code: 0.01).
        weight_vertices: of the squared distance of the face's vertices, mm^2, as the regressed weights have them; 0 in the paper.
    """

    side: int = 64
    width: int = 64
    dense: tuple[int, int, int] = (512, 256, 128)
    classes: int = len(CLASSES)
    regressed: int = 0
    dropout: float = 1.0
    balanced: bool = True
    weight_first: float = 0.01
    weight_vertices: float = 0.0

    @property
    def network(self) -> EmotionNetSizes:
        """The network's sizes."""
        return EmotionNetSizes(side=self.side, width=self.width, dense=self.dense, classes=self.classes, regressed=self.regressed,
                               dropout=self.dropout)


CONFIGS = {
    # the authors' code: batches of 160, 100 epochs of 1,000 steps, Adam 1e-3; the paper: 48 pixels, 11 classes, 20 epochs
    "paper": EmotionNetTraining(batch=160, steps=100_000, rate=1e-3),
    "small": EmotionNetTraining(batch=64, steps=1_500, rate=2e-3, warmup=100, final=0.02, weight_first=0.0, weight_vertices=0.3,
                                side=48, width=12, dense=(128, 128, 128), regressed=52, dropout=0.2),
}


@dataclasses.dataclass(frozen=True, eq=False)
class FacePictures:
    """Pictures of one part: trained on, or held out."""

    pictures: UInt8[np.ndarray, "N s s"]     # grey, `MARGIN` times as wide as the crop
    emotion: Int[np.ndarray, " N"]           # index of `CLASSES`
    target: Float[np.ndarray, "N E"]         # ARKit weights in mm of the face's vertices (`expression_metric`)
    mirrored: Float[np.ndarray, "N E"]       # the same of the mirror image

    def __len__(self) -> int:
        """How many."""
        return len(self.emotion)


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """What is trained on, and what is held out."""

    train: FacePictures
    held: FacePictures


def load(runs: Sequence[Path], held: Sequence[Path], config: EmotionNetTraining) -> Parts:
    """The runs, decoded.

    Raises:
        FitkitError: as `open_labels`; E_USAGE, the runs are of several heads.
    """
    names = {str(source_of(open_labels(run), 0)["head"]) for run in [*runs, *held]}
    if len(names) != 1:
        raise FitkitError("E_USAGE", f"the runs are of several heads ({', '.join(sorted(names))}); give runs of one")
    model, side = heads.load(names.pop()), config.side
    every = [_read(run, side) for run in runs]
    if held:
        return Parts(_part(every, model), _part([_read(run, side) for run in held], model))
    kept = [len(pictures) - max(int(HELD_SHARE * len(pictures)), 1) for pictures, _ in every]
    return Parts(*(_part([(pictures[some], weights[some]) for (pictures, weights), some in zip(every, slices, strict=True)], model)
                   for slices in ([slice(count) for count in kept], [slice(count, None) for count in kept])))


def _read(run: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey pictures and ARKit weights of a run."""
    source = open_labels(run, fields=("picture", "points468", "expression"))
    wide = round(MARGIN * side)
    pictures, weights = np.empty((len(source), wide, wide), np.uint8), []
    for row in range(len(source)):
        read = source[row]
        low, high = read["points468"].min(axis=0), read["points468"].max(axis=0)
        extent = MARGIN * TIGHT * float((high - low).max())
        crop = FaceCrop(corner=((low + high - extent) / 2).astype(np.float32), side=extent)
        pictures[row] = np.rint(cut_crop(read["picture"], crop, side=wide) @ np.array(GREY))
        weights.append(read["expression"])
    return pictures, np.stack(weights)


def _part(read: Sequence[tuple[np.ndarray, np.ndarray]], model: MorphableModel) -> FacePictures:
    pictures, weights = (np.concatenate(values) for values in zip(*read, strict=True))
    names, table = model.expression_names, expression_metric(model)
    return FacePictures(pictures, emotion_of(weights, names), (weights @ table.T).astype(np.float32),
                        (weights[:, mirrored_names(names)] @ table.T).astype(np.float32))


def batch(data: Parts, config: EmotionNetTraining, places: range) -> dict[str, np.ndarray]:
    """Pictures at these places of the endless row, and a random key each."""
    rows = _balanced(data.train, config, places) if config.balanced else picture_at(places, count=len(data.train), seed=config.seed)
    keys = [np.random.default_rng((config.seed, place)).integers(2**32, size=2, dtype=np.uint32) for place in places]
    part = data.train
    return {"picture": part.pictures[rows], "emotion": part.emotion[rows], "target": part.target[rows],
            "mirrored": part.mirrored[rows], "key": np.stack(keys)}


def _balanced(part: FacePictures, config: EmotionNetTraining, places: range) -> Int[np.ndarray, " b"]:
    """Rows of pictures whose emotions take turns; those of an emotion in shuffled order, again and again."""
    shown = np.unique(part.emotion)
    rows = np.empty(len(places), np.int64)
    for turn, emotion in enumerate(shown):
        own = np.flatnonzero(part.emotion == emotion)
        some = np.flatnonzero(np.array(places) % len(shown) == turn)
        turns = np.array(places)[some] // len(shown)
        if len(some):
            rows[some] = own[picture_at(range(turns[0], turns[-1] + 1), count=len(own), seed=config.seed + turn)]
    return rows


def loss(network: EmotionNet, batch: Mapping[str, Array], config: EmotionNetTraining
         ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Cross entropy of the emotions, and what is added to it."""
    keys = jax.vmap(jax.random.wrap_key_data)(batch["key"])
    pictures, mirrored = jax.vmap(lambda key, picture: worn(key, picture, side=config.side))(keys, batch["picture"])
    seen = network(keys[0], pictures)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(seen.logits.astype(jnp.float32)), batch["emotion"][:, None], axis=1)
    terms = {"emotion": -jnp.mean(chosen), "first": jnp.sum(jnp.square(network.first.kernel[...]))}
    total = terms["emotion"] + config.weight_first * terms["first"]
    if config.weight_vertices:
        target = jnp.where(mirrored[:, None], batch["mirrored"], batch["target"])
        terms["vertices"] = jnp.mean(jnp.sum(jnp.square(seen.regressed.astype(jnp.float32) - target), axis=1))
        total = total + config.weight_vertices * terms["vertices"]
    return total, terms


def worn(key: Array, picture: Float[Array, "w w"], *, side: int) -> tuple[Float[Array, "s s"], Array]:
    """A picture as it is trained on, in [-1, 1], and whether it is mirrored: moved, scaled, turned and lit at random."""
    for_place, for_light, for_mirror = jax.random.split(key, 3)
    x, y, size, turn = jax.random.normal(for_place, (4,)) * jnp.array([MOVED, MOVED, SCALED, np.radians(TURNED)])
    mirrored = jax.random.bernoulli(for_mirror)
    step = (jnp.arange(side) + 0.5) / side - 0.5
    across, down = jnp.meshgrid(step * jnp.where(mirrored, -1.0, 1.0), step)
    cos, sin, middle, scale = jnp.cos(turn), jnp.sin(turn), len(picture) / 2 - 0.5, side * jnp.exp(size)
    places = [middle + scale * (sin * across + cos * down + y), middle + scale * (cos * across - sin * down + x)]
    moved = jax.scipy.ndimage.map_coordinates(picture.astype(jnp.float32) / 127.5 - 1, places, order=1, mode="nearest")
    brightness, contrast = jax.random.normal(for_light, (2,)) * jnp.array([EXPOSED, CONTRASTED])
    return jnp.clip(moved * jnp.exp(contrast) + brightness, -1.0, 1.0), mirrored


def score(network: EmotionNet, data: Parts, config: EmotionNetTraining) -> dict[str, float]:
    """Share of held-out emotions told, of all and of each, and the vertices' rms error beside that of a face at rest."""
    held = data.held
    seen = see(network, inner(held.pictures, config.side))
    told = np.argmax(seen.logits, axis=1) == held.emotion
    found = {"accuracy": float(told.mean())}
    found |= {f"accuracy_{name}": float(told[held.emotion == row].mean()) for row, name in enumerate(CLASSES)
              if np.any(held.emotion == row)}
    if config.weight_vertices:
        found |= {"vertices_mm": float(np.sqrt(np.mean(np.sum((seen.regressed - held.target) ** 2, axis=1)))),
                  "at_rest_mm": float(np.sqrt(np.mean(np.sum(held.target**2, axis=1))))}
    return found


def inner(pictures: UInt8[np.ndarray, "N w w"], side: int) -> Float[np.ndarray, "N s s"]:
    """The middle of stored pictures, in [-1, 1]."""
    start = (pictures.shape[1] - side) // 2
    return pictures[:, start:start + side, start:start + side].astype(np.float32) / 127.5 - 1


def see(network: EmotionNet, pictures: Float[np.ndarray, "N s s"]) -> SeenEmotion:
    """What the network says of many pictures, as NumPy arrays."""
    run = nnx.jit(lambda network, some: network(None, some))
    made = [run(network, pictures[start:start + AT_ONCE]) for start in range(0, len(pictures), AT_ONCE)]
    seen: SeenEmotion = jax.tree.map(lambda *parts: np.concatenate([np.asarray(part) for part in parts]), *made)
    return seen


def pictures(network: EmotionNet, data: Parts, config: EmotionNetTraining) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """Held-out faces, a row for each emotion that the network tells them to show."""
    side, most = config.side, 10
    shown = inner(data.held.pictures, side)
    told = np.argmax(see(network, shown).logits, axis=1)
    sheet = np.full((config.classes * side, most * side), 255, np.uint8)
    for row in range(config.classes):
        for column, which in enumerate(np.flatnonzero(told == row)[:most]):
            sheet[row * side:(row + 1) * side, column * side:(column + 1) * side] = (shown[which] + 1) * 127.5
    return {"held_out": np.repeat(sheet[..., None], 3, axis=-1)}


def build(config: EmotionNetTraining, rngs: nnx.Rngs) -> EmotionNet:
    """A new network."""
    return EmotionNet(config.network, rngs=rngs)


def described(config: EmotionNetTraining) -> dict[str, Any]:
    """The network's sizes: fields of `EmotionNetSizes`."""
    return dataclasses.asdict(config.network)


EMOTION_NET = Task(
    name="emotion_net", summary="emotions, and features of expression, from a grey picture of a face",
    paper="Chen et al. 2019, Section 3.2", configs=CONFIGS, build=build, load=load, batch=batch, loss=loss, score=score,
    pictures=pictures, described=described)
