"""What a training of CoarseNet is told, and where its network starts."""

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from fitkit.configuration import check_choice
from fitkit.errors import FitkitError
from fitkit.labels.hidden_modes import folded_model, hidden_modes
from fitkit.models import heads
from fitkit.models.coarsenet.mesh_trunk import SIDE, pretrained_trunk
from fitkit.models.coarsenet.network import POSE, TRUNKS, CoarseNet, CoarseNetConfig, load_coarsenet
from fitkit.models.parameters import with_parameters
from fitkit.recipes.train.task import TrainingConfig
from fitkit.types import MorphableModel

LOSSES = ("pixels", "vertices")
# Mean and deviation of the labels, of kind `random`: measured on 8,000, in crops as `augmentation` moves them
SMOOTH_MODES, IDENTITY_DEVIATION = 60, (0.7, 0.36)      # of the first identity modes, of the others; their mean is the prior's
EXPRESSION = (0.02, 0.1)
POSE_MEAN = (0.0, 0.0, 0.0, 0.0, -0.037, -5.43)
POSE_DEVIATION = (31.0, 10.6, 8.2, 0.10, 0.035, 0.09)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseNetTraining(TrainingConfig):
    """A training of the CoarseNet of single pictures.

    Attributes:
        batch: pictures of a step.
        steps: of the whole training.
        rate: learning rate of Adam.
        warmup: steps over which the rate rises.
        final: rate at the last step, as a share of `rate`.
        clip: longest gradient.
        seed: of everything drawn.
        head: whose coefficients are learned; the labels have to be of it.
        side: of the picture, pixels; a multiple of 32.
        trunk: "resnet18", or "mesh": MediaPipe's, with its weights, trained on from its tenth block.
        width: channels of the first stage of a ResNet-18.
        upright: of trunk "mesh": whether it looks twice, the second time at the face turned upright, which is what is trained here.
        perspective: whether a pinhole of the label's focal length sees the face (Eq. 3 has weak perspective).
        loss: "pixels", Eq. 15, or "vertices": Richardson's mean squared distance of vertices and of normalised pose numbers.
        points: pixels of the face that the loss looks at, of each picture.
        weight_depth: of distances along the line of sight in Eq. 13 and 14, beside those across it; the paper has none.
        weight_joint: of Eq. 12, the distance under predicted pose and geometry together; the paper has none.
        weight_geometry: of Eq. 14 once more, so that shape is not left behind while poses are still learned; the paper: none.
        weight_coefficients: of the mean squared error of normalised coefficients; the paper has none.
        augmented: whether pictures are changed in other ways than by the crop that a detector would give.
        most: pictures that are read of each run; None for all.
        start: weight file of the same network, from which it goes on; empty for an untrained one.
    """

    head: str = "makehuman"
    side: int = 128
    trunk: str = "resnet18"
    width: int = 16
    upright: bool = False
    perspective: bool = True
    loss: str = "pixels"
    points: int = 256
    weight_depth: float = 0.0
    weight_joint: float = 0.0
    weight_geometry: float = 0.0
    weight_coefficients: float = 0.0
    augmented: bool = True
    most: int | None = None
    start: str = ""

    def __post_init__(self) -> None:
        check_choice(self.loss, LOSSES, code="E_FIELD", what="loss")
        check_choice(self.trunk, TRUNKS, code="E_FIELD", what="trunk")
        if self.trunk == "mesh" and self.side != SIDE:
            raise FitkitError("E_FIELD", f"the trunk mesh sees {SIDE} pixels, not {self.side}; drop side")
        if self.upright and self.trunk != "mesh":
            raise FitkitError("E_FIELD", f"upright is for the trunk mesh, not for {self.trunk}; drop one of the two")

    @property
    def network(self) -> CoarseNetConfig:
        """Of what is trained."""
        model = tables_of(self.head).model
        return CoarseNetConfig(side=self.side, trunk=self.trunk, width=self.width, identity=len(model.identity),
                               expression=len(model.expression), perspective=self.perspective, upright=self.upright)


# The paper's network and training (Sections VI-B and IX), for the coefficients of the head at hand
PAPER_TRAINING = CoarseNetTraining(batch=100, steps=30_000, rate=5e-5, side=224, width=64, perspective=False, points=1024)
# What two CPU cores train in half an hour; the weights of the loss are chosen, not tuned
SMALL_TRAINING = CoarseNetTraining(batch=64, side=96, steps=10_000, rate=1.5e-3, warmup=200, final=0.01, clip=10.0, points=128,
                                   weight_depth=1.0, weight_joint=0.1, weight_geometry=1.0, weight_coefficients=3.0)

# MediaPipe's trunk, whose matrix `readout.py` solves for; this trains on from there. At a rate of 2e-4 it lost by that
MESH_TRAINING = dataclasses.replace(SMALL_TRAINING, trunk="mesh", side=SIDE, upright=True, rate=1e-4)


class HeadTables(NamedTuple):
    """What a loss needs of a head."""

    model: MorphableModel                   # folded
    middle: Float[Array, " 3"]              # of the face, mm
    signs: Float[Array, " I"]               # of identity modes in a mirror
    partner: Int[Array, " E"]               # the expression that mirrors each


@functools.lru_cache(maxsize=2)
def tables_of(head: str) -> HeadTables:
    """The tables of a head, by its name."""
    with jax.ensure_compile_time_eval():        # also where a step is being compiled
        return _tables(heads.load(head))


def _tables(unfolded: MorphableModel) -> HeadTables:
    model = folded_model(unfolded)
    mirror, flip = np.asarray(model.mirror), np.array([-1, 1, 1], np.float32)
    identity, expression = (np.asarray(basis, np.float64) for basis in (model.identity, model.expression))
    signs = np.sign(np.einsum("kvc,kvc->k", identity, identity[:, mirror] * flip))
    flipped = (expression[:, mirror] * flip).reshape(len(expression), -1)
    distance = ((expression.reshape(len(expression), -1)[:, None] - flipped[None]) ** 2).sum(-1)
    return HeadTables(model=model, middle=hidden_modes(unfolded).middle, signs=jnp.asarray(signs, jnp.float32),
                      partner=jnp.asarray(distance.argmin(0)))


def build(config: CoarseNetTraining, rngs: nnx.Rngs) -> CoarseNet:
    """The network that a training starts from: an untrained one answers the mean face of the labels.

    Raises:
        FitkitError: E_DATA, the weights of `start` cannot be read; E_FIELD, they are of another network.
    """
    mean, deviation = output_statistics(tables_of(config.head).model)
    return started(CoarseNet(config.network, rngs=rngs, mean=mean, deviation=deviation), config)


def started(network: CoarseNet, config: CoarseNetTraining) -> CoarseNet:
    """A network with the weights that its training starts from: those of `start`, or MediaPipe's in its trunk.

    Raises:
        FitkitError: as `build`.
    """
    if config.start:
        parameters, stored = load_coarsenet(path=Path(config.start))
        if stored != config.network:
            raise FitkitError("E_FIELD", f"start: {config.start} holds weights of {stored}; this training is of {config.network}")
        return with_parameters(network, parameters)
    if config.network.tracking and config.trunk == "mesh":
        network.tracking.mesh = pretrained_trunk()
    elif config.trunk == "mesh":
        network.mesh = pretrained_trunk()
    return network


def output_statistics(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of identity, expression and pose."""
    modes = np.arange(len(model.identity))
    identity = np.where(modes < SMOOTH_MODES, *IDENTITY_DEVIATION)
    expression = np.full(len(model.expression), 1.0)
    mean = np.concatenate([np.asarray(model.identity_mean), EXPRESSION[0] * expression, POSE_MEAN])
    deviation = np.concatenate([identity, EXPRESSION[1] * expression, POSE_DEVIATION])
    assert len(POSE_MEAN) == POSE
    return mean.astype(np.float32), deviation.astype(np.float32)


def head_is(name: str, head: str) -> bool:
    """Whether labels of the head `name` fit a training of `head`."""
    return heads.absolute_name(name) == heads.absolute_name(head)

