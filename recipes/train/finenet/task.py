"""What the training loop is told of FineNet: its configurations, crops, loss, scores and pictures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from fitkit.models.finenet.network import PAPER, FineNet, FineNetSizes
from fitkit.recipes.train.finenet.data import Crops, draw_crops, open_crops
from fitkit.recipes.train.finenet.losses import euclidean_loss, slope_loss
from fitkit.recipes.train.task import Task, TrainingConfig

# Chosen, not tuned
SCORED, SHOWN = 48, 6       # held-out crops that are judged, and those of them that are drawn
SCORED_SEED = 1             # of what is drawn for them, whatever the training's
AT_ONCE = 8                 # crops of one call of the compiled network
STEEP = 0.05                # slope from which a pixel counts as wrinkled
LEVEL = 0.01                # slope up to which it counts as flat
CONTRAST = 4.0              # pixels of displacement from black to white in a picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineNetTraining(TrainingConfig):
    """A training of FineNet.

    Attributes:
        planes: how many planes the network is given (`models.finenet.inputs.PLANES`): in the paper the first two.
        widths: channels of each of the network's levels.
        block: side of blocks of pixels that enter the network as channels of one.
        crop: side of the crops, pixels.
        flat: share of crops that are of pictures without relief, where there are such.
        weight_slopes: weight of the slopes' loss beside the Euclidean one; 0 in the paper.
    """

    planes: int
    widths: tuple[int, ...]
    block: int
    crop: int
    flat: float = 0.25
    weight_slopes: float = 0.0


CONFIGS = {
    # Guo 2018, Section IX: Adam, batch 100, 30,000 steps, 5e-5
    "paper": FineNetTraining(batch=100, steps=30_000, rate=5e-5, **dataclasses.asdict(PAPER), crop=256),
    "small": FineNetTraining(batch=16, steps=4_000, rate=1.5e-3, warmup=100, final=0.02, clip=1.0,
                             **dataclasses.asdict(FineNetSizes()), crop=96, weight_slopes=10.0),
}


def build(config: FineNetTraining, rngs: nnx.Rngs) -> FineNet:
    """A new network."""
    return FineNet(FineNetSizes(**described(config)), rngs=rngs)


def described(config: FineNetTraining) -> dict[str, Any]:
    """The network's sizes: fields of `FineNetSizes`."""
    return {"planes": config.planes, "widths": config.widths, "block": config.block}


def load(runs: Sequence[Path], held: Sequence[Path], config: FineNetTraining) -> Crops:
    """The runs, opened; nothing is read yet."""
    return open_crops(runs, held, flat=config.flat)


def batch(data: Crops, config: FineNetTraining, places: range) -> dict[str, np.ndarray]:
    """Crops at these places."""
    return draw_crops(data.trained, config.seed, places, crop=config.crop)


def loss(network: FineNet, batch: Any, config: FineNetTraining) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The Euclidean loss and that of the slopes, pixels."""
    found = network(batch["input"][..., :config.planes]).astype(jnp.float32)
    terms = {"euclidean": euclidean_loss(found, batch["target"], batch["mask"]),
             "slopes": slope_loss(found, batch["target"], batch["mask"])}
    return terms["euclidean"] + config.weight_slopes * terms["slopes"], terms


def score(network: FineNet, data: Crops, config: FineNetTraining) -> dict[str, float]:
    """Share of the normals' error in wrinkles that is removed, slopes' error on flat skin, and the displacement's correlation."""
    judged = _judged(data, config)
    found, target = _found(network, judged["input"][..., :config.planes]), judged["target"]
    inside = judged["mask"] > 0
    slope, gap = (np.stack(np.gradient(values, axis=(1, 2))) for values in (target, found - target))
    before, after = (np.degrees(np.arctan(np.linalg.norm(each, axis=0))) for each in (slope, gap))
    steep, level = (np.linalg.norm(slope, axis=0) > STEEP) & inside, (np.linalg.norm(slope, axis=0) < LEVEL) & inside
    return {"error_removed": float(1 - after[steep].mean() / before[steep].mean()), "flat_degrees": float(after[level].mean()),
            "flat_pixels": float(np.sqrt(np.mean(found[level] ** 2))),
            "correlation": float(np.corrcoef(found[steep], target[steep])[0, 1])}


def pictures(network: FineNet, data: Crops, config: FineNetTraining) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """A row a held-out crop: brightness, relative depth, true displacement, found displacement."""
    judged = {name: values[:SHOWN] for name, values in _judged(data, config, count=SHOWN).items()}
    found = _found(network, judged["input"][..., :config.planes])
    shown = [(judged["input"][..., k] + 1) / 2 for k in range(2)] + [each / CONTRAST + 0.5 for each in (judged["target"], found)]
    sheet = np.concatenate([np.concatenate(list(each), axis=0) for each in shown], axis=1)
    return {"crops": np.repeat(np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)}


def _judged(data: Crops, config: FineNetTraining, *, count: int = SCORED) -> dict[str, np.ndarray]:
    return draw_crops(data.held, SCORED_SEED, range(count), crop=config.crop)


def _found(network: FineNet, planes: Float[np.ndarray, "n h w p"]) -> Float[np.ndarray, "n h w"]:
    run = nnx.jit(lambda network, planes: network(planes))
    return np.concatenate([np.asarray(run(network, planes[start:start + AT_ONCE]), np.float32)
                           for start in range(0, len(planes), AT_ONCE)])


FINENET = Task(
    name="finenet", summary="wrinkles from a grey photo and the coarse depth of the face", paper="Guo et al. 2018, Section VIII",
    configs=CONFIGS, build=build, load=load, batch=batch, loss=loss, score=score, pictures=pictures, described=described)
