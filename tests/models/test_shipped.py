"""`fitkit assets list` and `verify`: every file that comes with fitkit is pinned, and what differs from its pin is named."""

import hashlib
import json
import shutil

import pytest

from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.models import shipped
from fitkit.models.shipped import WEIGHTS, shipped_files


@pytest.fixture(autouse=True)
def data_folder(monkeypatch, tmp_path):
    """Imports lie in a folder of the test's own."""
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """A copy of what comes with fitkit, to damage."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("manifest.toml", "facemesh.safetensors", "photo_statistics.safetensors"):
        shutil.copy(WEIGHTS / name, folder)
    monkeypatch.setattr(shipped, "WEIGHTS", folder)
    return folder


def test_every_weight_file_is_pinned_and_is_the_pinned_one():
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in WEIGHTS.glob("*.safetensors")}
    assert {file.name: file.sha256 for file in shipped_files()} == found
    for file in shipped_files():
        assert file.what and file.licence and (not file.text or (WEIGHTS / file.text).is_file())
        assert (WEIGHTS / file.name).with_suffix(".md").is_file()


def test_the_list_says_what_each_is_and_its_licence(capsys):
    assert main.run(["assets", "list"]) == 0
    said = capsys.readouterr().out
    for file in shipped_files():
        assert file.name in said and file.licence in said and file.sha256[:16] in said


def test_verify_names_what_is_damaged_or_gone(copied, capsys):
    assert main.run(["assets", "verify", "--json"]) == 3
    states = {entry["name"]: entry["state"] for entry in map(json.loads, capsys.readouterr().out.splitlines())}
    assert states["facemesh.safetensors"] == "whole" and states["makehuman.safetensors"] == "does not exist"
    with open(copied / "facemesh.safetensors", "r+b") as file:
        file.seek(5000)
        file.write(b"\xff\x00")
    assert main.run(["assets", "verify"]) == 3
    out, err = capsys.readouterr()
    assert "E_DATA" in err and f"{copied / 'facemesh.safetensors'} has sha256" in err
    assert "whole   photo_statistics.safetensors" in out


def test_imported_files_are_verified_by_their_notes(data_folder, capsys):
    folder = data_folder / "identity"
    folder.mkdir(parents=True)
    (folder / "mine.safetensors").write_bytes(b"12345678")
    shipped.write_note(folder / "mine.safetensors", b"12345678", source="a\x1b[2Jb.onnx", source_sha256="0" * 64)
    assert main.run(["assets", "verify"]) == 0
    said = capsys.readouterr().out
    assert "identity/mine.safetensors" in said and r"a\x1b[2Jb.onnx" in said and "\x1b" not in said
    (folder / "mine.safetensors").write_bytes(b"12345679")
    (folder / "older.safetensors").write_bytes(b"")
    (folder / "odd.safetensors").write_bytes(b"")
    (folder / "odd.json").write_text("[" * 10**5)
    assert main.run(["assets", "verify", "-q"]) == 3
    said = capsys.readouterr().err
    assert "mine.safetensors has sha256" in said and said.count("has no note of its sha256") == 2


@pytest.mark.parametrize("text", ["", "[x", "[x]\nsha256 = 3", "x = 1", "a = " + "[" * 10**5])
def test_a_damaged_list_is_one_sentence(copied, text):
    (copied / "manifest.toml").write_text(text)
    if text:
        with pytest.raises(FitkitError, match="E_DATA.*install fitkit again"):
            shipped_files()
