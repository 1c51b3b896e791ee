"""The canvas that skins are painted on: the embedded head's texture layout, its region masks and landmarks, texel by texel.

Built from `load_head`'s MakeHuman head; `resample` brings a skin from MakeHuman's own layout to it by the head's table
`uv_makehuman`. Arrays are NumPy, `[size, size, ...]`, row 0 at v = 1; lengths are in units of 1/256 of the side, about a
millimetre on the face. Used by `paint.py`, `hair.py` and `marks.py`.
"""

import dataclasses
import functools
import pathlib

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from fitkit.color import srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.io.images import MAX_BYTES
from fitkit.io.untrusted import open_file, parsing
from fitkit.models.heads import makehuman
from fitkit.morphable.regions import triangles_of_part
from fitkit.rendering.texture import texel_fragments, values_at_texels

# MakeHuman's own, texels: side of its map; where the head's window in it begins; that window's height and width
LAYOUT, COLUMN, ROW = 2048, 1280, 320
WINDOW = (1440, 768)
# The embedded head's
SKIN_ROWS = 0.8885                          # share of the rows that the skin's chart fills; below lie eyes, teeth and mouth
IRIS_AXIS, SCLERA_AXIS = -3, -1             # albedo axes that move the iris and the white of the eye
# Chosen, not tuned
UNITS = 256.0                               # of length, along the side of the map
FINER = 4                                   # samples a side of a texel, averaged, when a skin is resampled and a stroke drawn
REGION_BLUR = 1.2                           # units, of the regions' borders


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """The layout at one size."""

    size: int
    covered: Bool[np.ndarray, "S S"]              # the layout has something here
    skin: Bool[np.ndarray, "S S"]                 # of it, skin
    nearest: tuple[np.ndarray, np.ndarray]        # row and column of the covered texel next to each
    regions: dict[str, Float[np.ndarray, "S S"]]  # masks in [0, 1], borders softened
    mean: Float[np.ndarray, "S S 3"]              # the head's mean albedo, linear RGB
    axes: Float[np.ndarray, "A S S 3"]            # its albedo axes
    landmarks: Float[np.ndarray, "68 2"]          # iBUG points, units (x right, y down)
    places: Float[np.ndarray, "D D 2"]            # finer grid: column and row in the skins' window

    def fill(self, texels: Float[np.ndarray, "S S 3"]) -> Float[np.ndarray, "S S 3"]:
        """The map with everything outside the layout taken from the nearest texel inside."""
        return texels[self.nearest]

    def strokes(self, lines: list[np.ndarray], widths: list[float]) -> Float[np.ndarray, "S S"]:
        """Coverage in [0, 1] of polylines `[N, 2]` in units, each of its width, antialiased."""
        step = FINER * self.size / UNITS
        picture = Image.new("L", (FINER * self.size, FINER * self.size))
        draw = ImageDraw.Draw(picture)
        for line, width in zip(lines, widths, strict=True):
            draw.line([(float(x), float(y)) for x, y in line * step], fill=255, width=max(1, round(width * step)))
        return np.asarray(picture.reduce(FINER), np.float32) / 255

    def filled(self, outlines: list[np.ndarray]) -> Float[np.ndarray, "S S"]:
        """Coverage in [0, 1] of polygons `[N, 2]` in units, antialiased."""
        step = FINER * self.size / UNITS
        picture = Image.new("L", (FINER * self.size, FINER * self.size))
        for outline in outlines:
            ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in outline * step], fill=255)
        return np.asarray(picture.reduce(FINER), np.float32) / 255

    def blur(self, values: np.ndarray, sigma: float) -> np.ndarray:
        """Gaussian blur over the two first axes, `sigma` in units."""
        width = sigma * self.size / UNITS
        return scipy.ndimage.gaussian_filter(values, (width, width, *(0.0,) * (values.ndim - 2)), mode="nearest")

    def clouds(self, rng: np.random.Generator, sigma: float) -> Float[np.ndarray, "S S"]:
        """Smooth noise of mean 0 and deviation 1, blobs of `sigma` units."""
        width = sigma * self.size / UNITS
        coarse = max(1, int(width))                  # broad noise is drawn on a coarser grid
        side = -(-self.size // coarse) + 1
        noise = scipy.ndimage.gaussian_filter(rng.standard_normal((side, side)).astype(np.float32), width / coarse, mode="wrap")
        if coarse > 1:
            noise = scipy.ndimage.zoom(noise, (self.size + coarse) / side, order=1)
        noise = noise[: self.size, : self.size]
        return (noise - noise.mean()) / max(float(noise.std()), 1e-6)


@functools.cache
def build_canvas(*, size: int) -> Canvas:
    """The embedded head's layout at `size` texels a side."""
    model = makehuman.load(calibrated=False)      # brows are drawn where the skins have theirs
    tensors, _ = makehuman.read(makehuman.WEIGHTS)
    triangle = np.asarray(texel_fragments(model, size=size).triangle)
    covered = triangle >= 0
    axes = np.asarray(model.albedo).transpose(1, 0, 2)
    columns = [np.asarray(model.regions).T, np.asarray(model.albedo_mean), axes.reshape(len(axes), -1)]
    values, _ = values_at_texels(model, jnp.asarray(np.concatenate(columns, axis=1)), size=size)
    nearest = scipy.ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    values = np.asarray(values)[nearest[0], nearest[1]]
    count = len(model.region_names)
    soften = REGION_BLUR * size / UNITS
    regions = {name: scipy.ndimage.gaussian_filter(values[..., i], soften) for i, name in enumerate(model.region_names)}
    corner = np.asarray(model.landmarks.triangle)
    points = (np.asarray(model.uv)[np.asarray(model.uv_triangles)[corner]]
              * np.asarray(model.landmarks.barycentric)[..., None]).sum(axis=-2)
    of_skin = np.asarray(triangles_of_part(model, "skin"))[np.maximum(triangle, 0)]
    return Canvas(
        size=size, covered=covered, skin=covered & of_skin, nearest=(nearest[0], nearest[1]),
        regions=regions, mean=values[..., count:count + 3],
        axes=np.moveaxis(values[..., count + 3:].reshape(size, size, -1, 3), 2, 0),
        landmarks=np.stack([points[:, 0], 1 - points[:, 1]], axis=1) * UNITS,
        places=_places(model, tensors["uv_makehuman"], size * FINER),
    )


def resample(path: pathlib.Path, ground: Canvas) -> Float[np.ndarray, "S S 3"]:
    """A skin's colour in the head's layout, linear RGB; off the skin's chart it carries no meaning.

    Raises:
        FitkitError: as `read_head_window`.
    """
    linear = read_head_window(path)
    texels = np.stack([scipy.ndimage.map_coordinates(linear[..., c], ground.places[..., ::-1].transpose(2, 0, 1), order=1,
                                                     mode="nearest") for c in range(3)], axis=-1)
    size = ground.size
    return ground.fill(texels.reshape(size, FINER, size, FINER, 3).mean(axis=(1, 3)))


def read_head_window(path: pathlib.Path) -> Float[np.ndarray, "1440 768 3"]:
    """The head's part of a MakeHuman skin, linear RGB.

    Raises:
        FitkitError: `E_NOTIMAGE`, the file is no picture of MakeHuman's layout (2048x2048) or of its head window (768x1440).
    """
    pixels = read_pixels(path)
    if pixels.shape[:2] == (LAYOUT, LAYOUT):
        pixels = pixels[ROW:ROW + WINDOW[0], COLUMN:COLUMN + WINDOW[1]]
    if pixels.shape[:2] != WINDOW:
        raise FitkitError("E_NOTIMAGE", f"the skin {path} has {pixels.shape[1]}x{pixels.shape[0]} pixels, not MakeHuman's "
                          "2048x2048 or the 768x1440 of its head window; name a folder of MakeHuman skins")
    return np.asarray(srgb_to_linear(jnp.asarray(pixels)))


def read_pixels(path: pathlib.Path) -> Float[np.ndarray, "H W 3"]:
    """A picture's sRGB values in [0, 1].

    Raises:
        FitkitError: `E_NOTIMAGE`, it cannot be read.
    """
    mend = "remove it or export it again"
    with (parsing("E_NOTIMAGE", f"the picture {path} cannot be read", mend=mend),
          open_file(path, most=MAX_BYTES, code="E_NOTIMAGE", mend=mend) as file, Image.open(file) as picture):
        return np.asarray(picture.convert("RGB"), np.float32) / 255


def _places(model: makehuman.MorphableModel, table: np.ndarray, size: int) -> Float[np.ndarray, "D D 2"]:
    """Column and row in the skins' window of every texel of a finer grid; texels off the layout take their neighbour's."""
    fragments = texel_fragments(model, size=size)
    triangle, weights = np.asarray(fragments.triangle), np.asarray(fragments.barycentric)
    corners = table[np.asarray(model.uv_triangles)[np.maximum(triangle, 0)]]
    places = (corners * weights[..., None]).sum(axis=-2)
    places = np.stack([places[..., 0] * LAYOUT - COLUMN - 0.5, (1 - places[..., 1]) * LAYOUT - ROW - 0.5], axis=-1)
    rows, columns = scipy.ndimage.distance_transform_edt(triangle < 0, return_distances=False, return_indices=True)
    return places[rows, columns].astype(np.float32)
