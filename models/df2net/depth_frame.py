"""The depth that DF2Net works on: orthographic and isotropic, one unit half a side of the square crop; and its normals.

    depth = 1/2 + (z_nose - z) / (z_nose / focal) / (side / 2)

with z the camera z of a pixel in mm and z_nose that of the face's nearest point: as many pixels deep as it is wide, a half at the
tip of the nose, so that ears, up to 1.3 half crops behind it, have room before -1, the background. A pinhole's picture is taken as
if all of it had the scale of that plane; the way back to mm is linear and exact. Zeng et al. 2019 do not say their normalisation;
the authors' demo has 256 pixels of a crop of 512 a unit, too.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fitkit.geometry.depth_maps import ahead, behind
from fitkit.geometry.filters import gaussian_blur

NOSE, FLOOR = 0.5, -1.0     # depth of the plane of the nose; beside the face, and the least on it
NEAREST = 0.5               # percent of a face's pixels that lie before the plane of its nose: the nearest alone may be a spike
REACH = 0.03                # sides of the crop: deviation of the blur that continues depth beyond a face; chosen


def nose_plane(depth: Float[np.ndarray, "S S"], face: Bool[np.ndarray, "S S"]) -> float:
    """Camera z, mm, of the nearest point of a face; `depth` in mm."""
    return float(np.percentile(depth[face], NEAREST))


def to_units(depth: Float[np.ndarray, "S S"], face: Bool[np.ndarray, "S S"], focal: float, *, side: int
             ) -> Float[np.ndarray, "S S"]:
    """Depth of a face in half crops, from camera z in mm; `FLOOR` beside the face.

    Args:
        depth: camera z, mm, of a square crop.
        face: where it is of the face; at least one pixel.
        focal: focal length in pixels of the crop.
        side: of the crop, pixels.
    """
    plane = nose_plane(depth, face)
    units = NOSE + (plane - depth) * (focal / plane / (side / 2))
    return np.where(face, np.maximum(units, FLOOR), FLOOR).astype(np.float32)


def to_millimetres(units: Float[Array, "S S"], pixel: Float[Array, ""] | float, *, side: int) -> Float[Array, "S S"]:
    """Camera z behind the plane of the nose, mm, from depth in half crops; `pixel`: side of a pixel of that crop there, mm."""
    return (NOSE - units) * (side / 2) * pixel


def continued(units: Float[Array, "S S"], face: Bool[Array, "S S"]) -> Float[Array, "S S"]:
    """Depth of a face in half crops, beside the face the mean of what is near: it can be resized without a step at the rim."""
    weight = face.astype(units.dtype)
    near = gaussian_blur(units * weight, REACH * len(units)) / (gaussian_blur(weight, REACH * len(units)) + 1e-3)
    return jnp.where(face, units, near)


def depth_normals(units: Float[Array, "*b h w"], *, side: int) -> Float[Array, "*b h w 3"]:
    """Unit normals of depth in half crops, view frame (x right, y up, z to the viewer), from four neighbours (Zeng 2019, Eq. 2).

    They are the mean of the normals of the triangles with the neighbours right and up, and left and down. (0, 0, 1) on the border.

    Args:
        units: depth, of a crop or a part of one.
        side: of the whole crop in these pixels.
    """
    rise = [0.5 * (side / 2) * (ahead(units, axis=axis) - behind(units, axis=axis)) for axis in (units.ndim - 1, units.ndim - 2)]
    inside = jnp.zeros(units.shape[-2:], bool).at[1:-1, 1:-1].set(True)
    across, down = (jnp.where(inside, slope, 0.0) for slope in rise)
    length = jnp.sqrt(across**2 + down**2 + 1.0)
    return jnp.stack([-across / length, down / length, 1.0 / length], axis=-1)
