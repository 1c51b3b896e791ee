"""MediaPipe's face detector, face meshes and blendshapes as Flax networks. From a photo to landmarks:

    multiscale_detection.py  photo -> boxes and keypoints, by the detector over a pyramid of tiles
    facemesh.py              box -> 468 points; `load_detector` and `find_faces` do all of it
    facedetector.py          the detector's network (BlazeFace)
    facemesh_v2.py           the second mesh's network, which gives the final points
    blendshapes.py           478 points -> scores of ARKit's expressions
    blaze.py                 their layers

Weights lie in `models/weights`; `python -m fitkit.models.build.mediapipe` makes them from MediaPipe's wheel and bundle.
"""
