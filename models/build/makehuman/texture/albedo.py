"""Albedo model of MakeHuman's head: mean [V, 3] and some fifty axes [A, V, 3] of linear RGB reflectance, per standard deviation.

Takes the cut head, its mean shape and its region masks. Melanin and blood come from an optical model (`pigment.py`); how lips,
cheeks, nose and so on differ from plain skin, and how strong smooth variation is, from skin.toml (written by
`skin_statistics.py`); brows, beard, hair and eyes are coloured by the region masks. No picture is read.
"""

import functools
import pathlib
import tomllib
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from fitkit.models.build.makehuman.eyes import LIMBUS_RADIUS, PUPIL_RADIUS
from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.mouth import mouth_colours
from fitkit.models.build.makehuman.texture.pigment import skin_colour

SKIN_TABLE = pathlib.Path(__file__).with_name("skin.toml")
TINTED = ("beard", "cheeks", "chin", "ears", "eyelids", "forehead", "lips", "nose", "under_eye")

# Chosen, not tuned
# volume fractions (melanin, blood) of very light and very dark skin, and how many standard deviations lie between them
LIGHT, DARK, APART = (0.018, 0.03), (0.38, 0.03), 4.4
MEDIUM = (0.085, 0.03)              # skin between them; its distance from the straight line of colours is the `tone` axis
BEND = 0.35                         # share of that distance in the mean, and
TONE = 0.3                          # in one standard deviation of the `tone` axis
BLOOD_SPREAD = 0.38                 # standard deviation of the logarithm of the blood fraction
MAX_MELANIN = 0.34                  # largest melanin axis, as a share of the mean: skin stays above black at -2.5
LIP_MELANIN = 0.6                   # share of the melanin axis in lips
NECK_SPREAD = 0.08                  # standard deviation of the neck's brightness, of its colour

# linear RGB
HAIR = np.array([0.055, 0.038, 0.028])
SCLERA = np.array([0.52, 0.48, 0.45])                       # white of the eye
IRIS, IRIS_BLUE = np.array([0.090, 0.062, 0.046]), np.array([0.16, 0.19, 0.21])      # brown in the mean, blue along an axis
PUPIL = np.array([0.012, 0.011, 0.011])                     # black, but not 0
LID_RIM = np.array([0.42, 0.24, 0.21])                      # lining behind the lids
BROW_COVER, BEARD_COVER, SCALP_COVER = 0.70, 0.06, 0.55     # share of hair in the mean colour
BROW_SPREAD, BEARD_SPREAD, SCALP_SPREAD = 0.18, 0.14, 0.20  # its standard deviation
BLOND = np.array([0.03, 0.018, 0.008])                      # linear RGB added to hair, one standard deviation
FLUSH = {"cheeks": 1.0, "nose": 0.8, "ears": 0.7, "chin": 0.3}   # share of the blood axis in the `flush` axis
RING_TOLERANCE = 0.01               # radians: rings of the eyeball are further apart
BLUE_SPREAD, IRIS_SPREAD, SCLERA_SPREAD = 0.3, 0.2, 0.12    # standard deviations of the iris towards blue, of its brightness,
                                                            # and of the sclera's

# Smooth waves
EVEN_WAVES, ODD_WAVES = 14, 10      # waves of brightness, even and odd under mirroring
EVEN_RED, ODD_RED = 6, 3            # the same of red against green
RED_DIRECTION = (0.4, -0.6, -0.2)   # of the relative change of linear RGB in these
MASS_OFF_FACE = 0.02                # of an area's mass off the face, beside 1 on it
COTANGENTS = (1e-3, 10)             # bounds of half the cotangents of the Laplacian


@functools.cache
def skin_table() -> dict[str, Any]:
    """The statistics of skins in skin.toml: `regions` and `waves`."""
    return tomllib.loads(SKIN_TABLE.read_text())


def albedo_model(
    head: HeadMesh, vertices: np.ndarray, masks: dict[str, np.ndarray], mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Mean [V, 3], axes [A, V, 3] per standard deviation, and the axes' names.

    Args:
        head: the cut head.
        vertices: [V, 3] mean shape, mm.
        masks: regions [V] by name.
        mirror: [V] mirrored vertices.
    """
    base, pigments = _pigments()
    tint = sum(masks[name][:, None] * np.array(row["mean"]) for name, row in skin_table()["regions"].items())
    factor = np.exp(tint)
    cover = (BROW_COVER * masks["brows"] + BEARD_COVER * masks["beard"] + SCALP_COVER * masks["scalp"])[:, None]
    bare = base * factor
    skin = bare * (1 - cover) + HAIR * cover
    axes = {name: axis * factor * (1 - cover) for name, axis in pigments.items()}
    axes["melanin"] = axes["melanin"] * (1 - (1 - LIP_MELANIN) * masks["lips"])[:, None]
    for name, row in skin_table()["regions"].items():
        axes[name] = skin * masks[name][:, None] * np.array(row["axis"])
    flushed = np.stack([part * masks[name] for name, part in FLUSH.items()]).sum(axis=0)
    axes["flush"] = axes["blood"] * flushed[:, None]
    hairy = (("brow", "brows", BROW_SPREAD), ("stubble", "beard", BEARD_SPREAD), ("hair", "scalp", SCALP_SPREAD))
    for name, region, spread in hairy:
        axes[name] = (HAIR - bare) * spread * masks[region][:, None]
    axes["hair_blond"] = BLOND * (masks["scalp"] * SCALP_COVER + masks["brows"] * BROW_COVER)[:, None]
    axes["neck"] = skin * masks["neck"][:, None] * NECK_SPREAD
    axes |= _wave_axes(head, vertices, masks, mirror, skin)
    of_skin = np.isin(np.arange(len(vertices)), head.triangles_of("skin"))
    inside, colour = _inside(head, vertices, skin)
    mean = np.where(inside[:, None], colour, skin)
    axes = {name: axis * (of_skin & ~inside)[:, None] for name, axis in axes.items()} | _eye_axes(head)
    return mean, np.stack(list(axes.values())), tuple(axes)


def vertex_area(head: HeadMesh, vertices: np.ndarray) -> np.ndarray:
    """A third of the area [V] of the skin triangles round each vertex, square millimetres."""
    return _laplacian(head.triangles_of("skin"), vertices)[1]


def plain_skin(masks: dict[str, np.ndarray]) -> np.ndarray:
    """Weight [V] of face skin without hair, lips, lids and nostrils: what the colour of a face is measured on."""
    weight = masks["fit_skin"].copy()
    for name in ("beard", "brows", "eyelids", "lips", "nostrils", "under_eye"):
        weight *= 1 - masks[name]
    return weight


def _pigments() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Linear RGB [3] of the mean skin and of the three axes of its overall colour."""
    light, dark, medium = (skin_colour(*pair) for pair in (LIGHT, DARK, MEDIUM))
    bend = medium - ((medium - dark)[0] / (light - dark)[0] * (light - dark) + dark)
    mean = (light + dark) / 2 + BEND * bend
    blood = [skin_colour(MEDIUM[0], MEDIUM[1] * np.exp(sign * BLOOD_SPREAD)) for sign in (1, -1)]
    return mean, {
        "melanin": -np.minimum((light - dark) / APART, MAX_MELANIN * mean),
        "blood": (blood[0] - blood[1]) / 2,
        "tone": -TONE * bend,
    }


def waves(
    head: HeadMesh, vertices: np.ndarray, masks: dict[str, np.ndarray], mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth functions over the face, [W, V] each with mean square 1 there: even and odd under mirroring, coarse first.

    Eigenfunctions of the cotangent Laplacian, mass counted mainly on the face (Vallet and Levy, "Spectral geometry
    processing with manifold harmonics", 2008); the constant is left out.
    """
    skin = head.triangles_of("skin")
    used, compact = np.unique(skin, return_inverse=True)
    stiffness, mass = _laplacian(compact.reshape(-1, 3), vertices[used])
    mass = mass * (MASS_OFF_FACE + masks["face_skin"][used])
    results = []
    for sign, count in ((1, EVEN_WAVES + 1), (-1, ODD_WAVES)):
        fold = _folded(used, mirror, sign)
        a, b = fold.T @ stiffness @ fold, fold.T @ scipy.sparse.diags(mass) @ fold
        start = np.ones(a.shape[0])
        values, modes = scipy.sparse.linalg.eigsh(a.tocsc(), count, b.tocsc(), sigma=-1e-6, v0=start)
        functions = (fold @ modes[:, np.argsort(values)]).T
        functions = functions[1:] if sign == 1 else functions
        functions /= np.sqrt((functions**2 @ mass) / mass.sum())[:, None]
        # a sign that does not depend on the solver: positive where the function times a fixed slope is
        slope = vertices[used] @ np.array([1.0, 0.31, 0.17]) + 0.001 * vertices[used][:, 1] ** 2
        functions *= np.sign(functions @ (mass * slope))[:, None]
        full = np.zeros((len(functions), len(vertices)))
        full[:, used] = functions
        results.append(full)
    return results[0], results[1]


def _folded(used: np.ndarray, mirror: np.ndarray, sign: int) -> scipy.sparse.csr_matrix:
    """Columns: functions that are even (or odd) under mirroring, one for each pair of vertices."""
    order = np.searchsorted(used, mirror[used])
    first = np.flatnonzero(np.arange(len(used)) < order)
    rows, columns = np.concatenate([first, order[first]]), np.tile(np.arange(len(first)), 2)
    values = np.concatenate([np.ones(len(first)), np.full(len(first), float(sign))])
    count = len(first)
    if sign == 1:
        middle = np.flatnonzero(np.arange(len(used)) == order)
        rows, values = np.append(rows, middle), np.append(values, np.ones(len(middle)))
        columns = np.append(columns, count + np.arange(len(middle)))
        count += len(middle)
    return scipy.sparse.csr_matrix((values, (rows, columns)), (len(used), count))


def _laplacian(triangles: np.ndarray, vertices: np.ndarray) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """Cotangent stiffness matrix and lumped mass."""
    rows, columns, values = [], [], []
    area = np.linalg.norm(np.cross(*(vertices[triangles[:, k]] - vertices[triangles[:, 0]] for k in (1, 2))), axis=1) / 2
    for i, j, k in (np.roll(triangles, -c, axis=1).T for c in range(3)):
        u, v = vertices[j] - vertices[i], vertices[k] - vertices[i]
        half = np.clip((u * v).sum(axis=1) / (4 * area + 1e-9), *COTANGENTS)
        rows += [j, k]
        columns += [k, j]
        values += [half, half]
    weights = scipy.sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (len(vertices),) * 2
    )
    mass = np.bincount(triangles.ravel(), np.repeat(area / 3, 3), len(vertices))
    return (scipy.sparse.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights).tocsr(), mass


def _wave_axes(
    head: HeadMesh, vertices: np.ndarray, masks: dict[str, np.ndarray], mirror: np.ndarray, skin: np.ndarray
) -> dict[str, np.ndarray]:
    """Axes [V, 3] of smooth variation of brightness and redness over the face, by name, for the mean colour `skin` [V, 3]."""
    even, odd = waves(head, vertices, masks, mirror)
    # the waves are unbounded off the face: fade them out there
    fade = np.clip(masks["face_skin"] + masks["lips"], 0, 1)[:, None]
    axes = {}
    for kind, functions, reds in (("even", even, EVEN_RED), ("odd", odd, ODD_RED)):
        sizes = skin_table()["waves"][kind]
        for name, count, direction in (("brightness", len(functions), [1, 1, 1]), ("redness", reds, RED_DIRECTION)):
            law = sizes[name]
            for index in range(count):
                size = law["amplitude"] * (1 + index) ** -law["exponent"]
                axes[f"{kind}_{name}_{index}"] = skin * fade * functions[index][:, None] * size * np.array(direction)
    return axes


def _inside(head: HeadMesh, vertices: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mask [V] of the vertices that do not look like skin, and their colour [V, 3]; `skin` [V, 3] colours the lips' lining."""
    inside = np.ones(len(vertices), bool)
    inside[head.triangles_of("skin")] = False
    colour = mouth_colours(head, vertices, skin)
    pupil, limbus = _rings(head)
    angle = np.nan_to_num(head.eye_angle, nan=-1.0)
    colour[angle >= 0] = SCLERA
    colour[(angle >= 0) & (angle < limbus + RING_TOLERANCE)] = (IRIS + SCLERA) / 2
    colour[(angle >= 0) & (angle < limbus - RING_TOLERANCE)] = IRIS
    colour[(angle >= 0) & (angle < pupil + RING_TOLERANCE)] = (PUPIL + IRIS) / 2
    colour[(angle >= 0) & (angle < pupil - RING_TOLERANCE)] = PUPIL
    inside |= head.socket_rim
    colour[head.socket_rim] = LID_RIM
    return inside, colour


def _rings(head: HeadMesh) -> tuple[float, float]:
    """Angles from the optical axis, radians, of the rings of vertices at the edges of pupil and iris."""
    pupil, limbus = (100 * radius / head.eye_radius for radius in (PUPIL_RADIUS, LIMBUS_RADIUS))
    return float(np.arcsin(pupil)), float(np.arcsin(limbus))


def _eye_axes(head: HeadMesh) -> dict[str, np.ndarray]:
    """Axes [V, 3] of the colours of iris and sclera, by name."""
    pupil, limbus = _rings(head)
    angle = np.nan_to_num(head.eye_angle, nan=-1.0)
    iris, white = (angle > pupil - RING_TOLERANCE) & (angle < limbus + RING_TOLERANCE), angle > limbus - RING_TOLERANCE
    return {
        "iris_blue": BLUE_SPREAD * (IRIS_BLUE - IRIS) * iris[:, None],
        "iris_bright": IRIS_SPREAD * IRIS * iris[:, None],
        "sclera": SCLERA_SPREAD * SCLERA * white[:, None],
    }
