"""The networks of Richardson et al. 2017, "Learning detailed face reconstruction from a single image": CoarseNet and FineNet.

    feedback   a face drawn back into its picture: PNCC, normals, and the mask of what it covers
    coarse     iterative CoarseNet, its configurations and its weights
"""
