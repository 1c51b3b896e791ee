"""What the iterative network is shown: the face it told, drawn where it told it, and the photo where that covers it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import project
from fitkit.geometry.vectors import vertex_normals
from fitkit.labels.hidden_modes import folded_model, hidden_modes
from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, rescaled
from fitkit.models.richardson.feedback import covered, feedback_head, grey_of, network_picture, render_feedback
from fitkit.morphable.model import shape
from tests.fixtures.tiny_head import tiny_head

SIDE = 40
HEAD = tiny_head()
LOG_SIZE = float(np.log(0.7 / np.ptp(np.asarray(HEAD.mean)[:, 1])))      # the ball fills 0.7 of the picture


def told(**pose):
    numbers = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "x": 0.0, "y": 0.0, "size": LOG_SIZE} | pose
    return CoarseFace(identity=jnp.linspace(-1.0, 1.0, 6), expression=jnp.zeros(52), pose=jnp.array(list(numbers.values())),
                      albedo=jnp.zeros(0), light=jnp.zeros((0, 3)))


@pytest.fixture(scope="module")
def draw():
    head = feedback_head(HEAD)
    return jax.jit(lambda face: render_feedback(head, face, side=SIDE))


def test_the_feedback_shows_the_folded_face_where_it_was_told(draw):
    """Against loops over pixels and triangles in NumPy: which triangle is nearest at each pixel's centre, and what it shows."""
    face = told(yaw=20.0, pitch=-8.0, x=0.06, y=-0.04)
    maps = np.asarray(draw(face))
    model = folded_model(HEAD)
    vertices = np.asarray(shape(model, face.identity, face.expression), np.float64)
    camera = rescaled(camera_of(face.pose, hidden_modes(HEAD).middle, focal=1.0, principal=jnp.full(2, 0.5), perspective=False),
                      jnp.float32(SIDE), jnp.zeros(2))
    pixels, depth = (np.asarray(each, np.float64) for each in project(camera, jnp.asarray(vertices, jnp.float32)))
    drawn = feedback_head(HEAD)
    assert len(drawn.triangles) and len(drawn.mean) <= len(HEAD.mean)
    mean = np.asarray(HEAD.mean)
    code = (mean - mean.min(0)) / np.ptp(mean, axis=0)
    np.testing.assert_allclose(np.sort(np.asarray(drawn.code), axis=0)[[0, -1]], np.sort(code, axis=0)[[0, -1]], atol=1e-6)
    nearest, expected, sure = np.full((SIDE, SIDE), np.inf), np.zeros((SIDE, SIDE, 3)), np.ones((SIDE, SIDE), bool)
    x, y = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    for corners in np.asarray(HEAD.triangles):
        (ax, ay), (bx, by), (cx, cy) = pixels[corners]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area < 0:       # y grows downwards: else it is seen from behind
            weights = np.stack([(cx - bx) * (y - by) - (cy - by) * (x - bx), (ax - cx) * (y - cy) - (ay - cy) * (x - cx),
                                (bx - ax) * (y - ay) - (by - ay) * (x - ax)]) / area
            sure &= np.abs(weights.min(0)) > 0.02
            z = np.tensordot(depth[corners], weights, 1)
            nearer = (weights.min(0) >= 0) & (z < nearest)
            nearest[nearer], expected[nearer] = z[nearer], np.tensordot(weights, code[corners], (0, 0))[nearer]
    seen = np.isfinite(nearest)
    assert seen.mean() > 0.2 and sure.mean() > 0.5
    np.testing.assert_array_equal(np.asarray(covered(jnp.asarray(maps)))[sure], seen[sure])
    np.testing.assert_allclose(maps[..., :3][sure], expected[sure], atol=2e-3)


def test_normals_face_the_viewer_and_have_length_one(draw):
    maps = np.asarray(draw(told()))
    seen = np.asarray(covered(jnp.asarray(maps))) > 0
    np.testing.assert_allclose(np.linalg.norm(maps[seen][:, 3:], axis=-1), 1.0, atol=1e-5)
    assert maps[seen][:, 5].mean() > 0.5 and not maps[~seen].any()
    middle = maps[SIDE // 2 - 1:SIDE // 2 + 1, :, 3].mean(0)
    assert middle[seen[SIDE // 2]][0] < -0.5 and middle[seen[SIDE // 2]][-1] > 0.5      # the ball's sides face aside
    vertices = shape(folded_model(HEAD), told().identity, told().expression)
    assert float(vertex_normals(vertices, HEAD.triangles)[:, 2].max()) > 0.9


def test_a_face_told_further_right_is_drawn_further_right(draw):
    places = [np.argwhere(np.asarray(covered(draw(told(x=x, y=0.1))))).mean(0) for x in (-0.1, 0.1)]
    assert places[1][1] - places[0][1] == pytest.approx(0.2 * SIDE, abs=0.6) and abs(places[0][0] - places[1][0]) < 0.6


def test_the_photo_is_masked_by_what_the_feedback_covers(draw, rng):
    maps = draw(told())
    grey = grey_of(jnp.asarray(rng.uniform(0.2, 1, (SIDE, SIDE, 3)), jnp.float32))
    masked, whole = np.asarray(network_picture(grey, maps)), np.asarray(network_picture(grey, maps, masked=False))
    inside = np.asarray(covered(maps)) > 0
    assert masked.shape == (SIDE, SIDE, 7) and 0.2 < inside.mean() < 0.8
    np.testing.assert_array_equal(masked[inside], whole[inside])
    assert not masked[~inside].any() and (whole[..., 0] > 0).all()
    np.testing.assert_allclose(grey_of(jnp.ones((1, 1, 3))), 1.0, rtol=1e-6)


def test_parts_inside_the_mouth_are_not_drawn():
    part = jnp.where(jnp.arange(len(HEAD.triangles)) < 20, 0, 1)
    fewer = feedback_head(dataclasses.replace(HEAD, part=part, part_names=("teeth_upper", "skin"), region_names=("face",)))
    kept = np.asarray(HEAD.triangles)[20:]
    corners = np.asarray(folded_model(HEAD).mean)[kept]
    np.testing.assert_array_equal(np.asarray(fewer.mean)[np.asarray(fewer.triangles)], corners)
    assert len(feedback_head(HEAD).triangles) == len(kept) + 20
