"""The small iterative network: points look where their code is, features are the trunk's there, and the likeliest face follows."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.models.richardson.coarse import CoarseConfig
from fitkit.models.richardson.feedback import POINTS, FeedbackHead, feedback_head, spread_points
from fitkit.models.richardson.point_features import (
    FEATURES,
    PLACE,
    SIDE,
    PointReader,
    _pooled,
    attention,
    likeliest,
    point_places,
)
from tests.fixtures.tiny_head import tiny_head

LAYOUT = CoarseConfig(identity=6, expression=52).numbers


@pytest.fixture(scope="module")
def coded():
    """Points with random codes, and a picture whose PNCC is the place itself, below a band that the feedback does not cover."""
    random = np.random.default_rng(1)
    code = np.stack([random.uniform(0.2, 0.8, POINTS), random.uniform(0.02, 0.8, POINTS), np.full(POINTS, 0.5)], -1)
    head = FeedbackHead(mean=None, basis=None, triangles=None, code=jnp.asarray(code, jnp.float32), extent=jnp.full(3, 200.0),
                        points=jnp.arange(POINTS), middle=None)
    place = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    picture = np.zeros((1, SIDE, SIDE, 7), np.float32)
    picture[..., 1], picture[..., 2], picture[..., 3], picture[..., 6] = place[None], place[:, None], 0.5, 1.0
    picture[..., 0] = random.uniform(size=(SIDE, SIDE))
    picture[:, :30] = 0.0
    return head, jnp.asarray(picture)


def test_points_look_where_their_code_is(coded):
    head, picture = coded
    weights, visible = (np.asarray(each) for each in jax.jit(attention)(picture, head))
    middles = (np.arange(48) * 4 + 2.5) / SIDE
    total = weights[0].sum((1, 2))[:, None]
    at = np.stack([(weights[0].sum(1) * middles).sum(-1), (weights[0].sum(2) * middles).sum(-1)], -1) / total
    code = np.asarray(head.code)[:, :2]
    clear, hidden = code[:, 1] > 0.28, code[:, 1] < 30 / SIDE - 0.1
    assert clear.sum() > 40 and hidden.sum() > 1
    np.testing.assert_allclose(at[clear], code[clear], atol=2e-3)
    assert visible[0][clear].min() > 0.9 and (visible[0][hidden] < 0.1).all()


def test_features_are_the_maps_where_points_look(coded):
    """Pooled weights must say the same as maps enlarged to the grid of the weights; places are those of the code."""
    head, picture = coded
    reader = PointReader(5)
    rng = np.random.default_rng(2)
    reader.stem.kernel[...] = jnp.asarray(rng.normal(size=reader.stem.kernel.shape), jnp.float32)
    reader.maps = lambda grey: [jnp.asarray(rng.normal(size=(1, side, side, channels)), jnp.float32)
                                for side, channels in ((48, 32), (24, 64), (12, 128))]
    features = np.asarray(reader.features(picture, head))
    weights, visible = (np.asarray(each) for each in jax.jit(attention)(picture, head))
    assert features.shape == (1, POINTS, FEATURES)
    np.testing.assert_allclose(features[..., -1], visible, rtol=1e-5)
    np.testing.assert_allclose(features[..., -2], visible, rtol=1e-4)      # normals are (0, 0, 1) wherever the feedback covers
    code = np.asarray(head.code)[:, :2]
    clear = code[:, 1] > 0.28
    places = features[0, :, -6:-4] * PLACE / visible[0, :, None]
    np.testing.assert_allclose(places[clear], (code - 0.5)[clear], atol=1.2e-2)
    values = rng.normal(size=(1, 12, 12, 3)).astype(np.float32)
    large = jax.image.resize(values, (1, 48, 48, 3), "linear")
    np.testing.assert_allclose(np.einsum("bkyx,byxc->bkc", np.asarray(_pooled(weights, 12)), values),
                               np.einsum("bkyx,byxc->bkc", weights, large), atol=1e-5)


@pytest.fixture(scope="module")
def faces():
    """A head, the deviations of its r, and a true one near the last."""
    head = feedback_head(tiny_head())
    deviation = np.concatenate([np.ones(6), np.full(52, 0.3), [30, 10, 8, 0.1, 0.04, 0.09]]).astype(np.float32)
    mean = np.zeros(64, np.float32)
    mean[-1] = np.log(0.7 / 220)
    last = mean + 0.3 * deviation * np.random.default_rng(3).normal(size=64).astype(np.float32)
    return head, mean, deviation, last


def solve(faces, off, visible, covariance):
    head, mean, deviation, last = faces
    step = jax.jit(lambda *a: likeliest(*a, mean, head, deviation=deviation, covariance=covariance, layout=LAYOUT))
    return np.asarray(step(off, visible, last), np.float64)


def test_the_likeliest_face_is_the_minimum_of_the_energy(faces):
    """Against NumPy in float64, with the derivative by central differences, of points that are visible and half hidden."""
    head, mean, deviation, last = faces
    rng = np.random.default_rng(4)
    off = rng.normal(size=(POINTS, 2)).astype(np.float32)
    visible = rng.uniform(0.6, 1.0, POINTS).astype(np.float32)
    root = rng.normal(size=(2 * POINTS, 2 * POINTS)) / 10
    covariance = (root @ root.T + 2.0 * np.eye(2 * POINTS)).astype(np.float32)
    found = solve(faces, off, visible, covariance)
    places = jax.jit(lambda r: point_places(r, head, LAYOUT))
    steps = np.diag(0.02 * deviation)
    slopes = np.stack([(np.asarray(places(last + step), np.float64) - np.asarray(places(last - step), np.float64)).ravel() / 0.04
                       for step in steps], -1) / np.exp(last[-1])
    share = np.repeat((visible - 0.5) / 0.5, 2)
    spread = covariance + np.diag(np.diag(covariance) * (1 / share - 1))
    information = slopes.T @ np.linalg.inv(spread)
    change = np.linalg.solve(information @ slopes + np.eye(64), information @ off.ravel() - (last - mean) / deviation)
    np.testing.assert_allclose((found - last) / deviation, change, atol=2e-2)
    assert np.abs(change).max() > 0.3


def test_points_that_tell_nothing_leave_r_0(faces):
    unsure = 1e4 * np.eye(2 * POINTS, dtype=np.float32)
    found = solve(faces, np.ones((POINTS, 2), np.float32), np.zeros(POINTS, np.float32), unsure)
    np.testing.assert_allclose((found - faces[1]) / faces[2], 0.0, atol=0.05)


def test_points_that_are_exact_bring_the_truth(faces):
    """What is off is measured from a true face: its places are met."""
    head, mean, deviation, last = faces
    true = last + 0.05 * deviation * np.random.default_rng(5).normal(size=64).astype(np.float32)
    places = jax.jit(lambda r: point_places(r, head, LAYOUT))
    off = (places(true) - places(last)) / np.exp(last[-1])
    found = solve(faces, off, np.ones(POINTS, np.float32), 1e-2 * np.eye(2 * POINTS, dtype=np.float32))
    before, after = (np.linalg.norm(places(jnp.asarray(r, jnp.float32)) - places(true), axis=-1).mean() for r in (last, found))
    assert after < 0.15 * before


def test_points_are_spread(rng):
    vertices = rng.uniform(-1, 1, (400, 3))
    chosen = spread_points(vertices, 30)
    assert len(set(chosen)) == 30 and chosen[0] == vertices[:, 2].argmax()
    apart = np.linalg.norm(vertices[chosen][:, None] - vertices[chosen], axis=-1)[np.triu_indices(30, 1)].min()
    far = np.linalg.norm(vertices[:, None] - vertices[chosen], axis=-1).min(1).max()
    assert far <= apart + 1e-12       # no vertex is farther from the chosen than they are from each other
