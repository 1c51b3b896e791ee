"""Background of a photo whose face is turned: image meshing (Zhu et al. 2016, Section 4; Guo et al. 2018, Section VI-A).

Anchors are places of the head that the photo shows, rings around it that follow it less the further they lie, and the picture's
border, which stays. Their Delaunay triangulation is drawn anew with the photo on it, nearest triangles first. The border being
fixed, the triangles cover the picture: there is no hole. The old face lies on the head's new surface, under the face drawn there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial
from jaxtyping import Array, Bool, Float, Int, UInt8

from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.texture import sample_image

# Chosen by eye on photos_train
RINGS = ((1.06, 0.9), (1.25, 0.6), (1.55, 0.25))     # distance from the head's middle, its outline being 1; share of its motion
SECTORS = 48                # anchors of a ring
STILL_BODY = 0.8            # share of its motion that a ring loses straight below the head, where the body stays
BORDER = 9                  # anchors along each side of the picture
MARGIN = 2.0                # pixels from the border within which no other anchor lies
BEHIND, TURNED_OVER = 150.0, 500.0      # mm that rings lie behind the head's middle; added to triangles that are turned over
APART = 3.0                 # pixels between two anchors of the head at least


class Anchors(NamedTuple):
    """Where parts of a photo are and where they go."""

    source: Float[np.ndarray, "n 2"]        # pixels
    target: Float[np.ndarray, "n 3"]        # pixels, and depth in mm
    inner: Bool[np.ndarray, " n"]           # of the face


def place_anchors(source: Float[np.ndarray, "k 2"], target: Float[np.ndarray, "k 3"], face: Bool[np.ndarray, " k"], *,
                  size: int) -> Anchors:
    """Anchors of a head that turns in a square picture.

    Args:
        source: places of the head that the photo shows, pixels; those within the picture's border count.
        target: the same places after the turn, pixels and depth.
        face: which of them are of the face.
        size: side of the picture, pixels.
    """
    chosen = _apart(source, size)
    source, target, face = source[chosen], target[chosen], face[chosen]
    hull = scipy.spatial.ConvexHull(source).vertices
    middle, goal = source[hull].mean(axis=0), target[hull, :2].mean(axis=0)
    angle = 2 * np.pi * np.arange(SECTORS) / SECTORS
    heading = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    reach = _support(source[hull] - middle, heading)[:, None]
    rings = np.concatenate([middle + heading * reach * distance for distance, _ in RINGS])
    shares = np.repeat([share for _, share in RINGS], SECTORS) * np.tile(1 - STILL_BODY * np.clip(heading[:, 1], 0, 1), len(RINGS))
    moved = rings + shares[:, None] * (goal - middle)
    within = ((rings > MARGIN) & (rings < size - MARGIN)).all(axis=1)
    line = np.linspace(0, size, BORDER)
    low, high = np.zeros(BORDER), np.full(BORDER, size)
    sides = ((line, low), (line, high), (low, line), (high, line))
    border = np.unique(np.concatenate([np.stack(pair, axis=1) for pair in sides]), axis=0)
    outer = np.concatenate([np.clip(moved[within], MARGIN, size - MARGIN), border])
    outer = np.concatenate([outer, np.full((len(outer), 1), target[:, 2].mean() + BEHIND)], axis=1)
    return Anchors(np.concatenate([source, rings[within], border]), np.concatenate([target, outer]),
                   np.concatenate([face, np.zeros(len(outer), bool)]))


def _apart(source: Float[np.ndarray, "k 2"], size: int) -> Int[np.ndarray, " m"]:
    """Rows of places in the picture, one for each cell of `APART` pixels."""
    inside = np.flatnonzero(((source > MARGIN) & (source < size - MARGIN)).all(axis=1))
    cell = np.floor(source[inside] / APART).astype(int) @ [1, 100_000]
    return inside[np.unique(cell, return_index=True)[1]]


def _support(hull: Float[np.ndarray, "h 2"], heading: Float[np.ndarray, "s 2"]) -> Float[np.ndarray, " s"]:
    """Distance from the origin to a convex outline in some directions."""
    following = np.roll(hull, -1, axis=0)
    normal = np.stack([following[:, 1] - hull[:, 1], hull[:, 0] - following[:, 0]], axis=1)
    offset = (normal * hull).sum(axis=1)
    normal, offset = normal * np.sign(offset)[:, None], np.abs(offset)
    along = heading @ normal.T
    return np.where(along > 1e-9, offset / np.maximum(along, 1e-9), np.inf).min(axis=1)


def warp(picture: UInt8[np.ndarray, "S S 3"], anchors: Anchors) -> tuple[UInt8[np.ndarray, "S S 3"], Bool[np.ndarray, "S S"]]:
    """The photo with its parts where they go, and where the old face is shown or nothing."""
    triangles = scipy.spatial.Delaunay(anchors.source, qhull_options="QJ").simplices.astype(np.int32)
    before, after = anchors.source[triangles], anchors.target[triangles]
    turned = np.sign(_area(before)) != np.sign(_area(after))
    most = -(-3 * len(anchors.source) // 1024) * 1024       # padded: the number of triangles differs from photo to photo
    corners, face = np.zeros((most, 3, 5), np.float32), np.zeros(most, bool)
    corners[:len(triangles)] = np.concatenate([before, after + turned[:, None, None] * [0, 0, TURNED_OVER]], axis=2)
    face[:len(triangles)] = anchors.inner[triangles].all(axis=1)
    return jax.tree.map(np.asarray, _warped(jnp.asarray(picture), jnp.asarray(corners.reshape(-1, 5)), jnp.asarray(face)))


def _area(corners: Float[np.ndarray, "m 3 d"]) -> Float[np.ndarray, " m"]:
    across, along = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]


@jax.jit
def _warped(picture: UInt8[Array, "S S 3"], corners: Float[Array, "3*m 5"],
            face: Bool[Array, " m"]) -> tuple[UInt8[Array, "S S 3"], Bool[Array, "S S"]]:
    size, own = picture.shape[0], jnp.arange(len(corners), dtype=jnp.int32).reshape(-1, 3)
    pixels, depth = corners[:, 2:4], corners[:, 4]
    fragments = rasterize(pixels, depth, own, height=size, width=size, cull=False, perspective=False)
    at = interpolate(fragments, pixels, depth, own, corners[:, :2], perspective=False)
    drawn = jnp.round(sample_image(picture.astype(jnp.float32), at)).astype(jnp.uint8)
    return drawn, (fragments.triangle < 0) | face[jnp.maximum(fragments.triangle, 0)]
