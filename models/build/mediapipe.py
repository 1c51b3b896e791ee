"""Converts MediaPipe's face detector, its two face meshes and its blendshape network to weight files.

    python -m fitkit.models.build.mediapipe mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl BUNDLE

Takes two `.tflite` files out of the wheel (any platform's wheel holds the same two); the others, the 478-point mesh and the
blendshapes, are not in a wheel but in MediaPipe's model bundle `face_landmarker.task`, a zip archive; `BUNDLE` is the folder that
it was unpacked to. All sha256 are checked. Reads their constant tensors with a minimal flatbuffer reader, renames and transposes
them for the Flax modules, and writes `models/weights/{facedetector,facemesh,facemesh_v2,blendshapes}.safetensors` in their own
precision. The same files give the same bytes.
"""

import argparse
import hashlib
import pathlib
import re
import struct
import zipfile
from typing import Any

import numpy as np
from flax import nnx
from safetensors import numpy as safetensors

from fitkit.models.mediapipe.blendshapes import BLOCKS, BlendshapeNet
from fitkit.models.mediapipe.facedetector import FaceDetector
from fitkit.models.mediapipe.facemesh import FaceMesh
from fitkit.models.mediapipe.facemesh_v2 import FaceMeshV2
from fitkit.models.parameters import WEIGHTS, parameter_shapes

DETECTOR = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
MESH = "mediapipe/modules/face_landmark/face_landmark.tflite"
MESH_V2, BLENDSHAPES = "face_landmarks_detector.tflite", "face_blendshapes.tflite"
LICENCE = "mediapipe-0.10.21.dist-info/LICENSE"
SHA256 = {
    DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    MESH: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    MESH_V2: "bc5ee5de06d8c3a5465c3155227615b164480a52105a2b3df5748250ab4d914f",
    BLENDSHAPES: "4f36dded049db18d76048567439b2a7f58f1daabc00d78bfe8f3ad396a2d2082",
}

# TensorFlow Lite schema, version 3: tensor types, and positions of the fields that are read
FLOATS: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
MODEL_SUBGRAPHS, MODEL_BUFFERS, SUBGRAPH_TENSORS, BUFFER_DATA = 2, 4, 0, 0     # of Model, SubGraph and Buffer
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_BUFFER, TENSOR_NAME = 0, 1, 2, 3              # of Tensor


def read_member(wheel: pathlib.Path, name: str) -> bytes:
    """The bytes of one file of the wheel.

    Raises:
        SystemExit: its sha256 is that of another release.
    """
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(name)
    check(data, name, f"{wheel} is not of mediapipe 0.10.21")
    return data


def check(data: bytes, name: str, otherwise: str) -> None:
    """Check the sha256 of a file's bytes.

    Raises:
        SystemExit: it is not the one in `SHA256`; `otherwise` says what that means.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256[name]:
        raise SystemExit(f"{name} has sha256 {found}, not {SHA256[name]}: {otherwise}.")


class Table:
    """A flatbuffer table: fields by index of the schema. Only what a `.tflite` needs."""

    def __init__(self, data: bytes, position: int):
        self.data = data
        self.position = position
        self.vtable = position - self._unpack("<i", position)

    def _unpack(self, form: str, at: int) -> int:
        return int(struct.unpack_from(form, self.data, at)[0])

    def field(self, index: int) -> int:
        """Byte position of a field, 0 where it is absent."""
        if 4 + 2 * index >= self._unpack("<H", self.vtable):
            return 0
        offset = self._unpack("<H", self.vtable + 4 + 2 * index)
        return self.position + offset if offset else 0

    def scalar(self, index: int, form: str) -> int:
        """An integer field, 0 where it is absent."""
        at = self.field(index)
        return self._unpack(form, at) if at else 0

    def vector(self, index: int) -> tuple[int, int]:
        """First byte and length of a vector field."""
        at = self.field(index)
        if not at:
            return 0, 0
        at += self._unpack("<I", at)
        return at + 4, self._unpack("<I", at)

    def tables(self, index: int) -> list["Table"]:
        """A vector of tables."""
        start, length = self.vector(index)
        return [Table(self.data, at + self._unpack("<I", at)) for at in range(start, start + 4 * length, 4)]


def read_constants(data: bytes) -> dict[str, np.ndarray]:
    """Every constant float tensor of a `.tflite` file's bytes, by name."""
    model = Table(data, struct.unpack_from("<I", data)[0])
    buffers = model.tables(MODEL_BUFFERS)
    constants = {}
    for tensor in model.tables(MODEL_SUBGRAPHS)[0].tables(SUBGRAPH_TENSORS):
        start, length = buffers[tensor.scalar(TENSOR_BUFFER, "<I")].vector(BUFFER_DATA)
        kind = FLOATS.get(tensor.scalar(TENSOR_TYPE, "<b"))
        if length and kind is not None:
            (at, count), (first, letters) = tensor.vector(TENSOR_SHAPE), tensor.vector(TENSOR_NAME)
            shape = np.frombuffer(data, "<i4", count, at)
            name = bytes(data[first:][:letters]).decode()
            constants[name] = np.frombuffer(data, kind, length // kind.itemsize, start).reshape(shape)
    return constants


def _pointwise(constants: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    # axes: output, height, width, input -> (height width input), output
    kernel = constants[f"{name}/Kernel"]
    return {"kernel": kernel.reshape(len(kernel), -1).T, "bias": constants[f"{name}/Bias"]}


def _stem(constants: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    # axes: output, height, width, input -> height, width, input, output
    return {"kernel": constants[f"{name}/Kernel"].transpose(1, 2, 3, 0), "bias": constants[f"{name}/Bias"]}


def _block(constants: dict[str, np.ndarray], depthwise: str, pointwise: str, prelu: str = "") -> dict[str, np.ndarray]:
    block = {
        "depthwise_kernel": constants[f"{depthwise}/Kernel"][0],
        "depthwise_bias": constants[f"{depthwise}/Bias"],
        "kernel": constants[f"{pointwise}/Kernel"][:, 0, 0].T,
        "bias": constants[f"{pointwise}/Bias"],
    }
    return block | ({"slope": constants[f"{prelu}/Alpha"].ravel()} if prelu else {})


def detector_parameters(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters of `FaceDetector`: block i is `depthwise_conv2d_i`, `conv2d_{i+1}`."""
    parts = {"stem": _stem(constants, "conv2d")}
    for i in range(16):
        place = f"fine.{i}" if i < 11 else f"coarse.{i - 11}"
        parts[place] = _block(constants, f"depthwise_conv2d_{i}" if i else "depthwise_conv2d", f"conv2d_{i + 1}")
    heads = {"fine_score": "classificator_8", "fine_box": "regressor_8",
             "coarse_score": "classificator_16", "coarse_box": "regressor_16"}
    parts |= {place: _pointwise(constants, name) for place, name in heads.items()}
    return {f"{place}.{key}": value for place, part in parts.items() for key, value in part.items()}


def mesh_parameters(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters of `FaceMesh`: block i (from 1) is `depthwise_conv2d_i`, `conv2d_{i+1}`, `p_re_lu_{i+1}`; then two branches."""
    def block(depthwise: int, pointwise: int, prelu: int) -> dict[str, np.ndarray]:
        return _block(constants, f"depthwise_conv2d_{depthwise}", f"conv2d_{pointwise}", f"p_re_lu_{prelu}")

    def squeeze(convolution: int, prelu: int, place: str) -> dict[str, dict[str, np.ndarray]]:
        slope = constants[f"p_re_lu_{prelu}/Alpha"].ravel()
        return {f"{place}.squeeze": _pointwise(constants, f"conv2d_{convolution}"), place: {"squeeze_slope": slope}}

    parts = {f"trunk.{i - 1}": block(i, i + 1, i + 1) for i in range(1, 15)}
    parts |= {f"points.wide.{i - 15}": block(i, i + 1, i + 1) for i in range(15, 18)}
    parts |= squeeze(19, 19, "points") | {"points.narrow": block(18, 20, 20), "points.output": _pointwise(constants, "conv2d_21")}
    parts |= {"face.wide.0": block(23, 28, 26)} | squeeze(29, 27, "face")
    parts |= {"face.narrow": block(24, 30, 28), "face.output": _pointwise(constants, "conv2d_31")}
    parts["stem"] = _stem(constants, "conv2d_1")
    flat = {f"{place}.{key}": value for place, part in parts.items() for key, value in part.items()}
    return flat | {"stem_slope": constants["p_re_lu_1/Alpha"].ravel()}


def mesh_v2_parameters(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters of `FaceMeshV2`: block i is `blaze_block_i`; slopes 2 i + 1 and 2 i + 2 are its own, 0 the stem's, 35 the head's.

    A tensor into which several layers were folded carries all their names; the first names the layer, and a kernel has more axes
    than a bias.
    """
    parts: dict[tuple[str, bool], np.ndarray] = {}
    slopes: dict[int, np.ndarray] = {}
    for name, value in constants.items():
        first = name.partition(";")[0]
        if slope := re.search(r"PreLU_(\d+)/", first):
            slopes[int(slope[1])] = value.ravel()
            continue
        layer = re.search(r"(blaze_block_\d+/(?:conv|norm)\d|(?:conv|norm)_\w+)/", first)
        if layer is None:
            raise SystemExit(f"{MESH_V2}: no layer is known for tensor {first}.")
        parts[layer[1].replace("norm", "conv"), value.ndim > 1] = value

    found = {"stem.kernel": parts["conv_init", True].transpose(1, 2, 3, 0), "stem.bias": parts["conv_init", False],
             "stem_slope": slopes[0], "squeeze_slope": slopes[35]}
    for index in range(18):
        place, within, after = (f"trunk.{index}", 2 * index + 1, 2 * index + 2) if index < 17 else ("narrow", 36, 37)
        found |= {f"{place}.depthwise_kernel": parts[f"blaze_block_{index}/conv0", True][0],
                  f"{place}.depthwise_bias": parts[f"blaze_block_{index}/conv0", False],
                  f"{place}.kernel": parts[f"blaze_block_{index}/conv1", True][:, 0, 0].T,
                  f"{place}.bias": parts[f"blaze_block_{index}/conv1", False],
                  f"{place}.inner_slope": slopes[within], f"{place}.slope": slopes[after]}
    for place, source in (("squeeze", "conv_head"), ("output", "conv_landmarks")):
        kernel = parts[source, True]
        found |= {f"{place}.kernel": kernel.reshape(len(kernel), -1).T, f"{place}.bias": parts[source, False]}
    return found


def blendshape_parameters(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters of `BlendshapeNet`, by the ends of the tensors' names."""
    def of(name: str) -> np.ndarray:
        [value] = [value for key, value in constants.items() if key.endswith(name)]
        return value

    def dense(name: str) -> dict[str, np.ndarray]:
        kernel = of(f"{name}/Conv2D")      # axes: output, 1, 1, input
        return {"kernel": kernel[:, 0, 0].T, "bias": of(f"{name}/BiasAdd/ReadVariableOp")}

    parts = {"tokens": dense("General/conv2d"), "embedding": dense("input_tokens_embedding"),
             "output": dense("output_blendweights")}
    norms: dict[str, np.ndarray] = {}
    for index in range(BLOCKS):
        block = f"MixerBlock_{index}"
        for place, source in (("token", "mlp_token_mixing"), ("channel", "mlp_channel_mixing")):
            parts |= {f"blocks.{index}.{place}_in": dense(f"{block}/{source}/Mlp_1"),
                      f"blocks.{index}.{place}_out": dense(f"{block}/{source}/Mlp_2")}
        norms |= {f"blocks.{index}.{place}_norm": of(f"{block}/{norm}/batchnorm/mul/ReadVariableOp")
                  for place, norm in (("token", "layer_norm1"), ("channel", "layer_norm2"))}
    flat = {f"{place}.{key}": value for place, part in parts.items() for key, value in part.items()}
    return flat | norms | {"result": of("AddExtraTokens/strided_slice_1").ravel()}


def write(parameters: dict[str, np.ndarray], module: nnx.Module, path: pathlib.Path) -> None:
    """Write one weight file with sorted keys, in the precision of the source.

    Raises:
        SystemExit: names or shapes are not those of the module.
    """
    found = {key: value.shape for key, value in parameters.items()}
    if found != parameter_shapes(module):
        raise SystemExit(f"{path.name}: the tensors of the tflite file do not fit {type(module).__name__}.")
    path.write_bytes(safetensors.save({key: np.ascontiguousarray(parameters[key]) for key in sorted(parameters)}))


def build(wheel: pathlib.Path, bundle: pathlib.Path, out: pathlib.Path) -> None:
    """Convert the four networks to weight files in the folder `out`, and write the licence beside them."""
    jobs = [(DETECTOR, detector_parameters, FaceDetector(), "facedetector"), (MESH, mesh_parameters, FaceMesh(), "facemesh")]
    for member, convert, module, name in jobs:
        write(convert(read_constants(read_member(wheel, member))), module, out / f"{name}.safetensors")
    loose = [(MESH_V2, mesh_v2_parameters, FaceMeshV2(), "facemesh_v2"),
             (BLENDSHAPES, blendshape_parameters, BlendshapeNet(), "blendshapes")]
    for file, change, network, name in loose:
        data = (bundle / file).read_bytes()
        check(data, file, f"{bundle / file} is of another release")
        write(change(read_constants(data)), network, out / f"{name}.safetensors")
    with zipfile.ZipFile(wheel) as archive:
        (out / "mediapipe-LICENSE.txt").write_bytes(archive.read(LICENCE))


def main() -> None:
    """Run the builder from the command line."""
    parser = argparse.ArgumentParser(description="Convert MediaPipe's face networks to fitkit's weight files.")
    parser.add_argument("wheel", type=pathlib.Path, help="mediapipe-0.10.21-*.whl, of any platform")
    parser.add_argument("bundle", type=pathlib.Path, help=f"folder of {MESH_V2} and {BLENDSHAPES}")
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS, help="folder of the weight files")
    arguments = parser.parse_args()
    build(arguments.wheel, arguments.bundle, arguments.out)


if __name__ == "__main__":
    main()
