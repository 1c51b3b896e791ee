"""One albedo from several photos of a person: each one's leftover light taken off, the best view of each texel, no seams.

The fit takes each photo's light off as far as it knows it. Here, for each photo, the log ratio of its observed albedo to the
model's (`albedo_completion.trusted_log_ratio`) is read at every texel, and

    leftover light   what photos still differ by where they see the same skin, as a smooth function of the normals: a tone and three
                     first-order harmonics for each channel, by reweighted least squares, with a mean over the photos of 0
    broad colour     the mean of the photos, weighted by how squarely each sees a texel and how far it is trusted
    fine detail      the differences from texel to texel of the one photo that sees both best, so that nothing is doubled or blurred
    no seam          both joined by a screened Poisson equation on the logarithms (`geometry.poisson.solve_screened_poisson`)

In: `SeenTexels` of each photo, from `unwrap.py`. Out: those of a photo that none took: all that the photos see, under white light
of 1, which `unwrap.completed_albedo` completes as it does one photo's; and each photo's share of every texel.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.depth_maps import ahead
from fitkit.geometry.poisson import solve_screened_poisson
from fitkit.geometry.vectors import safe_normalize
from fitkit.rendering.shading import sh_basis
from fitkit.uv.albedo_completion import AlbedoCompletionConfig, trusted_log_ratio
from fitkit.uv.layout import Layout, SeenTexels, block_mean, brightness, hue
from fitkit.uv.observed_albedo import planes_of

UNTRUSTED = 1e-3         # weight of what a photo sees and is not trusted in, or the region is not read in: where no other sees it
MIN_WEIGHT = 1e-9        # keeps divisions by a weight finite
ALBEDO_RANGE = (1e-3, 1.0)      # of the model, as `planes_of` bounds it


@dataclasses.dataclass(frozen=True, kw_only=True)
class JoinedPhotosConfig:
    """How photos are joined. Chosen, not tuned, where nothing else is said."""

    light_ridge: float = 1.5             # of harmonics: (noise 0.15 / deviation 0.7)^2, times the 30 coarse texels that err alike
    light_scale: float = 0.2             # log ratio: scale of the Geman-McClure weights; shine and shadows differ by more
    light_iterations: int = 5            # of that reweighting
    light_bound: float = 0.7             # most of a leftover light, log ratio, either way: it is carried on to unseen sides
    sharpness: float = 24.0              # power of a photo's weight by which it is the one whose detail is taken
    screening: float = 1.0 / 32.0**2     # per squared texel: detail reaches 32 texels, about 15 mm, and broad colour is the mean's
    grey_weight: float = 0.01            # of a black and white photo beside coloured ones
    completion: AlbedoCompletionConfig = AlbedoCompletionConfig()      # how the face is told from what hides it


DEFAULT = JoinedPhotosConfig()


class JoinedPhotos(NamedTuple):
    """Several photos of a person as one."""

    seen: SeenTexels
    shares: Float[Array, "N T T"]        # of each photo in the detail of a texel; they sum to 1 where one sees it, else to 0
    weight: Float[Array, "T T"]          # how far a texel is some photo's, in [0, 1]
    light: Float[Array, "N 4 3"]         # leftover light: its logarithm in harmonics of the head's normals


def join_photos(
    photos: Sequence[SeenTexels], resolutions: Sequence[float], layout: Layout,
    *, config: JoinedPhotosConfig = DEFAULT,
) -> JoinedPhotos:
    """Several photos of one person as one photo, which shows whatever one of them shows.

    Args:
        photos: what each shows of the head, whose albedo is the same in all of them.
        resolutions: pixels of each photo for a millimetre of the head.
        layout: of the head.
        config: how they are joined.
    """
    grey = jnp.stack([each.grey for each in photos])
    shown = [_shown(each, layout, config.completion) for each in photos]
    logarithms, weights, trusted = (jnp.stack(column) for column in zip(*shown, strict=True))
    weights = weights * jnp.where(grey & ~jnp.all(grey), config.grey_weight, 1.0)[:, None, None]
    normals = _mean_normals([each.texels.normal for each in photos])
    light = leftover_light(logarithms, weights, normals, layout, config=config)
    clear = jnp.square(jnp.asarray(resolutions) / max(resolutions))
    joined, shares = _joined(logarithms, weights, clear, light, normals, config=config)
    visibility = _mean(jnp.stack([each.visibility for each in photos]), weights)
    texels = photos[0].texels
    albedo = jnp.clip(texels.albedo, *ALBEDO_RANGE)
    seen = SeenTexels(texels=texels._replace(irradiance=jnp.ones_like(albedo)), photo=albedo * jnp.exp(jnp.moveaxis(joined, 0, -1)),
                      visibility=visibility, grey=jnp.all(grey))
    return JoinedPhotos(seen=seen, shares=shares, weight=jnp.max(trusted, 0), light=light)


def _shown(
    seen: SeenTexels, layout: Layout, completion: AlbedoCompletionConfig
) -> tuple[Float[Array, "3 T T"], Float[Array, "T T"], Float[Array, "T T"]]:
    """Logarithm of a photo's observed albedo over the model's, the weight of each texel in what is joined, and its trust."""
    planes = planes_of(seen.texels, layout, seen.photo, seen.visibility, config=completion.observed)
    log_ratio, trusted = trusted_log_ratio(planes, seen.visibility, layout, seen.grey, config=completion)
    return _weighted(log_ratio, trusted, seen.visibility, layout)


@quick_jit()
def _weighted(
    log_ratio: Float[Array, "4 T T"], trusted: Float[Array, "T T"], visibility: Float[Array, "T T"], layout: Layout
) -> tuple[Float[Array, "3 T T"], Float[Array, "T T"], Float[Array, "T T"]]:
    covered = layout.fragments.triangle >= 0
    weight = jnp.square(visibility) * (UNTRUSTED + (1.0 - UNTRUSTED) * trusted)
    return brightness(log_ratio) + hue(log_ratio), jnp.where(covered, weight, 0.0), trusted


@quick_jit()
def _mean_normals(normals: list[Float[Array, "T T 3"]]) -> Float[Array, "T T 3"]:
    return safe_normalize(sum((safe_normalize(each) for each in normals), jnp.zeros_like(normals[0])))


@quick_jit(static_argnames=("config",))
def leftover_light(
    logarithms: Float[Array, "N 3 T T"], weights: Float[Array, "N T T"], normals: Float[Array, "T T 3"], layout: Layout,
    *, config: JoinedPhotosConfig = DEFAULT,
) -> Float[Array, "N 4 3"]:
    """The logarithm of the light that each photo still has on it, in the first four harmonics of the head's normals.

    min over c of  sum m_ij(x) |L_i(x) - L_j(x) - b(x)^T (c_i - c_j)|^2 + ridge sum |c_i|^2

    over pairs of photos i, j and coarse texels x, m_ij = w_i w_j / sum_k w_k, reweighted after Geman and McClure. What all c_i have
    in common changes no difference, so that the ridge leaves their mean at 0: what is common is the skin's.

    Args:
        logarithms: of the observed albedo over the model's.
        weights: of each photo's texels.
        normals: unit, head frame.
        layout: of the head; eyes and the mouth's inside tell nothing.
        config: ridge and scale.
    """
    count = len(logarithms)
    total = block_mean(weights)
    values = (block_mean(logarithms * weights[:, None]) / jnp.maximum(total, MIN_WEIGHT)[:, None]).reshape(count, 3, -1)
    basis = sh_basis(safe_normalize(jnp.moveaxis(block_mean(jnp.moveaxis(normals, -1, 0)), 0, -1)), bands=2).reshape(-1, 4)
    total = (total * (1.0 - layout.inside)).reshape(count, -1)
    both = total[:, None] * total / jnp.maximum(jnp.sum(total, 0), MIN_WEIGHT) * (1.0 - jnp.eye(count))[:, :, None]
    apart = values[:, None] - values

    def improved(_: int, light: Float[Array, "N 4 3"]) -> Float[Array, "N 4 3"]:
        left = jnp.mean(apart - jnp.einsum("xb,ijbc->ijcx", basis, light[:, None] - light), 2)
        pairs = both / jnp.square(1.0 + jnp.square(left / config.light_scale))
        grams = jnp.einsum("ijx,xa,xb->ijab", pairs, basis, basis)
        own = jnp.sum(grams, 1)[:, None] * jnp.eye(count)[:, :, None, None]
        matrix = jnp.moveaxis(own - grams, 1, 2).reshape(4 * count, 4 * count) + config.light_ridge * jnp.eye(4 * count)
        right = jnp.einsum("ijx,ijcx,xb->ibc", pairs, apart, basis).reshape(4 * count, 3)
        return jnp.linalg.solve(matrix, right).reshape(count, 4, 3)

    return jax.lax.fori_loop(0, config.light_iterations, improved, jnp.zeros((count, 4, 3)))


@quick_jit(static_argnames=("config",))
def _joined(
    logarithms: Float[Array, "N 3 T T"], weights: Float[Array, "N T T"], clear: Float[Array, " N"], light: Float[Array, "N 4 3"],
    normals: Float[Array, "T T 3"], *, config: JoinedPhotosConfig,
) -> tuple[Float[Array, "3 T T"], Float[Array, "N T T"]]:
    """The photos' logarithms without their light as one, and whose detail it is."""
    on_texels = jnp.einsum("xyb,nbc->ncxy", sh_basis(normals, bands=2), light)
    logarithms = logarithms - jnp.clip(on_texels, -config.light_bound, config.light_bound)
    best = weights * clear[:, None, None]
    broad = _mean(logarithms, weights)
    wanted = jnp.stack([_detail(logarithms, best, axis, config) - _step(broad, axis) * _known(best, axis) for axis in (2, 1)], 1)
    change = jnp.stack([solve_screened_poisson(each, config.screening) for each in wanted])
    return broad + change, _sharpened(best, config)


def _detail(
    logarithms: Float[Array, "N 3 T T"], best: Float[Array, "N T T"], axis: int, config: JoinedPhotosConfig
) -> Float[Array, "3 T T"]:
    """Differences to the next texel along an axis of the planes, of the photo that sees both texels best; 0 where none does."""
    both = jnp.minimum(best, ahead(best, axis=axis))
    shares = _sharpened(both, config)
    steps = ahead(logarithms, axis=axis + 1) - logarithms
    return jnp.sum(steps * shares[:, None], 0)


def _step(values: Float[Array, "3 T T"], axis: int) -> Float[Array, "3 T T"]:
    return ahead(values, axis=axis) - values


def _known(best: Float[Array, "N T T"], axis: int) -> Float[Array, "T T"]:
    """1 where a photo sees both a texel and the next one."""
    return (jnp.max(jnp.minimum(best, ahead(best, axis=axis)), 0) > MIN_WEIGHT).astype(best.dtype)


def _sharpened(weights: Float[Array, "N T T"], config: JoinedPhotosConfig) -> Float[Array, "N T T"]:
    """Shares by a high power of the weights: almost all is the best photo's; 0 where none sees a texel."""
    greatest = jnp.max(weights, 0)
    powers = jnp.where(greatest > MIN_WEIGHT, weights / jnp.maximum(greatest, MIN_WEIGHT), 0.0) ** config.sharpness
    return powers / jnp.maximum(jnp.sum(powers, 0), 1.0)


@quick_jit()
def _mean(values: Float[Array, "N *C T T"], weights: Float[Array, "N T T"]) -> Float[Array, "*C T T"]:
    """Weighted mean over the photos; 0 where none sees a texel."""
    weights = weights.reshape(weights.shape[0], *[1] * (values.ndim - 3), *weights.shape[1:])
    return jnp.sum(values * weights, 0) / jnp.maximum(jnp.sum(weights, 0), MIN_WEIGHT)
