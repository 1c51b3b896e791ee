"""What of a picture of a face runs in lines, as folds do. Stubble, pores, film grain and blotches run nowhere.

In: a plane or a residual of the crop, or the crop itself, and where skin is compared. Out: the structure tensor (Weickert 1999),
that part of the residual that is shading of folds, or how much each place has lines, for what networks see. It is told in the
photo, not in the relief that shading makes of it: light from one side turns grain into streaks across the light.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import LUMINANCE
from fitkit.geometry import depth_maps
from fitkit.geometry.filters import blur_along, gaussian_blur, smoothstep
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig

INNER = 0.75        # share of known pixels around one from which its slope counts: the border of skin is no line
MIN_GREY = 0.03     # sRGB; below it a ratio is noise
DARKEST = 1e-3      # squared colour relative to the face's own, below which a residual is no share of it


def structure_tensor(
    values: Float[Array, "S S"], inside: Float[Array, "S S"], scale: Float[Array, ""], config: GeometryRefinementConfig
) -> tuple[Float[Array, "S S"], Float[Array, "S S"], Float[Array, "S S"]]:
    """Means over `refinement_fold_reach` of the products of slopes: across twice, across and down, down twice.

    Args:
        values: of every pixel.
        inside: 1 where they are known, 0 elsewhere.
        scale: pixels per mm.
        config: fields.
    """
    known = gaussian_blur(inside, config.refinement_fold_finest * scale)
    fine = gaussian_blur(values * inside, config.refinement_fold_finest * scale) / jnp.maximum(known, 0.1)
    across, down = jnp.where(known > INNER, depth_maps.differences(fine), 0.0)
    products = gaussian_blur(jnp.stack([across * across, across * down, down * down]), config.refinement_fold_reach * scale)
    return products[0], products[1], products[2]


def doubled_lines(
    xx: Float[Array, "S S"], xy: Float[Array, "S S"], yy: Float[Array, "S S"]
) -> tuple[Float[Array, "S S"], Float[Array, "S S"]]:
    """Cosine and sine of twice the angle of the lines of a structure tensor, times its coherence: 1 in a line, 0 in grain."""
    total = xx + yy + 1e-12
    return (yy - xx) / total, -2.0 * xy / total


def line_share(
    photo: Float[Array, "S S 3"], mask: Float[Array, "S S"], scale: Float[Array, ""], config: GeometryRefinementConfig
) -> Float[Array, "S S"]:
    """How much what is finer than `refinement_reach` runs in lines around each pixel, in [0, 1].

    Args:
        photo: the crop, sRGB; NaN outside the photo.
        mask: 0 where no skin is seen.
        scale: pixels per mm.
        config: fields.
    """
    known = jnp.all(jnp.isfinite(photo), -1)
    inside = ((mask > 0) & known).astype(mask.dtype)
    grey = jnp.where(known, photo @ jnp.array(LUMINANCE), 0.0)
    sums = gaussian_blur(jnp.stack([grey * inside, inside]), config.refinement_reach * scale)
    shade = inside * (grey / jnp.maximum(sums[0] / jnp.maximum(sums[1], 0.1), MIN_GREY) - 1.0)
    level, slant = doubled_lines(*structure_tensor(shade, inside, scale, config))
    return smoothstep(jnp.hypot(level, slant), *config.refinement_line_coherence)


def line_part(
    residual: Float[Array, "3 S S"], rendered: Float[Array, "3 S S"], mask: Float[Array, "S S"], scale: Float[Array, ""],
    config: GeometryRefinementConfig,
) -> Float[Array, "3 S S"]:
    """The part of a residual that is shading of lines.

    Shading scales all channels alike, which pigment does not. Where slopes have no direction in common (the tensor's coherence is
    low), nothing is kept. Where they have, the residual is averaged along it, the more so the grainier the photo: grain
    cancels, a line stays.

    Args:
        residual: photo less rendering, relative to the face's own colour.
        rendered: the same of the rendering.
        mask: weight of each pixel, 0 where there is no skin to compare.
        scale: pixels per mm.
        config: fields.
    """
    inside = (mask > 0).astype(mask.dtype)
    shade = inside * jnp.sum(residual * rendered, 0) / jnp.maximum(jnp.sum(jnp.square(rendered), 0), DARKEST)
    level, slant = doubled_lines(*structure_tensor(shade, inside, scale, config))
    coherence = jnp.hypot(level, slant)
    lines = jnp.stack([level, slant]) / jnp.maximum(coherence, 1e-6)
    sums = blur_along(jnp.stack([shade, inside]), lines, config.refinement_line_length * scale)
    smooth = inside * sums[0] / jnp.maximum(sums[1], 0.1)
    grain = jnp.sum(mask * jnp.square(shade - smooth)) / jnp.maximum(jnp.sum(mask), 1.0)
    share = grain / (grain + config.refinement_line_grain**2)
    return rendered * smoothstep(coherence, *config.refinement_line_coherence) * (shade + share * (smooth - shade))
