"""The surface of a fitted head moved to the depth that DF2Net's networks see (Zeng et al. 2019).

The networks' depth has the scale of the crop, and no distance: it is put where the head is, by the median over the face. Its broad
shape moves the whole face and fades to the eyes, whose balls stay; what is finer moves skin that can fold, where the photo shows
lines. Both fade to the rim.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.fitting.state import FaceState
from fitkit.geometry.depth_maps import pixels_per_mm
from fitkit.geometry.filters import gaussian_blur
from fitkit.geometry.pose import camera_from_pose
from fitkit.models.df2net.depth_frame import FLOOR, NEAREST, NOSE, continued, to_millimetres
from fitkit.models.df2net.inference import BUILDERS, SIDE, Trained, find_depths, load_network, network_colours
from fitkit.models.richardson.fine_inference import near_steps
from fitkit.morphable.regions import face_region, union_of_regions
from fitkit.recipes.inverse_rendering.face_surface import Surface, displaced_detail, visible_surface
from fitkit.recipes.inverse_rendering.fold_lines import line_share
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import Detail, Fragments, MorphableModel

# Chosen, not tuned
IN_FACE = 0.5           # of the face's region, from which a pixel is shown to the networks: that of their training's labels
BROAD = 6.0             # mm: deviation of the blur between broad shape and fine
STEP = 4.0              # mm: deviation of the blur by which all fades beside a silhouette inside the face, as that of the nose
RIM = 8.0               # mm: over which all fades at the face's rim, and the broad shape at the eyes
MOST = 15.0             # mm that a pixel is moved at most
EYES = ("eyelids", "eyes")
CONFIG = GeometryRefinementConfig()     # of stage 2: skin that can fold, lines


class Crop(NamedTuple):
    """What a crop shows of the fitted head."""

    surface: Surface
    face: Float[Array, "S S"]           # 1 on the face
    fading: Float[Array, "S S"]         # how much the broad shape counts, in [0, 1]
    rim: Float[Array, "S S"]            # and what is finer; both fade to the face's rim and the crop's
    lines: Float[Array, "S S"]          # how much the photo has lines, which folds are
    colour: Float[Array, "1 n n 3"]     # what the networks are given
    start: Float[Array, "1 n n"]        # and the fitted head's depth, half crops
    pixel: Float[Array, ""]             # side of a pixel in the plane of the nose, mm


def load_networks(folder: str) -> tuple[Trained, Trained, Trained]:
    """The three networks of a folder, dnet.safetensors, fnet.safetensors and frnet.safetensors; of "" those that come with fitkit.

    Raises:
        FitkitError: E_DATA, weights are missing or damaged.
    """
    first, second, third = (load_network(name, path=Path(folder) / f"{name}.safetensors" if folder else None) for name in BUILDERS)
    return first, second, third


def refine(model: MorphableModel, state: FaceState, photo: Float[Array, "S S 3"], seen: Fragments, *, broad: float,
           networks: str) -> Detail:
    """Move the surface of a fitted face to the depth that the networks see.

    Args:
        model: the head.
        state: the fit, in the crop's pixels; albedo and light are not looked at.
        photo: the crop, sRGB; NaN outside the photo.
        seen: what its pixels see of the fit (`rasterize_state`).
        broad: share of the broad shape that is taken; the rest is the fitted head's.
        networks: folder of their weights, as `load_networks` takes it.

    Raises:
        FitkitError: E_DATA, a network's weights are missing or damaged.
    """
    crop = _crop(model, state, photo, seen)
    depths = find_depths(*load_networks(networks), crop.colour, crop.start)
    return _detail(crop, state, depths.finer[0], jnp.float32(broad))


@quick_jit()
def _crop(model: MorphableModel, state: FaceState, photo: Float[Array, "S S 3"], seen: Fragments) -> Crop:
    surface = visible_surface(model, state, seen, CONFIG)
    eyes = values_at_fragments(seen, model.triangles, union_of_regions(model, EYES)[:, None])[..., 0]
    known = jnp.all(jnp.isfinite(photo), axis=-1)
    part = jnp.where(seen.triangle >= 0, model.part[seen.triangle], -1)
    face = face_pixels(model, seen) & known
    plane = jnp.nanpercentile(jnp.where(face, surface.depth, jnp.nan), NEAREST)
    pixel = jnp.where(jnp.isfinite(plane), plane / camera_from_pose(state.pose).focal, 1.0)
    units = jnp.where(face, jnp.maximum(NOSE + (plane - surface.depth) / (pixel * len(photo) / 2), FLOOR), 0.0)
    inside = face & (part == model.part_names.index("skin")) & (eyes < IN_FACE)
    # 1 inside, 0 outside and on the rim: a blurred mask is a half on its border
    calm = jnp.maximum(1.0 - 2.0 * gaussian_blur(near_steps(surface.depth / pixel).astype(jnp.float32), STEP / pixel), 0.0)
    fading, rim = (jnp.clip(2.0 * gaussian_blur(where.astype(jnp.float32), RIM / pixel) - 1.0, 0.0, 1.0) * where * calm
                   for where in (inside, face))
    shown = jax.image.resize(face.astype(jnp.float32), (SIDE, SIDE), "linear") > 0.5
    picture = jax.image.resize(jnp.where(known[..., None], photo, 0.0), (SIDE, SIDE, 3), "linear", antialias=True)
    start = jax.image.resize(continued(units, face), (SIDE, SIDE), "linear", antialias=True)
    lines = line_share(photo, surface.mask, state.pose.scale, CONFIG)
    return Crop(surface, face.astype(jnp.float32), fading, rim, lines, network_colours(picture, shown)[None], start[None], pixel)


def face_pixels(model: MorphableModel, seen: Fragments) -> Bool[Array, "S S"]:
    """Where a head's face is seen: what the networks are shown."""
    rows = values_at_fragments(seen, model.triangles, face_region(model)[:, None])[..., 0]
    return (seen.triangle >= 0) & (rows > IN_FACE)




@quick_jit()
def _detail(crop: Crop, state: FaceState, units: Float[Array, "n n"], broad: Float[Array, ""]) -> Detail:
    surface, size = crop.surface, crop.face.shape[0]
    behind = to_millimetres(jax.image.resize(units, (size, size), "cubic"), crop.pixel, side=size)
    counts = crop.face > 0.0
    gap = jnp.where(counts, surface.depth - behind, jnp.nan)
    place = jnp.nan_to_num(jnp.nanmedian(gap))
    moved = jnp.where(counts, jnp.clip(behind + place - surface.depth, -MOST, MOST), 0.0)
    width = BROAD / crop.pixel
    share = jnp.maximum(gaussian_blur(crop.face, width), 1e-3)
    shape = gaussian_blur(moved * crop.face, width) / share
    fine = surface.mask * crop.rim
    displacement = broad * crop.fading * shape + fine * crop.lines * (moved - shape)
    pixels = jnp.nan_to_num(displacement) * pixels_per_mm(surface.depth, camera_from_pose(state.pose))
    return displaced_detail(surface, state, jnp.maximum(crop.fading, fine), pixels)

