"""`fitkit unwrap`: one map for each photo, kept where it is there, none of a doubtful fit; the fit itself is tested elsewhere."""

import types

import numpy as np
import pytest
from PIL import Image

import fitkit
from fitkit.cli import main
from fitkit.recipes.synthesize.textures.paint import read_maps


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two photos, and a fit that takes their colour for the skin's; of `bad.png` it is doubtful."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in (("good", (200, 150, 120)), ("bad", (90, 60, 50))):
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}.png")

    def fit(photo, *, recipe):
        texture = np.tile(np.asarray(Image.open(photo))[0, 0], (1024, 1024, 1))
        return types.SimpleNamespace(status="doubtful" if photo.stem == "bad" else "converged", reason="the points disagree",
                                     texture=texture, recipe=recipe)

    monkeypatch.setattr(fitkit, "fit", fit)
    return folder


def test_maps_are_written_kept_and_readable_by_training(photos, tmp_path, capsys):
    out = tmp_path / "maps"
    assert main.run(["unwrap", str(photos), "--out", str(out), "--size", "64"]) == 1       # one photo failed
    said = capsys.readouterr()
    assert "the points disagree" in said.err
    (path,) = out.iterdir()
    assert path.name.startswith("good-") and path.suffix == ".png"
    (texels,) = read_maps(out, size=64)
    assert texels.shape == (64, 64, 3) and (texels == (200, 150, 120)).all()
    before = path.stat().st_mtime_ns
    (photos / "bad.png").unlink()
    assert main.run(["unwrap", str(photos), "--out", str(out)]) == 0
    assert path.stat().st_mtime_ns == before and "kept" in capsys.readouterr().out + said.out


def test_a_list_names_photos_and_what_is_known_of_them(photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "list.csv").write_text("path,points,focal\nphotos/good.png,good.pts,900\n,,\n")
    plain, given = fitkit.fit, {}
    monkeypatch.setattr(fitkit, "fit", lambda photo, *, recipe, **known: given.update(known) or plain(photo, recipe=recipe))
    assert main.run(["unwrap", str(tmp_path / "list.csv"), "--out", str(tmp_path / "maps"), "--size", "64"]) == 1
    assert given == {"landmarks": tmp_path / "good.pts", "focal": 900.0}
    assert "row 2 has no path" in capsys.readouterr().err and len(list((tmp_path / "maps").iterdir())) == 1


@pytest.mark.parametrize("arguments, message", [
    ([], "no photo was named"), (["x.png", "--size", "100"], "one of 64, 128"), (["x.png"], "E_NOFILE"),
])
def test_what_cannot_be_is_said_in_a_sentence(arguments, message, capsys):
    assert main.run(["unwrap", *arguments]) != 0
    assert message in capsys.readouterr().err
