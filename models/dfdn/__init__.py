"""Deep Facial Detail Net (DFDN; Chen et al. 2019, Section 4): a photo unwrapped by a proxy head, patch by patch, to displacement.

    inputs      photo and proxy -> what the networks are given of each texel, and the proxy's light and skin (Eq. 14)
    patches     the two areas of the UV map, the patches of each, and their Gaussian stitching
    networks    PDIM (U-Net and dense layers to 64 PCA coefficients), PDRM (U-Net), PatchGAN
    inference   the shipped weights as a callable: photo and proxy to a displacement map
"""
