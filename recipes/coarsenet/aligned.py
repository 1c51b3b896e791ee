"""What CoarseNet sees of a face whose points are known: in the upright square that the detector's own mesh looks at.

In: a photo and 468 points. Out: a `FaceState` in the photo's pixels. A head tilted in its picture is then as upright as those that
the network has seen most of. What points and network together tell (`models/build/detector/regression.py`) was learned of such.
"""

import dataclasses
from functools import cache, lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from fitkit.color import quantize
from fitkit.compilation import quick_jit
from fitkit.detection.landmarks import box_of
from fitkit.fitting.observation import Lens
from fitkit.fitting.point_posterior import PosteriorTables, read_points, tables_of
from fitkit.fitting.state import FaceState, Observation
from fitkit.geometry.pose import Pose
from fitkit.models.coarsenet.estimate import CoarseFace, split_outputs
from fitkit.models.coarsenet.network import load_coarsenet, predict
from fitkit.models.heads import makehuman
from fitkit.models.mediapipe.facemesh import resample_window, sample_crop, square_of
from fitkit.models.mediapipe.multiscale_detection import Detection
from fitkit.models.parameters import WEIGHTS
from fitkit.recipes.coarsenet.prediction import FaceReader, in_crop, state_from_answer
from fitkit.types import MorphableModel

JOINT_REGRESSION = WEIGHTS / "joint_regression.safetensors"     # learned by `models/build/detector/regression.py`
EYES = ((33, 133), (263, 362))      # of the 468 points: corners of the subject's right eye and of the left


@cache
def load_glance() -> FaceReader:
    """CoarseNet of single pictures, of each picture alone: without its mirror image it takes half as long; read once.

    Raises:
        FitkitError: E_DATA, its weights are missing or damaged.
    """
    parameters, config = load_coarsenet()
    return FaceReader(
        config.seen, lambda pictures: split_outputs(predict(parameters, pictures, config=config), config), config.margin)


def predict_upright(
    model: MorphableModel, reader: FaceReader, pixels: Float[np.ndarray, "H W 3"], points: Float[np.ndarray, "468 2"], lens: Lens
) -> FaceState:
    """What the network sees of a face, in pixels of the photo.

    Args:
        model: the head that the network knows.
        reader: the network.
        pixels: the photo, sRGB.
        points: of the face, photo pixels.
        lens: of the photo.
    """
    corner, part = _around(pixels, points)
    eyes = np.stack([points[list(corners)].mean(0) - corner for corners in EYES])
    window, _, origin, scale = resample_window(part, Detection(box_of(points - corner), eyes, 1.0))
    square = square_of(jnp.asarray((points - corner - origin) / scale, jnp.float32))
    picture = quantize(np.asarray(_crop(jnp.asarray(window), square)), np.uint8)
    placed = np.asarray(square, np.float64) * [scale, scale, scale, 1.0] + [*(origin + corner), 0.0, 0.0]
    answer = CoarseFace(*(leaf[0] for leaf in reader.read(network_pictures(picture[None], reader))))
    return state_of_upright(model, answer, jnp.asarray(placed, jnp.float32), jnp.float32(lens.focal), jnp.asarray(lens.principal))


def told_together(
    model: MorphableModel, reader: FaceReader | None, pixels: Float[np.ndarray, "H W 3"], points: Float[np.ndarray, "468 2"],
    lens: Lens, observation: Observation, back: tuple[float, np.ndarray],
) -> Observation:
    """The observation of a face with what its points and a network tell together; as it was where either tells nothing.

    Args:
        model: the head that the network knows.
        reader: the network.
        pixels: the photo, sRGB.
        points: of the face, photo pixels.
        lens: of the photo.
        observation: of the face, on a crop.
        back: (scale, offset) of that crop: `photo = crop * scale + offset`.
    """
    if reader is None or observation.message is None:
        return observation
    log_focal = observation.message.pose.log_focal      # of a lens that is not known: so both were learned
    unknown = dataclasses.replace(lens, focal=float(np.exp(log_focal)) * back[0])
    seen = in_crop(predict_upright(model, reader, pixels, points, unknown), back)
    return dataclasses.replace(observation, message=read_points(
        joint_tables(model), observation.seen.points, dataclasses.replace(observation.focal, mean=log_focal),
        observation.principal, prediction=seen))


_crop = jax.jit(sample_crop)


def _around(pixels: Float[np.ndarray, "H W 3"], points: Float[np.ndarray, "468 2"]) -> tuple[np.ndarray, Image.Image]:
    """The part of a photo around a face, large enough for the window, as bytes, and its top left corner."""
    low, high = points.min(0), points.max(0)
    reach = 2.0 * float((high - low).max())
    limit = np.array(pixels.shape[1::-1])
    first = np.clip(np.floor((low + high) / 2 - reach), 0, limit - 1).astype(int)
    last = np.maximum(np.clip(np.ceil((low + high) / 2 + reach), 0, limit).astype(int), first + 1)
    return first, Image.fromarray(quantize(pixels[first[1]:last[1], first[0]:last[0]], np.uint8))


def network_pictures(crops: UInt8[np.ndarray, "B c c 3"], reader: FaceReader) -> Float[Array, "B s s 3"]:
    """Crops of the mesh as the network takes them; in a margin their edge is repeated."""
    side = round(reader.side / reader.margin)
    small = np.stack([np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BILINEAR)) for crop in crops])
    before = (reader.side - side) // 2
    around = (before, reader.side - side - before)
    return jnp.asarray(np.pad(small, ((0, 0), around, around, (0, 0)), mode="edge"), jnp.float32) / 255


@quick_jit()
def state_of_upright(
    model: MorphableModel, answer: CoarseFace, square: Float[Array, " 4"], focal: Float[Array, ""], principal: Float[Array, " 2"]
) -> FaceState:
    """The head of an answer about an upright square, in pixels of the photo.

    Args:
        model: the head, not folded.
        answer: of one picture.
        square: of the photo: centre x, y, side, roll in radians (clockwise in the picture).
        focal: of the photo, pixels.
        principal: of the photo, pixels.
    """
    # in a photo rolled back about its principal point the square stands upright
    cosine, sine = jnp.cos(square[3]), jnp.sin(square[3])
    turn = jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])])
    centre = principal + (square[:2] - principal) @ turn
    state = state_from_answer(model, answer, focal, principal, square[2], centre - square[2] / 2)
    about = jnp.eye(3).at[:2, :2].set(turn.T)      # the view frame counts y upwards
    pose = state.pose
    return FaceState(face=state.face, pose=Pose(
        rotation=about @ pose.rotation, centre=turn @ pose.centre, log_scale=pose.log_scale, log_focal=pose.log_focal,
        principal=pose.principal, perspective=pose.perspective))


@lru_cache(maxsize=4)
def joint_tables(model: MorphableModel) -> PosteriorTables:
    """What the detector's points and the network's face together tell.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    return tables_of(model, makehuman.point_regression(JOINT_REGRESSION))
