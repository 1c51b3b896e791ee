"""Linear blend skinning: a head whose jaw, neck and eyes turn about joints (Li et al. 2017, FLAME, Eqs. 2 to 5).

The rest shape, with identity, expression and the correctives of the pose, is taken along by the joints:

    vertex = sum over joints of weight * (rotation of the joint @ (rest - joint) + where the joint has gone)

In: `Joints`, which `MorphableModel.joints` carries. Every joint turns by what the expression coefficients say, so that all that
moves a face stays one vector. Differentiable at rest, too. Used by `model.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.vectors import rotation_from_vector
from fitkit.types import Joints


def joint_angles(joints: Joints, expression: Float[Array, " E"]) -> Float[Array, "J 3"]:
    """Rotation vector of each joint about its parent, radians."""
    return jnp.tensordot(expression, joints.rotation, axes=1, precision="highest")


def joint_places(joints: Joints, coefficients: Float[Array, " K"]) -> Float[Array, "J 3"]:
    """Places of the joints at rest, mm; `coefficients`: identity, then expression."""
    return joints.place + jnp.tensordot(coefficients, joints.basis, axes=1, precision="highest")


def pose_correctives(joints: Joints, turns: Float[Array, "J 3 3"]) -> Float[Array, "V 3"]:
    """Corrections of the rest shape, mm: linear in the entries of the rotations less those of rest."""
    entries = (turns - jnp.eye(3, dtype=turns.dtype)).ravel()
    flat = joints.correctives.reshape(len(entries), -1)
    return jnp.dot(entries, flat, precision="highest").reshape(joints.correctives.shape[2:])


def skinned(
    joints: Joints, rest: Float[Array, "V 3"], places: Float[Array, "J 3"], angles: Float[Array, "J 3"]
) -> Float[Array, "V 3"]:
    """The bent head, mm.

    Args:
        joints: of the head.
        rest: vertices before the joints turn, without correctives, mm.
        places: of the joints at rest, mm.
        angles: rotation vector of each joint about its parent, radians.
    """
    turns = jax.vmap(rotation_from_vector)(angles)
    world, shift = _chain(joints, places, turns)
    matrix, offset = _blended(joints, world, shift)
    return _applied(matrix, rest + pose_correctives(joints, turns)) + offset


def skinned_derivatives(
    joints: Joints, rest: Float[Array, "V 3"], basis: Float[Array, "K V 3"], places: Float[Array, "J 3"],
    angles: Float[Array, "J 3"],
) -> Float[Array, "K V 3"]:
    """How the bent head moves with identity and expression coefficients, mm per unit; `basis`: of the rest shape.

    The other arguments are those of `skinned`.
    """
    turns = jax.vmap(rotation_from_vector)(angles)
    world, shift = _chain(joints, places, turns)
    matrix, _ = _blended(joints, world, shift)
    moved = jnp.einsum("vij,kvj->kvi", matrix, basis, precision="highest")
    # joints that move with the shape take along what follows them: the shift is linear in their places
    along = jax.vmap(lambda at: _blended(joints, world, _chain(joints, at, turns)[1])[1])(joints.basis)
    units = jnp.eye(angles.size, dtype=angles.dtype).reshape(-1, *angles.shape)
    by_angle = jax.vmap(lambda unit: jax.jvp(lambda a: skinned(joints, rest, places, a), (angles,), (unit,))[1])(units)
    turned = jnp.tensordot(joints.rotation.reshape(len(joints.rotation), -1), by_angle, axes=1, precision="highest")
    first = len(basis) - len(turned)
    return (moved + along).at[first:].add(turned)


def _chain(
    joints: Joints, places: Float[Array, "J 3"], turns: Float[Array, "J 3 3"]
) -> tuple[Float[Array, "J 3 3"], Float[Array, "J 3"]]:
    # Of each joint: its rotation in the world, and the shift with it: x -> rotation @ x + shift.
    world: list[Array] = []
    gone: list[Array] = []
    for joint, parent in enumerate(joints.parent):
        if parent < 0:
            world.append(turns[joint])
            gone.append(places[joint])
        else:
            world.append(jnp.dot(world[parent], turns[joint], precision="highest"))
            gone.append(gone[parent] + jnp.dot(world[parent], places[joint] - places[parent], precision="highest"))
    rotation = jnp.stack(world)
    return rotation, jnp.stack(gone) - _applied(rotation, places)


def _blended(
    joints: Joints, world: Float[Array, "J 3 3"], shift: Float[Array, "J 3"]
) -> tuple[Float[Array, "V 3 3"], Float[Array, "V 3"]]:
    matrix = jnp.dot(joints.skinning, world.reshape(-1, 9), precision="highest").reshape(-1, 3, 3)
    return matrix, jnp.dot(joints.skinning, shift, precision="highest")


def _applied(matrices: Float[Array, "n 3 3"], points: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    return sum((matrices[..., i] * points[:, i, None] for i in range(3)), jnp.zeros(()))
