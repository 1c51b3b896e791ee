"""Options from the command line and from TOML: what is taken, and the sentence where it is not."""

import dataclasses
from pathlib import Path

import pytest

from fitkit import configuration
from fitkit.cli import main
from fitkit.errors import EXIT_STATUS, FitkitError
from tests.fixtures import hostile_files
from tests.fixtures.toy_fit import photos


def test_config_file_gives_defaults_and_the_command_line_wins(calls):
    photos("ok")
    fit, recipe = "[fit]\nsize = 128\nseed = 3\nquiet = true\n", "[recipe]\nweight = 2\nrobust = false\n"
    Path("c.toml").write_text(fit + recipe + "[recipe.inner]\niterations = 9\n")
    assert main.run(["fit", "p0.jpg", "--config", "c.toml", "--size", "256", "--set", "weight=4"]) == 0
    fields = {"weight": 4.0, "robust": False, "inner": {"iterations": 9}}
    assert calls[0] | {"size": 256, "seed": 3, "fields": calls[0]["fields"] | fields} == calls[0]


USAGE = [
    ([], "E_USAGE", "no command was named"),
    (["fti"], "E_USAGE", "did you mean 'fit'?"),
    (["fit"], "E_USAGE", "no photo was named"),
    (["fit", "p0.jpg", "--recip", "x"], "E_USAGE", "did you mean '--recipe'?"),
    (["fit", "p0.jpg", "--recipe", "landmark"], "E_RECIPE", "did you mean 'landmarks'?"),
    (["fit", "p0.jpg", "--set", "wieght=2"], "E_FIELD", "did you mean 'weight'?"),
    (["fit", "p0.jpg", "--set", "weight=heavy"], "E_FIELD", "takes a number, not 'heavy'"),
    (["fit", "p0.jpg", "--set", "inner.iteration=1"], "E_FIELD", "did you mean 'iterations'?"),
    (["fit", "p0.jpg", "--set", "weight"], "E_USAGE", "--set takes name=value"),
    (["fit", "p0.jpg", "--size", "big"], "E_USAGE", "not a whole number: 'big'"),
    (["fit", "p0.jpg", "--size", "3"], "E_USAGE", "at least 64 pixels"),
    (["fit", "p0.jpg", "--focal=-1"], "E_USAGE", "above 0"),
    (["fit", "p0.jpg", "--focal", "nan"], "E_USAGE", "above 0"),
    (["fit", "p0.jpg", "--faces", "two"], "E_USAGE", "'largest', 'all'"),
    (["fit", "p0.jpg", "--outputs", "mehs"], "E_USAGE", "did you mean 'mesh'?"),
    (["fit", "p0.jpg", "--outputs", ","], "E_USAGE", "--outputs is empty"),
    (["fit", "p0.jpg", "--landmarks", "mediapip"], "E_USAGE", "did you mean 'mediapipe'?"),
    (["fit", "p0.jpg", "--landmarks", "a.pts", "--faces", "all"], "E_USAGE", "--faces all"),
    (["fit", "p0.jpg", "--device", "gpus"], "E_USAGE", "gpus"),
    (["fit", "p0.jpg", "-v", "-q"], "E_USAGE", "exclude each other"),
    (["fit", "p0.jpg", "--config", "none.toml"], "E_USAGE", "check --config"),
    (["heads", "more"], "E_USAGE", "does not take 'more'"),
    (["recipes", "toy"], "E_RECIPE", "there are inverse_rendering, landmarks"),
    (["render"], "E_USAGE", "no result folder was named"),
    (["render", "r", "--light", "lefft"], "E_USAGE", "did you mean 'left'?"),
    (["render", "r", "--expression", "jawOpen"], "E_USAGE", "takes name=value"),
    (["render", "r", "--expression", "jawOpen=wide"], "E_USAGE", "takes a weight"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), USAGE, ids=[" ".join(case[0]) or "nothing" for case in USAGE])
def test_a_usage_error_is_one_sentence(calls, capsys, arguments, code, words):
    photos("ok")
    assert main.run(arguments) == EXIT_STATUS[code] == 2
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if not line.endswith("; starting")]      # what a worker refuses is known later
    assert not out and len(said) == 1 and not calls
    assert said[0].startswith(f"fitkit: error {code}: ") and words in err


@pytest.mark.parametrize(("text", "words"), [
    ("[fit]\nsise = 3", "did you mean 'size'?"),
    ("[fit]\nsize = 'big'", "takes a whole number"),
    ("[fit]\nphoto = ['a.jpg']", "give it on the command line"),
    ("[recipe]\nweihgt = 1", "did you mean 'weight'?"),
    ("[fits]\nsize = 3", "neither table [fit] nor table [recipe]"),
    ("size = 3", "neither table [fit] nor table [recipe]"),
    ("[fit", "is not TOML"),
])
def test_a_config_error_is_one_sentence(calls, capsys, text, words):
    photos("ok")
    Path("c.toml").write_text(text)
    assert main.run(["fit", "p0.jpg", "--config", "c.toml"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("; starting")]
    assert len(said) == 1 and words in said[0] and not calls


@pytest.mark.parametrize(("text", "value"), [
    ("x=3", 3), ("x=0.5", 0.5), ("x=true", True), ("x=[1, 2]", [1, 2]), ("x=word", "word"), ("x=none", None), ("x=a=b", "a=b"),
    ("x=", ""),
])
def test_values_are_read_as_toml_or_text(text, value):
    assert configuration.parse_assignments([text]) == {"x": value}


def test_did_you_mean_lists_all_where_nothing_is_near():
    assert configuration.did_you_mean("zzz", ["landmarks", "ganfit"]) == "there are ganfit, landmarks"
    assert configuration.did_you_mean("LANDMARK", ["landmarks"]) == "did you mean 'landmarks'?"


@pytest.mark.parametrize("text", [
    "a.b.c.d.e.f.g.h.i=1", "weight=" + "[" * 9000, "weight=" + "9" * 5000, "weight=0x" + "f" * 5000,
    "weight={" + "a." * 1000 + "a=1}", "weight=" + "x" * 20_000, "weight=[0x" + "f" * 40 + "]"])
def test_hostile_assignments_are_one_sentence(text):
    with pytest.raises(FitkitError) as caught:
        configuration.parse_assignments([text])
    assert caught.value.code == "E_USAGE" and len(caught.value.message) < 1300


@pytest.mark.parametrize("name", hostile_files.CONFIGS)
def test_hostile_config_files_are_one_sentence(tmp_path, name):
    try:
        path = hostile_files.write(tmp_path, name, hostile_files.CONFIGS[name])
    except (OSError, AttributeError):
        pytest.skip("this system cannot hold such a file")
    with pytest.raises(FitkitError) as caught:
        configuration.read_config(path)
    assert caught.value.code == "E_USAGE" and len(caught.value.message) < 1300


@pytest.mark.parametrize("value", [float("nan"), 2**64, 10**5000, -(2**63) - 1, "a\x1b[2Jb\n"],
                         ids=["nan", "65 bits", "many", "minus", "text"])
def test_values_that_mean_nothing_are_refused(value):
    @dataclasses.dataclass(frozen=True)
    class Config:
        weight: float = 1.0
        count: int = 1

    with pytest.raises(FitkitError, match="E_FIELD") as caught:
        configuration.check_fields(Config, {"count" if isinstance(value, int) else "weight": value})
    assert "\x1b" not in caught.value.message and "\n" not in caught.value.message
