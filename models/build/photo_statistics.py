"""Measures distributions of camera and light over photos: the table `models/weights/photo_statistics.safetensors`.

    python -m fitkit.models.build.photo_statistics PHOTOS [--out FILE]

Takes a folder of photos, fits every face by stage 1 of `inverse_rendering`, and writes mean and covariance of the fitted cameras
and lights, each face counted twice, as it is and mirrored. GANFIT draws the camera and the light of its second rendering from them
(Gecer et al. 2019, Section 3.2; the paper took 300W-3D's).
"""

import argparse
import pathlib

import numpy as np
import safetensors.numpy
from jaxtyping import Float

from fitkit import api
from fitkit.errors import FitkitError
from fitkit.geometry.camera import head_angles
from fitkit.models import photo_statistics
from fitkit.results.result import FitResult

PHOTOS = (".jpg", ".jpeg", ".png")     # file names taken for photos
ODD_IN_X = (3, 4, 7)       # spherical harmonics (x, xy, xz) that change sign under mirroring; a definition


def measure(folder: pathlib.Path) -> list[FitResult]:
    """The converged fits of all faces in all photos of a folder; photos that cannot be fitted are named on the console."""
    found: list[FitResult] = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOS):
        try:
            found += [face for face in api.fit_faces(path, stages=1) if face.status == "converged"]
        except FitkitError as error:
            print(error)
    return found


def statistics(camera: Float[np.ndarray, "n 3"], light: Float[np.ndarray, "n 9 3"]) -> dict[str, np.ndarray]:
    """Mean and covariance of cameras (yaw and pitch in degrees, log distance in mm) and lights, each face with its mirror image."""
    flip = np.ones((9, 1))
    flip[list(ODD_IN_X)] = -1
    table = {}
    for name, values, mirrored in (("camera", camera, camera * [-1, 1, 1]), ("light", light, light * flip)):
        both = np.concatenate([values, mirrored]).reshape(2 * len(values), -1)
        table[f"{name}_mean"] = both.mean(0).astype(np.float32)
        table[f"{name}_covariance"] = np.cov(both.T, bias=True).astype(np.float32)
    return table


def main() -> None:
    """Measure a folder and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=pathlib.Path, help="folder of photos")
    parser.add_argument("--out", type=pathlib.Path, default=photo_statistics.PATH, help="weight file to write")
    options = parser.parse_args()
    faces = measure(options.photos)
    angles = np.array([head_angles(face.camera) for face in faces])
    distance = np.array([face.camera.translation[2] for face in faces])
    camera = np.column_stack([angles[:, :2], np.log(distance)])
    table = statistics(camera, np.array([face.parameters.light for face in faces]))
    safetensors.numpy.save_file(table, options.out)
    spread = np.sqrt(np.diag(table["camera_covariance"]))
    print(f"{len(faces)} faces; yaw, pitch (degrees) and log distance (mm): mean {table['camera_mean']}, deviation {spread}")


if __name__ == "__main__":
    main()
