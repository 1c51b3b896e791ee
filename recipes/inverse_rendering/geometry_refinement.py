"""Stage 2 of recipe `inverse_rendering`: the geometry refinement of Guo et al. 2018, Section V-B.

    E(d) = E_con + mu_1 |d|^2 + mu_2 |laplacian d|_1                                              (Eq. 9)

over one displacement along the depth for every pixel of face skin, by Gauss-Newton with iteratively reweighted least squares
(Chartrand and Yin 2008). Depth is in pixels; colours are sRGB, relative to the mean of the face; all three terms are sums over the
pixels. Matrix-free: a step is solved by conjugate gradients on stencils.

What is not a wrinkle is kept out in five ways. The light is refitted to the skin, shape and albedo held. The smooth part of what
is then unexplained (stage 1's albedo is smooth, the light has 27 numbers) is taken up by a smooth gain before colours are
compared; a pixel that disagrees more than a fold could (hair, glasses, the edge of a shadow, a highlight) counts little; brows,
lips, nostrils, the ridge of the nose and the rims of the eyes are left out; and of what is found, lines are kept (`fold`).
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.fitting import solvers
from fitkit.fitting.photometric import colour_mix
from fitkit.fitting.state import FaceState
from fitkit.geometry import depth_maps
from fitkit.geometry.filters import gaussian_blur
from fitkit.geometry.pose import camera_from_pose, head_to_view
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.morphable.regions import region_mask
from fitkit.rendering.shading import irradiance_planes, sh_basis
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import Detail, Fragments, MorphableModel

CREASED = "forehead"           # region where lines cross, and stage 1 has little to misplace
KEPT, LEFT_OUT = "face_skin", ("brows", "lips", "nostrils")      # regions of the head
# lines of the 68 points about which hair, lashes, lips, nostrils and the ridge of the nose are no folds, and how far about, mm
OUTLINES = (((17, 18, 19, 20, 21), 8.0), ((22, 23, 24, 25, 26), 8.0), ((36, 37, 38, 39, 40, 41, 36), 4.0),
            ((42, 43, 44, 45, 46, 47, 42), 4.0), ((48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 48), 4.0),
            ((31, 32, 33, 34, 35), 4.0), ((27, 28, 29, 30, 33), 5.0))
FADE = 4.0                     # mm over which skin comes to count beyond that
CROP_FADE = 8.0                # the same from the crop's border
LEAST_FACING = (0.2, 0.45)     # cosines of normal and line of sight between which a pixel comes to count fully
LEAST_COLOUR = 0.03            # sRGB; in the dark a gain says nothing
LEAST_MASK = 0.05              # a pixel that counts less is left out
LIGHT_STRIDE = 2               # of the pixels that the light is refitted to, each way
LIGHT_STEPS = 3                # of that, reweighted
LIGHT_SCALE = 0.1              # colour difference, linear, at which a pixel then counts for a quarter
LIGHT_RIDGE = 2e-3             # pull to the light of stage 1, relative to the mean diagonal
GAIN = (0.3, 3.0)              # bounds of the smooth gain
JUDGED = 8.0                   # mm; reach of the gain by which pixels are judged: a shorter one takes the rims of glasses for skin
NEIGHBOURHOOD = 2.5            # mm; deviation of the Gaussian over which a disagreement is judged
DEPARTURE = 0.4                # of the smooth gain from its mean, as a logarithm, at which a pixel counts for a quarter
HUE = 0.07                     # the same of its hue alone, which shading hardly changes: a fringe is as bright as skin, not as red
BORDER = 4.0                   # mm; deviation of the Gaussian over which a pixel's surroundings are asked
BELIEVED = (0.5, 0.85)         # share of skin in them between which a pixel comes to count fully
FOLD_FINEST, FOLD_ABOUT = 0.5, 5.0      # mm; deviations of the Gaussians over which slopes are taken, and compared
FOLD_SLOPE = 0.05              # rms slope at which what slopes one way is believed by half
PIXEL = 0.42                   # mm; of a crop of 512 pixels a side. Weights hold at this size and change with it as lengths do
SOFTENING = (0.3, 0.02)        # of the absolute value, pixels: at the first step and at the last


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeometryRefinementConfig:
    """Fields of stage 2. Defaults by `python -m tests.measurements.wrinkles`: with the paper's, wrinkles stay too shallow.

    Attributes:
        weight_displacement: weight of the squared displacement, pixels of `PIXEL` (Guo 2018, `mu_1`: 1e-3).
        weight_laplacian: weight of the displacement's absolute Laplacian, the same (Guo 2018, `mu_2`: 0.3).
        refinement_scale: colour difference, relative to the face's own colour, at which a pixel counts for a quarter.
        refinement_reach: millimetres over which differences are smooth and not a matter of wrinkles.
        refinement_noise: median colour difference above which a photo is believed less: grain, or a face far from the model's.
        refinement_steps: reweighted steps.
        refinement_products: most products of the conjugate gradients in a step.
    """

    weight_displacement: float = 1e-4
    weight_laplacian: float = 0.005
    refinement_scale: float = 0.2
    refinement_reach: float = 5.0
    refinement_noise: float = 0.04
    refinement_steps: int = 6
    refinement_products: int = 45


class Surface(NamedTuple):
    """What the crop shows of the morphable head; planes `[S, S]`, empty pixels 0."""

    depth: Float[Array, "S S"]           # camera z, mm
    slopes: Float[Array, "2 S S"]        # of its smooth normals: the facets of the mesh are no folds
    albedo: Float[Array, "3 S S"]        # linear RGB
    mask: Float[Array, "S S"]            # how much a pixel is face skin seen squarely, in [0, 1]
    crossing_folds: Float[Array, "S S"]         # how much of region `CREASED`
    sight: Float[Array, "2 S S"]


class Comparison(NamedTuple):
    """What rendered colours are held against."""

    light: Float[Array, "K 3"]
    mix: Float[Array, "3 3"]             # as in `photometric.FrozenPixels`
    gain: Float[Array, "3 S S"]
    target: Float[Array, "3 S S"]        # sRGB over the face's own mean, and so the gain
    trust: Float[Array, ""]              # in (0, 1]
    pixel: Float[Array, ""]              # size of a pixel on the face, in units of `PIXEL`


def foldable_skin(model: MorphableModel) -> Float[Array, " V"]:
    """Per vertex, how much it is skin that folds, in [0, 1]."""
    kept = jnp.ones(model.mean.shape[0])
    for name, region in zip(model.region_names, model.regions, strict=True):
        if name == KEPT or name in LEFT_OUT:
            kept = kept * (region if name == KEPT else 1.0 - region)
    points = values_at_points(model.landmarks, model.triangles, model.mean)
    starts, ends, widths = zip(*((a, b, width) for line, width in OUTLINES for a, b in itertools.pairwise(line)), strict=True)
    start, end = points[jnp.array(starts)], points[jnp.array(ends)]
    offset = model.mean[:, None] - start                                                   # [V, segments, 3]
    along = jnp.sum(offset * (end - start), -1) / jnp.sum(jnp.square(end - start), -1)
    gap = offset - jnp.clip(along, 0.0, 1.0)[..., None] * (end - start)
    beyond = jnp.min(jnp.sqrt(jnp.sum(jnp.square(gap), -1)) - jnp.array(widths), 1)
    return kept * jnp.clip(beyond / FADE, 0.0, 1.0)


def crossing_folds(model: MorphableModel) -> Float[Array, " V"]:
    """Per vertex, how much it is skin that folds across itself, so that what is found there need not be a line."""
    return region_mask(model, CREASED) if CREASED in model.region_names else jnp.zeros(model.mean.shape[0])


def visible_surface(model: MorphableModel, state: FaceState, seen: Fragments) -> Surface:
    """The fitted head's surface at the pixels that see it."""
    view = head_to_view(state.pose, shape(model, state.face.identity, state.face.expression))
    values = jnp.concatenate([vertex_normals(view, model.triangles), vertex_albedo(model, state.face.albedo),
                              jnp.stack([foldable_skin(model), crossing_folds(model)], -1)], -1)
    picture = jnp.moveaxis(values_at_fragments(seen, model.triangles, values), -1, 0)
    normals = picture[:3] / jnp.sqrt(jnp.sum(jnp.square(picture[:3]), 0) + 1e-12)
    height, width = seen.triangle.shape
    lines = depth_maps.sight_lines(camera_from_pose(state.pose), height=height, width=width)
    slopes = depth_maps.slopes_from_normals(normals, lines)
    facing = 1.0 / jnp.sqrt(1.0 + jnp.sum(jnp.square(slopes), 0))
    squarely = jnp.clip((facing - LEAST_FACING[0]) / (LEAST_FACING[1] - LEAST_FACING[0]), 0.0, 1.0)
    part = jnp.where(seen.triangle >= 0, model.part[seen.triangle], -1) == model.part_names.index("skin")
    mask = jnp.where(part, squarely * picture[6], 0.0)
    return Surface(depth=seen.depth, slopes=jnp.where(seen.triangle >= 0, slopes, 0.0), albedo=jnp.clip(picture[3:6], 0.0, 1.0),
                   mask=mask, crossing_folds=picture[7], sight=lines)


def render(surface: Surface, light: Float[Array, "K 3"], mix: Float[Array, "3 3"], slopes: Float[Array, "2 S S"]
           ) -> Float[Array, "3 S S"]:
    """The head's colours, sRGB, were its surface of these slopes (Guo 2018, Eq. 4)."""
    x, y, z = depth_maps.normals_from_slopes(slopes, surface.sight)
    irradiance = jnp.stack(irradiance_planes(x, y, z, light))
    return jnp.einsum("chw,ce->ehw", linear_to_srgb(jnp.maximum(surface.albedo * irradiance, 0.0)), mix)


def border_fade(size: int, scale: Float[Array, ""]) -> Float[Array, "S S"]:
    """From 0 at the crop's border to 1 further in: a forehead that the crop cuts off keeps no edge there."""
    inwards = jnp.minimum(jnp.arange(size), jnp.arange(size)[::-1]) / (CROP_FADE * scale)
    return jnp.clip(jnp.minimum(inwards[:, None], inwards), 0.0, 1.0)


def refit_light(surface: Surface, light: Float[Array, "9 3"], photo: Float[Array, "S S 3"]) -> Float[Array, "9 3"]:
    """The light refitted to the skin seen, shape and albedo held: reweighted ridge regression, linear colours.

    Stage 1 balances its light against priors; what is left of its error slants all skin and would become relief.
    """
    few = (..., slice(None, None, LIGHT_STRIDE), slice(None, None, LIGHT_STRIDE))
    normals = jnp.moveaxis(depth_maps.normals_from_slopes(surface.slopes[few], surface.sight[few]), 0, -1)
    target = srgb_to_linear(jnp.moveaxis(photo, -1, 0)[few].reshape(3, -1))
    usable = jnp.all(jnp.isfinite(target), 0)
    target, mask = jnp.where(usable, target, 0.0), jnp.where(usable, surface.mask[few].ravel(), 0.0)
    basis, albedo = sh_basis(normals.reshape(-1, 3)).T, surface.albedo[few].reshape(3, -1)

    def step(_: int, light: Float[Array, "9 3"]) -> Float[Array, "9 3"]:
        error = target - albedo * jnp.dot(light.T, basis, precision="highest")
        weight = mask * solvers.robust_weight(jnp.mean(jnp.square(error), 0), jnp.asarray(LIGHT_SCALE))

        def channel(albedo: Float[Array, " N"], error: Float[Array, " N"]) -> Float[Array, " 9"]:
            design = basis * albedo
            square = jnp.dot(design * weight, design.T, precision="highest")
            ridge = LIGHT_RIDGE * jnp.trace(square) / len(square) + 1e-6
            return jnp.linalg.solve(square + ridge * jnp.eye(len(square)), jnp.dot(design, weight * error, precision="highest"))

        return light + jax.vmap(channel, out_axes=1)(albedo, error)

    return jax.lax.fori_loop(0, LIGHT_STEPS, step, light)


def compare_photo(surface: Surface, state: FaceState, photo: Float[Array, "S S 3"], config: GeometryRefinementConfig
            ) -> tuple[Comparison, Float[Array, "S S"]]:
    """The photo with the smooth part of what stage 1 leaves told apart, and the mask of the pixels that can be compared."""
    target = jnp.moveaxis(photo, -1, 0)
    usable = jnp.all(jnp.isfinite(target), 0)
    target = jnp.where(usable, target, 0.0)
    mix = colour_mix(photo)
    light = refit_light(surface, state.face.light, photo)
    rendered = render(surface, light, mix, surface.slopes)
    skin_seen = surface.mask * border_fade(photo.shape[0], state.pose.scale)
    skin_seen = jnp.where(usable & (jnp.min(rendered, 0) > LEAST_COLOUR), skin_seen, 0.0)
    # colours relative to the face's own, so that dark skin folds as deep as light skin
    level = jnp.sum(skin_seen * jnp.mean(target, 0)) / jnp.maximum(jnp.sum(skin_seen), 1.0)
    target, rendered = (plane / jnp.maximum(level, LEAST_COLOUR) for plane in (target, rendered))

    def smooth_gain(mask: Float[Array, "S S"], reach: float) -> Float[Array, "3 S S"]:
        seen, expected = (gaussian_blur(plane * mask, reach * state.pose.scale) for plane in (target, rendered))
        return jnp.clip((seen + 1e-3) / (expected + 1e-3), *GAIN)

    def judge(_: int, judged: tuple[Array, Array]) -> tuple[Array, Array]:
        mask = judged[0]
        gain = smooth_gain(mask, JUDGED)
        error = jnp.mean(jnp.square(gain * rendered - target), 0)
        # over a neighbourhood: hair and beards disagree on both sides of every strand, a fold on its slopes only
        around = gaussian_blur(jnp.stack([error * skin_seen, skin_seen]), NEIGHBOURHOOD * state.pose.scale)
        disagreement = around[0] / jnp.maximum(around[1], 1e-3)
        # and as a whole: what is much darker or of another hue than the fit is hair, beard, or skin in a cast shadow
        departure = jnp.log(gain / (jnp.sum(mask * gain, (1, 2)) / jnp.maximum(jnp.sum(mask), 1.0))[:, None, None])
        hue = departure - jnp.mean(departure, 0, keepdims=True)
        mask = (skin_seen * solvers.robust_weight(disagreement, jnp.asarray(config.refinement_scale))
                * solvers.robust_weight(jnp.mean(jnp.square(departure), 0), jnp.asarray(DEPARTURE))
                * solvers.robust_weight(jnp.mean(jnp.square(hue), 0), jnp.asarray(HUE)))
        return mask, error

    # the second time without what the first shows to be no skin
    mask, error = jax.lax.fori_loop(0, 2, judge, (skin_seen, jnp.zeros_like(skin_seen)))
    gain = smooth_gain(mask, config.refinement_reach)
    # where hair begins, its edge and shadow are left out with it
    around = gaussian_blur(jnp.stack([mask, skin_seen]), BORDER * state.pose.scale)
    mask = mask * jnp.clip((around[0] / jnp.maximum(around[1], 1e-3) - BELIEVED[0]) / (BELIEVED[1] - BELIEVED[0]), 0.0, 1.0)
    mask = jnp.where(mask > LEAST_MASK, mask, 0.0)
    noise = jnp.nan_to_num(jnp.nanmedian(jnp.where(mask > 0, error, jnp.nan)[::4, ::4]))
    trust = 1.0 / jnp.maximum(1.0, noise / config.refinement_noise**2)
    pixel = 1.0 / (PIXEL * state.pose.scale)
    return Comparison(light, mix, gain / jnp.maximum(level, LEAST_COLOUR), target, trust, pixel), mask


class NormalEquations(NamedTuple):
    """Half the gradient and curvature of Eq. 9 with its weights held, over the displacement itself: `product(d) = right`."""

    product: Callable[[Float[Array, "S S"]], Float[Array, "S S"]]
    right: Float[Array, "S S"]
    diagonal: Float[Array, "S S"]        # about that of `product`


def linearize(
    surface: Surface, shown: Comparison, mask: Float[Array, "S S"], displacement: Float[Array, "S S"], softening: Float[Array, ""],
    config: GeometryRefinementConfig,
) -> NormalEquations:
    """Eq. 9 about a displacement, pixels: colours linear in the slopes, robust weights held, |x| as x^2 / (2 |x_now|)."""
    slopes = surface.slopes + depth_maps.differences(displacement)

    def residual(slopes: Float[Array, "2 S S"]) -> Float[Array, "3 S S"]:
        return shown.gain * render(surface, shown.light, shown.mix, slopes) - shown.target

    error, change = jax.linearize(residual, slopes)
    by_across, by_down = jax.vmap(change)(jnp.broadcast_to(jnp.eye(2)[:, :, None, None], (2, *slopes.shape)))
    weight = mask * shown.trust * solvers.robust_weight(jnp.mean(jnp.square(error), 0), jnp.asarray(config.refinement_scale))
    xx, xy, yy = (weight * jnp.sum(a * b, 0) for a, b in ((by_across, by_across), (by_across, by_down), (by_down, by_down)))
    pull_back = config.weight_displacement * jnp.square(shown.pixel)
    bent = jnp.sqrt(jnp.square(depth_maps.laplacian(displacement)) + jnp.square(softening))
    bend = config.weight_laplacian / shown.pixel * 0.5 / bent
    inside = (mask > 0).astype(mask.dtype)

    def product(d: Float[Array, "S S"]) -> Float[Array, "S S"]:
        x, y = depth_maps.differences(d)
        data = depth_maps.differences_transposed(jnp.stack([xx * x + xy * y, xy * x + yy * y]))
        return inside * (data + pull_back * d + depth_maps.laplacian(bend * depth_maps.laplacian(d)))

    # linear in the new displacement itself: what the old one already explains is added back
    x, y = depth_maps.differences(displacement)
    pull = jnp.stack([weight * jnp.sum(by * (by_across * x + by_down * y - error), 0) for by in (by_across, by_down)])
    return NormalEquations(product, inside * depth_maps.differences_transposed(pull),
                           pull_back + 2.0 * (xx + yy) + 20.0 * bend)


def reweighted_step(
    surface: Surface, shown: Comparison, mask: Float[Array, "S S"], displacement: Float[Array, "S S"], softening: Float[Array, ""],
    config: GeometryRefinementConfig,
) -> Float[Array, "S S"]:
    """The displacement after one reweighted step; as it was where no finite one comes out."""
    system = linearize(surface, shown, mask, displacement, softening, config)
    solved, _ = jax.scipy.sparse.linalg.cg(system.product, system.right, x0=displacement, tol=1e-3,
                                           maxiter=config.refinement_products, M=lambda d: d / system.diagonal)
    return jnp.where(jnp.all(jnp.isfinite(solved)), solved, displacement)


def fold_confidence(displacement: Float[Array, "S S"], scale: Float[Array, ""]) -> Float[Array, "S S"]:
    """How far a displacement, pixels, is a fold and no lump, in [0, 1].

    A fold is a line: about it all slopes point across. Where stage 1 has a nose or a cheek a little beside its place, its shading
    comes out as lumps, which slope every way. The structure tensor tells them apart (Weickert 1999): its coherence, times how
    steep it is.

    Args:
        displacement: of every pixel, pixels.
        scale: pixels per mm.
    """
    across, down = depth_maps.differences(gaussian_blur(displacement, FOLD_FINEST * scale))
    xx, xy, yy = gaussian_blur(jnp.stack([across * across, across * down, down * down]), FOLD_ABOUT * scale)
    steep = xx + yy
    coherence = (jnp.square(xx - yy) + 4.0 * jnp.square(xy)) / (jnp.square(steep) + 1e-12)
    strength = jnp.square(steep * coherence)
    return strength / (strength + FOLD_SLOPE**4)


@quick_jit(static_argnames=("config",))
def refine(
    model: MorphableModel, state: FaceState, photo: Float[Array, "S S 3"], seen: Fragments, *, config: GeometryRefinementConfig
) -> Detail:
    """Refine the surface of a fitted face.

    Args:
        model: the head.
        state: the fit of stage 1, in the crop's pixels.
        photo: the crop, sRGB; NaN outside the photo.
        seen: what its pixels see of the fit (`state.fragments`).
        config: fields.
    """
    surface = visible_surface(model, state, seen)
    shown, mask = compare_photo(surface, state, photo, config)
    first, last = SOFTENING
    shrink = (last / first) ** (1.0 / max(config.refinement_steps - 1, 1))

    def body(index: int, displacement: Float[Array, "S S"]) -> Float[Array, "S S"]:
        return reweighted_step(surface, shown, mask, displacement, first * shrink ** index, config)

    pixels = jax.lax.fori_loop(0, config.refinement_steps, body, jnp.zeros_like(mask))
    pixels = pixels * jnp.maximum(fold_confidence(pixels, state.pose.scale), surface.crossing_folds)
    camera = camera_from_pose(state.pose)
    scale = depth_maps.pixels_per_mm(surface.depth, camera)
    displacement = jnp.where(scale > 0, pixels / jnp.where(scale > 0, scale, 1.0), 0.0)
    normals = depth_maps.normals_from_slopes(surface.slopes + depth_maps.differences(pixels), surface.sight)
    there = surface.depth > 0
    return Detail(camera=camera, mask=mask, displacement=displacement, depth=surface.depth + displacement,
                  normals=jnp.where(there[..., None], jnp.moveaxis(normals, 0, -1), 0.0), albedo=None)
