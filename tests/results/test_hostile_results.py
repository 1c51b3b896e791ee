"""A stranger's result folder: nothing in it loads as a converged fit that is not one, and it opens no file outside itself."""

import dataclasses
import math
import os

import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.results import integrity
from fitkit.results.load import load_result
from tests.results.test_results import MODEL, _edit, _rewrite_arrays, load, photo, result  # noqa: F401

NAMES = ("identity", "expression", "albedo", "light", "focal", "principal", "rotation", "translation", "landmarks_detected",
         "landmarks_fitted", "landmarks_mesh")


@pytest.fixture
def folder(tmp_path, result):  # noqa: F811
    """The folder of a converged result."""
    return dataclasses.replace(result, status="converged", reason="", losses={"pixel": 0.1}).save(
        tmp_path / "out", outputs="params")


def refused(folder):
    with pytest.raises(FitkitError) as caught:
        load(folder)
    assert caught.value.code == "E_RESULT" and str(folder) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_no_fit_has_never_load_as_converged(folder, name, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name].reshape(-1)[-1] = value

    _rewrite_arrays(folder, change)
    assert name in refused(folder)


@pytest.mark.parametrize("name", ["focal", "rotation", "translation", "light"])
def test_zero_where_it_makes_no_sense(folder, name):
    _rewrite_arrays(folder, lambda arrays: arrays.update({name: np.zeros_like(arrays[name])}))
    assert "rotation is none" in (said := refused(folder)) or "sees nothing" in said


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int32, np.uint8, np.bool_])
def test_arrays_of_another_type_never_load(folder, kind):
    _edit(folder, lambda content: content.update(status="doubtful"))
    _rewrite_arrays(folder, lambda arrays: arrays.update(identity=arrays["identity"].astype(kind)))
    assert f"identity is of type {np.dtype(kind)}" in refused(folder)


def test_a_fit_that_diverged_and_says_so_loads(folder):
    _edit(folder, lambda content: content.update(status="doubtful", losses={"pixel": {"float": "nan"}}))
    _rewrite_arrays(folder, lambda arrays: arrays.update(identity=np.full_like(arrays["identity"], np.nan)))
    assert load(folder).status == "doubtful" and math.isnan(load(folder).losses["pixel"])


EDITS = {
    "loss": lambda c: c.update(losses={"pixel": {"float": "nan"}}),
    "loss of text": lambda c: c.update(losses={"pixel": "0.1"}),
    "losses of a list": lambda c: c.update(losses=[1]),
    "confidence of text": lambda c: c.update(confidence="0.9"),
    "confidence over 1": lambda c: c.update(confidence=7),
    "confidence NaN": lambda c: c.update(confidence={"float": "nan"}),
    "confidence true": lambda c: c.update(confidence=True),
    "time": lambda c: c.update(timings={"fit": [1]}),
    "a tag of a list": lambda c: c.update(confidence={"float": [1]}),
    "a tag of a huge number": lambda c: c.update(confidence={"float": 10**400}),
    "huge number": lambda c: c.update(confidence=10**400),
    "seed": lambda c: c["recipe"].update(seed="7"),
    "seed of a fraction": lambda c: c["recipe"].update(seed=1.5),
    "huge seed": lambda c: c["recipe"].update(seed=10**30),
    "size": lambda c: c["recipe"].update(size=True),
    "fields": lambda c: c["recipe"].update(fields=[]),
    "share": lambda c: c["recipe"]["fields"].update(model_share="much"),
    "exif": lambda c: c["photo"].update(exif_focal="35"),
    "lens": lambda c: c["camera"].update(focal_source="magic"),
    "perspective": lambda c: c["camera"].update(perspective=1),
    "sha256": lambda c: c["head"].update(sha256=["a"]),
    "sha256 of another length": lambda c: c.update(params_sha256="00"),
    "files": lambda c: c.update(files=[3]),
    "files elsewhere": lambda c: c.update(files=["../../albedo.png"]),
    "warnings": lambda c: c.update(warnings=[{"a": 1}]),
    "face": lambda c: c["photo"].update(face=-1),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS.keys())
def test_wrongly_typed_facts_are_refused(folder, change):
    _edit(folder, change)
    refused(folder)


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes on Windows")
@pytest.mark.parametrize("name", ["fit.json", "params.safetensors"])
def test_pipes_in_the_folder_do_not_stop_it(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "named pipe" in refused(folder)
    assert integrity.whole_result(folder) is None


@pytest.mark.parametrize("head", ["ict:/etc/passwd", "ict:\x1b[2J", "ict-face:/dev/zero"])
def test_a_head_that_the_folder_names_is_never_opened(folder, head):
    _edit(folder, lambda content: content["head"].update(name=head))
    opened = []
    with pytest.raises(FitkitError, match="E_RESULT.*no file that a result names is opened"):
        load_result(folder, load_head=opened.append)
    assert not opened
    back = load_result(folder, load_head={"mine:there": MODEL}.get, head="mine:there")
    assert back.head == "mine:there"


def test_an_unknown_head_is_a_damaged_result(folder):
    _edit(folder, lambda content: content["head"].update(name="nobody"))
    with pytest.raises(FitkitError, match="E_RESULT.*unknown head 'nobody'"):
        load_result(folder, load_head=_unknown)


def _unknown(name):
    raise FitkitError("E_HEAD", f"unknown head {name!r}")
