"""The inside of the mouth: places of teeth and tongue on the mean head, their motion under identity modes, and their colours.

MakeHuman's teeth stand far behind the lips, and its face morphs move the lips but not the teeth. Here the dental arches stand close
behind the lips and narrow towards the back, the upper incisors overlap the lower ones, and every identity mode moves them along
with the line where the lips meet. Arrays are vertices [V, 3] of the cut head, mm, or displacements of them; only teeth, tongue and
lining change, never the skin.
"""

import numpy as np
import scipy.spatial

from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.points.landmarks import read_points, vertex_of

CONTACT = slice(4, 6)               # of the lip rings: those between which the lips meet
MIDDLE = 8.0                        # mm from the midline, over which the height of the line of contact is taken
UPPER_OVERLAP = 2.8                 # mm: the upper incisors reach this far below the line of contact
LOWER_OVERLAP = 0.8                 # mm: the lower incisors end this far above it, behind the upper ones
INCISORS_BACK = 7.5                 # mm: upper incisors behind the middle of the line of contact
OVERJET = 2.2                       # mm: lower incisors behind the upper ones
ARCH = {"teeth_upper": 26.0, "teeth_lower": 24.0}   # mm: half the width that the arch does not exceed
ROUND = 0.007                       # 1/mm: the front of the arch bends back by this times x^2, to SIDE[1]
CROWN = {"teeth_upper": 12.0, "teeth_lower": 11.0}  # mm: height
SIDE = (12.0, 20.0)                 # mm from the midline, over which the edges of the sides draw apart, by
APART = {"teeth_upper": 2.8, "teeth_lower": -5.0}   # mm: so that the gap at the corners of closed lips shows none
LEVEL = {"teeth_upper": 0.0, "teeth_lower": 0.1}    # slope taken out, for that: MakeHuman's lower row climbs backwards
TONGUE_SIZE = np.array([0.68, 0.55, 0.9])
TONGUE_BACK, TONGUE_DOWN = 7.0, 6.0 # mm: tip behind, back below the edge of the lower incisors
LINING = 8.0                        # mm from the lips, over which the lining passes from their motion to that of the teeth

# linear RGB; the renderer knows no occlusion, so that it is painted
TEETH = {"teeth_upper": np.array([0.50, 0.47, 0.40]), "teeth_lower": np.array([0.43, 0.40, 0.34])}
TONGUE = np.array([0.15, 0.053, 0.05])
LINING_DARK = np.array([0.040, 0.015, 0.015])
TEETH_FADE, TONGUE_FADE, LINING_FADE = 20.0, 22.0, 3.0     # mm over which light falls off: depth, depth, from the lips


def lip_contact(head: HeadMesh) -> np.ndarray:
    """Vertices of the line along which closed lips meet, both lips, both sides."""
    table, rings = vertex_of(head), np.array(read_points()["lip_rings"])[CONTACT]
    right = table[rings.ravel()]
    twin = scipy.spatial.cKDTree(head.vertices).query(head.vertices[right] * [-1, 1, 1])[1]
    return np.unique(np.concatenate([right, twin]))


def of_part(head: HeadMesh, *names: str) -> np.ndarray:
    """Vertices of the named parts."""
    return np.unique(head.triangles[np.isin(head.part, [head.part_names.index(name) for name in names])])


def settle(head: HeadMesh, mean: np.ndarray) -> np.ndarray:
    """Mean head [V, 3] with teeth and tongue in their places behind the lips."""
    mean = mean.copy()
    contact = mean[lip_contact(head)]
    middle = contact[np.abs(contact[:, 0]) < MIDDLE]
    height, depth = middle[:, 1].mean(), middle[:, 2].mean() - INCISORS_BACK
    for name, overlap, back in (("teeth_upper", -UPPER_OVERLAP, 0.0), ("teeth_lower", LOWER_OVERLAP, OVERJET)):
        teeth = of_part(head, name)
        place = _row(mean[teeth], name)
        mean[teeth] = place + [0, height + overlap, depth - back]
    tongue = of_part(head, "tongue")
    place = mean[tongue] * TONGUE_SIZE
    place[:, 1] += height + LOWER_OVERLAP - TONGUE_DOWN - place[:, 1].max()
    place[:, 2] += depth - OVERJET - TONGUE_BACK - place[:, 2].max()
    mean[tongue] = place
    return mean


def _row(place: np.ndarray, name: str) -> np.ndarray:
    """A row of teeth [n, 3] in its form here; edge of the incisors at y = 0, their front at z = 0."""
    # a soft minimum of |x| and the half width, odd in x
    x = place[:, 0] / (1 + (np.abs(place[:, 0]) / ARCH[name]) ** 4) ** 0.25
    front = np.abs(x) < MIDDLE
    edge = place[front, 1].min() if name == "teeth_upper" else place[front, 1].max()
    side = np.clip((np.abs(x) - SIDE[0]) / (SIDE[1] - SIDE[0]), 0, 1) ** 2
    z = place[:, 2] - place[front, 2].max()
    y = (place[:, 1] - edge) * CROWN[name] / np.ptp(place[front, 1]) + APART[name] * side + LEVEL[name] * z * side
    z = z - ROUND * np.minimum(np.abs(x), SIDE[1]) ** 2
    return np.stack([x, y, z], axis=1)


def carry(head: HeadMesh, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Identity modes [K, V, 3] in which teeth and tongue move with the line of the lips, and the lining between both.

    The motion of a mode is the least-squares shift, turn about the vertical and the viewing axis, and widening of the lips'
    contact line: linear in the mode, so that the modes stay a linear basis. Height is taken at the middle alone, since smiles
    and frowns of the corners do not move teeth.
    """
    contact = lip_contact(head)
    centre = mean[contact].mean(axis=0)
    weight = np.ones((len(contact), 3))
    weight[:, 1] = np.exp(-((mean[contact, 0] / MIDDLE) ** 2))
    motion = _motion(mean[contact] - centre) * weight[..., None]
    target = (basis[:, contact] * weight).reshape(len(basis), -1)
    amounts = np.linalg.lstsq(motion.reshape(-1, motion.shape[-1]), target.T, rcond=None)[0]
    inner = of_part(head, "teeth_upper", "teeth_lower", "tongue", "mouth")
    share = np.ones(len(mean))
    lining = of_part(head, "mouth")
    share[lining] = 1 - np.exp(-((_from_lips(head, mean)[lining] / LINING) ** 2))
    carried = np.einsum("vdi,ik->kvd", _motion(mean[inner] - centre), amounts)
    basis = basis.copy()
    basis[:, inner] += share[inner, None] * (carried - basis[:, inner])
    return basis


def lift_tongue(head: HeadMesh, raised: np.ndarray, settled: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """`tongueOut` [V, 3] that also takes the tongue from its bed (mean `settled`) to where MakeHuman holds it (mean `raised`)."""
    tongue = of_part(head, "tongue")
    shape = shape.copy()
    shape[tongue] += raised[tongue] - settled[tongue]
    return shape


def paint(head: HeadMesh, vertices: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Colour [V, 3], linear RGB, of teeth, tongue and lining, zero elsewhere; at the lips the lining has that of `skin` [V, 3]."""
    colour = np.zeros((len(vertices), 3))
    lip = skin[np.intersect1d(of_part(head, "skin"), of_part(head, "mouth"))].mean(axis=0)
    near = np.exp(-_from_lips(head, vertices) / LINING_FADE)[:, None]
    lining = of_part(head, "mouth")
    colour[lining] = (LINING_DARK + (lip - LINING_DARK) * near)[lining]
    parts = [(name, paint, TEETH_FADE) for name, paint in TEETH.items()]
    for name, bright, fade in (*parts, ("tongue", TONGUE, TONGUE_FADE)):
        part = of_part(head, name)
        light = np.exp(-(((vertices[part, 2].max() - vertices[part, 2]) / fade) ** 2))[:, None]
        colour[part] = LINING_DARK + (bright - LINING_DARK) * light
    return colour


def _from_lips(head: HeadMesh, vertices: np.ndarray) -> np.ndarray:
    """Distance [V] from the edge where the lining of the mouth begins, mm."""
    edge = np.intersect1d(of_part(head, "skin"), of_part(head, "mouth"))
    return scipy.spatial.cKDTree(vertices[edge]).query(vertices)[0]


def _motion(place: np.ndarray) -> np.ndarray:
    """Small motions [n, 3, 6] at `place` [n, 3] round the centre: three shifts, turns about y and z, widening along x."""
    zero = np.zeros(len(place))
    x, y, z = place.T
    turns = np.stack([z, -y, x, zero, x, zero, -x, zero, zero], axis=1).reshape(-1, 3, 3)
    return np.concatenate([np.broadcast_to(np.eye(3), turns.shape), turns], axis=2)
