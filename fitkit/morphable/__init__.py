"""The morphable head: vertices and albedo from coefficients, points and regions of its surface, subdivision.

Pure functions of a `MorphableModel`, which is an argument like any other. Vertices are millimetres in the world frame (+Y up, the
face looks to +Z, +X is the subject's left); identity and albedo coefficients are standard deviations, expression weights ARKit's in
[0, 1]; albedo is linear RGB.

    import jax.numpy as jnp
    import fitkit
    head = fitkit.load_head("makehuman")
    smile = jnp.zeros(len(head.expression_names)).at[head.expression_names.index("mouthSmileLeft")].set(0.8)
    vertices = fitkit.morphable.shape(head, head.identity_mean, smile)               # [V, 3] mm
    albedo = fitkit.morphable.vertex_albedo(head, jnp.zeros(len(head.albedo)))       # [V, 3] linear RGB
"""

from fitkit.morphable.correspondence import (
    Correspondence,
    PointModes,
    correspond,
    ibug_points,
    landmark_places,
    point_modes,
    visible_contour,
)
from fitkit.morphable.model import shape, shape_derivatives, values_at_points, vertex_albedo
from fitkit.morphable.regions import face_region, region_mask, triangles_of_part, union_of_regions
from fitkit.morphable.subdivision import subdivide
from fitkit.types import Joints, MorphableModel, SurfacePoints

__all__ = [
    "Correspondence",
    "Joints",
    "MorphableModel",
    "PointModes",
    "SurfacePoints",
    "correspond",
    "face_region",
    "ibug_points",
    "landmark_places",
    "point_modes",
    "region_mask",
    "shape",
    "shape_derivatives",
    "subdivide",
    "triangles_of_part",
    "union_of_regions",
    "values_at_points",
    "vertex_albedo",
    "visible_contour",
]
