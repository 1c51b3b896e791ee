"""`fitkit predict` asks `fitkit fit` for a recipe that sees faces by a network; what it refuses; its help."""

import pytest

from fitkit.cli import main
from fitkit.cli.commands import fit


@pytest.fixture
def asked(monkeypatch):
    noted = []
    monkeypatch.setattr(fit, "run_fit", lambda options, fields, console: noted.append((options, fields)) or 0)
    return noted


def test_predict_is_a_run_with_another_recipe(asked):
    assert main.run(["predict", "me.jpg", "you.jpg", "--refine", "3", "--out", "faces", "--outputs", "params", "--set", "a=1",
                     "--camera", "camera.json"]) == 0
    (options, fields), = asked
    assert fields == {"refine": 3} and options.set == ("a=1",) and options.camera == "camera.json"
    assert (options.photo, options.recipe, options.out, options.outputs) == (("me.jpg", "you.jpg"), "3dfacenet", "faces", "params")


@pytest.mark.parametrize(("words", "said"), [
    (["me.jpg", "--refine", "-1"], "0 or more, not -1"), ([], "no photo was named; write for example fitkit predict me.jpg"),
    (["me.jpg", "--recipe", "landmarks"], "--recipe"), (["me.jpg", "--landmarks", "x.pts"], "unknown option '--landmarks'")])
def test_what_predict_refuses(asked, capsys, words, said):
    assert main.run(["predict", *words]) == 2 and not asked
    assert said in capsys.readouterr().err


def test_help_says_whose_the_points_are(capsys):
    assert main.run(["predict", "--help"]) == 0
    assert "without landmarks" in (text := capsys.readouterr().out) and "the network's own" in text
