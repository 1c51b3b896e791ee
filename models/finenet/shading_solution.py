"""The displacement whose slopes explain brightness, by linear least squares: what FineNet begins with.

    min over d of  sum weight (by_across dd/dx + by_down dd/dy - ratio)^2 + RIDGE d^2 + BEND (laplacian d)^2

Eq. 9 of Guo et al. 2018 in one step: colours linear in the slopes, squares for absolute values. Light tells nothing of slopes along
the lines on which it is the same; there the smoothest displacement is taken.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.depth_maps import differences, differences_transposed, laplacian

# Chosen on heads of `tests/measurements/wrinkles.py` with seeds that nothing is measured on
RIDGE = 1e-3            # pixels of the network's picture
BEND = 3e-3             # the same
UNLIKELY = 0.3          # ratio, as a logarithm, at which a pixel counts for a quarter: hair, or the edge of a shadow
PRODUCTS = 40           # of the conjugate gradients
DIAGONAL = 20.0         # centre of the stencil of the Laplacian applied twice: 4^2 + 4


def shading_solution(ratio: Float[Array, "S S"], by: Float[Array, "2 S S"], there: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """Displacement, pixels, positive away from the camera; 0 where there is no face.

    Args:
        ratio: logarithm of photo over rendering, fine differences alone.
        by: by how much it grows with a slope more, across and down.
        there: 1 on the face, 0 beside it.
    """
    weight = there / jnp.square(1.0 + jnp.square(ratio / UNLIKELY))      # Geman and McClure's

    def product(d: Float[Array, "S S"]) -> Float[Array, "S S"]:
        data = differences_transposed(by * (weight * jnp.sum(by * differences(d), axis=0)))
        return there * (data + RIDGE * d + BEND * laplacian(laplacian(d)))

    diagonal = RIDGE + DIAGONAL * BEND + 2.0 * weight * jnp.sum(jnp.square(by), axis=0)
    right = there * differences_transposed(by * (weight * ratio))
    found: Array = jax.scipy.sparse.linalg.cg(product, right, tol=1e-5, maxiter=PRODUCTS, M=lambda r: r / diagonal)[0]
    return found
