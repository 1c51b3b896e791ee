"""Tables of a run: what stands in each column, memory that does not grow, and what happens without pyarrow."""

import json
import math
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.batch import LOG, TABLE
from fitkit.batch.report import table
from fitkit.errors import FitkitError
from fitkit.geometry.camera import head_angles
from fitkit.geometry.vectors import rotation_from_euler
from fitkit.types import Camera
from tests.fixtures.run_folder import HOSTILE, PLACE, YAW, camera, failure_row, ledger_row, write_result


def parquet():
    return pytest.importorskip("pyarrow.parquet", reason="the extra tables is not installed")


def test_each_column_holds_what_it_says(tmp_path):
    reader = parquet()
    write_result(tmp_path, "a-1")
    table.write_table(tmp_path, iter([
        ledger_row(1, folder="a-1", id="x", person="anna", face=2), failure_row(2, folder="a-1"), ledger_row(3, record={})]))
    read = reader.read_table(tmp_path / TABLE)
    assert read.column_names == list(table.COLUMNS)
    first, second, third = read.to_pylist()
    assert {name: first[name] for name in ("id", "person", "face", "folder", "status", "code", "reason", "loss")} == {
        "id": "x", "person": "anna", "face": 2, "folder": "a-1", "status": "converged", "code": None, "reason": None, "loss": 1.5}
    assert dict(first["losses"]) == {"total": 1.5, "landmark": None}
    assert first["identity"] == list(range(200)) and len(first["light"]) == 27 and first["light"][:4] == [1, 0, 0, 0]
    np.testing.assert_allclose(first["rotation"], np.ravel(camera()["R"]), atol=1e-6)
    assert first["translation"] == list(PLACE) and first["yaw"] == pytest.approx(math.degrees(YAW))
    assert second["code"] == "E_NOFACE" and second["identity"] is second["yaw"] is second["losses"] is None
    assert third["identity"] is None and third["confidence"] == pytest.approx(0.9)


def test_angles_are_those_of_the_head_in_the_camera_and_to_the_ray():
    yaw, pitch, roll = 0.4, -0.2, 0.1
    rotation = np.array([[1], [-1], [-1]]) * np.asarray(rotation_from_euler(yaw, pitch, roll), np.float64)
    given = Camera(focal=jnp.float32(1), principal=jnp.zeros(2), rotation=jnp.asarray(rotation, jnp.float32),
                   translation=jnp.zeros(3), perspective=True)
    record = {"camera": {"R": rotation.tolist(), "t": [0, 0, 800], "perspective": True}}
    straight = [table.pose_angles(record)[f"view_{name}"] for name in ("yaw", "pitch", "roll")]
    np.testing.assert_allclose(straight, np.asarray(head_angles(given)), atol=1e-4)      # before the camera both agree
    # a head that faces the camera from the side of the picture is turned in the camera's axes, and not to the viewer
    for degrees in (-40.0, 25.0):
        side = math.radians(degrees)
        facing = camera(yaw=-side, place=[900 * math.sin(side), 0, 900 * math.cos(side)])
        assert table.pose_angles({"camera": facing})["view_yaw"] == pytest.approx(0, abs=1e-5)
        facing["perspective"] = False
        assert table.pose_angles({"camera": facing})["view_yaw"] == pytest.approx(-degrees)


@pytest.mark.parametrize("spoiled", [{"R": "x"}, {"R": [[1]]}, {"t": [0, 0, -5]}, {"t": None}, {"t": [math.nan] * 3},
                                     {"R": [math.inf] * 9}, {"t": [[0], {"float": "nan"}]}])
def test_a_camera_that_is_none_has_no_angles(spoiled):
    assert table.pose_angles({"camera": camera() | spoiled})["view_yaw"] is None
    assert set(table.pose_angles({}).values()) == {None}


def test_names_are_kept_where_utf8_holds_them(tmp_path):
    reader = parquet()
    table.write_table(tmp_path, [ledger_row(number, path=name) for number, name in enumerate((*HOSTILE, "\udcff.jpg"))])
    assert reader.read_table(tmp_path / TABLE)["path"].to_pylist() == [*HOSTILE, "\\udcff.jpg"]


@pytest.mark.parametrize("folder", ["../a-1", "/etc", "a\0", "missing", "damaged", 7])
def test_a_folder_of_somebody_else_is_not_read(tmp_path, folder):
    write_result(tmp_path, "a-1")
    (write_result(tmp_path / "run", "damaged") / "params.safetensors").write_bytes(b"\x08" + bytes(30))
    assert table.table_row(tmp_path / "run", ledger_row(1, folder=folder))["identity"] is None


def test_the_log_holds_every_row_as_json(tmp_path):
    rows = [ledger_row(1, confidence=math.nan, path=HOSTILE[2]), failure_row(2)]
    table.write_log(tmp_path, iter(rows))
    first, second = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert first["confidence"] is None and first["path"] == HOSTILE[2] and first["record"]["losses"] == rows[0]["record"]["losses"]
    assert second == failure_row(2)


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    parquet()
    monkeypatch.setattr(table, "ROW_GROUP", 100)

    def most(count):
        tracemalloc.start()
        for write in (table.write_log, table.write_table):
            write(tmp_path, map(ledger_row, range(count)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most(10)      # imports
    assert most(1000) < 1.5 * most(200)


def test_without_its_extra_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(FitkitError, match=r"E_DATA.*fitkit\[tables\]"):
        table.write_table(tmp_path, [])
    assert not list(tmp_path.iterdir())
