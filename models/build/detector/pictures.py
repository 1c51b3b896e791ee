"""Renders random people and runs the detector on them: the material of `models/build/detector/regression.py`.

    python -m fitkit.models.build.detector.pictures --truth ict:PATH --out DIR [--count 6000] [--first 0]

Every other person is one of ICT-FaceKit's, the others are the embedded head's; none is in a split of `fitkit eval synthetic`, and
no picture has the light or the skin that it leaves out of tuning. Drawn by fitkit's rasterizer with cast shadows. One `.npz` for
every `SHARD` pictures; a run that is started again goes on with the shards that are missing.
"""

import argparse
import dataclasses
import io
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image
from rich.progress import track

from fitkit.evaluation.synthetic import environment_light, photograph, rasterized_scene, subjects
from fitkit.evaluation.synthetic.kinds import Kind
from fitkit.evaluation.synthetic.populations import Population, embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio, scene_parts
from fitkit.geometry.camera import head_rotation, project
from fitkit.io import atomic_files
from fitkit.models.heads import ict_source, makehuman
from fitkit.models.heads.ict import registration
from fitkit.models.mediapipe import facemesh, facemesh_v2
from fitkit.models.mediapipe.multiscale_detection import Detection
from fitkit.types import SurfacePoints

SHARD = 100                 # pictures in a file
FIRST_SEED = 10_000         # of people: beyond both splits and beyond the people of the identity prior
STUDIO = Studio(width=300, height=380, subdivisions=0)

# What is drawn, with which probability; chosen, not tuned. Neither `LEFT_OUT_LIGHT` nor `LEFT_OUT_SKIN` is among it
CHOICES: dict[str, dict[str, float]] = {
    "light": {"portrait": 0.4, "key_fill": 0.3, "hard": 0.3},
    "skin": {"procedural": 0.85, "plain": 0.15},
    "hair": {"any_hair": 0.8, "shaved": 0.1, "bearded": 0.1},
    "occluder": {"none": 0.88, "spectacles": 0.12},
    "expression": {"gestures": 0.65, "neutral": 0.2, "strong": 0.15},
    "lens": {"portrait_lens": 0.9, "wide": 0.1},
}
FRONTAL_SHARE, FRONTAL_YAW, MAX_YAW = 0.3, 12.0, 80.0       # share of nearly frontal heads, their deviation; degrees, of the rest
MAX_TILT = (15.0, 12.0)     # pitch and roll, degrees either way
BOX_SHIFT, BOX_SCALE = 0.04, 0.08       # deviation of the detector's box in its sides, and of its logarithm
EYES, MOUTH = ((36, 42), (42, 48)), (48, 68)                # of the 68 points, for the keypoints that a detector would give
CHIN_TO_BROW = 1.15         # side of the detector's box over the extent of the 68 points


class Record(NamedTuple):
    """One picture: what was rendered and what the detector saw in it."""

    population: int                             # 0 embedded, 1 ICT-FaceKit
    seed: int
    kind: str
    identity: Float[np.ndarray, " 100"]         # the population's own coefficients, the first hundred
    expression: Float[np.ndarray, " 53"]
    dense: Float[np.ndarray, "468 3"]           # true places, head frame, mm
    rotation: Float[np.ndarray, "3 3"]          # head -> view frame
    translation: Float[np.ndarray, " 3"]        # of the camera, mm
    focal: float                                # pixels
    principal: Float[np.ndarray, " 2"]          # pixels
    points: Float[np.ndarray, "468 2"]          # detected, pixels
    probability: float                          # of a face
    moved: float                                # of the points in the last pass, fraction of the square
    crop: np.ndarray                            # [192, 192, 3] uint8, where the points were found
    square: Float[np.ndarray, " 4"]             # of the crop, in pixels of the picture: centre, side, roll


class Place(NamedTuple):
    """A population and the places of the 468 points on it."""

    people: Population
    points: SurfacePoints
    triangles: np.ndarray


def draw_kind(generator: np.random.Generator, people: str) -> Kind:
    """A kind of picture, rasterized."""
    words = {field: str(generator.choice(list(odds), p=list(odds.values()))) for field, odds in CHOICES.items()}
    return Kind(renderer="rasterizer", people=people, **words)


def draw_view(generator: np.random.Generator, seed: int, kind: Kind) -> subjects.View:
    """A camera: any yaw, more pitch and roll than the benchmark's."""
    frontal = generator.uniform() < FRONTAL_SHARE
    yaw = generator.normal(0, FRONTAL_YAW) if frontal else generator.uniform(-MAX_YAW, MAX_YAW)
    view = subjects.view(seed, abs(yaw), STUDIO.width, STUDIO.height, wide=kind.lens == "wide")
    pitch, roll = generator.uniform(-1, 1, 2) * MAX_TILT
    camera = dataclasses.replace(view.camera, rotation=head_rotation(*np.radians([yaw, pitch, roll])))
    return subjects.View(yaw=yaw, pitch=pitch, roll=roll, lens=view.lens, camera=camera)


def detect(pixels: np.ndarray, marks: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The detector's points from the true place of the face: as `facemesh.mesh_face`, but no face is given up.

    Args:
        pixels: RGB in [0, 1].
        marks: [68, 2] true places of the 68 points, pixels, from which the detector's box is drawn.
        generator: of the box's error.
    """
    low, high = marks.min(0), marks.max(0)
    side = (high - low).max() * CHIN_TO_BROW * np.exp(generator.normal(0, BOX_SCALE))
    centre = (low + high) / 2 + generator.normal(0, BOX_SHIFT, 2) * side
    eyes = [marks[slice(*bounds)].mean(0) for bounds in EYES]
    keypoints = np.stack([*eyes, marks[30], marks[slice(*MOUTH)].mean(0), marks[0], marks[16]])
    detection = Detection(np.concatenate([centre - side / 2, centre + side / 2]), keypoints, 1.0)
    photo = Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
    window, square, origin, scale = facemesh.resample_window(photo, detection)
    resting, probability, moved = facemesh.refine(facemesh.load_facemesh(), window[None], square[None])
    squares = facemesh.squares_of(resting)
    found = facemesh.points_in_square(facemesh_v2.load_facemesh_v2(), window[None], squares)[:, :facemesh.POINTS]
    crop = np.asarray(facemesh.sample_crop(jnp.asarray(window), squares[0]))
    placed = np.asarray(squares[0], np.float64) * [scale, scale, scale, 1] + [*origin, 0, 0]
    return (np.asarray(found[0]) * scale + origin, np.asarray(probability)[0], np.asarray(moved)[0],
            (crop * 255 + 0.5).astype(np.uint8), placed)


def record(number: int, places: tuple[Place, Place]) -> Record:
    """Picture `number`."""
    which, seed = number % 2, FIRST_SEED + number
    people = places[which].people
    generator = np.random.default_rng((seed, 9))
    kind = draw_kind(generator, people.name)
    person, view = subjects.person(people, seed, expressions=kind.expression), draw_view(generator, seed, kind)
    light = environment_light.make_light(kind.light, generator)
    parts = scene_parts(SkinPaint(kind, people, seed, None), person, view, STUDIO, generator)
    rendered = rasterized_scene.render_radiance(parts, light, view, STUDIO)
    behind = environment_light.backdrop(generator, STUDIO.width, STUDIO.height)
    jpeg = photograph.encode_photo(rendered[..., :3] + (1 - rendered[..., 3:].clip(0, 1)) * behind, generator)
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)), np.float32) / 255
    marks = np.asarray(project(view.camera, jnp.asarray(people.marks(person.vertices), jnp.float32))[0])
    points, probability, moved, crop, square = detect(pixels, marks, generator)
    corners = person.vertices[places[which].triangles[np.asarray(places[which].points.triangle)]]
    dense = np.einsum("nc,ncd->nd", np.asarray(places[which].points.barycentric, np.float64), corners)
    return Record(
        which, seed, kind.name, np.resize(person.identity, 100), np.resize(person.expression, 53), dense,
        np.diag([1.0, -1.0, -1.0]) @ np.asarray(view.camera.rotation, np.float64),
        np.asarray(view.camera.translation), float(view.camera.focal), np.asarray(view.camera.principal), points,
        float(probability), float(moved), crop, square)


def main() -> None:
    """Render and detect from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--truth", required=True, help="ict:PATH of ICT-FaceKit's folder or archive")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the shards")
    parser.add_argument("--count", type=int, default=6000, help="number of pictures")
    parser.add_argument("--first", type=int, default=0, help="number of the first picture, a multiple of a shard")
    options = parser.parse_args()
    arrays, own = ict_source.read(options.truth.removeprefix("ict:")), makehuman.load(detector=False)
    places = (Place(embedded_population(), own.dense, np.asarray(own.triangles)),
              Place(ict_population(arrays), registration().dense, arrays.triangles))
    for start in track(range(options.first, options.first + options.count, SHARD), "shards"):
        path = options.out / f"{start:06d}.npz"
        if not path.is_file():
            records = [record(number, places) for number in range(start, start + SHARD)]
            columns: dict[str, Any] = {name: np.array([getattr(each, name) for each in records]) for name in Record._fields}
            file = io.BytesIO()
            np.savez_compressed(file, **columns)
            atomic_files.write_bytes(path, file.getvalue())


if __name__ == "__main__":
    main()
