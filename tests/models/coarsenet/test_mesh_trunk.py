"""MediaPipe's trunk as a CoarseNet's: the same features as the mesh network's, and its weight files."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.models.coarsenet.mesh_trunk import FEATURES, SIDE, SPREAD, pretrained_trunk
from fitkit.models.coarsenet.network import CoarseNet, CoarseNetConfig, load_coarsenet, predict
from fitkit.models.mediapipe.blaze import activate
from fitkit.models.mediapipe.facemesh_v2 import POINTS, FaceMeshV2, load_facemesh_v2
from fitkit.models.parameters import encode_network, with_parameters

CONFIG = CoarseNetConfig(side=SIDE, trunk="mesh", identity=4, expression=3)


@pytest.fixture(scope="module")
def picture():
    """A picture, sRGB."""
    return jnp.asarray(np.random.default_rng(3).random((1, SIDE, SIDE, 3)), jnp.float32)


def test_the_features_are_those_of_the_mesh_network(picture):
    features = nnx.jit(lambda trunk, x: trunk(x))(pretrained_trunk(), picture)
    assert features.shape == (1, FEATURES)
    mesh = with_parameters(FaceMeshV2(), load_facemesh_v2())
    last = SPREAD * features[:, -3 * 3 * 128:].reshape(1, 3, 3, 128)
    x = mesh.narrow(activate(mesh.squeeze(last), mesh.squeeze_slope))
    points = mesh.output(x.reshape(1, -1)).reshape(1, POINTS, 3)
    np.testing.assert_allclose(points, nnx.jit(lambda mesh, x: mesh(x))(mesh, picture), rtol=1e-4, atol=2e-2)


def test_a_weight_file_names_its_trunk(picture, tmp_path):
    network = CoarseNet(CONFIG, rngs=nnx.Rngs(0))
    network.mesh = pretrained_trunk()
    nnx.update(network.output, {"kernel": jnp.full((FEATURES, CONFIG.outputs), 2.0**-10)})
    (tmp_path / "net.safetensors").write_bytes(encode_network(network, {"config": json.dumps(dataclasses.asdict(CONFIG))}))
    parameters, config = load_coarsenet(path=tmp_path / "net.safetensors")
    assert config == CONFIG
    wanted = nnx.jit(lambda network, x: network(x))(network, picture)
    np.testing.assert_allclose(predict(parameters, picture, config=config), wanted, rtol=2e-2)
    data = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "other.safetensors").write_bytes(data.replace(b'\\"trunk\\": \\"mesh\\"', b'\\"trunk\\": \\"mush\\"'))
    with pytest.raises(FitkitError, match="cannot be read"):
        load_coarsenet(path=tmp_path / "other.safetensors")
