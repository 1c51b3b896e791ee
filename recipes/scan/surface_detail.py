"""What a head's modes leave of a scan, as fine geometry: displacement along the depth in the pixels of the crop.

In: a fitted head and the scan's depth in the crop. Out: a `Detail`, as stage 2 of `inverse_rendering` gives it, and how far the
displaced surface stays from the scan. Only skin that turns to the camera is displaced, where the scan is near and its surface turns
as the head's does; towards the edges of that the displacement fades. A sensor's noise is smoothed by as much as there is of it.
"""

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float, Int

from fitkit.compilation import quick_jit
from fitkit.fitting.state import FaceState, ScanPoints, rasterize_state
from fitkit.geometry.depth_maps import pixels_per_mm
from fitkit.geometry.pose import Pose, camera_from_pose, head_to_view, project_view, view_depth
from fitkit.morphable.model import shape
from fitkit.morphable.regions import union_of_regions
from fitkit.recipes.inverse_rendering.face_surface import Surface, displaced_detail, visible_surface
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import Detail, Fragments, MorphableModel
from fitkit.uv.displacement import fine_surface

# Chosen, not tuned
FADE = 5.0                  # mm from an edge over which the displacement rises
FACE = ("face_skin", "lips", "eyelids", "nose", "ears")      # regions that are displaced: elsewhere are hair and clothes
FACING = (0.15, 0.35)       # cosines of normal and line of sight between which it rises
SLOPE = 1.2                 # difference of the slopes of scan and head, mm per mm, beyond which they are of different things
LEAST_SIGMA = 0.4           # pixels of the Gaussian, below which none is applied

_rasterize = quick_jit(static_argnames=("size",))(rasterize_state)


@quick_jit()
def _surface(model: MorphableModel, state: FaceState, seen: Fragments) -> tuple[Surface, Float[Array, "S S"]]:
    """The surface, and how much each pixel belongs to the regions that are displaced."""
    names = [name for name in FACE if name in model.region_names]
    region = values_at_fragments(seen, model.triangles, union_of_regions(model, names)[:, None])[..., 0]
    return visible_surface(model, state, seen, GeometryRefinementConfig()), jnp.clip(region, 0.0, 1.0)


@quick_jit()
def _vertices(model: MorphableModel, state: FaceState) -> Float[Array, "V 3"]:
    return shape(model, state.face.identity, state.face.expression)


@quick_jit(static_argnames=("size",))
def _depth(pose: Pose, vertices: Float[Array, "W 3"], triangles: Int[Array, "F 3"], *, size: int) -> Float[Array, "S S"]:
    view = head_to_view(pose, vertices)
    return rasterize(project_view(pose, view), view_depth(pose, view), triangles, height=size, width=size).depth


@quick_jit()
def _detail(surface: Surface, state: FaceState, mask: Float[Array, "S S"], moved: Float[Array, "S S"]) -> Detail:
    return displaced_detail(surface, state, mask, moved * pixels_per_mm(surface.depth, camera_from_pose(state.pose)))


def scan_detail(
    model: MorphableModel, state: FaceState, scan: ScanPoints, *, reach: float, smoothing: float
) -> tuple[Detail, float]:
    """Displacement from the fitted head to the scan.

    Args:
        model: the head.
        state: fitted to the scan, in the crop's pixels.
        scan: with the crop's depth.
        reach: mm beyond which the scan shows something else.
        smoothing: mm of a Gaussian for each mm of noise.

    Returns:
        the detail, and the mean distance along the depth that is left where it was applied, mm.
    """
    size = scan.depth.shape[0]
    seen = _rasterize(state, model, size=size)
    surface, region = _surface(model, state, seen)
    vertices, triangles = fine_surface(model, _vertices(model, state))
    smooth_head = _depth(state.pose, vertices, triangles, size=size)
    head, depth = np.asarray(smooth_head, np.float64), np.asarray(scan.depth, np.float64)
    skin = np.asarray(model.part)[np.maximum(np.asarray(seen.triangle), 0)] == model.part_names.index("skin")
    facing = 1 / np.sqrt(1 + np.square(np.asarray(surface.slopes, np.float64)).sum(0))
    gap = np.where((depth > 0) & (head > 0), depth - head, np.inf)
    usable = skin & (np.abs(gap) < reach) & (facing > FACING[0])
    if not usable.any():
        zero = jnp.zeros((size, size))
        return _detail(surface, state, zero, zero), float("nan")
    noise, pixel = depth_noise(gap, usable), float(np.median(head[usable])) / float(jnp.exp(state.pose.log_focal))
    sigma = smoothing * noise / pixel
    smooth = _smoothed(gap, usable, sigma)
    usable &= ~_steep(smooth, usable, SLOPE * pixel)
    inside = scipy.ndimage.distance_transform_edt(np.pad(usable, 1))[1:-1, 1:-1] * (pixel / FADE)
    mask = np.asarray(region, np.float64) * np.clip(inside, 0, 1) * np.clip((facing - FACING[0]) / (FACING[1] - FACING[0]), 0, 1)
    moved = np.where(usable, smooth, 0.0) * mask
    sure = mask > 0.5
    left = float(np.abs(gap - moved)[sure].mean()) if sure.any() else float("nan")
    return _detail(surface, state, jnp.asarray(mask, jnp.float32), jnp.asarray(moved, jnp.float32)), left


def depth_noise(gap: Float[np.ndarray, "S S"], usable: np.ndarray) -> float:
    """Standard deviation of a depth map's noise, mm, from its second differences: robust, and blind to smooth surfaces."""
    filled = np.where(usable, gap, 0.0)
    second = [np.diff(filled, 2, axis=axis) for axis in (0, 1)]
    whole = [usable[2:] & usable[1:-1] & usable[:-2], usable[:, 2:] & usable[:, 1:-1] & usable[:, :-2]]
    values = np.concatenate([one[kept] for one, kept in zip(second, whole, strict=True)])
    # of white noise the second difference has variance 1 + 4 + 1; 1.4826 takes a normal distribution's median deviation to sigma
    return float(1.4826 * np.median(np.abs(values)) / np.sqrt(6)) if len(values) else 0.0


def _smoothed(gap: np.ndarray, usable: np.ndarray, sigma: float) -> np.ndarray:
    """The gap under a Gaussian over the usable pixels alone."""
    filled = np.where(usable, gap, 0.0)
    if sigma < LEAST_SIGMA:
        return filled
    share = scipy.ndimage.gaussian_filter(usable.astype(float), sigma)
    return scipy.ndimage.gaussian_filter(filled, sigma) / np.maximum(share, 1e-6)


def _steep(values: np.ndarray, usable: np.ndarray, most: float) -> np.ndarray:
    """Pixels beside which the displacement jumps by more than `most` from one to the next: lips and lids that do not meet."""
    steep = np.zeros(usable.shape, bool)
    for axis in (0, 1):
        both = np.take(usable, range(1, usable.shape[axis]), axis) & np.take(usable, range(usable.shape[axis] - 1), axis)
        jump = both & (np.abs(np.diff(values, axis=axis)) > most)
        for shift in (slice(1, None), slice(None, -1)):
            index = (shift, slice(None)) if axis == 0 else (slice(None), shift)
            steep[index] |= jump
    return steep
