"""What networks see of an expression, and the dictionary that tells ARKit's weights from it (Chen et al. 2019, Section 3.2).

    features     a face in a crop -> its semantic features: weights by CoarseNet, scores of `models.mediapipe.blendshapes`
    dictionary   features of a face -> ARKit's weights, by the nearest of rendered expressions (Eq. 5)
    face_api     face-api's expression network: seven emotions, 256 features
"""
