"""Converts face-api's expression network to a weight file.

    npm pack @vladmandic/face-api@1.7.15 --ignore-scripts
    python -m fitkit.models.build.face_api vladmandic-face-api-1.7.15.tgz

Takes the network's two files out of the package and checks their sha256; nothing is unpacked to disk or executed. Its tensors lie
one after another in a .bin, uint8 with a scale and a least value each, or float32, as a JSON manifest says. Writes
`models/weights/face_api_expression.safetensors`, float16, and the licence beside it. The same file gives the same bytes.
"""

import argparse
import json
import pathlib

import numpy as np
from safetensors import numpy as safetensors

from fitkit.models.build import package_file
from fitkit.models.expression.face_api import FaceApiNet
from fitkit.models.parameters import WEIGHTS, parameter_shapes

MODEL, LICENCE = "package/model/face_expression_model", "package/LICENSE"
BINARY, MANIFEST = ".bin", "-weights_manifest.json"
SHA256 = {
    MODEL + BINARY: "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
    MODEL + MANIFEST: "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8",
    LICENCE: "9a3442b79acaf4fbc7c2e07b7e2d8f84af9bb3871bf08a69d80304ab00640e9a",
}
MAX_BYTES = 10_000_000      # of a file taken out of the package, a bound on resources


def read_package(path: pathlib.Path, name: str) -> bytes:
    """The bytes of one file of the package; as `package_file.read_package`."""
    return package_file.read_package(path, name, digests=SHA256, release="@vladmandic/face-api 1.7.15", most=MAX_BYTES)


def read_tensors(manifest: bytes, data: bytes) -> dict[str, np.ndarray]:
    """Tensors of a network of face-api by name, float32.

    Raises:
        ValueError: the manifest and the bytes do not fit each other.
    """
    at, tensors = 0, {}
    for entry in json.loads(manifest)[0]["weights"]:
        count, quantized = int(np.prod(entry["shape"])), entry.get("quantization")
        kind = np.dtype(quantized["dtype"] if quantized else "<f4")
        values = np.frombuffer(data, kind, count, at).astype(np.float64)
        at += count * kind.itemsize
        values = values * quantized["scale"] + quantized["min"] if quantized else values
        tensors[entry["name"]] = values.reshape(entry["shape"]).astype(np.float32)
    if at != len(data):
        raise ValueError(f"the manifest tells of {at} bytes, and there are {len(data)}")
    return tensors


def parameters(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters of `FaceApiNet`."""
    found = {"output.kernel": tensors["fc/weights"], "output.bias": tensors["fc/bias"]}
    for block in range(4):
        for layer in range(4):
            source, place = f"dense{block}/conv{layer}", f"blocks.{block}.{f'others.{layer - 1}' if layer else 'first'}"
            if f"{source}/filters" in tensors:
                found |= {f"{place}.kernel": tensors[f"{source}/filters"], f"{place}.bias": tensors[f"{source}/bias"]}
            else:
                found |= {f"{place}.depthwise_kernel": tensors[f"{source}/depthwise_filter"][..., 0],
                          f"{place}.pointwise.kernel": tensors[f"{source}/pointwise_filter"][0, 0],
                          f"{place}.pointwise.bias": tensors[f"{source}/bias"]}
    return found


def build(package: pathlib.Path, out: pathlib.Path) -> None:
    """Convert the network to a weight file in the folder `out`, and write the licence beside it."""
    found = parameters(read_tensors(read_package(package, MODEL + MANIFEST), read_package(package, MODEL + BINARY)))
    if {name: value.shape for name, value in found.items()} != parameter_shapes(FaceApiNet()):
        raise SystemExit(f"{MODEL}: its tensors do not fit FaceApiNet.")
    half = {name: np.ascontiguousarray(found[name].astype(np.float16)) for name in sorted(found)}
    (out / "face_api_expression.safetensors").write_bytes(safetensors.save(half))
    (out / "face_api-LICENSE.txt").write_bytes(read_package(package, LICENCE))


def main() -> None:
    """Run the builder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=pathlib.Path, help="vladmandic-face-api-1.7.15.tgz")
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS, help="folder of the weight file")
    arguments = parser.parse_args()
    build(arguments.package, arguments.out)


if __name__ == "__main__":
    main()
