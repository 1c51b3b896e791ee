"""The field's measures of shape, as functions of NumPy arrays in millimetres; they know no file, no head and no fit.

    scan_to_mesh    distances from a scan to a mesh as NoW, MICC (GANFIT), REALY and FaceCap define them
    depth           errors of depth maps as DF2Net and Guo et al. define them
    alignment       the similarity, rigid or linear alignments that come before them

The prediction is moved, the ground truth never: distances are in the ground truth's millimetres whatever scale is found.
"""

from fitkit.evaluation.metrics.alignment import Similarity, align_clouds, align_depth, align_points, align_surface
from fitkit.evaluation.metrics.depth import DepthMeasurement, DepthTable, df2net_depth, guo_depth, inside_outline
from fitkit.evaluation.metrics.scan_to_mesh import (
    Measurement,
    RegionMeasurement,
    SymmetricMeasurement,
    dense_correspondence,
    facecap,
    micc,
    now,
    realy,
)
from fitkit.geometry.point_to_mesh import Surface, closest, make_surface

__all__ = [
    "DepthMeasurement",
    "DepthTable",
    "Measurement",
    "RegionMeasurement",
    "Similarity",
    "Surface",
    "SymmetricMeasurement",
    "align_clouds",
    "align_depth",
    "align_points",
    "align_surface",
    "closest",
    "dense_correspondence",
    "df2net_depth",
    "facecap",
    "guo_depth",
    "inside_outline",
    "make_surface",
    "micc",
    "now",
    "realy",
]
