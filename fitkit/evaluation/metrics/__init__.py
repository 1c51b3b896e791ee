"""The field's measures of shape, as functions of NumPy arrays in millimetres; they know no file, no head and no fit.

    scan_to_mesh    distances from a scan to a mesh as NoW, MICC (GANFIT), REALY and FaceCap define them
    depth           errors of depth maps as DF2Net and Guo et al. define them
    alignment       the similarity, rigid or linear alignments that come before them
    point_to_mesh   exact distances from points to triangles

The prediction is moved, the ground truth never: distances are in the ground truth's millimetres whatever scale is found.
"""
