"""A face in a picture -> what networks see of its expression: MediaPipe's scores and CoarseNet's weights, and an upright crop.

The second mesh looks twice: in a square about the 68 points of any detector, then in the square of its own points, as a picture and
mirrored. MediaPipe's scores follow from the points alone, and so tell hardly more than they do of cheeks; CoarseNet sees the skin.
What both say of picture and mirror image is averaged, left and right exchanged: a face and its mirror image are mirrored.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.models.coarsenet.crop import FROM_68, SHARE
from fitkit.models.coarsenet.network import CoarseNetConfig, load_coarsenet, predict
from fitkit.models.mediapipe import blendshapes, facemesh_v2
from fitkit.models.mediapipe.facemesh import MARGIN, SIZE, crop_to_window, sample_crop, square_of
from fitkit.models.mediapipe.facemesh_v2 import FACE_POINTS, FaceMeshV2
from fitkit.models.parameters import with_parameters
from fitkit.morphable.expressions import mirrored_names
from fitkit.rendering.texture import sample_image

EYES = slice(36, 42), slice(42, 48)     # of the 68 points: the subject's right and left eye
ARKIT = (*blendshapes.NAMES[1:], "tongueOut")       # CoarseNet's weights: the embedded head's
TIGHT = 1.1                 # side of an upright crop over the extent of the face's points; chosen

Parameters = dict[str, dict[str, Array]]


class SeenExpression(NamedTuple):
    """What is seen of the expression of one face."""

    scores: Float[Array, " 52"]            # MediaPipe's, in the order of `blendshapes.NAMES`, in [0, 1]
    weights: Float[Array, " 52"]           # CoarseNet's: ARKit's of the embedded head, not clipped
    points: Float[Array, "478 2"]          # pixels of the picture; the last ten are on the irises
    crop: Float[Array, "192 192 3"]        # the face upright, sRGB in [0, 1]; its points span 1 / `TIGHT` of it

    @property
    def features(self) -> Float[Array, " 104"]:
        """Of the dictionary: both networks' numbers."""
        return jnp.concatenate([self.weights, self.scores])


def load_networks() -> Parameters:
    """The networks' parameters, read once.

    Raises:
        FitkitError: E_DATA, weights are missing or damaged.
    """
    return {"mesh": facemesh_v2.load_facemesh_v2(), "blendshapes": blendshapes.load_blendshapes(), "coarsenet": _coarsenet()[0]}


@functools.cache
def _coarsenet() -> tuple[dict[str, Array], CoarseNetConfig]:
    with jax.ensure_compile_time_eval():
        return load_coarsenet()


@quick_jit()
def see_expression(parameters: Parameters, picture: Float[Array, "S S 3"], ibug: Float[Array, "68 2"]) -> SeenExpression:
    """What is seen of the face at the 68 points.

    Args:
        parameters: of `load_networks`.
        picture: sRGB in [0, 1]; NaN, as outside a photo, is taken for black.
        ibug: roughly where the face is, pixels of the picture.
    """
    picture = jnp.nan_to_num(picture)
    network = with_parameters(FaceMeshV2(), parameters["mesh"])
    first = square_about(ibug)
    points = crop_to_window(network(sample_crop(picture, first)[None])[0, :FACE_POINTS, :2], first)
    square = square_of(points)
    crop = sample_crop(picture, square)
    both = network(jnp.stack([crop, crop[:, ::-1]]))[..., :2]
    scores = blendshapes.blendshape_scores(parameters["blendshapes"], both)
    own, mirrored = scores[0], scores[1, jnp.array(mirrored_names(blendshapes.NAMES))]
    tight = square.at[2].multiply(TIGHT / MARGIN)
    weights = coarse_weights(parameters["coarsenet"], picture, square.at[2].multiply(SHARE / MARGIN))
    return SeenExpression((own + mirrored) / 2, weights, crop_to_window(both[0], square), sample_crop(picture, tight))


def coarse_weights(parameters: dict[str, Array], picture: Float[Array, "S S 3"], square: Float[Array, " 4"]) -> Float[Array, " 52"]:
    """ARKit's weights that CoarseNet sees in an upright square: centre x, y, side, roll; as a picture and mirrored."""
    _, config = _coarsenet()
    line = (jnp.arange(config.seen) + 0.5) * (SIZE / config.seen)
    places = crop_to_window(jnp.stack(jnp.meshgrid(line, line), axis=-1), square.at[2].multiply(config.margin))
    seen = sample_image(picture, places)
    numbers = predict(parameters, jnp.stack([seen, seen[:, ::-1]]), config=config)
    own, mirrored = numbers[:, config.identity:config.identity + config.expression]
    return (own + mirrored[jnp.array(mirrored_names(ARKIT))]) / 2


def square_about(ibug: Float[Array, "68 2"]) -> Float[Array, " 4"]:
    """About the square that `facemesh.square_of` gives for a face's 468 points, from its 68: centre x, y, side, roll."""
    right, left = (jnp.mean(ibug[eye], axis=0) for eye in EYES)
    across = left - right
    roll = jnp.arctan2(across[1], across[0])
    turn = jnp.array([[jnp.cos(roll), jnp.sin(roll)], [-jnp.sin(roll), jnp.cos(roll)]])
    upright = ibug @ turn.T
    low, high = upright.min(0), upright.max(0)
    larger, lower = FROM_68
    extent = (high - low).max()
    middle = (low + high) / 2 + jnp.array([0.0, lower]) * larger * extent
    return jnp.concatenate([middle @ turn, jnp.array([MARGIN * larger * extent, roll])])


def resized(crop: Float[Array, "192 192 3"], side: int) -> Float[Array, "s s 3"]:
    """An upright crop at another size, without aliasing."""
    return jax.image.resize(crop, (side, side, 3), "linear", antialias=True)
