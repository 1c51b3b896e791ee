"""Fine geometry of a fitted face by FineNet (Guo et al. 2018, Section VIII), in place of stage 2 of `inverse_rendering`.

Milliseconds, where stage 2 solves for a second. Of the fit it needs shape and pose, and albedo and light: they say which way slopes
change the skin's brightness.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import LUMINANCE
from fitkit.compilation import quick_jit
from fitkit.fitting.state import FaceState
from fitkit.geometry.depth_maps import pixels_per_mm
from fitkit.geometry.pose import camera_from_pose
from fitkit.models.finenet.inference import fine_displacement
from fitkit.models.finenet.inputs import CoarseView
from fitkit.recipes.inverse_rendering.face_surface import Surface, displaced_detail, visible_surface
from fitkit.recipes.inverse_rendering.fold_lines import line_share
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.types import Camera, Detail, Fragments, MorphableModel

# photo, what is known of it, camera -> mm along the depth
Displacement = Callable[[Float[Array, "S S 3"], CoarseView, Camera], Float[Array, "S S"]]


def refine(model: MorphableModel, state: FaceState, photo: Float[Array, "S S 3"], seen: Fragments, *,
           config: GeometryRefinementConfig | None = None, displacement: Displacement = fine_displacement,
           lines: bool = False) -> Detail:
    """Refine the surface of a fitted face, as `geometry_refinement.refine` does.

    Args:
        model: the head.
        state: the fit, in the crop's pixels.
        photo: the crop, sRGB; NaN outside the photo.
        seen: what its pixels see of the fit (`rasterize_state`).
        config: of stage 2, for the skin that can fold and for lines: fields `refinement_facing`, `refinement_outline_fade`,
            `refinement_reach`, `refinement_fold_finest`, `refinement_fold_reach`, `refinement_line_coherence`.
        displacement: the network, as `fine_displacement`: another paper's in its place.
        lines: keep only what the photo shows lines of; for a network that takes grain and stubble for relief.

    Raises:
        FitkitError: E_DATA, the network's weights are missing or damaged.
    """
    config = config or GeometryRefinementConfig()
    surface, view = _surface(model, state, seen, config)
    camera = camera_from_pose(state.pose)
    return _detail(surface, state, photo, displacement(photo, view, camera), config if lines else None)


@quick_jit(static_argnames=("config",))
def _surface(
    model: MorphableModel, state: FaceState, seen: Fragments, config: GeometryRefinementConfig
) -> tuple[Surface, CoarseView]:
    surface, luminance = visible_surface(model, state, seen, config), jnp.array(LUMINANCE)
    light = jnp.zeros(9).at[:len(state.face.light)].set(state.face.light @ luminance)
    return surface, CoarseView(surface.depth, surface.mask, surface.slopes, surface.sight,
                               jnp.einsum("chw,c->hw", surface.albedo, luminance), light)


@quick_jit(static_argnames=("config",))
def _detail(surface: Surface, state: FaceState, photo: Float[Array, "S S 3"], found: Float[Array, "S S"],
            config: GeometryRefinementConfig | None) -> Detail:
    mask = jnp.where(jnp.all(jnp.isfinite(photo), axis=-1), surface.mask, 0.0)
    folds = found * mask * (1.0 if config is None else line_share(photo, mask, state.pose.scale, config))
    return displaced_detail(surface, state, mask, folds * pixels_per_mm(surface.depth, camera_from_pose(state.pose)))
