"""Tables on the surface of the head: mirrored vertices, landmarks, region masks and texture coordinates.

Takes the cut head and its mean shape; `surface_tables` gives the arrays that `fitkit.types.MorphableModel` holds, by field name,
plus `uv_makehuman`, where each of our texture vertices lies in MakeHuman's own texture layout.
"""

import numpy as np

from fitkit.models.build.makehuman import regions
from fitkit.models.build.makehuman.mesh import HeadMesh, mirror_table
from fitkit.models.build.makehuman.points import landmarks
from fitkit.models.build.makehuman.texture import unwrap


def point_tables(head: HeadMesh, vertices: np.ndarray, mirror: np.ndarray) -> dict[str, np.ndarray]:
    """iBUG points, jaw lines and MediaPipe points as `NAME_triangle` and `NAME_barycentric`, and `dense_weight`."""
    dense, weight = landmarks.dense(head, mirror)
    contour = landmarks.contour(head, vertices, dense, mirror)
    named = {"dense": dense, "contour": contour, "landmarks": landmarks.landmarks(head, vertices, dense, contour)}
    tables = {"dense_weight": weight.astype(np.float32)}
    for name, (triangle, barycentric) in named.items():
        tables[f"{name}_triangle"] = triangle.astype(np.int32)
        tables[f"{name}_barycentric"] = barycentric.astype(np.float32)
    return tables


def surface_tables(head: HeadMesh, vertices: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """All tables of the surface by field name, and the names of the regions in the order of `regions`.

    Args:
        head: the cut head.
        vertices: [V, 3] mean shape, mm, on which lines and masks are constructed.
    """
    mirror = mirror_table(head)
    tables = point_tables(head, vertices, mirror)
    dense, ibug = (
        landmarks.positions(head, vertices, (tables[f"{name}_triangle"], tables[f"{name}_barycentric"]))
        for name in ("dense", "landmarks")
    )
    masks = regions.regions(head, vertices, dense, ibug, mirror)
    return {
        **tables,
        **unwrap.texture_coordinates(head, vertices, masks, mirror),
        "mirror": mirror.astype(np.int32),
        "regions": np.stack(list(masks.values())).astype(np.float32),
    }, tuple(masks)
