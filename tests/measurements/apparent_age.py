"""Whether a foreign network finds wrinkled faces older: labels of kind `detail`, each beside the same picture without its relief.

    python -m tests.measurements.apparent_age FOLDER [--people NUMBER] [--skins FOLDER] [--source NAME]

FOLDER holds `age_gender_model.bin` and its manifest from the npm package `@vladmandic/face-api` 1.7.15 (MIT; `npm pack
--ignore-scripts`), compared with their sha256. It is used for nothing else. Prints a row for each source of relief: share of pairs
in which the wrinkled face is found older, and by how many years; of all, and of faces that are turned by less than `FRONTAL`, which
is what such networks are made for.
"""

import argparse
import functools
import hashlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fitkit.labels.record import Record
from fitkit.models.build.face_api import read_tensors
from fitkit.recipes.synthesize.labels import detail
from fitkit.recipes.synthesize.labels.random import GROUP
from fitkit.recipes.synthesize.relief import sources

FILES = {"age_gender_model.bin": "49f92bbc0afef2342c4385e4a2b0acb6d7a727c6f0aa539499719a81acf9abaa",
         "age_gender_model-weights_manifest.json": "74b60bf3ebf981bf4e661e9cca3a185614e10b25d797118b62e2a68d3ff2569f"}
MEAN = (122.782, 117.001, 104.298)      # RGB, of the network's input
SIDE = 112                              # pixels, of the network's input
FRONTAL = 30.0                          # degrees of yaw
BOX = 1.1                               # side of its crop over that of the box of the 468 points; chosen


def read_network(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors by name: float32, or uint8 with scale and least value."""
    for name, expected in FILES.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise SystemExit(f"{folder / name} is another file than that of @vladmandic/face-api 1.7.15")
    binary, manifest = ((folder / name).read_bytes() for name in FILES)
    return read_tensors(manifest, binary)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
                                        feature_group_count=groups)


def _separable(x: jax.Array, of: dict[str, jax.Array], name: str) -> jax.Array:
    depthwise = of[f"{name}/depthwise_filter"]
    x = _convolve(x, depthwise.reshape(*depthwise.shape[:2], 1, -1), 1, groups=x.shape[-1])
    return _convolve(x, of[f"{name}/pointwise_filter"], 1) + of[f"{name}/bias"]


def _reduced(x: jax.Array, of: dict[str, jax.Array], name: str, *, first: bool = False) -> jax.Array:
    y = _separable(x if first else jax.nn.relu(x), of, f"{name}/separable_conv0")
    y = _separable(jax.nn.relu(y), of, f"{name}/separable_conv1")
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    return y + _convolve(x, of[f"{name}/expansion_conv/filters"], 2) + of[f"{name}/expansion_conv/bias"]


@jax.jit
def ages(of: dict[str, jax.Array], crops: jax.Array) -> jax.Array:
    """Years, of crops [N, 112, 112, 3] in 0 to 255: the small Xception of face-api's `AgeGenderNet`."""
    x = (crops - jnp.array(MEAN)) / 255
    x = jax.nn.relu(_convolve(x, of["entry_flow/conv_in/filters"], 2) + of["entry_flow/conv_in/bias"])
    x = _reduced(_reduced(x, of, "entry_flow/reduction_block_0", first=True), of, "entry_flow/reduction_block_1")
    for block in ("middle_flow/main_block_0", "middle_flow/main_block_1"):
        y = x
        for step in range(3):
            y = _separable(jax.nn.relu(y), of, f"{block}/separable_conv{step}")
        x = x + y
    x = jax.nn.relu(_separable(_reduced(x, of, "exit_flow/reduction_block"), of, "exit_flow/separable_conv"))
    return jnp.mean(x, (1, 2)) @ of["fc/age/weights"][:, 0] + of["fc/age/bias"][0]


def crop(record: Record) -> np.ndarray:
    """The face, and its mirror image."""
    low, high = record.points468.min(0), record.points468.max(0)
    half, middle = (high - low).max() / 2 * BOX, (low + high) / 2
    box = (*(middle - half), *(middle + half))
    face = np.asarray(Image.fromarray(record.picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=tuple(map(float, np.clip(
        box, 0, len(record.picture))))), np.float32)
    return np.stack([face, face[:, ::-1]])


class Smooth(detail.DetailLabels):
    """The same faces without relief."""

    def completed(self, records: list[Record]) -> list[Record]:
        """The records as they are."""
        return records


def measure(network: dict[str, jax.Array], source: str, *, people: int, size: int, skins: str | None) -> np.ndarray:
    """Rows of years by which a wrinkled picture is found older than the same one without relief, and degrees of yaw."""
    usual = sources.SHARES
    try:
        sources.SHARES = {source: 1.0}
        config = detail.DetailConfig(size=size, seed=100, skins=skins)
        numbers = [person * detail.LIGHTS for person in range(people)]
        pairs = list(zip(detail.DetailLabels(config).records(numbers), Smooth(config).records(numbers), strict=True))
    finally:
        sources.SHARES = usual
    estimate = functools.partial(ages, network)
    found = [(*(float(np.mean(estimate(jnp.asarray(crop(each))))) for each in pair), pair[0].pose[0]) for pair in pairs]
    return np.array([(wrinkled - plain, yaw) for wrinkled, plain, yaw in found])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="of the network's two files")
    parser.add_argument("--people", type=int, default=GROUP, help="pairs of each source")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures, pixels")
    parser.add_argument("--skins", help="folder of MakeHuman's skins")
    parser.add_argument("--source", choices=list(sources.SHARES), help="of relief; by default all that there are")
    options = parser.parse_args()
    network = {name: jnp.asarray(values) for name, values in read_network(options.folder).items()}
    known = ["grooves", "compression"] + (["skin"] if options.skins else [])
    for source in [options.source] if options.source else known:
        years, yaw = measure(network, source, people=options.people, size=options.size, skins=options.skins).T
        for whom, older in (("all", years), (f"yaw < {FRONTAL:.0f}", years[np.abs(yaw) < FRONTAL])):
            print(f"{source:12s} {whom:9s} older in {100 * np.mean(older > 0):5.1f} % of {len(older)} pairs, by"
                  f" {np.mean(older):.2f} years (median {np.median(older):.2f})", flush=True)


if __name__ == "__main__":
    main()
