"""The mouth of the embedded head: teeth stay behind the lips in every identity, closed lips show none, the inside is dark."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import project
from fitkit.models.heads import makehuman
from fitkit.rendering.rasterizer import rasterize
from fitkit.results import pictures

SIDE = 384
ZOOM, MOUTH_BELOW = 4.0, 75.0       # portrait at SIDE pixels: the mouth lies this far below its middle
SMILE = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5,
         "mouthLowerDownLeft": 0.4, "mouthLowerDownRight": 0.4}
LIP_MIDDLE = [62, 66]               # iBUG: middle of the inner edge of upper and lower lip


@pytest.fixture(scope="module")
def head():
    return makehuman.load()


def posed(model, identity=None, **weights):
    """Vertices [V, 3] with identity coefficients by mode and expression weights by name."""
    shape = np.asarray(model.mean)
    for mode, value in (identity or {}).items():
        shape = shape + value * np.asarray(model.identity)[mode]
    for name, value in weights.items():
        shape = shape + value * np.asarray(model.expression)[model.expression_names.index(name)]
    return shape


def vertices_of(model, *parts):
    mask = np.isin(np.asarray(model.part), [model.part_names.index(part) for part in parts])
    return np.unique(np.asarray(model.triangles)[mask])


def contact(model, shape):
    """Middle of the line where the lips meet [3]; for closed lips."""
    corners = shape[np.asarray(model.triangles)[np.asarray(model.landmarks.triangle)[LIP_MIDDLE]]]
    return np.einsum("nk,nkd->d", np.asarray(model.landmarks.barycentric)[LIP_MIDDLE], corners) / len(LIP_MIDDLE)


def incisors(model, row):
    teeth = vertices_of(model, row)
    return teeth[np.abs(np.asarray(model.mean)[teeth, 0]) < 9]


def seen(model, shape, yaw):
    """Part [SIDE, SIDE] that each pixel of a close view of the mouth shows, by name."""
    camera = pictures.portrait_camera(model, yaw, SIDE)
    at = project(camera, jnp.asarray(contact(model, np.asarray(model.mean)), jnp.float32)[None])[0][0]
    camera = dataclasses.replace(camera, focal=camera.focal * ZOOM, principal=SIDE / 2 - ZOOM * (at - SIDE / 2))
    pixels, depth = project(camera, jnp.asarray(shape, jnp.float32))
    triangle = np.asarray(rasterize(pixels, depth, model.triangles, height=SIDE, width=SIDE).triangle)
    names = np.array([*model.part_names, "nothing"])
    return names[np.where(triangle < 0, len(names) - 1, np.asarray(model.part)[triangle])]


def is_teeth(parts):
    return np.isin(parts, ["teeth_upper", "teeth_lower"])


@pytest.mark.parametrize(("yaw", "pixels"), [(-35.0, 2), (0.0, 0), (35.0, 2)])
def test_closed_lips_show_no_tooth(head, yaw, pixels):
    parts = seen(head, posed(head), yaw)
    assert (parts == "skin").mean() > 0.5 and is_teeth(parts).sum() <= pixels      # of a fifth of a millimetre


def test_a_smile_shows_upper_teeth_and_no_tongue(head):
    parts = seen(head, posed(head, jawOpen=0.1, **SMILE), 0.0)
    opening = np.isin(parts, [*head.part_names[3:]])
    assert opening.sum() > 3000
    assert (parts == "teeth_upper")[opening].mean() > 0.6 and (parts == "tongue")[opening].mean() < 0.01


def test_an_open_mouth_shows_both_rows_and_little_tongue(head):
    parts = seen(head, posed(head, jawOpen=0.3), 0.0)
    opening = np.isin(parts, [*head.part_names[3:]])
    assert (parts == "teeth_upper")[opening].mean() > 0.1 and (parts == "teeth_lower")[opening].mean() > 0.1
    assert (parts == "tongue")[opening].mean() < 0.25


def test_the_tongue_comes_out(head):
    out, rest = posed(head, jawOpen=0.4, tongueOut=1.0), posed(head)
    tongue = vertices_of(head, "tongue")
    assert out[tongue, 2].max() > contact(head, rest)[2] + 3
    assert rest[tongue, 1].max() < rest[incisors(head, "teeth_lower"), 1].max() - 3     # else it lies behind the lower teeth


@pytest.mark.parametrize("mode", [None, *range(20)])
def test_incisors_follow_the_lips(head, mode):
    upper, lower = incisors(head, "teeth_upper"), incisors(head, "teeth_lower")
    for amount in (0.0,) if mode is None else (-1.5, 1.5):
        shape = posed(head, {} if mode is None else {mode: amount})
        lips = contact(head, shape)
        assert -3.0 < shape[upper, 1].min() - lips[1] < -2.0            # the edge, below the line of contact
        assert 5.0 < lips[2] - shape[upper, 2].max() < 10.0             # behind the lips, but not deep behind
        assert shape[upper, 2].max() > shape[lower, 2].max() + 1 and shape[lower, 1].max() > shape[upper, 1].min() + 2


def test_incisors_follow_the_lips_of_people(head):
    rng = np.random.default_rng(4)
    upper = incisors(head, "teeth_upper")
    for _ in range(10):
        identity = dict(enumerate(0.6 * rng.standard_normal(len(head.identity))))
        shape = posed(head, identity)
        assert -4.5 < shape[upper, 1].min() - contact(head, shape)[1] < -1.0
        assert is_teeth(seen(head, posed(head, identity, jawOpen=0.1, **SMILE), 0.0)).sum() > 500


def test_the_inside_is_dark_and_teeth_fade_backwards(head):
    colour, mean = np.asarray(head.albedo_mean), np.asarray(head.mean)
    lining, skin = vertices_of(head, "mouth"), vertices_of(head, "skin")
    edge, inner = np.intersect1d(lining, skin), np.setdiff1d(lining, skin)
    away = np.linalg.norm(mean[inner, None] - mean[edge], axis=-1).min(axis=1)
    assert colour[inner[away > 8]].max() < 0.08 and colour[inner[away < 2], 0].mean() > 0.1
    assert colour[vertices_of(head, "tongue")].max() < 0.2
    teeth = vertices_of(head, "teeth_upper")
    front = mean[teeth, 2] > mean[teeth, 2].max() - 4
    assert colour[teeth[front]].mean() > 0.4 and colour[teeth[mean[teeth, 2] < mean[teeth, 2].max() - 30]].mean() < 0.15
