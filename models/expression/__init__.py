"""What networks see of an expression, and the dictionary that tells ARKit's weights from it (Chen et al. 2019, Section 3.2).

    features     a face in a crop -> its semantic features: scores of `fitkit.models.mediapipe.blendshapes`, and others
    face_api     face-api's expression network: seven emotions, 256 features
"""
