"""What the training loop is told of DFDN (Chen et al. 2019, Section 4): configurations, patches, the loss of Eq. 6, scores.

An area of the face has a network of its own: forehead and mouth are trained one after the other. The schedule is the paper's: PDIM
alone, then both on labelled patches, then labelled ones and photographs in turn, under a rate that is held and falls along a line.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from fitkit.io.tensor_files import read_tensors
from fitkit.models.dfdn.inputs import MIRRORED, UNIT_TEXEL
from fitkit.models.dfdn.networks import PAPER, UNIT, Dfdn, DfdnSizes, PatchGan
from fitkit.models.shipped import MAX_BYTES
from fitkit.recipes.train.dfdn import losses
from fitkit.recipes.train.dfdn.examples import DRAWING, open_runs
from fitkit.recipes.train.dfdn.patches import SKIN, Patches, kept_patches, labelled_patches, photograph_patches
from fitkit.recipes.train.finenet.losses import slope_loss
from fitkit.recipes.train.task import Task, TrainingConfig, picture_at

# Chosen, not tuned
SCORED, SHOWN = 192, 8      # held-out patches that are judged, and those of them that are drawn
AT_ONCE = 16                # patches of one call of the compiled network
STEEP = 0.05                # slope from which a texel counts as wrinkled
LEVEL = 0.01                # slope up to which it counts as flat
HELD_SEED = 1               # of what is drawn for held-out pictures, whatever the training's
HELD_PICTURES = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class DfdnTraining(TrainingConfig):
    """A training of DFDN.

    Attributes:
        area: of the face, `forehead` or `mouth`: mouth and cheeks; `both` for half the patches of each.
        side: of a patch, texels.
        planes: how many planes the networks are given (`models.dfdn.inputs.PLANES`): in the paper the first.
        components: PCA coefficients.
        pdim_width: channels of the first layer of PDIM's U-Net; 0 for no PDIM, and no PCA.
        pdim_levels: halvings of it.
        pool: side of the blocks of its map whose means the dense layers are given.
        hidden: sizes of the dense layers before the last.
        pdrm_width: channels of the first layer of PDRM.
        pdrm_levels: halvings of it.
        pdrm_fine: channels of its layers at the patch's own texels; 0 for none, as in the paper.
        judge_width: channels of the discriminator's first layer.
        basis: file of the PCA's components (`recipes.train.dfdn.basis`); empty for cosines.
        pictures: labelled pictures that patches are taken of.
        photographs: pictures of `vary` that patches are taken of; 0 for no appearance loss.
        turn: from `labelled_alone` on, one patch in so many is of a photograph; in the paper 2.
        flat: share of labelled pictures that are without relief, where there are such.
        pdim_alone: share of the steps at the beginning in which PDIM alone learns.
        labelled_alone: share of them in which nothing but labelled patches is seen.
        weight_geometry: of Eq. 8 beside the adversaries' loss; lambda of Eq. 6.
        weight_appearance: of Eq. 14 in Eq. 8; eta.
        weight_adversary: of Eq. 7; 0 for none.
        weight_slopes: of the loss of slopes beside Eq. 10; 0 in the paper.
        adversary: whether Eq. 7 is the paper's logarithms or its code's squares.
    """

    area: Literal["forehead", "mouth", "both"] = "forehead"
    side: int
    planes: int
    components: int
    pdim_width: int
    pdim_levels: int
    pool: int
    hidden: tuple[int, ...]
    pdrm_width: int
    pdrm_levels: int
    pdrm_fine: int
    judge_width: int
    basis: str = ""
    pictures: int
    photographs: int
    turn: int = 2
    flat: float = 0.15
    pdim_alone: float = 10 / 250
    labelled_alone: float = 15 / 250
    weight_geometry: float = 100.0
    weight_appearance: float = 0.5
    weight_adversary: float = 1.0
    weight_slopes: float = 0.0
    adversary: Literal["squares", "log"] = "squares"


CONFIGS = {
    # Section 4: lambda, eta, rate; the authors' code: batch, squares, momentum, 250 epochs of 10,000 and 12,000 patches
    "paper": DfdnTraining(batch=100, steps=55_000, rate=1e-4, constant=22_000, decay="line", final=0.0, momentum=0.5,
                          **dataclasses.asdict(PAPER), judge_width=64, pictures=706, photographs=163_000),
    "small": DfdnTraining(batch=16, steps=1_000, rate=1.5e-3, warmup=20, constant=400, decay="line", final=0.02, momentum=0.5,
                          **dataclasses.asdict(DfdnSizes()), judge_width=8, pictures=1100, photographs=250, turn=4,
                          weight_slopes=10.0, weight_appearance=3.0),
}


class Data(NamedTuple):
    """Patches of an area."""

    labelled: Patches
    photographs: Patches | None
    held: Patches


class Adversaries(nnx.Module):
    """What is trained: DFDN and the discriminator, each by the terms of the loss that are its own."""

    def __init__(self, config: DfdnTraining, *, rngs: nnx.Rngs):
        self.generator = Dfdn(DfdnSizes(**described(config)), rngs=rngs)
        self.judge = PatchGan(width=config.judge_width, rngs=rngs)


def build(config: DfdnTraining, rngs: nnx.Rngs) -> Adversaries:
    """New networks, with the components of a file.

    Raises:
        FitkitError: E_DATA, the file of components cannot be read.
    """
    network = Adversaries(config, rngs=rngs)
    if config.pdim_width:
        if config.basis:
            tensors, _ = read_tensors(Path(config.basis), most=MAX_BYTES, code="E_DATA", what="the components of patches",
                                      mend="python -m fitkit.recipes.train.dfdn.basis makes them")
            basis = tensors["basis"]
        else:
            basis = cosines(config.side, config.components)
        network.generator.basis = nnx.BatchStat(jnp.asarray(basis))
    return network


def cosines(side: int, count: int) -> Float[np.ndarray, "s*s k"]:
    """The smoothest cosines over a patch, each as long as a displacement of a tenth of `UNIT` in all directions together."""
    rows = np.cos(np.pi * np.outer(np.arange(side), np.arange(side) + 0.5) / side)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order = sorted(np.ndindex(side, side), key=lambda at: (at[0] ** 2 + at[1] ** 2, at))[:count]
    return np.stack([np.outer(rows[i], rows[j]).ravel() for i, j in order], axis=1).astype(np.float32) * 0.1 * side / count**0.5


def described(config: DfdnTraining) -> dict[str, Any]:
    """The generator's sizes: fields of `DfdnSizes`."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(DfdnSizes)}


def load(runs: Sequence[Path], held: Sequence[Path], config: DfdnTraining) -> Data:
    """The patches of an area; where they were not kept, those of both areas are cut, which takes a third of a second a picture."""
    if config.area == "both":
        one, other = (load(runs, held, each) for each in (dataclasses.replace(config, area="forehead"),
                                                          dataclasses.replace(config, area="mouth")))
        photographs = None if one.photographs is None or other.photographs is None else _halves(one.photographs, other.photographs)
        return Data(_halves(one.labelled, other.labelled), photographs, _halves(one.held, other.held))
    found = open_runs(runs, held, flat=config.flat)
    key = ([str(path) for path in runs], [str(path) for path in held], config.side, config.seed, config.flat)
    cut = partial(labelled_patches, side=config.side)
    labelled = kept_patches("labelled", (key, DRAWING, config.pictures), cut(found.labelled.trained, config.pictures, config.seed),
                            config.area)
    judged = kept_patches("held", (key, DRAWING, HELD_PICTURES), cut(found.labelled.held, HELD_PICTURES, HELD_SEED), config.area)
    photographs = None
    if config.photographs and found.photographs:
        photographs = kept_patches("photographs", (key, config.photographs), photograph_patches(
            found, config.photographs, config.seed, side=config.side), config.area)
    return Data(labelled, photographs, judged)


def _halves(one: Patches, other: Patches) -> Patches:
    """Every second patch of each."""
    return Patches(*(np.concatenate([a[::2], b[::2]]) for a, b in zip(one, other, strict=True)))


def batch(data: Data, config: DfdnTraining, places: range) -> dict[str, np.ndarray]:
    """Patches at these places: labelled ones, mirrored or not, and from `labelled_alone` on photographs at some."""
    shape = (len(places), config.side, config.side)
    made = {"planes": np.zeros((*shape, data.labelled.planes.shape[-1]), np.float32), "target": np.zeros(shape, np.float32),
            "appearance": np.zeros((*shape, 12), np.float32), "light": np.zeros((len(places), 9, 3), np.float32),
            "labelled": np.zeros(len(places), np.float32), "refined": np.zeros(len(places), np.float32)}
    own = picture_at(places, count=len(data.labelled.target), seed=config.seed)
    others = None if data.photographs is None else picture_at(places, count=len(data.photographs.target), seed=config.seed)
    for row, place in enumerate(places):
        share = (place // config.batch) / config.steps
        made["refined"][row] = share >= config.pdim_alone or not config.pdim_width
        photographed = share >= config.labelled_alone and place % config.turn == config.turn - 1
        if photographed and data.photographs is not None and others is not None:
            for name in ("planes", "appearance", "light"):
                made[name][row] = getattr(data.photographs, name)[others[row]]
            continue
        made["labelled"][row] = 1.0
        planes, target = (np.asarray(each[own[row]], np.float32) for each in (data.labelled.planes, data.labelled.target))
        if np.random.default_rng((config.seed, place)).uniform() < 0.5:
            planes, target = planes[:, ::-1] * np.array(MIRRORED, np.float32), target[:, ::-1]
        made["planes"][row], made["target"][row] = planes, target
    return made


def loss(network: Adversaries, batch: Any, config: DfdnTraining) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Eq. 6: both sides of it at once, each network moved by its own side alone."""
    planes, target, labelled = batch["planes"], batch["target"], batch["labelled"]
    refined, seen = labelled * batch["refined"], planes[..., SKIN]
    broad, fine = (each.astype(jnp.float32) for each in network.generator(planes[..., :config.planes]))
    terms = {"broad": losses.mean_of(losses.geometry_loss(broad, target, seen), labelled) if config.pdim_width else jnp.zeros(()),
             "fine": losses.mean_of(losses.geometry_loss(fine, target, seen), refined)}
    geometry = terms["broad"] + terms["fine"]
    if config.weight_slopes:
        texels, count = UNIT / UNIT_TEXEL, len(labelled) / jnp.maximum(jnp.sum(labelled), 1.0)
        terms["slopes"] = count * sum((slope_loss(texels * each, texels * target, seen * some[:, None, None])
                                       for each, some in ((broad, labelled), (fine, refined))), jnp.zeros(()))
        geometry += config.weight_slopes * terms["slopes"]
    if config.photographs:
        points, normals, albedo, colour = jnp.split(batch["appearance"], 4, axis=-1)
        each = losses.appearance_loss(UNIT * fine, points, normals, albedo, batch["light"], colour, seen)
        terms["appearance"] = losses.mean_of(each, (1.0 - labelled) * batch["refined"])
        geometry += config.weight_appearance * terms["appearance"]
    total = config.weight_geometry * geometry
    if config.weight_adversary:
        value, kind = planes[..., 0], config.adversary
        terms["generator"] = losses.mean_of(losses.generator_loss(_held(network.judge)(value, fine), adversary=kind), refined)
        real, fake = network.judge(value, target * (seen > 0)), network.judge(value, jax.lax.stop_gradient(fine))
        terms["discriminator"] = losses.mean_of(losses.discriminator_loss(real, fake, adversary=kind), refined)
        total += config.weight_adversary * (terms["generator"] + terms["discriminator"])
    return total, terms


def _held(network: PatchGan) -> PatchGan:
    """The same network, to whose weights no gradient goes."""
    graph, state = nnx.split(network)
    copy: PatchGan = nnx.merge(graph, jax.tree.map(jax.lax.stop_gradient, state))
    return copy


def score(network: Adversaries, data: Data, config: DfdnTraining) -> dict[str, float]:
    """Of held-out patches, by PDIM alone and with PDRM: share of the normals' error in wrinkles removed, flat skin."""
    broad, fine = found_by(network.generator, data.held, config)
    target, seen = (UNIT / UNIT_TEXEL * np.asarray(data.held.target[:SCORED], np.float32),
                    np.asarray(data.held.planes[:SCORED, ..., SKIN]) > 0.5)
    return {**{f"pdim_{name}": value for name, value in figures(broad, target, seen).items()}, **figures(fine, target, seen)}


def figures(found: Float[np.ndarray, "n s s"], target: Float[np.ndarray, "n s s"], seen: np.ndarray) -> dict[str, float]:
    """Share of the slopes' error in wrinkles removed, degrees and mm on flat skin, correlation in wrinkles; of texels' units."""
    slope, gap = (np.stack(np.gradient(values, axis=(1, 2))) for values in (target, found - target))
    before, after = (np.degrees(np.arctan(np.linalg.norm(each, axis=0))) for each in (slope, gap))
    steep, level = (np.linalg.norm(slope, axis=0) > STEEP) & seen, (np.linalg.norm(slope, axis=0) < LEVEL) & seen
    return {"error_removed": float(1 - after[steep].mean() / before[steep].mean()), "flat_degrees": float(after[level].mean()),
            "flat_mm": UNIT_TEXEL * float(np.sqrt(np.mean(found[level] ** 2))),
            "correlation": float(np.corrcoef(found[steep], target[steep])[0, 1])}


def found_by(network: Dfdn, patches: Patches, config: DfdnTraining) -> tuple[Float[np.ndarray, "n s s"], ...]:
    """What PDIM and PDRM say of the first `SCORED` patches, in `UNIT_TEXEL`."""
    run = nnx.jit(lambda network, planes: network(planes))
    planes = np.asarray(patches.planes[:SCORED, ..., :config.planes], np.float32)
    parts = [run(network, planes[start:start + AT_ONCE]) for start in range(0, len(planes), AT_ONCE)]
    return tuple(UNIT / UNIT_TEXEL * np.concatenate([np.asarray(part[k], np.float32) for part in parts]) for k in range(2))


def pictures(network: Adversaries, data: Data, config: DfdnTraining) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """A row a held-out patch: value, true displacement, PDIM's, PDRM's."""
    found = [each[:SHOWN] for each in found_by(network.generator, data.held, config)]
    target = UNIT / UNIT_TEXEL * np.asarray(data.held.target[:SHOWN], np.float32)
    shown = [np.asarray(data.held.planes[:SHOWN, ..., 0], np.float32) + 0.5, *(each / 4.0 + 0.5 for each in (target, *found))]
    sheet = np.concatenate([np.concatenate(list(each), axis=0) for each in shown], axis=1)
    return {"patches": np.repeat(np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)}


DFDN = Task(
    name="dfdn", summary="displacement of skin, patch by patch of the head's UV map, from a photo and its proxy head",
    paper="Chen et al. 2019, Section 4", configs=CONFIGS, build=build, load=load, batch=batch, loss=loss, score=score,
    pictures=pictures, described=described, exported=lambda network: network.generator)
