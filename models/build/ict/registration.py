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
import scipy.spatial

from fitkit.models.build.ict.lines import lines
from fitkit.models.heads import ict_source, makehuman
from fitkit.models.heads.ict import FACE_TRIANGLES, PAINTED, REGISTRATION, SKIN, shares, topology
from fitkit.models.heads.ict_source import IctArrays
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.morphable.registration import (
    Surface,
    displace,
    fit_modes,
    nearest,
    normals_of,
    places_on,
    points_on,
    vertex_weights,
)
from fitkit.types import MorphableModel, SurfacePoints


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
    to_ict = places_on(registered, normals_of(registered, triangles[skin]), theirs)
    seen = np.zeros(len(registered))
    seen[triangles[ours.allowed]] = 1
    to_weight = to_ict[2] * seen * (1 - np.clip(2 * ears, 0, 1))
    neutral = ict.neutral.astype(float)
    from_ict = places_on(neutral, normals_of(neutral, ict.triangles[theirs.allowed]), ours)
    own_ears = (ears[triangles[from_ict[0]]] * from_ict[1]).sum(1)
    from_weight = from_ict[2] * (1 - np.clip(2 * own_ears, 0, 1)) * np.isin(np.arange(len(neutral)), ict.triangles[theirs.allowed])
    for group, source, names in PAINTED:
        from_ict[0][group], from_ict[1][group] = _colourplaces_on(model, ict, by_modes, group, source, names)
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


def _colourplaces_on(
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
