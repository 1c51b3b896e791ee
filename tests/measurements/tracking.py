"""How steady and how true tracking is, on rendered films whose truth is known.

    python -m tests.measurements.tracking [--seeds 0 1] [--what still moving covered] [--single 20] [--set FIELD=VALUE ...]

still     a face that does not move, under noise of 2 grey levels: standard deviation of the 68 points of the fit, pixels of the
          crop (224 px), beside single-image fits of the same frames
moving    100 frames of a person who turns, nods, speaks and blinks: errors of rotation (mean removed: the zero of a head is its
          model's), of the 68 points and of the expression weights, beside single-image fits of every few frames
covered   the same with a card before the face for 10 frames: frames after it until the points are within 2 % of the outer-eye
          distance of where they are without the card

Processor time of a frame is the process's own, over 1.9 cores: wall time says little on a machine that is shared.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from fitkit.configuration import parse_assignments
from fitkit.device import keep_compiled_programs
from fitkit.fitting.observation import Lens, crop_square, observe_square
from fitkit.io.video import Frame
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


def tracked(film: Film, fields: dict[str, object]) -> Track:
    """The track of a film, its lens known."""
    frames = [Frame(number / FPS, pixels) for number, pixels in enumerate(film.frames)]
    source = Source(name="rendered", kind="film", frames=lambda note: iter(frames), digest=lambda: "")
    job = prepare_track(head="makehuman", size=CROP, focal=FOCAL, frames=None, progress=None, fields=dict(fields))
    return track_frames(source, job, lambda *_: None)


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
    """Errors of frames against the truth."""
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


def still(seed: int, fields: dict[str, object], count: int) -> dict[str, object]:
    """Jitter of a still face."""
    film = draw_film(frames=STILL, seed=seed, still=True)
    track, alone = tracked(film, fields), single(film, list(range(count)))
    scale = float(alone["scale"].mean())
    return {"track_px": round(spread(track.points[WARM:], scale), 4), "single_px": round(spread(alone["points"], scale), 4),
            "frames": STILL - WARM, "single_frames": count}


def moving(seed: int, fields: dict[str, object], count: int, what: set[str]) -> dict[str, object]:
    """Errors on a film, and how soon the track is back after a card."""
    film, said = draw_film(seed=seed), {}
    begun = time.process_time()
    track = tracked(film, fields)
    said["track"] = errors(film, np.arange(len(film.frames)), track.points, track.rotation, track.expression)
    said["lost"], said["seconds"] = track.lost(), {name: round(value, 1) for name, value in track.timings.items()}
    said["processor_seconds"] = round(time.process_time() - begun, 1)
    if "moving" in what:
        rows = np.linspace(0, len(film.frames) - 1, count).astype(int)
        alone = single(film, list(rows))
        said["single"] = errors(film, rows, alone["points"], alone["rotation"], alone["expression"])
        said["track_same_frames"] = errors(film, rows, track.points[rows], track.rotation[rows], track.expression[rows])
    if "covered" in what:
        covered = tracked(draw_film(seed=seed, card=CARD), fields)
        eyes = np.linalg.norm(film.points[:, 36] - film.points[:, 45], axis=-1)
        apart = np.linalg.norm(covered.points - track.points, axis=-1).mean(1) / eyes
        after = np.flatnonzero(apart[CARD.stop:] < BACK)
        said["covered"] = {"lost": covered.lost(), "back_after_frames": int(after[0]) + 1 if len(after) else None,
                           "apart_percent_after": [round(float(100 * value), 2) for value in apart[CARD.stop:CARD.stop + 6]]}
    return said


def frame_time(seed: int, fields: dict[str, object]) -> dict[str, float]:
    """Milliseconds of a frame on two idle cores, by processor time: the second half of a film, when all is compiled."""
    film = draw_film(seed=seed, frames=40)
    marks: list[float] = []
    frames = [Frame(number / FPS, pixels) for number, pixels in enumerate(film.frames)]
    source = Source(name="rendered", kind="film", frames=lambda note: iter(frames), digest=lambda: "")
    job = prepare_track(head="makehuman", size=CROP, focal=FOCAL, frames=None, progress=None, fields=dict(fields))
    track_frames(source, job, lambda *_: marks.append(time.process_time()))
    return {"frame_ms": round(1000 * float(np.mean(np.diff(marks[20:]))) / CORES, 1)}


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--what", nargs="+", default=["still", "moving", "covered", "time"])
    parser.add_argument("--single", type=int, default=10, help="single-image fits of a film")
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    keep_compiled_programs()
    fields, what = parse_assignments(options.set), set(options.what)
    for seed in options.seeds:
        said: dict[str, object] = {"seed": seed}
        if "still" in what:
            said["still"] = still(seed, fields, options.single)
        if what & {"moving", "covered"}:
            said |= moving(seed, fields, options.single, what)
        if "time" in what:
            said |= frame_time(seed, fields)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
