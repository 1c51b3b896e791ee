"""face-api's network computes what its layers say, and its converter reads what the manifest says."""

import io
import json
import tarfile

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.models.build import face_api as builder
from fitkit.models.expression import face_api
from fitkit.models.parameters import load_parameters, parameter_shapes


def convolved(x, kernel, stride):
    """TensorFlow's SAME convolution of one picture by loops over the kernel, float64; `kernel` [3, 3, in, out]."""
    height, width = (-(-side // stride) for side in x.shape[:2])
    before = [max((count - 1) * stride + 3 - side, 0) // 2 for count, side in zip((height, width), x.shape[:2], strict=True)]
    padded = np.pad(x, [(before[0], 3), (before[1], 3), (0, 0)])
    total = np.zeros((height, width, kernel.shape[-1]))
    for i in range(3):
        for j in range(3):
            total += padded[i:i + height * stride:stride, j:j + width * stride:stride] @ kernel[i, j]
    return total


def oracle(tensors, picture):
    """The package's own layers, in its names: `denseBlock4`, mean, matrix, softmax."""
    def separable(x, name, stride):
        depthwise = np.einsum("ijc,cd->ijcd", tensors[f"{name}/depthwise_filter"][..., 0], np.eye(x.shape[-1]))
        return convolved(x, depthwise, stride) @ tensors[f"{name}/pointwise_filter"][0, 0] + tensors[f"{name}/bias"]

    x = (255 * picture - np.array([122.782, 117.001, 104.298])) / 255
    for block in range(4):
        name = f"dense{block}/conv"
        first = separable(x, f"{name}0", 2) if block else convolved(x, tensors[f"{name}0/filters"], 2) + tensors[f"{name}0/bias"]
        out1 = np.maximum(first, 0)
        out2 = separable(out1, f"{name}1", 1)
        out3 = separable(np.maximum(out1 + out2, 0), f"{name}2", 1)
        out4 = separable(np.maximum(out1 + (out2 + out3), 0), f"{name}3", 1)
        x = np.maximum(out1 + (out2 + (out3 + out4)), 0)
    features = x.mean((0, 1))
    scores = np.exp(features @ tensors["fc/weights"] + tensors["fc/bias"])
    return scores / scores.sum(), features


def in_the_package(parameters):
    """The shipped parameters under the package's names."""
    named = {"fc/weights": parameters["output.kernel"], "fc/bias": parameters["output.bias"]}
    for block in range(4):
        for layer in range(4):
            place, name = f"blocks.{block}.{f'others.{layer - 1}' if layer else 'first'}", f"dense{block}/conv{layer}"
            if f"{place}.kernel" in parameters:
                named |= {f"{name}/filters": parameters[f"{place}.kernel"], f"{name}/bias": parameters[f"{place}.bias"]}
            else:
                named |= {f"{name}/depthwise_filter": parameters[f"{place}.depthwise_kernel"][..., None],
                          f"{name}/pointwise_filter": parameters[f"{place}.pointwise.kernel"][None, None],
                          f"{name}/bias": parameters[f"{place}.pointwise.bias"]}
    return {name: np.asarray(value, np.float64) for name, value in named.items()}


def test_the_network_is_its_layers_and_knows_a_smile(astronaut_crop):
    parameters = face_api.load_face_api()
    found = face_api.emotions(parameters, jnp.asarray(astronaut_crop)[None])
    expected, features = oracle(in_the_package(parameters), astronaut_crop.astype(np.float64))
    np.testing.assert_allclose(found.probability[0], expected, atol=1e-4)
    np.testing.assert_allclose(found.features[0], features, atol=1e-3)
    assert face_api.EMOTIONS[int(np.argmax(found.probability[0]))] == "happy"


@pytest.fixture(scope="module")
def astronaut_crop():
    from pathlib import Path

    from PIL import Image
    photo = Image.open(Path(__file__).parents[3] / "notebooks" / "data" / "astronaut.png").convert("RGB")
    return np.asarray(photo.crop((175, 60, 275, 160)).resize((112, 112)), np.float32) / 255


def test_a_manifest_says_where_tensors_lie_and_what_their_bytes_mean():
    entries = [{"name": "a", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
               {"name": "b", "shape": [3], "dtype": "float32"}]
    data = bytes([0, 1, 2, 255]) + np.array([1.5, -2, 3], "<f4").tobytes()
    tensors = builder.read_tensors(json.dumps([{"weights": entries}]).encode(), data)
    np.testing.assert_array_equal(tensors["a"], [[-1, -0.5], [0, 126.5]])
    np.testing.assert_array_equal(tensors["b"], [1.5, -2, 3])
    with pytest.raises(ValueError, match="the manifest tells of 16 bytes, and there are 17"):
        builder.read_tensors(json.dumps([{"weights": entries}]).encode(), data + b"x")


def test_the_builder_makes_the_parameters_back_and_refuses_other_packages(tmp_path):
    """Shipped parameters -> the package's names -> the builder's: the same; a package of other bytes is refused."""
    shipped = load_parameters(face_api.FaceApiNet(), "face_api_expression")
    back = builder.parameters({name: value.astype(np.float32) for name, value in in_the_package(shipped).items()})
    assert {name: value.shape for name, value in back.items()} == parameter_shapes(face_api.FaceApiNet())
    for name, value in back.items():
        np.testing.assert_array_equal(value, shipped[name])
    package = tmp_path / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        member = tarfile.TarInfo(builder.MODEL + builder.BINARY)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(SystemExit, match=r"is not of @vladmandic/face-api 1\.7\.15"):
        builder.read_package(package, builder.MODEL + builder.BINARY)
