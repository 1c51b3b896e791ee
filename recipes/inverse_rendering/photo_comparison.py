"""Which pixels of a photo show skin that can be compared with the rendering, and against which colours.

In: the `Surface` of the fitted head and the photo's crop. Out: a `Comparison` and a weight for every pixel. What the light of
stage 1 leaves unexplained but smooth becomes a gain; pixels that disagree more than a fold could (hair, glasses, cast shadows,
highlights) are masked; what features a little beside their place explain is taken off the photo, and so is what runs in no line.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.fitting import solvers
from fitkit.fitting.photometric import colour_mix
from fitkit.fitting.state import FaceState
from fitkit.geometry.filters import gaussian_blur
from fitkit.recipes.inverse_rendering.face_surface import Surface, render
from fitkit.recipes.inverse_rendering.fold_lines import line_part
from fitkit.recipes.inverse_rendering.refinement_config import PIXEL, GeometryRefinementConfig

MIN_COLOUR = 0.03        # sRGB; below it a gain is noise
MIN_MASK = 0.05          # weight under which a pixel is left out
NOISE_STRIDE = 4         # of those whose median disagreement is taken, each way: a bound on work
ROUNDS = 2               # of masking: the second without what the first shows to be no skin


class Comparison(NamedTuple):
    """What rendered colours are compared with."""

    light: Float[Array, "K 3"]
    mix: Float[Array, "3 3"]             # as in `photometric.FrozenPixels`
    gain: Float[Array, "3 S S"]
    target: Float[Array, "3 S S"]        # sRGB, divided by the face's mean; the gain takes renderings there
    trust: Float[Array, ""]              # weight of the whole photo, in (0, 1]; less for a noisy one
    pixel: Float[Array, ""]              # size of a pixel on the face, in units of `PIXEL`


def border_fade(size: int, width: Float[Array, ""]) -> Float[Array, "S S"]:
    """From 0 at the crop's border to 1 at `width` pixels from it: a forehead that the crop cuts off gets no edge there."""
    inwards = jnp.minimum(jnp.arange(size), jnp.arange(size)[::-1]) / width
    return jnp.clip(jnp.minimum(inwards[:, None], inwards), 0.0, 1.0)


def compare_photo(
    surface: Surface, state: FaceState, photo: Float[Array, "S S 3"], config: GeometryRefinementConfig
) -> tuple[Comparison, Float[Array, "S S"]]:
    """What the rendering is compared with, and the weight of each pixel in [0, 1]; it is 0 where there is no skin to compare."""
    target = jnp.moveaxis(photo, -1, 0)
    usable = jnp.all(jnp.isfinite(target), 0)
    target = jnp.where(usable, target, 0.0)
    mix = colour_mix(photo)
    rendered = render(surface, state.face.light, mix, surface.slopes)
    skin_seen = surface.mask * border_fade(photo.shape[0], config.refinement_crop_fade * state.pose.scale)
    skin_seen = jnp.where(usable & (jnp.min(rendered, 0) > MIN_COLOUR), skin_seen, 0.0)
    # colours relative to the face's own, so that dark skin folds as deep as light skin
    level = jnp.sum(skin_seen * jnp.mean(target, 0)) / jnp.maximum(jnp.sum(skin_seen), 1.0)
    target, rendered = (plane / jnp.maximum(level, MIN_COLOUR) for plane in (target, rendered))

    def smooth_gain(mask: Float[Array, "S S"], reach: float) -> Float[Array, "3 S S"]:
        seen, expected = (gaussian_blur(plane * mask, reach * state.pose.scale) for plane in (target, rendered))
        return jnp.clip((seen + 1e-3) / (expected + 1e-3), *config.refinement_gain)

    def mask_again(_: int, before: tuple[Array, Array]) -> tuple[Array, Array]:
        mask = before[0]
        gain = smooth_gain(mask, config.refinement_skin_reach)
        residual = gain * rendered - target
        error = jnp.mean(jnp.square(residual), 0)
        # over a neighbourhood: of a fold one slope is brighter and the other darker, and both cancel; hair and shadow do not
        around = gaussian_blur(jnp.concatenate([residual * skin_seen, jnp.stack([error * skin_seen, skin_seen])]),
                               config.refinement_skin_neighbourhood * state.pose.scale)
        means = around[:4] / jnp.maximum(around[4], 1e-3)
        area = jnp.mean(jnp.square(means[:3]), 0)
        disagreement = area + config.refinement_skin_lines * jnp.maximum(means[3] - area, 0.0)
        # and as a whole: what is much darker or of another hue than the fit is hair, beard, or skin in a cast shadow
        log_gain = jnp.log(gain / (jnp.sum(mask * gain, (1, 2)) / jnp.maximum(jnp.sum(mask), 1.0))[:, None, None])
        hue = log_gain - jnp.mean(log_gain, 0, keepdims=True)
        mask = (skin_seen * solvers.robust_weight(disagreement, jnp.asarray(config.refinement_scale))
                * solvers.robust_weight(jnp.mean(jnp.square(log_gain), 0), jnp.asarray(config.refinement_skin_level))
                * solvers.robust_weight(jnp.mean(jnp.square(hue), 0), jnp.asarray(config.refinement_skin_hue)))
        return mask, error

    mask, error = jax.lax.fori_loop(0, ROUNDS, mask_again, (skin_seen, jnp.zeros_like(skin_seen)))
    gain = smooth_gain(mask, config.refinement_reach)
    # where hair begins, its edge and shadow are left out with it
    around = gaussian_blur(jnp.stack([mask, skin_seen]), config.refinement_border * state.pose.scale)
    low, high = config.refinement_border_share
    mask = mask * jnp.clip((around[0] / jnp.maximum(around[1], 1e-3) - low) / (high - low), 0.0, 1.0)
    mask = jnp.where(mask > MIN_MASK, mask, 0.0)
    noise = jnp.nan_to_num(jnp.nanmedian(jnp.where(mask > 0, error, jnp.nan)[::NOISE_STRIDE, ::NOISE_STRIDE]))
    trust = 1.0 / jnp.maximum(1.0, noise / config.refinement_noise**2)
    pixel = 1.0 / (PIXEL * state.pose.scale)
    expected = gain * rendered
    target = target - moved_features(expected, target, mask, state.pose.scale, config)
    target = expected + line_part(target - expected, expected, mask, state.pose.scale, config)
    return Comparison(state.face.light, mix, gain / jnp.maximum(level, MIN_COLOUR), target, trust, pixel), mask


def moved_features(
    rendered: Float[Array, "3 S S"], target: Float[Array, "3 S S"], mask: Float[Array, "S S"], scale: Float[Array, ""],
    config: GeometryRefinementConfig,
) -> Float[Array, "3 S S"]:
    """By how much the photo's colours differ from the rendered ones because the head's features lie a little beside their place.

    Of a nose or a lid a millimetre beside its place, the shading would come out as relief. The residual is explained by a small
    move of the rendering, smooth over the face (Lucas and Kanade 1981, with a prior), as far as it can be: a fold, which the
    rendering has none of, cannot.

    Args:
        rendered: colours, relative to the face's mean.
        target: the photo's, the same.
        mask: weight of each pixel.
        scale: pixels per mm.
        config: fields.
    """
    padded = jnp.pad(rendered, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across, down = 0.5 * (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]), 0.5 * (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    error = target - rendered
    products = [jnp.sum(a * b, 0) for a, b in ((across, across), (across, down), (down, down), (across, error), (down, error))]
    sums = gaussian_blur(mask * jnp.stack([*products, jnp.ones_like(mask)]), config.refinement_move_reach * scale)
    ridge = jnp.square(config.refinement_move_ridge / scale) * sums[5] + 1e-9
    xx, xy, yy = sums[0] + ridge, sums[1], sums[2] + ridge
    # 2x2 solved in closed form
    determinant = xx * yy - xy * xy
    move_x, move_y = (yy * sums[3] - xy * sums[4]) / determinant, (xx * sums[4] - xy * sums[3]) / determinant
    return move_x * across + move_y * down
