"""Where D-Net starts on labelled pictures: the depth of the head that CoarseNet sees there, as recipe `df2net` has it in use.

The network is shown that head's face, too, and not the true one. It is computed once for each picture (`kept`): camera z, mm, in
the square `MARGIN` times as large as the picture's, of which crops take their part.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.fitting.observation import FOCAL_BOUND, FOCAL_DEVIATION, FOCAL_MEAN, Lens
from fitkit.fitting.state import FaceState, rasterize_state
from fitkit.geometry.pose import rescale_pose
from fitkit.models import heads
from fitkit.models.coarsenet.crop import crop_of_points
from fitkit.models.df2net.depth_frame import to_units
from fitkit.models.shipped import WEIGHTS
from fitkit.recipes.coarsenet.prediction import HEAD, Glimpse, load_reader, predict_states
from fitkit.recipes.df2net.refinement import face_pixels
from fitkit.recipes.train.df2net.examples import Pictures, Square, cut, square_of
from fitkit.recipes.train.df2net.kept import kept_maps
from fitkit.types import MorphableModel

COARSENET: Path = WEIGHTS / "coarsenet.safetensors"
# Chosen, not tuned
MARGIN = 1.25           # sides of the picture's square: crops lie a little beside it
SIDE = 160              # pixels of the maps: a crop of 128 in such a square


def coarse_depths(pictures: Pictures) -> Float[np.ndarray, "n s s"]:
    """Camera z of the face of CoarseNet's head, mm, 0 beside it, in the wider square of each picture.

    Raises:
        FitkitError: E_DATA, CoarseNet's weights are missing or damaged; E_OUTPUT, the cache folder cannot be written.
    """
    model, reader = heads.load(HEAD), load_reader()

    def compute(numbers: list[int]) -> Float[np.ndarray, "b s s"]:
        looks, squares = [], []
        for fields in map(pictures.read, numbers):
            pixels = fields["picture"].astype(np.float32) / 255
            looks.append(Glimpse(pixels, crop_of_points(fields["points68"]), unknown_lens(pixels.shape[:2])))
            squares.append(wider(square_of(fields)))
        made = []
        for state, square in zip(predict_states(model, reader, looks), squares, strict=True):
            scale = SIDE / square.side
            corner = jnp.asarray(-(square.centre - square.side / 2) * scale, jnp.float32)
            made.append(np.asarray(_face_depth(model, state, jnp.float32(scale), corner)))
        return np.stack(made)

    return kept_maps(pictures, (COARSENET,), compute, side=SIDE)


@quick_jit()
def _face_depth(model: MorphableModel, state: FaceState, scale: Float[Array, ""], offset: Float[Array, " 2"]
                ) -> Float[Array, "s s"]:
    moved = FaceState(face=state.face, pose=rescale_pose(state.pose, scale, offset))
    seen = rasterize_state(moved, model, size=SIDE)
    return jnp.where(face_pixels(model, seen), seen.depth, 0.0)


def unknown_lens(shape: tuple[int, ...]) -> Lens:
    """What is known of the lens of a photo, rows and columns, that says nothing of it."""
    middle = np.array([shape[1] / 2, shape[0] / 2], np.float32)
    return Lens(FOCAL_MEAN * max(shape), FOCAL_DEVIATION, FOCAL_BOUND, middle, "estimated")


def wider(square: Square) -> Square:
    """The square of the maps."""
    return Square(square.centre, MARGIN * square.side)


def cut_start(
    depth: Float[np.ndarray, "s s"], fields: dict[str, np.ndarray], square: Square, *, side: int
) -> tuple[Float[np.ndarray, "c c"], Bool[np.ndarray, "c c"]]:
    """Depth of a coarse head's face in a crop of its picture, half crops, and where that face is.

    Args:
        depth: the picture's map (`coarse_depths`).
        fields: of the picture.
        square: of the crop.
        side: of the crop, pixels.
    """
    whole = wider(square_of(fields))
    scale = SIDE / whole.side
    there = Square((square.centre - whole.centre + whole.side / 2) * scale, square.side * scale)
    share = cut((depth > 0).astype(np.float32), there, side=side)
    face = share > 0.5
    if not face.any():
        return np.zeros((side, side), np.float32), face
    values = cut(np.asarray(depth), there, side=side) / np.maximum(share, 1e-3)
    focal = unknown_lens(fields["picture"].shape[:2]).focal * side / square.side
    return np.where(face, to_units(values, face, focal, side=side), 0.0).astype(np.float32), face
