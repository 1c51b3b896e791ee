"""Identity networks and the crop they look at: layers and alignment against NumPy, gradients, and how people are told apart."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from flax import nnx
from safetensors import numpy as safetensors

from fitkit.detection.face_crop import SIZE, TEMPLATE, align, five_points, samples_for, similarity
from fitkit.errors import FitkitError
from fitkit.models.identity import network
from fitkit.models.identity.iresnet import IRESNET_50, IRESNET_100, IResNet, IResNetPlan
from fitkit.models.identity.layers import Convolution, Dense, Prelu, Scaling, fold
from fitkit.models.identity.mobilefacenet import MOBILEFACE_V2, MobileFaceNet, MobileFaceNetPlan
from fitkit.models.parameters import parameter_shapes
from tests.measurements import identity_scores

SMALL = IResNetPlan(layers=(1, 2), widths=(4, 6), strides=(2, 2), stem=4, stem_stride=4, embedding=8)
SMALL_MOBILE = MobileFaceNetPlan(stem=4, blocks=((6, 4, 2), (6, 4, 1), (8, 6, 2)), embedding=8)


def random_network(plan, rng):
    """A network of random numbers."""
    build = IResNet if isinstance(plan, IResNetPlan) else MobileFaceNet
    parameters = {name: jnp.asarray(rng.normal(size=shape) * (0.3 if len(shape) > 1 else 0.5), jnp.float32)
                  for name, shape in parameter_shapes(build(plan)).items()}
    return network.Identity(parameters=parameters, plan=plan, name="random")


def crops(rng, count=2):
    return rng.random((count, SIZE, SIZE, 3), dtype=np.float32)


def umeyama(source, target):
    """Eqs. 40-42 with a decomposition, in float64, as published; also in the plane."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    middle, aim = source.mean(0), target.mean(0)
    covariance = (target - aim).T @ (source - middle) / len(source)
    left, strength, right = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(sign) @ right
    scale = (strength * sign).sum() / ((source - middle) ** 2).sum(-1).mean()
    return scale * rotation, aim - scale * rotation @ middle


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_umeyamas(seed):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 5, 2)).astype(np.float32) * 30
    if seed == 4:
        target = source * [-1, 1] + 3        # a mirror image: the best turn, never a reflection
    matrix, shift = jax.jit(similarity)(source, target.astype(np.float32))
    expected, moved = umeyama(source, target)
    np.testing.assert_allclose(matrix, expected, atol=1e-5)
    np.testing.assert_allclose(shift, moved, atol=1e-4)
    assert np.linalg.det(np.asarray(matrix)) >= 0


@pytest.mark.parametrize("samples", [1, 3])
def test_align_is_scipys_bilinear_sampling(rng, samples):
    image = scipy.ndimage.gaussian_filter(rng.random((90, 120, 3)), (2, 2, 0)).astype(np.float32)
    points = (TEMPLATE @ np.array([[0.5, 0.2], [-0.2, 0.5]]) + [25, -4] + rng.normal(size=(5, 2))).astype(np.float32)
    crop = jax.jit(align, static_argnames="samples")(image, points, samples=samples)
    matrix, shift = umeyama(points, TEMPLATE)
    step = (np.arange(SIZE * samples) + 0.5) / samples
    places = (np.stack(np.meshgrid(step, step), -1) - shift) @ np.linalg.inv(matrix).T - 0.5
    assert places.min() < 0        # part of the crop lies beyond the image: there its edge is repeated
    where = [places[..., 1], places[..., 0]]
    planes = [scipy.ndimage.map_coordinates(image[..., c], where, order=1, mode="nearest") for c in range(3)]
    expected = np.stack(planes, -1).reshape(SIZE, samples, SIZE, samples, 3).mean((1, 3))
    np.testing.assert_allclose(crop, expected, atol=2e-4)


def test_aligned_points_lie_on_the_template():
    """A picture of its own coordinates tells where each pixel of the crop comes from."""
    angle, scale = 0.4, 2.3
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (TEMPLATE @ turn.T + [150, 40]).astype(np.float32)
    image = np.stack(np.meshgrid(np.arange(500) + 0.5, np.arange(500) + 0.5), -1).astype(np.float32)
    crop = np.asarray(jax.jit(align, static_argnames="samples")(image, points, samples=4))
    for target, point in zip(TEMPLATE, points, strict=True):
        column, row = target.astype(int)
        np.testing.assert_allclose(crop[row, column], point + turn @ (np.floor(target) + 0.5 - target), atol=0.02)


def test_margin_shows_more_of_the_same(rng):
    image, points = jnp.asarray(rng.random((200, 200, 3), np.float32)), jnp.asarray(TEMPLATE + 40)
    crop = jax.jit(align, static_argnames="margin")
    np.testing.assert_allclose(crop(image, points, margin=8)[8:-8, 8:-8], crop(image, points), atol=1e-5)


@pytest.mark.parametrize("points", [np.full((5, 2), 7.0), np.zeros((5, 2)), np.stack([np.arange(5.0), np.zeros(5)], -1),
                                    1e6 + TEMPLATE, np.where([[True, False]], -TEMPLATE, TEMPLATE)])
def test_degenerate_points_leave_values_and_gradients_finite(rng, points):
    """Also inside a batch, beside a sound face."""
    image = jnp.asarray(rng.random((40, 40, 3), np.float32))
    both = jnp.asarray(np.stack([points, TEMPLATE / 4]), jnp.float32)

    def total(image, both):
        return jnp.sum(jax.vmap(lambda points: align(image, points))(both) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(image, both)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)
    assert np.abs(gradients[1][1]).max() > 0


def test_gradient_of_the_points_is_the_slope(float64):
    image = scipy.ndimage.gaussian_filter(np.random.default_rng(3).random((60, 60, 3)), (3, 3, 0))
    weights = np.random.default_rng(4).normal(size=(SIZE, SIZE, 3))

    total = jax.jit(jax.value_and_grad(lambda points: jnp.sum(align(jnp.asarray(image), points, samples=1) * weights)))
    points = TEMPLATE.astype(np.float64) / 2.3 + 3
    gradient, step = np.asarray(total(points)[1]), 1e-6
    for i, j in ((0, 0), (2, 1), (4, 0)):
        change = np.zeros_like(points)
        change[i, j] = step
        assert gradient[i, j] == pytest.approx(float(total(points + change)[0] - total(points - change)[0]) / (2 * step), rel=2e-2)


def test_five_points_of_both_schemes(rng):
    dense, sparse = rng.normal(size=(468, 2)), rng.normal(size=(68, 2))
    np.testing.assert_allclose(five_points(jnp.asarray(dense))[3:], dense[[61, 291]], atol=1e-6)
    expected = [sparse[36:42].mean(0), sparse[42:48].mean(0), sparse[30], sparse[48], sparse[54]]
    np.testing.assert_allclose(five_points(jnp.asarray(sparse)), expected, atol=1e-6)
    with pytest.raises(FitkitError, match="E_LANDMARKS.*5 points"):
        five_points(jnp.zeros((5, 2)))


def test_samples_follow_the_size_of_the_face():
    assert [samples_for(TEMPLATE * scale) for scale in (0.1, 1.0, 2.5, 1000.0)] == [1, 1, 3, 16]


@pytest.mark.parametrize(("size", "stride", "depthwise"), [(3, 1, False), (3, 2, False), (1, 2, False), (7, 4, False), (3, 1, True),
                                                           (3, 2, True), (7, 1, True)])
def test_convolution_is_scipys(rng, size, stride, depthwise):
    layer = Convolution(3, 3 if depthwise else 4, size=size, stride=stride, depthwise=depthwise)
    layer.kernel[...] = kernel = rng.normal(size=layer.kernel[...].shape).astype(np.float32)
    layer.bias[...] = bias = rng.normal(size=kernel.shape[-1]).astype(np.float32)
    x = rng.normal(size=(2, 9, 9, 3)).astype(np.float32)

    def filtered(plane, weights):
        return scipy.ndimage.correlate(plane.astype(np.float64), weights, mode="constant")[::stride, ::stride]

    expected = np.stack([
        filtered(each[..., o], kernel[..., o]) if depthwise else sum(filtered(each[..., i], kernel[..., i, o]) for i in range(3))
        for each in x for o in range(kernel.shape[-1])]).reshape(2, kernel.shape[-1], -1)
    np.testing.assert_allclose(np.asarray(layer(x)).reshape(2, -1, kernel.shape[-1]), expected.transpose(0, 2, 1) + bias, atol=1e-4)


def test_prelu_and_scaling(rng):
    x = rng.normal(size=(3, 5)).astype(np.float32)
    prelu, scaling = Prelu(5), Scaling(5)
    prelu.slope[...] = slope = rng.random(5).astype(np.float32)
    scaling.factor[...], scaling.shift[...] = factor, shift = rng.random((2, 5)).astype(np.float32)
    np.testing.assert_allclose(prelu(x), np.maximum(x, 0) + slope * np.minimum(x, 0), atol=1e-6)
    np.testing.assert_allclose(scaling(x), x * factor + shift, atol=1e-6)


@pytest.mark.parametrize("kind", ["convolution", "depthwise", "scaling", "dense"])
def test_folding_keeps_what_running_statistics_give(rng, kind):
    build = {"convolution": lambda train: Convolution(3, 4, train=train), "scaling": lambda train: Scaling(3, train=train),
             "depthwise": lambda train: Convolution(3, 3, depthwise=True, train=train),
             "dense": lambda train: Dense(3, 4, train=train)}[kind]
    holder = nnx.Dict(layer=build(True))
    for _, leaf in nnx.to_flat_state(nnx.state(holder)):
        leaf[...] = jnp.asarray(rng.random(leaf[...].shape) + 0.2, jnp.float32)
    x = rng.normal(size=(2, 3) if kind == "dense" else (2, 6, 6, 3)).astype(np.float32)
    holder.layer.norm.use_running_average = True
    expected = holder.layer(x)
    plain = build(False)
    folded = fold(holder)
    assert {name.removeprefix("layer.") for name in folded} == set(parameter_shapes(plain))
    for name, value in folded.items():
        getattr(plain, name.removeprefix("layer."))[...] = jnp.asarray(value)
    np.testing.assert_allclose(plain(x), expected, atol=2e-5)


def test_arrangements_are_the_published_ones():
    """Millions of parameters: MobileFace's file holds 0.88 (its normalisation folded), ArcFace's R50 and R100 43.6 and 65.1."""
    counts = {plan: sum(int(np.prod(shape)) for shape in parameter_shapes(network._module(plan)).values())
              for plan in (MOBILEFACE_V2, IRESNET_50, IRESNET_100)}
    assert [round(count / 1e6, 1) for count in counts.values()] == [0.9, 43.6, 65.1]


@pytest.mark.parametrize("plan", [SMALL, SMALL_MOBILE])
def test_batch_is_singles_and_vectors_are_unit(rng, plan):
    made, pictures = random_network(plan, rng), crops(rng, 3)
    run = jax.jit(network.activations)
    vectors, maps = run(made, pictures)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    for i in range(3):
        alone, alone_maps = run(made, pictures[i:i + 1])
        np.testing.assert_allclose(vectors[i:i + 1], alone, atol=1e-5)
        for ours, theirs in zip(maps, alone_maps, strict=True):
            np.testing.assert_allclose(ours[i:i + 1], theirs, atol=1e-4)
    mapped = jax.jit(jax.vmap(lambda picture: network.embed(made, picture[None])[0]))(pictures)
    np.testing.assert_allclose(mapped, vectors, atol=1e-5)


@pytest.mark.parametrize("plan", [SMALL, SMALL_MOBILE])
def test_files_come_back_as_they_were(rng, tmp_path, plan):
    made = random_network(plan, rng)
    path = tmp_path / "net.safetensors"
    path.write_bytes(network.encode_identity({key: np.asarray(value).T.copy().T for key, value in made.parameters.items()}, plan))
    read = network.load_identity(name=str(path))
    assert read.plan == plan
    for key, value in made.parameters.items():
        np.testing.assert_array_equal(read.parameters[key], value)


def hostile(kind, data, rng):
    """A sound weight file made unsound."""
    stored, plan = safetensors.load(data), {"network": "iresnet", "layers": [1], "widths": [4], "strides": [2], "stem": 4}
    first = next(iter(stored))
    match kind:
        case "empty":
            return b""
        case "truncated":
            return data[:len(data) // 2]
        case "garbage":
            return bytes(rng.integers(0, 256, 4096, dtype=np.uint8))
        case "huge header":
            return (2**62).to_bytes(8, "little") + data[8:]
        case "no plan":
            return safetensors.save(stored)
        case "foreign plan":
            return safetensors.save(stored, {"identity": json.dumps({"network": "other"})})
        case "endless plan":
            return safetensors.save(stored, {"identity": json.dumps(plan | {"layers": [1] * 10_000})})
        case "large plan":
            return safetensors.save(stored, {"identity": json.dumps(plan | {"stem": 10**9})})
        case "nested plan":
            return safetensors.save(stored, {"identity": "[" * 100_000})
        case "not finite":
            stored[first] = np.full_like(stored[first], np.nan)
        case "another shape":
            stored[first] = stored[first].ravel()[:2]
    return safetensors.save(stored, {"identity": json.dumps({"network": "iresnet"} | network.dataclasses.asdict(SMALL))})


@pytest.mark.parametrize("kind", ["empty", "truncated", "garbage", "huge header", "no plan", "foreign plan", "endless plan",
                                  "large plan", "nested plan", "not finite", "another shape"])
def test_hostile_files_are_refused_in_a_sentence(rng, tmp_path, kind):
    sound = network.encode_identity({key: np.asarray(value) for key, value in random_network(SMALL, rng).parameters.items()}, SMALL)
    path = tmp_path / "net.safetensors"
    path.write_bytes(hostile(kind, sound, rng))
    with pytest.raises(FitkitError, match="E_DATA.*net.safetensors.*cannot be read"):
        network.load_identity(name=str(path))


def test_a_missing_network_is_named_with_those_there(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path))
    with pytest.raises(FitkitError, match="E_DATA.*'judge'.*embedded.*fitkit assets import identity"):
        network.load_identity(name="judge")


def test_rendered_people_are_told_apart():
    """Fewer than `identity_scores.py` renders, of plain skin."""
    score = identity_scores.rendered(network.load_identity(), people=12, views=2)
    assert score["pairs"] == 12 and score["others"] == 264
    assert score["auc"] >= 0.95


@pytest.mark.slow
def test_people_of_the_photos_are_told_apart(assets):
    score = identity_scores.photographed(network.load_identity(), assets / "photos")
    assert score["pairs"] == 7 and score["others"] > 500
    assert score["auc"] >= 0.99


@pytest.mark.slow
def test_a_hundred_rendered_people_are_told_apart(assets):
    assert identity_scores.rendered(network.load_identity(), people=100, views=6, skins=assets / "skins")["auc"] >= 0.98
