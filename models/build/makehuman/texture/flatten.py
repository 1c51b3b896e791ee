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

# Chosen, not tuned
FACE_WEIGHT = 8.0           # additional weight of distortion at full scale, beside 1 at the smallest
ITERATIONS = 500            # of L-BFGS, at most
MEMORY = 10                 # steps that L-BFGS remembers
ARMIJO = 1e-4               # sufficient decrease of a step, in parts of the slope (Nocedal and Wright, equation 3.4)
SHORTEST_STEP = 1e-12       # below, the search along a direction gives up
CONVERGED = 1e-9            # relative decrease of the energy below which descent ends
SLIVER = 0.02               # least height of a triangle at rest, in parts of its base
COTANGENTS = (0.05, 20)     # bounds of the preconditioner's cotangents


def flatten(
    triangles: np.ndarray,
    vertices: np.ndarray,
    border: np.ndarray,
    outline: np.ndarray,
    scale: np.ndarray,
    *,
    hole_scale: float,
    smallest_scale: float,
) -> np.ndarray:
    """Places [V, 2] of the vertices in the plane; vertices of no triangle stay at 0.

    Args:
        triangles: [F, 3], a disk with holes.
        vertices: [V, 3], mm.
        border: [B] vertices of the outer border, counter-clockwise.
        outline: [B, 2] where they go: a convex polygon.
        scale: [V] wanted scale at each vertex, relative to the others.
        hole_scale: the same in the holes.
        smallest_scale: the scale at which distortion counts least.
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
    result[used] = _relax(triangles, vertices[used], border, start, scale[used][triangles].mean(axis=1), smallest_scale)
    return result[:count]


def borders(triangles: np.ndarray) -> list[list[int]]:
    """Closed border lines (lists of vertices), each with the surface on its left."""
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
    """Places [V, 2] in which every inner vertex is a mean value combination of its neighbours."""
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
    """Triangles in their own planes: inverses [F, 2, 2] of their edge matrices, and areas [F], mm^2; slivers are thickened."""
    first, second = (vertices[triangles[:, k]] - vertices[triangles[:, 0]] for k in (1, 2))
    base = np.linalg.norm(first, axis=1)
    along = (first * second).sum(axis=1) / base
    height = np.maximum(np.linalg.norm(np.cross(first, second), axis=1) / base, SLIVER * base)
    zero = np.zeros_like(base)
    inverse = np.stack([1 / base, -along / (base * height), zero, 1 / height], axis=1).reshape(-1, 2, 2)
    return inverse, base * height / 2


def _relax(
    triangles: np.ndarray, vertices: np.ndarray, border: np.ndarray, place: np.ndarray, scale: np.ndarray, smallest_scale: float
) -> np.ndarray:
    """Places [V, 2] that minimise the symmetric Dirichlet energy against the wanted scales [F], starting from `place`."""
    inverse, area = _rest(triangles, vertices)
    edges = place[triangles[:, 1:]] - place[triangles[:, :1]]
    plane_area = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2
    scale = scale * np.sqrt(plane_area / (area * scale**2).sum())
    inverse = inverse / scale[:, None, None]
    relative = scale / scale.max()
    weight = area * relative**2 * (1 + FACE_WEIGHT * np.clip((relative - smallest_scale) / (1 - smallest_scale), 0, 1))
    weight /= weight.sum()
    solve = _preconditioner(triangles, vertices, border, weight / (area * scale**2))
    return _descend(place, lambda x: _energy(x, triangles, inverse, weight, border), solve)


def _energy(
    place: np.ndarray, triangles: np.ndarray, inverse: np.ndarray, weight: np.ndarray, border: np.ndarray
) -> tuple[float, np.ndarray]:
    """Sum of weight (|J|^2 + |J^-1|^2) and its gradient [V, 2]; infinite where a triangle is flipped."""
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
        values += [np.clip(cotangent, *COTANGENTS) * weight] * 2
    laplacian = _laplacian(np.concatenate(rows), np.concatenate(columns), np.concatenate(values), len(vertices))
    inner = np.setdiff1d(np.arange(len(vertices)), border)
    factor = scipy.sparse.linalg.factorized(laplacian[inner][:, inner].tocsc())

    def apply(gradient: np.ndarray) -> np.ndarray:
        result = np.zeros_like(gradient)
        result[inner] = np.stack([factor(gradient[inner, k]) for k in range(2)], axis=1)
        return result

    return apply


def _descend(place: np.ndarray, energy: Energy, precondition: Precondition) -> np.ndarray:
    """Minimise by L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5), halving steps that do not descend."""
    value, gradient = energy(place)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(ITERATIONS):
        direction = -_two_loops(gradient, pairs, precondition)
        slope = float((direction * gradient).sum())
        if slope >= 0:
            pairs, direction = [], -precondition(gradient)
            slope = float((direction * gradient).sum())
        step = 1.0
        while (trial := energy(place + step * direction))[0] > value + ARMIJO * step * slope and step > SHORTEST_STEP:
            step /= 2
        if step <= SHORTEST_STEP or value - trial[0] < CONVERGED * value:
            break
        moved, change = step * direction, trial[1] - gradient
        if (moved * change).sum() > 0:
            pairs = [*pairs[-MEMORY + 1 :], (moved, change)]
        place, value, gradient = place + moved, trial[0], trial[1]
    return place


def _two_loops(
    gradient: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]], precondition: Precondition
) -> np.ndarray:
    """The quasi-Newton direction from the last steps: pairs of step and change of the gradient (algorithm 7.4)."""
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
