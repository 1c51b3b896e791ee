"""Writes and names the CSV of Epic's app Live Link Face, which Unreal, Blender, MotionBuilder and Maya tools read.

    Timecode,BlendShapeCount,EyeBlinkLeft,...,TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,...,RightEyeRoll
    00:00:01:05.250,61,0.0123,...

Weights are ARKit's. Angles are radians, right-handed about y (up), x (the viewer's right) and z (to the viewer): positive yaw looks
to the viewer's right, positive pitch down. The timecode is hours:minutes:seconds:frames, with a fraction of a frame. Frames without
the face have no row.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fitkit.tracking.track import Track


EYES = (                # of ARKit's weights, in Apple's order, L and R for the side
    "eyeBlink{}", "eyeLookDown{}", "eyeLookIn{}", "eyeLookOut{}", "eyeLookUp{}", "eyeSquint{}", "eyeWide{}")
REST = (
    "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut")
SHAPES = (*(name.format("Left") for name in EYES), *(name.format("Right") for name in EYES), *REST)
ANGLES = tuple(f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))


def live_link_csv(track: "Track") -> str:
    """The text of the file; a weight that the head lacks is 0."""
    names = list(track.model.expression_names)
    columns = [names.index(name) if name in names else None for name in SHAPES]
    gaze = track.gaze
    still = np.zeros((len(track.seconds), 3))
    eyes = [gaze.get(part, still)[:, [1, 0, 2]] for part in ("eye_left", "eye_right")]      # rotation vector: x is pitch, y yaw
    angles = np.concatenate([np.radians(track.angles), *eyes], axis=1)
    fps = frame_rate(track)
    lines = [",".join(["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in SHAPES), *ANGLES])]
    for row in np.flatnonzero(track.found):
        weights = [0.0 if column is None else float(track.expression[row, column]) for column in columns]
        values = [f"{value:.6f}" for value in (*weights, *angles[row])]
        lines.append(",".join([timecode(float(track.seconds[row]), fps), str(len(values)), *values]))
    return "\n".join(lines) + "\n"


def frame_rate(track: "Track") -> int:
    """Frames of a second, whole: by the median step between two."""
    steps = np.diff(track.seconds)
    return max(1, round(1.0 / float(np.median(steps)))) if len(steps) else 1


def timecode(seconds: float, fps: int) -> str:
    """`HH:MM:SS:FF.fff`."""
    thousandths = round(seconds * fps * 1000)
    whole, fraction = divmod(thousandths, 1000)
    minutes, frame = divmod(whole, fps * 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{frame // fps:02d}:{frame % fps:02d}.{fraction:03d}"
