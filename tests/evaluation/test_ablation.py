"""Identity similarity of a fit to its photo, and the table of `fitkit eval ablation`, on a small head and a small network."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit import api
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.evaluation import ablation, identity_similarity
from fitkit.geometry.camera import rescale_camera
from fitkit.geometry.pose import camera_from_pose
from fitkit.io import images
from fitkit.io.images import Photo
from fitkit.morphable.correspondence import point_modes
from fitkit.recipes import landmarks
from fitkit.recipes.ganfit.recipe import GanfitConfig
from fitkit.results.result import FitResult
from tests.fixtures.tiny_networks import small_identity
from tests.fixtures.tiny_photo import a_state, skinned_head


@pytest.fixture(scope="module")
def result():
    """A fit whose photo is its own rendering."""
    head = skinned_head()
    state = a_state(head)
    state = dataclasses.replace(state, pose=dataclasses.replace(state.pose, principal=jnp.full(2, 32.0)))
    points = np.asarray(landmarks.project_points(state, point_modes(head, head.landmarks)))
    texture = np.random.default_rng(0).integers(60, 200, (32, 32, 3)).astype(np.uint8)
    blank = Photo(pixels=np.full((64, 64, 3), 0.5, np.float32) + np.array([0.1, 0, 0], np.float32), path="a.png", sha256="0",
                  exif_focal=None, warnings=())
    found = FitResult(
        head="tiny", model=head, parameters=state.face, camera=camera_from_pose(state.pose), photo=blank, face=None,
        recipe="ganfit", fields={}, size=64, seed=0,
        status="converged", reason="", confidence=1.0, losses={}, timings={"fit": 1.5}, focal_source="given",
        landmarks_detected=points, landmarks_fitted=points, landmarks_mesh=np.zeros((68, 3)), albedo_map=texture)
    corner, side = identity_similarity.face_square(found)
    zoom = identity_similarity.SIDE / side
    return dataclasses.replace(
        found, photo=dataclasses.replace(blank, pixels=identity_similarity.rendered_crop(found)),
        camera=rescale_camera(found.camera, zoom, -corner * zoom), landmarks_detected=(points - corner) * zoom,
        landmarks_fitted=(points - corner) * zoom)


def test_a_rendering_is_like_a_photo_of_itself(result):
    assert np.abs(identity_similarity.rendered_crop(result) - identity_similarity.photo_crop(result)).mean() < 0.01
    assert identity_similarity.similarity(small_identity(), result) > 0.99


def test_a_window_beyond_the_photo_is_grey(result):
    moved = dataclasses.replace(result, landmarks_fitted=result.landmarks_fitted - 400)
    corner, side = identity_similarity.face_square(moved)
    assert corner.max() + side < identity_similarity.SIDE
    np.testing.assert_allclose(identity_similarity.photo_crop(moved)[:100, :100], 128 / 255, atol=1e-6)


def test_ablation_fits_each_photo_in_each_variant(result, monkeypatch, tmp_path, capsys):
    asked = []

    def fit(path, *, recipe, **fields):
        asked.append((path.name, recipe, fields))
        if path.name == "none.png":
            raise FitkitError("E_NOFACE", "no face was found in none.png; try another photo")
        darker = fields.get("texture") == "linear"
        return dataclasses.replace(result, albedo_map=result.albedo_map // 3) if darker else result

    monkeypatch.setattr(api, "fit", fit)
    monkeypatch.setattr("fitkit.models.identity.network.load_identity", lambda name: small_identity())
    for name in ("a.png", "none.png"):
        images.write_image(tmp_path / name, np.zeros((4, 4, 3), np.float32))
    status = main.run(["eval", "ablation", str(tmp_path / "a.png"), str(tmp_path / "none.png"), "--variants", "all terms",
                      "no identity loss", "linear texture", "inverse_rendering", "--set", "iterations=7",
                      "--json", str(tmp_path / "s.json"), "--sheet", str(tmp_path / "sheet.png")])
    printed = capsys.readouterr()
    assert status == 1 and "E_NOFACE" in printed.err
    assert [fields for name, _, fields in asked if name == "a.png"] == [
        {"iterations": 7}, {"iterations": 7, "weight_identity": 0.0}, {"iterations": 7, "texture": "linear"}, {"stages": 1}]
    rows = {line[:20].strip(): line[20:].split() for line in printed.out.splitlines()[1:]}
    assert list(rows) == ["all terms", "no identity loss", "linear texture", "inverse_rendering"]
    assert rows["linear texture"][3] == "1/1" and rows["no identity loss"][3] == "0/1"
    kept = json.loads((tmp_path / "s.json").read_text())["fits"]
    assert [fit["variant"] for fit in kept] == list(rows) and kept[2]["likeness"] < kept[0]["likeness"]
    assert float(rows["all terms"][0]) == pytest.approx(kept[0]["likeness"], abs=1e-3)
    assert images.read_image(tmp_path / "sheet.png").pixels.shape == (identity_similarity.SIDE, 5 * identity_similarity.SIDE, 3)


@pytest.mark.parametrize(("arguments", "says"), [
    (["eval", "ablation"], "no photo was named"),
    (["eval", "ablation", "a.png", "--variants", "no light"], "variant")])
def test_ablation_refuses_what_it_cannot_do(arguments, says, capsys):
    assert main.run(arguments) == 2
    assert says in capsys.readouterr().err


def test_every_weight_of_the_recipe_that_the_paper_leaves_out_is_a_variant():
    named = {name for recipe, changed in ablation.VARIANTS.values() if recipe == "ganfit" for name in changed}
    fields = {field.name for field in dataclasses.fields(GanfitConfig)}
    assert named <= fields
    assert {"weight_identity", "weight_second", "weight_content", "weight_pixel", "weight_landmark", "texture"} <= named
