"""A displacement map of DFDN brought to the pixels of a working crop: the fine geometry of a fitted face (Chen et al. 2019).

The map lies on the head's UV; a result keeps what pixels see, and bakes it into the map that it writes (`fitkit.uv.displacement`).
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.fitting.state import FaceState
from fitkit.geometry.depth_maps import pixels_per_mm
from fitkit.geometry.pose import camera_from_pose
from fitkit.models.dfdn.inference import displacement_map, load_networks
from fitkit.models.dfdn.patches import MAP, WINDOW
from fitkit.models.heads import wears_own_layout
from fitkit.morphable.model import shape
from fitkit.recipes.inverse_rendering.face_surface import displaced_detail, visible_surface
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.texture import sample_image
from fitkit.types import Camera, Detail, Fragments, MorphableModel

# head, vertices of the proxy, camera, photo -> displacement on `patches.window`, mm, and how much a texel is skin
MapOf = Callable[[MorphableModel, Float[Array, "V 3"], Camera, Float[Array, "S S 3"]], tuple[Array, Array]]


def shipped_map(model: MorphableModel, vertices: Float[Array, "V 3"], camera: Camera, photo: Float[Array, "S S 3"], *,
                folder: str = "") -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """`displacement_map` by the networks of a folder, or those that come with fitkit."""
    return displacement_map(load_networks(folder=folder), model, vertices, camera, photo)


def refine(model: MorphableModel, state: FaceState, photo: Float[Array, "S S 3"], seen: Fragments, *, map_of: MapOf = shipped_map
           ) -> Detail:
    """The wrinkles that DFDN sees on a fitted face.

    Args:
        model: the head.
        state: the fit, in the crop's pixels; albedo and light are not looked at.
        photo: the crop, sRGB; NaN outside the photo.
        seen: what its pixels see of the fit (`rasterize_state`).
        map_of: the networks.

    Raises:
        FitkitError: E_DATA, weights are missing or damaged; E_HEAD, the head has another UV map than the networks know.
    """
    if not wears_own_layout(model):
        raise FitkitError("E_HEAD", f"DFDN's networks know the UV map of the head makehuman, and {model.name} has its own; leave"
                          " --head away")
    heights, skin = map_of(model, _vertices(model, state), camera_from_pose(state.pose), photo)
    return _detail(model, state, seen, heights, skin)


_vertices = quick_jit()(lambda model, state: shape(model, state.face.identity, state.face.expression))


@quick_jit()
def _detail(model: MorphableModel, state: FaceState, seen: Fragments, heights: Float[Array, "n n"], skin: Float[Array, "n n"]
            ) -> Detail:
    surface = visible_surface(model, state, seen, GeometryRefinementConfig())
    corners = model.uv[model.uv_triangles[jnp.maximum(seen.triangle, 0)]]
    uv = jnp.sum(corners * seen.barycentric[..., None], axis=-2)
    # texels of the window
    first_row, first_column, side = WINDOW
    scale = heights.shape[0] / side
    place = scale * (MAP * jnp.stack([uv[..., 0], 1.0 - uv[..., 1]], axis=-1) - jnp.array([first_column, first_row]))
    inside = jnp.all((place > 0.0) & (place < heights.shape[0]), axis=-1) & (surface.mask > 0.0)
    outwards, share = jnp.moveaxis(sample_image(jnp.stack([heights, skin], axis=-1), place), -1, 0)
    # a millimetre along the normal is this many along the depth
    steep = jnp.sqrt(1.0 + jnp.sum(jnp.square(surface.slopes), axis=0) + 2.0 * jnp.sum(surface.sight * surface.slopes, axis=0)
                     + jnp.square(jnp.sum(surface.sight * surface.slopes, axis=0)))
    along = jnp.where(inside, -outwards * steep, 0.0)
    return displaced_detail(surface, state, jnp.where(inside, share, 0.0),
                            along * pixels_per_mm(surface.depth, camera_from_pose(state.pose)))
