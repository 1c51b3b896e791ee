"""The bones of a head: joints head, jaw and two eyes, where they lie, and how far each vertex follows them (linear blend skinning).

A head with joints of its own (FLAME, GNM) keeps them. Of another the eyeballs turn about their middles, and the jaw is read off
its expression `jawOpen`: the rotation nearest to the move of the lower teeth (Kabsch 1976), about the axis that this rotation
leaves in place; a vertex follows it by the least-squares ratio of its own move to that of a point fixed to the jaw.

In: a `MorphableModel` and a face. Out: a `Skeleton`, mm, head frame. Used by `rigged.py` and `usd.py`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from fitkit.morphable.gaze import eyeballs
from fitkit.morphable.model import shape
from fitkit.morphable.skinning import joint_places
from fitkit.types import FaceParameters, MorphableModel

HEAD, JAW = "head", "jaw"
PIVOT = (0.0, -40.0, -25.0)     # mm, head frame: about where a skull turns on its spine; chosen, anatomy differs by a centimetre
OPENS, TEETH = "jawOpen", "teeth_lower"     # the expression and the part that show how the jaw turns
RIGID = 0.8             # share of the greatest move from which vertices are fixed to the jaw, of heads without teeth; chosen
SPREAD, LEAST_TURN = 1.0, 0.02      # mm, radians: under which points or their move tell no rotation; chosen
LEVER = 0.5             # mm of move under which a vertex is too near to the axis to say that it follows; chosen
INFLUENCES = 4          # joints that a vertex follows at most: what glTF and its readers take


class Skeleton(NamedTuple):
    """Joints of a head, parents before their children."""

    names: tuple[str, ...]
    parent: tuple[int, ...]              # -1 of the root
    place: Float[np.ndarray, "J 3"]      # mm, head frame
    weight: Float[np.ndarray, "V J"]     # sums to 1; at most `INFLUENCES` are not 0
    gaze: Float[np.ndarray, "J 3"]       # rotation vectors, radians, of the fitted expression; 0 but for eyes
    driven: Bool[np.ndarray, " V"]       # vertices that joints alone move: no expression shape does

    def joint(self, name: str) -> int | None:
        """Index of a joint, None where there is none."""
        return self.names.index(name) if name in self.names else None


def head_skeleton(model: MorphableModel, parameters: FaceParameters) -> Skeleton:
    """The skeleton of a face at rest.

    Args:
        model: the head.
        parameters: identity places the joints, expression turns the eyes.
    """
    count = len(model.mean)
    if model.joints is not None:
        coefficients = jnp.concatenate([parameters.identity, jnp.zeros_like(parameters.expression)])
        joints = model.joints
        return Skeleton(joints.names, joints.parent, np.asarray(joint_places(joints, coefficients)),
                        _few(np.asarray(joints.skinning, np.float64)), np.zeros((len(joints.names), 3)), np.zeros(count, bool))
    neutral = np.asarray(shape(model, parameters.identity, jnp.zeros_like(parameters.expression)), np.float64)
    names, places, gaze = [HEAD], [np.array(PIVOT)], [np.zeros(3)]
    follows, driven = [np.zeros(count)], np.zeros(count, bool)
    jaw = _jaw(model, parameters, neutral)
    if jaw is not None:
        names.append(JAW)
        places.append(jaw[0])
        follows.append(jaw[1])
        gaze.append(np.zeros(3))
    for eye in eyeballs(model):
        names.append(eye.name)
        places.append(eye.centre(neutral))
        follows.append(np.isin(np.arange(count), eye.vertices).astype(float))
        gaze.append(eye.rotations(np.asarray(parameters.expression)[None])[0])
        driven[eye.vertices] = True
    weight = np.stack(follows, axis=1)
    weight[driven, 1:] = weight[driven, 1:] == 1
    weight[:, 0] = 1 - weight[:, 1:].sum(1)
    return Skeleton(tuple(names), (-1, *[0] * (len(names) - 1)), np.stack(places), weight, np.stack(gaze), driven)


def jaw_turn(model: MorphableModel, parameters: FaceParameters) -> tuple[Rotation, Float[np.ndarray, " 3"]] | None:
    """The rotation of the open jaw, `jawOpen` at 1, and a place on its axis, mm; None of a head that does not tell."""
    move = _opening(model, parameters)
    if move is None:
        return None
    neutral = np.asarray(shape(model, parameters.identity, jnp.zeros_like(parameters.expression)), np.float64)
    fixed = _fixed(model, move)
    before, after = neutral[fixed], neutral[fixed] + move[fixed]
    if np.linalg.matrix_rank(before - before.mean(0), tol=SPREAD) < 2:
        return None
    rotation, _ = Rotation.align_vectors(after - after.mean(0), before - before.mean(0))
    if rotation.magnitude() < LEAST_TURN:
        return None
    shift = after.mean(0) - rotation.apply(before.mean(0))
    # x = R x + shift holds along the axis; the least-norm solution lies in the head's middle
    return rotation, np.linalg.pinv(np.eye(3) - rotation.as_matrix(), rcond=1e-6) @ shift


def _jaw(
    model: MorphableModel, parameters: FaceParameters, neutral: Float[np.ndarray, "V 3"]
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " V"]] | None:
    """Place of the joint and how far each vertex follows it."""
    move, found = _opening(model, parameters), jaw_turn(model, parameters)
    if move is None or found is None:
        return None
    rotation, place = found
    carried = rotation.apply(neutral - place) + place - neutral
    follows = np.clip((move * carried).sum(1) / ((carried * carried).sum(1) + LEVER**2), 0, 1)
    if TEETH in model.part_names:
        follows[_fixed(model, move)] = 1.0
    return place, follows


def _opening(model: MorphableModel, parameters: FaceParameters) -> Float[np.ndarray, "V 3"] | None:
    """How `jawOpen` at 1 moves the vertices, mm."""
    rest = jnp.zeros_like(parameters.expression)
    if OPENS in model.expression_names:
        opened = rest.at[model.expression_names.index(OPENS)].set(1.0)
    elif OPENS in model.named_expressions and model.named is not None:
        opened = model.named[model.named_expressions.index(OPENS)]
    else:
        return None
    move = np.asarray(shape(model, parameters.identity, opened) - shape(model, parameters.identity, rest), np.float64)
    return move if np.any(move) else None


def _fixed(model: MorphableModel, move: Float[np.ndarray, "V 3"]) -> Bool[np.ndarray, " V"]:
    """Vertices that are fixed to the jaw."""
    if TEETH in model.part_names:
        own = np.asarray(model.triangles)[np.asarray(model.part) == model.part_names.index(TEETH)]
        teeth = np.isin(np.arange(len(move)), own)
        if np.any(move[teeth]):
            return teeth
    length = np.linalg.norm(move, axis=1)
    return length >= RIGID * length.max()


def _few(weight: Float[np.ndarray, "V J"]) -> Float[np.ndarray, "V J"]:
    """Weights of the `INFLUENCES` joints that a vertex follows most, summing to 1 again."""
    if weight.shape[1] > INFLUENCES:
        weight = np.where(weight >= np.sort(weight, axis=1)[:, -INFLUENCES, None], weight, 0.0)
    return weight / weight.sum(1, keepdims=True)


def influences(weight: Float[np.ndarray, "V J"]) -> tuple[np.ndarray, np.ndarray]:
    """Joints and weights [V, `INFLUENCES`], greatest first, as glTF and USD list them; 0 of weight is joint 0."""
    padded = np.pad(weight, ((0, 0), (0, max(0, INFLUENCES - weight.shape[1]))))
    order = np.argsort(-padded, axis=1, kind="stable")[:, :INFLUENCES]
    kept = np.take_along_axis(padded, order, axis=1)
    return np.where(kept > 0, order, 0).astype(np.uint8), (kept / kept.sum(1, keepdims=True)).astype(np.float32)

