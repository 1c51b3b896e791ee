"""Registers the embedded head to the surface of another: similarity and modes first, then a displacement of every vertex.

Non-rigid registration in two steps (Amberg et al. 2007, "Optimal Step Nonrigid ICP Algorithms for Surface Registration"): the
head's own modes bring it near, then each skin vertex moves under a Laplacian penalty that decreases. Points that are known to
correspond guide both.
In NumPy and float64, run once a head. Used by the import of heads and by `models.build.ict`.
"""

import dataclasses

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import scipy.spatial

from fitkit.morphable.regions import triangles_of_part
from fitkit.types import MorphableModel

# Chosen, not tuned
MODES = 60                  # identity modes used; the finer ones only follow noise here
TANGENT_WEIGHT = 0.03       # of the squared tangential distance, beside that along the normal
LINE_WEIGHT = 3.0           # of the points of lines; of all of them together in `fit_modes`
STEPS, PRIOR = 12, 0.01     # Gauss-Newton steps over the modes; weight of their squared coefficients
STIFFNESS = np.geomspace(30.0, 0.03, 12)    # weight of the squared Laplacian of the displacement, step by step
RIDGE = 1e-6                # added to the diagonal of that system
NORMAL_SCALE = 12.0         # mm: half of what opposite normals count for in the search for nearest points: lips must meet lips
MIN_COSINE = 0.5            # least cosine between the normals of points that correspond
FULL_COSINE = 0.3           # above MIN_COSINE, at which a correspondence has full weight in the table
NEAR = 6.0                  # mm between the surfaces at which a vertex is pulled half as much
GAP_SCALE = 1.0             # mm between the surfaces at which the weight of a correspondence is 1/e
EAR_WEIGHT = 0.1            # of ears: their folds do not correspond
SOCKET = 12.0               # mm from an eyeball within which skin outside all masks is hidden in the socket
IN_MASK, IN_LIPS = 0.05, 0.95   # mask values above which a vertex is inside a region, and wholly in the lips


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface:
    """A triangle mesh to find nearest points on."""

    vertices: np.ndarray        # [V, 3] mm
    triangles: np.ndarray       # [F, 3]
    allowed: np.ndarray         # [n] triangles on which points may lie


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnchorPoints:
    """Points of our head that are known to correspond: three vertices each and barycentric coordinates."""

    corners: np.ndarray         # [n, 3] vertices
    barycentric: np.ndarray     # [n, 3]

    def matrix(self, count: int) -> scipy.sparse.csr_matrix:
        """[n, V]: takes the head's `count` vertices to the points."""
        rows = np.repeat(np.arange(len(self.corners)), 3)
        return scipy.sparse.csr_matrix((self.barycentric.ravel(), (rows, self.corners.ravel())), (len(self.corners), count))


def normals_of(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit vertex normals [V, 3], weighted by area; 0 where no triangle is."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, triangles[:, k], cross)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def nearest(
    points: np.ndarray, normals: np.ndarray | None, surface: Surface, *, near: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest point of a surface to each of `points` [n, 3]: triangle [n], barycentric [n, 3], cosine between the normals [n].

    Candidates are the triangles round the `near` nearest vertices, by position and, where `normals` [n, 3] are given, by normal.
    """
    corners = surface.triangles[surface.allowed]
    own = normals_of(surface.vertices, corners)
    used = np.unique(corners)
    reach = NORMAL_SCALE if normals is not None else 0.0
    direction = np.zeros_like(points) if normals is None else normals
    tree = scipy.spatial.cKDTree(np.hstack([surface.vertices[used], reach * own[used]]))
    rank = used[tree.query(np.hstack([points, reach * direction]), k=near)[1]]
    entries = np.ones(corners.size, bool), (corners.ravel(), np.repeat(np.arange(len(corners)), 3))
    around = scipy.sparse.csr_matrix(entries, (len(surface.vertices), len(corners)))
    valence = np.diff(around.indptr)
    column = np.minimum(np.arange(valence.max()), valence[rank][..., None] - 1)
    candidates = around.indices[around.indptr[rank][..., None] + column].reshape(len(points), -1)
    share = project(points[:, None], surface.vertices[corners[candidates]])
    foot = np.einsum("nkc,nkcd->nkd", share, surface.vertices[corners[candidates]])
    cosine = np.einsum("nkd,nd->nk", np.einsum("nkc,nkcd->nkd", share, own[corners[candidates]]), direction)
    distance = np.linalg.norm(foot - points[:, None], axis=2) + reach * np.where(cosine < MIN_COSINE, 1.0, 0.0)
    best = distance.argmin(axis=1)
    rows = np.arange(len(points))
    return surface.allowed[candidates[rows, best]], share[rows, best], cosine[rows, best]


def project(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [..., 3] of the nearest point of each triangle [..., 3, 3]: in its plane, else on an edge."""
    sides = np.roll(corners, -1, axis=-2) - corners
    offset = points[..., None, :] - corners
    along = np.clip((offset * sides).sum(-1) / np.maximum((sides * sides).sum(-1), 1e-12), 0, 1)
    edge = np.linalg.norm(offset - along[..., None] * sides, axis=-1).argmin(axis=-1)[..., None]
    share = np.take_along_axis(along, edge, -1)
    on_edge = np.zeros(np.broadcast_shapes(points.shape, corners.shape[:-1]))
    np.put_along_axis(on_edge, edge, 1 - share, -1)
    np.put_along_axis(on_edge, (edge + 1) % 3, share, -1)
    u, v, w = sides[..., 0, :], -sides[..., 2, :], offset[..., 0, :]
    uu, uv, vv, wu, wv = ((a * b).sum(-1) for a, b in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    determinant = np.maximum(uu * vv - uv * uv, 1e-12)
    second, third = (vv * wu - uv * wv) / determinant, (uu * wv - uv * wu) / determinant
    inside = np.stack([1 - second - third, second, third], axis=-1)
    return np.where((inside >= 0).all(-1, keepdims=True), inside, on_edge)


def points_on(surface: Surface, triangle: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """Points [n, 3], mm, of `barycentric` [n, 3] in triangles [n]."""
    return np.einsum("nk,nkd->nd", barycentric, surface.vertices[surface.triangles[triangle]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """4x4 similarity that takes `source` [n, 3] to `target` [n, 3] with least squared error (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    matrix = np.eye(4)
    matrix[:3, :3] = (u @ flip @ vt) * (np.trace(np.diag(s) @ flip) / (a**2).sum())
    matrix[:3, 3] = target.mean(0) - matrix[:3, :3] @ source.mean(0)
    return matrix


def fit_modes(
    model: MorphableModel, skin: np.ndarray, weights: np.ndarray, target: Surface, anchors: tuple[AnchorPoints, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The whole head [V, 3] in the target's frame, mm, by similarity and modes, and the similarity [4, 4].

    Args:
        model: the embedded head.
        skin: [F, 3] triangles that are registered to the target.
        weights: [V] of the distance of each vertex to the surface.
        target: its skin.
        anchors: points on our head, and where they belong [n, 3].
    """
    mean = np.asarray(model.mean, float)
    basis = np.concatenate([np.asarray(model.identity[:MODES]), np.asarray(model.expression)]).astype(float)
    scale = np.append(np.ones(MODES), np.asarray(model.expression_scale))
    columns = (basis * scale[:, None, None]).transpose(1, 2, 0)                              # [V, 3, K]
    matrix, used = anchors[0].matrix(len(mean)), np.flatnonzero(weights > 0)
    guide = (matrix @ columns.reshape(len(mean), -1)).reshape(-1, 3, columns.shape[2])
    coefficients = np.zeros(columns.shape[2])
    for _ in range(STEPS):
        shape = mean + columns @ coefficients
        placing = similarity(matrix @ shape, anchors[1])
        rotation = placing[:3, :3]
        world = shape @ rotation.T + placing[:3, 3]
        foot, normal, agree = _correspondences(world, skin, target, used)
        weight = weights[used] * agree / len(used)
        metric = (normal[:, :, None] * normal[:, None] + TANGENT_WEIGHT * np.eye(3)) * np.sqrt(weight)[:, None, None]
        rows = np.concatenate([(metric @ rotation @ columns[used]).reshape(-1, len(scale)),
                               np.sqrt(LINE_WEIGHT / len(guide)) * (rotation @ guide).reshape(-1, len(scale))])
        residual = np.concatenate([(metric @ (world[used] - foot)[..., None]).ravel(),
                                   np.sqrt(LINE_WEIGHT / len(guide)) * (matrix @ world - anchors[1]).ravel()])
        update = np.linalg.solve(rows.T @ rows + PRIOR * np.eye(len(scale)), rows.T @ residual + PRIOR * coefficients)
        coefficients = coefficients - update
    shape = mean + columns @ coefficients
    placing = similarity(matrix @ shape, anchors[1])
    return shape @ placing[:3, :3].T + placing[:3, 3], placing


def displace(
    world: np.ndarray, skin: np.ndarray, weights: np.ndarray, target: Surface, anchors: tuple[AnchorPoints, np.ndarray], *,
    anchor_weight: float = LINE_WEIGHT,
) -> np.ndarray:
    """The head `world` [V, 3], mm, displaced onto the target under a Laplacian penalty that decreases from step to step.

    The other arguments are those of `fit_modes`; `anchor_weight`: of each anchor's squared distance, beside a vertex's.
    """
    count = len(world)
    laplacian = scipy.sparse.kron(_laplacian(skin, count), scipy.sparse.eye(3)).tocsr()
    bending = (laplacian.T @ laplacian).tocsc()
    guide = scipy.sparse.kron(anchors[0].matrix(count), scipy.sparse.eye(3)).tocsr()
    used = np.flatnonzero(weights > 0)
    pick = scipy.sparse.eye(3 * count, format="csr")[(3 * used[:, None] + np.arange(3)).ravel()]
    start, moved = world, world
    for stiffness in STIFFNESS:
        foot, normal, agree = _correspondences(moved, skin, target, used)
        metric = (normal[:, :, None] * normal[:, None] + TANGENT_WEIGHT * np.eye(3)) * (weights[used] * agree)[:, None, None]
        pull = scipy.sparse.block_diag(metric, "csr")
        system = stiffness * bending + pick.T @ pull @ pick + anchor_weight * guide.T @ guide + RIDGE * scipy.sparse.eye(3 * count)
        right = pick.T @ (pull @ (foot - start[used]).ravel())
        right = right + anchor_weight * guide.T @ (anchors[1].ravel() - guide @ start.ravel())
        moved = start + scipy.sparse.linalg.spsolve(system.tocsc(), right).reshape(count, 3)
    return moved


def _correspondences(
    world: np.ndarray, skin: np.ndarray, target: Surface, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the vertices `used`: nearest point of the target [n, 3], the normal there [n, 3], and a weight [n] in [0, 1]."""
    own = normals_of(world, skin)[used]
    triangle, share, cosine = nearest(world[used], own, target)
    foot = points_on(target, triangle, share)
    there = normals_of(target.vertices, target.triangles[target.allowed])[target.triangles[triangle]]
    normal = np.einsum("nk,nkd->nd", share, there)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    gap = np.linalg.norm(foot - world[used], axis=1)
    return foot, normal, np.clip(2 * (cosine - MIN_COSINE), 0, 1) / (1 + (gap / NEAR) ** 2)


def _laplacian(triangles: np.ndarray, count: int) -> scipy.sparse.csr_matrix:
    """Uniform graph Laplacian [V, V]: a vertex less the mean of its neighbours."""
    first, second = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    links = scipy.sparse.csr_matrix((np.ones(first.size), (first, second)), (count, count))
    links = ((links + links.T) > 0).astype(float)
    degree = np.asarray(links.sum(1)).ravel()
    return scipy.sparse.diags((degree > 0).astype(float)) - scipy.sparse.diags(1 / np.maximum(degree, 1)) @ links


def vertex_weights(model: MorphableModel) -> np.ndarray:
    """Weight [V] in [0, 1] of each vertex of the embedded head in registration: visible skin; 0 behind lids and lips."""
    masks = dict(zip(model.region_names, np.asarray(model.regions, float), strict=True))
    triangles, mean = np.asarray(model.triangles), np.asarray(model.mean)
    skin = np.zeros(len(mean))
    skin[triangles[np.asarray(triangles_of_part(model, "skin"))]] = 1
    named = np.max([masks[name] for name in ("face_skin", "lips", "ears", "neck", "scalp", "nostrils")], axis=0)
    eyes = mean[np.unique(triangles[np.any([triangles_of_part(model, f"eye_{side}") for side in ("left", "right")], axis=0)])]
    by_eye = scipy.spatial.cKDTree(eyes).query(mean)[0] < SOCKET
    hidden = (by_eye & (named < IN_MASK)) | ((masks["lips"] > IN_LIPS) & (masks["fit_skin"] < IN_MASK))
    return skin * ~hidden * (1 - (1 - EAR_WEIGHT) * masks["ears"])


def places_on(points: np.ndarray, normals: np.ndarray, surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest points of a surface: triangles [n], barycentrics [n, 3], and weights [n], 1 where surfaces and normals coincide."""
    triangle, share, cosine = nearest(points, normals, surface)
    gap = np.linalg.norm(points_on(surface, triangle, share) - points, axis=1)
    return triangle, share, np.exp(-((gap / GAP_SCALE) ** 2)) * np.clip((cosine - MIN_COSINE) / FULL_COSINE, 0, 1)
