"""Soft region masks of the head: face skin, lips, eyes, brows, ears, neck and so on, one weight in [0, 1] per vertex.

Takes the cut head, its mean shape and its landmarks, mm; the masks are constructed from distances and angles on these, so that they
follow a change of the shape model. The albedo model colours by the same masks.
"""

import numpy as np

from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.points.landmarks import read_points, vertex_of

# base.obj vertices of the pinna (right), and of the hole of the right nostril
EAR = (5412, 5770)
NOSTRIL = (345, 346, 348, 349, 350, 366, *range(382, 399))

# Height of the hairline above the eyes, mm, by azimuth from the front, degrees: over the forehead, down the temple to the
# sideburn, over the ear, down to the nape
HAIRLINE = ((0, 72), (25, 73), (40, 66), (55, 50), (68, 22), (80, 8), (95, 6), (112, -12), (130, -45), (180, -52))

# How far the lips' colour reaches: membership of each ring (see `lip_rings`), upper and lower lip
UPPER_LIP = (0.35, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0)
LOWER_LIP = (0.1, 0.6, 1.0, 1.0, 1.0, 1.0, 1.0)


def regions(head: HeadMesh, vertices: np.ndarray, spots: np.ndarray, ibug: np.ndarray, mirror: np.ndarray) -> dict[str, np.ndarray]:
    """Masks [V] in [0, 1] by name.

    Args:
        head: the cut head.
        vertices: [V, 3] mean shape, mm.
        spots: [468, 3] MediaPipe points on it.
        ibug: [68, 3] iBUG points on it.
        mirror: [V] mirrored vertices.
    """
    of_part = {name: np.isin(np.arange(len(vertices)), head.triangles[head.part == index])
               for index, name in enumerate(head.part_names)}
    skin = of_part["skin"].astype(float)
    masks = {
        "lips": _lips(head, mirror) * skin,
        "eyes": (of_part["eye_left"] | of_part["eye_right"]).astype(float),
        "mouth_interior": (of_part["mouth"] & ~of_part["skin"]).astype(float),
        "brows": _both(_brow(vertices, ibug), mirror) * skin,
        "ears": _both(_ear(head, vertices, ibug), mirror),
        "neck": _neck(vertices, ibug) * skin,
        "scalp": _scalp(vertices, ibug) * skin,
        "nose": _nose(vertices, ibug) * skin,
        "nostrils": _both(_spread(head, np.isin(head.base_index, NOSTRIL), 1), mirror) * skin,
        "under_eye": _both(_under_eye(vertices, spots), mirror) * skin,
        "eyelids": _both(_eyelid(vertices, spots), mirror) * skin,
        "cheeks": _both(_ball(vertices, spots[50] * 0.6 + spots[205] * 0.4, 19), mirror) * skin,
        "chin": _ball(vertices, spots[[199, 175]].mean(axis=0), 17) * skin,
    }
    masks["neck"] *= 1 - masks["ears"]
    masks["scalp"] *= (1 - masks["ears"]) * (1 - masks["neck"])
    hidden = head.socket_rim | behind_lips(head, mirror)
    masks["face_skin"] = skin * ~hidden * _step(98 - _azimuth(vertices), 8)
    for name in ("lips", "ears", "neck", "scalp", "nostrils"):
        masks["face_skin"] *= 1 - masks[name]
    front = _step(70 - _azimuth(vertices), 12)
    above = _step(vertices[:, 1] - np.interp(np.abs(vertices[:, 0]), np.abs(ibug[22:27, 0]), ibug[22:27, 1]) - 4, 5)
    high = above * _step(60 - _azimuth(vertices), 10) * (1 - masks["brows"])
    masks["forehead"] = masks["face_skin"] * high
    # where blended albedo holds more of the model's: forehead and corners of the eyes, where wrinkles are (Guo 2018, Section V-C)
    corners = _both(_eye_corners(vertices, spots), mirror) * (1 - masks["ears"])
    masks["albedo_blend"] = skin * np.maximum(high, corners)
    masks["beard"] = masks["face_skin"] * _beard(vertices, ibug) * (1 - masks["nose"])
    # hair hides the rim of the forehead, brows are hair: photometric residuals count less there
    clear = 1 - _spread(head, masks["scalp"] > 0.3, 2)
    masks["fit_skin"] = np.maximum(masks["face_skin"], masks["lips"] * _outside(head, mirror)) * front * clear
    masks["fit_skin"] *= (1 - 0.5 * masks["brows"]) * (1 - masks["nostrils"])
    return {name: np.clip((mask + mask[mirror]) / 2, 0, 1) for name, mask in sorted(masks.items())}


def _step(value: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 at -width to 1 at +width."""
    t = np.clip(value / (2 * width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _both(mask: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return np.maximum(mask, mask[mirror])


def _ball(vertices: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
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
    """The mask, smoothed over so many rings of neighbours."""
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
        mask[ring] = np.interp(np.arange(20), [0, 8, 12, 19], [upper, 0.8 * upper, lower, lower])
    mask[behind_lips(head, mirror)] = 1
    return _both(mask, mirror)


def behind_lips(head: HeadMesh, mirror: np.ndarray) -> np.ndarray:
    """Skin vertices [V] between the innermost lip ring and the lining of the mouth."""
    table, ring = vertex_of(head), np.array(read_points()["lip_rings"][-1])
    lips = np.isin(np.arange(len(mirror)), np.concatenate([table[ring], mirror[table[ring]]]))
    skin, mouth = (head.triangles[head.part == head.part_names.index(name)] for name in ("skin", "mouth"))
    reached = np.isin(np.arange(len(mirror)), np.intersect1d(skin, mouth))
    while True:
        touched = skin[(reached & ~lips)[skin].any(axis=1)]
        grown = reached | np.isin(np.arange(len(mirror)), touched)
        if np.array_equal(grown, reached):
            return reached & ~lips
        reached = grown


def _outside(head: HeadMesh, mirror: np.ndarray) -> np.ndarray:
    """1 on the part of the lips that a closed mouth shows."""
    table, rings = vertex_of(head), np.array(read_points()["lip_rings"])
    mask = np.zeros(len(head.vertices), bool)
    mask[table[rings[:5]]] = True
    return (mask | mask[mirror]).astype(float)


def _brow(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    distance, along = _to_line(vertices, ibug[17:22][::-1])
    width = np.interp(along, [0, 0.2, 0.6, 1], [3.6, 4.6, 4.0, 2.6])
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
    level = np.minimum(chin[1] + slope * (vertices[:, 2] - chin[2]), -50.0) - 2
    return _step(level - vertices[:, 1], 5)


def _scalp(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    azimuth, height = np.array(HAIRLINE, float).T
    eyes = ibug[36:48, 1].mean()
    return _step(vertices[:, 1] - eyes - np.interp(_azimuth(vertices), azimuth, height), 6)


def _nose(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    """A wedge from the nasion to the wings."""
    top, bottom = ibug[27, 1] + 2, ibug[33, 1]
    wing = np.abs(ibug[[31, 35], 0]).mean() + 6
    half = np.interp(vertices[:, 1], [bottom, bottom + 12, top], [wing, wing, 7])
    inside = _step(half - np.abs(vertices[:, 0]), 2.5) * _step(top - vertices[:, 1], 5) * _step(vertices[:, 1] - bottom + 1, 2)
    return inside * (vertices[:, 2] > ibug[36, 2])


def _under_eye(vertices: np.ndarray, spots: np.ndarray) -> np.ndarray:
    """A crescent 3 to 13 mm below the lower lid, deepest at the inner corner."""
    distance, along = _to_line(vertices, spots[[33, 7, 163, 144, 145, 153, 154, 155, 133]])
    lid = np.interp(vertices[:, 0], spots[[33, 163, 145, 154, 133], 0], spots[[33, 163, 145, 154, 133], 1])
    depth = np.interp(along, [0, 0.3, 0.8, 1], [6, 8, 9, 8])
    return np.exp(-(((distance - depth * 0.7) / (0.6 * depth)) ** 2)) * _step(lid - 1 - vertices[:, 1], 2.5) * (
        vertices[:, 2] > spots[33, 2] - 10
    ) * (vertices[:, 0] < -6)


def _eyelid(vertices: np.ndarray, spots: np.ndarray) -> np.ndarray:
    """The upper lid up to its crease and the lower lid's edge."""
    upper, _ = _to_line(vertices, spots[[33, 246, 161, 160, 159, 158, 157, 173, 133]])
    lower, _ = _to_line(vertices, spots[[33, 7, 163, 144, 145, 153, 154, 155, 133]])
    return np.maximum(_step(6 - upper, 3), _step(2.5 - lower, 1.5)) * (vertices[:, 0] < 0)


def _eye_corners(vertices: np.ndarray, spots: np.ndarray) -> np.ndarray:
    """About the right eye: from the outer corner 20 mm towards the temple, where crow's feet spread, and at the inner corner."""
    outer, temple, inner = spots[33], spots[33] + (spots[127] - spots[33]) * 0.36, spots[133]
    feet, _ = _to_line(vertices, np.stack([outer, temple]))
    return np.maximum(_step(12 - feet, 4), _step(6 - np.linalg.norm(vertices - inner, axis=1), 3)) * (vertices[:, 0] < 0)


def _beard(vertices: np.ndarray, ibug: np.ndarray) -> np.ndarray:
    """Where a beard grows: moustache, chin, and below a line from the corner of the mouth up to the sideburns."""
    azimuth = _azimuth(vertices)
    corner = ibug[[48, 54], 1].mean()
    top = np.interp(azimuth, [0, 14, 22, 40, 60, 75, 90], [ibug[33, 1] - 1, ibug[33, 1] - 3, corner + 6, corner + 2,
                                                          corner + 25, ibug[0, 1], ibug[0, 1] + 10])
    return _step(top - vertices[:, 1], 5) * _step(92 - azimuth, 8)
