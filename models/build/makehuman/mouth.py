"""The inside of the mouth: places of teeth and tongue on the mean head, their motion under identity modes, and their colours.

MakeHuman's teeth stand far behind the lips, and its face morphs move the lips but not the teeth. Here the dental arches stand close
behind the lips and narrow towards the back, the upper incisors overlap the lower ones, and every identity mode moves them along
with the line where the lips meet. Arrays are vertices [V, 3] of the cut head, mm, or displacements of them; only teeth, tongue and
lining change, never the skin.
"""

import numpy as np
import scipy.spatial

from fitkit.models.build.makehuman.mesh import HeadMesh, mirror_table
from fitkit.models.build.makehuman.points.landmarks import read_points, vertex_of

# Chosen, not tuned
CONTACT = slice(4, 6)               # of the lip rings: those between which the lips meet
MIDDLE = 8.0                        # mm from the midline, over which the height of the line of contact is averaged
UPPER_OVERLAP = 2.8                 # mm: the upper incisors reach this far below the line of contact
LOWER_OVERLAP = 0.8                 # mm: the lower incisors end this far above it, behind the upper ones
INCISORS_BACK = 7.5                 # mm: upper incisors behind the middle of the line of contact
OVERJET = 2.2                       # mm: lower incisors behind the upper ones
ARCH = {"teeth_upper": 26.0, "teeth_lower": 24.0}   # mm: largest half width of the dental arch
ROUND = 0.007                       # 1/mm: the front of the arch bends back by this times x^2, out to SIDE[1]
CROWN = {"teeth_upper": 12.0, "teeth_lower": 11.0}  # mm: height of the rows
SIDE = (12.0, 20.0)                 # mm from the midline, over which the edges of both rows move apart by APART
APART = {"teeth_upper": 2.8, "teeth_lower": -5.0}   # mm upwards: no teeth show in the gap at the corners of closed lips
LEVEL = {"teeth_upper": 0.0, "teeth_lower": 0.1}    # slope removed at the sides: MakeHuman's lower row rises towards the back
TONGUE_SIZE = np.array([0.68, 0.55, 0.9])           # of MakeHuman's width, height and length
TONGUE_BACK, TONGUE_DOWN = 7.0, 6.0 # mm: tip behind, back below the edge of the lower incisors
LINING = 8.0                        # mm from the lips, over which the lining passes from their motion to that of the teeth

# Colours, linear RGB, chosen; the renderer knows no occlusion, so that darkness is painted
TEETH = {"teeth_upper": np.array([0.50, 0.47, 0.40]), "teeth_lower": np.array([0.43, 0.40, 0.34])}
TONGUE = np.array([0.15, 0.053, 0.05])              # at its tip
LINING_DARK = np.array([0.040, 0.015, 0.015])       # far from the light
TEETH_FADE, TONGUE_FADE, LINING_FADE = 20.0, 22.0, 3.0     # mm over which light falls off: by depth, by depth, from the lips


def lip_contact(head: HeadMesh) -> np.ndarray:
    """Vertices of the line along which closed lips meet, both lips, both sides."""
    table, rings = vertex_of(head), np.array(read_points()["lip_rings"])[CONTACT]
    right = table[rings.ravel()]
    return np.unique(np.concatenate([right, mirror_table(head)[right]]))


def place_teeth_and_tongue(head: HeadMesh, mean: np.ndarray) -> np.ndarray:
    """Mean head [V, 3] with teeth and tongue moved behind the lips."""
    mean = mean.copy()
    contact = mean[lip_contact(head)]
    middle = contact[np.abs(contact[:, 0]) < MIDDLE]
    height, depth = middle[:, 1].mean(), middle[:, 2].mean() - INCISORS_BACK
    for name, overlap, back in (("teeth_upper", -UPPER_OVERLAP, 0.0), ("teeth_lower", LOWER_OVERLAP, OVERJET)):
        teeth = head.vertices_of(name)
        place = _tooth_row(mean[teeth], name)
        mean[teeth] = place + [0, height + overlap, depth - back]
    tongue = head.vertices_of("tongue")
    place = mean[tongue] * TONGUE_SIZE
    place[:, 1] += height + LOWER_OVERLAP - TONGUE_DOWN - place[:, 1].max()
    place[:, 2] += depth - OVERJET - TONGUE_BACK - place[:, 2].max()
    mean[tongue] = place
    return mean


def _tooth_row(place: np.ndarray, name: str) -> np.ndarray:
    """A row of teeth [n, 3] reshaped, mm: edge of the incisors at y = 0, their front at z = 0."""
    # a soft minimum of |x| and the half width, odd in x
    x = place[:, 0] / (1 + (np.abs(place[:, 0]) / ARCH[name]) ** 4) ** 0.25
    front = np.abs(x) < MIDDLE
    edge = place[front, 1].min() if name == "teeth_upper" else place[front, 1].max()
    side = np.clip((np.abs(x) - SIDE[0]) / (SIDE[1] - SIDE[0]), 0, 1) ** 2
    z = place[:, 2] - place[front, 2].max()
    y = (place[:, 1] - edge) * CROWN[name] / np.ptp(place[front, 1]) + APART[name] * side + LEVEL[name] * z * side
    z = z - ROUND * np.minimum(np.abs(x), SIDE[1]) ** 2
    return np.stack([x, y, z], axis=1)


def follow_lips(head: HeadMesh, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Identity modes [K, V, 3], changed so that teeth and tongue move with the lips, and the lining in between.

    The motion of a mode is the least-squares shift, rotation about the vertical and the viewing axis, and widening of the lips'
    contact line: linear in the mode, so that the modes stay a linear basis. Height is taken at the middle alone, since smiles
    and frowns of the corners do not move teeth.
    """
    contact = lip_contact(head)
    centre = mean[contact].mean(axis=0)
    weight = np.ones((len(contact), 3))
    weight[:, 1] = np.exp(-((mean[contact, 0] / MIDDLE) ** 2))
    motion = _motion_columns(mean[contact] - centre) * weight[..., None]
    target = (basis[:, contact] * weight).reshape(len(basis), -1)
    amounts = np.linalg.lstsq(motion.reshape(-1, motion.shape[-1]), target.T, rcond=None)[0]
    inner = head.vertices_of("teeth_upper", "teeth_lower", "tongue", "mouth")
    share = np.ones(len(mean))
    lining = head.vertices_of("mouth")
    share[lining] = 1 - np.exp(-((_distance_from_lips(head, mean)[lining] / LINING) ** 2))
    motion_inside = np.einsum("vdi,ik->kvd", _motion_columns(mean[inner] - centre), amounts)
    basis = basis.copy()
    basis[:, inner] += share[inner, None] * (motion_inside - basis[:, inner])
    return basis


def lift_tongue(head: HeadMesh, original: np.ndarray, mean: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """`tongueOut` [V, 3], which first returns the tongue to where MakeHuman has it.

    Args:
        head: the cut head.
        original: [V, 3] mean head before `place_teeth_and_tongue`, mm.
        mean: [V, 3] and after it.
        shape: [V, 3] MakeHuman's `tongueOut`, mm.
    """
    tongue = head.vertices_of("tongue")
    shape = shape.copy()
    shape[tongue] += original[tongue] - mean[tongue]
    return shape


def mouth_colours(head: HeadMesh, vertices: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Linear RGB [V, 3] of teeth, tongue and lining, zero elsewhere; at the lips the lining has the colour of `skin` [V, 3]."""
    colour = np.zeros((len(vertices), 3))
    lip = skin[np.intersect1d(head.vertices_of("skin"), head.vertices_of("mouth"))].mean(axis=0)
    near = np.exp(-_distance_from_lips(head, vertices) / LINING_FADE)[:, None]
    lining = head.vertices_of("mouth")
    colour[lining] = (LINING_DARK + (lip - LINING_DARK) * near)[lining]
    parts = [(name, paint, TEETH_FADE) for name, paint in TEETH.items()]
    for name, bright, fade in (*parts, ("tongue", TONGUE, TONGUE_FADE)):
        part = head.vertices_of(name)
        light = np.exp(-(((vertices[part, 2].max() - vertices[part, 2]) / fade) ** 2))[:, None]
        colour[part] = LINING_DARK + (bright - LINING_DARK) * light
    return colour


def _distance_from_lips(head: HeadMesh, vertices: np.ndarray) -> np.ndarray:
    """Distance [V] from the edge where the lining of the mouth begins, mm."""
    edge = np.intersect1d(head.vertices_of("skin"), head.vertices_of("mouth"))
    return scipy.spatial.cKDTree(vertices[edge]).query(vertices)[0]


def _motion_columns(place: np.ndarray) -> np.ndarray:
    """Small motions [n, 3, 6] at `place` [n, 3] round the centre: three shifts, turns about y and z, widening along x."""
    zero = np.zeros(len(place))
    x, y, z = place.T
    turns = np.stack([z, -y, x, zero, x, zero, -x, zero, zero], axis=1).reshape(-1, 3, 3)
    return np.concatenate([np.broadcast_to(np.eye(3), turns.shape), turns], axis=2)
