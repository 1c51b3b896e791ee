"""What textures of 1024, 2048 and 4096 texels hold of fine lines in photos of several sizes: contrast beside the true one.

    python -m tests.measurements.fine_textures [--photos 600 1200 2400] [--sheet FILE.png]

A fitted head is drawn from in front under even light, its albedo map crossed by lines of 24, 12, 6 and 3 texels of 4096 from
crest to crest (in bands across forehead, cheeks and chin), into pictures of so many pixels a side, which the head fills. Each
picture is unwrapped as the photo of that head, camera and light known; printed is the lines' amplitude in the map over the true
one. `--sheet`: the maps' bands beside each other, larger than they are.
"""

import argparse
import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np

import fitkit
from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.geometry import head_rotation
from fitkit.io.images import write_image
from fitkit.rendering.render import render_textured
from fitkit.uv.fine_texture import SIZES
from tests.fixtures.source_tree import ROOT

PERIODS = (24, 12, 6, 3)                 # texels of 4096
BANDS = ((0.22, 0.27), (0.47, 0.50), (0.50, 0.53), (0.74, 0.77))      # rows of the map, shares: two on the forehead and cheeks each
COLUMNS = (0.34, 0.42)                   # of it, shares: beside the middle, seen squarely
AMPLITUDE, SKIN = 0.25, 0.35             # of the lines, log; linear albedo
DISTANCE, HEIGHT = 700.0, 290.0          # mm: of the camera, and of what the picture shows


def lined(size: int) -> np.ndarray:
    """The albedo map, linear RGB: each band has its lines."""
    rows, columns = np.mgrid[:size, :size] / size
    phase = np.zeros((size, size))
    for (first, last), period in zip(BANDS, PERIODS, strict=True):
        inside = (rows >= first) & (rows < last)
        phase = np.where(inside, np.sin(2 * np.pi * (columns * SIZES[-1] + 0.5 * SIZES[-1] / size) / period), phase)
    return (SKIN * np.exp(AMPLITUDE * phase))[..., None] * np.ones(3)


def amplitude(albedo: np.ndarray, number: int) -> float:
    """How strong the lines of a band are in a map, sRGB uint8, over the true ones."""
    size = len(albedo)
    rows, columns = (slice(*(int(share * size) for share in shares)) for shares in (BANDS[number], COLUMNS))
    values = np.log(np.maximum(np.asarray(srgb_to_linear(jnp.asarray(albedo[rows, columns] / np.float32(255)))).mean(-1), 1e-3))
    angle = 2 * np.pi * ((np.arange(size)[columns] + 0.5) * SIZES[-1] / size) / PERIODS[number]
    waves = values - values.mean(1, keepdims=True)
    return float(np.abs(2 * np.mean(waves * np.exp(-1j * angle), axis=1)).mean() / AMPLITUDE)


def main() -> None:
    """Draw, unwrap, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[600, 1200, 2400])
    parser.add_argument("--sheet", type=pathlib.Path)
    options = parser.parse_args()
    fit = fitkit.fit(ROOT / "notebooks" / "data" / "astronaut.png", recipe="landmarks")
    parameters = dataclasses.replace(fit.parameters, light=jnp.zeros((9, 3)).at[0].set(1 / 0.282095))
    vertices, texture = fit.mesh().vertices, jnp.asarray(lined(SIZES[-1]), jnp.float32)
    sheets = []
    for side in options.photos:
        camera = fitkit.Camera(focal=jnp.float32(side * DISTANCE / HEIGHT), principal=jnp.full(2, side / 2), perspective=True,
                               rotation=head_rotation(0.0, 0.0, 0.0), translation=jnp.array([0.0, 0.0, DISTANCE]))
        colour, mask, _ = render_textured(fit.model, vertices, texture, camera, parameters.light, height=side, width=side,
                                          bounded=True)
        pixels = np.asarray(jnp.where(mask[..., None], linear_to_srgb(jnp.clip(colour, 0, 1)), 0.5), np.float32)
        for size in SIZES:
            photo = dataclasses.replace(fit.photo, pixels=pixels)
            albedo = dataclasses.replace(fit, photo=photo, camera=camera, parameters=parameters, texture_size=size).texture
            kept = ", ".join(f"{period}: {100 * amplitude(albedo, number):.0f} %" for number, period in enumerate(PERIODS)
                             if period * size // SIZES[-1] >= 2)
            print(f"photo of {side} pixels, {size} texels; lines of texels of 4096: {kept}", flush=True)
            cut = np.repeat(np.repeat(albedo, SIZES[-1] // size, 0), SIZES[-1] // size, 1)
            corners = [(int(first * SIZES[-1]), int(COLUMNS[0] * SIZES[-1])) for first, _ in BANDS]
            sheets.append(np.concatenate([cut[row:row + 120, column:column + 240] for row, column in corners], 0))
    if options.sheet:
        rows = [np.concatenate(sheets[first:first + len(SIZES)], 1) for first in range(0, len(sheets), len(SIZES))]
        write_image(options.sheet, np.concatenate(rows, 0) / 255)


if __name__ == "__main__":
    main()
