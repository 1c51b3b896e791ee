"""Several photos through the public functions: each its own entry, whatever becomes of the others; and one person in many."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit import pipeline
from fitkit.errors import FitkitError

ASTRONAUT = pathlib.Path(__file__).parents[1] / "notebooks" / "data" / "astronaut.png"


def test_photos_that_cannot_be_fitted_are_entries_of_their_own():
    photo = fitkit.fit(ASTRONAUT, recipe="landmarks")
    mirrored = np.ascontiguousarray(np.asarray(photo.photo.pixels)[:, ::-1])
    blank = np.full((96, 96, 3), 0.5, np.float32)
    results = fitkit.fit_batch([ASTRONAUT, blank, mirrored, "nowhere.png"], recipe="landmarks", at_once=2)
    assert isinstance(results[1], FitkitError) and results[1].code == "E_NOFACE"
    assert isinstance(results[3], FitkitError) and results[3].code == "E_NOFILE"
    assert results[0].status == results[2].status == "converged"
    for result, alone in ((results[0], photo), (results[2], fitkit.fit(mirrored, recipe="landmarks"))):
        apart = np.linalg.norm(result.mesh().vertices - alone.mesh().vertices, axis=-1)
        assert apart.max() < 0.01      # mm
    with pytest.raises(FitkitError) as error:
        fitkit.fit_batch([ASTRONAUT], recipe="landmark")
    assert error.value.code == "E_RECIPE"


def test_a_stream_of_photos_is_read_as_it_is_asked():
    asked = []

    def photos():
        for photo in ("nowhere.png", ASTRONAUT, "never.png"):
            asked.append(photo)
            yield photo

    results = fitkit.fit_batch(photos(), recipe="landmarks", at_once=1, stream=True)
    missing, fitted = next(results), next(results)
    assert isinstance(missing, fitkit.FitkitError) and missing.code == "E_NOFILE"
    assert fitted.photo.path == str(ASTRONAUT) and asked == ["nowhere.png", ASTRONAUT]
    results.close()


def test_several_photos_of_one_person():
    photo = fitkit.fit(ASTRONAUT, recipe="landmarks").photo.pixels
    first, lost, second = fitkit.fit([ASTRONAUT, np.zeros((80, 80, 3), np.float32), np.ascontiguousarray(photo[:, 40:])],
                                     recipe="landmarks")
    assert isinstance(lost, FitkitError) and first.status == second.status == "converged"
    np.testing.assert_array_equal(first.parameters.identity, second.parameters.identity)
    assert first.person is second.person and len(first.person.fits) == 2
    for wrong in ({"photo": [ASTRONAUT], "same_person": False}, {"photo": ASTRONAUT, "same_person": True},
                  {"photo": ASTRONAUT, "texture_size": 1000}):
        with pytest.raises(FitkitError) as error:
            fitkit.fit(**wrong)
        assert error.value.code == "E_USAGE"


def test_faces_of_one_program_have_as_many_points_and_all_or_none_a_message():
    """A head of which something was learned gives 468 points a message and 68 none, so that their observations never stack."""
    photo = fitkit.fit(ASTRONAUT, recipe="landmarks")
    job = pipeline.prepare(recipe="landmarks", head="makehuman", size=128, seed=0, detector="mediapipe", progress=None, fields={})
    few = pipeline.read(ASTRONAUT, job, landmarks=photo.landmarks_detected, focal=None)
    many = pipeline.read(ASTRONAUT, job, landmarks=None, focal=None)
    waiting = [pipeline.observe_face(reading, 0, job, place=place) for place, reading in enumerate((many, few, many, few, many))]
    groups = list(pipeline._groups(iter(waiting), 2))
    assert sorted([face.place for face in group] for group in groups) == [[0, 2], [1, 3], [4]]
    for group in groups:
        assert {face.observation.message is None for face in group} == {group[0].place in (1, 3)}
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(face.observation for face in group))
        assert len(stacked.principal) == len(group)
