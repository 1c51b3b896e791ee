"""What recipe `coarsenet`, or `richardson`, gives on photographs, beside fits from detected points; and milliseconds a face.

    python -m tests.measurements.network_fits [--photos FOLDER] [--speed] [--refine N] [--recipe richardson] [--weights FILE]

Printed for the largest face of each photo, and as means:

    points     mean distance of the head's 68 points to those of our detector, % of its outer-eye distance: of the network, after
               refinement, and of the mean head in the detector's pose. The detector errs itself, and is the reference here
    energy     mean squared colour difference over all visible skin of the head, sRGB, 1e-3, no robust weights, no points: after
               N steps of stage 1 without landmarks from the network's state; after as many from the mean head in the detector's
               pose; and of stage 1 itself, which has the points. All on the crop around the detected points

The network has the face's box alone. `--speed` times the network, small and in the paper's size, alone and in batches of 8, the
steps around it, and the detectors; no package registry has a published network of this kind to set beside them.
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fitkit import pipeline
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.fitting.state import FaceState, Observation, neutral_state
from fitkit.geometry.pose import rescale_pose
from fitkit.io.images import find_photos
from fitkit.models.coarsenet import network
from fitkit.models.mediapipe.face_boxes import find_boxes
from fitkit.models.mediapipe.facemesh import load_detector
from fitkit.models.parameters import named_state
from fitkit.recipes.coarsenet import CoarseNetConfig, prediction, recipe
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.colour_term import pixel_residuals, visible_pixels
from fitkit.recipes.inverse_rendering.model_fitting import ModelFittingConfig
from fitkit.results.fit_quality import outer_eye_distance
from fitkit.results.from_solution import fitted_points
from tests.conftest import ASSETS

ROUNDS = 30     # timed runs of each, after one that compiles
LINE = "         {:7.1f} {:7.1f} {:9.1f} |         {:7.2f} {:7.2f} {:9.2f} {:8.2f}"
NEAR = 0.5      # of the detector's box: distance of the middles of a face in both detections, at most


@jax.jit
def colour_error(model: Any, tables: Any, state: FaceState, crop: Any) -> Any:
    """Mean squared difference of rendered and photographed colours over the visible skin, sRGB."""
    pixels = visible_pixels(crop, state, model, tables.mask, ModelFittingConfig())
    return jnp.sum(pixels.weight * jnp.mean(jnp.square(pixel_residuals(state, model, pixels)), 0)) / jnp.sum(pixels.weight)


def in_crop(state: FaceState, back: tuple[float, np.ndarray]) -> FaceState:
    """A state in photo pixels, in those of a crop."""
    scale, offset = back
    pose = rescale_pose(state.pose, jnp.float32(1 / scale), jnp.asarray(-offset / scale, jnp.float32))
    return dataclasses.replace(state, pose=pose)


class Photo:
    """The largest face of a photo: what the detector and the network see of it."""

    def __init__(self, path: pathlib.Path, boxes: pipeline.Job, points: pipeline.Job):
        self.name = path.name
        reading = pipeline.read(path, points, landmarks=None, focal=None)
        self.face = pipeline.observe_face(reading, 0, points)
        self.observation: Observation = self.face.observation
        self.model = points.model
        seen = pipeline.read(path, boxes, landmarks=None, focal=None)
        middle = (reading.faces[0].box[:2] + reading.faces[0].box[2:]) / 2
        away = [np.abs((face.box[:2] + face.box[2:]) / 2 - middle).max() / face.size for face in seen.faces]
        number = int(np.argmin(away))
        if away[number] > NEAR:
            raise FitkitError("E_NOFACE", f"the box of the face in {path} is not found")
        looks = [prediction.Glimpse(seen.image.pixels, pipeline._network_crop(seen.faces[number]), seen.lens)]
        self.predicted = in_crop(prediction.predict_states(points.model, boxes.reader, looks)[0], self.face.back)

    def points(self, state: FaceState) -> float:
        """Mean distance of a state's points from the detected ones, % of the outer-eye distance."""
        detected = np.asarray(self.observation.ibug)
        return float(100 * np.linalg.norm(np.asarray(fitted_points(self.model, state)[1]) - detected, axis=1).mean()
                     / outer_eye_distance(detected))

    def refined(self, start: FaceState, steps: int) -> FaceState:
        """The state of the recipe after so many steps, as if `start` were the prediction."""
        observation = dataclasses.replace(self.observation, message=None, prediction=start)
        return recipe.solve(self.model, observation, CoarseNetConfig(refine=steps)).state


def photos(folder: pathlib.Path, steps: int, network_recipe: str, weights: pathlib.Path | None) -> None:
    """The tables of points and energies."""
    jobs = [pipeline.prepare(recipe=name, head="makehuman", size=224, seed=0, detector="mediapipe", progress=None, fields={})
            for name in (network_recipe, "landmarks")]
    if weights:
        parameters, config = network.load_coarsenet(path=weights)
        reader = prediction.mirror_averaged(partial(network.predict, parameters, config=config), config, jobs[0].model)
        jobs[0] = dataclasses.replace(jobs[0], reader=reader)
    stage, rows = ModelFittingConfig(), []
    print(f"{'':26s} points: network refined mean head | energy: network refined  mean head  stage 1")
    for path in find_photos(folder):
        try:
            photo = Photo(path, *jobs)
        except FitkitError as error:
            print(f"{path.name:26s} {error}")
            continue
        tables = model_fitting.fitting_tables(photo.model, 468, stage)
        mean = neutral_state(photo.model, photo.observation.message.pose)
        states = (photo.refined(photo.predicted, 0), photo.refined(photo.predicted, steps), photo.refined(mean, steps),
                  model_fitting.solve(photo.model, photo.observation, stage).state)
        energies = [1e3 * float(colour_error(photo.model, tables, state, photo.observation.crop)) for state in states]
        rows.append([*(photo.points(state) for state in (*states[:2], mean)), *energies])
        print(f"{path.name:26s}{LINE.format(*rows[-1])}", flush=True)
    table = np.array(rows)
    print(f"{'mean of ' + str(len(rows)):26s}{LINE.format(*table.mean(0))}\n{'median':26s}{LINE.format(*np.median(table, 0))}")
    lower, near = (table[:, 4] < table[:, 5]).sum(), (table[:, 4] < 1.1 * table[:, 6]).sum()
    print(f"after {steps} steps the energy from the network is below that from the mean head on {lower} of {len(rows)}, and within"
          f" 10 % of stage 1's on {near}")


def milliseconds(run: Callable[[], Any]) -> float:
    """Median of a call, ms."""
    jax.block_until_ready(run())
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))


def speed(folder: pathlib.Path) -> None:
    """Milliseconds a face."""
    sizes = {"small": network.CoarseNetConfig(), "paper": dataclasses.replace(network.PAPER, identity=200, expression=52)}
    for name, config in sizes.items():
        made = network.CoarseNet(config, rngs=nnx.Rngs(0))
        made.eval()
        parameters = jax.device_put(named_state(made))
        for count in (1, 8):
            pictures = jnp.full((count, config.side, config.side, 3), 0.5)
            taken = milliseconds(lambda: network.predict(parameters, pictures, config=config)) / count      # noqa: B023
            print(f"network, {name}, {config.side} px, {count} at once: {taken:.1f} ms a face")
    job = pipeline.prepare(recipe="coarsenet", head="makehuman", size=224, seed=0, detector="mediapipe", progress=None, fields={})
    path = find_photos(folder)[0]
    reading = pipeline.read(path, job, landmarks=None, focal=None)
    for count in (1, prediction.AT_ONCE):
        looks = [prediction.Glimpse(reading.image.pixels, pipeline._network_crop(reading.faces[0]), reading.lens)] * count
        print(f"crop, network and posed head, {count} at once:"
              f" {milliseconds(lambda: prediction.predict_states(job.model, job.reader, looks)) / count:.1f} ms a face")      # noqa: B023
    observation = pipeline.observe_face(reading, 0, job).observation
    for steps in (0, 3):
        print(f"light, skin and losses, {steps} steps of refinement:"
              f" {milliseconds(lambda: recipe.solve(job.model, observation, CoarseNetConfig(refine=steps)).state):.1f} ms")      # noqa: B023
    image = np.asarray(reading.image.pixels)
    print(f"boxes of {path.name}: {milliseconds(lambda: find_boxes(image)):.0f} ms; points: "
          f"{milliseconds(lambda: load_detector()(image)):.0f} ms")


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=pathlib.Path, default=ASSETS / "photos", help="folder of photos")
    parser.add_argument("--refine", type=int, default=3, help="steps")
    parser.add_argument("--recipe", default="coarsenet", choices=("coarsenet", "richardson"), help="whose network looks")
    parser.add_argument("--weights", type=pathlib.Path, help="of a CoarseNet other than that which comes with fitkit")
    parser.add_argument("--speed", action="store_true", help="milliseconds instead")
    options = parser.parse_args()
    keep_compiled_programs()
    if options.speed:
        speed(options.photos)
    else:
        photos(options.photos, options.refine, options.recipe, options.weights)


if __name__ == "__main__":
    main()
