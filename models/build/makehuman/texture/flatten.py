"""Flattens a disk-like triangle mesh into a convex outline, without flipping a triangle, at a scale given for each vertex.

Tutte's embedding with mean value weights (Floater, "Mean value coordinates", 2003), then descent on the symmetric Dirichlet
energy (Smith and Schaefer, "Bijective parameterization with free boundaries", 2015) by L-BFGS that starts from the inverse of
a Laplacian. Holes are closed with a fan, which keeps the map one-to-one there too. Knows no head; NumPy and SciPy only.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

Precondition = Callable[[np.ndarray], np.ndarray]
Energy = Callable[[np.ndarray], tuple[float, np.ndarray]]

FACE_WEIGHT = 8.0           # how much more distortion counts at full scale than at the smallest
ITERATIONS = 500
MEMORY = 10


def flatten(
    triangles: np.ndarray,
    vertices: np.ndarray,
    border: np.ndarray,
    outline: np.ndarray,
    scale: np.ndarray,
    *,
    hole_scale: float,
    floor: float,
) -> np.ndarray:
    """Places [V, 2] of the vertices in the plane; vertices of no triangle stay at 0.

    Args:
        triangles: [F, 3], a disk with holes.
        vertices: [V, 3], mm.
        border: [B] vertices of the outer border, counter-clockwise.
        outline: [B, 2] where they go: a convex polygon.
        scale: [V] how large each place should come out, relative to the others.
        hole_scale: the same of the holes.
        floor: the smallest scale: where it is reached, distortion counts least.
    """
    count = len(vertices)
    for hole in borders(triangles):
        if set(hole) != set(border.tolist()):
            fan = [[b, a, len(vertices)] for a, b in zip(hole, hole[1:] + hole[:1], strict=True)]
            triangles = np.concatenate([triangles, fan])
            vertices = np.concatenate([vertices, vertices[hole].mean(axis=0, keepdims=True)])
            scale = np.append(scale, hole_scale)
    used, compact = np.unique(triangles, return_inverse=True)
    triangles = compact.reshape(-1, 3)
    border = np.searchsorted(used, border)
    start = _tutte(triangles, vertices[used], border, outline)
    result = np.zeros((len(vertices), 2))
    result[used] = _relax(triangles, vertices[used], border, start, scale[used][triangles].mean(axis=1), floor)
    return result[:count]


def borders(triangles: np.ndarray) -> list[list[int]]:
    """Closed border lines, each with the surface on its left."""
    edges = {(a, b) for t in triangles.tolist() for a, b in zip(t, t[1:] + t[:1], strict=True)}
    following = {a: b for a, b in sorted(edges) if (b, a) not in edges}
    lines = []
    while following:
        line = [min(following)]
        while (ahead := following.pop(line[-1])) != line[0]:
            line.append(ahead)
        lines.append(line)
    return lines


def _tutte(triangles: np.ndarray, vertices: np.ndarray, border: np.ndarray, outline: np.ndarray) -> np.ndarray:
    rows, columns, values = [], [], []
    for i, j, k in (np.roll(triangles, -c, axis=1).T for c in range(3)):
        u, v = vertices[j] - vertices[i], vertices[k] - vertices[i]
        lu, lv = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
        tangent = np.linalg.norm(np.cross(u, v), axis=1) / (lu * lv + (u * v).sum(axis=1) + 1e-9)    # of half the angle at i
        rows += [i, i]
        columns += [j, k]
        values += [tangent / lu, tangent / lv]
    laplacian = _laplacian(np.concatenate(rows), np.concatenate(columns), np.concatenate(values), len(vertices))
    inner = np.setdiff1d(np.arange(len(vertices)), border)
    place = np.zeros((len(vertices), 2))
    place[border] = outline
    place[inner] = scipy.sparse.linalg.spsolve(laplacian[inner][:, inner].tocsc(), -(laplacian[inner][:, border] @ outline))
    return place


def _laplacian(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, count: int) -> scipy.sparse.csr_matrix:
    weights = scipy.sparse.csr_matrix((values, (rows, columns)), (count, count))
    return scipy.sparse.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights


def _rest(triangles: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle laid flat: the inverse [F, 2, 2] of its edge matrix, and its area; slivers are thickened."""
    first, second = (vertices[triangles[:, k]] - vertices[triangles[:, 0]] for k in (1, 2))
    base = np.linalg.norm(first, axis=1)
    along = (first * second).sum(axis=1) / base
    height = np.maximum(np.linalg.norm(np.cross(first, second), axis=1) / base, 0.02 * base)
    zero = np.zeros_like(base)
    inverse = np.stack([1 / base, -along / (base * height), zero, 1 / height], axis=1).reshape(-1, 2, 2)
    return inverse, base * height / 2


def _relax(
    triangles: np.ndarray, vertices: np.ndarray, border: np.ndarray, place: np.ndarray, scale: np.ndarray, floor: float
) -> np.ndarray:
    inverse, area = _rest(triangles, vertices)
    edges = place[triangles[:, 1:]] - place[triangles[:, :1]]
    room = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2
    scale = scale * np.sqrt(room / (area * scale**2).sum())
    inverse = inverse / scale[:, None, None]
    relative = scale / scale.max()
    weight = area * relative**2 * (1 + FACE_WEIGHT * np.clip((relative - floor) / (1 - floor), 0, 1))
    weight /= weight.sum()
    solve = _preconditioner(triangles, vertices, border, weight / (area * scale**2))
    return _descend(place, lambda x: _energy(x, triangles, inverse, weight, border), solve)


def _energy(
    place: np.ndarray, triangles: np.ndarray, inverse: np.ndarray, weight: np.ndarray, border: np.ndarray
) -> tuple[float, np.ndarray]:
    """Sum of weight (|J|^2 + |J^-1|^2) and its gradient [V, 2]; infinite where a triangle is turned over."""
    edges = np.swapaxes(place[triangles[:, 1:]] - place[triangles[:, :1]], 1, 2)
    jacobian = edges @ inverse
    a, b, c, d = jacobian.reshape(-1, 4).T
    determinant = a * d - b * c
    if determinant.min() <= 0:
        return np.inf, np.zeros_like(place)
    square = (jacobian**2).sum(axis=(1, 2))
    cofactor = np.stack([d, -c, -b, a], axis=1).reshape(-1, 2, 2)
    slope = 2 * jacobian * (1 + determinant**-2)[:, None, None] - (2 * square * determinant**-3)[:, None, None] * cofactor
    corner = weight[:, None, None] * slope @ np.swapaxes(inverse, 1, 2)
    gradient = np.zeros_like(place)
    np.add.at(gradient, triangles[:, 1], corner[:, :, 0])
    np.add.at(gradient, triangles[:, 2], corner[:, :, 1])
    np.add.at(gradient, triangles[:, 0], -corner.sum(axis=2))
    gradient[border] = 0
    return float((weight * square * (1 + determinant**-2)).sum()), gradient


def _preconditioner(triangles: np.ndarray, vertices: np.ndarray, border: np.ndarray, weight: np.ndarray) -> Precondition:
    """A function that applies the inverse of the weighted cotangent Laplacian, zero on the border."""
    rows, columns, values = [], [], []
    for i, j, k in (np.roll(triangles, -c, axis=1).T for c in range(3)):
        u, v = vertices[j] - vertices[i], vertices[k] - vertices[i]
        cotangent = (u * v).sum(axis=1) / (np.linalg.norm(np.cross(u, v), axis=1) + 1e-6)
        rows += [j, k]
        columns += [k, j]
        values += [np.clip(cotangent, 0.05, 20) * weight] * 2
    laplacian = _laplacian(np.concatenate(rows), np.concatenate(columns), np.concatenate(values), len(vertices))
    inner = np.setdiff1d(np.arange(len(vertices)), border)
    factor = scipy.sparse.linalg.factorized(laplacian[inner][:, inner].tocsc())

    def apply(gradient: np.ndarray) -> np.ndarray:
        result = np.zeros_like(gradient)
        result[inner] = np.stack([factor(gradient[inner, k]) for k in range(2)], axis=1)
        return result

    return apply


def _descend(place: np.ndarray, energy: Energy, precondition: Precondition) -> np.ndarray:
    """L-BFGS (Nocedal and Wright, algorithm 7.4) with halving steps."""
    value, gradient = energy(place)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(ITERATIONS):
        direction = -_two_loops(gradient, pairs, precondition)
        slope = float((direction * gradient).sum())
        if slope >= 0:
            pairs, direction = [], -precondition(gradient)
            slope = float((direction * gradient).sum())
        step = 1.0
        while (trial := energy(place + step * direction))[0] > value + 1e-4 * step * slope and step > 1e-12:
            step /= 2
        if step <= 1e-12 or value - trial[0] < 1e-9 * value:
            break
        moved, bent = step * direction, trial[1] - gradient
        if (moved * bent).sum() > 0:
            pairs = [*pairs[-MEMORY + 1 :], (moved, bent)]
        place, value, gradient = place + moved, trial[0], trial[1]
    return place


def _two_loops(
    gradient: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]], precondition: Precondition
) -> np.ndarray:
    """The quasi-Newton direction from the last steps."""
    direction, factors = gradient.copy(), []
    for moved, bent in reversed(pairs):
        factors.append((moved * direction).sum() / (moved * bent).sum())
        direction = direction - factors[-1] * bent
    direction = precondition(direction)
    if pairs:
        moved, bent = pairs[-1]
        direction *= (moved * bent).sum() / (bent * precondition(bent)).sum()
    for (moved, bent), factor in zip(pairs, reversed(factors), strict=True):
        direction = direction + moved * (factor - (bent * direction).sum() / (moved * bent).sum())
    return direction
