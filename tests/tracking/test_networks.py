"""Tracking by networks: when a frame is looked at anew, and a network's numbers as a frame of the film's person."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.color import linear_to_srgb
from fitkit.fitting.state import FaceState
from fitkit.geometry.camera import project
from fitkit.geometry.pose import camera_from_pose, pose_from_camera
from fitkit.geometry.vectors import rotation_from_vector
from fitkit.io.video import Frame
from fitkit.labels.hidden_modes import folded_model, hidden_modes, size_and_place
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_points
from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, rescaled
from fitkit.models.heads.importing.conversion import expression_carrier
from fitkit.models.heads.importing.stored import Places
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes.coarsenet.prediction import FaceReader
from fitkit.recipes.tracking import FrameState, Person, personal_head
from fitkit.rendering.render import render_color
from fitkit.tracking import by_networks, frame_networks
from fitkit.tracking.by_networks import Memory, next_frame
from fitkit.tracking.frame_networks import Networks, Seen
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters
from tests.models.heads.test_importing import identical

CROP, ELSEWHERE = FaceCrop(corner=np.array([10.0, 10.0]), side=50.0), FaceCrop(corner=np.array([90.0, 10.0]), side=50.0)
LEAST = 0.35


def seen(name, *, colour=0.01, agreeing=0.9, crop=CROP):
    state = types.SimpleNamespace(name=name, face=types.SimpleNamespace(light=None))
    return Seen(FrameState(state=state, square=(crop.corner, crop.side), agreeing=agreeing), crop, colour)


@pytest.fixture
def story(monkeypatch):
    """Plays frames: what the tracking network says of each (or of all), where the detector finds a face, and how well colours fit
    in a look anew."""
    def play(told, found, *, count=None, colours=None, agreeing=0.9):
        memory, says = Memory(), []
        answers = told if isinstance(told, list) else [told] * count
        places = found if isinstance(found, list) else [found] * len(answers)
        fits = colours or [0.01] * len(answers)
        for number, (answer, place, colour) in enumerate(zip(answers, places, fits, strict=True)):
            monkeypatch.setattr(by_networks, "follow_frame", lambda *_, answer=answer: answer)
            monkeypatch.setattr(by_networks, "find_face", lambda *_, place=place: place)
            monkeypatch.setattr(by_networks, "look_anew", lambda *rest, colour=colour: seen(
                "anew", crop=rest[-2], colour=colour, agreeing=agreeing))
            memory = next_frame(Frame(number / 25, np.zeros((2, 2, 3), np.uint8)), None, None, None, memory, agreeing_least=LEAST)
            says.append(None if memory.lost else memory.seen.state.state.name)
        return says
    return play


def test_every_fiftieth_frame_is_looked_at_anew(story):
    says = story(seen("told"), CROP, count=110)
    assert [number for number, name in enumerate(says) if name == "anew"] == [0, 51, 102]
    assert set(story(seen("told"), [CROP] + [None] * 109, count=110)[1:]) == {"told"}       # kept where the detector sees none


def test_colours_that_fit_half_as_well_are_looked_at_anew(story):
    usual, worse, bad = seen("told"), seen("worse", colour=0.021), seen("bad", agreeing=0.2)
    assert story([usual, usual, usual, worse, usual, bad, usual], CROP) == ["anew", "told", "told", "anew", "told", "anew", "told"]


def test_a_face_that_the_detector_sees_elsewhere_is_looked_at_anew(story):
    says = story(seen("told"), [CROP] + [ELSEWHERE] * 19, count=20)
    assert [number for number, name in enumerate(says) if name == "anew"] == [0, 5, 10, 15]         # asked every fifth frame
    says = story([seen("told")] * 5 + [seen("told", crop=ELSEWHERE)] * 10, [CROP] * 5 + [ELSEWHERE] * 10)
    assert says == ["anew"] + ["told"] * 14


def test_a_covered_face_is_lost_and_found_again(story):
    """It is found where the detector sees it, or where it was; what the detector takes for it has other colours."""
    bad, covered = seen("bad", agreeing=0.1), [0.01, 0.3, 0.3, 0.3]
    for places in ([CROP, None, None, None, CROP], [CROP, None, ELSEWHERE, ELSEWHERE, None]):
        assert story([bad] * 5, places, colours=[*covered, 0.015]) == ["anew", None, None, None, "anew"]
    assert story([bad] * 4, [CROP, None, ELSEWHERE, ELSEWHERE], colours=[0.01, 0.3, 0.021, 0.021]) == ["anew", None, None, None]
    assert story([seen("told", agreeing=float("nan"))] * 2, [CROP, None], colours=[0.01, 0.3]) == ["anew", None]
    assert story([bad] * 2, CROP, agreeing=0.2) == [None, None]


def test_a_look_anew_whose_colours_fit_worse_is_not_taken(story):
    says = story(seen("told"), [CROP] + [ELSEWHERE] * 59, count=60, colours=[0.01] + [0.013] * 59)
    assert says == ["anew"] + ["told"] * 59


def test_of_several_detected_faces_the_nearest_is_taken(monkeypatch):
    boxes = [np.array([[10.0, 10], [40, 40]]), np.array([[100.0, 10], [180, 90]])]
    monkeypatch.setattr(by_networks, "MINIMUM_SIZE", 20.0)
    monkeypatch.setattr(by_networks, "find_faces", lambda *_, **__: [
        types.SimpleNamespace(points=np.repeat(box, 234, 0), size=np.ptp(box)) for box in boxes])
    pixels = np.zeros((100, 200, 3), np.float32)
    largest = by_networks.find_face(pixels, None)
    assert largest.corner[0] > 60
    assert by_networks.find_face(pixels, CROP).corner[0] < 20
    boxes.clear()
    assert by_networks.find_face(pixels, CROP) is None


@pytest.fixture(scope="module")
def person():
    head, rng = tiny_head(), np.random.default_rng(1)
    identity, albedo = jnp.asarray(rng.normal(0, 0.5, 6), jnp.float32), jnp.asarray(rng.normal(size=4), jnp.float32)
    return Person(model=head, head=personal_head(head, identity, albedo), identity=identity, albedo=albedo,
                  light=jnp.zeros((9, 3)).at[0].set(3.0), exposure=1.0, focal=300.0)


def test_a_networks_numbers_are_the_films_person_in_their_pose(person, rng):
    """Points of the frame are those of the folded head under `camera_of`, and the next frame starts from the same pose."""
    pose, expression = np.array([12.0, -4.0, 3.0, 0.03, -0.02, -5.3], np.float32), rng.uniform(0, 0.6, 52).astype(np.float32)
    crop, principal = FaceCrop(corner=np.array([40.0, 30.0], np.float32), side=120.0), np.array([100.0, 90.0], np.float32)
    told = CoarseFace(*(jnp.asarray(each)[None] for each in (np.zeros(6), expression, pose, np.zeros(0), np.zeros((0, 3)))))
    frame = rng.integers(0, 256, (200, 220, 3)).astype(np.uint8)
    middle = hidden_modes(person.model).middle
    networks = Networks(FaceReader(64, lambda pictures: told), {}, None, folded_model(person.model), middle, jnp.arange(52))
    found = frame_networks.look_anew(person, networks, frame, principal, crop, None)
    size, _ = size_and_place(person.model, person.identity)
    camera = rescaled(camera_of(jnp.asarray(pose), networks.middle, focal=jnp.float32(300 / 120),
                                principal=jnp.asarray((principal - crop.corner) / 120)), jnp.float32(120), jnp.asarray(crop.corner))
    folded = shape(networks.folded, person.identity / size, jnp.asarray(expression))
    points = np.asarray(project(camera, values_at_points(person.model.dense, person.model.triangles, folded))[0])
    state = jax.tree.map(jnp.asarray, found.state.state)
    own = shape(person.head, jnp.zeros(0), state.face.expression)
    mine = np.asarray(project(camera_from_pose(state.pose), values_at_points(person.model.dense, person.model.triangles, own))[0])
    np.testing.assert_allclose(mine, points, atol=0.02)
    around = crop_of_points(points)
    np.testing.assert_allclose([*found.crop.corner, found.crop.side], [*around.corner, around.side], atol=0.05)
    again = frame_networks._folded_pose(person.model, person.identity, state, jnp.float32(crop.side), jnp.asarray(crop.corner))
    np.testing.assert_allclose(again, pose, atol=2e-3)


def test_on_a_head_that_networks_do_not_know_the_person_is_where_they_see_it(person, rng):
    """Onto the same person, turned, moved and with the vertices in another order: the same weights, seen in the same pixels."""
    seen, camera, count = person.head, tiny_camera(), len(person.head.mean)
    turn, order = np.asarray(rotation_from_vector(jnp.array([0.3, -0.5, 0.2]))), rng.permutation(count)
    head = dataclasses.replace(seen, mean=seen.mean[order] @ turn.T + np.array([3, -8, 5], np.float32),
                               expression=seen.expression[:, order] @ turn.T)
    registration = identical(seen)[1]
    places = Places(triangle=registration.triangle[order], share=registration.share[order], weight=np.ones(count))
    there = by_networks.PersonElsewhere(**(vars(person) | {"head": head}), seen=person,
                                        carry=expression_carrier(seen, head, places))
    face = dataclasses.replace(tiny_parameters(person.model), expression=jnp.asarray(rng.uniform(0, 1, 52), jnp.float32))
    frame = FrameState(state=FaceState(face=face, pose=pose_from_camera(camera)), square=(np.zeros(2), 1.0), agreeing=0.8)
    moved = there.carried(frame)
    np.testing.assert_allclose(moved.state.face.expression, face.expression)
    pixels = [np.asarray(project(camera_from_pose(each.state.pose), jax.jit(shape)(own, jnp.zeros(0), face.expression))[0])
              for own, each in ((seen, frame), (head, moved))]
    np.testing.assert_allclose(pixels[1], pixels[0][order], atol=0.02)
    assert moved.agreeing == 0.8 and moved.state.face.identity.shape == (0,)


def test_light_and_l_col_are_those_of_the_picture(person):
    """A picture that the person's own colours make fits by nothing in any light, and one whose left half is covered by half."""
    light, vertices = jnp.zeros((9, 3)).at[0].set(3.2).at[2].set(0.3), shape(person.head, jnp.zeros(0), jnp.zeros(52))
    camera = camera_of(jnp.array([0, 0, 0, 0, 0, -5.3]), hidden_modes(person.model).middle, focal=jnp.float32(2.5),
                       principal=jnp.full(2, 0.5))
    within = rescaled(camera, jnp.float32(128), jnp.zeros(2))
    drawn, _, _ = render_color(person.head, vertices, person.head.albedo_mean, within, light, height=128, width=128)
    picture = np.round(np.asarray(linear_to_srgb(jnp.clip(drawn, 0, 1))) * 255).astype(np.uint8)
    fitted = jax.jit(lambda picture, light, known: frame_networks.fitted_light(
        person.head, vertices, pose_from_camera(within), picture, light, known, jnp.float32(1.0)))
    found, colour, agreeing = fitted(picture, person.light, False)
    assert float(colour) < 0.02 and float(agreeing) > 0.8       # at the border of the head vertices see what is behind it
    np.testing.assert_allclose(found[0], light[0], rtol=0.1)
    covered = picture.copy()
    covered[:, :64] = (0, 255, 0)
    _, worse, half = fitted(covered, light, True)
    assert float(worse) > 5 * float(colour) and 0.3 < float(half) / float(agreeing) < 0.75
