"""Training of FineNet of Richardson et al. 2017, Sections 4.2 to 4.4, without any truth.

    surface     what the picture shows of the coarse head, pixel by pixel
    losses      shape from shading as a loss: light and albedo by least squares, and the terms of Eq. 14
    data        crops of labelled pictures and the coarse coefficients of their faces, as wrong as a fit's
    criterion   Eq. 14 of a batch
    task        what the training loop is given: `fitkit train richardson_fine`
    end_to_end  CoarseNet and FineNet under one loss: `fitkit train richardson`
"""
