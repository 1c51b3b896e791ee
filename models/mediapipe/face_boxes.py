"""Where the faces of a photo are, without their points: for networks that tell everything else from the pixels.

In: a photo, sRGB in [0, 1]. Out: `Landmarks` of scheme "box": the face detector's box and its six keypoints. A detection counts as
a face if the detector repeats it in several sizes and mirrored (`averaged_detection`), which also makes its box steadier.
"""

import numpy as np
from jaxtyping import Float
from PIL import Image

from fitkit.color import quantize
from fitkit.detection.landmarks import Landmarks
from fitkit.models.mediapipe.facemesh import DUPLICATE_OVERLAP, MIN_AVERAGED_SCORE
from fitkit.models.mediapipe.multiscale_detection import averaged_detection, detect_faces, overlap


def find_boxes(image: Float[np.ndarray, "h w 3"], *, minimum_size: float = 32.0) -> list[Landmarks]:
    """Every face of at least `minimum_size` pixels, largest first."""
    photo = Image.fromarray(quantize(image, np.uint8))
    faces: list[Landmarks] = []
    for detection in detect_faces(photo, minimum_size=minimum_size):
        again = averaged_detection(photo, detection)
        if again.score < MIN_AVERAGED_SCORE:
            continue
        if not faces or float(overlap(again.box, np.stack([face.box for face in faces]))[1].max()) < DUPLICATE_OVERLAP:
            faces.append(Landmarks(points=np.asarray(again.keypoints, np.float32), scheme="box", score=again.score,
                                   box=np.asarray(again.box, np.float32)))
    return sorted(faces, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2])))
