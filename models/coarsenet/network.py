"""CoarseNet's network, its configurations and its weights (Guo et al. 2018, Sections VI-B and VII): a ResNet-18, or
MediaPipe's trunk where few pictures can be seen.

    parameters, config = load_coarsenet()                       # weights/coarsenet.safetensors
    numbers = predict(parameters, pictures, config=config)      # sRGB [b, config.seen, .., 3] in [0, 1] -> [b, config.outputs]
    estimate = split_outputs(numbers[0], config)                # identity, expression, pose: fitkit.models.coarsenet.estimate

Of an `upright` network the pictures are `MARGIN` times as large as its crop, and it looks twice (`upright`).
`fitkit.models.coarsenet.crop` cuts the picture out of a photo. What the numbers mean: `fitkit.models.coarsenet.estimate`.
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

from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.blocks.residual import ResNet18
from fitkit.models.coarsenet.mesh_tracking import MeshTracking
from fitkit.models.coarsenet.mesh_trunk import FEATURES, MeshTrunk
from fitkit.models.coarsenet.upright import MARGIN, pose_in_crop, seen_in, upright_picture
from fitkit.models.parameters import with_parameters
from fitkit.models.shipped import MAX_BYTES, WEIGHTS

Parameters = dict[str, Array]
TRUNKS = ("resnet18", "mesh")
POSE = 6                        # yaw, pitch, roll, x, y, logarithm of the size
LIGHT = 27                      # nine spherical harmonics of three channels
GREY, CONTRAST = 0.45, 0.25     # mean and deviation of a picture's values; of photos, roughly
MOST = 1024                     # of any number of a stored configuration, a bound on resources


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseNetConfig:
    """Size and outputs of a CoarseNet.

    Attributes:
        side: of the picture, pixels.
        trunk: "resnet18", the paper's, or "mesh" (`mesh_trunk`; of a tracking network `mesh_tracking`), in 192 pixels.
        width: channels of ResNet-18's first stage.
        identity: coefficients of the head's identity.
        expression: of its expression.
        albedo: of its albedo; 0 for the network of single pictures.
        tracking: whether it follows a face: the picture has six channels, frame and PNCC of the frame before, the pose is a
            difference, and albedo and light are told as well.
        perspective: whether a pinhole sees the face, else weak perspective, as in the paper.
        upright: whether it looks twice, of trunk "mesh": at the face's lean, place and size, then at the face upright.
    """

    side: int = 128
    trunk: str = "resnet18"
    width: int = 16
    identity: int = 200
    expression: int = 52
    albedo: int = 0
    tracking: bool = False
    perspective: bool = True
    upright: bool = False

    @property
    def margin(self) -> float:
        """Side of the picture that it is given over that of the crop."""
        return MARGIN if self.upright else 1.0

    @property
    def seen(self) -> int:
        """Side of the picture that it is given, pixels."""
        return round(self.margin * self.side)

    @property
    def channels(self) -> int:
        """Of the picture."""
        return 6 if self.tracking else 3

    @property
    def outputs(self) -> int:
        """Numbers that the network gives."""
        return self.identity + self.expression + POSE + (self.albedo + LIGHT if self.tracking else 0)


# The paper's networks, for the Basel Face Model and FaceWarehouse's expressions: 11,271,417 and 11,345,976 parameters
PAPER = CoarseNetConfig(side=224, width=64, identity=100, expression=79, perspective=False)
PAPER_TRACKING = dataclasses.replace(PAPER, side=256, albedo=100, tracking=True)


class OutputStatistics(nnx.Variable):
    """Mean or deviation of what a network gives; not trained."""


class CoarseNet(nnx.Module):
    """A trunk and a matrix, whose outputs are deviations from a mean: an untrained one answers the mean face whatever it sees."""

    def __init__(self, config: CoarseNetConfig, *, rngs: nnx.Rngs, mean: Float[np.ndarray, " o"] | None = None,
                 deviation: Float[np.ndarray, " o"] | None = None):
        """`mean` and `deviation`: of the outputs over the training labels; 0 and 1 where they are put in later."""
        if config.trunk == "mesh" and config.tracking:
            self.tracking = MeshTracking(config.identity, config.expression, config.albedo + LIGHT, rngs=rngs)
        elif config.trunk == "mesh":
            self.mesh = MeshTrunk()
            self.output = nnx.Linear(FEATURES, config.outputs, kernel_init=nnx.initializers.zeros, rngs=rngs)
            if config.upright:
                self.first = nnx.Linear(FEATURES, POSE, kernel_init=nnx.initializers.zeros, rngs=rngs)
        else:
            self.resnet = ResNet18(config.channels, config.outputs, width=config.width, rngs=rngs)
        self.mean = OutputStatistics(np.zeros(config.outputs, np.float32) if mean is None else mean)
        self.deviation = OutputStatistics(np.ones(config.outputs, np.float32) if deviation is None else deviation)

    def __call__(self, pictures: Float[Array, "b s s c"]) -> Float[Array, "b o"]:
        """The numbers of each picture: sRGB in [0, 1], and of a tracking network the PNCC in [0, 1] behind it."""
        if hasattr(self, "tracking"):
            deviations = self.tracking(pictures)
        else:
            deviations = self.resnet((pictures - GREY) / CONTRAST) if hasattr(self, "resnet") else self.output(self.mesh(pictures))
        return self.mean[...][None] + self.deviation[...][None] * deviations

    def look_twice(self, pictures: Float[Array, "b t t 3"]) -> Float[Array, "b o"]:
        """The numbers of pictures with `MARGIN` around their crops, of an upright network; poses are those in the crops."""
        side = round(pictures.shape[1] / MARGIN)
        border = (pictures.shape[1] - side) // 2
        features = self.mesh(pictures[:, border:border + side, border:border + side])
        first = self.mean[...][-POSE:] + self.deviation[...][-POSE:] * self.first(features)
        seen = jax.vmap(seen_in)(first)
        numbers = self(jax.vmap(functools.partial(upright_picture, side=side))(pictures, seen))
        return jnp.concatenate([numbers[:, :-POSE], jax.vmap(pose_in_crop)(numbers[:, -POSE:], seen)], axis=1)


@functools.partial(jax.jit, static_argnames="config")
def predict(parameters: Parameters, pictures: Float[Array, "b s s c"], *, config: CoarseNetConfig) -> Float[Array, "b o"]:
    """The numbers of each picture, by a trained network; `s` is `config.seen`."""
    network = nnx.eval_shape(lambda: CoarseNet(config, rngs=nnx.Rngs(0)))
    network.eval()
    trained = with_parameters(network, parameters)
    result: Float[Array, "b o"] = trained.look_twice(pictures) if config.upright else trained(pictures)
    return result


def load_coarsenet(*, path: pathlib.Path = WEIGHTS / "coarsenet.safetensors") -> tuple[Parameters, CoarseNetConfig]:
    """The shipped network, or one trained by the user: `fitkit train coarsenet`.

    Raises:
        FitkitError: E_DATA, the file is missing, damaged or of another network.
    """
    mend = "install fitkit again to restore it, or train one: fitkit train coarsenet --help"
    stored, facts = read_tensors(path, most=MAX_BYTES, code="E_DATA", what="the weights of CoarseNet", mend=mend)
    with parsing("E_DATA", f"the weights of CoarseNet {path} cannot be read", mend=mend):
        config = CoarseNetConfig(**json.loads(facts["config"]))
        numbers = [value for name, value in dataclasses.asdict(config).items() if name != "trunk"]
        if config.trunk not in TRUNKS or not all(type(value) in (int, bool) and 0 <= value <= MOST for value in numbers):
            raise ValueError("the configuration it names is none of this network")
        network = nnx.eval_shape(lambda: CoarseNet(config, rngs=nnx.Rngs(0)))
        shapes = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(nnx.state(network))}
    if {name: value.shape for name, value in stored.items()} != shapes:
        raise FitkitError("E_DATA", f"the weights in {path} do not fit the network of this version; install fitkit again")
    return jax.device_put({name: value.astype(np.float32) for name, value in stored.items()}), config
