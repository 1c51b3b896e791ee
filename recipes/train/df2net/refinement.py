"""What the training loop is told of F-Net and Fr-Net, the second and third step of DF2Net (Zeng et al. 2019, Sections 3.4 to 3.6).

F-Net learns from pictures with depth, Fr-Net from fine pictures whose depth it is not told: F-Net's own stands for it. The small
configurations are also told true normals, as the paper's D-Net is: a short training finds no shape in shading alone. The networks
before are fixed, and what they say of each picture is kept.
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

from fitkit.color import srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.models.df2net import fnet, frnet
from fitkit.models.df2net.depth_frame import continued, depth_normals
from fitkit.models.df2net.fnet import FNet, FNetSizes
from fitkit.models.df2net.frnet import FrNet, FrNetSizes, build_frnet, refined_depth
from fitkit.models.df2net.inference import CALM, Trained, dense_depth, load_network, network_colours, network_of
from fitkit.models.shipped import WEIGHTS
from fitkit.recipes.train.df2net import crops
from fitkit.recipes.train.df2net.crops import draw_crops
from fitkit.recipes.train.df2net.examples import FINE_FIELDS, Pictures, dense_example, open_pictures, square_of
from fitkit.recipes.train.df2net.kept import kept_maps
from fitkit.recipes.train.df2net.losses import inner, normal_loss, reconstruction_loss, shading_loss
from fitkit.recipes.train.df2net.starts import coarse_depths, cut_start
from fitkit.recipes.train.task import Task, TrainingConfig

# Chosen, not tuned
SCORED, SHOWN = 48, 6       # held-out crops that are judged, and those of them that are drawn
SCORED_SEED = 1             # of what is drawn for them, whatever the training's
AT_ONCE = 8                 # crops of one call of the compiled network
FOLD = 8.0                  # degrees between normals and those of the blurred surface, from which a pixel counts as wrinkled
FLAT = 2.0                  # and up to which it counts as flat


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinementTraining(TrainingConfig):
    """A training of F-Net or Fr-Net.

    Attributes:
        width: channels of the network's first layer of each domain.
        block: side of blocks of pixels that enter as channels of one.
        residual: most that is added to the depth, half crops; 0: the output is the depth itself.
        guided: whether the network is given what light tells of slopes, and FineNet's answer.
        side: of the pictures, pixels.
        crop: side of the parts of them that are seen in training, pixels.
        most_yaw: degrees; faces turned by more are left out: the paper's second kind is frontal.
        relit: share of crops that are lit anew, with smooth colour.
        weight_reconstruction: of Eq. 1.
        weight_shading: of Eq. 5.
        weight_normals: of Eq. 2, which the paper gives to D-Net alone.
        dnet: file of D-Net's weights; empty for those that come with fitkit.
    """

    width: int
    block: int
    residual: float
    guided: bool
    side: int
    crop: int
    most_yaw: float = 10.0
    relit: float = 0.0
    weight_reconstruction: float
    weight_shading: float
    weight_normals: float = 0.0
    dnet: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrNetTraining(RefinementTraining):
    """A training of Fr-Net.

    Attributes:
        residual_from: depth that the residual is added to.
        stages: `multiple` is Fr-Net; `single` has F-Net's layers in its place, Fig. 5's alternatives: with a residual of 0 two
            F-Nets are stacked, otherwise it is Fr-Net without its multi-resolution stages.
        fnet: file of F-Net's weights; empty for those that come with fitkit.
    """

    residual_from: Literal["fnet", "dnet"] = "fnet"
    stages: Literal["multiple", "single"] = "multiple"
    fnet: str = ""


# Section 3.6: batch 8, 10 epochs of 10,000 and of 5,000 pictures, 1e-3, falling to a hundredth (by tenths at epochs 8 and 9)
FNET_CONFIGS = {
    "paper": RefinementTraining(batch=8, steps=12_500, rate=1e-3, final=0.01, **dataclasses.asdict(fnet.PAPER), side=512, crop=512,
                                weight_reconstruction=10.0, weight_shading=0.1),
    "small": RefinementTraining(batch=8, steps=3_000, rate=2e-3, warmup=50, final=0.02, clip=1.0, **dataclasses.asdict(FNetSizes()),
                                side=256, crop=128, relit=0.5, weight_reconstruction=10.0, weight_shading=0.1,
                                weight_normals=1.0)}
FRNET_CONFIGS = {
    "paper": FrNetTraining(batch=8, steps=6_250, rate=1e-3, final=0.01, **dataclasses.asdict(frnet.PAPER), side=512, crop=512,
                           weight_reconstruction=1.0, weight_shading=100.0),
    "small": FrNetTraining(batch=8, steps=2_000, rate=1e-3, warmup=50, final=0.02, clip=1.0, **dataclasses.asdict(FrNetSizes()),
                           side=256, crop=128, relit=0.5, weight_reconstruction=1.0, weight_shading=10.0, weight_normals=1.0)}


class Kept(NamedTuple):
    """Pictures, and the depth that the earlier networks give the one that is trained."""

    pictures: Pictures
    starts: Float[np.ndarray, "n t t"] | None           # where D-Net started (`coarse_depths`), if it is one that does
    given: Float[np.ndarray, "n s s"]                   # what the network reads
    base: Float[np.ndarray, "n s s"] | None             # what its residual is added to, where that is another


def load(runs: Sequence[Path], held: Sequence[Path], config: Any) -> tuple[Kept, Kept]:
    """The runs, opened, and what earlier networks say of their pictures.

    Raises:
        FitkitError: as `open_pictures`; E_DATA, weights of an earlier network are missing.
    """
    def kept(pictures: Pictures) -> Kept:
        files = [_file("dnet", config.dnet)]
        first = load_network("dnet", path=files[0])
        starts = coarse_depths(pictures) if first.sizes.started else None
        dense = kept_maps(pictures, tuple(files), lambda numbers: _dense(
            first, *_seen(pictures, starts, numbers, config)), side=config.side, chosen=(CALM,))
        if not isinstance(config, FrNetTraining):
            return Kept(pictures, starts, dense, None)
        files.append(_file("fnet", config.fnet))
        second = load_network("fnet", path=files[1])
        fine = kept_maps(pictures, tuple(files), lambda numbers: _fine(
            second, dense[numbers], *_seen(pictures, starts, numbers, config)[:2]), side=config.side, chosen=(CALM,))
        return Kept(pictures, starts, fine, dense if config.residual_from == "dnet" else None)

    trained, judged = open_pictures(runs, held, fields=FINE_FIELDS, most_yaw=config.most_yaw)
    return kept(trained), kept(judged)


def _file(name: str, path: str) -> Path:
    return Path(path) if path else WEIGHTS / f"{name}.safetensors"


def _seen(pictures: Pictures, starts: np.ndarray | None, numbers: list[int], config: RefinementTraining
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours of whole pictures, where they are shown, and the coarse head's depth there."""
    made = []
    for number in numbers:
        fields = pictures.read(number)
        square = square_of(fields)
        face = dense_example(fields, square, side=config.side)
        depth, shown = (np.zeros_like(face.depth), face.face) if starts is None else cut_start(
            starts[number], fields, square, side=config.side)
        made.append((face.colour, shown, depth))
    colour, shown, depth = (np.stack(each) for each in zip(*made, strict=True))
    return colour, shown, depth


def _dense(trained: Trained, colour: np.ndarray, shown: np.ndarray, start: np.ndarray) -> np.ndarray:
    return np.asarray(_dense_maps(trained.parameters, colour, shown, start, sizes=trained.sizes))


@quick_jit(static_argnames=("sizes",))
def _dense_maps(parameters: dict[str, Array], colour: Array, shown: Array, start: Array, *, sizes: Any) -> Float[Array, "b s s"]:
    network = network_of("dnet", Trained(parameters, sizes))
    return dense_depth(network, network_colours(colour, shown), jax.vmap(continued)(start, shown), side=sizes.side)


def _fine(trained: Trained, dense: np.ndarray, colour: np.ndarray, shown: np.ndarray) -> np.ndarray:
    return np.asarray(_fine_maps(trained.parameters, dense, colour, shown, sizes=trained.sizes))


@quick_jit(static_argnames=("sizes",))
def _fine_maps(parameters: dict[str, Array], dense: Array, colour: Array, shown: Array, *, sizes: Any) -> Float[Array, "b s s"]:
    return refined_depth(network_of("fnet", Trained(parameters, sizes)), dense, network_colours(colour, shown), side=dense.shape[1])


def batch(data: tuple[Kept, Kept], config: Any, places: range) -> dict[str, np.ndarray]:
    """Crops at these places."""
    return _drawn(data[0], config, config.seed, places)


def _drawn(kept: Kept, config: Any, seed: int, places: range) -> dict[str, np.ndarray]:
    given = {"given": kept.given, **({} if kept.base is None else {"base": kept.base})}
    return draw_crops(kept.pictures, kept.starts, given, seed, places, side=config.side, crop=config.crop, relit=config.relit)


def found_depth(network: FNet | FrNet, batch: Any, *, side: int) -> Float[Array, "b h w"]:
    """What the network makes of the depth that it is given; `side` of the whole pictures, pixels."""
    colour = network_colours(batch["picture"], batch["face"] > 0)
    return refined_depth(network, batch["given"], colour, side=side, base=batch.get("base")).astype(jnp.float32)


def loss(network: FNet | FrNet, batch: Any, config: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Eq. 1 and 5: of F-Net against true depth, of Fr-Net against F-Net's, which gives the light, too."""
    found = found_depth(network, batch, side=config.side)
    truth = batch["given"] if isinstance(config, FrNetTraining) else batch["depth"]
    normals, guide = (depth_normals(depth, side=config.side) for depth in (found, truth))
    terms = {"reconstruction": reconstruction_loss(found, truth, batch["mask"]),
             "shading": shading_loss(normals, guide, batch["albedo"], srgb_to_linear(batch["picture"]), batch["mask"])}
    total = config.weight_reconstruction * terms["reconstruction"] + config.weight_shading * terms["shading"]
    if config.weight_normals:
        terms["normals"] = normal_loss(normals, depth_normals(batch["depth"], side=config.side), batch["mask"])
        total += config.weight_normals * terms["normals"]
    return total, terms


def score(network: FNet | FrNet, data: tuple[Kept, Kept], config: Any) -> dict[str, float]:
    """Share of the normals' error in wrinkles that is removed, degrees added on flat skin, and shading losses before and after."""
    judged = _drawn(data[1], config, SCORED_SEED, range(SCORED))
    found = _found(network, judged, side=config.side)
    normals = {name: np.asarray(depth_normals(jnp.asarray(depth), side=config.side))
               for name, depth in (("before", judged["given"]), ("after", found), ("true", judged["depth"]))}
    inside = np.asarray(inner(jnp.asarray(judged["mask"]))) > 0
    bent = angle_between(normals["true"], np.asarray(depth_normals(jnp.asarray(crops.smoothed(
        judged["depth"], judged["mask"])), side=config.side)))
    folds, flat = inside & (bent > FOLD), inside & (bent < FLAT)
    before, after = (angle_between(normals[name], normals["true"])[folds].mean() for name in ("before", "after"))
    shading = [float(shading_loss(*(jnp.asarray(each) for each in (
        normals[name], normals["true"], judged["albedo"], srgb_to_linear(jnp.asarray(judged["picture"])), judged["mask"]))))
        for name in ("before", "after")]
    return {"error_before": float(before), "error_removed": float(1 - after / before),
            "flat_degrees": float(angle_between(normals["after"], normals["before"])[flat].mean()),
            "shading_before": shading[0], "shading_after": shading[1]}


def angle_between(normals: Float[np.ndarray, "*n 3"], others: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Degrees between unit vectors."""
    return np.asarray(np.degrees(np.arccos(np.clip(np.sum(normals * others, axis=-1), -1.0, 1.0))))


def pictures(network: FNet | FrNet, data: tuple[Kept, Kept], config: Any) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """A row a held-out crop: colours, and normals of the depth that is given, found and true."""
    judged = _drawn(data[1], config, SCORED_SEED, range(SHOWN))
    inside = judged["mask"][..., None]
    shown = [judged["picture"] * judged["face"][..., None]]
    shown += [(np.asarray(depth_normals(jnp.asarray(depth), side=config.side)) + 1) / 2 * inside
              for depth in (judged["given"], _found(network, judged, side=config.side), judged["depth"])]
    sheet = np.concatenate([np.concatenate(list(each), axis=0) for each in shown], axis=1)
    return {"crops": np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)}


def _found(network: FNet | FrNet, judged: dict[str, np.ndarray], *, side: int) -> Float[np.ndarray, "n c c"]:
    run = nnx.jit(partial(found_depth, side=side))
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(judged["given"]), AT_ONCE)]
    return np.concatenate([np.asarray(run(network, {name: values[part] for name, values in judged.items()})) for part in parts])


def described(config: RefinementTraining) -> dict[str, Any]:
    """The network's sizes: fields of `FNetSizes` or `FrNetSizes`."""
    kind = FrNetSizes if isinstance(config, FrNetTraining) else FNetSizes
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(kind)}


FNET = Task(
    name="fnet", summary="fine depth of a face from a picture and D-Net's depth", paper="Zeng et al. 2019 (DF2Net), Section 3.4",
    configs=FNET_CONFIGS, build=lambda config, rngs: FNet(FNetSizes(**described(config)), rngs=rngs), load=load, batch=batch,
    loss=loss, score=score, pictures=pictures, described=described)
FRNET = Task(
    name="frnet", summary="finer depth of a face from a picture and F-Net's depth", paper="Zeng et al. 2019 (DF2Net), Section 3.5",
    configs=FRNET_CONFIGS, build=lambda config, rngs: build_frnet(FrNetSizes(**described(config)), rngs=rngs), load=load,
    batch=batch, loss=loss, score=score, pictures=pictures, described=described)
