"""FineNet (Guo et al. 2018, Section VIII): grey photo and coarse depth to a displacement along the depth for every pixel.

    inputs     what the network is given of a photo and a coarse depth map, the same in training and in use
    network    the U-Net, in the paper's configuration and in the small one that comes with fitkit
    inference  the shipped weights as a callable of a crop
"""
