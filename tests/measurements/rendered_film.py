"""A film of a drawn person whose pose, expression and points are known, for measurements of tracking.

The person wears a generated skin under one light, and is drawn as labelled pictures are: shadows, shine, shirt and backdrop. She
turns, nods, tilts, comes nearer, speaks, smiles, blinks and looks about; a card may pass before the face.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.geometry.camera import head_angles, head_rotation
from fitkit.labels.drawing import Scene, draw_scenes
from fitkit.labels.fine_head import fine_head
from fitkit.recipes.synthesize.labels import random, scenery
from fitkit.types import Camera, FaceParameters

SIDE = 320              # pixels of a frame
FPS = 25.0
FOCAL = 1.7 * SIDE      # pixels
DISTANCE = 620.0        # mm
NOISE = 2.0             # standard deviation of a pixel, of 255: that of a good webcam
AT_ONCE = 10            # frames drawn by one program
# amplitude, periods in 100 frames, and phase in radians of each movement
TURNS = {"yaw": (32.0, 1.5, 0.0), "pitch": (9.0, 2.0, 0.7), "roll": (7.0, 1.2, 1.4)}      # degrees
SHIFTS = ((18.0, 1.3, 0.4), (10.0, 1.7, 1.9), (60.0, 1.0, 0.2))                            # mm
FACES = {               # of expressions that rise from 0 and fall again: greatest weight, periods, phase
    ("jawOpen",): (0.55, 5.0, 0.0), ("mouthSmileLeft", "mouthSmileRight"): (0.7, 1.5, 2.0), ("browInnerUp",): (0.8, 1.0, 1.0),
    ("eyeBlinkLeft", "eyeBlinkRight"): (0.9, 3.0, 0.5), ("mouthPucker",): (0.6, 2.0, 3.5),
    ("eyeLookOutLeft", "eyeLookInRight"): (0.5, 1.0, 4.5), ("eyeLookInLeft", "eyeLookOutRight"): (0.5, 1.0, 1.4)}


@dataclasses.dataclass(frozen=True, eq=False)
class Film:
    """Frames and what is true of them."""

    frames: np.ndarray          # uint8 [T, SIDE, SIDE, 3], sRGB
    angles: np.ndarray          # degrees [T, 3]: yaw, pitch, roll
    expression: np.ndarray      # [T, 52]
    points: np.ndarray          # the 68 points, pixels [T, 68, 2]
    face: FaceParameters        # identity; expression 0
    camera: Camera              # stacked


def wave(frame: np.ndarray, periods: float, phase: float) -> np.ndarray:
    """A sine of so many periods in 100 frames."""
    return np.sin(2 * np.pi * periods * frame / 100 + phase)


def draw_film(*, frames: int = 100, seed: int = 0, still: bool = False, card: range = range(0), noise: float = NOISE) -> Film:
    """Draw a film.

    Args:
        frames: how many.
        seed: of the person, the light, the backdrop and the noise.
        still: nothing moves.
        card: frames in which a card of one colour covers the face.
        noise: deviation of a pixel, of 255.
    """
    maker = random.RandomLabels(random.RandomConfig(size=SIDE, seed=seed))
    model, number = maker.unfolded, np.zeros(frames) if still else np.arange(frames, dtype=float)
    keys = jax.random.split(jax.random.key(seed), 5)
    identity = random.draw_identity(keys[0], model)
    pool = maker.pool(0)
    turns = np.radians(np.stack([size * wave(number, *rest) for size, *rest in TURNS.values()], -1))
    shifts = np.stack([size * wave(number, *rest) for size, *rest in SHIFTS], -1) + [0, 0, DISTANCE]
    weights = np.zeros((frames, len(model.expression_names)), np.float32)
    for names, (most, periods, phase) in FACES.items():
        for name in names:
            weights[:, model.expression_names.index(name)] = most * np.clip(wave(number, periods, phase), 0, None)
    rotation = jax.vmap(head_rotation)(*jnp.asarray(turns, jnp.float32).T)
    middle = jnp.mean(model.mean, 0)
    cameras = Camera(
        focal=jnp.full(frames, FOCAL), principal=jnp.full((frames, 2), SIDE / 2), rotation=rotation,
        translation=jnp.asarray(shifts, jnp.float32) - rotation @ middle, perspective=True)
    light = scenery.draw_lights(keys[1])
    light = dataclasses.replace(light, lamp=jnp.zeros(3))
    chosen = int(jax.random.randint(keys[2], (), 0, len(pool.textures)))
    alike = {
        "identity": identity, "light": light, "colors": pool.colors[chosen], "texture": pool.textures[chosen],
        "textured": jnp.array(True), "shirt": scenery.draw_shirt(keys[3]), "backdrop": scenery.draw_backdrop(keys[4], size=SIDE),
        "before": jax.tree.map(jnp.asarray, random.nothing_before()), "has_before": jnp.array(False)}
    pictures, points = [], []
    for start in range(0, AT_ONCE if still else frames, AT_ONCE):
        rows = np.minimum(np.arange(start, start + AT_ONCE), frames - 1)
        alike_rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (AT_ONCE, *leaf.shape)), alike)
        scenes = Scene(**alike_rows, expression=jnp.asarray(weights[rows]),
                       camera=jax.tree.map(lambda leaf, rows=rows: leaf[rows], cameras))
        drawn = draw_scenes(model, fine_head(model), maker.shirt, scenes, size=SIDE)
        pictures += list(np.asarray(drawn.picture))[:frames - start]
        points += list(np.asarray(drawn.ibug))[:frames - start]
    if still:
        pictures, points = pictures[:1] * frames, points[:1] * frames
    generator, whole = np.random.default_rng(seed), np.stack(pictures).astype(np.float32)
    for row in card:
        low, high = points[row].min(0).astype(int) - 8, points[row].max(0).astype(int) + 8
        whole[row, max(low[1] - 40, 0):high[1], max(low[0], 0):high[0]] = (60, 90, 70)
    whole = np.clip(whole + noise * generator.standard_normal(whole.shape), 0, 255).round().astype(np.uint8)
    face = FaceParameters(identity=identity, expression=jnp.zeros(weights.shape[1]), albedo=pool.coefficients[chosen],
                          light=light.harmonics)
    return Film(whole, np.asarray(jax.vmap(head_angles)(cameras)), weights, np.stack(points), face, cameras)
