"""Files of known cameras: one reader for camera.json, nerfstudio's transforms.json and COLMAP's text files; distortion undone.

    given.py        `GivenCamera`: K, distortion, place in space; its checks
    files.py        a file or folder -> `CameraFile`, which knows the camera of each photo
    colmap.py       COLMAP's cameras.txt and images.txt
    distortion.py   a photo, or points of one, as a lens without distortion shows them

NumPy alone; the command line reads cameras before JAX wakes.
"""

from fitkit.io.cameras.files import CameraFile, camera_of, read_cameras
from fitkit.io.cameras.given import GivenCamera, checked_intrinsics

__all__ = ["CameraFile", "GivenCamera", "camera_of", "checked_intrinsics", "read_cameras"]
