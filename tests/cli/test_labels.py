"""`fitkit labels make` and `show`, with records that no renderer made."""

import dataclasses
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fitkit
import fitkit.recipes.synthesize.labels
from fitkit.batch import kept_fits
from fitkit.cli.commands import labels
from fitkit.cli.console import Console
from fitkit.cli.main import run
from fitkit.errors import FitkitError
from fitkit.io.video import read_frames
from fitkit.labels.reading import open_labels
from tests.fixtures.tiny_head import tiny_camera
from tests.fixtures.toy_labels import SIZE, toy_make


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyLabels:
    """Fields of the toy kind."""

    head: str = "toy"
    size: int = SIZE
    seed: int = 0
    skins: str | None = None


@pytest.fixture(autouse=True)
def kinds(monkeypatch, tmp_path):
    """The kind `toy`, whose maker calls what the test puts into the list."""
    calls = [toy_make]
    toy = fitkit.recipes.synthesize.labels.Kind(config=ToyLabels, maker=lambda config: lambda numbers: calls[-1](numbers),
                                                summary="A toy.", paper="Toy 1999")
    monkeypatch.setattr(fitkit.recipes.synthesize.labels, "KINDS", {"toy": toy})
    monkeypatch.setenv("FITKIT_NO_CACHE", "1")
    monkeypatch.chdir(tmp_path)
    return calls


MAKE = ("labels", "make", "toy", "--out", "run", "--count", "5", "--per-shard", "2")


def test_a_run_is_made_and_shown(capsys):
    assert run(MAKE) == 0
    said = capsys.readouterr()
    assert said.out == "run\n" and "5 pictures in 3 shards" in said.err
    assert len(open_labels("run")) == 5
    assert run(MAKE) == 0 and "nothing to do" in capsys.readouterr().err
    assert run(["labels", "show", "run", "--count", "2", "--first", "1"]) == 0
    assert np.asarray(Image.open("run/sheet.png")).shape == (2 * SIZE, 9 * SIZE, 3)
    assert run(["labels", "show", "run", "--out", "all.png", "-q"]) == 0
    assert np.asarray(Image.open("all.png")).shape[0] == 5 * SIZE


def test_wrinkles_of_fits_are_for_detail_and_must_be_there(kinds, tmp_path, monkeypatch):
    toy = fitkit.recipes.synthesize.labels.KINDS["toy"]
    with pytest.raises(FitkitError, match="E_USAGE.*detail, not for toy"):
        labels.run_make(labels.LabelsMake(kind="toy", out="run", fits="."), None)
    monkeypatch.setitem(fitkit.recipes.synthesize.labels.KINDS, "detail", toy)
    with pytest.raises(FitkitError, match="E_EMPTYDIR.*no result with wrinkles"):
        labels.run_make(labels.LabelsMake(kind="detail", out="run", fits=str(tmp_path)), None)


def test_a_stopped_run_says_how_to_go_on(capsys, kinds):
    def stop(numbers):
        if 3 in numbers:
            raise KeyboardInterrupt
        return toy_make(numbers)

    kinds.append(stop)
    assert run(MAKE) == 130
    assert "shards that were whole stay in run, and the same command makes those that are missing" in capsys.readouterr().err
    kinds.append(toy_make)
    assert run(MAKE) == 0 and "3 pictures in 2 shards" in capsys.readouterr().err


def test_parts_share_a_folder():
    assert run([*MAKE, "--shard", "2/2"]) == 0
    assert open_labels("run").numbers.tolist() == [2, 3]
    assert run([*MAKE, "--shard", "1/2"]) == 0 and len(open_labels("run")) == 5


@pytest.mark.parametrize(("arguments", "said"), [
    (["labels", "make"], "fitkit labels make random --out run --count 1000"),
    (["labels", "make", "toi", "--out", "run"], "unknown kind of labels 'toi'; did you mean 'toy'?"),
    ([*MAKE, "me.jpg"], "the kind toy takes no photos; leave them out"),
    ([*MAKE, "--size", "16"], "--size takes 32 to 1024 pixels, not 16"),
    ([*MAKE, "--count", "0"], "--count takes a number from 1 on, not 0"),
    ([*MAKE, "--seed", "-1"], "--seed takes a number from 0 to 2147483647, not -1"),
    ([*MAKE, "--shard", "3/2"], "--shard takes I/N, part I of N, I from 1, not '3/2'"),
    (["labels", "show"], "no run was named"),
])
def test_what_cannot_be_made_is_a_sentence(arguments, said, capsys):
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_another_run_and_no_run_are_refused(capsys):
    assert run(MAKE) == 0
    assert run([*MAKE[:-1], "3"]) == 1 and "per_shard is 2 there and 3 here" in capsys.readouterr().err
    assert run(["labels", "show", "nothing"]) == 1 and "name a folder that fitkit labels make wrote" in capsys.readouterr().err
    assert run(["labels", "show", "run", "--first", "9"]) == 2 and "name no picture of the 5 of run" in capsys.readouterr().err


def test_motion_of_a_film_is_a_file_that_frames_take(monkeypatch, tmp_path, capsys):
    """With poses in place of a film: what is written is what is measured, and what `--motion` reads."""
    rng = np.random.default_rng(0)
    poses = iter(np.cumsum(rng.normal(size=(40, 6)) * [1.0, 0.5, 0.25, 0.01, 0.01, 0.005], axis=0))
    monkeypatch.setattr("fitkit.io.video.read_frames", lambda film, *, most: iter(range(40)))
    monkeypatch.setattr("fitkit.cli.commands.labels._pose", lambda frame: next(poses))
    assert run(["labels", "motion", "talk.mp4"]) == 0
    written = tomllib.loads((tmp_path / "motion.toml").read_text())
    assert written["yaw"] == pytest.approx(1.0, rel=0.4) and written["roll"] == pytest.approx(0.25, rel=0.4)
    monkeypatch.setattr(ToyLabels, "__dataclass_fields__", {"motion": None} | ToyLabels.__dataclass_fields__)
    assert dataclasses.asdict(labels._motion("motion.toml")) == written
    (tmp_path / "motion.toml").write_text("yaw = 'far'")
    assert run([*MAKE, "--motion", "motion.toml"]) == 2 and "field 'yaw' of Motion in motion.toml takes" in capsys.readouterr().err
    monkeypatch.undo()


def test_motion_is_for_frames(capsys):
    assert run([*MAKE, "--motion", "motion.toml"]) == 2
    assert "--motion is for the kind frames, not for toy" in capsys.readouterr().err
    assert run(["labels", "motion"]) == 2 and "no film was named" in capsys.readouterr().err


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


def test_photos_are_cropped_around_their_faces(kinds, monkeypatch, tmp_path, capsys):
    """Each sound fit is handed over in a crop where the camera sees the same; a doubtful one and one without a face are named."""
    points = np.stack([np.linspace(20, 60, 68), np.linspace(10, 50, 68)], axis=1)

    def fit(photo, run, *, head):
        if Path(photo).stem == "b":
            raise FitkitError("E_NOFACE", f"no face was found in {photo}; try --landmarks")
        face = types.SimpleNamespace(identity=np.zeros(6), expression=np.zeros(52), albedo=np.zeros(4), light=np.ones((9, 3)))
        pixels = np.zeros((64, 64, 3), np.float32)
        pixels[30, 40] = 1
        status = "doubtful" if Path(photo).stem == "c" else "converged"
        return types.SimpleNamespace(
            status=status, reason="its points are far off", landmarks_detected=points, parameters=face,
            animated_texture=lambda: np.zeros((8, 8, 3), np.uint8), model=None, detail=None,
            camera=tiny_camera(focal=100.0, size=64.0)), types.SimpleNamespace(pixels=pixels, sha256=Path(photo).stem)

    monkeypatch.setattr(kept_fits, "kept_fit", fit)
    for name in "abcd":
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    options = labels.LabelsMake(kind="vary", source=(str(tmp_path),), size=40)
    faces = labels._fitted_faces(options, Console())
    said = capsys.readouterr().err
    assert [face.name for face in faces] == ["a.jpg", "d.jpg"] and "no face was found" in said and "c.jpg is doubtful" in said
    # three boxes of the points, 120 pixels around their middle, (40, 30), become 80: the bright pixel is in the middle
    assert faces[0].picture.shape == (80, 80, 3) and np.unravel_index(faces[0].picture[..., 0].argmax(), (80, 80)) == (40, 40)
    np.testing.assert_allclose([faces[0].camera.focal, *faces[0].camera.principal], [100 / 1.5, 52 / 1.5, 62 / 1.5], rtol=1e-5)
    np.testing.assert_array_equal(faces[0].inside, [14, 20, 56, 62])
    with pytest.raises(FitkitError, match="no photo has a face that could be fitted"):
        labels._fitted_faces(dataclasses.replace(options, source=(str(tmp_path / "b.jpg"),)), Console())


def test_a_fit_is_made_once_and_then_loaded(kinds, monkeypatch, tmp_path):
    """With a fit that writes an empty folder; what another process wrote meanwhile is taken, too."""
    made = []

    def save(folder, *, outputs):
        made.append(folder.name)
        if folder.exists():
            raise FitkitError("E_EXISTS", "it is there")
        folder.mkdir(parents=True)

    monkeypatch.setattr(kept_fits, "api", types.SimpleNamespace(
        fit=lambda path, *, head: types.SimpleNamespace(save=save), load=lambda folder, *, head: folder))
    Image.new("RGB", (8, 8)).save("a.png")
    folder, photo = kept_fits.kept_fit(Path("a.png"), "run", head="toy")
    assert folder.parent == Path("run/fits") and folder.name.startswith("a-") and photo.pixels.shape == (8, 8, 3)
    assert kept_fits.kept_fit(Path("a.png"), "run", head="toy")[0] == folder and len(made) == 1
    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    assert kept_fits.kept_fit(Path("a.png"), "run", head="toy")[0] == folder and len(made) == 2
