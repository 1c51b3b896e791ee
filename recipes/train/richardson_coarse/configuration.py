"""What a training of the iterative CoarseNet is told, and where its network starts."""

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.configuration import check_choice
from fitkit.errors import FitkitError
from fitkit.models import heads
from fitkit.models.parameters import with_parameters
from fitkit.models.richardson.coarse import TRUNKS, CoarseConfig, IterativeCoarseNet, load_coarse
from fitkit.models.richardson.feedback import FeedbackHead, feedback_head
from fitkit.models.richardson.point_features import SIDE, with_pretrained_trunk
from fitkit.recipes.train.coarsenet.configuration import HeadTables, output_statistics, tables_of
from fitkit.recipes.train.richardson_coarse.losses import gram_matrix
from fitkit.recipes.train.task import TrainingConfig

LOSSES = ("gmse", "coefficients")
# mm^2: GMSE over the pose's error of an untrained network, ten batches of 32 pictures of kind `random` (task.equal_start)
EQUAL_START = 53.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RichardsonCoarseTraining(TrainingConfig):
    """A training of the iterative CoarseNet.

    Attributes:
        batch: pictures of a step.
        steps: of the whole training.
        rate: learning rate of Adam.
        warmup: steps over which the rate rises.
        final: rate at the last step, as a share of `rate`.
        clip: longest gradient.
        seed: of everything drawn.
        head: whose coefficients are learned; the labels have to be of it.
        side: of the picture, pixels.
        trunk: "resnet18", or "points": MediaPipe's, as it is, at the points that the feedback shows.
        width: channels of the first stage of a ResNet-18.
        pncc: whether the feedback shows the coordinate code of r_t, or of the mean face.
        normals: whether it shows the normals of r_t, or of the mean face.
        masked: whether the photo is shown only where the feedback covers it.
        delta: whether a ResNet tells r_gt - r_t; the paper's tells r_gt.
        loss: "gmse", Eq. 4, or "coefficients": their mean squared error, in label deviations.
        weight_pose: of the mean squared error of pose numbers, beside the error of the geometry. The default is the one with which
            both start equal under GMSE; another loss wants another (`task.equal_start`).
        first: share of examples that start where use does, at the mean face: beta 0 and r_rnd 0 (Eq. 3).
        augmented: whether pictures are changed in other ways than by the crop that a detector would give.
        most: pictures that are read of each run; None for all.
        start: weight file of the same network, from which it goes on; empty for an untrained one.
    """

    head: str = "makehuman"
    side: int = 100
    trunk: str = "resnet18"
    width: int = 16
    pncc: bool = True
    normals: bool = True
    masked: bool = True
    delta: bool = True
    loss: str = "gmse"
    weight_pose: float = EQUAL_START
    first: float = 0.2
    augmented: bool = True
    most: int | None = None
    start: str = ""

    def __post_init__(self) -> None:
        check_choice(self.loss, LOSSES, code="E_FIELD", what="loss")
        check_choice(self.trunk, TRUNKS, code="E_FIELD", what="trunk")
        if self.trunk == "points" and self.side != SIDE:
            raise FitkitError("E_FIELD", f"the trunk points sees {SIDE} pixels, not {self.side}; drop side")

    @property
    def network(self) -> CoarseConfig:
        """Of what is trained."""
        model = tables_of(self.head).model
        return CoarseConfig(side=self.side, trunk=self.trunk, first="coarsenet" if self.trunk == "points" else "mean",
                            width=self.width, identity=len(model.identity), expression=len(model.expression), pncc=self.pncc,
                            normals=self.normals, masked=self.masked, delta=self.delta)


# The paper's network for the coefficients of the head at hand; it tells neither optimiser nor rate, batch or numbers of pictures
PAPER_TRAINING = RichardsonCoarseTraining(batch=32, steps=60_000, rate=1e-3, final=0.01, side=200, width=64, delta=False)
# What two CPU cores train; chosen, not tuned
SMALL_TRAINING = RichardsonCoarseTraining(batch=32, steps=10_000, rate=1e-3, warmup=200, final=0.01, clip=10.0)
# Features at points, whose matrices `points.py` solves for: faces that CoarseNet has seen once, so that they are near
POINTS_TRAINING = dataclasses.replace(SMALL_TRAINING, trunk="points", side=SIDE, first=0.0)


class CoarseTables(NamedTuple):
    """What the loss needs of a head."""

    head: HeadTables                        # folded head, mirror tables
    feedback: FeedbackHead                  # what is drawn
    gram: Float[Array, "k k"]               # of GMSE, mm^2


@functools.lru_cache(maxsize=2)
def coarse_tables(head: str) -> CoarseTables:
    """The tables of a head, by its name."""
    with jax.ensure_compile_time_eval():        # also where a step is being compiled
        tables = tables_of(head)
        return CoarseTables(tables, feedback_head(heads.load(head)), jnp.asarray(gram_matrix(tables.model)))


def build(config: RichardsonCoarseTraining, rngs: nnx.Rngs) -> IterativeCoarseNet:
    """The network that a training starts from.

    Raises:
        FitkitError: E_DATA, the weights of `start` cannot be read; E_FIELD, they are of another network.
    """
    mean, deviation = output_statistics(tables_of(config.head).model)
    network = IterativeCoarseNet(config.network, rngs=rngs, mean=mean, deviation=deviation)
    if config.start:
        parameters, stored = load_coarse(path=Path(config.start))
        if stored != config.network:
            raise FitkitError("E_FIELD", f"start: {config.start} holds weights of {stored}; this training is of {config.network}")
        return with_parameters(network, parameters)
    if config.trunk == "points":
        network.points = with_pretrained_trunk(network.points)
    return network
