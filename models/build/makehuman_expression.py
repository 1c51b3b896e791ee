"""Expression: the 52 ARKit shapes, from MakeHuman's face units, mended where the raw morph falls short.

From the wheel's `faceunits01` targets (CC0-1.0) and makehuman_mesh.py to makehuman.py. Left and right are the subject's.
"""

import zipfile

import numpy as np
import scipy.spatial

from fitkit.models.build.makehuman_lids import close, follow
from fitkit.models.build.makehuman_mesh import MILLIMETRES, PART_NAMES, HeadMesh
from fitkit.models.build.makehuman_wheel import FACE_UNITS, read_target

# full turn of the eyeball at weight 1, degrees: (about X, down positive; about Y, to the subject's left positive)
GAZE = {"Up": (-25.0, 0.0), "Down": (28.0, 0.0), "Left": (0.0, 32.0), "Right": (0.0, -32.0)}
SCALE = 0.4             # prior scale of a weight unless named below
SCALES = {              # what everyday photos show more, or hardly ever
    "eyeBlink": 0.5, "jawOpen": 0.4, "mouthSmile": 0.5, "browInnerUp": 0.4, "tongueOut": 0.1, "cheekPuff": 0.2,
    "jawLeft": 0.2, "jawRight": 0.2, "jawForward": 0.3, "mouthLeft": 0.25, "mouthRight": 0.25, "eyeLook": 0.5,
}


def expression_names(wheel: zipfile.ZipFile) -> tuple[str, ...]:
    """ARKit's names of the shapes, in alphabetical order."""
    files = [n for n in wheel.namelist() if n.startswith(FACE_UNITS) and n.endswith(".target")]
    return tuple(sorted(n.removeprefix(FACE_UNITS).removesuffix(".target") for n in files))


def expressions(wheel: zipfile.ZipFile, head: HeadMesh, mean: np.ndarray) -> np.ndarray:
    """The 52 shapes [52, V, 3], mm at weight 1, on the mean head [V, 3]."""
    shapes = []
    for name in expression_names(wheel):
        shape = MILLIMETRES * (head.combination @ read_target(wheel, f"{FACE_UNITS}{name}.target"))
        shape = _turn_eye(head, mean, name, shape)
        if name.startswith("eyeBlink"):
            shape = close(head, mean, shape, name.removeprefix("eyeBlink").lower())
        elif not name.startswith("eyeLook"):
            shape = follow(head, mean, shape[None])[0]
        shapes.append(shape)
    return np.stack(shapes)


def expression_scale(names: tuple[str, ...]) -> np.ndarray:
    """Prior scale [52] of each weight: the prior is sum (weight / scale)^2."""
    return np.array([next((s for stem, s in SCALES.items() if n.startswith(stem)), SCALE) for n in names], np.float32)


def _turn_eye(head: HeadMesh, mean: np.ndarray, name: str, shape: np.ndarray) -> np.ndarray:
    """Give `eyeLook*` a rigid turn of its eyeball; keep eyeballs still in every other shape."""
    shape = shape.copy()
    for side, outward in (("left", 1), ("right", -1)):
        ball = np.unique(head.triangles[head.part == PART_NAMES.index(f"eye_{side}")])
        shape[ball] = 0
        if not (name.startswith("eyeLook") and name.endswith(side.capitalize())):
            continue
        way = name.removeprefix("eyeLook").removesuffix(side.capitalize())
        if way in ("In", "Out"):
            way = "Left" if (way == "Out") == (outward == 1) else "Right"
        turn = scipy.spatial.transform.Rotation.from_euler("xy", GAZE[way], degrees=True).as_matrix()
        place = mean[ball] - mean[ball].mean(axis=0)
        shape[ball] = place @ (turn - np.eye(3)).T
    return shape
