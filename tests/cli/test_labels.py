"""`fitkit labels make`, `show` and `motion`, with records that no renderer made."""

import dataclasses
import tomllib

import numpy as np
import pytest
from PIL import Image

from fitkit.batch.workers.label_makers import read_motion
from fitkit.cli.main import run
from fitkit.errors import FitkitError
from fitkit.io.video import read_frames
from fitkit.labels.reading import open_labels
from tests.fixtures.toy_labels import SIZE

MAKE = ("labels", "make", "random", "--out", "run", "--count", "5", "--per-shard", "2")


@pytest.fixture(autouse=True)
def toy_labels(label_calls, monkeypatch):
    """Workers that make toys."""
    monkeypatch.setenv("STAND_IN_LABELS", "toy")


def test_a_run_is_made_and_shown(capsys):
    assert run(MAKE) == 0
    said = capsys.readouterr()
    assert said.out == "run\n" and "random labels, in run; starting" in said.err and "5 pictures in 3 shards; " in said.err
    assert len(open_labels("run")) == 5
    assert run(["labels", "show", "run", "--count", "2", "--first", "1"]) == 0
    assert np.asarray(Image.open("run/sheet.png")).shape == (2 * SIZE, 9 * SIZE, 3)
    assert run(["labels", "show", "run", "--out", "all.png", "-q"]) == 0
    assert np.asarray(Image.open("all.png")).shape[0] == 5 * SIZE
    capsys.readouterr()
    assert run([*MAKE[:-1], "3"]) == 1 and "per_shard is 2 there and 3 here" in capsys.readouterr().err
    assert run(["labels", "show", "run", "--first", "9"]) == 2 and "name no picture of the 5 of run" in capsys.readouterr().err
    assert run(["labels", "show", "nothing"]) == 1 and "name a folder that fitkit labels make wrote" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "said"), [
    (["labels", "make"], "fitkit labels make random --out run --count 1000"),
    (["labels", "make", "randon", "--out", "run"], "unknown kind of labels 'randon'; did you mean 'random'?"),
    ([*MAKE, "me.jpg"], "the kind random takes no photos; leave them out"),
    (["labels", "make", "vary", "--out", "run"], "the kind vary needs photos: fitkit labels make vary photos/ --out run"),
    ([*MAKE, "--motion", "motion.toml"], "--motion is for the kind frames, not for random; leave it out"),
    ([*MAKE, "--fits", "out"], "--fits is for the kind detail, not for random; leave it out"),
    ([*MAKE, "--size", "16"], "--size takes 32 to 1024 pixels, not 16"),
    ([*MAKE, "--count", "0"], "--count takes a number from 1 on, not 0"),
    ([*MAKE, "--seed", "-1"], "--seed takes a number from 0 to 2147483647, not -1"),
    ([*MAKE, "--shard", "3/2"], "--shard takes I/N with I from 1 to N, not '3/2'"),
    ([*MAKE, "--workers", "0"], "--workers takes 1 or more processes, not 0"),
    ([*MAKE, "--limit", "0"], "--limit takes 1 or more shards, not 0"),
    (["labels", "motion"], "no film was named"),
    (["labels", "show"], "no run was named"),
])
def test_what_cannot_be_made_is_a_sentence(arguments, said, capsys):
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_motion_of_a_film_is_a_file_that_frames_take(monkeypatch, tmp_path, capsys):
    """With poses in place of a film: what is written is what is measured, and what `--motion` reads."""
    rng = np.random.default_rng(0)
    poses = iter(np.cumsum(rng.normal(size=(40, 6)) * [1.0, 0.5, 0.25, 0.01, 0.01, 0.005], axis=0))
    monkeypatch.setattr("fitkit.io.video.read_frames", lambda film, *, most: iter(range(40)))
    monkeypatch.setattr("fitkit.cli.commands.labels.motion._pose", lambda frame: next(poses))
    assert run(["labels", "motion", "talk.mp4"]) == 0
    written = tomllib.loads((tmp_path / "motion.toml").read_text())
    assert written["yaw"] == pytest.approx(1.0, rel=0.4) and written["roll"] == pytest.approx(0.25, rel=0.4)
    assert dataclasses.asdict(read_motion("motion.toml")) == written
    (tmp_path / "motion.toml").write_text("yaw = 'far'")
    with pytest.raises(FitkitError, match=r"E_FIELD: field 'yaw' of Motion in motion\.toml takes"):
        read_motion("motion.toml")


def test_a_film_is_read(tmp_path):
    """A film that PyAV writes comes back, as many frames as are asked for; what is no film is named."""
    av = pytest.importorskip("av", reason="PyAV is an extra: pip install 'fitkit[video]'")
    with av.open(str(tmp_path / "film.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * level, np.uint8), format="rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    frames = list(read_frames(tmp_path / "film.mp4", most=4))
    assert [frame.shape for frame in frames] == 4 * [(32, 32, 3)]
    assert np.abs([frame.mean() * 255 - 40 * level for level, frame in enumerate(frames)]).max() < 6
    assert len(list(read_frames(tmp_path / "film.mp4", most=100))) == 6
    (tmp_path / "no.mp4").write_bytes(b"not a film" * 100)
    with pytest.raises(FitkitError, match="no.mp4 is not a film that can be read"):
        list(read_frames(tmp_path / "no.mp4", most=1))
