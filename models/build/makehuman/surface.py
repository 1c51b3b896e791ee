"""Tables on the surface of the head: mirrored vertices, landmarks, region masks and texture coordinates.

Takes the cut head and its mean shape; `surface_tables` gives the arrays that `fitkit.types.MorphableModel` holds, by field name,
plus `uv_makehuman`, where each of our texture vertices lies in MakeHuman's own texture layout.
"""

import numpy as np
import scipy.spatial

from fitkit.models.build.makehuman import regions
from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.points import landmarks
from fitkit.models.build.makehuman.texture import unwrap


def mirror_table(head: HeadMesh) -> np.ndarray:
    """Vertex [V] at the mirrored place (x -> -x): exact, since base.obj is symmetric.

    Raises:
        ValueError: the head is not symmetric to a micrometre.
    """
    distance, twin = scipy.spatial.cKDTree(head.vertices).query(head.vertices * [-1, 1, 1])
    if distance.max() > 1e-3 or not np.array_equal(twin[twin], np.arange(len(twin))):
        raise ValueError(f"the head is not symmetric: {distance.max():.4f} mm between a vertex and its mirror image")
    return twin


def places(head: HeadMesh, vertices: np.ndarray, mirror: np.ndarray) -> dict[str, np.ndarray]:
    """Landmarks, jaw lines and dense points as `NAME_triangle` and `NAME_barycentric`, and `dense_weight`."""
    dense, weight = landmarks.dense(head, mirror)
    contour = landmarks.contour(head, vertices, dense, mirror)
    named = {"dense": dense, "contour": contour, "landmarks": landmarks.landmarks(head, vertices, dense, contour)}
    tables = {"dense_weight": weight.astype(np.float32)}
    for name, (triangle, barycentric) in named.items():
        tables[f"{name}_triangle"] = triangle.astype(np.int32)
        tables[f"{name}_barycentric"] = barycentric.astype(np.float32)
    return tables


def surface_tables(head: HeadMesh, vertices: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """All tables of the surface, and the names of the regions.

    Args:
        head: the cut head.
        vertices: [V, 3] the mean shape, mm: lines and masks are constructed on it.
    """
    mirror = mirror_table(head)
    tables = places(head, vertices, mirror)
    spots, ibug = (
        landmarks.positions(head, vertices, (tables[f"{name}_triangle"], tables[f"{name}_barycentric"]))
        for name in ("dense", "landmarks")
    )
    masks = regions.regions(head, vertices, spots, ibug, mirror)
    return {
        **tables,
        **unwrap.texture(head, vertices, masks, mirror),
        "mirror": mirror.astype(np.int32),
        "regions": np.stack(list(masks.values())).astype(np.float32),
    }, tuple(masks)
