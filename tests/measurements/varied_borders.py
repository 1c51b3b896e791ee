"""Labels of kind `vary`: pixels without a source, and gradient energy across the border of the face beside that of the photo.

    python -m tests.measurements.varied_borders photos_train [--variants 20] [--photos 10]

The energy is the mean squared difference of neighbouring pixels, sRGB, within `BAND` pixels of the border of the drawn face; that
of the photo is measured in the same band of the pose and expression that the photo has.
"""

import argparse
import dataclasses
import pathlib
from unittest import mock

import numpy as np
import scipy.ndimage

from fitkit.cli.console import Console
from fitkit.cli.labels import LabelsMake, _fitted_faces
from fitkit.device import keep_compiled_programs
from fitkit.recipes.synthesize.labels import vary
from tests.conftest import ASSETS

BAND = 4        # pixels either way


def energy(picture: np.ndarray, face: np.ndarray) -> float:
    """Mean squared gradient in the band along the border of a face."""
    distance = scipy.ndimage.distance_transform_edt(face) + scipy.ndimage.distance_transform_edt(~face)
    band = distance[:-1, :-1] <= BAND
    values = picture.astype(np.float64) / 255
    return float((np.diff(values, axis=0)[:, :-1][band] ** 2 + np.diff(values, axis=1)[:-1][band] ** 2).sum(axis=-1).mean())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of photos, in shared/assets or elsewhere")
    parser.add_argument("--variants", type=int, default=20)
    parser.add_argument("--photos", type=int, default=10)
    options = parser.parse_args()
    keep_compiled_programs()
    folder = pathlib.Path(options.folder) if pathlib.Path(options.folder).is_dir() else ASSETS / options.folder
    photos = sorted(str(path) for path in folder.iterdir() if path.suffix in (".jpg", ".png"))[:options.photos]
    faces = _fitted_faces(LabelsMake(kind="vary", source=tuple(photos)), Console())
    config = vary.VaryConfig(variants=options.variants)
    labels, ratios, missing = vary.VariedLabels(config, faces), [], []
    with mock.patch.multiple(vary, YAW=0.0, PITCH=0.0, ROLL=0.0, KEPT=1.0):
        as_it_is = vary.VariedLabels(dataclasses.replace(config, variants=1), faces).records(range(len(faces)))
    vary._vary.clear_cache()
    for number in range(len(faces) * options.variants):
        photo, record = number // options.variants, labels.record(number)
        missing.append(record.source["unseen"])
        ratios.append(energy(record.picture, record.face) / energy(faces[photo].picture, as_it_is[photo].face))
    print(f"{len(ratios)} pictures of {len(faces)} photos: pixels without a source {np.mean(missing):.2e} on average, "
          f"{max(missing):.2e} at most; gradient energy across the border over the photo's: median {np.median(ratios):.2f}, "
          f"mean {np.mean(ratios):.2f}, 90 % under {np.quantile(ratios, 0.9):.2f}")


if __name__ == "__main__":
    main()
