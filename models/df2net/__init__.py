"""DF2Net (Zeng et al. 2019): dense, fine and finer depth of a face from one picture.

    depth_frame   the depth that the networks work on, from and to millimetres, and its normals
    dnet          D-Net: a picture to dense depth
    fnet          F-Net: depth and colour to fine depth
    frnet         Fr-Net: a residual of it, in three stages
    inference     trained weights, and the three in turn
"""
