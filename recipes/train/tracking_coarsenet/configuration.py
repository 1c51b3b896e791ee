"""What a training of Tracking CoarseNet is told, and where its network starts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.coarsenet.estimate import mirrored_outputs
from fitkit.models.coarsenet.mesh_tracking import HeadPlaces, head_places
from fitkit.models.coarsenet.mesh_trunk import SIDE
from fitkit.models.coarsenet.network import LIGHT, PAPER_TRACKING, POSE, CoarseNet, CoarseNetConfig
from fitkit.recipes.train.coarsenet.configuration import CoarseNetTraining, output_statistics, started, tables_of

# Deviations of what is told: of the pose's difference (degrees, sides of the crop, logarithm of the size), of albedo, of light
DIFFERENCE = (3.0, 3.0, 2.0, 0.02, 0.02, 0.02)
ALBEDO, LIGHT_MEAN, LIGHT_DEVIATION = 1.0, 1.8, 0.4         # the mean: of the constant harmonic; the others' is 0
# Harmonics of light that are odd across the face: x, xy, xz
ODD = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1], np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingTraining(CoarseNetTraining):
    """A training of Tracking CoarseNet: the fields of `CoarseNetTraining`, and these.

    Attributes:
        drawn: whether the frame before is drawn in every step anew; else it is the labels'.
        grey_levels: difference of colour, of 255, that weighs as much as a pixel's distance (Eq. 17 compares the two).
    """

    drawn: bool = False
    grey_levels: float = 10.0

    @property
    def network(self) -> CoarseNetConfig:
        """Of what is trained."""
        albedo = len(tables_of(self.head).model.albedo)
        return dataclasses.replace(self.single.network, albedo=albedo, tracking=True)

    @property
    def single(self) -> CoarseNetTraining:
        """The training of single pictures that sees as many pixels."""
        return CoarseNetTraining(**{field.name: getattr(self, field.name) for field in dataclasses.fields(CoarseNetTraining)})


# The paper's network and training (Sections VII and IX), for the coefficients of the head at hand
PAPER_TRAINING = TrackingTraining(batch=100, steps=30_000, rate=5e-5, side=PAPER_TRACKING.side, width=PAPER_TRACKING.width,
                                  perspective=False, points=1024, augmented=False)
# MediaPipe's trunk, whose matrix `readout.py` solves for
SMALL_TRAINING = TrackingTraining(batch=64, steps=10_000, rate=1e-4, warmup=200, final=0.01, clip=10.0, side=SIDE, trunk="mesh",
                                  points=128, weight_depth=1.0, weight_joint=0.1, weight_geometry=1.0, weight_coefficients=3.0,
                                  drawn=True)


@functools.lru_cache(maxsize=2)
def albedo_signs(head: str) -> Float[Array, " A"]:
    """1 of an albedo mode that is symmetric, -1 of one that is antisymmetric."""
    with jax.ensure_compile_time_eval():
        model = tables_of(head).model
        albedo = np.asarray(model.albedo)
        return jnp.asarray(np.sign(np.einsum("kvc,kvc->k", albedo, albedo[:, np.asarray(model.mirror)])), jnp.float32)


def mirrored_numbers(numbers: Float[Array, "b o"], config: TrackingTraining) -> Float[Array, "b o"]:
    """The network's numbers of a frame's mirror image from those of the frame, or back."""
    tables, network = tables_of(config.head), config.network
    count = network.identity + network.expression + POSE
    single = mirrored_outputs(numbers[:, :count], tables.signs, tables.partner, config.single.network)
    albedo = numbers[:, count:count + network.albedo] * albedo_signs(config.head)[None]
    light = numbers[:, count + network.albedo:] * jnp.repeat(jnp.asarray(ODD), LIGHT // len(ODD))[None]
    return jnp.concatenate([single, albedo, light], axis=1)


def statistics(config: TrackingTraining) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of what a network tells."""
    model = tables_of(config.head).model
    mean, deviation = (each[:-POSE] for each in output_statistics(model))
    constant = np.arange(LIGHT) < 3
    colour = np.ones(len(model.albedo))
    means = [mean, np.zeros(POSE), 0 * colour, np.where(constant, LIGHT_MEAN, 0.0)]
    return (np.concatenate(means).astype(np.float32),
            np.concatenate([deviation, DIFFERENCE, ALBEDO * colour, np.full(LIGHT, LIGHT_DEVIATION)]).astype(np.float32))


def build(config: TrackingTraining, rngs: nnx.Rngs) -> CoarseNet:
    """The network that a training starts from: an untrained one answers the mean face, where it was."""
    mean, deviation = statistics(config)
    network = started(CoarseNet(config.network, rngs=rngs, mean=mean, deviation=deviation), config)
    if config.trunk == "mesh" and not config.start:
        tables = tables_of(config.head)
        with jax.ensure_compile_time_eval():
            network.tracking.places = HeadPlaces(head_places(tables.model, tables.middle))
    return network
