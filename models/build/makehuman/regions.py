"""Soft region masks of the head: face skin, lips, eyes, brows, ears, neck and so on, one weight in [0, 1] per vertex.

Takes the cut head, its mean shape and its landmarks, mm; the masks are constructed from distances and angles on these, so that they
follow a change of the shape model. The albedo model colours by the same masks.
"""

import numpy as np

from fitkit.geometry.filters import smoothstep
from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.points.landmarks import read_points, vertex_of

# Chosen on MakeHuman's head, not tuned; pairs `_EDGE` are (value at which a mask is 0.5, half width of its smooth step)
# vertices of base.obj: first and last of the right pinna; the hole of the right nostril
EAR = (5412, 5770)
NOSTRIL = (345, 346, 348, 349, 350, 366, *range(382, 399))

# Height of the hairline above the eyes, mm, by azimuth from the front, degrees: over the forehead, down the temple to the
# sideburn, over the ear, down to the nape
HAIRLINE = ((0, 72), (25, 73), (40, 66), (55, 50), (68, 22), (80, 8), (95, 6), (112, -12), (130, -45), (180, -52))
HAIRLINE_WIDTH = 6          # mm: half width of its step

# Lips: value of the mask in each edge loop (`lip_rings` of points.toml), outermost first
UPPER_LIP = (0.35, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0)
LOWER_LIP = (0.1, 0.6, 1.0, 1.0, 1.0, 1.0, 1.0)     # the same
LIP_CORNER = 0.8            # of the upper lip's value, at the corners of the mouth
SHOWN_RINGS = 5             # loops that a closed mouth shows

# Azimuth in degrees from the front
FACE_SIDE_EDGE = (98, 8)    # face skin
FRONT_EDGE = (70, 12)       # what a fit compares
FOREHEAD_EDGE = (60, 10)    # forehead
BEARD_SIDE_EDGE = (92, 8)   # beard

# Lengths in mm
CHEEK_RADIUS, CHIN_RADIUS = 19, 17          # of the bells
FOREHEAD_ABOVE_BROWS = (4, 5)               # as an edge
BROW_WIDTH = ((0, 0.2, 0.6, 1), (3.6, 4.6, 4.0, 2.6))           # half width, by the part of the way from the inner end
NECK_LEVEL, NECK_BELOW, NECK_WIDTH = -50.0, 2, 5                # highest y of the neck; below the jaw's plane; step
UNDER_EYE_DEPTH = ((0, 0.3, 0.8, 1), (6, 8, 9, 8))              # below the lower lid, by the part of the way from the outer corner
UPPER_LID_EDGE, LOWER_LID_EDGE = (6, 3), (2.5, 1.5)             # from the edge of the lid
TEMPLE = 0.36                               # of the way from the outer corner of the eye to the ear: crow's feet end there
CROWS_FEET_EDGE, INNER_CORNER_EDGE = (12, 4), (6, 3)            # distance from these
HAIRY, HAIR_RINGS = 0.3, 2                  # scalp mask above which hair may hide skin, also so many rings of vertices further
BROW_PENALTY = 0.5                          # by which brows count less in a fit


def regions(head: HeadMesh, vertices: np.ndarray, dense: np.ndarray, ibug: np.ndarray, mirror: np.ndarray) -> dict[str, np.ndarray]:
    """Masks [V] in [0, 1] by name.

    Args:
        head: the cut head.
        vertices: [V, 3] mean shape, mm.
        dense: [468, 3] MediaPipe points on it.
        ibug: [68, 3] iBUG points on it.
        mirror: [V] mirrored vertices.
    """
    of_part = {name: np.isin(np.arange(len(vertices)), head.triangles_of(name)) for name in head.part_names}
    skin = of_part["skin"].astype(float)
    masks = {
        "lips": _lips(head, mirror) * skin,
        "eyes": (of_part["eye_left"] | of_part["eye_right"]).astype(float),
        "mouth_interior": (of_part["mouth"] & ~of_part["skin"]).astype(float),
        "brows": _both_sides(_brow(vertices, ibug), mirror) * skin,
        "ears": _both_sides(_ear(head, vertices, ibug), mirror),
        "neck": _neck(vertices, ibug) * skin,
        "scalp": _scalp(vertices, ibug) * skin,
        "nose": _nose(vertices, ibug) * skin,
        "nostrils": _both_sides(_spread(head, np.isin(head.base_index, NOSTRIL), 1), mirror) * skin,
        "under_eye": _both_sides(_under_eye(vertices, dense), mirror) * skin,
        "eyelids": _both_sides(_eyelid(vertices, dense), mirror) * skin,
        "cheeks": _both_sides(_bell(vertices, dense[50] * 0.6 + dense[205] * 0.4, CHEEK_RADIUS), mirror) * skin,
        "chin": _bell(vertices, dense[[199, 175]].mean(axis=0), CHIN_RADIUS) * skin,
    }
    masks["neck"] *= 1 - masks["ears"]
    masks["scalp"] *= (1 - masks["ears"]) * (1 - masks["neck"])
    hidden = head.socket_rim | behind_lips(head, mirror)
    masks["face_skin"] = skin * ~hidden * _below(_azimuth(vertices), FACE_SIDE_EDGE)
    for name in ("lips", "ears", "neck", "scalp", "nostrils"):
        masks["face_skin"] *= 1 - masks[name]
    front = _below(_azimuth(vertices), FRONT_EDGE)
    brow_line = np.interp(np.abs(vertices[:, 0]), np.abs(ibug[22:27, 0]), ibug[22:27, 1])
    above = _step(vertices[:, 1] - brow_line - FOREHEAD_ABOVE_BROWS[0], FOREHEAD_ABOVE_BROWS[1])
    high = above * _below(_azimuth(vertices), FOREHEAD_EDGE) * (1 - masks["brows"])
    masks["forehead"] = masks["face_skin"] * high
    # where a blended albedo takes more of the model's: forehead and corners of the eyes, where wrinkles are (Guo 2018, Section V-C)
    corners = _both_sides(_eye_corners(vertices, dense), mirror) * (1 - masks["ears"])
    masks["albedo_blend"] = skin * np.maximum(high, corners)
    masks["beard"] = masks["face_skin"] * _beard(vertices, ibug) * (1 - masks["nose"])
    # hair hides the rim of the forehead, brows are hair: photometric residuals count less there
    clear = 1 - _spread(head, masks["scalp"] > HAIRY, HAIR_RINGS)
    masks["fit_skin"] = np.maximum(masks["face_skin"], masks["lips"] * _visible_lips(head, mirror)) * front * clear
    masks["fit_skin"] *= (1 - BROW_PENALTY * masks["brows"]) * (1 - masks["nostrils"])
    return {name: np.clip((mask + mask[mirror]) / 2, 0, 1) for name, mask in sorted(masks.items())}


def _step(value: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 at -width to 1 at +width."""
    return smoothstep(value / (2 * width) + 0.5, 0.0, 1.0)


def _below(value: np.ndarray, edge: tuple[float, float]) -> np.ndarray:
    """Smooth step from 1 below an edge to 0 above it."""
    return _step(edge[0] - value, edge[1])


def _both_sides(mask: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return np.maximum(mask, mask[mirror])


def _bell(vertices: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
    """Bell round a point: 1 at the centre, 0.5 at 0.7 radii."""
    return np.exp(-np.log(2) * (np.linalg.norm(vertices - center, axis=1) / (0.7 * radius)) ** 2)


def _azimuth(vertices: np.ndarray) -> np.ndarray:
    """Degrees from the front about the vertical axis between the ears."""
    return np.degrees(np.arctan2(np.abs(vertices[:, 0]), vertices[:, 2]))


def _to_line(vertices: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [V] to a polyline [L, 3], and how far along it the nearest place is, in [0, 1]."""
    start, edge = line[:-1], np.diff(line, axis=0)
    along = np.clip(np.einsum("vld,ld->vl", vertices[:, None] - start, edge) / (edge**2).sum(-1), 0, 1)
    distance = np.linalg.norm(vertices[:, None] - start - along[..., None] * edge, axis=-1)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(vertices))
    return distance[rows, nearest], (nearest + along[rows, nearest]) / len(edge)


def _spread(head: HeadMesh, mask: np.ndarray, rings: int) -> np.ndarray:
    """The mask grown softly by a number of rings of neighbouring vertices."""
    value = mask.astype(float)
    for _ in range(rings):
        total, count = np.zeros_like(value), np.zeros_like(value)
        for first, second in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)):
            np.add.at(total, head.triangles[:, first], value[head.triangles[:, second]])
            np.add.at(count, head.triangles[:, first], 1)
        value = np.maximum(value * mask, (value + total / np.maximum(count, 1)) / 2)
    return value


def _lips(head: HeadMesh, mirror: np.ndarray) -> np.ndarray:
    table, rings = vertex_of(head), np.array(read_points()["lip_rings"])
    mask = np.zeros(len(head.vertices))
    for ring, upper, lower in zip(table[rings], UPPER_LIP, LOWER_LIP, strict=True):
        mask[ring] = np.interp(np.arange(20), [0, 8, 12, 19], [upper, LIP_CORNER * upper, lower, lower])
    mask[behind_lips(head, mirror)] = 1
    return _both_sides(mask, mirror)


def behind_lips(head: HeadMesh, mirror: np.ndarray) -> np.ndarray:
    """Skin vertices [V] between the innermost lip ring and the lining of the mouth."""
    table, ring = vertex_of(head), np.array(read_points()["lip_rings"][-1])
    lips = np.isin(np.arange(len(mirror)), np.concatenate([table[ring], mirror[table[ring]]]))
    skin, mouth = (head.triangles_of(name) for name in ("skin", "mouth"))
    reached = np.isin(np.arange(len(mirror)), np.intersect1d(skin, mouth))
    while True:
        touched = skin[(reached & ~lips)[skin].any(axis=1)]
        grown = reached | np.isin(np.arange(len(mirror)), touched)
        if np.array_equal(grown, reached):
            return reached & ~lips
        reached = grown


def _visible_lips(head: HeadMesh, mirror: np.ndarray) -> np.ndarray:
    """1 on the lips that a closed mouth shows, 0 elsewhere."""
    table, rings = vertex_of(head), np.array(read_points()["lip_rings"])
    mask = np.zeros(len(head.vertices), bool)
    mask[table[rings[:SHOWN_RINGS]]] = True
    return (mask | mask[mirror]).astype(float)


def _brow(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    distance, along = _to_line(vertices, ibug[17:22][::-1])
    width = np.interp(along, *BROW_WIDTH)
    return np.exp(-((distance / (1.15 * width)) ** 4)) * (vertices[:, 0] < 0)


def _ear(head: HeadMesh, vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    inside = (head.base_index >= EAR[0]) & (head.base_index <= EAR[1])
    # a few ids of the range lie on the seam over the skull
    inside &= (vertices[:, 0] < 0.9 * ibug[0, 0]) & (vertices[:, 1] < ibug[19, 1]) & (vertices[:, 1] > ibug[57, 1])
    return _spread(head, inside, 1)


def _neck(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    """Below the plane through chin and jaw angles, and behind, below a level under the ears."""
    chin, angle = ibug[8], ibug[[4, 12]].mean(axis=0)
    slope = (angle[1] - chin[1]) / (angle[2] - chin[2])
    level = np.minimum(chin[1] + slope * (vertices[:, 2] - chin[2]), NECK_LEVEL) - NECK_BELOW
    return _step(level - vertices[:, 1], NECK_WIDTH)


def _scalp(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    azimuth, height = np.array(HAIRLINE, float).T
    eyes = ibug[36:48, 1].mean()
    return _step(vertices[:, 1] - eyes - np.interp(_azimuth(vertices), azimuth, height), HAIRLINE_WIDTH)


def _nose(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    """A wedge from the nasion to the wings."""
    top, bottom = ibug[27, 1] + 2, ibug[33, 1]
    wing = np.abs(ibug[[31, 35], 0]).mean() + 6
    half = np.interp(vertices[:, 1], [bottom, bottom + 12, top], [wing, wing, 7])
    inside = _step(half - np.abs(vertices[:, 0]), 2.5) * _step(top - vertices[:, 1], 5) * _step(vertices[:, 1] - bottom + 1, 2)
    return inside * (vertices[:, 2] > ibug[36, 2])


def _under_eye(vertices: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Right eye: a crescent 3 to 13 mm below the lower lid, deepest near the inner corner."""
    distance, along = _to_line(vertices, dense[[33, 7, 163, 144, 145, 153, 154, 155, 133]])
    lid = np.interp(vertices[:, 0], dense[[33, 163, 145, 154, 133], 0], dense[[33, 163, 145, 154, 133], 1])
    depth = np.interp(along, *UNDER_EYE_DEPTH)
    return np.exp(-(((distance - depth * 0.7) / (0.6 * depth)) ** 2)) * _step(lid - 1 - vertices[:, 1], 2.5) * (
        vertices[:, 2] > dense[33, 2] - 10
    ) * (vertices[:, 0] < -6)


def _eyelid(vertices: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Right eye: the upper lid up to its crease, and the edge of the lower lid."""
    upper, _ = _to_line(vertices, dense[[33, 246, 161, 160, 159, 158, 157, 173, 133]])
    lower, _ = _to_line(vertices, dense[[33, 7, 163, 144, 145, 153, 154, 155, 133]])
    return np.maximum(_below(upper, UPPER_LID_EDGE), _below(lower, LOWER_LID_EDGE)) * (vertices[:, 0] < 0)


def _eye_corners(vertices: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Right eye: from the outer corner 20 mm towards the temple, where crow's feet spread, and at the inner corner."""
    outer, temple, inner = dense[33], dense[33] + (dense[127] - dense[33]) * TEMPLE, dense[133]
    feet, _ = _to_line(vertices, np.stack([outer, temple]))
    near = np.linalg.norm(vertices - inner, axis=1)
    return np.maximum(_below(feet, CROWS_FEET_EDGE), _below(near, INNER_CORNER_EDGE)) * (vertices[:, 0] < 0)


def _beard(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    """Where a beard grows: moustache, chin, and below a line from the corner of the mouth up to the sideburns."""
    azimuth = _azimuth(vertices)
    corner = ibug[[48, 54], 1].mean()
    top = np.interp(azimuth, [0, 14, 22, 40, 60, 75, 90], [ibug[33, 1] - 1, ibug[33, 1] - 3, corner + 6, corner + 2,
                                                          corner + 25, ibug[0, 1], ibug[0, 1] + 10])
    return _step(top - vertices[:, 1], 5) * _below(azimuth, BEARD_SIDE_EDGE)
