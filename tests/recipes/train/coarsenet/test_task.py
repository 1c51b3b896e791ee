"""CoarseNet's training: what is read of labels, how pictures are changed, and that a step lowers the loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.geometry.camera import project
from fitkit.labels.record import encode
from fitkit.labels.shards import shard_path, start_run, write_shard
from fitkit.models.coarsenet.estimate import camera_of, mirrored_outputs, pose_of
from fitkit.models.coarsenet.network import PAPER, CoarseNet, CoarseNetConfig
from fitkit.models.coarsenet.upright import LOG_SIZE, MARGIN, PLACE, seen_in
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes.train.coarsenet import scores
from fitkit.recipes.train.coarsenet.augmentation import FIRST_LOOK, Augmented, _compressed, augment, plain_crops
from fitkit.recipes.train.coarsenet.configuration import PAPER_TRAINING, tables_of
from fitkit.recipes.train.coarsenet.data import POINTS, STORED, LabelArrays, points_of_uv, read_runs
from fitkit.recipes.train.coarsenet.task import COARSENET, CoarseNetData, crop_camera, shown_pictures, terms_of
from fitkit.types import SurfacePoints
from tests.fixtures.tiny_head import tiny_head
from tests.fixtures.toy_labels import toy_record

SMALL = dataclasses.replace(COARSENET.configs["small"], batch=4, side=32, width=2, points=32)


@pytest.fixture(scope="module")
def arrays():
    """Labels of four faces of the embedded head without pictures of them: noise, whose pixels see what they would see."""
    rng, model = np.random.default_rng(0), tables_of("makehuman").model
    identity, expression = rng.normal(0, 0.5, (4, 200)).astype(np.float32), rng.uniform(0, 0.3, (4, 52)).astype(np.float32)
    pose = jnp.asarray([20.0, -5.0, 4.0, 0.02, -0.03, -5.4])
    camera = camera_of(pose, tables_of("makehuman").middle, focal=jnp.float32(2.0), principal=jnp.array([0.6, 0.4]))
    camera = dataclasses.replace(camera, focal=camera.focal * 128, principal=camera.principal * 128 + 16)
    triangle = rng.integers(len(model.triangles), size=(4, POINTS))
    barycentric = rng.dirichlet([1, 1, 1], (4, POINTS)).astype(np.float32)
    place = [project(camera, values_at_points(SurfacePoints(triangle=jnp.asarray(t), barycentric=jnp.asarray(b)), model.triangles,
                                              shape(model, jnp.asarray(i), jnp.asarray(e))))[0]
             for t, b, i, e in zip(triangle, barycentric, identity, expression, strict=True)]
    names = ("rotation", "translation", "focal", "principal")
    four = {name: np.repeat(np.asarray(getattr(camera, name))[None], 4, 0) for name in names}
    pictures = rng.integers(0, 256, (4, STORED, STORED, 3)).astype(np.uint8)
    mask = np.zeros((4, STORED, STORED), np.uint8)
    mask[:, 40:120, 50:110] = 3
    return LabelArrays(pictures=pictures, mask=mask, identity=identity, expression=expression, triangle=triangle,
                       barycentric=barycentric, place=np.asarray(place), **four)


def test_sides_that_blocks_of_compression_do_not_divide(rng):
    """Whole blocks as without the rest, which is filled by its edge; coarse steps leave each block its mean."""
    picture = jnp.asarray(rng.uniform(size=(12, 12, 3)), jnp.float32)
    found, first = (_compressed(each, jnp.float32(0.12)) for each in (picture, picture[:8, :8]))
    assert found.shape == picture.shape
    np.testing.assert_allclose(found[:8, :8], first, atol=1e-6)
    filled = np.pad(picture, ((0, 4), (0, 4), (0, 0)), mode="edge")[8:, 8:]
    flat = _compressed(picture, jnp.float32(3.0))[8:, 8:]
    np.testing.assert_allclose(flat, np.round(8 * filled.mean((0, 1)) / 3) * 3 / 8 * np.ones((4, 4, 1)), atol=1e-4)


def test_runs_are_read_and_the_last_are_held_out(tmp_path):
    start_run(tmp_path, {"kind": "toy", "head": "toy"})
    write_shard(shard_path(tmp_path, 0), [(number, encode(toy_record(number))) for number in range(6)])
    train, held = read_runs([tmp_path], [], tiny_head())
    assert (len(train), len(held)) == (5, 1) and train.pictures.shape == (5, STORED, STORED, 3)
    none, whole = read_runs([tmp_path], [tmp_path], tiny_head(), most=2)
    assert (len(none), len(whole)) == (2, 2)
    np.testing.assert_array_equal(none.place, train.place[:2])
    np.testing.assert_allclose(train.barycentric.sum(-1), 1, rtol=1e-5)


def test_points_are_found_by_their_uv(rng):
    head = tiny_head()
    corners = np.asarray(head.uv, np.float64)[np.asarray(head.uv_triangles)]
    grid = 64
    table = np.full((grid, grid), -1)
    middles = (np.stack(np.meshgrid(np.arange(grid), np.arange(grid)), -1) + 0.5) / grid * [1, -1] + [0, 1]
    for face, (a, b, c) in enumerate(corners):
        inverse = np.linalg.inv(np.stack([b - a, c - a], -1))
        weights = (middles - a) @ inverse.T
        table[(weights.min(-1) > 0) & (weights.sum(-1) < 1)] = face
    chosen, weights = rng.integers(len(corners), size=200), rng.dirichlet([1, 1, 1], 200)
    uv = (corners[chosen] * weights[..., None]).sum(1)
    triangle, barycentric = points_of_uv(uv, corners, table)
    found = (corners[triangle] * barycentric[..., None]).sum(1)
    assert np.quantile(np.linalg.norm(found - uv, axis=-1), 0.98) < 1e-6


def test_pictures_are_changed_by_their_keys_alone(arrays):
    keys = jnp.arange(8, dtype=jnp.uint32).reshape(4, 2)
    change = jax.jit(lambda keys, *rest: augment(keys, *rest, side=32))
    one, again = change(keys, arrays.pictures, arrays.mask), change(keys, arrays.pictures, arrays.mask)
    other = change(keys + 8, arrays.pictures, arrays.mask)
    np.testing.assert_array_equal(one.pictures, again.pictures)
    assert np.abs(one.pictures - other.pictures).max() > 0.1 and (one.scale != other.scale).all()
    for shown in (one, other):
        assert np.isfinite(shown.pictures).all() and shown.pictures.min() >= 0 and shown.pictures.max() <= 1
    middles = (STORED / 2) * one.scale[:, None] + one.offset
    assert np.abs(middles - 0.5).max() < 0.1


def test_places_follow_the_crop():
    """A white square in a stored picture is where `scale` and `offset` say, mirrored or not."""
    pictures = np.zeros((6, STORED, STORED, 3), np.uint8)
    pictures[:, 60:72, 90:102] = 255
    keys = jnp.arange(12, dtype=jnp.uint32).reshape(6, 2)
    whole = np.full(pictures.shape[:3], 3, np.uint8)
    pose = jnp.tile(jnp.array([0.0, 0.0, 20.0, 0.05, 0.02, -5.5]), (6, 1))
    for shown in (augment(keys, pictures, whole, side=64, changed=False), plain_crops(pictures, side=64),
                  augment(keys, pictures, whole, side=64, changed=False, pose=pose)):
        weight = np.asarray(shown.pictures)[..., 0]
        grid = (np.arange(64) + 0.5) / 64
        found = np.stack([(weight.sum(1) * grid).sum(-1), (weight.sum(2) * grid).sum(-1)], -1) / weight.sum((1, 2))[:, None]
        expected = np.asarray(shown.turn) @ [96.0, 66.0] * np.asarray(shown.scale)[:, None] + np.asarray(shown.offset)
        expected[np.asarray(shown.mirrored), 0] = 1 - expected[np.asarray(shown.mirrored), 0]
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_batch_depends_on_its_places_alone(arrays):
    data = CoarseNetData(train=arrays, held=arrays)
    whole, part = COARSENET.batch(data, SMALL, range(8)), COARSENET.batch(data, SMALL, range(5, 8))
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][5:])
    assert whole["place"].shape == (8, 32, 2) and len(np.unique(whole["key"], axis=0)) == 8


def truth_of(arrays, config):
    """Pictures that are not looked at, the labels, and a network's numbers that are the labels."""
    drawn = COARSENET.batch(CoarseNetData(train=arrays, held=arrays), config, range(4))
    batch = {name: jnp.asarray(value) for name, value in drawn.items()}
    side = STORED / MARGIN
    shown = Augmented(pictures=jnp.zeros((4, 1)), scale=jnp.full(4, 1 / side), offset=jnp.full((4, 2), (1 - MARGIN) / 2),
                      mirrored=jnp.zeros(4, bool), turn=jnp.tile(jnp.eye(2), (4, 1, 1)))
    pose = jnp.asarray([20.0, -5.0, 4.0, 0.02, -0.03, -5.4])
    return batch, shown, jnp.concatenate([batch["identity"], batch["expression"], jnp.repeat(pose[None], 4, 0)], axis=1)


def test_the_truth_loses_nothing_and_each_error_something(arrays):
    batch, shown, truth = truth_of(arrays, SMALL)
    terms = jax.jit(lambda numbers, shown: terms_of(lambda _: numbers, shown, batch, SMALL))
    assert float(terms(truth, shown)[0]) < 1e-3
    unmirrored = mirrored_outputs(truth, tables_of("makehuman").signs, tables_of("makehuman").partner, SMALL.network)
    assert float(terms(unmirrored, shown._replace(mirrored=jnp.ones(4, bool)))[0]) < 1e-3
    turned, other = terms(truth.at[:, 252].add(5.0), shown), terms(truth.at[:, :3].add(1.0), shown)
    assert float(turned[1]["pose"]) > 0.1 > 1e-3 > float(turned[1]["geometry"])
    assert float(other[1]["geometry"]) > 0.01 > 1e-3 > float(other[1]["pose"])


def test_upright_pictures_have_the_pose_of_their_cameras(arrays):
    """In the upright crop a face lies where the crop is to have it, as nearly as first looks err; points stay with their pixels."""
    batch, _, _ = truth_of(arrays, SMALL)
    shown = jax.jit(lambda batch: shown_pictures(batch, SMALL, upright=True))(batch)
    pose = jax.vmap(lambda camera: pose_of(camera, tables_of("makehuman").middle))(crop_camera(batch, shown))
    error = np.abs(jax.vmap(seen_in)(pose) - np.array([0.0, *PLACE, LOG_SIZE]))
    assert (error < 7.6 * np.array(FIRST_LOOK)).all() and (error.max(0) > 1e-3 * np.array(FIRST_LOOK)).all()
    truth = jnp.concatenate([batch["identity"], batch["expression"], pose], axis=1)
    truth = jnp.where(shown.mirrored[:, None], mirrored_outputs(
        truth, tables_of("makehuman").signs, tables_of("makehuman").partner, SMALL.network), truth)
    assert float(jax.jit(lambda numbers: terms_of(lambda _: numbers, shown, batch, SMALL))(truth)[0]) < 5e-3


@pytest.mark.parametrize("changes", [{"loss": "vertices"}, {"perspective": False, "weight_depth": 0.0, "weight_joint": 0.0}])
def test_other_losses(arrays, changes):
    """Richardson's, and that of the paper, whose weak perspective is not quite what a pinhole saw."""
    config = dataclasses.replace(SMALL, **changes)
    batch, shown, truth = truth_of(arrays, config)
    loss = jax.jit(lambda numbers: terms_of(lambda _: numbers, shown, batch, config)[0])
    assert float(loss(truth)) < (1e-3 if config.loss == "vertices" else 2.0) < float(loss(truth + 0.3))


def test_a_step_against_the_gradient_goes_down(arrays):
    batch, shown, truth = truth_of(arrays, SMALL)
    loss = jax.jit(jax.value_and_grad(lambda numbers: terms_of(lambda _: numbers, shown, batch, SMALL)[0]))
    start = truth.at[:, 252].add(8.0).at[:, :9].add(0.5)
    value, slope = loss(start)
    assert np.isfinite(slope).all() and float(loss(start - 1e-3 * slope)[0]) < float(value)


def test_scores_of_the_truth(arrays, monkeypatch):
    """A network that answers the labels errs by nothing, and one that answers the mean is the mean head."""
    tables = tables_of("makehuman")
    config = CoarseNetConfig(side=32, width=4)
    pose = jnp.asarray([20.0, -5.0, 4.0, 0.02, -0.03, -5.4])
    mean = np.repeat(np.asarray(tables.model.identity_mean)[None], 4, 0)
    for identity, expression, right in ((arrays.identity, arrays.expression, True), (mean, 0 * arrays.expression, False)):
        answer = jnp.asarray(np.concatenate([identity, expression, np.repeat(pose[None], 4, 0)], 1))
        monkeypatch.setattr(scores, "predict", lambda parameters, pictures, config, answer=answer: answer)
        found = scores.score(CoarseNet(config, rngs=nnx.Rngs(0)), arrays, tables, config)
        assert found["mean_head"] > 0.5 and max(found[name] for name in ("yaw", "pitch", "roll", "size")) < 1e-2
        assert found["vertices"] < 1e-3 if right else found["below_mean_head"] == pytest.approx(0, abs=1e-3)
        assert (found["points"] < 1e-2) == right


def test_distances_after_a_similarity(rng):
    points = rng.normal(size=(40, 3)).astype(np.float32) * 50
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = (1.3 * points @ turn.T + [10, 20, 30]).astype(np.float32)
    everywhere = jnp.ones(40)
    assert float(scores.similar_distance(jnp.asarray(moved), jnp.asarray(points), everywhere)) < 1e-3
    assert float(scores.similar_distance(jnp.asarray(points * [-1, 1, 1]), jnp.asarray(points), everywhere)) > 10


def test_the_paper_trains_as_it_says():
    assert (PAPER_TRAINING.batch, PAPER_TRAINING.steps, PAPER_TRAINING.rate, PAPER_TRAINING.final) == (100, 30_000, 5e-5, 1.0)
    weights = (PAPER_TRAINING.weight_depth, PAPER_TRAINING.weight_joint, PAPER_TRAINING.weight_coefficients)
    assert weights == (0, 0, 0) and PAPER_TRAINING.loss == "pixels" and not PAPER_TRAINING.perspective
    network = dataclasses.replace(PAPER_TRAINING.network, identity=PAPER.identity, expression=PAPER.expression)
    assert network == PAPER


@pytest.mark.slow
def test_a_step_of_the_papers_configuration(arrays):
    config = dataclasses.replace(PAPER_TRAINING, batch=1, points=256)
    batch = COARSENET.batch(CoarseNetData(train=arrays, held=arrays), config, range(1))
    graph, parameters, rest = nnx.split(COARSENET.build(config, nnx.Rngs(0)), nnx.Param, ...)

    def loss(parameters):
        return COARSENET.loss(nnx.merge(graph, parameters, rest, copy=True), batch, config)

    slope, _ = jax.jit(jax.grad(loss, has_aux=True))(parameters)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    assert np.abs(slope["resnet"]["output"]["kernel"][...]).max() > 0
