"""From a photo to the 2D points of its faces, and to the aligned crop that identity networks read.

In: a photo, sRGB in [0, 1], `[h, w, 3]`; or a file or array of points. Out: `Landmarks`, 68 iBUG or 468 MediaPipe points in pixels.

    landmarks.py        `Landmarks`, the `Detector` interface, and points read from .pts and .npy files
    given_points.py     refuses given points that show no face of the photo: mirrored, in (y, x) order, outside it
    face_alignment.py   the optional second detector: 68 points by the PyTorch package `face-alignment`
    face_crop.py        the aligned crop that identity networks read, differentiable in image and points

The first detector, MediaPipe's, is a network of ours and stands in `fitkit.models.mediapipe`; `fitkit.pipeline` picks one by name.
"""

DETECTORS = ("mediapipe", "face-alignment")     # names of the options `detector` and --landmarks; this module imports nothing
