"""What iterative CoarseNet is shown beside the photo: the face it told last, drawn into the picture (Richardson 2017, 3.2.1, 3.4).

    head = feedback_head(model)                                       # once
    maps = render_feedback(head, face, side=config.side)              # [s, s, 6]: PNCC in [0, 1] and normals in [-1, 1]
    picture = network_picture(grey, maps)                             # [s, s, 7]: grey, masked by what the maps cover, and the maps

The camera is weak perspective (Eq. 2), so that no lens is needed: pose numbers are those of `fitkit.models.coarsenet.estimate`, in
sides of the crop, and coefficients those of the folded head, whose modes B' = B - S S^+ B neither move nor grow the face
(`fitkit.labels.hidden_modes`). Nothing here is differentiated: the feedback is data.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fitkit.geometry.camera import project, to_view_frame
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.labels.hidden_modes import folded_model, hidden_modes
from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, rescaled
from fitkit.morphable.regions import face_region
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.render import pncc_colors
from fitkit.types import Camera, MorphableModel

CHANNELS = 7            # grey, three of PNCC, three of normals
PNCC, NORMALS = slice(1, 4), slice(4, 7)
POINTS = 96             # vertices of the face that are looked at one by one, at most 16 mm apart; chosen, not tuned
MIN_FACE = 0.5          # of the face's region, from which a vertex is drawn
HIDDEN_PARTS = ("teeth_upper", "teeth_lower", "tongue", "mouth")      # not drawn: an open mouth is a hole in the feedback
# Rec. 709 weights of red, green and blue, of sRGB values as they are: the paper's picture is grey
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


class FeedbackHead(NamedTuple):
    """The face of a folded head: the vertices and triangles that are drawn."""

    mean: Float[Array, "v 3"]           # mm
    basis: Float[Array, "k v 3"]        # identity modes, then expressions, mm
    triangles: Int[Array, "f 3"]
    code: Float[Array, "v 3"]           # PNCC: the mean head's x, y, z, each scaled to [0, 1]
    extent: Float[Array, " 3"]          # of the mean head, mm: that is PNCC 1
    points: Int[Array, " k"]            # vertices far from each other, see `fitkit.models.richardson.point_features`
    middle: Float[Array, " 3"]          # of the face, mm, see `hidden_modes`


def feedback_head(model: MorphableModel) -> FeedbackHead:
    """The face of a head, not folded yet, as it is drawn."""
    folded = folded_model(model)
    inside = np.asarray(face_region(model)) > MIN_FACE
    hidden = np.isin(np.asarray(model.part), [model.part_names.index(name) for name in HIDDEN_PARTS if name in model.part_names])
    triangles = np.asarray(model.triangles)[inside[np.asarray(model.triangles)].all(axis=1) & ~hidden]
    kept, corners = np.unique(triangles, return_inverse=True)
    return FeedbackHead(
        mean=folded.mean[kept], basis=jnp.concatenate([folded.identity, folded.expression])[:, kept],
        triangles=jnp.asarray(corners.reshape(triangles.shape), jnp.int32), code=pncc_colors(model)[kept],
        extent=model.mean.max(axis=0) - model.mean.min(axis=0),
        points=jnp.asarray(spread_points(np.asarray(folded.mean[kept]), POINTS)), middle=hidden_modes(model).middle)


def spread_points(vertices: Float[np.ndarray, "v 3"], count: int) -> Int[np.ndarray, " k"]:
    """Vertices far from each other: from the foremost on, always the one that is farthest from those that are chosen."""
    chosen = [int(vertices[:, 2].argmax())]
    distance = np.linalg.norm(vertices - vertices[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(vertices - vertices[chosen[-1]], axis=1))
    return np.array(chosen)


def posed(head: FeedbackHead, face: CoarseFace, *, side: int) -> tuple[Float[Array, "v 3"], Camera]:
    """Vertices of a face, mm, and the weak-perspective camera that sees it, pixels of a picture of `side` pixels."""
    coefficients = jnp.concatenate([face.identity, face.expression])
    vertices = head.mean + jnp.einsum("k,kvc->vc", coefficients, head.basis, precision="highest")
    camera = camera_of(face.pose, head.middle, focal=jnp.float32(1.0), principal=jnp.full(2, 0.5), perspective=False)
    return vertices, rescaled(camera, jnp.float32(side), jnp.zeros(2))


def render_feedback(head: FeedbackHead, face: CoarseFace, *, side: int) -> Float[Array, "s s 6"]:
    """PNCC in [0, 1] and unit normals of the view frame of one face; 0 where the picture does not see it."""
    vertices, camera = posed(head, face, side=side)
    pixels, depth = project(camera, vertices)
    seen = rasterize(pixels, depth, head.triangles, height=side, width=side, perspective=False)
    normals = to_view_frame(camera, vertex_normals(vertices, head.triangles))
    values = jnp.concatenate([head.code, normals], axis=-1)
    maps = interpolate(seen, pixels, depth, head.triangles, values, perspective=False)
    return jnp.concatenate([maps[..., :3], safe_normalize(maps[..., 3:])], axis=-1)


def covered(maps: Float[Array, "*b s s 6"]) -> Float[Array, "*b s s"]:
    """1 where feedback shows the face, else 0: no normal is zero."""
    return (jnp.sum(jnp.square(maps[..., 3:]), axis=-1) > 0.0).astype(jnp.float32)


def network_picture(grey: Float[Array, "*b s s"], maps: Float[Array, "*b s s 6"], *, masked: bool = True
                    ) -> Float[Array, "*b s s 7"]:
    """The seven channels that the network sees.

    Args:
        grey: the photo, in [0, 1].
        maps: of `render_feedback`.
        masked: whether the photo is shown only where the feedback covers it (Section 3.4).
    """
    shown = grey * covered(maps) if masked else grey
    return jnp.concatenate([shown[..., None], maps], axis=-1)


def grey_of(pictures: Float[Array, "*b s s 3"]) -> Float[Array, "*b s s"]:
    """Luma of sRGB pictures in [0, 1]."""
    return jnp.dot(pictures, LUMA, precision="highest")
