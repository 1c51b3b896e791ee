"""What CoarseNet's numbers mean: pose and camera are each other's inverse, mirrors mirror, folded faces unfold, crops lie right."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.geometry.camera import head_angles, head_rotation, project
from fitkit.labels.hidden_modes import folded_model
from fitkit.models import heads
from fitkit.models.coarsenet.crop import FROM_68, SHARE, FaceCrop, crop_of_box, crop_of_points, cut_crop
from fitkit.models.coarsenet.estimate import (
    camera_of,
    folded_face,
    mirrored_outputs,
    pose_of,
    rescaled,
    split_outputs,
    unfolded_face,
)
from fitkit.models.coarsenet.network import (
    PAPER,
    PAPER_TRACKING,
    CoarseNet,
    CoarseNetConfig,
    load_coarsenet,
    predict,
)
from fitkit.models.parameters import encode_network, named_state
from fitkit.morphable.model import shape
from tests.fixtures.tiny_head import tiny_head

MIDDLE = jnp.array([0.5, -3.0, 85.0])
POSE = jnp.array([25.0, -12.0, 8.0, 0.06, -0.04, -5.4])
LENS = {"focal": jnp.float32(1.9), "principal": jnp.array([0.9, 0.2])}
TINY = CoarseNetConfig(side=32, width=4, identity=6, expression=52)


def test_outputs_of_the_paper():
    assert (PAPER.outputs, PAPER.channels) == (185, 3) and (PAPER_TRACKING.outputs, PAPER_TRACKING.channels) == (312, 6)
    face = split_outputs(jnp.arange(312.0), PAPER_TRACKING)
    assert [part.shape for part in face] == [(100,), (79,), (6,), (100,), (9, 3)]
    assert face.pose[0] == 179 and face.light[0, 0] == 285


@pytest.mark.parametrize("perspective", [True, False])
def test_pose_and_camera(perspective):
    camera = camera_of(POSE, MIDDLE, **LENS, perspective=perspective)
    np.testing.assert_allclose(pose_of(camera, MIDDLE), POSE, atol=2e-4)
    at, depth = project(camera, MIDDLE)
    np.testing.assert_allclose(at, 0.5 + POSE[3:5], atol=1e-6)
    if perspective:
        np.testing.assert_allclose(camera.focal / depth, np.exp(POSE[5]), rtol=1e-5)
        assert camera.focal == pytest.approx(1.9)
    seen = jax.jit(lambda pose: project(camera_of(pose, MIDDLE, **LENS, perspective=perspective), MIDDLE + 20.0)[0])
    slopes = jax.jit(jax.jacobian(seen))(POSE)
    assert np.isfinite(slopes).all() and (np.abs(slopes).max(0) > 0).all()


def test_a_face_beside_the_axis_is_seen_from_the_side():
    """A head that faces the camera from beside the axis has pose 0, and is turned about the axis by the angle of its sight."""
    pose = POSE.at[:3].set(0.0)
    camera = camera_of(pose, jnp.zeros(3), **LENS)
    toward = -camera.translation / jnp.linalg.norm(camera.translation)
    np.testing.assert_allclose(camera.rotation @ jnp.array([0.0, 0.0, 1.0]), toward, atol=1e-6)
    assert abs(float(head_angles(camera)[0])) > 5.0
    upright = camera_of(pose, jnp.zeros(3), focal=LENS["focal"], principal=0.5 + pose[3:5])
    np.testing.assert_allclose(upright.rotation, head_rotation(0.0, 0.0, 0.0), atol=1e-6)


def test_a_mirrored_face_is_the_mirror_image(rng):
    """Of the ball, whose identity is made symmetric or antisymmetric: its points are those of the mirrored numbers, mirrored."""
    head, flip = tiny_head(), jnp.array([-1.0, 1.0, 1.0])
    signs = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0])
    turned = head.identity[:, head.mirror] * flip[None, None]
    head = dataclasses.replace(head, identity=(head.identity + signs[:, None, None] * turned) / 2,
                               expression=jnp.zeros_like(head.expression))
    pose = POSE.at[3:5].set(jnp.array([0.05, 0.1]))
    numbers = jnp.concatenate([jnp.asarray(rng.normal(size=6), jnp.float32), jnp.zeros(52), pose])
    places = []
    for each in (numbers[None], mirrored_outputs(numbers[None], signs, jnp.arange(52), TINY)):
        face = split_outputs(each[0], TINY)
        camera = camera_of(face.pose, jnp.zeros(3), focal=LENS["focal"], principal=jnp.array([0.5, 0.5]))
        places.append(np.asarray(project(camera, shape(head, face.identity, face.expression))[0]))
    mirrored = places[1][np.asarray(head.mirror)]
    np.testing.assert_allclose(np.stack([1 - mirrored[:, 0], mirrored[:, 1]], -1), places[0], atol=1e-5)


def test_a_folded_face_unfolds_to_the_same_picture(rng):
    head = heads.load("makehuman")
    identity = jnp.asarray(0.7 * rng.normal(size=200), jnp.float32)
    expression = jnp.asarray(rng.uniform(0, 0.4, 52), jnp.float32)
    camera = camera_of(POSE, MIDDLE, **LENS)
    own, weights, seen = unfolded_face(head, identity, expression, camera)
    np.testing.assert_allclose(project(seen, shape(head, own, weights))[0],
                               project(camera, shape(folded_model(head), identity, expression))[0], atol=1e-5)
    back = folded_face(head, own, weights, seen)
    np.testing.assert_allclose(back[0], identity, atol=1e-4)
    np.testing.assert_allclose(back[2].translation, camera.translation, rtol=1e-4, atol=1e-3)


def test_crops_of_points_and_boxes(rng):
    points = rng.uniform(10, 50, (468, 2))
    points[:2] = [[10, 20], [50, 30]]
    crop = crop_of_points(points)
    assert crop.side == pytest.approx(SHARE * np.ptp(points, axis=0).max())
    np.testing.assert_allclose(crop.corner + crop.side / 2, (points.min(0) + points.max(0)) / 2, atol=1e-4)
    of_68 = crop_of_points(points[:68])
    assert of_68.side == pytest.approx(SHARE * FROM_68[0] * np.ptp(points[:68], axis=0).max())
    box = np.array([10.0, 20.0, 60.0, 60.0])
    assert crop_of_box(box).side > SHARE * 50 and crop_of_box(box).corner[1] < 40


@pytest.mark.parametrize(("corner", "side"), [((2.0, 3.0), 8.0), ((-4.0, 10.0), 16.0), ((30.0, 30.0), 8.0)])
def test_cut_crops_repeat_the_edge(corner, side):
    """Of a picture that grows evenly to the right and down, also beyond its border."""
    rows, columns = np.mgrid[0:20, 0:20]
    photo = np.stack([10 * columns, 10 * rows, np.full_like(rows, 7)], -1).astype(np.uint8)
    cut = cut_crop(photo, FaceCrop(corner=np.array(corner, np.float32), side=side), side=8)
    middles = corner[0] + (np.arange(8) + 0.5) * side / 8
    inside = (middles > 2) & (middles < 18)
    np.testing.assert_allclose(cut[4, inside, 0], 10 * (middles[inside] - 0.5), atol=1.1)
    np.testing.assert_array_equal(cut[4, middles > 21, 0], 190)
    assert (cut[..., 2] == 7).all() and cut.shape == (8, 8, 3)


def test_a_camera_of_rescaled_pixels():
    camera = camera_of(POSE, MIDDLE, **LENS)
    moved = rescaled(camera, jnp.float32(64.0), jnp.array([3.0, -2.0]))
    np.testing.assert_allclose(project(moved, MIDDLE)[0], 64 * project(camera, MIDDLE)[0] + jnp.array([3.0, -2.0]), rtol=1e-5)


def test_weights_come_back(tmp_path, rng):
    mean, deviation = (rng.normal(size=TINY.outputs).astype(np.float32) for _ in range(2))
    network = CoarseNet(TINY, rngs=nnx.Rngs(0), mean=mean, deviation=deviation)
    (tmp_path / "net.safetensors").write_bytes(encode_network(network, {"config": json.dumps(dataclasses.asdict(TINY))}))
    parameters, config = load_coarsenet(path=tmp_path / "net.safetensors")
    pictures = jnp.asarray(rng.uniform(size=(2, 32, 32, 3)), jnp.float32)
    assert config == TINY and set(parameters) == set(named_state(network))
    np.testing.assert_allclose(predict(parameters, pictures, config=config)[1], mean, rtol=1e-6)
    data = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "other.safetensors").write_bytes(data.replace(b'\\"width\\": 4', b'\\"width\\": 8'))
    with pytest.raises(FitkitError, match="do not fit"):
        load_coarsenet(path=tmp_path / "other.safetensors")
