"""The loss of a batch (Richardson et al. 2017, Eq. 14): examples of `data` and a network's displacements to weighted terms."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry import depth_maps
from fitkit.geometry.filters import gaussian_blur
from fitkit.models.finenet.inputs import CoarseView, view_planes
from fitkit.recipes.train.richardson_fine import losses
from fitkit.recipes.train.richardson_fine.data import SMALL
from fitkit.recipes.train.richardson_fine.surface import CoarseHead, CoarseSurface, coarse_surface
from fitkit.recipes.train.task import TrainingConfig
from fitkit.rendering.shading import sh_basis
from fitkit.types import Camera

GAIN = (0.3, 3.0)           # bounds of the smooth gain; chosen, as stage 2 of `inverse_rendering` has them
DARKEST = 0.02              # of the face's level: rendered brightness under which the gain is not told
Example = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriterionConfig(TrainingConfig):
    """The loss. Intensities are relative to the face's own, depth in pixels.

    Attributes:
        weight_shading: of E_sh (Richardson 2017, Eq. 14, lambda_sh).
        weight_fidelity: of E_f (lambda_f).
        weight_smoothness: of E_sm (lambda_sm).
        gain_reach: pixels of the Gaussian over which what light and albedo leave unexplained is taken up by a smooth gain before
            the rendering is compared; None for no gain, as in the paper: then lumps are carved where the coarse face is wrong.
        shading_scale: error of intensity at which a pixel counts for a quarter; None for the paper's squares, by which every hair
            and highlight is carved.
    """

    weight_shading: float = 1.0
    weight_fidelity: float = 1e-2
    weight_smoothness: float = 1e-2
    gain_reach: float | None = 5.0
    shading_scale: float | None = 0.3


class LitSurface(NamedTuple):
    """The coarse face in a crop, and how it is lit."""

    surface: CoarseSurface
    light: Float[Array, " 4"]
    albedo: Float[Array, " K"]
    planes: Float[Array, "s s 9"]   # what the network is given


def pinhole(example: Example) -> Camera:
    """The camera of an example's state, pixels of the whole picture."""
    return Camera(focal=example["focal"], principal=example["principal"], rotation=example["rotation"],
                  translation=example["translation"], perspective=True)


def lit_surface(head: CoarseHead, example: Example, camera: Camera) -> LitSurface:
    """What the network and the loss need of an example's coarse face.

    Light and albedo are those of the whole picture, seen small: a part of a face does not tell a light.

    Args:
        head: of the coarse face.
        example: one, of `data.draw_examples`.
        camera: that sees it, pixels of the whole picture.
    """
    state = example["identity"], example["expression"]
    stride = example["stride"]
    small = dataclasses.replace(camera, focal=camera.focal / stride, principal=(camera.principal - 0.5) / stride + 0.5)
    whole = coarse_surface(head, *state, jax.lax.stop_gradient(small), side=SMALL)
    weight = whole.skin * example["small_shown"]
    light = losses.least_squares_light(whole, example["small"], weight)
    albedo = losses.least_squares_albedo(whole, light, example["small"], weight)
    crop = dataclasses.replace(camera, principal=camera.principal - example["corner"])
    surface = coarse_surface(head, *state, crop, side=example["picture"].shape[0])
    light, albedo = jax.lax.stop_gradient((light, albedo))
    return LitSurface(surface, light, albedo, planes_of(surface, light, albedo, example))


def planes_of(surface: CoarseSurface, light: Float[Array, " 4"], albedo: Float[Array, " K"], example: Example
              ) -> Float[Array, "s s 9"]:
    """What the network is given of an example: as of a fit with this light and albedo."""
    tone = surface.albedo + jnp.tensordot(albedo, surface.modes, 1)
    constant, linear = sh_basis(jnp.array([0.0, 1.0, 0.0]), bands=2)[:2]
    harmonics = jnp.zeros(9).at[:4].set(jnp.stack([light[0] / constant, *(light[k] / linear for k in (2, 3, 1))]))      # 1, y, z, x
    view = CoarseView(surface.depth, surface.skin, surface.slopes, surface.sight, tone, harmonics)
    photo = jnp.repeat(example["seen"][..., None], 3, axis=-1)
    return view_planes(photo, view, example["level"], example["middle"], example["pixel"])


def terms_of(lit: LitSurface, displacement: Float[Array, "s s"], example: Example, config: CriterionConfig) -> dict[str, Array]:
    """E_sh, E_f and E_sm of one picture, unweighted.

    Args:
        lit: the coarse face.
        displacement: along the depth, pixels.
        example: `picture` and `shown`.
        config: how pictures are compared.
    """
    surface, picture = lit.surface, example["picture"]
    inner = jnp.pad(jnp.ones((len(picture) - 2,) * 2), 1)      # slopes at the last row and column are to nowhere
    weight = surface.skin * example["shown"] * inner
    error = losses.shading_error(surface, jax.lax.stop_gradient(surface.slopes), lit.light, lit.albedo, jnp.ones_like(picture),
                                 jnp.zeros_like(picture))
    gain = jax.lax.stop_gradient(smooth_gain(error, picture, weight, config.gain_reach))
    slopes = losses.fine_slopes(surface, displacement)
    error = losses.shading_error(surface, slopes, lit.light, lit.albedo, gain, picture)
    there = inner * (surface.depth > 0)
    bent = jnp.abs(depth_maps.differences_transposed(slopes))      # minus the Laplacian
    return {"shading": losses.masked_mean(losses.bounded_square(error, config.shading_scale), weight),
            "fidelity": losses.masked_mean(jnp.square(displacement), there), "smoothness": losses.masked_mean(bent, there)}


def smooth_gain(rendered: Float[Array, "s s"], picture: Float[Array, "s s"], weight: Float[Array, "s s"], reach: float | None
                ) -> Float[Array, "s s"]:
    """How much brighter the picture is than its rendering, over `reach` pixels around."""
    if reach is None:
        return jnp.ones_like(picture)
    shown, drawn = gaussian_blur(jnp.stack([picture * weight, rendered * weight]), reach)
    share = gaussian_blur(weight, reach)
    return jnp.where(drawn > DARKEST * share, shown / jnp.maximum(drawn, 1e-6), 1.0).clip(*GAIN)


def weighted(terms: Mapping[str, Array], config: CriterionConfig) -> Array:
    """Eq. 14."""
    return (config.weight_shading * terms["shading"] + config.weight_fidelity * terms["fidelity"]
            + config.weight_smoothness * terms["smoothness"])
