"""What FineNet is given of a crop: planes free of exposure, distance and size. One function, in training and in use.

    brightness, depth            the paper's two: grey photo and coarse depth
    ratio, by_across, by_down    the logarithm of photo over coarse rendering, fine differences alone, and by how much it grows with
                                 slopes of a displacement, across and down: to first order
                                     ratio = by_across * (d displacement / dx) + by_down * (d displacement / dy) + colour
    across, down                 the least slopes that explain the ratio
    solved                       the displacement that explains it best (`shading_solution`), pixels
    hue                          the logarithm of red over green, fine differences alone: shading hardly changes it, pigment does

The network works in pixels of its own picture, in and out: a face twice as far away under a lens twice as long looks the same and
has the same slopes. Its output times the size of a pixel on the face is the displacement in mm.
"""

from typing import NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.color import LUMINANCE, srgb_to_linear
from fitkit.geometry.depth_maps import normals_from_slopes
from fitkit.geometry.filters import gaussian_blur
from fitkit.models.finenet.shading_solution import shading_solution
from fitkit.rendering.shading import sh_basis

A = TypeVar("A", Array, np.ndarray)

# Definitions
SIZE = 256                      # pixels: side of the network's picture (Guo 2018, Section IX)
HALF = SIZE / 2                 # pixels: unit of depth
GREY = (0.299, 0.587, 0.114)    # luma of sRGB (Rec. 601), as a decoder of JPEG has it
PLANES = ("brightness", "depth", "ratio", "by_across", "by_down", "across", "down", "hue", "solved")
MIRRORED = (1, 1, 1, -1, 1, -1, 1, 1, 1)       # signs of the planes in a mirror
# Chosen, not tuned
IN_FACE = 0.5                   # of a soft mask, from which a pixel counts as face
AROUND = 6.0                    # pixels: deviation of the Gaussian over which brightness is that of the neighbourhood
CONTRAST = 4.0                  # times which fine differences are shown: those of a wrinkle are a tenth
DARKEST = 0.05                  # of the face's level: neighbourhood under which differences are noise
MOST = 1.5                      # of fine differences as they are shown; what is beyond is an edge
BRIGHTEST = 2.0                 # brightness above the face's own at which a highlight is cut off
NOWHERE = 1.0                   # depth where there is no head, half crops behind the face's middle; and the most that is told apart
STEP = 0.2                      # slope either way, over which the rendering's change is taken
FAINT = 0.15                    # change of the ratio with the slope, under which light tells little of slopes
FARTHEST = 1.0                  # ratio, as a logarithm, beyond which a pixel is no skin
SHOWN = {"ratio": (6.0, 3.0), "by": (2.0, 3.0), "slope": (3.0, 3.0), "hue": (10.0, 3.0),
         "solved": (1.0, 4.0)}      # times which, and the most then


class CoarseView(NamedTuple):
    """What is known of a crop without its wrinkles: of a fit, or of a labelled picture as wrong as a fit."""

    depth: Float[Array, "S S"]        # camera z, mm; 0 where there is no head
    face: Float[Array, "S S"]         # how much a pixel is of the face, in [0, 1]
    slopes: Float[Array, "2 S S"]     # of the smooth surface, as `depth_maps` counts them
    sight: Float[Array, "2 S S"]      # lines of sight (x, y) at unit depth
    albedo: Float[Array, "S S"]       # luminance, linear
    light: Float[Array, " 9"]         # luminance of the spherical harmonics


def view_planes(photo: Float[Array, "S S 3"], view: CoarseView, level: Float[Array, ""], middle: Float[Array, ""],
                pixel: Float[Array, ""]) -> Float[Array, "S S 9"]:
    """The network's picture of a crop, of its own size: `PLANES`.

    Args:
        photo: sRGB; NaN outside it.
        view: of the same pixels.
        level: median grey of the face.
        middle: median depth of the face, mm.
        pixel: side of a pixel on the face, mm.
    """
    known = jnp.all(jnp.isfinite(photo), axis=-1)
    photo = jnp.where(known[..., None], photo, level)
    grey = photo @ jnp.array(GREY)
    around = gaussian_blur(grey, AROUND) / gaussian_blur(jnp.ones_like(grey), AROUND)
    there = (known & (view.face > IN_FACE)).astype(grey.dtype)

    def fine(values: Float[Array, "S S"]) -> Float[Array, "S S"]:
        """Differences from the face's neighbourhood."""
        values = jnp.clip(values, -FARTHEST, FARTHEST) * there
        return there * (values - gaussian_blur(values, AROUND) / (gaussian_blur(there, AROUND) + 1e-3))

    least = DARKEST * srgb_to_linear(level)
    red, green, luminance = jnp.log(jnp.maximum(jnp.stack([
        *jnp.moveaxis(srgb_to_linear(photo), -1, 0)[:2], srgb_to_linear(photo) @ jnp.array(LUMINANCE)]), least))
    lit, *by = log_irradiance(view)
    ratio = fine(luminance - jnp.log(jnp.maximum(view.albedo, DARKEST)) - lit)
    explained = ratio / (by[0] ** 2 + by[1] ** 2 + FAINT**2)
    planes = [(ratio, "ratio"), (by[0], "by"), (by[1], "by"), (explained * by[0], "slope"), (explained * by[1], "slope"),
              (fine(red - green), "hue"), (shading_solution(ratio, jnp.stack(by), there), "solved")]
    return jnp.stack([brightness(grey, around, level), relative_depth(view.depth, middle, pixel),
                      *(jnp.clip(SHOWN[kind][0] * plane, -SHOWN[kind][1], SHOWN[kind][1]) for plane, kind in planes)], axis=-1)


def log_irradiance(view: CoarseView) -> tuple[Float[Array, "S S"], Float[Array, "S S"], Float[Array, "S S"]]:
    """Logarithm of the coarse surface's irradiance, and by how much it grows with a slope more, across and down."""
    least = DARKEST * jnp.maximum(view.light[0] * sh_basis(jnp.array([0.0, 0.0, 1.0]), bands=1)[0], 1e-3)

    def of(slopes: Float[Array, "2 S S"]) -> Float[Array, "S S"]:
        normals = jnp.moveaxis(normals_from_slopes(slopes, view.sight), 0, -1)
        return jnp.log(jnp.maximum(sh_basis(normals) @ view.light, least))

    steps = STEP * jnp.eye(2)[:, :, None, None]
    by_across, by_down = ((of(view.slopes + step) - of(view.slopes - step)) / (2 * STEP) for step in steps)
    return of(view.slopes), by_across, by_down


def brightness(grey: Float[A, "*n"], around: Float[A, "*n"], level: Float[A, "*#n"] | float) -> Float[A, "*n"]:
    """Grey relative to the face's own, 0 at its level, fine differences enhanced relative to their neighbourhood, as eyes see them.

    Args:
        grey: luma of sRGB, in [0, 1].
        around: its Gaussian mean of `AROUND` pixels.
        level: its median over the face.
    """
    fine = CONTRAST * (grey - around) / (around + DARKEST * level)
    return (around / level - 1.0).clip(-1.0, BRIGHTEST) + fine.clip(-MOST, MOST)


def relative_depth(depth: Float[A, "*n"], middle: Float[A, "*#n"] | float, pixel: Float[A, "*#n"] | float) -> Float[A, "*n"]:
    """Coarse depth about the face's own, in half crops of the network; `NOWHERE` where there is no head.

    Args:
        depth: camera z, mm; 0 where there is no head.
        middle: its median over the face, mm.
        pixel: side of a pixel of the network's picture on the face, mm.
    """
    there = depth > 0.0
    return ((depth - middle) / (HALF * pixel)).clip(-NOWHERE, NOWHERE) * there + NOWHERE * ~there
