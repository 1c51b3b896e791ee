"""Expression: the 52 ARKit shapes, from MakeHuman's face units.

Takes the wheel's `faceunits01` targets (CC0-1.0) and the mean head [V, 3]; gives displacements [52, V, 3], mm at weight 1, and the
prior scale of each weight. Corrected here: gaze turns the eyeball rigidly, blinks close the lids, smiles are smoothed over the
cheeks, and the lids stay off the eyeball in every shape. Left and right are the subject's.
"""

import zipfile

import numpy as np
import scipy.sparse
import scipy.spatial

from fitkit.models.build.makehuman.lids import close_lids, eyeball_sphere, find_eye, follow_eyeballs
from fitkit.models.build.makehuman.mesh import MILLIMETRES, HeadMesh, edges_of
from fitkit.models.build.makehuman.wheel import FACE_UNITS, read_target

# Chosen, not tuned
# rotation of the eyeball at weight 1, degrees: (about X, down positive; about Y, to the subject's left positive)
GAZE = {"Up": (-18.0, 0.0), "Down": (22.0, 0.0), "Left": (0.0, 28.0), "Right": (0.0, -28.0)}
SMOOTHING_STEPS = 12    # of the smile over the cheeks, each half the way to the mean of the neighbours
SMOOTHED_FROM_LIPS = (8, 8)     # mm from the lips where smoothing begins, and mm over which it reaches full strength
SMOOTHED_FROM_LIDS = (6, 6)     # the same from the lid margins
JAW_RAISED = 0.04       # of `jawOpen` at weight 1, subtracted from the mean head
SCALE = 0.4             # prior scale of a weight unless named below, by the first part of its name
SCALES = {              # larger for what everyday photos show, smaller for the rare
    "eyeBlink": 0.5, "jawOpen": 0.4, "mouthSmile": 0.5, "browInnerUp": 0.4, "tongueOut": 0.1, "cheekPuff": 0.2,
    "jawLeft": 0.2, "jawRight": 0.2, "jawForward": 0.3, "mouthLeft": 0.25, "mouthRight": 0.25, "eyeLook": 0.5,
}


def read_expression_names(wheel: zipfile.ZipFile) -> tuple[str, ...]:
    """ARKit's names of the shapes, in alphabetical order."""
    files = [n for n in wheel.namelist() if n.startswith(FACE_UNITS) and n.endswith(".target")]
    return tuple(sorted(n.removeprefix(FACE_UNITS).removesuffix(".target") for n in files))


def close_lips(wheel: zipfile.ZipFile, head: HeadMesh, mean: np.ndarray) -> np.ndarray:
    """Mean head [V, 3] with the jaw a little higher: MakeHuman's lips are slightly open at rest and show the teeth."""
    return mean - JAW_RAISED * MILLIMETRES * (head.combination @ read_target(wheel, f"{FACE_UNITS}jawOpen.target"))


def expressions(wheel: zipfile.ZipFile, head: HeadMesh, mean: np.ndarray) -> np.ndarray:
    """The 52 shapes [52, V, 3], mm at weight 1, on the mean head [V, 3]."""
    shapes = []
    for name in read_expression_names(wheel):
        shape = MILLIMETRES * (head.combination @ read_target(wheel, f"{FACE_UNITS}{name}.target"))
        shape = _rotate_eyeball(head, mean, name, shape)
        if name.startswith("eyeBlink"):
            shape = close_lids(head, mean, shape, name.removeprefix("eyeBlink").lower())
        if name.startswith("mouthSmile"):
            shape = _smooth_cheeks(head, mean, shape)
        if not name.startswith(("eyeBlink", "eyeLook")):
            shape = follow_eyeballs(head, mean, shape[None])[0]
        shapes.append(shape)
    return np.stack(shapes)


def _smooth_cheeks(head: HeadMesh, mean: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Smooth a displacement [V, 3] over the cheeks, where the raw smile has a dent, but not near lips and lids."""
    skin = head.triangles_of("skin")
    opening = np.intersect1d(skin, head.triangles_of("mouth"))
    away, _ = scipy.spatial.cKDTree(mean[opening]).query(mean)
    lids = np.min([scipy.spatial.cKDTree(mean[m]).query(mean)[0] for m in head.lid_margin], axis=0)
    (lips_start, lips_width), (lids_start, lids_width) = SMOOTHED_FROM_LIPS, SMOOTHED_FROM_LIDS
    share = np.clip((away - lips_start) / lips_width, 0, 1) * np.clip((lids - lids_start) / lids_width, 0, 1)
    share = share * np.isin(np.arange(len(mean)), skin)
    edges = edges_of(skin)
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), (len(mean),) * 2).tocsr()
    graph = graph + graph.T
    degree = np.maximum(np.asarray(graph.sum(axis=1)), 1)
    for _ in range(SMOOTHING_STEPS):
        shape = shape + 0.5 * share[:, None] * (graph @ shape / degree - shape)
    return shape


def expression_scale(names: tuple[str, ...]) -> np.ndarray:
    """Prior scale [52] of each weight: the prior is sum (weight / scale)^2."""
    return np.array([next((s for stem, s in SCALES.items() if n.startswith(stem)), SCALE) for n in names], np.float32)


def _rotate_eyeball(head: HeadMesh, mean: np.ndarray, name: str, shape: np.ndarray) -> np.ndarray:
    """Replace the eyeballs' displacements: a rigid rotation in `eyeLook*`, none in every other shape."""
    shape = shape.copy()
    for side, outward in (("left", 1), ("right", -1)):
        ball = head.vertices_of(f"eye_{side}")
        shape[ball] = 0
        if not (name.startswith("eyeLook") and name.endswith(side.capitalize())):
            continue
        gaze = name.removeprefix("eyeLook").removesuffix(side.capitalize())
        if gaze in ("In", "Out"):
            gaze = "Left" if (gaze == "Out") == (outward == 1) else "Right"
        rotation = scipy.spatial.transform.Rotation.from_euler("xy", GAZE[gaze], degrees=True).as_matrix()
        place = mean[ball] - eyeball_sphere(mean, find_eye(head, side))[0]
        shape[ball] = place @ (rotation - np.eye(3)).T
    return shape
