"""One level of subdivision of a morphable head, bases, masks and tables included.

Every triangle becomes four. Old vertices stay where they are, so that everything checked on the coarse head holds on the fine
one; new ones lie at the middles of edges: shapes by the butterfly scheme (Dyn, Levin and Gregory 1990, tension 1/16), which is
linear in the vertices and therefore the same for the mean and every mode; colours, masks and texture coordinates halfway.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.spatial

from fitkit.types import MorphableModel, SurfacePoints

WING = 1 / 16           # tension of the butterfly (Dyn, Levin and Gregory 1990) and of the four-point rule on open edges


def subdivide(model: MorphableModel) -> MorphableModel:
    """The same head with V + E vertices and 4 F triangles; coefficients mean the same on both."""
    triangles = np.asarray(model.triangles)
    count = len(model.mean)
    edges, sides = edge_table(triangles)
    smooth, middle = butterfly_operator(triangles, edges, sides, count), midpoint_operator(edges, count)
    uv_edges, uv_sides = edge_table(np.asarray(model.uv_triangles))
    return dataclasses.replace(
        model,
        mean=_apply(smooth, model.mean),
        identity=_apply(smooth, model.identity),
        expression=_apply(smooth, model.expression),
        albedo_mean=_apply(middle, model.albedo_mean),
        albedo=_apply(middle, model.albedo),
        regions=_apply(middle, model.regions[..., None])[..., 0],
        triangles=jnp.asarray(split_triangles(triangles, sides, count), jnp.int32),
        uv=_apply(midpoint_operator(uv_edges, len(model.uv)), model.uv),
        uv_triangles=jnp.asarray(split_triangles(np.asarray(model.uv_triangles), uv_sides, len(model.uv)), jnp.int32),
        part=jnp.repeat(model.part, 4),
        mirror=jnp.asarray(_mirror(np.asarray(model.mirror), edges, np.asarray(model.mean)), jnp.int32),
        landmarks=_child_points(model.landmarks),
        contour=_child_points(model.contour),
        dense=_child_points(model.dense),
        joints=None if model.joints is None else dataclasses.replace(
            model.joints, skinning=_apply(middle, model.joints.skinning), correctives=_apply(smooth, model.joints.correctives)),
    )


def edge_table(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [E, 2], lower vertex first, and the edge [F, 3] that follows each corner of each triangle."""
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, index = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    return edges, index.reshape(-1, 3)


def split_triangles(triangles: np.ndarray, sides: np.ndarray, count: int) -> np.ndarray:
    """Four triangles [4 F, 3] for each: one at each corner, then the middle one."""
    (a, b, c), (ab, bc, ca) = triangles.T, sides.T + count
    children = [[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]]
    return np.array(children).transpose(2, 0, 1).reshape(-1, 3)


def midpoint_operator(edges: np.ndarray, count: int) -> scipy.sparse.csr_matrix:
    """Operator [V + E, V]: old vertices as they are, new ones halfway."""
    rows = np.repeat(np.arange(len(edges)), 2)
    middle = scipy.sparse.csr_matrix((np.full(rows.size, 0.5), (rows, edges.ravel())), (len(edges), count))
    return scipy.sparse.vstack([scipy.sparse.identity(count), middle]).tocsr()


def butterfly_operator(triangles: np.ndarray, edges: np.ndarray, sides: np.ndarray, count: int) -> scipy.sparse.csr_matrix:
    """Operator [V + E, V] of the butterfly scheme; the four-point rule on open edges, halfway where a wing is missing."""
    opposite = np.full((len(edges), 2), -1)                 # the third corner of the triangles on either side
    third = np.roll(triangles, -2, axis=1).ravel()
    order = np.argsort(sides.ravel(), kind="stable")
    first = np.r_[True, np.diff(sides.ravel()[order]) != 0]
    opposite[sides.ravel()[order], np.where(first, 0, 1)] = third[order]
    key = edges[:, 0].astype(np.int64) * count + edges[:, 1]
    wings = []
    for end in (0, 1):
        for side in (0, 1):
            pair = np.sort(np.stack([edges[:, end], opposite[:, side]], axis=1), axis=1)
            neighbour = np.minimum(np.searchsorted(key, pair[:, 0] * count + pair[:, 1]), len(key) - 1)
            across = opposite[neighbour]
            wings.append(np.where(across[:, 0] == edges[:, 1 - end], across[:, 1], across[:, 0]))
    wing = np.stack(wings, axis=1)
    whole = (opposite >= 0).all(axis=1)
    whole &= (wing >= 0).all(axis=1)
    stencil = np.concatenate([edges, opposite, wing], axis=1)[whole]
    weights = np.tile([0.5, 0.5, 2 * WING, 2 * WING, -WING, -WING, -WING, -WING], (len(stencil), 1))
    rows = [np.repeat(np.flatnonzero(whole), 8)]
    columns, values = [stencil.ravel()], [weights.ravel()]
    for index in np.flatnonzero(~whole).tolist():
        vertices, weight = _open_rule(edges, opposite, index)
        rows.append(np.full(len(vertices), index))
        columns.append(np.array(vertices))
        values.append(np.array(weight))
    new = scipy.sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (len(edges), count)
    )
    return scipy.sparse.vstack([scipy.sparse.identity(count), new]).tocsr()


def _open_rule(edges: np.ndarray, opposite: np.ndarray, index: int) -> tuple[list[int], list[float]]:
    """Vertices and weights of the new vertex on an edge at or near the boundary."""
    a, b = edges[index].tolist()
    if opposite[index, 1] >= 0:
        return [a, b], [0.5, 0.5]
    border = edges[opposite[:, 1] < 0]
    before, after = (
        [int(v) for edge in border[(border == end).any(axis=1)] for v in edge if v not in (a, b)] for end in (a, b)
    )
    if len(before) != 1 or len(after) != 1:
        return [a, b], [0.5, 0.5]
    return [a, b, before[0], after[0]], [0.5 + WING, 0.5 + WING, -WING, -WING]


def _apply(operator: scipy.sparse.csr_matrix, values: jnp.ndarray) -> jnp.ndarray:
    """Operator on the second-to-last axis of [..., V, D]."""
    array = np.moveaxis(np.asarray(values, np.float32), -2, 0)
    fine = operator.astype(np.float32) @ array.reshape(len(array), -1)
    return jnp.asarray(np.moveaxis(fine.reshape(-1, *array.shape[1:]), 0, -2))


def _child_points(points: SurfacePoints) -> SurfacePoints:
    """The same places on the children of their triangles."""
    weight = np.asarray(points.barycentric)
    corner = np.argmax(weight, axis=-1)
    near = np.take_along_axis(weight, corner[..., None], axis=-1) > 0.5
    rotated = np.take_along_axis(weight, (corner[..., None] + np.arange(3)) % 3, axis=-1)
    at_corner = rotated * [2, 2, 2] - [1, 0, 0]
    in_middle = 1 - 2 * weight[..., [2, 0, 1]]
    return SurfacePoints(
        triangle=jnp.asarray(4 * np.asarray(points.triangle) + np.where(near[..., 0], corner, 3), jnp.int32),
        barycentric=jnp.asarray(np.where(near, at_corner, in_middle), jnp.float32),
    )


def _mirror(mirror: np.ndarray, edges: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Mirrored vertex of old and new ones.

    Where quadrilaterals were cut along diagonals that do not mirror each other, an edge's mirror image is no edge: its middle goes
    with the nearest middle of an edge, as a rule that of the other diagonal.
    """
    count = len(mirror)
    key = edges[:, 0].astype(np.int64) * count + edges[:, 1]
    pair = np.sort(mirror[edges], axis=1)
    wanted = pair[:, 0].astype(np.int64) * count + pair[:, 1]
    found = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    alone = key[found] != wanted
    found[alone] = scipy.spatial.cKDTree(mean[edges].mean(axis=1)).query(mean[pair[alone]].mean(axis=1))[1]
    return np.concatenate([mirror, count + found])
