"""Labels of kind `vary`: pixels without a source, and gradient energy across the border of the face beside that of the photo.

    python -m tests.measurements.varied_borders photos_train [--variants 20] [--photos 10] [--sheet FILE.png]

The energy is the mean squared difference of neighbouring pixels, sRGB, within `BAND` pixels of the border of the drawn face; that
of the photo is measured in the same band of the pose and expression that the photo has.
"""

import argparse
import pathlib
import tempfile
from unittest import mock

import numpy as np
import scipy.ndimage
from PIL import Image

from fitkit.batch.workers.label_makers import FittedPhotos
from fitkit.cli.commands.labels.make import LabelsMake, fit_photos
from fitkit.cli.console import Console
from fitkit.device import keep_compiled_programs
from fitkit.io.images import write_image
from fitkit.labels.record import Record
from fitkit.recipes.synthesize.labels import vary
from tests.conftest import ASSETS

BAND = 4        # pixels either way


def energy(picture: np.ndarray, face: np.ndarray) -> float:
    """Mean squared gradient in the band along the border of a face."""
    distance = scipy.ndimage.distance_transform_edt(face) + scipy.ndimage.distance_transform_edt(~face)
    band = distance[:-1, :-1] <= BAND
    values = picture.astype(np.float64) / 255
    return float((np.diff(values, axis=0)[:, :-1][band] ** 2 + np.diff(values, axis=1)[:-1][band] ** 2).sum(axis=-1).mean())


def photo_in(face: vary.FittedFace, record: Record) -> np.ndarray:
    """The photo in the pixels of a record."""
    scale = float(face.camera.focal) / float(record.focal)
    corner = np.asarray(face.camera.principal) - record.principal * scale
    box = np.concatenate([corner, corner + scale * len(record.mask)]).clip(0, len(face.picture))
    return np.asarray(Image.fromarray(face.picture).resize(record.mask.shape, Image.Resampling.BILINEAR, box=tuple(box.tolist())))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of photos, in shared/assets or elsewhere")
    parser.add_argument("--variants", type=int, default=20)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--sheet", help="PNG to write: a row a photo, the photo and six pictures")
    options = parser.parse_args()
    keep_compiled_programs()
    folder = pathlib.Path(options.folder) if pathlib.Path(options.folder).is_dir() else ASSETS / options.folder
    photos = sorted(str(path) for path in folder.iterdir() if path.suffix in (".jpg", ".png"))[:options.photos]
    with tempfile.TemporaryDirectory() as run:
        asked = LabelsMake(kind="vary", source=tuple(photos), out=run)
        _, fitted = fit_photos(asked, (1, 1), Console())
        faces = list(FittedPhotos(fitted or [], head=asked.head, size=asked.size))
    labels = vary.VariedLabels(vary.VaryConfig(variants=options.variants), faces)
    records = labels.records(range(len(faces) * options.variants))
    with mock.patch.multiple(vary, TURN=(0.0, 0.0, 0.0), KEPT=1.0):
        vary._scenes.clear_cache()
        as_it_is = labels.records(range(len(faces) * options.variants))
    photos_there = [photo_in(faces[number // options.variants], record) for number, record in enumerate(as_it_is)]
    ratios = [energy(record.picture, record.face) / energy(photo, still.face)
              for record, still, photo in zip(records, as_it_is, photos_there, strict=True)]
    missing = [record.source["unseen"] for record in records]
    print(f"{len(ratios)} pictures of {len(faces)} photos: pixels without a source {np.mean(missing):.2e} on average, "
          f"{max(missing):.2e} at most; gradient energy across the border over the photo's: median {np.median(ratios):.2f}, "
          f"mean {np.mean(ratios):.2f}, 90 % under {np.quantile(ratios, 0.9):.2f}")
    if options.sheet:
        rows = [[photos_there[row], *(each.picture for each in records[row:row + 6])]
                for row in range(0, len(records), options.variants)]
        write_image(options.sheet, np.concatenate([np.concatenate(row, axis=1) for row in rows]))


if __name__ == "__main__":
    main()
