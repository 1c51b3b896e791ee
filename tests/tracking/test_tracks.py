"""Tracks with a stand-in in place of detector and fit: what is lost and found, what is written and kept."""

import csv
import dataclasses
import json
import pathlib
import types

import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.cli.main import run as command
from fitkit.detection.landmarks import Landmarks, box_of
from fitkit.errors import FitkitError
from fitkit.fitting.state import FaceState
from fitkit.geometry.camera import head_angles
from fitkit.geometry.pose import Pose
from fitkit.geometry.vectors import rotation_from_euler
from fitkit.io import images
from fitkit.io.cameras import camera_of
from fitkit.io.video import Frame
from fitkit.recipes.tracking import FrameState, Person, personal_head
from fitkit.tracking import by_fits, files, following, run
from fitkit.tracking.job import KeyFrame, chosen_keys
from fitkit.tracking.live_link import SHAPES, timecode
from fitkit.types import FaceParameters
from tests.export.test_export import Glb
from tests.fixtures.tiny_head import ARKIT_NAMES, tiny_head

COUNT, SIDE = 12, 48
POINTS = np.random.default_rng(0).uniform(4, 44, (468, 2)).astype(np.float32)
LOST = (4, 5)               # frames without a face
COVERED = 8                 # a frame whose fit does not agree
FPS = 20.0


def shown(pixels):
    """The number of a frame, written in its brightness."""
    return round(float(pixels[0, 0, 0]) * 255 / 10)


def state_of(number):
    """The state that the stand-in gives frame `number`."""
    expression = jnp.asarray(np.random.default_rng(number).uniform(0, 1, 52), jnp.float32)
    face = FaceParameters(identity=jnp.zeros(0), expression=expression, albedo=jnp.zeros(0), light=jnp.full((9, 3), 0.1 * number))
    pose = Pose(rotation=rotation_from_euler(0.05 * number, 0.02, 0.01), centre=jnp.array([2.0, 1.0]), log_scale=jnp.log(0.2),
                log_focal=jnp.log(60.0), principal=jnp.full(2, SIDE / 2))
    return FaceState(face=face, pose=pose)


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """A folder of pictures, and what detector and fit were asked."""
    calls = types.SimpleNamespace(starts=[], folder=tmp_path / "shots", reads=0)
    for number in range(COUNT):
        images.write_image(calls.folder / f"{number:02d}.png", np.full((SIDE, SIDE, 3), 10 * number / 255))
    head = tiny_head()

    def find(pixels, **_):
        face = Landmarks(points=POINTS, scheme="mediapipe468", score=1.0, box=box_of(POINTS))
        return [] if shown(pixels) in LOST else [face]

    def fit_frame(person, pixels, points, principal, *, before, elapsed, size, config):
        number = shown(pixels)
        calls.starts.append((number, before is None, round(elapsed, 3)))
        return FrameState(state=state_of(number), square=(np.zeros(2), 1.0), agreeing=0.1 if number == COVERED else 0.9)

    def estimate(keys, lens, job):
        zeros = jnp.zeros(len(head.identity)), jnp.zeros(len(head.albedo))
        calls.keys = [shown(key.frame.floats()) for key in keys]
        return Person(model=head, head=personal_head(head, *zeros), identity=zeros[0], albedo=zeros[1], light=jnp.zeros((9, 3)),
                      exposure=1.0, focal=60.0), None

    monkeypatch.setattr(following, "find_faces", find)
    monkeypatch.setattr(following, "follow_face", lambda pixels, before: next(iter(find(pixels)), None))
    monkeypatch.setattr(by_fits, "observe_square", lambda model, pixels, *_: (pixels, (1.0, np.zeros(2))))
    monkeypatch.setattr(by_fits, "face_direction", lambda model, pixels, config: np.array(
        [np.sin(0.05 * shown(pixels)), 0.0, np.cos(0.05 * shown(pixels))]))
    monkeypatch.setattr(by_fits, "fit_frame", fit_frame)
    monkeypatch.setattr(by_fits, "person_of", estimate)
    monkeypatch.setattr(run.heads, "load", lambda name: head)
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.fixture
def track(stand_in):
    return fitkit.track(stand_in.folder, fps=FPS)


def test_a_face_is_lost_and_found_again(track, stand_in):
    assert track.lost() == [(4, 5), (8, 8)]
    np.testing.assert_allclose(track.seconds, np.arange(COUNT) / FPS)
    assert np.isnan(track.expression[4]).all() and np.isfinite(track.expression[6]).all()
    starts = {number: (anew, elapsed) for number, anew, elapsed in stand_in.starts}
    assert starts[0][0] and not starts[1][0] and starts[1][1] == 0.05
    assert starts[6] == (False, 0.15)           # after a short gap from the state before it
    assert [anew for number, anew, _ in stand_in.starts if number == COVERED] == [False, True]      # tried once more, anew
    assert stand_in.keys[0] == 0 and 11 in stand_in.keys and len(stand_in.keys) == 4


def test_angles_and_cameras_are_the_states(track):
    for number in (0, 7):
        state = state_of(number)
        np.testing.assert_array_equal(track.expression[number], state.face.expression)
        np.testing.assert_allclose(track.angles[number], head_angles(track.camera(number)), atol=1e-3)
        np.testing.assert_allclose(np.radians(track.angles[number]), [0.05 * number, 0.02, 0.01], atol=1e-5)
        assert track.translation[number][2] == pytest.approx(-300, rel=1e-4)       # mm: focal / scale, before the camera


def test_a_known_camera_of_a_film(stand_in):
    """Its K is the track's lens; its distortion is taken off each frame, as `cv2.undistort` has it to the first order of k1."""
    k1, focal, middle = -0.2, 55.0, np.array([20.0, 26.0])
    camera = {"K": [[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]], "distortion": [k1, 0, 0, 0]}
    track = fitkit.track(stand_in.folder, fps=FPS, frames=3, camera=camera)
    assert track.focal_source == "given" and track.settings["camera"]["K"][0][0] == track.settings["focal"] == focal
    np.testing.assert_allclose(track.principal, middle)
    grid = np.stack(np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5), -1)      # a frame whose colours are its places
    frame = Frame(0.0, np.concatenate([grid * 5, grid[..., :1]], -1).astype(np.uint8))
    straight = next(run._straight([frame], camera_of(camera).of("film"), "film"))
    ray = (grid - middle) / focal
    expected = middle + focal * ray * (1 + k1 * np.sum(ray**2, -1, keepdims=True))
    np.testing.assert_allclose(straight.pixels[4:-4, 4:-4, :2] / 5, expected[4:-4, 4:-4], atol=0.3)
    with pytest.raises(FitkitError, match="48 x 48 pixels, and its camera 50 x 48"):
        fitkit.track(stand_in.folder, fps=FPS, camera=camera | {"width": 50, "height": 48})


def rows_of(text):
    rows = list(csv.reader(text.splitlines()))
    return rows[0], rows[1:]


def test_the_folder_holds_the_track(track, tmp_path):
    folder = track.save(tmp_path / "out")
    shown_rows = np.flatnonzero(track.found)
    content = json.loads((folder / "track.json").read_text())
    assert content["lost"] == [[4, 5], [8, 8]] and content["frames"] == COUNT and content["found"] == len(shown_rows)
    header, rows = rows_of((folder / "live_link.csv").read_text())
    assert header[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"] and header[-1] == "RightEyeRoll" and len(header) == 63
    assert len(rows) == len(shown_rows) and {row[1] for row in rows} == {"61"}
    assert rows[1][0] == "00:00:00:01.000" and rows[4][0] == "00:00:00:06.000"
    jaw, names = header.index("JawOpen"), list(track.model.expression_names)
    np.testing.assert_allclose([float(row[jaw]) for row in rows], track.expression[shown_rows, names.index("jawOpen")], atol=1e-6)
    np.testing.assert_allclose([float(row[header.index("HeadYaw")]) for row in rows], np.radians(track.angles[shown_rows, 0]),
                               atol=1e-6)
    glb = Glb(folder / "head.glb")
    assert glb.mesh["name"] == pathlib.Path(track.film).stem != track.model.name
    sampler = glb.document["animations"][0]["samplers"][0]
    np.testing.assert_allclose(glb.accessor(sampler["input"])[:, 0], track.seconds[shown_rows], atol=1e-6)
    np.testing.assert_array_equal(glb.accessor(sampler["output"]).reshape(-1, 52), track.expression[shown_rows])


def test_the_shapes_are_arkits():
    assert sorted(SHAPES) == sorted(ARKIT_NAMES)
    assert timecode(3661.5125, 30) == "01:01:01:15.375"


def test_a_table_of_coefficients(track, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    folder = track.save(tmp_path / "plain")
    assert files.NO_PYARROW in json.loads((folder / "track.json").read_text())["notes"]
    header, rows = rows_of((folder / "coefficients.csv").read_text())
    assert rows[4][header.index("jawOpen")] == "" and rows[4][header.index("found")] == "0"
    names, columns = files.coefficient_rows(track)
    assert names == header
    np.testing.assert_allclose([float(row[header.index("jawOpen")] or "nan") for row in rows], columns[header.index("jawOpen")],
                               rtol=1e-5)
    monkeypatch.undo()
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra: pip install 'fitkit[tables]'")
    table = parquet.read_table(track.save(tmp_path / "typed") / "coefficients.parquet").to_pydict()
    assert list(table) == header and table["found"][4] is False and table["frame"][11] == 11
    np.testing.assert_allclose(table["yaw_degrees"], track.angles[:, 0], rtol=1e-6)


def test_only_a_track_is_replaced(track, tmp_path):
    folder = track.save(tmp_path / "out")
    assert files.kept_track(folder)["found"] == 9
    with pytest.raises(FitkitError, match="E_EXISTS"):
        track.save(folder)
    later = dataclasses.replace(track, notes=("again",))
    assert json.loads((later.save(folder, overwrite=True) / "track.json").read_text())["notes"][0] == "again"
    (folder / "live_link.csv").write_text("torn")
    assert files.kept_track(folder) is None
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(FitkitError, match="E_EXISTS"):
        track.save(folder, overwrite=True)


def test_a_stopped_run_leaves_nothing(stand_in, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_row", stop)
    with pytest.raises(KeyboardInterrupt):
        fitkit.track(stand_in.folder, fps=FPS, out=tmp_path / "out" / "one")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_says_what_was_lost_and_keeps_what_is_there(stand_in, capsys):
    pytest.importorskip("av", reason="PyAV is an extra: pip install 'fitkit[video]'")
    assert command(["track", "shots", "--fps", "20"]) == 0
    said = capsys.readouterr()
    assert "the face was lost in 3 of 12 frames: 4 to 5, 8 (the first is 0)" in said.err
    folder = stand_in.folder.parent / said.out.strip()
    assert folder.name.startswith("shots-") and (folder / "overlay.mp4").stat().st_size > 500
    assert command(["track", "shots", "--fps", "20"]) == 0 and "kept out" in capsys.readouterr().err
    assert command(["track", "shots", "--fps", "20", "--frames", "3"]) == 1
    assert "other settings; pass --overwrite" in capsys.readouterr().err
    assert command(["track", "shots", "--fps", "20", "--frames", "3", "--overwrite"]) == 0
    assert json.loads((folder / "track.json").read_text())["frames"] == 3


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "no film was named"), (["shots"], "have no time of their own; add --fps 25"),
    (["talk.mp4", "--fps", "25"], "leave it out"),
    (["shots", "--fps", "0"], "--fps takes 1 to 1000"), (["shots", "--fps", "25", "--size", "63"], "even number"),
    (["shots", "--fps", "25", "--frames", "0"], "1 or more"), (["shots", "--fps", "25", "--focal", "-1"], "positive number"),
    (["shots", "--fps", "25", "--focal", "60", "--camera", "60,60,24,24"], "not both"),
    (["shots", "--fps", "25", "--camera", "60,60"], "60,60 does not exist"),
    (["shots", "--fps", "25", "--set", "temporal_turns=1"], "temporal_turn")])
def test_what_cannot_be_tracked_is_a_sentence(stand_in, arguments, said, capsys):
    assert command(["track", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_film_without_a_face(stand_in, monkeypatch, capsys):
    monkeypatch.setattr(following, "find_faces", lambda pixels, **_: [])
    assert command(["track", "shots", "--fps", "20"]) == 1
    assert "no face was found in 12 frames of shots" in capsys.readouterr().err
    assert not (stand_in.folder.parent / "out").exists() or list((stand_in.folder.parent / "out").iterdir()) == []


def test_samples_are_evenly_spaced_and_few():
    frames = [types.SimpleNamespace(number=number) for number in range(1000)]
    kept, count = run._samples(iter(frames))
    steps = np.diff([frame.number for frame in kept])
    assert count == 1000 and run.SAMPLES <= len(kept) <= 2 * run.SAMPLES and len(set(steps.tolist())) == 1


def test_the_plainest_key_frame_is_frontal_and_neutral():
    def key(degrees, smile):
        face = FaceParameters(identity=None, expression=np.array([smile, smile]), albedo=None, light=None)
        turned = np.array([np.sin(np.radians(degrees)), 0, np.cos(np.radians(degrees))])
        return KeyFrame(frame=(degrees, smile), points=None, facing=turned, state=FaceState(face=face, pose=None))

    found = [key(0, 0.6), key(10, 0.0), key(40, 0.0), key(-40, 0.9), key(70, 0.0)]
    assert [each.frame for each in chosen_keys(found, 3)] == [(10, 0.0), (-40, 0.9), (40, 0.0)]
    assert [each.frame for each in chosen_keys(found[4:], 2)] == [(70, 0.0)] * 2
    unknown = [dataclasses.replace(each, state=None) for each in found]
    assert chosen_keys(unknown, 1)[0].frame == (0, 0.6)


def test_of_several_faces_the_followed_one_is_taken(monkeypatch):
    def face(shift, grow):
        points = POINTS * grow + shift
        return Landmarks(points=points, scheme="mediapipe468", score=1.0, box=box_of(points))

    small, large = face(0, 1.0), face(60, 2.0)
    monkeypatch.setattr(following, "find_faces", lambda pixels, **_: [large, small])
    monkeypatch.setattr(following, "follow_face", lambda pixels, before: None)
    pixels = np.zeros((200, 200, 3), np.float32)
    assert following.follow(pixels, None, seconds=0.0, near=False).face is large
    before = following.Followed(face(2, 1.0), 0.0)
    assert following.follow(pixels, before, seconds=0.1, near=True).face is small
    assert following.follow(pixels, before, seconds=9.0, near=False).face is large


@pytest.mark.slow
def test_a_rendered_film_against_its_truth(tmp_path):
    """A person who turns and speaks, the detector and the fit themselves: pose, points and expression of each frame."""
    from scipy.spatial.transform import Rotation

    from tests.measurements.rendered_film import FOCAL, draw_film
    from tests.measurements.tracking import true_rotation

    film = draw_film(frames=40, seed=0)
    for number, pixels in enumerate(film.frames):
        images.write_image(tmp_path / "shots" / f"{number:02d}.png", pixels / 255)
    track = fitkit.track(tmp_path / "shots", fps=25, focal=FOCAL)
    assert track.lost() == []
    apart = Rotation.from_matrix(track.rotation @ true_rotation(film).transpose(0, 2, 1))
    assert np.degrees((apart.mean().inv() * apart).magnitude()).max() < 8
    eyes = np.linalg.norm(film.points[:, 36] - film.points[:, 45], axis=-1)
    assert (np.linalg.norm(track.points - film.points, axis=-1).mean(1) / eyes).max() < 0.08
    jaw = list(track.model.expression_names).index("jawOpen")
    assert np.corrcoef(track.expression[:, jaw], film.expression[:, jaw])[0, 1] > 0.8
