"""Training of FineNet (Guo et al. 2018, Section VIII), on labels of kinds `detail` and `random`: `fitkit train finenet`.

    labelled_face  a labelled picture: its photo, its head without relief, and what relief adds
    lighting       that face in its own light or another, and the light that a fit would find
    wear           what cameras, files, pigment and hair do to the photo, and errors of a fit to the coarse head
    data           crops of them
    losses         the Euclidean loss, and that of the slopes
    task           what the training loop is given
"""
