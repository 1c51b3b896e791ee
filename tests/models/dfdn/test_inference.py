"""DFDN's weight files: read as they were written, refused where they are another network's or missing."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.models.dfdn.inference import area_displacement, load_area, load_networks
from fitkit.models.dfdn.inputs import PLANES
from fitkit.models.dfdn.networks import UNIT
from fitkit.models.parameters import encode_network
from tests.models.dfdn.test_networks import TINY, answers, built


def written(path, network, **changed):
    header = {"task": "dfdn", "config": json.dumps(dataclasses.asdict(TINY)), **changed}
    path.write_bytes(encode_network(network, header))
    return path


def test_a_network_is_read_as_it_was_written(tmp_path):
    area = load_area(written(tmp_path / "dfdn_forehead.safetensors", built()))
    planes = jnp.asarray(np.random.default_rng(1).normal(size=(3, 16, 16, len(PLANES))), jnp.float32)
    expected = UNIT * np.asarray(answers(built(), planes)[1])
    found = np.asarray(area_displacement(area, planes))
    assert area.sizes == TINY and found.shape == (3, 16, 16)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())      # the file has half the precision


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FitkitError, match="fitkit train dfdn makes it"):
        load_networks(folder=str(tmp_path))
    for changed in ({"task": "finenet"}, {"config": json.dumps({**dataclasses.asdict(TINY), "side": 10**9})}, {"config": "{}"}):
        with pytest.raises(FitkitError, match=r"cannot be read|do not fit"):
            load_area(written(tmp_path / "dfdn_mouth.safetensors", built(), **changed))
    larger = dataclasses.replace(TINY, pdrm_width=4)
    with pytest.raises(FitkitError, match="do not fit"):
        load_area(written(tmp_path / "dfdn_mouth.safetensors", built(), config=json.dumps(dataclasses.asdict(larger))))
