"""Training of the identity network, on a toy: losses against NumPy, pictures, and a run that learns, stops and goes on."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.detection.face_crop import TEMPLATE, align
from fitkit.io.images import read_image
from fitkit.models.heads import makehuman
from fitkit.models.identity.iresnet import IResNetPlan
from fitkit.models.identity.network import Identity, _module, encode_identity, load_identity
from fitkit.models.parameters import parameter_shapes
from fitkit.recipes.synthesize.faces import draw_expression
from fitkit.recipes.train.identity import augmentation, training
from fitkit.recipes.train.identity.pictures import MARGIN, SIDE, Renderings, photo_patches, render_people

PLAN = IResNetPlan(layers=(1, 1), widths=(6, 8), strides=(2, 2), stem=6, stem_stride=4, embedding=8)
SCHEDULE = training.TrainingConfig(people=3, views=2, batch=8, apart=2, steps=24, every=8, rate=1e-2, weight_margin=0.05)


@pytest.fixture(scope="module")
def bank():
    """Coarse patterns in place of faces: three people in two views, four photos."""
    rng = np.random.default_rng(0)

    def patterns(count):
        return np.kron(rng.integers(0, 256, (count, 16, 16, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)

    people = np.repeat(patterns(3), 2, axis=0)
    masks = np.zeros((6, SIDE, SIDE), np.uint8)
    masks[:, 20:-20, 20:-20] = 255
    rendered = Renderings(people * (masks > 0)[..., None], masks, np.repeat(np.arange(3), 2))
    return training.TrainingImages(rendered, patterns(4), patterns(2), patterns(3))


@pytest.fixture(scope="module")
def teacher():
    rng = np.random.default_rng(1)
    parameters = {name: jnp.asarray(rng.normal(size=shape) * (np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1) + (
        0 if len(shape) > 1 else 0.3), jnp.float32) for name, shape in parameter_shapes(_module(PLAN)).items()}
    return Identity(parameters=parameters, plan=PLAN, name="teacher")


def test_arcface_is_its_equation(rng):
    """Deng et al. 2019, Eq. 3, in angles; the gradient is finite where a vector lies on its centre or opposite to it."""
    vectors = rng.normal(size=(5, 4))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    centres, people = rng.normal(size=(3, 4)), np.array([0, 1, 2, 0, 1])
    angles = np.arccos(vectors @ (centres / np.linalg.norm(centres, axis=-1, keepdims=True)).T)
    logits = 30 * np.cos(angles + 0.35 * np.eye(3)[people])
    expected = np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(5), people])
    assert angles.max() + 0.35 < np.pi
    loss = jax.jit(jax.value_and_grad(lambda v: training.arcface(v, jnp.asarray(centres), people, margin=0.35, scale=30.0)))
    assert float(loss(vectors)[0]) == pytest.approx(expected, rel=1e-4)
    own = centres[people] / np.linalg.norm(centres[people], axis=-1, keepdims=True)
    for vectors in (own, -own):
        assert np.isfinite(loss(vectors)[1]).all()


def test_maps_are_compared_in_the_teachers_spread(bank, teacher):
    crops = training.draw_batch(bank, 0, SCHEDULE).crops
    levels = training.map_normalisation(teacher, crops)
    _, maps = jax.jit(training.activations)(teacher, jnp.asarray(crops, jnp.float32) / 255)
    for each, (mean, factor) in zip(maps, levels, strict=True):
        level = np.asarray((each - mean) * factor)
        np.testing.assert_allclose(level.mean((0, 1, 2)), 0, atol=1e-4)
        assert level.var((0, 1, 2)).max() <= 1.001 and level.var((0, 1, 2)).mean() > 0.5
    assert training.map_error((jnp.ones((2, 3)), jnp.zeros(4)), (jnp.zeros((2, 3)), jnp.full(4, 3.0))) == pytest.approx(5)


def test_batches_depend_on_seed_and_step_alone(bank):
    first, again = training.draw_batch(bank, 3, SCHEDULE), training.draw_batch(bank, 3, SCHEDULE)
    photos = bank.photos.copy()
    np.testing.assert_array_equal(first.crops, again.crops)
    assert first.crops.shape == (8, 112, 112, 3) and first.crops.dtype == np.uint8 and len(first.people) == 4
    assert not np.array_equal(first.crops, training.draw_batch(bank, 4, SCHEDULE).crops)
    assert not np.array_equal(first.crops, training.draw_batch(bank, 3, dataclasses.replace(SCHEDULE, seed=1)).crops)
    np.testing.assert_array_equal(bank.photos, photos)


def test_backgrounds_show_where_the_head_is_not(bank):
    crop, mask, ground = bank.renderings.crops[0], bank.renderings.masks[0], bank.backgrounds[0]
    laid = augmentation.composite(crop, mask, ground)
    np.testing.assert_array_equal(laid[mask == 255], crop[mask == 255])
    np.testing.assert_array_equal(laid[mask == 0], ground[mask == 0])


def test_blends_lie_between_the_two(rng):
    first, second = (np.full((SIDE, SIDE, 3), value, np.uint8) for value in ((200, 40, 90), (90, 40, 200)))
    second[:64] = 120
    seen = {bytes(augmentation.blend(rng, first, second)) for _ in range(12)}
    assert bytes(first) in seen and len(seen) > 4
    for blended in seen:
        values = np.frombuffer(blended, np.uint8).reshape(SIDE, SIDE, 3)
        assert np.abs(values.mean((0, 1)) - first.mean((0, 1))).max() < 25       # the first's colour on the whole


def test_augmentation_without_chance_is_the_crop(monkeypatch):
    """Where every draw is its mean, what comes out is what went in, less the margin."""
    class Still:
        def normal(self, mean, deviation, size=None):
            return mean if size is None else np.full(size, mean)

        def random(self, size=None):
            return 0.99 if size is None else np.full(size, 0.99)

        def uniform(self, low, high, size=None):
            return 1.0

    crop = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    result = augmentation.augment(Still(), crop, bend=0.0)
    np.testing.assert_allclose(result.astype(int), crop[MARGIN:-MARGIN, MARGIN:-MARGIN], atol=1)


def test_rendered_faces_lie_on_the_template_and_views_of_one_are_alike():
    head = makehuman.load()
    maps = itertools.repeat(np.full((8, 8, 3), 180, np.uint8))
    bank = render_people(jax.random.key(3), head, maps, people=2, views=2)
    assert bank.crops.shape == (4, SIDE, SIDE, 3) and list(bank.people) == [0, 0, 1, 1]
    assert (bank.masks[:, SIDE // 2, SIDE // 2] == 255).all() and (bank.masks == 0).any((1, 2)).all()
    assert not np.array_equal(bank.crops[0], bank.crops[1])
    again = render_people(jax.random.key(3), head, maps, people=1, views=2)
    np.testing.assert_array_equal(bank.crops[:2], again.crops)
    weights = draw_expression(jax.random.key(1), head)
    assert ((weights >= head.expression_lower) & (weights <= head.expression_upper)).all()


def test_crops_with_a_margin_hold_the_template(rng):
    image = jnp.asarray(rng.random((150, 150, 3), np.float32))
    crop = jax.jit(functools.partial(align, samples=1, margin=MARGIN))(image, jnp.asarray(TEMPLATE + 10))
    np.testing.assert_allclose(crop, image[10 - MARGIN:122 + MARGIN, 10 - MARGIN:122 + MARGIN], atol=1e-4)


def test_patches_come_from_the_photos(tmp_path, rng):
    from fitkit.io.images import write_image

    write_image(tmp_path / "a.png", np.full((60, 80, 3), 0.5, np.float32))
    level = round(float(read_image(tmp_path / "a.png").pixels[0, 0, 0]) * 255)
    patches = photo_patches(jax.random.key(0), tmp_path, each=3)
    assert patches.shape == (3, SIDE, SIDE, 3) and (patches == level).all()


def test_a_tiny_run_learns_stops_and_goes_on(bank, teacher, tmp_path, capsys):
    """Twice as long as the first checkpoint, in one go and in two: the same weights to the bit, and a lower loss."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "halves").mkdir()
    whole, graph = training.train(bank, teacher, SCHEDULE, work=tmp_path / "whole", plan=PLAN)
    said = capsys.readouterr().out.splitlines()
    lines = [training.json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [8, 16, 24] and len(said) == 3
    assert lines[-1]["maps"] < 0.8 * lines[0]["maps"] and lines[-1]["vector"] < 0.9 * lines[0]["vector"]
    # stopped after the first checkpoint
    with pytest.MonkeyPatch.context() as patch:
        drawn = training.draw_batch
        patch.setattr(training, "draw_batch", lambda bank, step, schedule: 1 / 0 if step == 9 else drawn(bank, step, schedule))
        with pytest.raises(ZeroDivisionError):
            training.train(bank, teacher, SCHEDULE, work=tmp_path / "halves", plan=PLAN)
    rest, _ = training.train(bank, teacher, SCHEDULE, work=tmp_path / "halves", plan=PLAN)
    for ours, theirs in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    path = tmp_path / "small.safetensors"
    path.write_bytes(encode_identity(training.export(whole, graph), PLAN, half=True))
    network = load_identity(name=str(path))
    crops = jnp.asarray(bank.watched[:, MARGIN:-MARGIN, MARGIN:-MARGIN], jnp.float32) / 255
    likeness = jnp.sum(jax.jit(training.embed)(network, crops) * jax.jit(training.embed)(teacher, crops), -1).mean()
    assert float(likeness) == pytest.approx(lines[-1]["watched"], abs=5e-3)
