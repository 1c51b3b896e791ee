"""Identity networks: a face crop as a unit embedding. `load_identity(name)` reads one; `activations` and `embed` use it.

    network = load_identity()                               # or name="mobileface", "arcface", "file.safetensors"
    crop = fitkit.detection.face_crop.align(photo, points, frame=network.frame)     # sRGB in [0, 1]
    vectors, maps = activations(network, crop[None])         # unit embeddings [b, d]; feature maps, finest first

An `Identity` is a PyTree: pass it as an argument of jitted code. Both functions are pure, under jit, grad and vmap. Weight files
are safetensors that state their own architecture: the embedded one in `weights/`, which is dlib's, and those that `fitkit assets
import identity` put into the user's data folder. Identity similarity of two faces: the dot product of their embeddings, the cosine.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from safetensors import numpy as arrays

from fitkit.detection.face_crop import ARCFACE, CropFrame
from fitkit.errors import FitkitError
from fitkit.geometry.vectors import safe_normalize
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.identity.dlib_resnet import CHIP, DlibResNet, DlibResNetPlan
from fitkit.models.identity.iresnet import IResNet, IResNetPlan
from fitkit.models.identity.mobilefacenet import MobileFaceNet, MobileFaceNetPlan
from fitkit.models.parameters import WEIGHTS, parameter_shapes, with_parameters
from fitkit.models.shipped import imported_folder

Plan = MobileFaceNetPlan | IResNetPlan | DlibResNetPlan
_KINDS: dict[str, Any] = {"mobilefacenet": (MobileFaceNetPlan, MobileFaceNet), "iresnet": (IResNetPlan, IResNet),
                          "dlib": (DlibResNetPlan, DlibResNet)}
_LARGEST = 400_000_000      # bytes, a bound on resources; IResNet-100 in float32 has 261 million
# Of a stated architecture, bounds on resources
_MAX_NUMBERS, _MAX_NUMBER = 400, 4096
_MAX_BLOCKS = 200           # IResNet-100 has 49


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """An identity network: its parameters and its architecture."""

    parameters: dict[str, Array]                # by dotted name
    plan: Plan = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})

    @property
    def frame(self) -> CropFrame:
        """The crop it reads."""
        return CHIP if isinstance(self.plan, DlibResNetPlan) else ARCFACE


def activations(network: Identity, crops: Float[Array, "b s s 3"],
                ) -> tuple[Float[Array, "b d"], tuple[Float[Array, "b h w c"], ...]]:
    """Unit embeddings, and the feature map at the end of each stage, finest first: F^n and the F^j of GANFIT, Eqs. 8 and 9.

    Args:
        network: from `load_identity`.
        crops: aligned by `fitkit.detection.face_crop.align` to `network.frame`; sRGB in [0, 1].
    """
    embedding, maps = with_parameters(_module(network.plan), network.parameters)(crops)
    return safe_normalize(embedding), maps


def embed(network: Identity, crops: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
    """Unit embeddings of aligned crops, sRGB in [0, 1], without the feature maps."""
    return activations(network, crops)[0]


def load_identity(*, name: str = "embedded") -> Identity:
    """An identity network by name.

    Args:
        name: "embedded"; a name that `fitkit assets import identity` gave ("mobileface", "arcface"); or a file it wrote.

    Raises:
        FitkitError: `E_DATA`: there is none of that name, or its file is damaged.
    """
    folder = imported_folder()
    if name == "embedded":
        path = WEIGHTS / "identity.safetensors"
    else:
        path = pathlib.Path(name) if name.endswith(".safetensors") else folder / f"{name}.safetensors"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.safetensors")) if folder.is_dir() else []
        there = ", ".join(["embedded", *known])
        raise FitkitError("E_DATA", f"there is no identity network {name!r} (there are: {there}); convert a file of its weights "
                          "with fitkit assets import identity FILE")
    return _read_once(path, name, path.stat().st_mtime_ns)


def read_identity(path: pathlib.Path) -> Identity:
    """An identity network from a safetensors file of ours.

    Raises:
        FitkitError: `E_DATA`: the file is missing, damaged, or holds something else.
    """
    mend = "import it again with fitkit assets import identity, or reinstall fitkit where it is the embedded one"
    stored, facts = read_tensors(path, most=_LARGEST, code="E_DATA", what="the identity network", mend=mend)
    with parsing("E_DATA", f"the identity network {path} cannot be read", mend=mend):
        if "identity" not in facts:
            raise ValueError("it names no identity network")
        plan = _read_plan(facts["identity"])
        if {key: value.shape for key, value in stored.items()} != parameter_shapes(_module(plan)):
            raise ValueError("its arrays do not fit the arrangement it names")
        stored = {key: value.astype(np.float32) for key, value in stored.items()}
        if not all(np.isfinite(value).all() for value in stored.values()):
            raise ValueError("it holds values that are not finite")
    return Identity(parameters=jax.device_put(stored), plan=plan, name=path.stem)


def check_shapes(network: Identity) -> None:
    """Check parameters against the architecture they come with.

    Raises:
        ValueError: they do not fit it.
    """
    expected = parameter_shapes(_module(network.plan))
    wrong = set(expected) - set(network.parameters)
    if wrong := wrong | {key for key, value in network.parameters.items() if expected.get(key) != value.shape}:
        raise ValueError(f"these parameters do not fit: {', '.join(sorted(wrong)[:3])}")


def encode_identity(parameters: dict[str, np.ndarray], plan: Plan, *, half: bool = False) -> bytes:
    """The bytes of a file that `read_identity` reads; `half` stores float16."""
    kind = next(kind for kind, (description, _) in _KINDS.items() if isinstance(plan, description))
    stored = {key: np.ascontiguousarray(value, np.float16 if half else np.float32) for key, value in parameters.items()}
    return arrays.save(stored, metadata={"identity": json.dumps({"network": kind, **dataclasses.asdict(plan)})})


def _read_plan(text: str) -> Plan:
    """The architecture as a file states it: known fields, small numbers."""
    stated = json.loads(text)
    description, _ = _KINDS[stated.pop("network")]
    plan = description(**{key: _tuples(value) for key, value in stated.items()})
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> None:
    """Check that an architecture is of a size that identity networks have.

    Raises:
        ValueError: it is not.
    """
    numbers = [value for field in dataclasses.astuple(plan) for value in _flat(field) if not isinstance(value, str)]
    blocks = sum(_flat(getattr(plan, "layers", ())))
    if len(numbers) > _MAX_NUMBERS or any(not 0 < number <= _MAX_NUMBER for number in numbers) or blocks > _MAX_BLOCKS:
        raise ValueError("the arrangement it names is none that fitkit knows")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _flat(value: Any) -> list[Any]:
    return [inner for each in value for inner in _flat(each)] if isinstance(value, tuple) else [value]


@functools.cache
def _module(plan: Plan) -> nnx.Module:
    """The network without parameters: they are arguments of compiled code."""
    build = next(build for description, build in _KINDS.values() if isinstance(plan, description))
    return nnx.eval_shape(lambda: build(plan))


@functools.lru_cache(maxsize=4)
def _read_once(path: pathlib.Path, name: str, stamp: int) -> Identity:
    return dataclasses.replace(read_identity(path), name=name)
