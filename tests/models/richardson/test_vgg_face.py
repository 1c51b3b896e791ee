"""VGG-Face by file: both layouts give the same blocks, a network starts from them, and what is none is refused in a sentence."""

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.models.richardson import fine_network, vgg_face
from fitkit.models.richardson.fine_network import HypercolumnNet, HypercolumnSizes

SMALL = HypercolumnSizes(planes=2, widths=(2, 5, 4), regressor=())


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """VGG-Face of a few channels, and a data folder of the test's own."""
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path / "data"))
    monkeypatch.setattr(vgg_face, "PAPER", SMALL)


def original():
    rng = np.random.default_rng(0)
    return {name: (0.05 * rng.normal(size=(3, 3, a, b)), rng.normal(size=b))
            for name, (a, b) in zip(vgg_face.LAYERS, vgg_face._shapes(), strict=True)}


def in_pytorch(path, *, drop=""):
    arrays = {}
    for name, (kernel, bias) in original().items():
        if name != drop:
            arrays |= {f"{name.replace('conv', 'conv_')}.weight": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32),
                       f"{name.replace('conv', 'conv_')}.bias": bias.astype(np.float32)}
    path.write_bytes(safetensors.numpy.save(arrays))
    return path


def test_the_layers_of_the_paper():
    assert vgg_face.LAYERS == ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3")
    assert fine_network.PAPER.widths == (64, 128, 256)


def test_a_network_starts_from_an_imported_trunk(tmp_path):
    written, difference = vgg_face.import_vgg_face(in_pytorch(tmp_path / "vgg.safetensors"))
    assert difference < 1e-5 and written.with_suffix(".json").exists()
    network = HypercolumnNet(SMALL, rngs=nnx.Rngs(0))
    vgg_face.start_from_trunk(network, vgg_face.NAME)
    kernel = np.array(network.blocks[0][0].kernel.get_value())
    np.testing.assert_allclose(kernel[:, :, 0], vgg_face.CONTRAST * original()["conv1_1"][0].sum(axis=2), rtol=1e-5)
    assert (kernel[:, :, 1] == 0).all()
    np.testing.assert_allclose(network.blocks[2][2].kernel.get_value(), original()["conv3_3"][0], rtol=1e-5)
    with pytest.raises(FitkitError, match="--config paper"):
        vgg_face.start_from_trunk(HypercolumnNet(HypercolumnSizes(), rngs=nnx.Rngs(0)), vgg_face.NAME)


def test_keras_layout_gives_the_same_blocks(tmp_path):
    h5py = pytest.importorskip("h5py")
    first, _ = vgg_face.import_vgg_face(in_pytorch(tmp_path / "vgg.safetensors"))
    expected = safetensors.numpy.load_file(first)
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        for name, (kernel, bias) in original().items():
            file[f"{name}/{name}/kernel:0"], file[f"{name}/{name}/bias:0"] = kernel.astype(np.float32), bias.astype(np.float32)
    found = safetensors.numpy.load_file(vgg_face.import_vgg_face(tmp_path / "vgg.h5")[0])
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5)


def test_what_is_no_vgg_face_is_refused(tmp_path):
    with pytest.raises(FitkitError, match="it has no conv3_3"):
        vgg_face.import_vgg_face(in_pytorch(tmp_path / "part.safetensors", drop="conv3_3"))
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    (tmp_path / "model.pth").write_bytes(b"noise")
    for name, match in (("noise.safetensors", "cannot be read"), ("model.pth", "save_file"), ("missing.h5", "does not exist")):
        with pytest.raises(FitkitError, match=match):
            vgg_face.import_vgg_face(tmp_path / name)
    with pytest.raises(FitkitError, match="sha256"):
        vgg_face.import_vgg_face(in_pytorch(tmp_path / "vgg.safetensors"), sha256="00")
    with pytest.raises(FitkitError, match="fitkit assets import vggface"):
        vgg_face.start_from_trunk(HypercolumnNet(SMALL, rngs=nnx.Rngs(0)), "other")
