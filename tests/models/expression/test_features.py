"""What networks see of an expression: mirrored in a mirror, as CoarseNet's own recipe sees it, and a smile in a smile."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from fitkit.fitting.observation import crop_square, working_crop
from fitkit.models import heads
from fitkit.models.coarsenet.crop import crop_of_points, cut_crop, with_margin
from fitkit.models.expression import features
from fitkit.models.mediapipe import blendshapes
from fitkit.morphable.expressions import mirrored_names
from fitkit.morphable.model import values_at_points
from fitkit.recipes.coarsenet.prediction import load_reader

PHOTO = Path(__file__).parents[3] / "notebooks" / "data" / "astronaut.png"
BOX = np.array([180.0, 88, 272, 179])      # of the 68 points
MIRROR_68 = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46,
             39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]


def test_a_smile_is_seen_mirrored_in_a_mirror_and_as_coarsenet_sees_it():
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    pixels = photo.astype(np.float32) / 255
    head = heads.load("makehuman")
    face = np.asarray(values_at_points(head.landmarks, head.triangles, head.mean))[:, :2] * [1, -1]      # roughly: it looks twice
    points = (face - face.min(0)) / np.ptp(face, axis=0) * (BOX[2:] - BOX[:2]) + BOX[:2]
    crop, scale, offset = working_crop(pixels, *crop_square(points), 224)
    networks, ibug = features.load_networks(), (points - offset) / scale
    seen = features.see_expression(networks, jnp.asarray(crop), jnp.asarray(ibug, jnp.float32))
    flipped = np.stack([224 - ibug[MIRROR_68, 0], ibug[MIRROR_68, 1]], axis=1)
    mirrored = features.see_expression(networks, jnp.asarray(crop[:, ::-1]), jnp.asarray(flipped, jnp.float32))
    names = features.ARKIT
    assert names == head.expression_names
    partner = [*mirrored_names(names), *len(names) + np.array(mirrored_names(blendshapes.NAMES))]
    np.testing.assert_allclose(mirrored.features[np.array(partner)], seen.features, atol=0.05)
    assert seen.scores[blendshapes.NAMES.index("mouthSmileLeft")] > 0.5
    assert seen.weights[names.index("mouthSmileLeft")] > 0.2
    reader = load_reader()      # cuts its picture out of the photo, not out of the crop
    own = reader.read(jnp.asarray(cut_crop(photo, with_margin(crop_of_points(points.astype(np.float32)), reader.margin),
                                           side=reader.side)[None] / np.float32(255)))
    np.testing.assert_allclose(seen.weights, own.expression[0], atol=0.12)
