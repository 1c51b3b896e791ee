"""Stage 2 of recipe `inverse_rendering`: the geometry refinement of Guo et al. 2018, Section V-B.

    E(d) = E_con + mu_1 |d|^2 + mu_2 |laplacian d|_1                                              (Eq. 9)

over one displacement along the depth for every pixel of face skin, by Gauss-Newton with iteratively reweighted least squares
(Chartrand and Yin 2008). Depth is in pixels; colours are sRGB, relative to the mean of the face; all three terms are sums over the
pixels. Matrix-free: a step is solved by conjugate gradients on stencils.

What is not a wrinkle is kept out in six ways. The smooth part of what stage 1 leaves unexplained is taken up by a smooth gain
before colours are compared. What features of the head explain that lie a little beside their place is taken off. A pixel that
disagrees more than a fold could (hair, glasses, the edge of a shadow, a highlight) counts little. Brows, lips, nostrils, the ridge
of the nose and the rims of the eyes are left out (`face_surface`, `photo_comparison`). Of what differs then, lines are kept
(`fold_lines`), and of the relief found lines again, on the forehead level ones (`fold_confidence`). The light is stage 1's:
refitted to the skin with shape and albedo held, it takes errors of the albedo for shading, and folds come out too shallow.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.fitting import solvers
from fitkit.fitting.state import FaceState
from fitkit.geometry import depth_maps
from fitkit.geometry.filters import smoothstep
from fitkit.recipes.inverse_rendering.face_surface import Surface, displaced_detail, render, visible_surface
from fitkit.recipes.inverse_rendering.fold_lines import doubled_lines, structure_tensor
from fitkit.recipes.inverse_rendering.photo_comparison import Comparison, compare_photo
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.types import Detail, Fragments, MorphableModel

SOLVER_TOLERANCE = 1e-3         # of the conjugate gradients, relative to the right-hand side
BIHARMONIC_DIAGONAL = 20.0      # centre of the stencil of the Laplacian applied twice: 4^2 + 4


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
                           pull_back + 2.0 * (xx + yy) + BIHARMONIC_DIAGONAL * bend)


def reweighted_step(
    surface: Surface, shown: Comparison, mask: Float[Array, "S S"], displacement: Float[Array, "S S"], softening: Float[Array, ""],
    config: GeometryRefinementConfig,
) -> Float[Array, "S S"]:
    """The displacement after one reweighted step; the old one where the solution is not finite."""
    system = linearize(surface, shown, mask, displacement, softening, config)
    solved, _ = jax.scipy.sparse.linalg.cg(system.product, system.right, x0=displacement, tol=SOLVER_TOLERANCE,
                                           maxiter=config.refinement_products, M=lambda d: d / system.diagonal)
    return jnp.where(jnp.all(jnp.isfinite(solved)), solved, displacement)


def fold_confidence(
    displacement: Float[Array, "S S"], scale: Float[Array, ""], level: Float[Array, "S S"], upright: Float[Array, " 2"],
    config: GeometryRefinementConfig,
) -> Float[Array, "S S"]:
    """How much a displacement is a fold and not a lump, in [0, 1].

    A fold is a line: about it all slopes point across. Where stage 1 has a nose or a cheek a little beside its place, its shading
    comes out as lumps, which slope every way. The structure tensor tells them apart: its coherence, times how
    steep it is. On the forehead, where stage 1 has little to misplace, what runs level is kept whole, and what hangs across it
    is hair.

    Args:
        displacement: of every pixel, pixels.
        scale: pixels per mm.
        level: how much a pixel is of where folds run level, in [0, 1].
        upright: the head's way up in the picture (x, y), unit.
        config: fields.
    """
    xx, xy, yy = structure_tensor(displacement, jnp.ones_like(displacement), scale, config)
    steep = xx + yy
    lying, slanted = doubled_lines(xx, xy, yy)
    strength = jnp.square(steep * (jnp.square(lying) + jnp.square(slanted)))      # the coherence squared
    up_x, up_y = upright
    upwards = (up_x * up_x * xx + 2.0 * up_x * up_y * xy + up_y * up_y * yy) / (steep + 1e-12)      # share across level lines
    running_level = smoothstep(upwards, *config.refinement_fold_level)
    line = strength / (strength + config.refinement_fold_slope**4)
    return line + level * (running_level - line)


@quick_jit(static_argnames=("config",))
def refine(
    model: MorphableModel, state: FaceState, photo: Float[Array, "S S 3"], seen: Fragments, *, config: GeometryRefinementConfig
) -> Detail:
    """Refine the surface of a fitted face.

    Args:
        model: the head.
        state: the fit of stage 1, in the crop's pixels.
        photo: the crop, sRGB; NaN outside the photo.
        seen: what its pixels see of the fit (`rasterize_state`).
        config: fields.
    """
    surface = visible_surface(model, state, seen, config)
    shown, mask = compare_photo(surface, state, photo, config)
    first, last = config.refinement_softening
    shrink = (last / first) ** (1.0 / max(config.refinement_steps - 1, 1))

    def body(index: int, displacement: Float[Array, "S S"]) -> Float[Array, "S S"]:
        return reweighted_step(surface, shown, mask, displacement, first * shrink ** index, config)

    pixels = jax.lax.fori_loop(0, config.refinement_steps, body, jnp.zeros_like(mask))
    pixels = pixels * fold_confidence(pixels, state.pose.scale, surface.level_folds, surface.upright, config)
    return displaced_detail(surface, state, mask, pixels)
