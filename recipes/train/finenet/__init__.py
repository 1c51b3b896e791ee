"""Training of FineNet (Guo et al. 2018, Section VIII), on labels of kinds `detail` and `random`: `fitkit train finenet`.

    data     crops of labelled pictures, worn as photos are, with coarse depth as wrong as a fit's
    losses   the Euclidean loss, and that of the slopes
    task     what the training loop is given
"""
