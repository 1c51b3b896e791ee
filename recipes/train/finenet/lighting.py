"""Light of FineNet's crops: a labelled face as it was lit, or lit anew, and the light that a fit would find.

Faces are lit anew so that brightness is a matter of slopes and not of what the labels' painter did along them: most have smooth
colour, and some keep the colour and lose the relief.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter

from fitkit.color import LUMINANCE, srgb_to_linear
from fitkit.models.finenet.inference import MIN_LEVEL
from fitkit.models.finenet.inputs import GREY
from fitkit.recipes.train.finenet.labelled_face import Face
from fitkit.rendering.shading import sh_basis

# Of the light; uniform unless it says otherwise; chosen, not tuned
RELIT = 0.75                # share of crops that are lit anew
SMOOTH = 0.6                # share of those whose colour is smooth
PAINTED = 0.2               # share of those that keep their colour and have no relief
SMOOTH_BLUR = (5.0, 14.0)   # pixels
EXPOSURE = (0.08, 0.5)      # median linear luminance of the face
TINT = 0.08                 # deviation of the logarithm of a lamp's colour
CODING = 1 / 2.2            # about sRGB's curve
AMBIENT = (0.15, 0.5)       # share of light from everywhere
AZIMUTH, ELEVATION = (-90.0, 90.0), (-40.0, 80.0)       # degrees, of a lamp as seen from the camera
# Of the light that is found
SAMPLES = 800               # pixels of the face that it is found from
ROUGH = 0.1                 # deviation of the logarithm of a pixel's colour, as a fit has it
RIDGE = 1e-3                # of the harmonics, relative to the number of pixels
LIGHT_ERROR = 0.08          # deviation of a harmonic, of the first one's size times 0.3


class Shown(NamedTuple):
    """A crop as it is photographed."""

    photo: Float[np.ndarray, "h w 3"]        # sRGB
    level: float                             # median grey of the face in that light
    relief: float                            # 0 where it is left out
    places: tuple[Int[np.ndarray, " n"], ...]        # of pixels of the face
    luminance: Float[np.ndarray, " n"]       # theirs, linear


def photographed(rng: np.random.Generator, face: Face, window: tuple[slice, slice]) -> Shown:
    """A crop of the face in its own light or another, Lambert's law without shadows."""
    some = np.flatnonzero(face.bare & (face.face > 0))
    some = some if len(some) else np.flatnonzero(face.face > 0)
    places = np.unravel_index(some[rng.integers(0, len(some), SAMPLES)], face.face.shape)
    if rng.uniform() >= RELIT or not face.bare[window].any():
        return Shown(face.photo[window], face.level, 1.0, places, linear(face.photo[places]) @ np.array(LUMINANCE, np.float32))
    lamps, strengths, colours = draw_lamps(rng)
    kind, albedo, there = rng.uniform(), face.albedo[window], face.bare[window]
    relief = 0.0 if kind > 1 - PAINTED else 1.0
    if kind < SMOOTH:
        width = (rng.uniform(*SMOOTH_BLUR),) * 2 + (0,)
        share = gaussian_filter(there[..., None].astype(np.float32), width, truncate=2.5)
        albedo = gaussian_filter(albedo * there[..., None], width, truncate=2.5) / np.maximum(share, 1e-3)

    def lit(where: tuple[Any, ...]) -> np.ndarray:
        every = (slice(None), *where)
        slopes, sight = face.slopes[every] + relief * face.steps[every], face.sight[every]
        return lit_by(unit_normals(slopes, sight), lamps, strengths, colours)

    there_lit = face.albedo[places] * lit(places)
    scale = rng.uniform(*EXPOSURE) / max(float(np.median(there_lit @ np.array(LUMINANCE, np.float32))), 1e-4)
    photo = np.clip(scale * albedo * lit(window), 0, 1) ** np.float32(CODING)
    level = float(np.median(np.clip(scale * there_lit, 0, 1) ** CODING @ np.array(GREY)))
    return Shown(np.where(there[..., None], photo, face.photo[window]).astype(np.float32), max(level, MIN_LEVEL), relief, places,
                 scale * there_lit @ np.array(LUMINANCE, np.float32))


def fitted_light(rng: np.random.Generator, face: Face, shown: Shown) -> Float[np.ndarray, " 9"]:
    """Harmonics by least squares from the coarse head, its smooth colour and some pixels, and an error of its own."""
    where: tuple[Any, ...] = (slice(None), *shown.places)
    basis = np.asarray(_basis(unit_normals(face.slopes[where], face.sight[where])))
    colour = face.smooth[shown.places] * np.exp(ROUGH * rng.normal(size=SAMPLES))
    rows = basis * colour[:, None]
    light = np.linalg.solve(rows.T @ rows + RIDGE * SAMPLES * float(np.mean(colour**2)) * np.eye(9), rows.T @ shown.luminance)
    return np.asarray(light + 0.3 * LIGHT_ERROR * light[0] * rng.normal(size=9), np.float32)


_basis = jax.jit(sh_basis)


def linear(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light of sRGB values."""
    return np.asarray(srgb_to_linear(jnp.asarray(srgb)))


def unit_normals(slopes: Float[np.ndarray, "2 *n"], sight: Float[np.ndarray, "2 *n"]) -> Float[np.ndarray, "*n 3"]:
    """`depth_maps.normals_from_slopes`, components last."""
    towards = 1 + sight[0] * slopes[0] + sight[1] * slopes[1]
    normals = np.stack([slopes[0], -slopes[1], towards], axis=-1)
    return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True))


def draw_lamps(rng: np.random.Generator) -> tuple[Float[np.ndarray, "L 3"], Float[np.ndarray, " L+1"], Float[np.ndarray, "L+1 3"]]:
    """Directions to one to three lamps, view frame, strengths and colours; the last are those of light from everywhere."""
    count = int(rng.integers(1, 4))
    azimuth, height = np.radians(rng.uniform(*AZIMUTH, count)), np.radians(rng.uniform(*ELEVATION, count))
    lamps = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], axis=1)
    strengths = rng.dirichlet(np.full(count, 0.7)) * (1 - (ambient := rng.uniform(*AMBIENT)))
    colours = np.exp(TINT * rng.normal(size=(count + 1, 3)))
    return lamps.astype(np.float32), np.append(strengths, ambient).astype(np.float32), colours.astype(np.float32)


def lit_by(normals: Float[np.ndarray, "*n 3"], lamps: Float[np.ndarray, "L 3"], strengths: Float[np.ndarray, " L+1"],
           colours: Float[np.ndarray, "L+1 3"]) -> Float[np.ndarray, "*n 3"]:
    """Irradiance over pi of surfaces, linear RGB."""
    each = strengths[:, None] * colours
    return np.asarray(np.maximum(normals @ lamps.T, 0) @ each[:-1] + each[-1])
