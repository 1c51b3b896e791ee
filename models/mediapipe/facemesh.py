"""MediaPipe's 468-point face mesh (192 px) as a Flax NNX network, and the detector built on it: photo in, `Landmarks` out.

Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video on mobile GPUs". Weights:
`weights/facemesh.safetensors`, made by `models/build/mediapipe.py`; the card beside it tells what it is. Takes sRGB photos,
gives `Landmarks` in photo pixels: this mesh finds the square of the face and says whether there is one, the mesh of
`facemesh_v2.py` the points in it. `load_detector` is what `pipeline.py` hands to `fitkit.detection.landmarks.detect`.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from PIL import Image

from fitkit.color import quantize
from fitkit.compilation import quick_jit
from fitkit.detection.landmarks import Detector, Landmarks, box_of
from fitkit.models.mediapipe.blaze import BlazeBlock, Pointwise, Stem, activate
from fitkit.models.mediapipe.facemesh_v2 import load_facemesh_v2, mirror_averaged_points
from fitkit.models.mediapipe.multiscale_detection import Detection, averaged_detection, detect_faces, overlap
from fitkit.models.parameters import load_parameters, with_parameters

# MediaPipe's own: its network, its crop and its numbering of the points
SIZE = 192                      # side of the input, pixels
POINTS = 468
MARGIN = 1.5                    # side of the crop over the extent of the face
RIGHT_EYE = np.array([33, 133])     # corners of the subject's right eye
LEFT_EYE = np.array([263, 362])     # of the left one
MOUTH = np.array([13, 14])          # inner edges of the lips
# Ours
DETECTION_SIDE = 240            # side of the detector's square in the window, pixels: above SIZE, so that sampling does not alias
WINDOW = 400                    # side of the window that a crop is resampled from, pixels: holds that square at any roll
MAX_PASSES = 6                  # of the mesh; a bound on time
REST_MOTION = 0.005             # mean motion of the points between passes at which to stop, fraction of the square's side
MIN_START_PROBABILITY = 0.01    # face probability under which to stop: no clear face of the development photos starts under it
MIN_PROBABILITY = 0.7           # of a face, in the last pass
MAX_MOTION = 0.03               # of the points in the last pass, fraction of the square's side
MAX_KEYPOINT_DISTANCE = 0.35    # of the mesh's eyes and mouth from the detector's, fraction of the box
# A second look, where the first found no larger face: on turned heads the mesh's probability falls while its points stay good, so
# that a detection which is repeated in every size and mirrored is believed more. On 72 renderings turned by 60 and 75 degrees the
# least averaged score is 0.71, on 430 pictures without a face (parts of photos_train, backs of heads, textures, noise) the greatest
# 0.67.
SECOND_LOOKS = 4                # detections, the best: a bound on time
MIN_AVERAGED_SCORE = 0.7        # of `averaged_detection`
START_SHARE = 0.02           # of the probability asked for, under which to stop, where that is less than MIN_START_PROBABILITY
MIN_TURNED_PROBABILITY = 0.005  # of a face, in place of MIN_PROBABILITY; the least on those renderings is 0.007
DUPLICATE_OVERLAP = 0.5         # two faces that share more than this of the smaller box are one
MESH_OFFSET = (0.3, 0.0)        # pixels of the crop, added: half the mean disagreement of points in mirrored photos


class FaceMesh(nnx.Module):
    """A stem, fourteen blaze blocks, then a branch for the points and one for the probability that a face is there."""

    TRUNK = ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1),
             (64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 128, 2), (128, 128, 1), (128, 128, 1))

    def __init__(self) -> None:
        self.stem = Stem(16, size=3)
        self.stem_slope = nnx.Param(np.zeros(16, np.float32))
        self.trunk = nnx.List([BlazeBlock(i, o, stride=s, prelu=True) for i, o, s in self.TRUNK])
        self.points = Branch(blocks=3, outputs=3 * POINTS)
        self.face = Branch(blocks=1, outputs=1)

    def __call__(self, image: Float[Array, "b 192 192 3"]) -> tuple[Float[Array, "b 468 3"], Float[Array, " b"]]:
        """Points in pixels of the crop (z: same scale, towards the camera negative) and a face logit, from RGB in [0, 1]."""
        x = activate(self.stem(image), self.stem_slope)
        for block in self.trunk:
            x = block(x)
        return self.points(x).reshape(len(image), POINTS, 3), self.face(x)[:, 0]


class Branch(nnx.Module):
    """6x6x128 features -> 3x3x128 -> 3x3x32 -> one vector."""

    def __init__(self, *, blocks: int, outputs: int) -> None:
        self.wide = nnx.List([BlazeBlock(128, 128, stride=2 if i == 0 else 1, prelu=True) for i in range(blocks)])
        self.squeeze = Pointwise(128, 32)
        self.squeeze_slope = nnx.Param(np.zeros(32, np.float32))
        self.narrow = BlazeBlock(32, 32, prelu=True)
        self.output = Pointwise(9 * 32, outputs)

    def __call__(self, x: Float[Array, "b 6 6 128"]) -> Float[Array, "b o"]:
        """Apply the branch."""
        for block in self.wide:
            x = block(x)
        x = self.narrow(activate(self.squeeze(x), self.squeeze_slope))
        return self.output(x.reshape(len(x), -1))


@functools.cache
def load_facemesh() -> dict[str, Array]:
    """The network's parameters, read once."""
    return load_parameters(FaceMesh(), "facemesh")


@quick_jit()
def mesh_points(parameters: dict[str, Array], crops: Float[Array, "b 192 192 3"]) -> tuple[Array, Array]:
    """Points `[b, 468, 3]` in pixels of the crop and the probability `[b]` that a face is there, of RGB crops in [0, 1]."""
    points, logits = with_parameters(FaceMesh(), parameters)(crops)
    return points, jax.nn.sigmoid(logits)


def sample_crop(window: Float[Array, "w w 3"], square: Float[Array, " 4"]) -> Float[Array, "192 192 3"]:
    """Resample a rotated square of a window, bilinear; beyond the window its edge is repeated.

    Args:
        window: RGB.
        square: centre x, y and side in pixels of the window, roll in radians (clockwise in the image).
    """
    step = jnp.arange(SIZE) + 0.5
    x, y = jnp.moveaxis(crop_to_window(jnp.stack(jnp.meshgrid(step, step), -1), square) - 0.5, -1, 0)
    last = window.shape[0] - 1
    x, y = jnp.clip(x, 0, last), jnp.clip(y, 0, last)
    left, top = jnp.floor(x).astype(int), jnp.floor(y).astype(int)
    right, bottom = jnp.minimum(left + 1, last), jnp.minimum(top + 1, last)
    u, v = (x - left)[..., None], (y - top)[..., None]
    upper = window[top, left] * (1 - u) + window[top, right] * u
    lower = window[bottom, left] * (1 - u) + window[bottom, right] * u
    return upper * (1 - v) + lower * v


def crop_to_window(points: Float[Array, "*n 2"], square: Float[Array, " 4"]) -> Float[Array, "*n 2"]:
    """Points in pixels of the crop -> pixels of the window."""
    cos, sin = jnp.cos(square[3]), jnp.sin(square[3])
    turn = jnp.array([[cos, sin], [-sin, cos]])
    return square[:2] + ((points - SIZE / 2) * (square[2] / SIZE)) @ turn


def square_of(points: Float[Array, "468 2"]) -> Float[Array, " 4"]:
    """The square to crop around a face whose points are known: upright along the eyes, 1.5 times the extent of the points."""
    eyes = points[LEFT_EYE].mean(0) - points[RIGHT_EYE].mean(0)
    roll = jnp.arctan2(eyes[1], eyes[0])
    cos, sin = jnp.cos(roll), jnp.sin(roll)
    turn = jnp.array([[cos, sin], [-sin, cos]])
    upright = points @ turn.T
    low, high = upright.min(0), upright.max(0)
    return jnp.concatenate([(low + high) / 2 @ turn, jnp.array([MARGIN * (high - low).max(), roll])])


squares_of = quick_jit()(jax.vmap(square_of))

# squares, points, face probability, motion, number of passes
_Pass = tuple[Array, Array, Array, Array, Array]


@quick_jit()
def refine(parameters: dict[str, Array], windows: Float[Array, "b w w 3"], squares: Float[Array, "b 4"], *,
           least: float | Array = MIN_START_PROBABILITY) -> tuple[Array, Array, Array]:
    """The mesh in the detector's square, then again in the square of its own points, until they stop moving.

    The second pass corrects the detector's roll and scale; a hard face (in profile, strongly rolled) takes a few more.

    Args:
        parameters: of `FaceMesh`.
        windows: from `resample_window`, RGB in [0, 1].
        squares: as in `sample_crop`.
        least: face probability of a pass under which no other follows.

    Returns:
        Points `[b, 468, 2]` in pixels of the window, face probability `[b]` of the last pass, and how far the points moved
        in it `[b]` (mean, fraction of the square's side).
    """
    network = with_parameters(FaceMesh(), parameters)

    def moving(carry: _Pass) -> Array:
        _, _, face, moved, count = carry
        plausible = (count == 0) | (face > least)
        return (count < MAX_PASSES) & plausible & (moved > REST_MOTION)

    def once(carry: _Pass) -> _Pass:
        squares, before, _, _, count = carry
        points, logits = network(jax.vmap(sample_crop)(windows, squares))
        points = jax.vmap(crop_to_window)(points[..., :2] + np.array(MESH_OFFSET, np.float32), squares)
        moved = jnp.linalg.norm(points - before, axis=-1).mean(-1) / squares[:, 2]
        after = (jax.vmap(square_of)(points), points, jax.nn.sigmoid(logits), moved, count + 1)
        # a face that has stopped stays as it is: it does not depend on the others of its batch
        choose = jax.vmap(lambda goes, *either: jax.tree.map(functools.partial(jnp.where, goes), *either))
        return choose(moving(carry), after, carry)

    batch = len(windows)
    start = (squares, jnp.zeros((batch, POINTS, 2)), jnp.zeros(batch), jnp.full(batch, jnp.inf), jnp.zeros(batch, int))
    _, points, face, moved, _ = jax.lax.while_loop(lambda carry: moving(carry).any(), once, start)
    return points, face, moved


@quick_jit()
def points_in_square(parameters: dict[str, Array], windows: Float[Array, "b w w 3"], squares: Float[Array, "b 4"]) -> Array:
    """Points `[b, 470, 2]`, pixels of the window, by the second mesh, in the square where the first one stopped; irises last."""
    return jax.vmap(crop_to_window)(mirror_averaged_points(parameters, jax.vmap(sample_crop)(windows, squares)), squares)


def load_detector() -> Detector:
    """The detector: a function from a photo (RGB in [0, 1], sRGB, `[h, w, 3]`) to its faces, largest first."""
    load_facemesh(), load_facemesh_v2()
    return find_faces


def find_faces(image: Float[np.ndarray, "h w 3"], *, minimum_size: float = 32.0) -> list[Landmarks]:
    """The 468 points of every face of at least `minimum_size` pixels, largest first."""
    photo = Image.fromarray(quantize(image, np.uint8))
    detections = detect_faces(photo, minimum_size=minimum_size)
    faces: list[Landmarks] = []
    for detection in detections:
        _keep(faces, detection, lambda detection: mesh_face(photo, detection))
    largest = max((face.size for face in faces), default=0.0)
    larger = [detection for detection in detections if (detection.box[2:] - detection.box[:2]).max() > largest]
    for detection in larger[:SECOND_LOOKS]:
        _keep(faces, detection, lambda detection: second_look(photo, detection))
    return sorted(faces, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2])))


def follow_face(image: Float[np.ndarray, "h w 3"], before: Landmarks) -> Landmarks | None:
    """The points of a face near where they were in the frame before; None where the mesh sees none there.

    Args:
        image: the frame, RGB in [0, 1].
        before: the points in the frame before.
    """
    points = before.points
    eyes = points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)
    # in place of the detector: of its keypoints eyes and mouth are compared, and its box spans brow to chin
    keypoints = np.stack([*eyes, (eyes[0] + eyes[1]) / 2, points[MOUTH].mean(0), *eyes])
    return mesh_face(Image.fromarray(quantize(image, np.uint8)), Detection(box=before.box, keypoints=keypoints, score=1.0))


def _keep(faces: list[Landmarks], detection: Detection, look: Callable[[Detection], Landmarks | None]) -> None:
    """Add the face that a look at a detection finds, unless it is there already."""
    face = None if _is_duplicate(detection.box, faces) else look(detection)
    if face is not None and not _is_duplicate(face.box, faces):
        faces.append(face)


def _is_duplicate(box: np.ndarray, faces: list[Landmarks]) -> bool:
    return bool(faces) and float(overlap(box, np.stack([face.box for face in faces]))[1].max()) >= DUPLICATE_OVERLAP


def mesh_face(photo: Image.Image, detection: Detection, *, least: float = MIN_PROBABILITY) -> Landmarks | None:
    """The points of one detection; None where the mesh finds no face, does not come to rest, or disagrees with the detector.

    Args:
        photo: 8-bit RGB.
        detection: of a face in it.
        least: probability of a face that the mesh must give it.
    """
    window, square, origin, scale = resample_window(photo, detection)
    start = min(MIN_START_PROBABILITY, START_SHARE * least)
    resting, *quality = refine(load_facemesh(), window[None], square[None], least=start)
    found = points_in_square(load_facemesh_v2(), window[None], squares_of(resting))
    points, probability, moved = (x[0] for x in jax.device_get((found, *quality)))
    points, irises = np.split(np.asarray(points * scale + origin, np.float32), [POINTS])
    if probability < least or moved > MAX_MOTION or keypoint_distance(points, detection) > MAX_KEYPOINT_DISTANCE:
        return None
    return Landmarks(points=points, scheme="mediapipe468", score=float(probability) * detection.score, box=box_of(points),
                     irises=irises)


def second_look(photo: Image.Image, detection: Detection) -> Landmarks | None:
    """`mesh_face` for turned heads, of a detection that the detector repeats at other sizes and mirrored."""
    averaged = averaged_detection(photo, detection)
    return mesh_face(photo, averaged, least=MIN_TURNED_PROBABILITY) if averaged.score >= MIN_AVERAGED_SCORE else None


def resample_window(photo: Image.Image, detection: Detection) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """The surroundings of a detection at a fixed scale, antialiased: faces of all sizes are resampled from one shape.

    Returns:
        The window `[WINDOW, WINDOW, 3]`, RGB in [0, 1], the photo's edge repeated beyond it; the square to crop from it
        (centre, side, roll); its top-left corner in the photo; photo pixels per window pixel.
    """
    eyes = detection.keypoints[1] - detection.keypoints[0]
    centre = (detection.box[:2] + detection.box[2:]) / 2
    scale = MARGIN * float((detection.box[2:] - detection.box[:2]).max()) / DETECTION_SIDE
    origin = centre - WINDOW / 2 * scale
    first = np.ceil(np.maximum(-origin / scale, 0)).astype(int)
    last = np.floor(np.minimum((np.array(photo.size) - origin) / scale, WINDOW)).astype(int)
    last = np.maximum(last, first + 1)
    inside = np.clip(np.concatenate([origin + first * scale, origin + last * scale]), 0, [*photo.size] * 2)
    part = photo.resize((last[0] - first[0], last[1] - first[1]), Image.Resampling.BILINEAR, box=tuple(inside))
    around = [(first[i], WINDOW - last[i]) for i in (1, 0)]
    window = np.pad(np.asarray(part, np.float32) / 255, [*around, (0, 0)], mode="edge")
    square = np.array([WINDOW / 2, WINDOW / 2, DETECTION_SIDE, math.atan2(eyes[1], eyes[0])], np.float32)
    return window, square, origin, scale


def keypoint_distance(points: Float[np.ndarray, "468 2"], detection: Detection) -> float:
    """Greatest distance between eyes and mouth as the mesh and as the detector see them, fraction of the box."""
    mesh = np.stack([points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0), points[MOUTH].mean(0)])
    distance = np.linalg.norm(mesh - detection.keypoints[[0, 1, 3]], axis=-1)
    return float(distance.max() / (detection.box[2:] - detection.box[:2]).max())
