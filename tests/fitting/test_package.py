"""The package as a reader meets it: its names are there, and the recipe in its docstring fits a photo."""

import doctest
from pathlib import Path
from typing import get_origin

import fitkit
from fitkit import fitting
from fitkit.detection.landmarks import detect_landmarks
from fitkit.models.mediapipe.facemesh import load_detector
from fitkit.morphable.correspondence import ibug_points

ASTRONAUT = Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"


def test_every_public_name_is_there_and_documented():
    for name in fitting.__all__:
        thing = getattr(fitting, name)
        assert isinstance(thing, tuple) or get_origin(thing) or (thing.__doc__ or "").strip(), name     # types bear none


def test_the_recipe_of_the_docstring_runs():
    photo = fitting.as_photo(ASTRONAUT)
    points = ibug_points(detect_landmarks(photo.pixels, detector=load_detector(), name="astronaut")[0].points)
    example = doctest.DocTestParser().get_doctest(
        fitting.__doc__, {"image": ASTRONAUT, "points": points, "fitkit": fitkit}, "fitkit.fitting", None, None)
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert runner.summarize(verbose=False) == doctest.TestResults(0, len(example.examples)) and len(example.examples) > 10
