"""Registers the embedded head to ICT-FaceKit's neutral head and writes the correspondence, `weights/ict_registration.safetensors`.

    python -m fitkit.models.build.ict.registration ICT [--out FILE]

Takes the folder or archive of ICT-FaceKit (MIT) and the shipped head. Non-rigid registration in two steps (Amberg et al. 2007,
"Optimal Step Nonrigid ICP Algorithms for Surface Registration"): similarity and the head's own modes first, then a displacement of
every skin vertex under a Laplacian penalty. Lines of lids, lips and nose are matched as such, the rest to the nearest surface. Run
by hand when the topology of the embedded head or its points change; `fitkit.models.heads.ict.registration` reads the table.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
import safetensors.numpy
import scipy.sparse
import scipy.sparse.linalg
import scipy.spatial

from fitkit.models.build.ict.lines import LinePoints, lines
from fitkit.models.heads import ict_source, makehuman
from fitkit.models.heads.ict import FACE_TRIANGLES, PAINTED, REGISTRATION, SKIN, shares, topology
from fitkit.models.heads.ict_source import IctArrays
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.types import MorphableModel, SurfacePoints

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
    model: MorphableModel, skin: np.ndarray, weights: np.ndarray, target: Surface, anchors: tuple[LinePoints, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The whole head [V, 3] in ICT's frame, mm, by similarity and modes, and the similarity [4, 4].

    Args:
        model: the embedded head.
        skin: [F, 3] triangles that are registered to the target.
        weights: [V] of the distance of each vertex to the surface.
        target: ICT's skin.
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
    world: np.ndarray, skin: np.ndarray, weights: np.ndarray, target: Surface, anchors: tuple[LinePoints, np.ndarray]
) -> np.ndarray:
    """The head `world` [V, 3], mm, displaced onto the target under a Laplacian penalty that decreases from step to step.

    The other arguments are those of `fit_modes`.
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
        system = stiffness * bending + pick.T @ pull @ pick + LINE_WEIGHT * guide.T @ guide + RIDGE * scipy.sparse.eye(3 * count)
        right = pick.T @ (pull @ (foot - start[used]).ravel())
        right = right + LINE_WEIGHT * guide.T @ (anchors[1].ravel() - guide @ start.ravel())
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


def register(model: MorphableModel, ict: IctArrays) -> tuple[np.ndarray, np.ndarray]:
    """The embedded head [V, 3] registered to ICT's neutral head, mm, and the same by similarity and modes alone [V, 3]."""
    skin = np.asarray(model.triangles)[np.asarray(triangles_of_part(model, "skin"))]
    weights, anchors = vertex_weights(model), lines(model, ict)
    target = _skin_of(ict)
    by_modes = fit_modes(model, skin, weights, target, anchors)[0]
    registered = displace(by_modes, skin, weights, target, anchors)
    mirror = np.asarray(model.mirror)
    return (registered + registered[mirror] * [-1, 1, 1]) / 2, by_modes


def table(model: MorphableModel, ict: IctArrays, registered: np.ndarray, by_modes: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of the weight file, see `fitkit.models.heads.ict.Registration`, from the two heads of `register`."""
    triangles = np.asarray(model.triangles)
    weights = vertex_weights(model)
    skin = np.flatnonzero(triangles_of_part(model, "skin"))
    ours = Surface(vertices=registered, triangles=triangles, allowed=skin[(weights[triangles[skin]] > 0).all(1)])
    theirs = _skin_of(ict)
    ears = np.asarray(region_mask(model, "ears"))
    to_ict = _places(registered, normals_of(registered, triangles[skin]), theirs)
    seen = np.zeros(len(registered))
    seen[triangles[ours.allowed]] = 1
    to_weight = to_ict[2] * seen * (1 - np.clip(2 * ears, 0, 1))
    neutral = ict.neutral.astype(float)
    from_ict = _places(neutral, normals_of(neutral, ict.triangles[theirs.allowed]), ours)
    own_ears = (ears[triangles[from_ict[0]]] * from_ict[1]).sum(1)
    from_weight = from_ict[2] * (1 - np.clip(2 * own_ears, 0, 1)) * np.isin(np.arange(len(neutral)), ict.triangles[theirs.allowed])
    for group, source, names in PAINTED:
        from_ict[0][group], from_ict[1][group] = _colour_places(model, ict, by_modes, group, source, names)
        from_weight[group] = 0
    result = {**_packed("to_ict", *to_ict[:2]), "to_ict_weight": _byte(to_weight),
              **_packed("from_ict", *from_ict[:2]), "from_ict_weight": _byte(from_weight)}
    face = dataclasses.replace(theirs, allowed=np.arange(FACE_TRIANGLES))
    normals = normals_of(registered, triangles[skin])
    for name in ("contour", "dense"):
        spots: SurfacePoints = getattr(model, name)
        corners, share = triangles[np.asarray(spots.triangle)], np.asarray(spots.barycentric, float)
        where, direction = (np.einsum("...k,...kd->...d", share, values[corners]) for values in (registered, normals))
        triangle, barycentric, _ = nearest(where.reshape(-1, 3), direction.reshape(-1, 3), face)
        result |= _packed(name, triangle.reshape(where.shape[:-1]), barycentric.reshape(where.shape))
    return result


def _skin_of(ict: IctArrays) -> Surface:
    allowed = np.flatnonzero((ict.triangles < SKIN).all(axis=1))
    return Surface(vertices=ict.neutral.astype(float), triangles=ict.triangles, allowed=allowed)


def _places(points: np.ndarray, normals: np.ndarray, surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest points of a surface: triangles [n], barycentrics [n, 3], and weights [n], 1 where surfaces and normals coincide."""
    triangle, share, cosine = nearest(points, normals, surface)
    gap = np.linalg.norm(points_on(surface, triangle, share) - points, axis=1)
    return triangle, share, np.exp(-((gap / GAP_SCALE) ** 2)) * np.clip((cosine - MIN_COSINE) / FULL_COSINE, 0, 1)


def _colour_places(
    model: MorphableModel, ict: IctArrays, by_modes: np.ndarray, group: slice, source: slice, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles and barycentrics from which ICT's hidden parts take colours: eyeballs by direction, others by nearest point."""
    triangles = np.asarray(model.triangles)
    allowed = np.flatnonzero(np.any([triangles_of_part(model, name) for name in names], axis=0))
    points, vertices = ict.neutral[group].astype(float), by_modes
    if names[0].startswith("eye"):
        mean = np.asarray(model.mean, float)
        used = np.unique(triangles[allowed])
        ball, eye = _centre(mean[used]), _centre(ict.neutral[source].astype(float))
        darkest = used[np.asarray(model.albedo_mean)[used].sum(1).argmin()]
        vertices = (mean - ball) / np.linalg.norm(mean - ball, axis=1, keepdims=True)
        outer = ict.neutral[source].astype(float) - eye
        points = (points - eye) / np.linalg.norm(points - eye, axis=1, keepdims=True)
        points = points @ _rotation_between(outer[outer[:, 2].argmax()], vertices[darkest]).T
    return nearest(points, None, Surface(vertices=vertices, triangles=triangles, allowed=allowed))[:2]


def _centre(points: np.ndarray) -> np.ndarray:
    """Centre of the sphere through the back half of an eyeball: the cornea stands out of it."""
    back = points[points[:, 2] < points[:, 2].mean()]
    design = np.hstack([2 * back, np.ones((len(back), 1))])
    return np.linalg.lstsq(design, (back**2).sum(1), rcond=None)[0][:3]


def _rotation_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest rotation [3, 3] that takes one direction to another."""
    axis = np.cross(first, second) / (np.linalg.norm(first) * np.linalg.norm(second))
    sine = np.linalg.norm(axis)
    return scipy.spatial.transform.Rotation.from_rotvec(axis * np.arcsin(sine) / np.maximum(sine, 1e-12)).as_matrix()


def _packed(name: str, triangle: np.ndarray, barycentric: np.ndarray) -> dict[str, np.ndarray]:
    """Triangles in 16 bits, and the first two barycentric coordinates in 65535ths, by their names in the file."""
    share = np.clip(barycentric, 0, 1) / np.clip(barycentric, 0, 1).sum(-1, keepdims=True)
    return {f"{name}_triangle": triangle.astype(np.uint16), f"{name}_share": np.round(share[..., :2] * 65535).astype(np.uint16)}


def _byte(weight: np.ndarray) -> np.ndarray:
    return np.round(np.clip(weight, 0, 1) * 255).astype(np.uint8)


def main() -> None:
    """Register from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ict", help="folder or archive of ICT-FaceKit")
    parser.add_argument("--out", type=pathlib.Path, default=REGISTRATION, help="weight file to write")
    arguments = parser.parse_args()
    model, ict = makehuman.load(calibrated=False), ict_source.read(arguments.ict)      # the shipped table is of the head as built
    registered, by_modes = register(model, ict)
    arrays = table(model, ict, registered, by_modes)
    facts = {"ours": topology(np.asarray(model.triangles)), "ict": topology(ict.triangles)}
    arguments.out.write_bytes(safetensors.numpy.save(arrays, facts))
    face = np.asarray(region_mask(model, "fit_skin")) > 0.5
    spot = points_on(_skin_of(ict), arrays["to_ict_triangle"].astype(int), shares(arrays["to_ict_share"]))
    gap = np.linalg.norm(spot - registered, axis=1)[face]
    print(f"skin to skin on the face: mean {gap.mean():.3f} mm, 99 % under {np.percentile(gap, 99):.2f}, most {gap.max():.2f}")
    print(f"weight above 0.5 on the face: {(arrays['to_ict_weight'][face] > 127).mean():.1%}")


if __name__ == "__main__":
    main()
