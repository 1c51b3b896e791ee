"""How steady and how true tracking is, on rendered films whose truth is known.

    python -m tests.measurements.tracking [--seeds 0 1] [--by networks fits] [--what still moving covered] [--single 20]
                                          [--set FIELD=VALUE ...]

still     a face that does not move, under noise of 2 grey levels: standard deviation of the 68 points of the fit, pixels of the
          crop (224 px), beside single images
moving    100 frames of a person who turns, nods, speaks and blinks: errors of rotation (mean removed: the zero of a head is its
          model's), of the 68 points and of the expression weights, beside single images
covered   the same with a card before the face for 10 frames: frames after it until the points are within 2 % of the outer-eye
          distance of where they are without the card

Single images: fits of every few frames by themselves, `--single` of them, 0 for none; and of all frames the network of single
pictures by itself, `alone`, each in the box that the detector gives, of an identity each.

Processor time of a frame is the process's own, over 1.9 cores: wall time says little on a machine that is shared.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from fitkit.configuration import parse_assignments
from fitkit.detection.landmarks import MINIMUM_SIZE
from fitkit.device import keep_compiled_programs
from fitkit.fitting.observation import Lens, crop_square, observe_square
from fitkit.io.video import Frame
from fitkit.models import heads
from fitkit.models.coarsenet.crop import crop_of_box
from fitkit.models.mediapipe.multiscale_detection import detect_faces
from fitkit.recipes.coarsenet.prediction import HEAD, Glimpse, load_reader, predict_states
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import ModelFittingConfig
from fitkit.results.from_solution import fitted_points
from fitkit.tracking.following import follow
from fitkit.tracking.run import prepare_track, track_frames
from fitkit.tracking.source import Source
from fitkit.tracking.track import Track
from tests.measurements.rendered_film import FOCAL, FPS, SIDE, Film, draw_film

STILL, WARM = 30, 5             # frames of a still film, and those at its start that do not count
CARD = range(45, 55)            # frames
BACK = 0.02                     # of the outer-eye distance
CROP = 224                      # pixels
CORES = 1.9                     # that two cores are worth


def tracked(film: Film, fields: dict[str, object], by: str) -> Track:
    """The track of a film, its lens known."""
    frames = [Frame(number / FPS, pixels) for number, pixels in enumerate(film.frames)]
    source = Source(name="rendered", kind="film", frames=lambda note: iter(frames), digest=lambda: "")
    job = prepare_track(by=by, head="makehuman", size=CROP, focal=FOCAL, frames=None, progress=None, fields=dict(fields))
    return track_frames(source, job, lambda *_: None)


def alone(film: Film) -> dict[str, np.ndarray]:
    """The network of single pictures on every frame by itself: points, rotations, expressions; NaN where no face is detected."""
    model, lens = heads.load(HEAD), Lens(FOCAL, 1.0, 0.0, np.full(2, SIDE / 2, np.float32), "given")
    rows = []
    for pixels in film.frames:
        found = detect_faces(Image.fromarray(pixels), minimum_size=MINIMUM_SIZE)
        crop = max((crop_of_box(each.box) for each in found), key=lambda crop: crop.side, default=None)
        if crop is None:
            rows.append((np.full((68, 2), np.nan), np.full((3, 3), np.nan), np.full(len(film.expression[0]), np.nan)))
            continue
        state = predict_states(model, load_reader(), [Glimpse(pixels.astype(np.float32) / 255, crop, lens)])[0]
        told = fitted_points(model, state)[1], state.pose.rotation, state.face.expression
        rows.append(tuple(map(np.asarray, told)))
    return dict(zip(("points", "rotation", "expression"), map(np.stack, zip(*rows, strict=True)), strict=True))


def single(film: Film, rows: list[int]) -> dict[str, np.ndarray]:
    """Stage 1 on frames by themselves: points, rotations, expressions, and pixels of the film in one of the crop."""
    job = prepare_track(head="makehuman", size=CROP, focal=FOCAL, frames=None, progress=None, fields={})
    lens = Lens(FOCAL, 1.0, 0.0, np.full(2, SIDE / 2, np.float32), "given")
    points, rotations, expressions, scales = [], [], [], []
    for row in rows:
        pixels = film.frames[row].astype(np.float32) / 255
        face = follow(pixels, None, seconds=0.0, near=False)
        assert face is not None, f"no face in frame {row}"
        square = crop_square(face.face.points)
        observation, (scale, offset) = observe_square(job.model, pixels, face.face.points, lens, square, CROP)
        state = model_fitting.solve(job.model, observation, ModelFittingConfig()).state
        points.append(np.asarray(fitted_points(job.model, state)[1]) * scale + offset)
        rotations.append(np.asarray(state.pose.rotation))
        expressions.append(np.asarray(state.face.expression))
        scales.append(scale)
    return {"points": np.stack(points), "rotation": np.stack(rotations), "expression": np.stack(expressions),
            "scale": np.array(scales)}


def spread(points: np.ndarray, scale: float) -> float:
    """Root mean square over points and axes of the standard deviation in time, pixels of the crop."""
    return float(np.sqrt(np.mean(np.var(points / scale, axis=0))))


def true_rotation(film: Film) -> np.ndarray:
    """Head -> view frame."""
    return np.asarray(jax.vmap(lambda rotation: rotation * jnp.array([[1.0], [-1.0], [-1.0]]))(film.camera.rotation))


def errors(film: Film, rows: np.ndarray, points: np.ndarray, rotation: np.ndarray, expression: np.ndarray) -> dict[str, object]:
    """Errors of frames against the truth, of those that show the face."""
    shown = np.isfinite(points).all(axis=(1, 2))
    rows, points, rotation, expression = rows[shown], points[shown], rotation[shown], expression[shown]
    apart = Rotation.from_matrix(np.einsum("tij,tkj->tik", rotation, true_rotation(film)[rows]))
    left = (apart.mean().inv() * apart).as_rotvec(degrees=True)
    eyes = np.linalg.norm(film.points[rows, 36] - film.points[rows, 45], axis=-1)
    far = np.linalg.norm(points - film.points[rows], axis=-1).mean(1)
    step = np.linalg.norm(np.diff(points - film.points[rows], axis=0), axis=-1) if len(rows) == len(film.frames) else None
    return {
        "rotation_sd_degrees": {name: round(float(np.std(left[:, axis])), 2) for axis, name in enumerate(("pitch", "yaw", "roll"))},
        "rotation_rms_degrees": round(float(np.sqrt(np.mean(np.sum(left**2, -1)))), 2),
        "points_percent_of_eyes": round(float(np.mean(far / eyes)) * 100, 2),
        "point_error_step_px": None if step is None else round(float(np.sqrt(np.mean(step**2))), 3),
        "expression_mean_absolute": round(float(np.mean(np.abs(expression - film.expression[rows]))), 4),
        "expression_neutral_would_be": round(float(np.mean(np.abs(film.expression[rows]))), 4)}


def still(seed: int, fields: dict[str, object], ways: list[str], count: int) -> dict[str, object]:
    """Jitter of a still face, pixels of the crop."""
    film = draw_film(frames=STILL, seed=seed, still=True)
    scale = crop_square(film.points[0])[1] / CROP
    said: dict[str, object] = {by: round(spread(tracked(film, fields, by).points[WARM:], scale), 4) for by in ways}
    said["alone"] = round(spread(alone(film)["points"][WARM:], scale), 4)
    if count:
        said["single"] = round(spread(single(film, list(range(count)))["points"], scale), 4)
    return said


def moving(seed: int, fields: dict[str, object], ways: list[str], count: int, what: set[str]) -> dict[str, object]:
    """Errors on a film, and how soon a track is back after a card."""
    film, said = draw_film(seed=seed), {}
    whole, rows = np.arange(len(film.frames)), np.linspace(0, len(film.frames) - 1, max(count, 1)).astype(int)
    if "moving" in what:
        by_itself = alone(film)
        said["alone"] = errors(film, whole, **by_itself)
        if count:
            fits = single(film, list(rows))
            said["single"] = errors(film, rows, fits["points"], fits["rotation"], fits["expression"])
    for by in ways:
        begun = time.process_time()
        track = tracked(film, fields, by)
        said[by] = errors(film, whole, track.points, track.rotation, track.expression)
        said[f"{by}_lost"], said[f"{by}_processor_seconds"] = track.lost(), round(time.process_time() - begun, 1)
        if "moving" in what and count:
            said[f"{by}_same_frames"] = errors(film, rows, track.points[rows], track.rotation[rows], track.expression[rows])
        if "covered" in what:
            said[f"{by}_covered"] = back_after(film, track, tracked(draw_film(seed=seed, card=CARD), fields, by))
    return said


def back_after(film: Film, track: Track, covered: Track) -> dict[str, object]:
    """How soon a track is back after a card, beside the track of the same film without the card."""
    eyes = np.linalg.norm(film.points[:, 36] - film.points[:, 45], axis=-1)
    apart = np.linalg.norm(covered.points - track.points, axis=-1).mean(1) / eyes
    after = np.flatnonzero(apart[CARD.stop:] < BACK)
    return {"lost": covered.lost(), "back_after_frames": int(after[0]) + 1 if len(after) else None,
            "apart_percent_after": [round(float(100 * value), 2) for value in apart[CARD.stop:CARD.stop + 6]]}


def frame_time(seed: int, fields: dict[str, object], by: str) -> dict[str, float]:
    """Milliseconds of a frame on two idle cores, by processor time: the second half of a film, when all is compiled."""
    film = draw_film(seed=seed, frames=40)
    marks: list[float] = []
    frames = [Frame(number / FPS, pixels) for number, pixels in enumerate(film.frames)]
    source = Source(name="rendered", kind="film", frames=lambda note: iter(frames), digest=lambda: "")
    job = prepare_track(by=by, head="makehuman", size=CROP, focal=FOCAL, frames=None, progress=None, fields=dict(fields))
    track_frames(source, job, lambda *_: marks.append(time.process_time()))
    return {f"{by}_frame_ms": round(1000 * float(np.mean(np.diff(marks[20:]))) / CORES, 1)}


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--by", nargs="+", default=["networks", "fits"])
    parser.add_argument("--what", nargs="+", default=["still", "moving", "covered", "time"])
    parser.add_argument("--single", type=int, default=10, help="single-image fits of a film")
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    keep_compiled_programs()
    fields, what = parse_assignments(options.set), set(options.what)
    for seed in options.seeds:
        said: dict[str, object] = {"seed": seed}
        if "still" in what:
            said["still"] = still(seed, fields, options.by, options.single)
        if what & {"moving", "covered"}:
            said |= moving(seed, fields, options.by, options.single, what)
        if "time" in what:
            for by in options.by:
                said |= frame_time(seed, fields, by)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
