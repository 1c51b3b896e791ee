"""Faces found where there is none: parts of photographs beside all faces, backs of heads, noise, and pictures of your own.

    python -m tests.measurements.faceless_pictures [FOLDER ...]

FOLDER: pictures without a face, counted besides. The parts are of `assets/photos_train`, clear of the boxes marked by eye
(`tests/data/face_boxes.toml`); the backs are people of both head models of the synthetic benchmark, turned away.
"""

import argparse
import io
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
import scipy.ndimage
from PIL import Image

from fitkit.device import keep_compiled_programs
from fitkit.evaluation.synthetic import subjects
from fitkit.evaluation.synthetic.kinds import Kind
from fitkit.evaluation.synthetic.photograph import photograph
from fitkit.evaluation.synthetic.populations import embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint
from fitkit.io.images import find_photos
from fitkit.models.heads import ict_source
from fitkit.models.mediapipe.facemesh import find_faces
from tests.conftest import ASSETS
from tests.measurements.face_table import marked
from tests.measurements.turned_faces import ICT, STUDIO, turned_view

PARTS = 24                      # of a photo; fewer where its faces leave no room
TRIES = 2000                    # to place them
PART_SIDES = (0.12, 0.8)        # of the photo's shorter side
LEAST_SIDE = 36                 # pixels
MARGIN = 0.35                   # of a marked box, on every side, that a part keeps clear of
BACKS = (-120, 140, 180)        # degrees
PEOPLE, NOISES = 4, 30


def parts(path: pathlib.Path, boxes: np.ndarray, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Squares of a photo that show none of its marked faces."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    size = boxes[:, 2:] - boxes[:, :2]
    low, high = boxes[:, :2] - MARGIN * size, boxes[:, 2:] + MARGIN * size
    made = 0
    for _ in range(TRIES):
        side = rng.uniform(*PART_SIDES) * min(photo.size)
        corner = rng.uniform(0, 1, 2) * (np.array(photo.size) - side)
        if side >= LEAST_SIDE and made < PARTS and not ((low < corner + side) & (high > corner)).all(-1).any():
            made += 1
            yield photo.crop(tuple(np.concatenate([corner, corner + side]).astype(int)))


def noise(rng: np.random.Generator) -> Image.Image:
    """Coloured noise of a random grain."""
    blur = rng.uniform(0, 12)
    values = scipy.ndimage.gaussian_filter(rng.standard_normal((300, 300, 3)), (blur, blur, 0))
    return Image.fromarray((np.clip(0.5 + 0.2 * values / values.std(), 0, 1) * 255).astype(np.uint8))


def backs() -> Iterator[Image.Image]:
    """Heads seen from behind."""
    for population in (ict_population(ict_source.read(str(ASSETS / ICT))), embedded_population()):
        for seed in range(PEOPLE):
            kind = Kind(light=("hard", "key_fill")[seed % 2], people=population.name, renderer="rasterizer")
            person, paint = subjects.person(population, seed), SkinPaint(kind, population, seed, None)
            for yaw in BACKS:
                yield Image.open(io.BytesIO(photograph(paint, person, turned_view(seed, yaw), STUDIO).jpeg))


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=pathlib.Path, help="pictures without a face")
    options = parser.parse_args()
    if not ASSETS.is_dir():
        sys.exit(f"{ASSETS} is not there; photos and heads are looked for in shared/assets beside the checkout")
    keep_compiled_programs()
    rng = np.random.default_rng(20)
    boxes = {entry["file"]: np.array([face["box"] for face in entry["faces"]], float).reshape(-1, 4)
             for entry in marked("photos_train")}
    kinds = {"parts of photos": (part for name in boxes for part in parts(ASSETS / "photos_train" / name, boxes[name], rng)),
             "noise": (noise(rng) for _ in range(NOISES)), "backs of heads": backs()}
    kinds |= {str(folder): (Image.open(path) for path in find_photos(folder)) for folder in options.folders}
    for name, pictures in kinds.items():
        found = [len(find_faces(np.asarray(picture.convert("RGB"), np.float32) / 255)) for picture in pictures]
        print(f"{name:20s} {len(found):4d} pictures, {sum(found)} faces found", flush=True)


if __name__ == "__main__":
    main()
