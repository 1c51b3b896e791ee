"""The second look at detections of turned heads: averaged detections, and when it is taken."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fitkit.models.heads import makehuman
from fitkit.models.mediapipe import facemesh, multiscale_detection
from fitkit.rendering.novel_view import render_novel_view
from fitkit.rendering.shading import light_from_direction
from fitkit.types import Camera, FaceParameters

ASTRONAUT = pathlib.Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"


@pytest.fixture(scope="module")
def astronaut():
    return Image.open(ASTRONAUT).convert("RGB")


def pixels(photo):
    return np.asarray(photo, np.float32) / 255


def test_a_detection_seen_again_in_other_sizes_is_the_same(astronaut):
    [first] = multiscale_detection.detect_faces(astronaut)
    again = multiscale_detection.averaged_detection(astronaut, first)
    side = (first.box[2:] - first.box[:2]).max()
    assert again.score > facemesh.MIN_AVERAGED_SCORE
    np.testing.assert_allclose(again.box, first.box, atol=0.1 * side)
    np.testing.assert_allclose(again.keypoints, first.keypoints, atol=0.1 * side)


def test_a_photo_and_its_mirror_image_are_seen_again_alike(astronaut):
    """Cut so that the face lies at the border: what is beyond it is black on either side."""
    photo = astronaut.crop((170, 40, 420, 290))
    first = multiscale_detection.detect_faces(photo)[0]
    flipped = multiscale_detection.Detection(np.array([250, 0, 250, 0]) + [-1, 1, -1, 1] * first.box[[2, 1, 0, 3]],
                                             first.keypoints, first.score)
    plain = multiscale_detection.averaged_detection(photo, first)
    mirrored = multiscale_detection.averaged_detection(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), flipped)
    assert mirrored.score == pytest.approx(plain.score, abs=0.03)
    np.testing.assert_allclose(250 - mirrored.keypoints[[1, 0, 2, 3, 5, 4], 0], plain.keypoints[:, 0], atol=3)


def test_what_the_detector_does_not_repeat_scores_nothing(astronaut):
    empty = multiscale_detection.Detection(np.array([300.0, 10, 380, 90]), np.zeros((6, 2)), 0.9)
    assert multiscale_detection.averaged_detection(astronaut, empty).score < 0.3
    beyond = multiscale_detection.Detection(np.array([4000.0, 4000, 4100, 4100]), np.zeros((6, 2)), 0.9)
    assert multiscale_detection.averaged_detection(astronaut, beyond).score < 0.3


def test_a_head_turned_by_80_degrees_is_found_also_beside_a_smaller_face(astronaut):
    head = makehuman.load()
    light = light_from_direction(jnp.array([0.87, 0.3, 0.5]))      # from behind the face
    face = FaceParameters(identity=head.identity_mean, expression=jnp.zeros(len(head.expression)),
                          albedo=jnp.zeros(len(head.albedo)), light=light)
    camera = Camera(focal=jnp.float32(700), principal=jnp.full(2, 128.0), rotation=jnp.eye(3),
                    translation=jnp.array([0.0, 0.0, 900.0]), perspective=True)
    picture = render_novel_view(head, face, camera, yaw=-80, pitch=0, roll=0, size=160, background=(0.3, 0.4, 0.35))
    photo = Image.fromarray((picture * 255).astype(np.uint8))
    detection = multiscale_detection.detect_faces(photo)[0]
    assert facemesh.mesh_face(photo, detection) is None
    [found] = facemesh.find_faces(picture)
    nose, eye = found.points[4], found.points[33]
    assert nose[0] < eye[0] - 10 and found.size > 50        # it looks to the viewer's left
    both = np.concatenate([picture, pixels(astronaut.resize((160, 160)))], axis=1)
    first, second = facemesh.find_faces(both)
    np.testing.assert_allclose(first.points, found.points, atol=0.05 * found.size)
    assert second.points[4, 0] > 160 and second.size < first.size


def test_a_photo_whose_largest_face_is_found_needs_no_second_look(astronaut, monkeypatch, rng):
    looked = []
    with monkeypatch.context() as patch:
        patch.setattr(facemesh, "averaged_detection", lambda photo, detection: looked.append(detection) or detection)
        [face] = facemesh.find_faces(pixels(astronaut))
    assert not looked
    monkeypatch.setattr(facemesh.mesh_face, "__kwdefaults__", {"least": 2.0})    # the first look finds nothing
    [again] = facemesh.find_faces(pixels(astronaut))
    np.testing.assert_allclose(again.points, face.points, atol=0.02 * face.size)
    for part in ((0, 256, 512, 512), (256, 0, 512, 256)):           # her suit; the shuttle
        assert not facemesh.find_faces(pixels(astronaut.crop(part)))
    assert not facemesh.find_faces(rng.random((200, 240, 3), np.float32))
