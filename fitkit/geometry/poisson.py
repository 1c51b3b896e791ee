"""Poisson's problem on some pixels of a picture: the field whose forward differences come nearest to given ones, its border held.

    min over d of  sum |d(q) - d(p) - w(p)|^2,    d as given at all pixels that are not asked for

over all pairs of a pixel p and the next one q, across and down, of which at least one is asked for (Perez et al. 2003; Guo et al.
2018, Eq. 18). Conjugate gradients on the five-point stencil, without a matrix, preconditioned by a V-cycle of multigrid, so that
their number hardly grows with the picture. The screened problem, whose field is free everywhere and only held to be small, is
solved directly, by cosine transforms. Pure functions of arrays.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.depth_maps import ahead, behind, differences, differences_transposed

TOLERANCE = 3e-6        # of the residual, relative to that of the start: below the 1e-5 that is promised, above float32's rounding
MOST_STEPS = 100        # of the conjugate gradients; a bound on work, ten to twenty are usual
JACOBI_STEP = 0.8       # damping of Jacobi's method, which smooths at every level (Trottenberg et al. 2001, Section 2.1)
SMOOTHINGS = 2          # Jacobi steps before and after each coarser level
COARSEST = 8            # pixels: a side of the coarsest level, which is solved by smoothing alone
COARSEST_SMOOTHINGS = 30
# A block of 2x2 pixels moves as one, so that sums of the pixels' equations are twice as stiff as the smooth field is (Braess 1995)
BLOCK_STIFFNESS = 0.5


State = tuple[Array, Array, Array, Array, Array]        # solution, residual, direction, their preconditioned size, steps


class Stencil(NamedTuple):
    """A symmetric operator: `diagonal` times a pixel less each neighbour times the edge to it."""

    diagonal: Float[Array, "H W"]      # 0 where nothing is asked for
    across: Float[Array, "H W"]        # edge to the next pixel across
    down: Float[Array, "H W"]

    def __matmul__(self, values: Float[Array, "H W"]) -> Float[Array, "H W"]:
        """The operator applied."""
        neighbours = self.across * ahead(values, axis=1) + behind(self.across * values, axis=1)
        neighbours = neighbours + self.down * ahead(values, axis=0) + behind(self.down * values, axis=0)
        return self.diagonal * values - neighbours


@quick_jit()
def solve_poisson(gradient: Float[Array, "2 H W"], start: Float[Array, "H W"], unknown: Bool[Array, "H W"]
                  ) -> Float[Array, "H W"]:
    """The field with the wanted forward differences, in the least-squares sense, at the unknown pixels.

    Args:
        gradient: wanted differences to the next pixel, across and down; those between two known pixels do not count.
        start: the field at the known pixels, and where the search begins at the unknown ones; the nearer, the sooner it ends.
        unknown: which pixels are asked for. A patch of them that touches no known pixel is found up to a constant.

    Returns:
        `start` with the unknown pixels solved for: `poisson_residual` is 1e-5 of what it is at the start.
    """
    height, width = start.shape
    halvings = 0
    while max(height, width) > COARSEST << halvings:
        halvings += 1
    padding = [(0, -side % (1 << halvings)) for side in (height, width)]
    levels = [Stencil(*(jnp.pad(plane, padding) for plane in _stencil(unknown.astype(start.dtype))))]
    for _ in range(halvings):
        levels.append(_of_blocks(levels[-1]))
    right = jnp.pad(poisson_residual(gradient, start, unknown), padding)
    return start + _conjugate_gradients(levels, right)[:height, :width]


@quick_jit()
def solve_screened_poisson(gradient: Float[Array, "2 H W"], screening: Float[Array, ""] | float) -> Float[Array, "H W"]:
    """The field whose forward differences come nearest to given ones while it stays small, over a whole rectangle, directly.

    min over d of  sum |d(q) - d(p) - w(p)|^2 + screening * sum d(p)^2

    (Bhat et al. 2008, "Fourier analysis of the 2D screened Poisson equation for gradient domain problems"), its border free: cosine
    transforms make it diagonal. What a place asks for decays over 1 / sqrt(screening) pixels.

    Args:
        gradient: wanted differences to the next pixel, across and down; those beyond the border do not count.
        screening: above 0, per squared pixel.
    """
    right = differences_transposed(gradient.at[0, :, -1].set(0.0).at[1, -1].set(0.0))
    down, across = (4.0 * jnp.square(jnp.sin(0.5 * jnp.pi * jnp.arange(side) / side)) for side in right.shape)
    transformed = jax.scipy.fft.dctn(right, norm="ortho") / (down[:, None] + across + screening)
    field: Array = jax.scipy.fft.idctn(transformed, norm="ortho")
    return field


def _conjugate_gradients(levels: list[Stencil], right: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """The solution of `levels[0] @ x = right`; JAX's own would compile the V-cycle twice."""
    enough = TOLERANCE**2 * jnp.sum(jnp.square(right))

    def unfinished(carry: State) -> Bool[Array, ""]:
        _, residual, _, _, step = carry
        return (jnp.sum(jnp.square(residual)) > enough) & (step < MOST_STEPS)

    def body(carry: State) -> State:
        x, residual, direction, before, step = carry
        conditioned = _cycle(levels, residual)
        size = jnp.sum(residual * conditioned)
        direction = conditioned + jnp.where(step > 0, size / before, 0.0) * direction
        across = levels[0] @ direction
        length = size / jnp.sum(direction * across)
        return x + length * direction, residual - length * across, direction, size, step + 1

    nothing = jnp.zeros_like(right)
    found: Array = lax.while_loop(unfinished, body, (nothing, right, nothing, jnp.ones((), right.dtype), jnp.asarray(0)))[0]
    return found


def poisson_residual(gradient: Float[Array, "2 H W"], field: Float[Array, "H W"], unknown: Bool[Array, "H W"]
                     ) -> Float[Array, "H W"]:
    """Minus half the derivative of the energy by each unknown pixel; 0 at the known ones."""
    wanted = unknown.astype(field.dtype)
    return wanted * differences_transposed(_pairs(wanted) * (gradient - differences(field)))


def _pairs(wanted: Float[Array, "H W"]) -> Float[Array, "2 H W"]:
    """1 where a pixel and its next one exist and one of them is asked for."""
    exists = jnp.ones_like(wanted)
    return jnp.stack([ahead(exists, axis=axis) * jnp.maximum(wanted, ahead(wanted, axis=axis)) for axis in (1, 0)])


def _stencil(wanted: Float[Array, "H W"]) -> Stencil:
    across, down = _pairs(wanted)
    degree = across + behind(across, axis=1) + down + behind(down, axis=0)
    return Stencil(wanted * degree, wanted * ahead(wanted, axis=1), wanted * ahead(wanted, axis=0))


def _of_blocks(fine: Stencil) -> Stencil:
    """The operator on blocks of 2x2 pixels, each of which moves as one."""
    def sums(values: Float[Array, "h w"]) -> Float[Array, "h/2 w/2"]:
        return BLOCK_STIFFNESS * _block_sums(values)

    inside = sums(fine.across.at[:, 1::2].set(0.0)) + sums(fine.down.at[1::2].set(0.0))
    return Stencil(sums(fine.diagonal) - 2.0 * inside, sums(fine.across.at[:, ::2].set(0.0)), sums(fine.down.at[::2].set(0.0)))


def _block_sums(values: Float[Array, "h w"]) -> Float[Array, "h/2 w/2"]:
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]


def _cycle(levels: list[Stencil], right: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """About the solution of `levels[0] @ x = right`: one V-cycle, symmetric and positive definite as is asked for."""
    operator, *coarser = levels
    asked = operator.diagonal > 0.0
    step = jnp.where(asked, JACOBI_STEP / jnp.where(asked, operator.diagonal, 1.0), 0.0)

    def smooth(x: Float[Array, "H W"], times: int) -> Float[Array, "H W"]:
        # a loop, so that XLA for CPU does not fuse the steps, and compute each pixel's neighbours' neighbours anew
        return lax.fori_loop(0, times, lambda _, x: x + step * (right - operator @ x), x)

    x = smooth(step * right, SMOOTHINGS - 1 if coarser else COARSEST_SMOOTHINGS)
    if not coarser:
        return x
    block = _cycle(coarser, _block_sums(right - operator @ x))
    return smooth(x + jnp.where(asked, jnp.repeat(jnp.repeat(block, 2, 0), 2, 1), 0.0), SMOOTHINGS)
