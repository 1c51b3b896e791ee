"""Texture coordinates of the head: one chart of skin, cut open at the back, and small charts for the other parts.

Takes the cut head, its mean shape and its region masks. The skin fills a superellipse, with the face in the middle at uniform scale
and scalp, neck and ears compressed towards the border; a strip below holds eyes, teeth, tongue and the lining of the mouth. u grows
to the viewer's right, v upwards: a texture looks like a portrait. The flattening itself is `flatten.py`.
"""

import numpy as np

from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.regions import behind_lips
from fitkit.models.build.makehuman.texture import flatten

# Chosen, not tuned
EXPONENT = 6.0                          # n of the outline |x|^n + |y|^n = 1
CHART = (0.003, 0.113, 0.997, 0.997)    # u0, v0, u1, v1 of the skin's outline
NECK_ARC = 110.0                        # degrees of the outline, at its bottom, that the neck's edge takes
CUT_END = -12.0                         # mm: the cut runs from the nape over the crown to the first vertex with z above this
OUTER_SCALE = 0.25                      # scale of scalp, neck and ears relative to the face
HIDDEN_SCALE = 0.3                      # scale behind lids and lips, and of the holes
EYE_SPREAD = 0.7                        # exponent < 1: the iris gets more texels than the back of the eyeball
REAR_POLE = np.pi - 1e-3                # radians from the optical axis beyond which a vertex is the pole
ON_MIDLINE = 1e-6                       # mm: |x| of vertices on the midline is below

# u0, v0, u1, v1 of the boxes that the other parts fit into
BOXES = {
    "eye_right": (0.005, 0.004, 0.109, 0.108),
    "eye_left": (0.119, 0.004, 0.223, 0.108),
    "mouth": (0.235, 0.004, 0.375, 0.108),
    "tongue": (0.387, 0.004, 0.435, 0.108),
    "teeth_upper": (0.447, 0.058, 0.585, 0.108),
    "teeth_lower": (0.447, 0.004, 0.585, 0.054),
}


def texture_coordinates(
    head: HeadMesh, vertices: np.ndarray, masks: dict[str, np.ndarray], mirror: np.ndarray
) -> dict[str, np.ndarray]:
    """`uv` [U, 2], `uv_triangles` [F, 3], and `uv_makehuman` [U, 2]: the same points in MakeHuman's layout, -1 on the eyeballs.

    Args:
        head: the cut head.
        vertices: [V, 3] mean shape, mm.
        masks: regions [V] by name.
        mirror: [V] mirrored vertices.
    """
    corner = np.zeros((*head.triangles.shape, 2))
    identity = np.zeros_like(head.triangles)            # corners with the same number share a texture vertex
    count = 0
    for index, name in enumerate(head.part_names):
        faces = np.flatnonzero(head.part == index)
        if name == "skin":
            place, own = _skin(head, vertices, masks, mirror)
        elif name.startswith("eye"):
            place, own = _eyeball(head, vertices, faces, BOXES[name])
        else:
            # MakeHuman's own charts of these have no overlaps
            place, own = _fit(head.uv[head.uv_triangles[faces]], BOXES[name]), head.uv_triangles[faces]
        corner[faces], identity[faces] = place, own + count
        count += own.max() + 1
    pairs = np.stack([identity, head.uv_triangles], axis=-1).reshape(-1, 2)
    unique, first, inverse = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    makehuman = np.where(unique[:, 1:] >= 0, head.uv[unique[:, 1]], -1.0)
    return {
        "uv": corner.reshape(-1, 2)[first].astype(np.float32),
        "uv_triangles": inverse.reshape(-1, 3).astype(np.int32),
        "uv_makehuman": makehuman.astype(np.float32),
    }


def _fit(points: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Move and scale, without stretching, into the middle of a box."""
    low, high = points.reshape(-1, 2).min(axis=0), points.reshape(-1, 2).max(axis=0)
    corner, size = np.array(box[:2]), np.array(box[2:]) - box[:2]
    scale = (size / (high - low)).min()
    return corner + size / 2 + scale * (points - (low + high) / 2)


def _eyeball(head: HeadMesh, vertices: np.ndarray, faces: np.ndarray, box: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The eyeball as a disk about its optical axis; the pole behind becomes the rim, one vertex a triangle."""
    corners = head.triangles[faces]
    ball = np.unique(corners)
    center = vertices[ball].mean(axis=0)
    radius = 0.5 * (head.eye_angle[corners] / np.pi) ** EYE_SPREAD
    offset = vertices[corners] - center
    around = np.arctan2(offset[..., 1], offset[..., 0])
    behind = head.eye_angle[corners] > REAR_POLE
    # of a triangle at a pole, the pole lies in the direction of the middle of the other two
    direction = np.stack([np.cos(around), np.sin(around)], axis=-1)
    middle = (direction * ~behind[..., None]).sum(axis=1, keepdims=True)
    middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    place = radius[..., None] * np.where(behind[..., None], middle, direction)
    own = np.searchsorted(ball, corners)
    own = np.where(behind, len(ball) + np.arange(len(faces))[:, None], own)
    size = np.array(box[2:]) - box[:2]
    return np.array(box[:2]) + size * (0.5 + place), own


def _skin(
    head: HeadMesh, vertices: np.ndarray, masks: dict[str, np.ndarray], mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners [F, 3, 2] and vertex numbers of the skin; those of the left side of the cut are numbered from V on."""
    count = len(vertices)
    cut = _cut_line(head, vertices)
    triangles = head.triangles_of("skin").astype(int)
    copy = np.arange(count)
    copy[cut[:-1]] = count + np.arange(len(cut) - 1)
    left = vertices[triangles].mean(axis=1)[:, 0] < 0
    triangles[left] = copy[triangles[left]]
    source = np.append(np.arange(count), cut[:-1])
    scale = OUTER_SCALE + (1 - OUTER_SCALE) * np.clip(masks["face_skin"] + masks["lips"] + masks["nostrils"], 0, 1)
    scale[head.socket_rim | behind_lips(head, mirror)] = HIDDEN_SCALE
    border, outline = _outline(triangles, vertices[source], head, cut, copy)
    half = np.array([1.0, (CHART[3] - CHART[1]) / (CHART[2] - CHART[0])])
    flat = flatten.flatten(
        triangles, vertices[source], border, outline * half, scale[source], hole_scale=HIDDEN_SCALE, smallest_scale=OUTER_SCALE
    )
    mirrored = np.append(copy[mirror], cut[:-1])        # the mirror image of one side of the cut is the other side
    flat = (flat + flat[mirrored] * [-1, 1]) / 2
    low, high = np.array(CHART[:2]), np.array(CHART[2:])
    return (low + (high - low) * (flat / half + 1) / 2)[triangles], triangles


def _cut_line(head: HeadMesh, vertices: np.ndarray) -> np.ndarray:
    """Vertices of the midline from the neck's edge at the nape up to the crown."""
    middle = np.abs(head.vertices[:, 0]) < ON_MIDLINE
    skin = head.triangles_of("skin")
    edges = np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])
    edges = edges[middle[edges].all(axis=1)]
    start = head.neck_loop[middle[head.neck_loop]]
    line = [int(start[vertices[start, 2].argmin()])]
    while vertices[line[-1], 2] < CUT_END or len(line) < 3:
        (ahead,) = set(edges[(edges == line[-1]).any(axis=1)].ravel().tolist()) - set(line[-2:])
        line.append(ahead)
    return np.array(line)


def _outline(
    triangles: np.ndarray, vertices: np.ndarray, head: HeadMesh, cut: np.ndarray, copy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The border of the skin from the end of the cut, counter-clockwise, and its places [B, 2] on the superellipse."""
    border = np.array(max(flatten.borders(triangles), key=len))
    border = np.roll(border, -int(np.flatnonzero(border == cut[-1])[0]))
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(vertices[np.append(border, border[0])], axis=0), axis=1)))
    neck = np.flatnonzero(np.isin(border, np.append(head.neck_loop, copy[cut[0]])))
    stops = length[[0, neck[0], neck[-1], -1]]
    angle = np.radians(np.interp(length[:-1], stops, [90, 270 - NECK_ARC / 2, 270 + NECK_ARC / 2, 450]))
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return border, direction / (np.abs(direction) ** EXPONENT).sum(axis=1, keepdims=True) ** (1 / EXPONENT)
