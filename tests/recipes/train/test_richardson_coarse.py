"""Training of the iterative CoarseNet: GMSE by its Gram matrix, simulated iterations, what a batch holds, matrices of points."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.labels.hidden_modes import FACE
from fitkit.models.richardson.coarse import PAPER, POSE_UNITS
from fitkit.morphable.regions import region_mask
from fitkit.recipes.train.coarsenet.configuration import output_statistics, tables_of
from fitkit.recipes.train.coarsenet.data import STORED, LabelArrays
from fitkit.recipes.train.coarsenet.task import CoarseNetData
from fitkit.recipes.train.richardson_coarse import losses, points
from fitkit.recipes.train.richardson_coarse.configuration import PAPER_TRAINING
from fitkit.recipes.train.richardson_coarse.task import RICHARDSON_COARSE, equal_start, examples, terms_of

SMALL = dataclasses.replace(RICHARDSON_COARSE.configs["small"], batch=4, side=32, width=2, augmented=False)


@pytest.fixture(scope="module")
def data():
    """Labels of four faces of the embedded head, whose pictures are noise."""
    rng = np.random.default_rng(0)
    camera = {"rotation": np.diag([1.0, -1.0, -1.0]), "translation": np.array([0.0, 0.0, 700.0]), "focal": np.float64(420.0),
              "principal": np.array([80.0, 80.0])}
    four = {name: np.repeat(np.asarray(value, np.float32)[None], 4, 0) for name, value in camera.items()}
    arrays = LabelArrays(
        pictures=rng.integers(0, 256, (4, STORED, STORED, 3)).astype(np.uint8), mask=np.full((4, STORED, STORED), 3, np.uint8),
        identity=rng.normal(0, 0.5, (4, 200)).astype(np.float32), expression=rng.uniform(0, 0.3, (4, 52)).astype(np.float32),
        triangle=np.zeros((4, 1), int), barycentric=np.ones((4, 1, 3), np.float32), place=np.zeros((4, 1, 2), np.float32), **four)
    return CoarseNetData(train=arrays, held=arrays)


def test_gmse_is_that_of_vertices(rng):
    """Against the mean over vertices in a loop."""
    model = tables_of("makehuman").model
    identity, expression = (rng.normal(0, 0.5, (2, count)).astype(np.float32) for count in (200, 52))
    inside = np.flatnonzero(np.asarray(region_mask(model, FACE)) > losses.INSIDE)
    total = 0.0
    for vertex in inside:
        a, b = (np.asarray(identity[i], np.float64) @ np.asarray(model.identity[:, vertex])
                + np.asarray(expression[i], np.float64) @ np.asarray(model.expression[:, vertex]) for i in (0, 1))
        total += float(np.sum(np.square(a - b)))
    both = np.concatenate([identity, expression], axis=1)
    found = losses.geometry_error(jnp.asarray(both[0] - both[1]), jnp.asarray(losses.gram_matrix(model)))
    assert float(found) == pytest.approx(total / len(inside), rel=1e-4)


def test_terms_of_the_loss(rng):
    true = jnp.asarray(rng.normal(size=(3, 258)), jnp.float32)
    deviation = jnp.asarray(output_statistics(tables_of("makehuman").model)[1])
    nothing = terms_of(true, true, deviation, SMALL)
    assert all(float(value) == 0 for value in nothing.values())
    turned = terms_of(true.at[:, 252].add(15.0), true, deviation, SMALL)
    assert float(turned["pose"]) == pytest.approx(0.25 / 6, rel=1e-4) and float(turned["gmse"]) == 0
    bent = terms_of(true.at[:, 3].add(2.0 * deviation[3]), true, deviation, SMALL)
    assert float(bent["coefficients"]) == pytest.approx(4 / 252, rel=1e-4) and float(bent["pose"]) == 0
    assert losses.pose_error(jnp.asarray(POSE_UNITS)) == pytest.approx(1.0)


def test_the_pose_is_weighed_to_an_equal_start(data, monkeypatch):
    """With the weight, the means of both terms over the first batches are the same."""
    terms = iter([(4.0, 0.5), (2.0, 0.1), (9.0, 0.3)])
    seen = []

    def loss(network, batch, config):
        geometry, pose = next(terms)
        seen.append(batch["key"])
        return None, {"gmse": jnp.float32(geometry), "pose": jnp.float32(pose)}

    monkeypatch.setattr("fitkit.recipes.train.richardson_coarse.task.loss", loss)
    monkeypatch.setattr("flax.nnx.jit", lambda function: function)
    assert equal_start(None, data, SMALL, batches=3) == pytest.approx(15 / 0.9)
    np.testing.assert_array_equal(seen[1], RICHARDSON_COARSE.batch(data, SMALL, range(4, 8))["key"])


def test_simulated_iterates_lie_between(data):
    """Eq. 3: of an example r_t is on the line from another's truth, or from the mean face, to its own."""
    batch = {name: jnp.asarray(value) for name, value in RICHARDSON_COARSE.batch(data, SMALL, range(4)).items()}
    batch["first"], batch["beta"] = jnp.array([True, False, False, False]), jnp.array([0.0, 1.0, 0.0, 0.25])
    start = jnp.full(258, 0.5)
    made = jax.jit(lambda batch: examples(batch, start, SMALL))(batch)
    true, last = np.asarray(made.true), np.asarray(made.last)
    np.testing.assert_allclose(last[0], 0.5)
    np.testing.assert_allclose(last[1], true[1], rtol=1e-6)
    np.testing.assert_allclose(last[2], true[1], rtol=1e-6)
    np.testing.assert_allclose(last[3], 0.25 * true[3] + 0.75 * true[2], rtol=1e-5, atol=1e-5)
    assert made.grey.shape == (4, 32, 32) and 0 <= float(made.grey.min()) < float(made.grey.max()) <= 1


def test_a_batch_depends_on_its_places_alone(data):
    whole, part = RICHARDSON_COARSE.batch(data, SMALL, range(400)), RICHARDSON_COARSE.batch(data, SMALL, range(37, 40))
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][37:40])
    assert not whole["beta"][whole["first"]].any() and whole["first"].mean() == pytest.approx(SMALL.first, abs=0.06)
    assert whole["beta"][~whole["first"]].mean() == pytest.approx(0.5, abs=0.06)


def test_matrices_of_points_are_weighted_ridges(rng):
    """Against stacked least squares of each point, in two batches; a point that is never seen tells its mean, nothing."""
    features = rng.normal(size=(40, 3, 5)) * [1.0, 20.0, 0.1, 3.0, 0.2] + 1.0
    features[..., -1] = rng.uniform(0, 1, (40, 3))
    features[:, 2, -1] = 0.0
    off = rng.normal(size=(40, 3, 2)) + features[..., :2]
    parts = [points.sums_of(points.Found(features[rows], off[rows])) for rows in (slice(0, 15), slice(15, 40))]
    kernel, bias = points.solve_points(points.Sums(*(a + b for a, b in zip(*parts, strict=True))), ridge=0.1)
    for k in range(2):
        weight = features[:, k, -1] / features[:, k, -1].sum()
        x, y = features[:, k] - weight @ features[:, k], off[:, k] - weight @ off[:, k]
        deviation = np.sqrt(weight @ x**2) + points.STILL
        root = np.sqrt(weight)[:, None]
        stacked = np.concatenate([root * x / deviation, np.sqrt(0.1) * np.eye(5)])
        solved = np.linalg.lstsq(stacked, np.concatenate([root * y, np.zeros((5, 2))]), rcond=None)[0] / deviation[:, None]
        np.testing.assert_allclose(kernel[k], solved, rtol=1e-6)
        np.testing.assert_allclose(bias[k], weight @ off[:, k] - weight @ features[:, k] @ solved, rtol=1e-6)
    assert not kernel[2].any() and not bias[2].any()


def test_covariance_of_errors_is_of_pairs_that_are_seen(rng):
    errors = rng.normal(size=(3000, 2, 2)) * [[1.0, 2.0], [3.0, 0.5]]
    errors[:, 1, 0] += errors[:, 0, 0]
    visible = rng.integers(0, 2, (3000, 2)).astype(float)
    hidden = np.where(visible[..., None] > 0, errors, 100.0)        # what hidden points err by does not count
    expected = [[1, 0, 1, 0], [0, 4, 0, 0], [1, 0, 10, 0], [0, 0, 0, 0.25]] + points.LEAST * np.eye(4)
    np.testing.assert_allclose(points.error_covariance(hidden, visible), expected, atol=0.7)


def test_faces_told_like_r_0(rng):
    """Coefficients are shrunk as far as they are not told: on what is told the truth has slope 1. Poses err as r_0 does."""
    share, deviation = np.array([0.9, 0.5, 0.1]), np.array([1.0, 2.0, 0.5])
    unit, other = (each / np.sqrt(np.square(each).mean(0)) for each in rng.normal(size=(2, 4000, 3)))
    truths = np.concatenate([unit * deviation, rng.normal(size=(4000, 6))], 1)
    wrong = np.concatenate([other * deviation * np.sqrt(1 - share), 0.3 * np.ones((4000, 6))], 1)
    told = np.asarray(points.told_like(jnp.array([0, 7]), jnp.asarray(truths), wrong, truths))
    slope = (told * truths)[:, :3].sum(0) / np.square(told[:, :3]).sum(0)
    np.testing.assert_allclose(slope, 1.0, atol=0.12)
    np.testing.assert_allclose(np.square(told[:, :3]).mean(0) / np.square(truths[:, :3]).mean(0), share, atol=0.05)
    np.testing.assert_allclose(told[:, 3:], truths[:, 3:] + 0.3, atol=1e-5)


def test_the_paper_trains_the_papers_network():
    network = dataclasses.replace(PAPER_TRAINING.network, expression=PAPER.expression)
    assert network == PAPER and PAPER_TRAINING.loss == "gmse"


@pytest.mark.slow
def test_a_step_of_the_papers_configuration(data):
    """One step at batch 1 and at the small one's: gradients reach the first layer once the last is not zero."""
    from flax import nnx

    config = dataclasses.replace(PAPER_TRAINING, batch=1, augmented=False)
    batch = {name: jnp.asarray(value) for name, value in RICHARDSON_COARSE.batch(data, config, range(1)).items()}
    graph, parameters, rest = nnx.split(RICHARDSON_COARSE.build(config, nnx.Rngs(0)), nnx.Param, ...)

    def loss(parameters):
        return RICHARDSON_COARSE.loss(nnx.merge(graph, parameters, rest, copy=True), batch, config)

    slope, terms = jax.jit(jax.grad(loss, has_aux=True))(parameters)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((slope, terms)))
    assert np.abs(slope["resnet"]["output"]["kernel"][...]).max() > 0
