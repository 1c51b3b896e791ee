"""What the installation says of itself: the doctor, the devices, the lists of heads and recipes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fitkit import device
from fitkit.cli import main
from fitkit.cli.commands import doctor
from fitkit.errors import FitkitError
from tests.fixtures.source_tree import ROOT
from tests.fixtures.toy_fit import photos


def test_a_missing_device_stops_with_4(calls, capsys):
    import jax

    if jax.default_backend() == "tpu":
        pytest.skip("this machine has a TPU")
    assert main.run(["fit", *photos("ok"), "--device", "tpu"]) == 4
    err = capsys.readouterr().err.splitlines()[1:]
    assert len(err) == 1 and "E_DEVICE: no device for --device tpu" in err[0] and "--device cpu" in err[0]


def test_the_device_is_chosen_before_jax_wakes(tmp_path):
    code = "import sys; from fitkit.cli import main; from fitkit import device; assert 'jax' not in sys.modules;" \
           "device.select_device('cpu'); import jax; print(jax.config.jax_platforms, jax.default_backend())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "cpu"]


def test_an_unwritable_cache_directory_is_no_error(monkeypatch, tmp_path):
    import jax

    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        (tmp_path / "file").write_text("")
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "file"))
        assert device.keep_compiled_programs() is None and jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, "{home}/fitkit/jax"), ({"FITKIT_NO_CACHE": "1"}, "None"), ({"JAX_ENABLE_COMPILATION_CACHE": "false"}, "None"),
    ({"JAX_COMPILATION_CACHE_DIR": "{home}/mine"}, "{home}/mine")])
@pytest.mark.skipif(sys.platform != "linux", reason="the cache directory is set by XDG_CACHE_HOME on Linux only")
def test_a_fit_keeps_compiled_programs_unless_the_user_chose(environment, expected, tmp_path):
    code = ("import contextlib, fitkit, jax\nwith contextlib.suppress(fitkit.FitkitError): fitkit.fit('missing.jpg')\n"
            "print(jax.config.jax_compilation_cache_dir)")
    given = {name: text.format(home=tmp_path) for name, text in environment.items()}
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("JAX_", "FITKIT_"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=inherited | {"XDG_CACHE_HOME": str(tmp_path)} | given)
    assert done.stdout.split() == [expected.format(home=tmp_path)]


def test_recipes_are_explained(calls, capsys):
    assert main.run(["recipes"]) == 0
    assert "inverse_rendering  A toy." in (out := capsys.readouterr().out) and "Toy 1999" in out
    assert main.run(["recipes", "landmarks"]) == 0
    lines = capsys.readouterr().out
    assert "weight=10.0" in lines and "of the points, which is explained on two lines. (a number)" in lines
    assert "inner.iterations=20" in lines and "most steps. (a whole number)" in lines


def test_heads_are_listed(capsys):
    assert main.run(["heads"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["bfm", "flame", "gnm", "ict", "makehuman", "surrey"]      # and not the modules that read or paint them
    assert all((ROOT / "models" / "heads" / f"{name}.py").is_file() for name in names)


def test_the_doctor_reports_what_it_meets_and_goes_on(monkeypatch, capsys, tmp_path):
    def broken():
        raise FitkitError("E_DATA", "the weights are missing")

    for name in ("describe_cache", "check_head", "tiny_fit"):
        monkeypatch.setattr(doctor, name, lambda: "fine")
    monkeypatch.setattr(doctor, "check_weights", broken)
    assert main.run(["doctor", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["embedded data"] == {"text": "the weights are missing", "code": "E_DATA"} and found["tiny fit"]["text"] == "fine"


@pytest.mark.parametrize("damage", ["short", "nan", "none"])
def test_the_doctor_notices_damaged_weights(monkeypatch, tmp_path, damage):
    from safetensors.numpy import save

    data = save({"basis": np.array([1.0, np.nan if damage == "nan" else 2.0], np.float32)})
    if damage != "none":
        (tmp_path / "net.safetensors").write_bytes(data[:-3] if damage == "short" else data)
    monkeypatch.setattr(doctor, "weights_folder", lambda: tmp_path)
    with pytest.raises(FitkitError) as caught:
        doctor.check_weights()
    assert caught.value.code == "E_DATA" and "install fitkit again" in caught.value.message
