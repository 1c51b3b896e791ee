"""Training of Tracking CoarseNet (Guo et al. 2018, Section VII), on labels of kind `frames`: `fitkit train tracking_coarsenet`.

    data       labelled frames, and the frame before
    task       what the training loop is given
    readout    the matrix of the small network, solved for
"""
