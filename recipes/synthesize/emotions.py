"""Expressions that faces make: emotions and single actions as ARKit weights, drawn at random, and told from weights.

Emotions are combinations of facial actions after EMFACS (Friesen and Ekman 1983), each action by its ARKit shape; the classes are
those that Emotion-Net of Chen et al. 2019 tells. Left and right are named once and drawn mostly alike. Pure functions.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.morphable.expressions import mirrored_names
from fitkit.types import MorphableModel

# Weights of full strength; names without a side stand for both. Chosen after EMFACS' action units, in the comments
EMOTIONS: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 0.8, "cheekSquint": 0.7, "eyeSquint": 0.3, "mouthUpperUp": 0.2, "jawOpen": 0.15},      # 6 12
    "sad": {"browInnerUp": 0.8, "browDown": 0.3, "mouthFrown": 0.8, "mouthShrugLower": 0.3, "eyeBlink": 0.2},      # 1 4 15
    "surprised": {"browInnerUp": 0.7, "browOuterUp": 0.8, "eyeWide": 0.7, "jawOpen": 0.5, "mouthFunnel": 0.2},      # 1 2 5 26
    "afraid": {"browInnerUp": 0.8, "browOuterUp": 0.4, "browDown": 0.3, "eyeWide": 0.8, "mouthStretch": 0.7, "jawOpen": 0.2},  # 20
    "disgusted": {"noseSneer": 0.9, "mouthUpperUp": 0.6, "cheekSquint": 0.4, "mouthFrown": 0.3, "browDown": 0.3},      # 9 10 15
    "angry": {"browDown": 0.9, "eyeSquint": 0.5, "mouthPress": 0.7, "mouthRollUpper": 0.3, "noseSneer": 0.3},      # 4 7 23
    "contemptuous": {"mouthSmileLeft": 0.6, "mouthDimpleLeft": 0.7, "mouthPressLeft": 0.3, "cheekSquintLeft": 0.3},      # 12 14
}
CLASSES = (*EMOTIONS, "none")
# Single actions, weights of full strength
ACTIONS: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.8}, {"mouthPucker": 0.9}, {"mouthFunnel": 0.8, "jawOpen": 0.2}, {"cheekPuff": 1.0}, {"mouthLeft": 0.8},
    {"mouthRight": 0.8}, {"jawLeft": 0.7}, {"jawRight": 0.7}, {"jawForward": 0.7}, {"mouthRollLower": 0.8, "mouthRollUpper": 0.8},
    {"mouthPress": 0.9}, {"mouthDimple": 0.9}, {"mouthStretch": 0.9}, {"mouthSmile": 0.9}, {"mouthFrown": 0.9},
    {"mouthUpperUp": 0.8}, {"mouthLowerDown": 0.8, "jawOpen": 0.2}, {"mouthShrugLower": 0.8, "mouthShrugUpper": 0.5},
    {"noseSneer": 0.9}, {"cheekSquint": 1.0}, {"eyeSquint": 0.9}, {"eyeBlink": 1.0}, {"eyeWide": 0.9}, {"browDown": 0.9},
    {"browInnerUp": 0.9}, {"browOuterUp": 0.9, "browInnerUp": 0.4}, {"mouthClose": 0.4, "jawOpen": 0.5})
GAZES = tuple(f"eyeLook{way}{side}" for side in ("Left", "Right") for way in ("Out", "In", "Up", "Down"))
# Of a draw; chosen, not tuned
EMOTIONAL, ACTING = 0.55, 0.9           # share of faces with an emotion; share of those and of faces with actions alone
STRENGTH, UNEVEN = (0.3, 1.1), (0.5, 1.3)       # of an emotion or action; factor of each of its weights; uniform
ONE_SIDED, ASYMMETRIC = 0.15, 0.3       # share of faces whose one half does less; spread of the halves of all others
MOST_ACTIONS = 3                        # of a face without emotion; one joins an emotion in half of the faces
GAZE_DEVIATION = (0.3, 0.15)            # of the weights that turn the eyes aside, and up
ALIKE = 0.55                            # cosine with an emotion's weights from which a face shows it
REST = 0.25                             # length of the weights below which a face is at rest


def draw_emotional(key: Array, head: MorphableModel) -> Float[Array, " E"]:
    """ARKit weights of an emotion, or of up to three actions, or of a face at rest; and a gaze.

    Args:
        key: of everything drawn.
        head: whose expressions are ARKit's, by name.
    """
    emotions, actions = (jnp.asarray(weights_of(table, head.expression_names)) for table in (tuple(EMOTIONS.values()), ACTIONS))
    left, right = (jnp.array([name.endswith(side) for name in head.expression_names]) for side in ("Left", "Right"))
    keys = jax.random.split(key, 9)
    kind, joins = jax.random.uniform(keys[0]), jax.random.uniform(keys[1]) < 0.5
    strength = jax.random.uniform(keys[2], (1 + MOST_ACTIONS,), minval=STRENGTH[0], maxval=STRENGTH[1])
    emotion = emotions[jax.random.randint(keys[3], (), 0, len(emotions))]
    chosen = actions[jax.random.choice(keys[4], len(actions), (MOST_ACTIONS,), replace=False)]
    count = jax.random.randint(keys[5], (), 1, MOST_ACTIONS + 1)
    mirrored = jax.random.uniform(keys[6]) < 0.5
    emotion = jnp.where(mirrored, emotion[_partner(head.expression_names)], emotion)
    emotional, acting = kind < EMOTIONAL, kind < ACTING
    taken = jnp.where(emotional, jnp.arange(MOST_ACTIONS) < joins, (jnp.arange(MOST_ACTIONS) < count) & acting)
    parts = jnp.concatenate([emotion[None] * emotional, chosen * taken[:, None]]) * strength[:, None]
    uneven, halves, one = jax.random.split(keys[7], 3)
    spread = jax.random.uniform(uneven, (len(head.expression_names),), minval=UNEVEN[0], maxval=UNEVEN[1])
    spread = jnp.where(right, spread[_partner(head.expression_names)], spread)
    less = 1 - jax.random.uniform(halves, (2,), maxval=ASYMMETRIC)
    less = jnp.where(jax.random.uniform(one) < ONE_SIDED, jnp.roll(jnp.array([1.0, 0.2]), mirrored), less)
    weights = jnp.max(parts, axis=0) * spread * jnp.where(left, less[0], jnp.where(right, less[1], 1.0))
    weights = weights + _gaze(keys[8], head.expression_names)
    return jnp.clip(weights, head.expression_lower, head.expression_upper)


def emotion_of(weights: Float[np.ndarray, "n E"], names: tuple[str, ...]) -> np.ndarray:
    """The class of each row of ARKit weights, an index of `CLASSES`: the emotion that it is most alike, gaze apart.

    Args:
        weights: in the order of `names`.
        names: ARKit's.
    """
    table = weights_of(tuple(EMOTIONS.values()), names)
    table = np.stack([table, table[:, _partner(names)]])                               # contempt is one-sided, either way
    shown = weights * ~np.isin(names, GAZES)
    length = np.linalg.norm(shown, axis=1)
    cosine = np.einsum("ne,mke->nmk", shown, table / np.linalg.norm(table, axis=-1, keepdims=True)).max(1)
    cosine /= np.maximum(length, REST)[:, None]
    return np.where((cosine.max(1) >= ALIKE) & (length >= REST), cosine.argmax(1), len(EMOTIONS))


def weights_of(table: tuple[dict[str, float], ...], names: tuple[str, ...]) -> Float[np.ndarray, "n E"]:
    """Rows of weights in the order of `names`; a name without side stands for both sides, one that is unknown for none."""
    rows = np.zeros((len(table), len(names)), np.float32)
    for row, entry in zip(rows, table, strict=True):
        for name, weight in entry.items():
            for full in (name, f"{name}Left", f"{name}Right"):
                if full in names:
                    row[names.index(full)] = weight
    return rows


def _partner(names: tuple[str, ...]) -> np.ndarray:
    return np.array(mirrored_names(names))


def _gaze(key: Array, names: tuple[str, ...]) -> Float[Array, " E"]:
    """Weights that turn both eyes alike."""
    across, up = jax.random.normal(key, (2,)) * jnp.array(GAZE_DEVIATION)
    turned = {"Out": (across, -across), "In": (-across, across), "Up": (up, up), "Down": (-up, -up)}
    weights = jnp.zeros(len(names))
    for way, sides in turned.items():
        for side, weight in zip(("Left", "Right"), sides, strict=True):
            if (name := f"eyeLook{way}{side}") in names:
                weights = weights.at[names.index(name)].set(weight)
    return weights
