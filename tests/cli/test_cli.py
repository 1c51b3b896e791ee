"""The command line with the fit itself replaced: what is fitted and said, and the exit status. What is kept: `batch/test_runs.py`.

A real fit through the command line is in `test_end_to_end.py`.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rich.progress

import fitkit
from fitkit.batch import ledger
from fitkit.cli import console, main
from fitkit.errors import FitkitError
from fitkit.io import images
from tests.fixtures.source_tree import ROOT
from tests.fixtures.toy_fit import ToyResult, photos


def folders(run="out"):
    return sorted(path.name for path in Path(run).iterdir() if path.is_dir())


def test_fit_writes_one_folder_per_photo_and_says_where(calls, capsys):
    names = photos("ok animation", "doubtful")
    assert main.run(["fit", *names]) == 0
    out, err = capsys.readouterr()
    first, second = folders()
    assert [line.split(" (")[0] for line in out.splitlines()] == [f"p0.jpg -> out/{first}", f"p1.jpg -> out/{second}"]
    assert re.fullmatch("p0-[0-9a-f]{32}-inverse_rendering", first)
    assert "doubtful: the points are far off" in out
    assert "fitkit: p0.jpg: an animation\n" in err
    assert "fitkit: 2 faces: 2 fitted (1 doubtful); " in err
    content = json.loads(Path("out", first, "fit.json").read_text())
    assert content["job"]["outputs"] == ["mesh", "params", "pictures"] and first.split("-")[1] == content["job"]["sha256"][:32]


def test_a_run_ends_with_its_report(calls, capsys):
    names, page = photos("ok", "doubtful"), Path("out", "report.html")
    assert main.run(["fit", *names, "--dry-run"]) == 0 and not page.exists()
    assert main.run(["fit", *names]) == 0
    assert f"fitkit: report: {page}" in capsys.readouterr().err and "the points are far off" in page.read_text()
    page.write_text("mine")
    assert main.run(["fit", *names]) == 0 and page.read_text() == "mine"      # nothing new: it is left alone
    assert main.run(["fit", *photos("noface")]) == 1 and "E_NOFACE" in page.read_text()


def test_every_option_reaches_the_fit(calls):
    photos("ok")
    status = main.run(["fit", "p0.jpg", "--recipe", "landmarks", "--head", "ict", "--size", "512", "--focal", "900", "--seed", "7",
                       "--landmarks", "face-alignment", "--set", "weight=3", "--set", "inner.iterations=5", "--batch-size", "4",
                       "--set", "schedule=[1, 2]", "--out", "elsewhere", "--outputs", "params,mesh", "-q"])
    assert status == 0
    asked = {"photo": "p0.jpg", "recipe": "landmarks", "head": "ict", "size": 512, "focal": 900.0, "seed": 7, "batch": 4,
             "detector": "face-alignment", "points": None,
             "fields": {"weight": 3.0, "robust": True, "inner": {"iterations": 5}, "schedule": [1, 2]}}
    assert len(calls) == 1 and calls[0] | asked == calls[0]
    assert json.loads(Path("elsewhere", *folders("elsewhere"), "fit.json").read_text())["job"]["outputs"] == ["mesh", "params"]


def test_bad_photos_do_not_stop_the_others(calls, capsys):
    names = photos("ok", "noface", "defect", "ok")
    Path("empty").mkdir()
    assert main.run(["fit", *names, "gone.jpg", "p.jpg", "empty"]) == 1
    out, err = capsys.readouterr()
    assert [call["photo"] for call in calls] == names
    assert len(out.splitlines()) == 2
    errors = [line for line in err.splitlines() if line.startswith("fitkit: error")]
    assert sorted(line.split()[2] for line in errors) == ["E_EMPTYDIR:", "E_INTERNAL:", "E_NOFACE:", "E_NOFILE:", "E_NOFILE:"]
    assert "7 faces: 2 fitted, 5 failed" in err and re.search(r"did you mean p\d.jpg", err)
    assert "Traceback" not in err


def test_a_traceback_of_a_worker_does_not_act_on_the_terminal(capsys):
    console.Console(level=3).trace("first\x1b[2J\n  second\u202e\n")
    assert capsys.readouterr().err == "first\\x1b[2J\n  second\\u202e\n"
    console.Console(level=2).trace("hidden")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flag", ["-vv", "--debug"])
def test_a_traceback_is_shown_where_asked(calls, capsys, flag):
    assert main.run(["fit", *photos("defect"), flag]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_json_is_one_object_per_face_and_nothing_else(calls, capsys):
    assert main.run(["fit", *photos("ok", "noface"), "--json"]) == 1
    first, second = sorted(map(json.loads, capsys.readouterr().out.splitlines()), key=lambda said: said["photo"])
    assert set(first) == {"photo", "face", "folder", "status", "reason", "note", "seconds", "code", "message"}
    assert (first["photo"], first["folder"], first["status"], first["code"]) == ("p0.jpg", f"out/{folders()[0]}", "converged", None)
    assert (second["folder"], second["status"], second["code"]) == (None, "failed", "E_NOFACE")
    assert first["seconds"] >= 0 and second["message"].startswith("no face")


def test_all_faces_are_numbered(calls, capsys):
    assert main.run(["fit", *photos("faces=3"), "--faces", "all"]) == 0
    named = sorted(re.sub("-[0-9a-f]{32}-", "-", name) for name in folders())
    assert named == [f"p0-inverse_rendering-face{face}" for face in (1, 2, 3)]
    assert "p0.jpg, face 1 -> " in capsys.readouterr().out
    assert main.run(["fit", "p0.jpg", "--faces", "all"]) == 0
    assert len(calls) == 1 and capsys.readouterr().out.count("kept out/p0-") == 3
    shutil.rmtree(Path("out", folders()[1]))      # one of them is lost: the photo is fitted again, the others stay
    assert main.run(["fit", "p0.jpg", "--faces", "all"]) == 0
    out = capsys.readouterr().out
    assert len(calls) == 2 and out.count("kept") == 2 and len(folders()) == 3


def test_a_directory_stands_for_its_photos(calls):
    Path("album").mkdir()
    for name in ("b.png", "a.jpg", "notes.txt"):
        (Path("album") / name).write_text(f"ok {name}")
    assert main.run(["fit", "album", "album/a.jpg", "-q"]) == 0
    assert [call["photo"] for call in calls] == ["a.jpg", "b.png"]


def test_landmark_files_go_to_the_photo_of_their_name(calls, capsys):
    names = photos("ok", "ok")
    Path("points").mkdir()
    Path("points/p0.pts").write_text("")
    assert main.run(["fit", *names, "--landmarks", "points"]) == 1
    assert calls[0]["points"] == str(Path("points/p0.pts")) and len(calls) == 1
    assert "E_LANDMARKS: there is neither p1.pts nor p1.npy in points" in capsys.readouterr().err
    assert main.run(["fit", *names, "--landmarks", "points/p0.pts"]) == 2


def test_several_photos_of_one_person_are_fitted_together(calls, capsys):
    names = photos("ok", "noface", "ok")
    assert main.run(["fit", *names, "--same-person"]) == 1
    out, err = capsys.readouterr()
    assert [call["photo"] for call in calls if call["together"]] == names and len(out.splitlines()) == 2 and "E_NOFACE" in err
    assert main.run(["fit", names[0], names[2], "--same-person"]) == 0 and len(calls) == 5      # another person: two photos
    assert main.run(["fit", names[0], names[2], "--same-person"]) == 0 and len(calls) == 5      # both are there already
    assert main.run(["fit", *names, "--same-person", "--faces", "all"]) == 2


def test_a_manifest_says_who_is_one_person(calls, capsys):
    photos("ok", "ok", "ok")
    Path("list.csv").write_text("path,id,person,focal\np0.jpg,a,ann,800\np1.jpg,b,ann,\np2.jpg,c,,\n")
    assert main.run(["fit", "list.csv", "-q"]) == 0
    assert [(call["photo"], call["together"], call["focal"]) for call in calls] == [
        ("p0.jpg", True, 800), ("p1.jpg", True, None), ("p2.jpg", False, None)]
    kept = {row["id"]: (row["path"], row["person"], row["status"]) for row in ledger.rows(Path("out"))}
    assert kept == {"a": ("p0.jpg", "ann", "converged"), "b": ("p1.jpg", "ann", "converged"), "c": ("p2.jpg", None, "converged")}


def test_missing_data_stops_with_3(calls, capsys):
    assert main.run(["fit", *photos("nodata", "ok sleep=0.2")]) == 3
    err = capsys.readouterr().err
    assert "error E_DATA: " in err and "left: the same command goes on" in err


def test_an_unwritable_output_stops_with_5_before_any_work(calls, capsys):
    photos("ok")
    Path("file").write_text("")
    assert main.run(["fit", "p0.jpg", "--out", "file/under"]) == 5
    assert "E_OUTPUT: cannot write file/under" in capsys.readouterr().err and not calls


@pytest.mark.parametrize(("option", "words"), [
    ("--shard=0/3", "--shard takes I/N"), ("--shard=4/3", "--shard takes I/N"), ("--shard=a/b", "--shard takes I/N"),
    ("--workers=0", "1 or more"), ("--batch-size=none", "or auto"), ("--limit=0", "1 or more"), ("--timeout=0", "above 0")])
def test_numbers_out_of_range_are_refused(calls, capsys, option, words):
    assert main.run(["fit", *photos("ok"), option]) == 2
    assert words in capsys.readouterr().err and not calls


def test_a_failed_write_counts_for_the_exit_status():
    outcomes = [console.failed_outcome(FitkitError(code, "words"), "p.jpg") for code in ("E_NOFACE", "E_OUTPUT", "E_NOFILE")]
    assert console.exit_status(outcomes) == 5
    assert console.exit_status(outcomes[:1]) == 1
    assert console.exit_status([]) == 0


def test_a_name_that_is_no_text_is_still_said(tmp_path):
    script = "import sys; from fitkit.batch.workers import process; from fitkit.cli import main\n" \
             "process.WORKER = (sys.executable, '-m', 'tests.batch.stand_in'); sys.exit(main.main())"
    command = [sys.executable, "-c", script, "fit", b"\xff.jpg", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT)
    said = done.stderr.splitlines()
    assert done.returncode == 1 and said[1].startswith(b"fitkit: error E_NOFILE: \\udcff.jpg") and b"Traceback" not in done.stderr
    assert [row["path"] for row in ledger.rows(tmp_path)] == ["\\udcff.jpg"]


def test_a_terminal_gets_one_progress_line_and_results_stay_apart(calls, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert main.run(["fit", *photos("ok", "ok"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["photo"] for line in out.splitlines()] == ["p0.jpg", "p1.jpg"]
    assert re.search("p[01].jpg", err) and "2/2" in err and "left" in err


def test_the_progress_line_moves_within_a_photo(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    seen = []
    monkeypatch.setattr(rich.progress.Progress, "update", lambda self, task, **changes: seen.append(changes["completed"]))
    with console.progress_line(console.Console(), 2) as (_, on_progress):
        for call in (("a.jpg",), ("a.jpg", 0.4), (None,), ("b.jpg",), ("b.jpg", 0.5), (None,)):
            on_progress(*call)
    assert seen == [0, 0.4, 1, 1, 1.5, 2]


def test_verbose_says_timings_and_quiet_says_nothing(calls, capsys):
    photos("ok")
    assert main.run(["fit", "p0.jpg", "-v"]) == 0
    assert "p0.jpg: detect 0.25 s, fit 1.50 s" in capsys.readouterr().err
    assert main.run(["fit", "p0.jpg", "--overwrite", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_render_turns_lights_and_animates(calls, capsys, monkeypatch):
    seen = {}

    class Saved(ToyResult):
        def render(self, **arguments):
            seen.update(arguments)
            return super().render(**arguments)

    monkeypatch.setitem(vars(fitkit), "load", lambda folder, head: Saved())
    monkeypatch.setattr(images, "write_image", lambda path, picture: Path(path))
    weights = ["--expression", "jawOpen=0.6", "--expression", "browInnerUp=1"]
    assert main.run(["render", "r", "--yaw", "30", "--light", "left", *weights]) == 0
    assert seen == {"yaw": 30.0, "pitch": None, "roll": None, "light": (-60.0, 15.0),
                    "expression": {"jawOpen": 0.6, "browInnerUp": 1.0}}
    assert capsys.readouterr().out == "r/render.png\n"
    assert main.run(["render", "r", "--light=-30,5", "--out", "x.png"]) == 0
    assert seen["light"] == (-30.0, 5.0) and capsys.readouterr().out == "x.png\n"


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["render", "--help"], ["--version"]])
def test_help_teaches_without_jax(arguments):
    code = "import sys; from fitkit.cli import main\ntry: main.run(sys.argv[1:])\n" \
           "finally: assert not {'jax', 'rich'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert not done.stderr
    if "--help" in arguments:
        assert "Examples:" in done.stdout and "fitkit fit me.jpg" in done.stdout or "fitkit render" in done.stdout
    else:
        assert done.stdout == f"fitkit {fitkit.__version__}\n"


def test_the_overview_names_every_command_in_order(capsys):
    assert main.run(["--help"]) == 0
    listed = capsys.readouterr().out.partition("commands:\n")[2].splitlines()
    assert [line[2:].partition("  ")[0] for line in listed if not line.startswith("    ")] == list(main.COMMANDS)
    assert main.run(["eval", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: fitkit eval") and "  ablation   Ablation of recipe ganfit" in out and "unwrap" not in out


@pytest.mark.parametrize("arguments", [["heads"], ["--help"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    script = "import sys; from fitkit.cli import main; sys.exit(main.run(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1 and not err


def test_nothing_that_a_console_prints_acts_on_the_terminal(capsys):
    hostile = "a\x1b[2J\nb\u202e"
    said = console.Console(level=3)
    said.note(hostile)
    said.outcome(console.Outcome(photo=hostile, folder=hostile, status="doubtful", reason=hostile))
    try:
        raise ValueError(hostile)
    except ValueError as error:
        said.outcome(console.failed_outcome(error, hostile))
    out, err = capsys.readouterr()
    assert all(line.isprintable() for line in (out + err).splitlines())
    assert out.count("\n") == 1 and err.splitlines()[0] == r"fitkit: a\x1b[2J\nb\u202e"
