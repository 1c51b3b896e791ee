"""Shards are whole or absent, the same on every run, and readable without fitkit; a damaged one is named."""

import dataclasses
import hashlib
import io
import json
import tarfile

import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.io import atomic_files
from fitkit.labels import record, shards
from fitkit.labels.reading import FIELDS, batches, open_labels, read_record, source_of
from fitkit.labels.sheet import contact_sheet
from tests.fixtures.toy_labels import SIZE, toy_record, toy_run

COUNT, PER_SHARD = 11, 4


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def run(tmp_path):
    toy_run(tmp_path / "run", count=COUNT, per_shard=PER_SHARD)
    return tmp_path / "run"


def test_a_record_comes_back_as_it_was():
    made = toy_record(3)
    back = record.decode(record.encode(made))
    for field in dataclasses.fields(made):
        if field.name not in ("maps", "source"):
            np.testing.assert_array_equal(getattr(back, field.name), getattr(made, field.name), err_msg=field.name)
    for name, values in made.maps.items():
        np.testing.assert_array_equal(back.maps[name], values)
        dense = back.dense(name)
        assert dense.shape == (SIZE, SIZE, *values.shape[1:]) and not dense[~back.head].any()
        np.testing.assert_allclose(dense[back.head], values * record.MAPS[name][1], rtol=1e-6)
    assert back.source == made.source and (back.face == (made.mask == 3)).all()
    with pytest.raises(FitkitError, match="no map 'displacement'; there are depth"):
        back.dense("displacement")


def test_an_optional_map_is_stored_where_there_is_one():
    made = toy_record(0)
    relief = dataclasses.replace(made, maps={**made.maps, "displacement": np.full(len(made.maps["depth"]), 0.25, np.float16)})
    assert (record.decode(record.encode(relief)).dense("displacement")[made.head] == 0.25).all()


def test_tarfile_alone_reads_a_shard(run):
    """README's example: tarfile, json and numpy."""
    with tarfile.open(run / "shard-000001.tar") as shard:
        members = {member.name: shard.extractfile(member).read() for member in shard}
    assert sorted({name.partition(".")[0] for name in members}) == [f"{number:09d}" for number in (4, 5, 6, 7)]
    labels = np.load(io.BytesIO(members["000000005.labels.npy"]), allow_pickle=False)
    rows = np.load(io.BytesIO(members["000000005.maps.npy"]), allow_pickle=False)
    made = toy_record(5)
    np.testing.assert_array_equal(labels["identity"], made.identity)
    np.testing.assert_array_equal(rows["depth"], made.maps["depth"])
    assert json.loads(members["000000005.json"])["number"] == 5
    index = json.loads((run / "shard-000001.json").read_text())["records"][1]
    whole = b"".join(members[f"000000005.{end}"] for end in shards.MEMBERS[:5])
    assert index["number"] == 5 and index["sha256"] == hashlib.sha256(whole).hexdigest()


def test_a_shard_without_its_index_is_not_there(run, tmp_path, monkeypatch):
    """Killed after the tar and before the index, a run has one shard fewer; written again, it has the same bytes."""
    write = atomic_files.write_bytes

    def failing(path, data):
        if path.name == "shard-000001.json":
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(atomic_files, "write_bytes", failing)
    with pytest.raises(KeyboardInterrupt):
        toy_run(tmp_path / "killed", count=COUNT, per_shard=PER_SHARD)
    monkeypatch.undo()
    assert (tmp_path / "killed" / "shard-000001.tar").exists() and len(open_labels(tmp_path / "killed")) == PER_SHARD
    assert shards.is_done(tmp_path / "killed", 0) and not shards.is_done(tmp_path / "killed", 1)
    toy_run(tmp_path / "killed", count=COUNT, per_shard=PER_SHARD)
    assert contents(tmp_path / "killed") == contents(run)


def test_a_shorter_shard_is_not_done(run):
    whole = contents(run)
    (run / "shard-000002.tar").write_bytes(whole["shard-000002.tar"][:5000])
    with pytest.raises(FitkitError, match=r"shard .*shard-000002\.tar is damaged.*delete shard-000002\.json"):
        open_labels(run)
    assert [shards.is_done(run, shard) for shard in range(3)] == [True, True, False]


def test_a_damaged_picture_is_named_with_its_shard(run):
    shard = run / "shard-000001.tar"
    places = json.loads(shard.with_suffix(".json").read_text())["records"][2]["members"]["png"]
    data = bytearray(shard.read_bytes())
    data[places[0] + 300] ^= 8
    shard.write_bytes(data)
    source = open_labels(run, fields=("picture",))
    assert source[5]["picture"].shape == (SIZE, SIZE, 3)
    with pytest.raises(FitkitError, match=r"picture 6 of the shard .*shard-000001\.tar is damaged \(its sha256"):
        read_record(source, 6)
    with pytest.raises(FitkitError, match=r"picture 6 of the shard .*shard-000001\.tar is damaged \(no PNG"):
        _ = source[6]      # what PNG itself checks is seen without the digest


def test_an_index_that_says_nothing_is_named(run):
    (run / "shard-000000.json").write_text("[]")
    with pytest.raises(FitkitError, match=r"index of the shard .*shard-000000\.tar is damaged"):
        open_labels(run)


def test_a_folder_holds_one_run(run, tmp_path):
    with pytest.raises(FitkitError, match=r"holds a run of other labels \(count is 11 there and 12 here\); choose another --out"):
        shards.start_run(run, {"kind": "toy", "count": 12, "per_shard": PER_SHARD})
    with pytest.raises(FitkitError, match="run.json does not exist; name a folder"):
        open_labels(tmp_path)


def test_a_source_gives_the_fields_that_are_asked_for(run):
    fields = [name for name in FIELDS if name != "displacement" and "previous" not in name]
    source = open_labels(run, fields=fields)
    assert len(source) == COUNT and source.numbers.tolist() == list(range(COUNT))
    made, read = toy_record(9), source[9]
    assert list(read) == fields
    for name in ("picture", "mask", "identity", "seen68", "focal"):
        np.testing.assert_array_equal(read[name], getattr(made, name))
    np.testing.assert_array_equal(read["normals"], made.dense("normals"))
    np.testing.assert_array_equal(source[-1]["picture"], toy_record(COUNT - 1).picture)
    with pytest.raises(IndexError):
        _ = source[COUNT]
    with pytest.raises(FitkitError, match="unknown field of a labelled picture 'pictures'; did you mean 'picture'"):
        open_labels(run, fields=("pictures",))
    with pytest.raises(FitkitError, match="pictures of this run have no previous_pose; leave that out of the fields"):
        _ = open_labels(run, fields=("picture", "previous_pose"))[0]
    assert source_of(source, 2)["kind"] == "toy"


def test_a_sheet_has_a_row_a_record():
    sheet = contact_sheet([toy_record(0), toy_record(1)])
    assert sheet.shape == (2 * SIZE, 9 * SIZE, 3) and sheet.dtype == np.uint8
    assert sheet[:, 2 * SIZE:3 * SIZE].any()


def test_grain_batches(run):
    pytest.importorskip("grain", reason="grain is an extra: pip install 'fitkit[train]'")
    source = open_labels(run, fields=("picture", "identity", "pose"))
    read = list(batches(source, size=4, seed=1, epochs=1))
    assert [batch["picture"].shape for batch in read] == 2 * [(4, SIZE, SIZE, 3)]
    again = next(batches(source, size=4, seed=1))
    np.testing.assert_array_equal(again["pose"], read[0]["pose"])
    rows = [[row for row in range(COUNT) if (source[row]["identity"] == identity).all()]
            for batch in read for identity in batch["identity"]]
    assert all(len(row) == 1 for row in rows) and sorted(sum(rows, [])) != list(range(8))
