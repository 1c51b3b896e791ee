"""A photo unwrapped by a proxy head, the proxy's light and skin, and the planes of texels that DFDN's networks are given.

    value                the paper's one: V of HSV, of a patch minus its mean, times 2
    ratio                the logarithm of photo over the proxy's rendering, fine differences alone
    by_across, by_down   by how much it grows with a step of displacement to the next texel: to first order
                             ratio = by_across * (step across) + by_down * (step down) + colour
    across, down         the least steps that explain the ratio
    hue                  the logarithm of red over green, fine differences alone: shading hardly changes it, pigment does
    seen                 how much a texel is skin that can fold and turns to the camera, in [0, 1]
    solved               the displacement that explains the ratio best (`finenet.shading_solution`)

Displacement is outwards along the proxy's normals, in units of `UNIT_TEXEL`. Maps are those of `patches.window`. Of the proxy only
its shape and its place in the photo are used: light and skin are those that explain the photo on it (Chen et al. 2019, Eq. 14).
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import LUMINANCE, srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.geometry.camera import project
from fitkit.geometry.filters import gaussian_blur
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.models.dfdn.patches import MAP, cut, window
from fitkit.models.finenet.shading_solution import shading_solution
from fitkit.morphable.regions import face_region, foldable_skin
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.shading import sh_basis
from fitkit.rendering.texture import cached_texel_fragments, sample_image, values_at_fragments, visible_weight
from fitkit.types import Camera, Fragments, MorphableModel

PLANES = ("value", "ratio", "by_across", "by_down", "across", "down", "hue", "seen", "solved")
MIRRORED = (1, 1, -1, 1, -1, 1, 1, 1, 1)        # signs of the planes in a mirror
UNIT_TEXEL = 0.5                # mm: about the side of a texel of patches of 64, on which displacements of all sizes are counted
# Chosen, as stage 2 of `inverse_rendering` has them
FADE = 4.0                      # mm over which skin counts more beside brows, eyes, lips, nostrils and the nose's ridge
FACING = (0.04, 0.2)            # squared cosines of normal and line of sight between which a texel's weight rises from 0 to 1
# Chosen, not tuned; lengths in sides of a patch (32 mm)
AROUND = 0.16                   # deviation of the Gaussian over which the ratio is that of the neighbourhood
STEP = 0.2                      # slope either way, over which the rendering's change is taken
FAINT = 0.15                    # change of the ratio with the slope, under which light tells little of slopes
FARTHEST = 1.0                  # ratio, as a logarithm, beyond which a texel is no skin
DARKEST = 0.05                  # of the face's level: what is told from black
SMALLEST, LARGEST = 1e-6, 25.0  # mm^4: squared area of a texel; below it is none, above it an edge of an island
SHOWN = {"ratio": (6.0, 3.0), "by": (2.0, 3.0), "slope": (3.0, 3.0), "hue": (10.0, 3.0), "solved": (1.0, 4.0)}   # times, and most
# Of light and skin
STRIDE = 1 / 8                  # from one texel that they are told by to the next
ROUNDS = 4                      # of light and skin in turn
UNLIKE = 0.3                    # ratio, as a logarithm, at which a texel counts for a quarter: hair, cast shadows
LIGHT_RIDGE = 1e-3              # of squared harmonics, relative to what tells of them
ALBEDO_RIDGE = 3e-3             # of squared coefficients, a texel that counts


class ProxyTables(NamedTuple):
    """What texels show of a head, whatever its shape; maps `[n, n]`, lists of the texels that tell of light `[m]`."""

    texels: Fragments
    skin: Float[Array, "n n"]           # how much it can fold
    face: Float[Array, "n n"]
    albedo: Float[Array, "m 3"]         # the mean's
    modes: Float[Array, "A m 3"]


class Unwrapped(NamedTuple):
    """A photo on a proxy; 0 where there is no texel."""

    colour: Float[Array, "n n 3"]       # sRGB
    points: Float[Array, "n n 3"]       # mm, head frame
    normals: Float[Array, "n n 3"]      # unit, head frame
    pixels: Float[Array, "n n 2"]       # of the photo
    skin: Float[Array, "n n"]           # how much a texel is skin that can fold, in sight
    face: Float[Array, "n n"]           # how much it is of the face, in sight


class Appearance(NamedTuple):
    """Light and skin that explain a photo on its proxy."""

    light: Float[Array, "9 3"]          # spherical harmonics, head frame
    albedo: Float[Array, "n n 3"]       # linear RGB


@functools.lru_cache(maxsize=4)
def proxy_tables(model: MorphableModel, side: int) -> ProxyTables:
    """The tables of a head for patches of `side` texels."""
    where, every = window(side), round(STRIDE * side)
    part = slice(where.row, where.row + where.side), slice(where.column, where.column + where.side)
    some = slice(every // 2, None, every)
    texels = _part(cached_texel_fragments(model, MAP * side), part)
    sparse = _part(texels, (some, some))
    colours = jnp.concatenate([model.albedo_mean[None], model.albedo])
    rows = values_at_fragments(sparse, model.triangles, jnp.moveaxis(colours, 0, 1).reshape(len(model.mean), -1))
    rows = jnp.moveaxis(rows.reshape(-1, len(colours), 3), 1, 0)
    masks = values_at_fragments(texels, model.triangles, jnp.stack([foldable_skin(model, fade=FADE), face_region(model)], -1))
    return ProxyTables(texels, masks[..., 0], masks[..., 1], rows[0], rows[1:])


def _part(texels: Fragments, where: tuple[slice, slice]) -> Fragments:
    return dataclasses.replace(texels, triangle=texels.triangle[where], barycentric=texels.barycentric[where],
                               depth=texels.depth[where])


@quick_jit()
def unwrap(model: MorphableModel, tables: ProxyTables, vertices: Float[Array, "V 3"], camera: Camera, photo: Float[Array, "H W 3"]
           ) -> Unwrapped:
    """What a photo shows at the texels of a proxy.

    Args:
        model: the head.
        tables: of it.
        vertices: of the proxy, mm.
        camera: of the photo, in its pixels.
        photo: sRGB; NaN outside it.
    """
    seen = rasterize(*project(camera, vertices), model.triangles, height=photo.shape[0], width=photo.shape[1],
                     perspective=camera.perspective)
    values = values_at_fragments(tables.texels, model.triangles, jnp.concatenate([vertices, vertex_normals(
        vertices, model.triangles)], axis=-1))
    points, normals = values[..., :3], safe_normalize(values[..., 3:])
    pixels, known = project(camera, points)[0], jnp.all(jnp.isfinite(photo), axis=-1, keepdims=True)
    colour = sample_image(jnp.concatenate([jnp.where(known, photo, 0.0), known], axis=-1), pixels)
    squared = visible_weight(points, normals, seen.depth, camera)
    sight = jnp.clip((squared - FACING[0]) / (FACING[1] - FACING[0]), 0.0, 1.0) * (colour[..., 3] > 0.99)
    sight = jnp.where(tables.texels.triangle >= 0, sight, 0.0)
    return Unwrapped(colour[..., :3], points, normals, pixels, sight * tables.skin, sight * tables.face)


@quick_jit()
def explain(model: MorphableModel, tables: ProxyTables, shown: Unwrapped) -> Appearance:
    """The light under which the proxy with the mean skin is nearest to the photo, then the skin, in turn, by robust least squares.

    Nine harmonics a channel by least squares; coefficients of the head's albedo by ridge. The paper tells them by vertices of the
    proxy: here by one texel in `STRIDE` each way.
    """
    every = round(STRIDE * tables.texels.triangle.shape[0] / 6.5)
    some = jax.tree.map(lambda plane: plane[every // 2::every, every // 2::every].reshape(-1, *plane.shape[2:]), shown)
    colour, basis = srgb_to_linear(some.colour), sh_basis(some.normals)
    level = jnp.maximum(jnp.sum(some.face[:, None] * colour) / (3.0 * jnp.maximum(jnp.sum(some.face), 1.0)), 1e-3)
    colour = colour / level

    def turn(index: int, before: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        coefficients, weight = before[0], before[2]
        albedo = jnp.maximum(tables.albedo + jnp.tensordot(coefficients, tables.modes, 1), DARKEST)
        light = jax.vmap(lambda tone, target: _ridge(basis * tone[:, None], target, weight, relative=LIGHT_RIDGE),
                         in_axes=1, out_axes=1)(albedo, colour)
        lit = jnp.maximum(basis @ light, DARKEST)
        rows = (tables.modes * lit).reshape(len(coefficients), -1).T
        target = (colour - tables.albedo * lit).ravel()
        coefficients = _ridge(rows, target, jnp.repeat(weight, 3), absolute=ALBEDO_RIDGE * jnp.sum(weight))
        ratio = jnp.log(jnp.maximum(colour @ jnp.array(LUMINANCE), DARKEST)) - jnp.log(jnp.maximum(
            (albedo * lit) @ jnp.array(LUMINANCE), DARKEST))
        return coefficients, light, some.face / jnp.square(1.0 + jnp.square(ratio / UNLIKE))

    begin = jnp.zeros(len(model.albedo)), jnp.zeros((9, 3)), some.face
    coefficients, light, _ = jax.lax.fori_loop(0, ROUNDS, turn, begin)
    colours = model.albedo_mean + jnp.tensordot(coefficients, model.albedo, 1)
    return Appearance(light * level, jnp.clip(values_at_fragments(tables.texels, model.triangles, colours), DARKEST, 1.0))


def _ridge(rows: Float[Array, "m k"], target: Float[Array, " m"], weight: Float[Array, " m"], *, relative: float = 0.0,
           absolute: float | Float[Array, ""] = 0.0) -> Float[Array, " k"]:
    """Weighted least squares under a prior of squares, whose weight is absolute and relative to the mean of the diagonal."""
    matrix = jnp.dot((rows * weight[:, None]).T, rows, precision="highest")
    ridge = relative * jnp.trace(matrix) / len(matrix) + absolute + 1e-9
    return jnp.linalg.solve(matrix + ridge * jnp.eye(len(matrix)), jnp.dot(rows.T, weight * target, precision="highest"))


@quick_jit()
def planes_of(shown: Unwrapped, skin: Appearance) -> Float[Array, "n n 9"]:
    """`PLANES` of a whole map, the value as it is."""
    size, luminance = shown.skin.shape[0], jnp.array(LUMINANCE)
    around, there = AROUND * size / 6.5, (shown.skin > 0.02).astype(jnp.float32)
    share = gaussian_blur(there, around) + 1e-3

    def fine(values: Float[Array, "n n"]) -> Float[Array, "n n"]:
        values = jnp.clip(values, -FARTHEST, FARTHEST) * there
        return there * (values - gaussian_blur(values, around) / share)

    linear = srgb_to_linear(shown.colour)
    least = DARKEST * jnp.sum(shown.skin * (linear @ luminance)) / jnp.maximum(jnp.sum(shown.skin), 1.0)
    red, green, grey = (jnp.log(jnp.maximum(plane, least + 1e-4)) for plane in (linear[..., 0], linear[..., 1], linear @ luminance))
    lit, by = log_irradiance(shown, skin.light @ luminance)
    ratio = fine(grey - jnp.log(skin.albedo @ luminance) - lit)
    explained = ratio / (by[0] ** 2 + by[1] ** 2 + FAINT**2)
    solved = shading_solution(ratio, by, there)
    planes = [(ratio, "ratio"), (by[0], "by"), (by[1], "by"), (explained * by[0], "slope"), (explained * by[1], "slope"),
              (fine(red - green), "hue")]
    clipped = [jnp.clip(SHOWN[kind][0] * plane, -SHOWN[kind][1], SHOWN[kind][1]) for plane, kind in [*planes, (solved, "solved")]]
    return jnp.stack([jnp.max(shown.colour, axis=-1), *clipped[:-1], shown.skin, clipped[-1]], axis=-1)


def log_irradiance(shown: Unwrapped, light: Float[Array, " 9"]) -> tuple[Float[Array, "n n"], Float[Array, "2 n n"]]:
    """Logarithm of the proxy's irradiance, and by how much it grows with a step of displacement, across and down."""
    least = DARKEST * jnp.maximum(light[0] * sh_basis(jnp.array([0.0, 0.0, 1.0]), bands=1)[0], 1e-3)

    def of(normals: Float[Array, "n n 3"]) -> Float[Array, "n n"]:
        return jnp.log(jnp.maximum(sh_basis(safe_normalize(normals)) @ light, least))

    pulls = UNIT_TEXEL * surface_pulls(shown.points)      # a step of displacement d leans the normal by minus d times this
    by = [(of(shown.normals - STEP * pull) - of(shown.normals + STEP * pull)) / (2 * STEP) for pull in pulls]
    return of(shown.normals), jnp.stack(by)


def surface_pulls(points: Float[Array, "n n 3"]) -> Float[Array, "2 n n 3"]:
    """Gradient along the surface, per mm, of a map that grows by 1 from a texel to the next across, and down.

    By the first fundamental form of the map, whose texels are neither square nor of one size; 0 at the edges of its islands.
    """
    across, down = (0.5 * (jnp.roll(points, -1, axis) - jnp.roll(points, 1, axis)) for axis in (1, 0))
    aa, ad, dd = (jnp.sum(a * b, -1, keepdims=True) for a, b in ((across, across), (across, down), (down, down)))
    area = aa * dd - ad * ad
    usable = (area > SMALLEST) & (area < LARGEST)
    area = jnp.where(usable, area, 1.0)
    return jnp.where(usable, jnp.stack([dd * across - ad * down, aa * down - ad * across]) / area, 0.0)


def network_patches(planes: Float[Array, "n n 9"], places: tuple[tuple[int, int], ...], side: int) -> Float[Array, "b s s 9"]:
    """Patches as the networks are given them: the value minus its mean, times 2; 0 where no skin is seen."""
    patches = cut(planes, places, side)
    there = (patches[..., 7] > 0).astype(jnp.float32)
    count = jnp.maximum(jnp.sum(there, axis=(1, 2), keepdims=True), 1.0)
    mean = jnp.sum(patches[..., 0] * there, axis=(1, 2), keepdims=True) / count
    return patches.at[..., 0].set(2.0 * there * (patches[..., 0] - mean))
