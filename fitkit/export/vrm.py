"""What VRM 1.0 adds to a GLB: the bones of a humanoid, expression presets made of ARKit's shapes, where the eyes may look, terms.

In: the numbers of nodes and the names of morph targets, from `rigged.py`. Out: extension `VRMC_vrm` as JSON values, by the
specification `VRMC_vrm-1.0`.

VRM demands a whole body: `BODY` lists nodes without a mesh where an adult's joints are, so that avatar programs take the head.
"""

from collections.abc import Mapping, Sequence
from typing import Any

# Joints that VRM 1.0 requires beside the head: name, parent, and place from the head joint, mm: a person of 1.7 m in a T pose, from
# proportions of Drillis and Contini (1966), rounded. The ground is 1,560 mm under the head joint.
BODY: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("hips", "", (0, -660, -20)), ("spine", "hips", (0, -540, -20)), ("neck", "spine", (0, -90, -10)),
    ("leftUpperLeg", "hips", (90, -700, -20)), ("leftLowerLeg", "leftUpperLeg", (90, -1110, -20)),
    ("leftFoot", "leftLowerLeg", (90, -1490, -20)),
    ("rightUpperLeg", "hips", (-90, -700, -20)), ("rightLowerLeg", "rightUpperLeg", (-90, -1110, -20)),
    ("rightFoot", "rightLowerLeg", (-90, -1490, -20)),
    ("leftUpperArm", "spine", (180, -180, -20)), ("leftLowerArm", "leftUpperArm", (480, -180, -20)),
    ("leftHand", "leftLowerArm", (730, -180, -20)),
    ("rightUpperArm", "spine", (-180, -180, -20)), ("rightLowerArm", "rightUpperArm", (-480, -180, -20)),
    ("rightHand", "rightLowerArm", (-730, -180, -20)),
)
STANDS = 1560.0         # mm of the head joint above the ground

# Expression presets of VRM 1.0: weights of ARKit's shapes, a name that ends in * on both sides of the face. Chosen by eye.
PRESETS: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile*": 0.8, "cheekSquint*": 0.5, "eyeSquint*": 0.3},
    "angry": {"browDown*": 1.0, "noseSneer*": 0.4, "mouthFrown*": 0.4, "eyeSquint*": 0.3},
    "sad": {"browInnerUp": 0.9, "mouthFrown*": 0.7, "mouthShrugLower": 0.3},
    "relaxed": {"mouthSmile*": 0.35, "eyeSquint*": 0.2, "eyeBlink*": 0.15},
    "surprised": {"browInnerUp": 0.7, "browOuterUp*": 0.8, "eyeWide*": 0.8, "jawOpen": 0.3},
    "aa": {"jawOpen": 0.6}, "ih": {"jawOpen": 0.15, "mouthStretch*": 0.5}, "ou": {"mouthPucker": 0.8, "jawOpen": 0.1},
    "ee": {"jawOpen": 0.1, "mouthStretch*": 0.6, "mouthSmile*": 0.3}, "oh": {"mouthFunnel": 0.7, "jawOpen": 0.35},
    "blink": {"eyeBlink*": 1.0}, "blinkLeft": {"eyeBlinkLeft": 1.0}, "blinkRight": {"eyeBlinkRight": 1.0},
    "lookUp": {"eyeLookUp*": 1.0}, "lookDown": {"eyeLookDown*": 1.0},
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    "neutral": {},
}
LICENCE = "https://vrm.dev/licenses/1.0/"       # the one address that the format takes
BONES = {"eye_left": "leftEye", "eye_right": "rightEye"}       # our joints under VRM's names; head and jaw are called the same


def vrm_extension(
    *, name: str, bones: Mapping[str, int], mesh_node: int, targets: Sequence[str], gaze_degrees: float,
    eyes_from_head: tuple[float, float, float],
) -> dict[str, Any]:
    """The value of `VRMC_vrm`.

    Args:
        name: of the person.
        bones: node of each bone, by VRM's names.
        mesh_node: node of the head's mesh.
        targets: names of its morph targets.
        gaze_degrees: how far the eyes turn.
        eyes_from_head: middle between the eyes from the head joint, metres.
    """
    presets = {preset: _expression(_both_sides(weights), mesh_node, targets) for preset, weights in PRESETS.items()}
    own = {target: _expression({target: 1.0}, mesh_node, targets) for target in targets}      # for programs that send ARKit's
    reach = {"inputMaxValue": gaze_degrees, "outputScale": gaze_degrees}
    looks = {f"rangeMap{side}": reach for side in ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")}
    return {
        "specVersion": "1.0",
        "meta": {"name": name, "version": "1", "authors": [name], "licenseUrl": LICENCE, "avatarPermission": "onlyAuthor",
                 "commercialUsage": "personalNonProfit", "creditNotation": "required", "allowRedistribution": False,
                 "modification": "prohibited"},
        "humanoid": {"humanBones": {bone: {"node": node} for bone, node in bones.items()}},
        "lookAt": {"type": "bone", "offsetFromHeadBone": list(eyes_from_head), **looks},
        "expressions": {"preset": presets, "custom": own},
    }


def _both_sides(weights: Mapping[str, float]) -> dict[str, float]:
    return {full: weight for name, weight in weights.items()
            for full in ([name[:-1] + "Left", name[:-1] + "Right"] if name.endswith("*") else [name])}


def _expression(weights: Mapping[str, float], mesh_node: int, targets: Sequence[str]) -> dict[str, Any]:
    """An expression of the shapes that the head has."""
    binds = [{"node": mesh_node, "index": list(targets).index(name), "weight": weight} for name, weight in weights.items()
             if name in targets]
    return {"morphTargetBinds": binds, "isBinary": False, "overrideBlink": "none", "overrideLookAt": "none",
            "overrideMouth": "none"}
