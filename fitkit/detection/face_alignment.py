"""The optional second landmark detector: 68 iBUG points by the PyTorch package `face-alignment`.

In: a photo and the boxes that another detector finds. Out: `Landmarks` of scheme ibug68. The user's weight file is opened only
after its sha256 was compared, and without unpickling code.
"""

import hashlib
import io
import os
from typing import Any

import numpy as np

from fitkit.detection.landmarks import Detector, Landmarks, box_of
from fitkit.errors import FitkitError
from fitkit.io.untrusted import read_bytes

MAX_BYTES = 2**29       # of the weight file, a bound on resources; it has 96 MB


def face_alignment_detector(find: Detector, *, weights: str | os.PathLike[str] | None = None, sha256: str | None = None,
                            device: str = "cpu") -> Detector:
    """A detector of 68 iBUG points: the 2D FAN of `face-alignment`, in the boxes that `find` gives.

    Bulat & Tzimiropoulos 2017, "How far are we from solving the 2D & 3D face alignment problem?". Nothing is downloaded: the
    weight file is the user's, its sha256 is compared before it is opened, and it is opened without unpickling code (the
    package's THREE_D mode, which unpickles, is never used; nor is its compiler).

    Args:
        find: any detector; only its boxes and scores are used.
        weights: `2DFAN4-11f355bf06.pth.tar` of that project; without it, the environment's `FITKIT_FACE_ALIGNMENT_WEIGHTS`.
        sha256: of that file, hexadecimal; without it, the environment's `FITKIT_FACE_ALIGNMENT_SHA256`.
        device: PyTorch device.

    Raises:
        FitkitError: `E_DATA`: the extra, the weight file or its sha256 is missing, or the file has another sha256.
    """
    checked = _checked_weights(weights or os.environ.get("FITKIT_FACE_ALIGNMENT_WEIGHTS"),
                            sha256 or os.environ.get("FITKIT_FACE_ALIGNMENT_SHA256"))
    network = _load_face_alignment(checked, device)

    def detector(image: np.ndarray) -> list[Landmarks]:
        faces = find(image)
        if not faces:
            return []
        pixels = np.asarray(np.clip(np.asarray(image) * 255 + 0.5, 0, 255), np.uint8)
        found = network.get_landmarks_from_image(pixels, detected_faces=[face.box.tolist() for face in faces])
        # The package truncates its points to whole pixels: half a pixel puts them back in the middle.
        points = [np.asarray(p, np.float32)[:, :2] + 0.5 for p in found]
        return [Landmarks(points=p, scheme="ibug68", score=face.score, box=box_of(p))
                for p, face in zip(points, faces, strict=True)]

    return detector


def _checked_weights(weights: str | os.PathLike[str] | None, sha256: str | None) -> bytes:
    """The bytes of the weight file, which are those that were hashed: the file is not opened again."""
    if not weights:
        raise FitkitError("E_DATA", "face-alignment needs its weight file 2DFAN4-11f355bf06.pth.tar, and fitkit downloads "
                          "nothing; name the file in FITKIT_FACE_ALIGNMENT_WEIGHTS.")
    data = read_bytes(weights, most=MAX_BYTES, code="E_DATA", mend="correct FITKIT_FACE_ALIGNMENT_WEIGHTS, the weight file of "
                      "face-alignment")
    found = hashlib.sha256(data).hexdigest()
    if not sha256:
        raise FitkitError("E_DATA", f"the weight file {weights} is not opened unchecked; its sha256 is {found}: if that is the "
                          "file you trust, set FITKIT_FACE_ALIGNMENT_SHA256 to it.")
    if found != sha256.strip().lower():
        raise FitkitError("E_DATA", f"the weight file {weights} has sha256 {found}, not {sha256}: it is another file; fetch it "
                          "again or correct FITKIT_FACE_ALIGNMENT_SHA256.")
    return data


def _load_face_alignment(data: bytes, device: str) -> Any:
    try:
        import face_alignment
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise FitkitError("E_DATA", f"the second landmark detector is not installed ({error}); "
                          "pip install 'fitkit[face-alignment]'.") from error
    if not hasattr(face_alignment.FaceAlignment, "_load_native"):
        raise FitkitError("E_DATA", "the installed face-alignment is too old to be given a weight file; "
                          "pip install 'face-alignment>=1.5'.")

    class FaceAlignment(face_alignment.FaceAlignment):
        def _load_native(self, name: str, size: int, device: str, dtype: Any) -> Any:
            network = face_alignment.models.FAN(size)
            network.load_state_dict(torch.load(io.BytesIO(data), map_location=device, weights_only=True))
            return network.to(device, dtype=dtype).eval()

    # "folder": the only one of the package's face finders that loads no weights; it is never called.
    return FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device, face_detector="folder", compile=False)
