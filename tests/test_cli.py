"""The command line with the fit itself replaced: options, exit statuses, sentences, what is kept and what is said.

A real fit through the command line is in `test_end_to_end.py`.
"""

import dataclasses
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import fitkit
import fitkit.recipes
from fitkit import cli, configuration, device, doctor, images, report
from fitkit.errors import EXIT_STATUS, FitkitError
from tests.source import ROOT


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerConfig:
    """Inner fields.

    Attributes:
        iterations: most steps.
    """

    iterations: int = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Fields of the toy recipe.

    Attributes:
        weight: of the points, which is explained
            on two lines.
        robust: whether far points count less.
        schedule: steps per level.
        inner: fields of the first stage.
    """

    weight: float = 10.0
    robust: bool = True
    schedule: tuple[int, ...] = (8, 4)
    inner: InnerConfig = InnerConfig()


@dataclasses.dataclass
class ToyResult:
    status: str = "converged"
    reason: str = ""
    warnings: tuple[str, ...] = ()

    def save(self, folder, *, outputs, overwrite=False):
        if Path(folder).exists() and not overwrite:
            raise FitkitError("E_EXISTS", f"{folder} is there already")
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "fit.json").write_text(json.dumps({"status": self.status, "outputs": list(outputs)}))

    def render(self, *, yaw=None, pitch=None, roll=None, light=None, expression):
        return np.full((4, 4, 3), 0.5, np.float32)


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The public functions replaced by ones that note how they were called; photos are small text files."""
    noted: list[dict] = []

    def fit(photo, **arguments):
        noted.append({"photo": Path(photo).name} | arguments)
        text = Path(photo).read_text() if Path(photo).exists() else "missing"
        if text == "missing":
            raise FitkitError("E_NOFILE", f"no such photo: {photo}; check the path")
        if text == "noface":
            raise FitkitError("E_NOFACE", f"no face was found in {photo}; try --landmarks")
        if text == "defect":
            raise ZeroDivisionError("division by zero")
        if text == "nodata":
            raise FitkitError("E_DATA", "the weights are missing; install fitkit again")
        if text == "stop":
            raise KeyboardInterrupt
        return ToyResult("doubtful", "the points are far off") if text == "doubtful" else ToyResult(warnings=("an animation",))

    def name(photo, face=None):
        return f"{Path(photo).stem}-12345678" + (f"-face{face}" if face else "")

    toy = types.SimpleNamespace(config=ToyConfig, function=None, summary="A toy.", paper="Toy 1999")
    monkeypatch.setitem(vars(fitkit), "fit", fit)
    monkeypatch.setitem(vars(fitkit), "fit_faces", lambda photo, **arguments: [fit(photo, **arguments), ToyResult()])
    monkeypatch.setitem(vars(fitkit.recipes), "RECIPES", {"inverse_rendering": toy, "landmarks": toy})
    monkeypatch.setitem(sys.modules, "fitkit.results", types.SimpleNamespace(result_name=name))
    monkeypatch.setattr(device, "keep_compiled_programs", lambda: tmp_path)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.chdir(tmp_path)
    return noted


def photos(*texts):
    for index, text in enumerate(texts):
        Path(f"p{index}.jpg").write_text(text)
    return [f"p{index}.jpg" for index in range(len(texts))]


def test_fit_writes_one_folder_per_photo_and_says_where(calls, capsys):
    assert cli.run(["fit", *photos("ok", "doubtful")]) == 0
    out, err = capsys.readouterr()
    assert [line.split(" (")[0] for line in out.splitlines()] == ["p0.jpg -> out/p0-12345678", "p1.jpg -> out/p1-12345678"]
    assert "doubtful: the points are far off" in out
    assert "fitkit: p0.jpg: an animation\n" in err
    assert "fitkit: 2 faces: 2 fitted (1 doubtful); " in err
    assert json.loads(Path("out/p0-12345678/fit.json").read_text())["outputs"] == ["all"]


def test_every_option_reaches_the_fit(calls):
    photos("ok")
    status = cli.run(["fit", "p0.jpg", "--recipe", "landmarks", "--head", "ict", "--size", "512", "--focal", "900", "--seed", "7",
                       "--landmarks", "face-alignment", "--set", "weight=3", "--set", "inner.iterations=5",
                       "--set", "schedule=[1, 2]", "--out", "elsewhere", "--outputs", "params,mesh", "-q"])
    assert status == 0
    assert calls == [{"photo": "p0.jpg", "recipe": "landmarks", "head": "ict", "size": 512, "focal": 900.0, "seed": 7,
                      "detector": "face-alignment", "weight": 3.0, "inner": InnerConfig(iterations=5), "schedule": (1, 2)}]
    assert json.loads(Path("elsewhere/p0-12345678/fit.json").read_text())["outputs"] == ["params", "mesh"]


def test_bad_photos_do_not_stop_the_others(calls, capsys):
    names = photos("ok", "noface", "defect", "ok")
    Path("empty").mkdir()
    assert cli.run(["fit", *names, "gone.jpg", "empty"]) == 1
    out, err = capsys.readouterr()
    assert [call["photo"] for call in calls] == [*names, "gone.jpg"]
    assert len(out.splitlines()) == 2
    errors = [line for line in err.splitlines() if line.startswith("fitkit: error")]
    assert [line.split()[2] for line in errors] == ["E_EMPTYDIR:", "E_NOFACE:", "E_INTERNAL:", "E_NOFILE:"]
    assert "6 faces: 2 fitted, 4 failed" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("flag", ["-vv", "--debug"])
def test_a_traceback_is_shown_where_asked(calls, capsys, flag):
    assert cli.run(["fit", *photos("defect"), flag]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_json_is_one_object_per_face_and_nothing_else(calls, capsys):
    assert cli.run(["fit", *photos("ok", "noface"), "--json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["photo"], first["folder"], first["status"], first["code"]) == ("p0.jpg", "out/p0-12345678", "converged", None)
    assert (second["folder"], second["status"], second["code"]) == (None, "failed", "E_NOFACE")
    assert first["seconds"] >= 0 and second["message"].startswith("no face")


def test_all_faces_are_numbered(calls, capsys):
    assert cli.run(["fit", *photos("ok"), "--faces", "all"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["p0-12345678-face1", "p0-12345678-face2"]
    assert "p0.jpg, face 1 -> " in capsys.readouterr().out
    assert cli.run(["fit", "p0.jpg", "--faces", "all"]) == 0
    assert len(calls) == 1 and "kept out/p0-12345678-face1" in capsys.readouterr().out


def test_a_stopped_photo_of_several_faces_is_fitted_again(calls):
    photos("ok")
    Path("out/p0-12345678-face2").mkdir(parents=True)      # the first face is written last: this one was not finished
    assert cli.run(["fit", "p0.jpg", "--faces", "all"]) == 0
    assert len(calls) == 1 and Path("out/p0-12345678-face1/fit.json").exists()


def test_a_result_is_kept_unless_overwritten(calls, capsys):
    photos("ok")
    assert cli.run(["fit", "p0.jpg"]) == cli.run(["fit", "p0.jpg"]) == 0
    assert len(calls) == 1 and "p0.jpg: kept out/p0-12345678" in capsys.readouterr().out
    assert cli.run(["fit", "p0.jpg", "--overwrite"]) == 0
    assert len(calls) == 2


def test_dry_run_does_nothing(calls, capsys):
    photos("ok", "ok")
    Path("out/p1-12345678").mkdir(parents=True)
    assert cli.run(["fit", "p0.jpg", "p1.jpg", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "p0.jpg: would write out/p0-12345678\n" in out and "p1.jpg: kept" in out
    assert "1 planned, 1 kept" in err
    assert not calls and not Path("out/p0-12345678").exists()


def test_a_directory_stands_for_its_photos(calls):
    Path("album").mkdir()
    for name in ("b.png", "a.jpg", "notes.txt"):
        (Path("album") / name).write_text("ok")
    assert cli.run(["fit", "album", "album/a.jpg", "-q"]) == 0
    assert [call["photo"] for call in calls] == ["a.jpg", "b.png"]


def test_landmark_files_go_to_the_photo_of_their_name(calls, capsys):
    names = photos("ok", "ok")
    Path("points").mkdir()
    Path("points/p0.pts").write_text("")
    assert cli.run(["fit", *names, "--landmarks", "points"]) == 1
    assert calls[0]["landmarks"] == Path("points/p0.pts") and len(calls) == 1
    assert "E_LANDMARKS: there is neither p1.pts nor p1.npy in points" in capsys.readouterr().err
    assert cli.run(["fit", *names, "--landmarks", "points/p0.pts"]) == 2


def test_the_keyboard_stops_with_a_summary(calls, capsys):
    assert cli.run(["fit", *photos("ok", "stop", "ok")]) == 130
    assert "1 fitted; " in (err := capsys.readouterr().err) and "stopped by the keyboard" in err


def test_config_file_gives_defaults_and_the_command_line_wins(calls):
    photos("ok")
    fit, recipe = "[fit]\nsize = 128\nseed = 3\nquiet = true\n", "[recipe]\nweight = 2\nrobust = false\n"
    Path("c.toml").write_text(fit + recipe + "[recipe.inner]\niterations = 9\n")
    assert cli.run(["fit", "p0.jpg", "--config", "c.toml", "--size", "256", "--set", "weight=4"]) == 0
    assert calls[0] | {"size": 256, "seed": 3, "weight": 4.0, "robust": False, "inner": InnerConfig(iterations=9)} == calls[0]


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
    assert cli.run(arguments) == EXIT_STATUS[code] == 2
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1 and not calls
    assert err.startswith(f"fitkit: error {code}: ") and words in err


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
    assert cli.run(["fit", "p0.jpg", "--config", "c.toml"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and words in err and not calls


def test_missing_data_stops_with_3(calls, capsys):
    assert cli.run(["fit", *photos("nodata", "ok")]) == 3
    assert len(calls) == 1 and "error E_DATA: " in capsys.readouterr().err


def test_an_unwritable_output_stops_with_5_before_any_work(calls, capsys):
    photos("ok")
    Path("file").write_text("")
    assert cli.run(["fit", "p0.jpg", "--out", "file/under"]) == 5
    assert "E_OUTPUT: cannot write into file/under" in capsys.readouterr().err and not calls


def test_a_failed_write_counts_for_the_exit_status():
    outcomes = [report.failure(FitkitError(code, "words"), "p.jpg") for code in ("E_NOFACE", "E_OUTPUT", "E_NOFILE")]
    assert report.exit_status(outcomes) == 5
    assert report.exit_status(outcomes[:1]) == 1
    assert report.exit_status([]) == 0


def test_a_missing_device_stops_with_4(calls, capsys):
    import jax

    if jax.default_backend() == "tpu":
        pytest.skip("this machine has a TPU")
    platforms = jax.config.jax_platforms
    try:
        assert cli.run(["fit", *photos("ok"), "--device", "tpu"]) == 4
    finally:
        jax.config.update("jax_platforms", platforms)
        os.environ.pop("JAX_PLATFORMS", None)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "E_DEVICE: no device for --device tpu" in err and "--device cpu" in err


def test_the_device_is_chosen_before_jax_wakes(tmp_path):
    code = "import sys; from fitkit import cli, device; assert 'jax' not in sys.modules; device.select_device('cpu');" \
           "import jax; print(jax.config.jax_platforms, jax.default_backend())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "cpu"]


def test_an_unwritable_cache_directory_is_no_error(monkeypatch, tmp_path):
    import jax

    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        (tmp_path / "file").write_text("")
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "file"))
        assert device.keep_compiled_programs() is None and jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_render_turns_lights_and_animates(calls, capsys, monkeypatch):
    seen = {}

    class Saved(ToyResult):
        def render(self, **arguments):
            seen.update(arguments)
            return super().render(**arguments)

    monkeypatch.setitem(vars(fitkit), "load", lambda folder: Saved())
    monkeypatch.setattr(images, "write_image", lambda path, picture: Path(path))
    weights = ["--expression", "jawOpen=0.6", "--expression", "browInnerUp=1"]
    assert cli.run(["render", "r", "--yaw", "30", "--light", "left", *weights]) == 0
    assert seen == {"yaw": 30.0, "pitch": None, "roll": None, "light": (-60.0, 15.0),
                    "expression": {"jawOpen": 0.6, "browInnerUp": 1.0}}
    assert capsys.readouterr().out == "r/render.png\n"
    assert cli.run(["render", "r", "--light=-30,5", "--out", "x.png"]) == 0
    assert seen["light"] == (-30.0, 5.0) and capsys.readouterr().out == "x.png\n"


def test_recipes_are_explained(calls, capsys):
    assert cli.run(["recipes"]) == 0
    assert "inverse_rendering  A toy." in (out := capsys.readouterr().out) and "Toy 1999" in out
    assert cli.run(["recipes", "landmarks"]) == 0
    lines = capsys.readouterr().out
    assert "weight=10.0" in lines and "of the points, which is explained on two lines. (a number)" in lines
    assert "inner.iterations=20" in lines and "most steps. (a whole number)" in lines


def test_heads_are_listed(capsys):
    assert cli.run(["heads"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == sorted(path.stem for path in (ROOT / "models" / "heads").glob("[a-z]*.py"))


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["render", "--help"], ["--version"]])
def test_help_teaches_without_jax(arguments):
    code = "import sys; from fitkit import cli\ntry: cli.run(sys.argv[1:])\nfinally: assert not {'jax', 'rich'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert not done.stderr
    if "--help" in arguments:
        assert "Examples:" in done.stdout and "fitkit fit me.jpg" in done.stdout or "fitkit render" in done.stdout
    else:
        assert done.stdout == f"fitkit {fitkit.__version__}\n"


@pytest.mark.parametrize("arguments", [["heads"], ["--help"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    script = "import sys; from fitkit import cli; sys.exit(cli.run(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1 and not err


def test_the_doctor_reports_what_it_meets_and_goes_on(monkeypatch, capsys, tmp_path):
    def broken():
        raise FitkitError("E_DATA", "the weights are missing")

    for name in ("describe_cache", "check_head", "tiny_fit"):
        monkeypatch.setattr(doctor, name, lambda: "fine")
    monkeypatch.setattr(doctor, "check_weights", broken)
    assert cli.run(["doctor", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["embedded data"] == {"text": "the weights are missing", "code": "E_DATA"} and found["tiny fit"]["text"] == "fine"


@pytest.mark.parametrize("damage", ["short", "nan", "none"])
def test_the_doctor_notices_damaged_weights(monkeypatch, tmp_path, damage):
    from safetensors.numpy import save

    data = save({"basis": np.array([1.0, np.nan if damage == "nan" else 2.0], np.float32)})
    if damage != "none":
        (tmp_path / "net.safetensors").write_bytes(data[:-3] if damage == "short" else data)
    monkeypatch.setattr(doctor, "weights_folder", lambda: tmp_path)
    with pytest.raises(FitkitError) as caught:
        doctor.check_weights()
    assert caught.value.code == "E_DATA" and "install fitkit again" in caught.value.message


@pytest.mark.parametrize(("text", "value"), [
    ("x=3", 3), ("x=0.5", 0.5), ("x=true", True), ("x=[1, 2]", [1, 2]), ("x=word", "word"), ("x=none", None), ("x=a=b", "a=b"),
    ("x=", ""),
])
def test_values_are_read_as_toml_or_text(text, value):
    assert configuration.parse_assignments([text]) == {"x": value}


def test_did_you_mean_lists_all_where_nothing_is_near():
    assert configuration.did_you_mean("zzz", ["landmarks", "ganfit"]) == "there are ganfit, landmarks"
    assert configuration.did_you_mean("LANDMARK", ["landmarks"]) == "did you mean 'landmarks'?"
