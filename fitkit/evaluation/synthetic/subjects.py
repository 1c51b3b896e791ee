"""Ground-truth subjects of the synthetic benchmark: people with expressions, and the camera of each picture, by seed.

Identity coefficients are normal over all modes (seed -> `default_rng(seed).standard_normal`); seeds 0-19 develop, 100-119 test.
A person keeps identity, expression and skin over all pictures; lens, pose and light change from picture to picture.
Frame: the head's own, millimetres, moved so that the middle of the face area is the origin (see `types`).
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.evaluation.synthetic.populations import Population
from fitkit.geometry.camera import head_rotation
from fitkit.types import Camera

SPLITS = {"develop": range(20), "test": range(100, 120)}        # seeds: a definition

# ranges of uniform draws, and deviations; chosen, not tuned
LENS_RANGE = (35.0, 85.0)       # mm on full frame, uniform in the logarithm
WIDE_LENS = 28.0                # mm on full frame
FULL_FRAME = 36.0               # mm, the longer side of full frame: a definition
HEAD_HEIGHT = 235.0             # mm, chin to crown
HEAD_SHARE = (0.55, 0.72)       # height of the head over that of the picture
SHIFT = 0.02                    # deviation of the head's place from the picture's middle, in picture widths
MAX_TILT = (8.0, 6.0)           # pitch and roll, degrees either way
GAZE_DEVIATION = (0.25, 0.1)    # of the ARKit weights that turn the eyes sideways and up
GESTURE_COUNT, STRONG_COUNT = 2, 3
STRENGTH, HIGH_STRENGTH = (0.3, 1.0), (0.9, 1.2)         # of a gesture
ASYMMETRY = (0.8, 1.2)          # factor on each weight of a gesture

# Facial gestures as ARKit weights; each is scaled by a random strength, each of its weights by a factor of its own.
GESTURES: dict[str, dict[str, float]] = {
    "rest": {},
    "smile": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5},
    "laugh": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "jawOpen": 0.35, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3,
              "cheekSquintLeft": 0.7, "cheekSquintRight": 0.7, "eyeSquintLeft": 0.4, "eyeSquintRight": 0.4},
    "talk": {"jawOpen": 0.3, "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3},
    "round": {"jawOpen": 0.15, "mouthFunnel": 0.5, "mouthPucker": 0.3},
    "surprise": {"jawOpen": 0.4, "browInnerUp": 0.8, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7, "eyeWideLeft": 0.6,
                 "eyeWideRight": 0.6},
    "frown": {"browDownLeft": 0.8, "browDownRight": 0.8, "mouthFrownLeft": 0.5, "mouthFrownRight": 0.5},
    "sneer": {"noseSneerLeft": 0.6, "noseSneerRight": 0.6, "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4},
    "press": {"mouthPressLeft": 0.6, "mouthPressRight": 0.6, "mouthDimpleLeft": 0.4, "mouthDimpleRight": 0.4},
    "brows": {"browInnerUp": 0.7, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6},
    "squint": {"eyeSquintLeft": 0.7, "eyeSquintRight": 0.7, "browDownLeft": 0.4, "browDownRight": 0.4},
    "half_closed": {"eyeBlinkLeft": 0.35, "eyeBlinkRight": 0.35},
    "aside": {"mouthLeft": 0.5, "jawLeft": 0.3},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """One subject with one expression; the scan is `vertices[population.face[population.scanned]]`."""

    seed: int
    identity: Float[np.ndarray, " I"]        # standard deviations
    expression: Float[np.ndarray, " E"]      # ARKit weights
    vertices: Float[np.ndarray, "V 3"]       # mm, expression applied
    neutral: Float[np.ndarray, "V 3"]        # the same without expression


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """The camera of one picture, and the angles and lens it was made from."""

    yaw: float                               # degrees, signed
    pitch: float                             # degrees
    roll: float                              # degrees
    lens: float                              # mm on full frame
    camera: Camera                           # of the picture, pixels


def person(population: Population, seed: int, *, expressions: str = "gestures") -> Person:
    """Subject `seed`, in its one expression of one of `kinds.EXPRESSIONS`."""
    modes, shapes = (np.asarray(array, np.float64) for array in (population.identity, population.expression))
    drawn = np.random.default_rng(seed).standard_normal(len(modes))
    identity = population.identity_mean + population.identity_deviation * drawn
    weights = expression(population.expression_names, np.random.default_rng((seed, 1)), kind=expressions)
    neutral = population.mean + np.tensordot(identity, modes, axes=1)
    vertices = neutral + np.tensordot(weights, shapes, axes=1)
    middle = neutral[population.face].mean(axis=0)
    return Person(seed=seed, identity=identity, expression=weights, vertices=vertices - middle, neutral=neutral - middle)


def expression(names: tuple[str, ...], generator: np.random.Generator, *, kind: str = "gestures") -> Float[np.ndarray, " E"]:
    """ARKit weights of two gestures of random strength and a gaze; of kind "strong" of three strong ones, of "neutral" none."""
    if kind == "neutral":
        return np.zeros(len(names))
    wanted: dict[str, float] = {}
    count, strengths = (STRONG_COUNT, HIGH_STRENGTH) if kind == "strong" else (GESTURE_COUNT, STRENGTH)
    for gesture in generator.choice(list(GESTURES), size=count, replace=False):
        strength = generator.uniform(*strengths)
        for name, weight in GESTURES[str(gesture)].items():
            wanted[name] = max(wanted.get(name, 0.0), weight * strength * generator.uniform(*ASYMMETRY))
    across, up = generator.normal(0, GAZE_DEVIATION)
    for side, outward in (("Left", across), ("Right", -across)):
        wanted |= {f"eyeLookOut{side}": outward, f"eyeLookIn{side}": -outward, f"eyeLookUp{side}": up, f"eyeLookDown{side}": -up}
    arkit = [name.replace("_L", "Left").replace("_R", "Right") for name in names]
    # ICT-FaceKit splits some of ARKit's shapes into a left and a right one
    weights = [wanted.get(name, wanted.get(name.removesuffix("Left").removesuffix("Right"), 0.0)) for name in arkit]
    return np.clip(weights, 0.0, 1.0)


def view(seed: int, yaw: float, width: int, height: int, *, wide: bool = False) -> View:
    """The camera of the picture of subject `seed` at `yaw` degrees, to the left or to the right by seed.

    `wide`: at `WIDE_LENS`, near enough for the head to keep its size.
    """
    generator = np.random.default_rng((seed, 2, round(yaw)))
    side = 1.0 if generator.uniform() < 0.5 else -1.0
    pitch, roll = generator.uniform(-1, 1, 2) * MAX_TILT
    drawn = float(np.exp(generator.uniform(*np.log(LENS_RANGE))))
    lens = WIDE_LENS if wide else drawn
    focal = lens / FULL_FRAME * max(width, height)
    distance = focal * HEAD_HEIGHT / (generator.uniform(*HEAD_SHARE) * height)
    shift = generator.normal(0, 1, 2) * (SHIFT * distance * width / focal)
    rotation = head_rotation(*np.radians([side * yaw, pitch, roll]))
    camera = Camera(
        focal=jnp.float32(focal), principal=jnp.asarray([width / 2, height / 2], jnp.float32), rotation=rotation,
        translation=jnp.asarray([shift[0], shift[1], distance], jnp.float32), perspective=True)
    return View(yaw=side * yaw, pitch=float(pitch), roll=float(roll), lens=lens, camera=camera)
