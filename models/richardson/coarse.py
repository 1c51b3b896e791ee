"""Iterative CoarseNet (Richardson et al. 2017, Section 3): a network that is shown its last word on a face, and corrects it.

    parameters, config = load_coarse()                              # weights/richardson_coarse.safetensors
    head = feedback_head(model)
    first = first_numbers(parameters, pictures, config)             # r_0 of pictures, sRGB [b, t, t, 3] in [0, 1]
    numbers = iterate(parameters, head, pictures, first, config=config)     # [iterations, b, config.outputs]
    face = split_outputs(numbers[-1], config.numbers)               # what they mean: fitkit.models.coarsenet.estimate

`fitkit.models.coarsenet.crop` cuts the picture, t = `config.numbers.seen` pixels a side, out of a photo; the network sees its
middle. The first feedback is the mean face, centred and frontal (r_0 = 0), or what another network sees; four iterations are in
use. The paper tells r itself ("trained to predict r_gt from r_t"); `delta` tells r_gt - r_t.

    numbers of r      in the network                        normalised for the loss on pose
    identity          standard deviations                   -
    expression        ARKit weights, not clipped            -
    yaw, pitch, roll  degrees                               `POSE_UNITS`
    x, y              sides of the crop, from its middle    `POSE_UNITS`
    log size          of sides of the crop per mm           `POSE_UNITS`
"""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.configuration import check_choice
from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.blocks.residual import ResNet18
from fitkit.models.coarsenet.estimate import split_outputs
from fitkit.models.coarsenet.network import (
    MOST,
    CoarseNetConfig,
    OutputStatistics,
    Parameters,
    load_coarsenet,
    predict,
)
from fitkit.models.parameters import with_parameters
from fitkit.models.richardson.feedback import (
    CHANNELS,
    NORMALS,
    PNCC,
    FeedbackHead,
    grey_of,
    network_picture,
    render_feedback,
)
from fitkit.models.richardson.point_features import PointReader
from fitkit.models.shipped import MAX_BYTES, WEIGHTS

TRUNKS, FIRST = ("resnet18", "points"), ("mean", "coarsenet")
# Mean and deviation of the channels, roughly: grey, PNCC and normals where the face is, and zeros elsewhere
LEVEL = np.array([0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.3], np.float32)
CONTRAST = np.array([0.25, 0.3, 0.3, 0.3, 0.3, 0.3, 0.4], np.float32)
POSE_UNITS = np.array([30.0, 30.0, 30.0, 0.1, 0.1, 0.1], np.float32)     # chosen: what pose numbers vary by, roughly


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseConfig:
    """Size, outputs and feedback of an iterative CoarseNet.

    Attributes:
        side: of the picture, pixels.
        trunk: "resnet18", the paper's, or "points" (`point_features`), which sees 192 pixels.
        first: r_0: "mean", the paper's, or "coarsenet": what the CoarseNet of `fitkit.models.coarsenet` sees, whose pose is near.
        width: channels of ResNet-18's first stage.
        identity: coefficients of the head's identity.
        expression: of its expression.
        pncc: whether the feedback shows the coordinate code of r_t; else that of the mean face r_0, which tells nothing of it.
        normals: whether it shows the normals of r_t; else those of r_0.
        masked: whether the photo is shown only where the feedback covers it (Section 3.4).
        delta: whether a ResNet tells r_gt - r_t, else r_gt, as in the paper; points tell r_gt.
    """

    side: int = 192
    trunk: str = "points"
    first: str = "coarsenet"
    width: int = 16
    identity: int = 200
    expression: int = 52
    pncc: bool = True
    normals: bool = True
    masked: bool = True
    delta: bool = True

    @property
    def numbers(self) -> CoarseNetConfig:
        """How the numbers of r stand, and the picture they are of: as a CoarseNet's, with its margin where it looks first."""
        return CoarseNetConfig(side=self.side, identity=self.identity, expression=self.expression, perspective=False,
                               upright=self.first == "coarsenet")

    @property
    def outputs(self) -> int:
        """Numbers of r."""
        return self.numbers.outputs


# The paper's network, with the 84 expressions of its head: 290 outputs, 11,337,826 parameters
PAPER = CoarseConfig(side=200, trunk="resnet18", first="mean", width=64, expression=84, delta=False)


class IterativeCoarseNet(nnx.Module):
    """A trunk and a matrix; an untrained one answers the mean face, or with `delta` its last word, whatever it sees."""

    def __init__(self, config: CoarseConfig, *, rngs: nnx.Rngs, mean: Float[np.ndarray, " o"] | None = None,
                 deviation: Float[np.ndarray, " o"] | None = None):
        """`mean` and `deviation`: of r over the training labels, `mean` the paper's r_0; 0 and 1 where they are put in later."""
        if config.trunk == "points":
            self.points = PointReader(config.outputs)
        else:
            self.resnet = ResNet18(CHANNELS, config.outputs, width=config.width, rngs=rngs)
        self.mean = OutputStatistics(np.zeros(config.outputs, np.float32) if mean is None else mean)
        self.deviation = OutputStatistics(np.ones(config.outputs, np.float32) if deviation is None else deviation)
        self.delta, self.layout = config.delta, config.numbers

    def __call__(self, pictures: Float[Array, "b s s 7"], last: Float[Array, "b o"], first: Float[Array, "b o"],
                 head: FeedbackHead) -> Float[Array, "b o"]:
        """The next r.

        Args:
            pictures: of `network_picture`.
            last: the r that their feedback shows.
            first: r_0, which points hold to where they tell little.
            head: whose face it shows.
        """
        mean, deviation = self.mean[...], self.deviation[...]
        if hasattr(self, "points"):
            return self.points(pictures, last, first, head, deviation=deviation, layout=self.layout)
        change = deviation[None] * self.resnet((pictures - LEVEL) / CONTRAST)
        return last + change if self.delta else mean[None] + change


def shown(head: FeedbackHead, grey: Float[Array, "b s s"], last: Float[Array, "b o"], first: Float[Array, " o"],
          config: CoarseConfig) -> Float[Array, "b s s 7"]:
    """What the network sees of grey pictures in [0, 1] when it has said `last`; `first` is r_0."""
    def drawn(numbers: Float[Array, " o"]) -> Float[Array, "s s 6"]:
        return render_feedback(head, split_outputs(numbers, config.numbers), side=config.side)

    picture = network_picture(grey, jax.lax.map(drawn, last), masked=config.masked)
    if config.pncc and config.normals:
        return picture
    other = drawn(first)[None]
    picture = picture if config.pncc else picture.at[..., PNCC].set(other[..., :3])
    return picture if config.normals else picture.at[..., NORMALS].set(other[..., 3:])


@functools.partial(jax.jit, static_argnames=("config", "iterations"))
def iterate(parameters: Parameters, head: FeedbackHead, pictures: Float[Array, "b t t 3"], first: Float[Array, "b o"], *,
            config: CoarseConfig, iterations: int = 4) -> Float[Array, "iterations b o"]:
    """What a trained network says of each picture after each iteration.

    Args:
        parameters: of `load_coarse`.
        head: whose face is shown.
        pictures: sRGB in [0, 1], of `config.numbers.seen` pixels.
        first: r_0 of each, of `first_numbers`.
        config: of the network.
        iterations: times that it looks; four in the paper.
    """
    network = nnx.eval_shape(lambda: IterativeCoarseNet(config, rngs=nnx.Rngs(0)))
    network.eval()
    network = with_parameters(network, parameters)
    grey, mean = inner_grey(pictures, config), parameters["mean"]

    def look(last: Float[Array, "b o"], _: None) -> tuple[Float[Array, "b o"], Float[Array, "b o"]]:
        following = network(shown(head, grey, last, mean, config), last, first, head)
        return following, following

    return jax.lax.scan(look, first, None, length=iterations)[1]


def inner_grey(pictures: Float[Array, "b t t 3"], config: CoarseConfig) -> Float[Array, "b s s"]:
    """Luma of the crop in the middle of pictures with a margin."""
    edge = (config.numbers.seen - config.side) // 2
    return grey_of(pictures[:, edge:edge + config.side, edge:edge + config.side])


def first_numbers(parameters: Parameters, pictures: Float[Array, "b t t 3"], config: CoarseConfig) -> Float[Array, "b o"]:
    """r_0 of pictures of `config.numbers.seen` pixels: the mean face, or what CoarseNet sees.

    Raises:
        FitkitError: E_DATA, CoarseNet's weights are missing or damaged.
    """
    if config.first == "mean":
        return jnp.repeat(parameters["mean"][None], len(pictures), axis=0)
    weights, coarsenet = _load_coarsenet()
    small = jax.image.resize(pictures, (len(pictures), coarsenet.seen, coarsenet.seen, 3), "linear")
    return predict(weights, small, config=coarsenet)


@functools.cache
def _load_coarsenet() -> tuple[Parameters, CoarseNetConfig]:
    return load_coarsenet()


def load_coarse(*, path: pathlib.Path = WEIGHTS / "richardson_coarse.safetensors") -> tuple[Parameters, CoarseConfig]:
    """The shipped network, or one trained by the user: `fitkit train richardson_coarse`.

    Raises:
        FitkitError: E_DATA, the file is missing, damaged or of another network.
    """
    mend = "install fitkit again to restore it, or train one: fitkit train richardson_coarse --help"
    what = "the weights of the iterative CoarseNet"
    stored, facts = read_tensors(path, most=MAX_BYTES, code="E_DATA", what=what, mend=mend)
    with parsing("E_DATA", f"{what} {path} cannot be read", mend=mend):
        config = CoarseConfig(**json.loads(facts["config"]))
        check_choice(config.trunk, TRUNKS, code="E_DATA", what="trunk")
        check_choice(config.first, FIRST, code="E_DATA", what="first r")
        numbers = [value for name, value in dataclasses.asdict(config).items() if name not in ("trunk", "first")]
        if not all(type(value) in (int, bool) and 0 <= value <= MOST for value in numbers):
            raise ValueError("the configuration it names is none of this network")
        network = nnx.eval_shape(lambda: IterativeCoarseNet(config, rngs=nnx.Rngs(0)))
        shapes = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(nnx.state(network))}
    if {name: value.shape for name, value in stored.items()} != shapes:
        raise FitkitError("E_DATA", f"the weights in {path} do not fit the network of this version; install fitkit again")
    return jax.device_put({name: value.astype(np.float32) for name, value in stored.items()}), config
