"""The networks of Richardson et al. 2017, "Learning detailed face reconstruction from a single image": CoarseNet and FineNet.

    feedback        a face drawn back into its picture: PNCC, normals, and the mask of what it covers
    coarse          iterative CoarseNet, its configurations and its weights
    depth_layer     the rendering layer between the two: coefficients to a depth map
    fine_network    FineNet: hypercolumns of VGG-16
    fine_inference  its weights as a callable of a crop
    vgg_face        VGG-Face by file, from which FineNet starts in the paper
"""
