"""VGG-Face (Parkhi et al. 2015) up to its third pooling, imported by file, as the blocks that FineNet starts from in the paper.

Behind `fitkit assets import vggface FILE`: Keras' `.h5` (keras-vggface) or `.safetensors` of PyTorch's names. Only arrays of known
names and shapes are read; no file is run. VGG-Face sees colours from 0 to 255 less their mean, FineNet grey relative to the face's
own and depth: kernels of the first layer are summed over the colours for grey, and zero for depth. Before the file is written, the
network's features and those of the original, in NumPy, must agree on a grey picture.
"""

import hashlib
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx
from jaxtyping import Array, Float

from fitkit.errors import FitkitError
from fitkit.io.array_files.hdf5 import read_hdf5
from fitkit.io.atomic_files import write_bytes
from fitkit.io.tensor_files import parse_tensors, read_tensors
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.richardson.fine_network import CONVOLUTIONS, PAPER, HypercolumnNet
from fitkit.models.shipped import trunks_folder, write_note

NAME = "vggface"
LAYERS = tuple(f"conv{block}_{place}" for block, count in enumerate(CONVOLUTIONS, 1) for place in range(1, count + 1))
# Names of a layer's kernel and bias: Keras 2, Keras 1 and its later files, PyTorch in two spellings
SPELLINGS = (("{0}/{0}/kernel:0", "{0}/{0}/bias:0"), ("{0}/{0}_W:0", "{0}/{0}_b:0"), ("{0}/{0}_W", "{0}/{0}_b"),
             ("{0}/{0}_1/kernel:0", "{0}/{0}_1/bias:0"), ("{0}/{0}_W_1:0", "{0}/{0}_b_1:0"), ("{0}.weight", "{0}.bias"),
             ("{1}.weight", "{1}.bias"))
LEVEL, CONTRAST = 110.0, 110.0      # grey levels of brightness 0, and of 1 above it; chosen: VGG-Face's own mean is 109
MEAN = (129.1863, 104.7624, 93.5940)      # red, green, blue that VGG-Face takes off (Parkhi et al. 2015, as published with it)
TOLERANCE = 1e-4                    # greatest difference of features, relative to the largest; float32 leaves about 1e-6
LARGEST = 700_000_000               # bytes of a file, a bound on resources; VGG-Face in float32 has 580 million
MEND = "give Keras' .h5 of VGG-Face, or a .safetensors with conv1_1.weight and so on (safetensors.torch.save_file in PyTorch)"
Layers = dict[str, tuple[np.ndarray, np.ndarray]]      # kernel [3, 3, in, out] and bias of each layer


def import_vgg_face(path: Path, *, sha256: str | None = None) -> tuple[Path, float]:
    """Convert a file of VGG-Face and store its blocks in the user's data folder.

    Args:
        path: `.h5` or `.safetensors`.
        sha256: of the file, hexadecimal, as its publisher states it; a file of another is refused.

    Returns:
        the file written, and the greatest difference of features from the original's, relative to the largest.

    Raises:
        FitkitError: E_USAGE, another kind of file; E_DATA, it is damaged or holds another network; E_OUTPUT, the folder cannot be
            written.
    """
    content = read_bytes(path, most=LARGEST, code="E_DATA", mend=MEND)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.strip().lower():
        raise FitkitError("E_DATA", f"{path} has sha256 {found}, not {sha256}: it is another file; fetch it again or correct"
                          " --sha256")
    spelled = {name: (name, name.replace("conv", "conv_")) for name in LAYERS}
    wanted = tuple(text.format(*spelled[name]) for name in LAYERS for pair in SPELLINGS for text in pair)
    if path.suffix.lower() in (".h5", ".hdf5"):
        arrays = read_hdf5(path, most=LARGEST, names=wanted, code="E_DATA", mend=MEND)
    elif path.suffix.lower() == ".safetensors":
        with parsing("E_DATA", f"{path} cannot be read", mend=MEND):
            arrays = parse_tensors(content)[0]
    else:
        raise FitkitError("E_USAGE", f"{path} is no file of VGG-Face that is read; {MEND}")
    with parsing("E_DATA", f"{path} holds no VGG-Face that fitkit knows", mend=MEND):
        layers = {name: _layer(arrays, name, spelled[name], *shape) for name, shape in zip(LAYERS, _shapes(), strict=True)}
        stored = _converted(layers)
        if (difference := greatest_difference(layers, stored)) > TOLERANCE:
            raise ValueError(f"its features and those of the converted network differ by {difference:.2g}")
    data = safetensors.numpy.save(stored)
    written = write_bytes(trunks_folder() / f"{NAME}.safetensors", data)
    write_note(written, data, source=path.name, source_sha256=found)
    return written, difference


def start_from_trunk(network: HypercolumnNet, name: str) -> None:
    """Put an imported trunk into a network's blocks.

    Raises:
        FitkitError: E_DATA, it was not imported or is damaged; E_FIELD, the network has other widths.
    """
    path = trunks_folder() / f"{name}.safetensors"
    stored, _ = read_tensors(path, most=LARGEST, code="E_DATA", what="the imported trunk",
                             mend="import it: fitkit assets import vggface FILE")
    layers = [layer for block in network.blocks for layer in block]
    expected = {f"{at}.{part}": getattr(layer, part).get_value().shape for at, layer in zip(LAYERS, layers, strict=True)
                for part in ("kernel", "bias")}
    if {key: value.shape for key, value in stored.items()} != expected:
        raise FitkitError("E_FIELD", f"the trunk {name} has the paper's widths {PAPER.widths}; train with --config paper, or"
                          " without --set trunk")
    for at, layer in zip(LAYERS, layers, strict=True):
        layer.kernel.set_value(jnp.asarray(stored[f"{at}.kernel"], jnp.float32))
        layer.bias.set_value(jnp.asarray(stored[f"{at}.bias"], jnp.float32))


def greatest_difference(layers: Layers, stored: dict[str, np.ndarray]) -> float:
    """Greatest difference between features of the original, by NumPy, and of the converted network, relative to the largest."""
    grey = np.random.default_rng(16).uniform(-0.5, 0.5, (16, 16))
    expected = original_features(layers, LEVEL + CONTRAST * grey)
    network = HypercolumnNet(PAPER, rngs=nnx.Rngs(0))
    for at, layer in zip(LAYERS, [layer for block in network.blocks for layer in block], strict=True):
        layer.kernel.set_value(jnp.asarray(stored[f"{at}.kernel"]))
        layer.bias.set_value(jnp.asarray(stored[f"{at}.bias"]))
    planes = np.stack([grey, np.random.default_rng(17).normal(size=grey.shape)], axis=-1)
    found: list[Array] = nnx.jit(lambda network, planes: network.features(planes))(network, jnp.asarray(planes[None], jnp.float32))
    largest = max(np.abs(each).max() for each in expected)
    return float(max(np.abs(np.asarray(a[0]) - b).max() for a, b in zip(found, expected, strict=True)) / max(largest, 1e-9))


def original_features(layers: Layers, grey: Float[np.ndarray, "h w"]) -> list[Float[np.ndarray, "_h _w _c"]]:
    """What VGG-Face's blocks give for a grey picture, levels from 0 to 255; beyond the picture its edge, later zeros."""
    x, found = np.repeat(grey[..., None], 3, axis=-1) - MEAN, []
    names = iter(LAYERS)
    for block, count in enumerate(CONVOLUTIONS):
        if block:
            x = x.reshape(len(x) // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))
        for place in range(count):
            kernel, bias = layers[next(names)]
            around = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="constant" if block or place else "edge")
            height, width = x.shape[:2]
            x = np.maximum(bias + sum(around[i:i + height, j:j + width] @ kernel[i, j] for i in range(3) for j in range(3)), 0)
        found.append(x)
    return found


def _shapes() -> list[tuple[int, int]]:
    """Channels in and out of each layer."""
    ends = [3, *(width for width, count in zip(PAPER.widths, CONVOLUTIONS, strict=True) for _ in range(count))]
    return list(zip(ends, ends[1:], strict=False))


def _layer(arrays: dict[str, np.ndarray], name: str, spelled: tuple[str, str], before: int, width: int
           ) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [3, 3, in, out] and bias of a layer, float64."""
    for pair in SPELLINGS:
        kernel, bias = (arrays.get(text.format(*spelled)) for text in pair)
        if kernel is not None and bias is not None:
            kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
            kernel = kernel.transpose(2, 3, 1, 0) if kernel.shape == (width, before, 3, 3) else kernel
            if kernel.shape != (3, 3, before, width) or bias.shape != (width,):
                raise ValueError(f"{name} has a kernel of shape {kernel.shape}")
            if not (math.isfinite(kernel.sum()) and math.isfinite(bias.sum())):
                raise ValueError(f"{name} holds what is no number")
            return kernel, bias
    raise ValueError(f"it has no {name}")


def _converted(layers: Layers) -> dict[str, np.ndarray]:
    """The layers for brightness and depth in place of three colours."""
    stored: dict[str, np.ndarray] = {}
    for name, (kernel, bias) in layers.items():
        if name == LAYERS[0]:
            bias = bias + kernel.sum(axis=(0, 1)).T @ (LEVEL - np.array(MEAN))
            grey = CONTRAST * kernel.sum(axis=2, keepdims=True)
            kernel = np.concatenate([grey, np.zeros_like(grey)], axis=2)
        stored |= {f"{name}.kernel": np.ascontiguousarray(kernel, np.float32), f"{name}.bias": bias.astype(np.float32)}
    return stored
