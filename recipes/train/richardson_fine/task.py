"""What the training loop is told of Richardson's FineNet: its configurations, examples, loss, scores and pictures."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from fitkit.errors import FitkitError
from fitkit.labels.hidden_modes import folded_model
from fitkit.models import heads
from fitkit.models.parameters import with_parameters
from fitkit.models.richardson.fine_inference import load_fine
from fitkit.models.richardson.fine_network import PAPER, HypercolumnNet, HypercolumnSizes
from fitkit.models.richardson.vgg_face import start_from_trunk
from fitkit.recipes.train.finenet.data import Crops, open_crops
from fitkit.recipes.train.richardson_fine.criterion import CriterionConfig, LitSurface, lit_surface, pinhole, terms_of, weighted
from fitkit.recipes.train.richardson_fine.data import draw_examples, with_coefficients
from fitkit.recipes.train.richardson_fine.surface import CoarseHead, coarse_head
from fitkit.recipes.train.task import Task

HEAD = "makehuman"
# Chosen, not tuned
SCORED, DRAWN = 48, 6       # held-out crops that are judged, and those of them that are drawn
SCORED_SEED = 1             # of what is drawn for them, whatever the training's
AT_ONCE = 8                 # crops of one call of the compiled network
STEEP, LEVEL = 0.05, 0.01   # slopes from which a pixel counts as wrinkled, and up to which as flat
CONTRAST = 4.0              # pixels of displacement from black to white in a picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class HypercolumnTraining(CriterionConfig):
    """A training of FineNet.

    Attributes:
        planes: how many planes the network is given: the paper's two, brightness and depth, or all nine.
        widths: channels of each of the network's blocks.
        regressor: channels of the 1x1 convolutions before the last.
        crop: side of the crops, pixels.
        flat: share of crops that are of pictures without relief, where there are such.
        trunk: name of an imported trunk whose blocks the network starts from: "vggface" (`fitkit assets import vggface`), the
            paper's, in the paper's widths; none for blocks that start at random.
        start: weight file of the same network, from which it goes on; empty for an untrained one.
    """

    planes: int
    widths: tuple[int, int, int]
    regressor: tuple[int, ...]
    crop: int
    flat: float = 0.15
    trunk: str = ""
    start: str = ""


CONFIGS = {
    # Richardson 2017, Eq. 14: 1, 5e-3 and 1 with intensities from 0 to 255; optimiser, rate, batch and steps are not told
    "paper": HypercolumnTraining(batch=32, steps=100_000, rate=1e-4, **dataclasses.asdict(PAPER), crop=200, weight_shading=255.0**2,
                                 weight_fidelity=5e-3, weight_smoothness=1.0, gain_reach=None, shading_scale=None),
    "small": HypercolumnTraining(batch=8, steps=1_800, rate=2e-3, warmup=100, final=0.02, clip=1.0,
                                 **dataclasses.asdict(HypercolumnSizes()), crop=128),
}


@functools.cache
def training_head() -> CoarseHead:
    """The head of the labels, folded."""
    with jax.ensure_compile_time_eval():        # also where a step is being compiled
        return coarse_head(folded_model(heads.load(HEAD)))


def build(config: HypercolumnTraining, rngs: nnx.Rngs) -> HypercolumnNet:
    """A new network.

    Raises:
        FitkitError: E_FIELD, the sizes are not those of trunk or start; E_DATA, they cannot be read.
    """
    network = HypercolumnNet(HypercolumnSizes(planes=config.planes, widths=config.widths, regressor=config.regressor), rngs=rngs)
    if config.trunk:
        start_from_trunk(network, config.trunk)
    if config.start:
        with jax.ensure_compile_time_eval():        # the loop compiles this
            weights, sizes = load_fine(path=Path(config.start))
        if dataclasses.astuple(sizes) != (config.planes, tuple(config.widths), tuple(config.regressor)):
            raise FitkitError("E_FIELD", f"start: {config.start} holds weights of {sizes}; train with those sizes")
        return with_parameters(network, weights)
    return network


def described(config: HypercolumnTraining) -> dict[str, Any]:
    """The network's sizes: fields of `HypercolumnSizes`."""
    return {"planes": config.planes, "widths": config.widths, "regressor": config.regressor}


def load(runs: Sequence[Path], held: Sequence[Path], config: HypercolumnTraining) -> Crops:
    """The runs, opened; nothing is read yet."""
    return with_coefficients(open_crops(runs, held, flat=config.flat))


def batch(data: Crops, config: HypercolumnTraining, places: range) -> dict[str, np.ndarray]:
    """Examples at these places."""
    return draw_examples(data.trained, config.seed, places, crop=config.crop)


def loss(network: HypercolumnNet, batch: Any, config: HypercolumnTraining) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Eq. 14 over a batch."""
    examples, lit = lit_batch(batch)
    found = network(lit.planes[..., :config.planes]).astype(jnp.float32)
    each = jax.vmap(lambda one, displacement, example: terms_of(one, displacement, example, config))(lit, found, examples)
    terms = {name: jnp.mean(values) for name, values in each.items()}
    return weighted(terms, config), terms


def lit_batch(batch: Any) -> tuple[dict[str, Array], LitSurface]:
    """Examples as arrays, and their coarse faces."""
    examples, head = {name: jnp.asarray(values) for name, values in batch.items()}, training_head()
    lit: LitSurface = jax.lax.map(lambda example: lit_surface(head, example, pinhole(example)), examples)
    return examples, lit


def score(network: HypercolumnNet, data: Crops, config: HypercolumnTraining) -> dict[str, float]:
    """Against the truth, which no loss sees: share of the normals' error in wrinkles that is removed, false slopes on flat skin,
    the displacement's correlation; and the terms of the loss."""
    judged = draw_examples(data.held, SCORED_SEED, range(SCORED), crop=config.crop)
    found, skin, terms = found_in(network, judged, config)
    inside = (skin > 0.5) & (judged["shown"] > 0)
    target = judged["target"]
    slope, gap = (np.stack(np.gradient(values, axis=(1, 2))) for values in (target, found - target))
    before, after = (np.degrees(np.arctan(np.linalg.norm(each, axis=0))) for each in (slope, gap))
    steep, level = (np.linalg.norm(slope, axis=0) > STEEP) & inside, (np.linalg.norm(slope, axis=0) < LEVEL) & inside
    return {"error_removed": float(1 - after[steep].mean() / before[steep].mean()), "flat_degrees": float(after[level].mean()),
            "flat_pixels": float(np.sqrt(np.mean(found[level] ** 2))),
            "correlation": float(np.corrcoef(found[steep], target[steep])[0, 1]), **terms}


def found_in(network: HypercolumnNet, judged: dict[str, np.ndarray], config: HypercolumnTraining
             ) -> tuple[Float[np.ndarray, "n s s"], Float[np.ndarray, "n s s"], dict[str, float]]:
    """Displacements of examples, their skin, and the means of the loss's terms."""
    @nnx.jit
    def run(network: HypercolumnNet, part: Any) -> Any:
        examples, lit = lit_batch(part)
        found = network(lit.planes[..., :config.planes])
        return found, lit.surface.skin, jax.vmap(lambda one, moved, example: terms_of(one, moved, example, config))(
            lit, found, examples)

    parts = [run(network, {name: values[start:start + AT_ONCE] for name, values in judged.items()})
             for start in range(0, len(judged["picture"]), AT_ONCE)]
    found, skin, terms = jax.tree.map(lambda *each: np.concatenate(each), *parts)
    return found, skin, {name: float(values.mean()) for name, values in terms.items()}


def pictures(network: HypercolumnNet, data: Crops, config: HypercolumnTraining) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """A row a held-out crop: photo, skin, true displacement, found displacement."""
    judged = draw_examples(data.held, SCORED_SEED, range(AT_ONCE), crop=config.crop)
    found, skin, _ = found_in(network, judged, config)
    shown = [judged["seen"], skin, judged["target"] / CONTRAST + 0.5, found / CONTRAST + 0.5]
    sheet = np.concatenate([np.concatenate(list(each[:DRAWN]), axis=0) for each in shown], axis=1)
    return {"crops": np.repeat(np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)}


RICHARDSON_FINE = Task(
    name="richardson_fine", summary="wrinkles from a grey photo and coarse depth, learned from shading alone",
    paper="Richardson et al. 2017, Section 4", configs=CONFIGS, build=build, load=load, batch=batch, loss=loss, score=score,
    pictures=pictures, described=described)
