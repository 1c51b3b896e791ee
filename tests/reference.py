"""Slow NumPy oracles in float64 and 64-bit integers, written from the definitions; each kernel is held to one of them."""

import numpy as np


def visible_triangles(pixels, depth, triangles, *, height, width, cull=True, perspective=True, farthest=2.0**19):
    """(ids [H, W], depth [H, W]) by testing every pixel centre against every triangle, one triangle at a time.

    Positions are snapped to 1/256 px, sides are integers; a centre on a side belongs to the triangle whose interior lies below it,
    or to the right of it where the side is vertical. Nearest wins, lowest index on a tie.
    """
    pixels, depth = np.asarray(pixels, np.float64), np.asarray(depth, np.float64)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(depth) & (np.abs(pixels) <= farthest).all(1) & ((depth > 0) | (not perspective))
    grid = np.rint(np.where(usable[:, None], pixels, 0.0) * 256).astype(np.int64)
    row, column = np.mgrid[:height, :width] * 256 + 128
    ids, nearest = np.full((height, width), -1), np.full((height, width), np.inf)
    for index, triangle in enumerate(np.asarray(triangles)):
        if not usable[triangle].all():
            continue
        # In one order whatever the order of the corners, so that copies of a triangle tie exactly.
        order = np.lexsort((grid[triangle, 0], grid[triangle, 1]))
        corners, z, parity = grid[triangle[order]], depth[triangle[order]], np.linalg.det(np.eye(3)[order])
        area = _cross(corners[1] - corners[0], corners[2] - corners[0])
        if area == 0 or (cull and area * parity > 0):
            continue
        inside, weights = np.ones((height, width), bool), []
        for start, end in ((1, 2), (2, 0), (0, 1)):
            x, y = corners[end] - corners[start]
            side = (x * (row - corners[start][1]) - y * (column - corners[start][0])) * np.sign(area)
            owns = (y * np.sign(area) > 0) or (y == 0 and x * np.sign(area) < 0)
            inside &= (side >= 0) if owns else (side > 0)
            weights.append(side / abs(area))
        with np.errstate(divide="ignore"):
            here = 1 / sum(weights[i] / z[i] for i in range(3)) if perspective else sum(weights[i] * z[i] for i in range(3))
        closer = inside & (here < nearest)
        ids[closer], nearest[closer] = index, here[closer]
    return ids, np.where(ids >= 0, nearest, 0.0)


def barycentric(point, corners, depth=None):
    """Weights of a 2-D point in a triangle by ratios of areas; perspective-correct where the corners' depth is given."""
    a, b, c = corners
    weights = np.array([_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)])
    weights = weights / _cross(b - a, c - a)
    if depth is None:
        return weights
    return (weights / depth) / (weights / depth).sum()


def interpolate(ids, pixels, depth, triangles, values, *, perspective=True):
    """Values [H, W, C] at pixel centres, one pixel at a time."""
    out = np.zeros((*ids.shape, values.shape[1]))
    for row, column in np.argwhere(ids >= 0):
        corner = triangles[ids[row, column]]
        point = np.array([column + 0.5, row + 0.5])
        out[row, column] = barycentric(point, pixels[corner], depth[corner] if perspective else None) @ values[corner]
    return out


def vertex_normals(vertices, triangles):
    """Area-weighted unit vertex normals, one triangle at a time."""
    total = np.zeros_like(vertices)
    for a, b, c in triangles:
        total[[a, b, c]] += np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0)


def bilinear(texture, u, v):
    """One bilinear sample: v up, texel centres at (i + 0.5) / size, edges repeated."""
    height, width = texture.shape[:2]
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for yi, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for xi, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            total = total + wx * wy * texture[np.clip(yi, 0, height - 1), np.clip(xi, 0, width - 1)]
    return total


def central_difference(function, x, *, step=1e-6):
    """Gradient of a scalar function of an array, one coordinate at a time."""
    x = np.asarray(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (float(function(up)) - float(function(down))) / (2 * step)
    return gradient


def _cross(u, v):
    return u[0] * v[1] - u[1] * v[0]
