"""Every recipe on a head that was imported: FLAME's layout with a real face, joints and expressions of its own."""

import numpy as np
import pytest
import trimesh

import fitkit
from fitkit.cli import main
from fitkit.io.images import read_image, write_image
from fitkit.models import shipped
from fitkit.models.heads.importing import importer
from tests.fixtures import head_files
from tests.fixtures.ict_archive import ARCHIVE, load_ict, subject_vertices
from tests.test_fits import ASTRONAUT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ARCHIVE.exists(), reason="ICT-FaceKit's archive is not beside the checkout")]
SIZE = 96      # pixels of the crop
JOBS = {
    "landmarks": lambda head: fitkit.fit(ASTRONAUT, recipe="landmarks", head=head, size=SIZE),
    "inverse_rendering": lambda head: fitkit.fit(ASTRONAUT, head=head, size=SIZE),
    "expression_proxy": lambda head: fitkit.fit(ASTRONAUT, recipe="expression_proxy", head=head, size=SIZE),
    "coarsenet": lambda head: fitkit.predict(ASTRONAUT, recipe="coarsenet", head=head, size=SIZE, refine=2),
    "3dfacenet": lambda head: fitkit.predict(ASTRONAUT, head=head, size=SIZE),
    "richardson": lambda head: fitkit.predict(ASTRONAUT, recipe="richardson", head=head, size=SIZE),
    "ganfit": lambda head: fitkit.fit(ASTRONAUT, recipe="ganfit", head=head, size=SIZE, iterations=3),
}


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """The name of the imported head."""
    from tests.fixtures.resampled_head import flame_of

    folder = tmp_path_factory.mktemp("heads")
    path = folder / "flame2023.pkl"
    path.write_bytes(head_files.flame_bytes(flame_of(ARCHIVE)))
    patch = pytest.MonkeyPatch()
    patch.setattr(shipped, "heads_folder", lambda: folder)
    importer.import_head(path)
    yield f"flame:{path}"
    patch.undo()


@pytest.mark.parametrize("job", JOBS)
def test_a_photo_is_fitted_on_it(head, job):
    result = JOBS[job](head)
    assert result.status in ("converged", "doubtful") and result.model.name == "flame", result.reason
    apart = np.linalg.norm(result.landmarks_fitted - result.landmarks_detected, axis=1)
    eyes = np.linalg.norm(result.landmarks_detected[45] - result.landmarks_detected[36])
    assert np.median(apart) < 0.08 * eyes
    assert np.isfinite(result.pictures["overlay"]).all()


def test_a_scan_is_fitted_on_it(head, tmp_path):
    ict = load_ict()
    trimesh.Trimesh(subject_vertices(ict, 100), ict["triangles"], process=False).export(tmp_path / "scan.ply")
    result = fitkit.fit(tmp_path / "scan.ply", recipe="scan", head=head)
    assert result.status == "converged" and result.losses["distance_mean"] < 0.6


@pytest.mark.parametrize("by", ["fits", "networks"])
def test_a_film_is_tracked_with_it(head, tmp_path, by):
    picture = read_image(ASTRONAUT).pixels
    for number in range(3):
        write_image(tmp_path / f"{number}.png", np.roll(picture, 2 * number, axis=1))
    track = fitkit.track(tmp_path, fps=25, head=head, size=SIZE, by=by)
    assert track.found.all() and track.model.name == "flame" and track.expression.shape == (3, len(track.model.expression))
    seen = fitkit.fit(ASTRONAUT, recipe="landmarks").landmarks_detected
    eyes = np.linalg.norm(seen[45] - seen[36])
    assert np.median(np.linalg.norm(track.points[0] - seen, axis=1)) < 0.08 * eyes


def test_labels_are_made_of_it(head, tmp_path):
    run = ["labels", "make", "random", "--out", str(tmp_path / "run"), "--count", "2", "--size", str(SIZE), "--head", head, "-q"]
    assert main.run(run) == 0
