"""`fitkit assets import identity`: networks made of MobileFace's and ArcFace's files give what those give; others are refused."""

import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest
from scipy.ndimage import correlate

from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.models.identity import importer, mxnet_file, onnx_file
from fitkit.models.identity.importer import convert, import_identity, verification_images
from fitkit.models.identity.iresnet import IResNet, IResNetPlan
from fitkit.models.identity.mobilefacenet import MOBILEFACE_V2, MobileFaceNet, MobileFaceNetPlan
from fitkit.models.identity.network import _module, embed, load_identity
from fitkit.models.identity.network_graph import run
from fitkit.models.parameters import parameter_shapes, with_parameters

SMALL = IResNetPlan(layers=(1, 2), widths=(4, 6), strides=(2, 2), stem=4, stem_stride=2, embedding=8)
SMALL_MOBILE = MobileFaceNetPlan(stem=4, blocks=((6, 4, 2), (6, 4, 1), (8, 6, 2)), embedding=8)
MOBILEFACE = "mobileface/MobileFace_Identification_V2-0000.params"


@pytest.fixture(autouse=True)
def data_folder(monkeypatch, tmp_path):
    """Imports go to a folder of the test's own."""
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path / "data"))
    return tmp_path / "data"


def norm(rng, channels):
    """Factor, shift, mean and variance of a batch normalisation."""
    return {"gamma": rng.random(channels) + 0.5, "beta": rng.normal(size=channels), "mean": rng.normal(size=channels),
            "var": rng.random(channels) + 0.2}


def array_bytes(values, *, kind=0, axes=None):
    """One array as MXNet writes it."""
    shape = values.shape if axes is None else axes
    head = struct.pack("<IiI", 0xF993FAC9, 0, len(shape)) + struct.pack(f"<{len(shape)}q", *shape)
    return head + struct.pack("<iii", 1, 0, kind) + np.asarray(values, "<f4").tobytes()


def list_bytes(arrays, *, prefix="arg:"):
    """A whole list of named arrays."""
    head = struct.pack("<QQQ", 0x112, 0, len(arrays))
    names = struct.pack("<Q", len(arrays)) + b"".join(
        struct.pack("<Q", len(prefix + name)) + (prefix + name).encode() for name in arrays)
    return head + b"".join(array_bytes(values) for values in arrays.values()) + names


def write_mobileface(folder, rng, *, change=lambda nodes: nodes):
    """A small MobileFace in MXNet's two files, written by hand from its description."""
    arrays, nodes = {}, [{"op": "null", "name": "data", "inputs": []}]

    def add(op, name, inputs, **attributes):
        nodes.append({"op": op, "name": name, "inputs": [[i, 0, 0] for i in inputs],
                      "attrs": {key: str(value) for key, value in attributes.items()}})
        return len(nodes) - 1

    def constant(name, values):
        arrays[name] = np.asarray(values, np.float32)
        return add("null", name, [])

    def normalised(x, name, channels):
        values = norm(rng, channels)
        parts = [constant(f"{name}_{key}", values[part]) for key, part in
                 (("gamma", "gamma"), ("beta", "beta"), ("moving_mean", "mean"), ("moving_var", "var"))]
        return add("BatchNorm", name, [x, *parts], fix_gamma=False)

    def convolution(x, name, inputs, outputs, *, size=1, stride=1, groups=1, bias=False, active=True):
        parts = [constant(f"{name}_weight", rng.normal(size=(outputs, inputs // groups, size, size)) * 0.5)]
        parts += [constant(f"{name}_bias", rng.normal(size=outputs))] if bias else []
        pad = size // 2
        x = add("Convolution", name, [x, *parts], kernel=(size, size), stride=(stride, stride), pad=(pad, pad), num_group=groups,
                no_bias=not bias)
        x = normalised(x, f"{name}_bn", outputs)
        if active:
            x = add("_minimum_scalar", f"{name}_min", [add("_maximum_scalar", f"{name}_max", [x], scalar=0)], scalar=6)
        return x

    x = add("_mul_scalar", "scaled", [add("_minus_scalar", "centred", [0], scalar=127.5)], scalar=0.0078125)
    x, width = convolution(x, "stem", 3, SMALL_MOBILE.stem, size=3, stride=2, bias=True), SMALL_MOBILE.stem
    for i, (inside, outputs, stride) in enumerate(SMALL_MOBILE.blocks):
        y = convolution(x, f"widen{i}", width, inside)
        y = convolution(y, f"deep{i}", inside, inside, size=3, stride=stride, groups=inside)
        y = convolution(y, f"narrow{i}", inside, outputs, active=False)
        x = add("elemwise_add", f"plus{i}", [x, y]) if stride == 1 and width == outputs else y
        width = outputs
    flat = add("Flatten", "flat", [x])
    dense = add("FullyConnected", "fc", [flat, constant("fc_weight", rng.normal(size=(8, width * 14 * 14)) * 0.05)], no_bias=True)
    head = normalised(dense, "fc_bn", 8)
    path = folder / "small-0000.params"
    path.write_bytes(list_bytes(arrays))
    (folder / "small-symbol.json").write_text(json.dumps({"nodes": change(nodes), "heads": [[head, 0, 0]]}))
    return path


def write_arcface(path, rng, *, inside=False, folded=False):
    """A small ArcFace as PyTorch exports it (`folded`: normalisation after convolutions taken in) or MXNet (`inside`)."""
    onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
    nodes, constants = [], {}

    def add(kind, name, inputs, **attributes):
        nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(name, values):
        constants[name] = np.asarray(values, np.float32)
        return name

    def normalised(x, name, channels):
        values = norm(rng, channels)
        return add("BatchNormalization", name, [x, *(constant(f"{name}.{key}", values[key]) for key in values)], epsilon=2e-5)

    def convolution(x, name, inputs, outputs, *, size=3, stride=1):
        parts = [constant(f"{name}.weight", rng.normal(size=(outputs, inputs, size, size)) * 0.3)]
        parts += [constant(f"{name}.bias", rng.normal(size=outputs))] if folded else []
        x = add("Conv", name, [x, *parts], kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4)
        return x if folded else normalised(x, f"{name}.bn", outputs)

    def prelu(x, name, channels):
        return add("PRelu", name, [x, constant(f"{name}.slope", rng.random((channels, 1, 1)))])

    x = "data"
    if inside:
        x = add("Mul", "scaled", [add("Sub", "centred", [x, constant("half", [127.5])]), constant("factor", [0.0078125])])
    x, width = prelu(convolution(x, "stem", 3, 4, stride=2), "stem.act", 4), 4
    for i, (outputs, stride) in enumerate(((4, 2), (6, 2), (6, 1))):
        y = normalised(x, f"unit{i}.bn", width)
        y = prelu(convolution(y, f"unit{i}.first", width, outputs), f"unit{i}.act", outputs)
        y = convolution(y, f"unit{i}.second", outputs, outputs, stride=stride)
        x = convolution(x, f"unit{i}.short", width, outputs, size=1, stride=stride) if stride > 1 or width != outputs else x
        x, width = add("Add", f"unit{i}", [y, x]), outputs
    x = add("Flatten", "flat", [add("Dropout", "dropped", [normalised(x, "last.bn", width)])])
    parts = [constant("fc.weight", rng.normal(size=(8, width * 196)) * 0.05), constant("fc.bias", rng.normal(size=8))]
    result = normalised(add("Gemm", "fc", [x, *parts], transB=1), "features", 8)
    graph = onnx.helper.make_graph(
        nodes, "arcface", [onnx.helper.make_tensor_value_info("data", 1, ["batch", 3, 112, 112])],
        [onnx.helper.make_tensor_value_info(result, 1, ["batch", 8])],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)])      # before 15 its evaluator trains
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize(("inside", "folded"), [(False, True), (True, False)])
def test_arcface_onnx_gives_what_the_reference_evaluator_gives(rng, tmp_path, inside, folded):
    path = write_arcface(tmp_path / "face.onnx", rng, inside=inside, folded=folded)
    from onnx.reference import ReferenceEvaluator

    pictures = rng.random((2, 112, 112, 3), np.float32)
    fed = (pictures * 255 if inside else (pictures * 255 - 127.5) / 127.5).transpose(0, 3, 1, 2)
    [expected] = ReferenceEvaluator(str(path)).run(None, {"data": fed.astype(np.float32)})
    written, difference = import_identity(path)
    network = load_identity(name="arcface")
    assert written.stem == "arcface" and difference < 1e-4
    assert network.plan == dataclasses.replace(SMALL, divisor=128.0 if inside else 127.5)
    np.testing.assert_allclose(embed(network, pictures), unit(expected), atol=1e-4)
    np.testing.assert_allclose(run(onnx_file.read_graph(path), fed), expected, atol=2e-3)


def test_mobileface_files_give_what_their_graph_gives(rng, tmp_path):
    written, difference = import_identity(write_mobileface(tmp_path, rng))
    assert written.stem == "mobileface" and difference < 1e-4
    assert load_identity(name="mobileface").plan == SMALL_MOBILE


def test_the_real_mobileface(assets):
    """Also by an oracle that shares nothing with the graph's own run: SciPy for the first layers."""
    _, difference = import_identity(assets / MOBILEFACE, name="judge")
    network = load_identity(name="judge")
    assert network.plan == MOBILEFACE_V2 and difference < 1e-5
    arrays = mxnet_file.read_arrays(assets / MOBILEFACE)
    picture = (verification_images()[0].astype(np.float64) * 255 - 127.5) * 0.0078125
    stem = np.stack([sum(correlate(picture[..., i], kernel[i].astype(np.float64), mode="constant") for i in range(3))[::2, ::2]
                     for kernel in arrays["conv1_weight"]], -1) + arrays["conv1_bias"]
    stem = (stem - arrays["bn1_moving_mean"]) / np.sqrt(arrays["bn1_moving_var"] + 1e-3) * arrays["bn1_gamma"] + arrays["bn1_beta"]
    made = with_parameters(MobileFaceNet(network.plan), network.parameters)
    ours = made.stem((verification_images()[:1] * 255 - 127.5) / 128)
    np.testing.assert_allclose(ours[0], stem, atol=1e-5)


def test_the_command_converts_and_says_so(rng, tmp_path, data_folder, capsys):
    assert main.run(["assets", "import", "identity", str(write_mobileface(tmp_path, rng)), "--name", "mine"]) == 0
    said = capsys.readouterr().out
    assert str(data_folder / "identity" / "mine.safetensors") in said and "'mine'" in said
    load_identity(name="mine")


def test_a_file_of_another_sha256_is_refused_and_a_note_says_whence(rng, tmp_path, data_folder, capsys):
    path = write_mobileface(tmp_path, rng)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert main.run(["assets", "import", "identity", str(path), "--sha256", "0" * 64]) == 3
    assert f"has sha256 {found}, not" in capsys.readouterr().err and not data_folder.exists()
    assert main.run(["assets", "import", "identity", str(path), "--sha256", found.upper()]) == 0
    assert "its licence is that of small-0000.params" in capsys.readouterr().out
    assert json.loads((data_folder / "identity" / "mobileface.json").read_text())["source_sha256"] == found
    assert main.run(["assets", "verify"]) == 0


@pytest.mark.parametrize(("arguments", "status", "sentence"), [
    ([], 2, "a kind and a file"), (["identity"], 2, "a kind and a file"), (["identiti", "x.onnx"], 2, "identity"),
    (["identity", "x.pkl"], 2, "no identity network"), (["identity", "nowhere.params"], 3, "nowhere.params"),
    (["identity", "nowhere.onnx"], 3, "nowhere.onnx"), (["identity", "x.onnx", "--name", "../x"], 2, "cannot name"),
    (["identity", "x.onnx", "--name", "embedded"], 2, "cannot name")])
def test_the_command_says_what_is_wrong(arguments, status, sentence, capsys, data_folder):
    assert main.run(["assets", "import", *arguments]) == status
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not data_folder.exists()


@pytest.mark.parametrize("kept", [0, 4, 20, 40, 300, 0.5, -1])
def test_truncated_parameters(rng, tmp_path, data_folder, kept):
    path = write_mobileface(tmp_path, rng)
    data = path.read_bytes()
    path.write_bytes(data[:int(kept * len(data)) if isinstance(kept, float) else kept])
    refused(path, "cannot be read as MXNet parameters", data_folder)


def refused(path, sentence, data_folder):
    """One sentence, and nothing written."""
    with pytest.raises(FitkitError, match=f"E_DATA.*{sentence}"):
        import_identity(path)
    assert not data_folder.exists()


@pytest.mark.parametrize(("data", "sentence"), [
    (b"\x80\x04pickle" * 100, "does not begin"),
    (struct.pack("<QQQ", 0x112, 0, 2**60), "claims to hold"),
    (struct.pack("<QQQ", 0x112, 0, 1) + array_bytes(np.zeros(2), axes=(2**40, 2**40)), "ends in the middle"),
    (struct.pack("<QQQ", 0x112, 0, 1) + array_bytes(np.zeros(2), axes=(2**31,)), "ends in the middle"),
    (struct.pack("<QQQ", 0x112, 0, 1) + array_bytes(np.zeros(2), axes=(-1, 2)), "has the shape"),
    (struct.pack("<QQQ", 0x112, 0, 1) + array_bytes(np.zeros(2), axes=(1,) * 9), "9 axes"),
    (struct.pack("<QQQ", 0x112, 0, 1) + array_bytes(np.zeros(2), kind=4), "of type 4"),
    (struct.pack("<QQQ", 0x112, 0, 1) + array_bytes(np.array([np.nan, 1])), "not finite"),
    (struct.pack("<QQQI", 0x112, 0, 1, 0xDEADBEEF) + bytes(99), "0xdeadbeef"),
    (struct.pack("<QQQIi", 0x112, 0, 1, 0xF993FAC9, 1) + bytes(99), "sparse"),
    (list_bytes({"a": np.zeros(2)})[:-13] + struct.pack("<Q", 2**62) + b"x", "ends in the middle"),
])
def test_hostile_parameters(tmp_path, data_folder, data, sentence):
    path = tmp_path / "small-0000.params"
    path.write_bytes(data)
    refused(path, sentence, data_folder)


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "symbol"), ("[" * 100_000, "symbol"), ("{}", "symbol"), ('{"nodes": 3, "heads": [[0]]}', "symbol"),
    ('{"nodes": [{"op": "null", "name": "x", "inputs": []}], "heads": [[9, 0, 0]]}', "symbol"),
    ('{"nodes": [{"op": "Custom", "name": "x", "inputs": []}], "heads": [[0, 0, 0]]}', "Custom"), (None, "symbol")])
def test_hostile_symbols(rng, tmp_path, data_folder, text, sentence):
    path = write_mobileface(tmp_path, rng)
    symbol = tmp_path / "small-symbol.json"
    if text is None:
        symbol.unlink()
    else:
        symbol.write_text(text)
    refused(path, sentence, data_folder)


def without(name):
    """Take a node's operation for another."""
    other = {"op": "_maximum_scalar", "attrs": {"scalar": "0"}}
    return lambda nodes: [node | other if node["name"] == name else node for node in nodes]


@pytest.mark.parametrize("name", ["widen1_min", "plus1", "centred", "narrow0_bn", "flat"])
def test_other_networks_are_refused(rng, tmp_path, data_folder, name):
    refused(write_mobileface(tmp_path, rng, change=without(name)), "no MobileFaceNet or IResNet", data_folder)


def test_a_wrong_conversion_is_noticed(rng, tmp_path, monkeypatch):
    """The proof is worth something: a kernel turned over does not pass it."""
    graph = mxnet_file.read_graph(write_mobileface(tmp_path, rng))
    sound = importer.recognise_mobilefacenet

    def turned(graph):
        plan, parameters = sound(graph)
        return plan, parameters | {"blocks.1.depthwise.kernel": parameters["blocks.1.depthwise.kernel"][::-1]}

    monkeypatch.setattr(importer, "recognise_mobilefacenet", turned)
    with pytest.raises(ValueError, match="differ by"):
        convert(graph)


@pytest.mark.parametrize("kind", ["truncated", "garbage", "external", "short", "not finite", "operation", "two inputs"])
def test_hostile_onnx(rng, tmp_path, data_folder, kind):
    path = write_arcface(tmp_path / "face.onnx", rng)
    import onnx

    model = onnx.load(str(path))
    weight = model.graph.initializer[0]
    match kind:
        case "external":
            weight.data_location = 1
            weight.external_data.add(key="location", value="../../etc/hostname")
            weight.raw_data = b""
        case "short":
            weight.dims[0] = 2**40
        case "not finite":
            weight.raw_data = np.full(len(weight.raw_data) // 4, np.inf, np.float32).tobytes()
        case "operation":
            model.graph.node[0].op_type = "Loop"
        case "two inputs":
            model.graph.input.add(name="more")
    data = {"truncated": path.read_bytes()[:1000], "garbage": bytes(rng.integers(0, 256, 5000, np.uint8))}.get(kind)
    path.write_bytes(data or model.SerializeToString())
    refused(path, "cannot be read as an ONNX identity network|no MobileFaceNet", data_folder)


def test_plans_cover_their_networks(rng):
    """What the recognisers name is what the modules hold, layer by layer."""
    for plan, build in ((SMALL, IResNet), (SMALL_MOBILE, MobileFaceNet)):
        assert parameter_shapes(_module(plan)) == parameter_shapes(build(plan))
