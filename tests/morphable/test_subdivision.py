"""Subdivision of heads whose triangles do not mirror each other: a ball cut along like diagonals, and ICT-FaceKit."""

import numpy as np
import pytest

import fitkit
from fitkit.morphable import subdivision
from tests.fixtures.ict_archive import ARCHIVE
from tests.fixtures.tiny_head import tiny_head


@pytest.fixture(params=["ball", "ict-face", "ict"])
def head(request):
    if request.param == "ball":
        return tiny_head()
    if not ARCHIVE.exists():
        pytest.skip("ICT-FaceKit's archive is not beside the checkout")
    return fitkit.load_head(f"{request.param}:{ARCHIVE}")


def test_every_new_vertex_has_a_mirror_image(head):
    fine = subdivision.subdivide(head)
    old, mirror, mean = len(head.mean), np.asarray(head.mirror), np.asarray(head.mean, np.float64)
    corners = np.asarray(head.triangles)
    edges = np.unique(np.sort(corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    assert len(fine.mean) == old + len(edges) and len(fine.triangles) == 4 * len(corners)
    found = np.asarray(fine.mirror)
    np.testing.assert_array_equal(found[:old], mirror)
    assert found[old:].min() >= old and found.max() < len(fine.mean)
    image, chosen = np.sort(mirror[edges], axis=1), edges[found[old:] - old]
    turned = (image != chosen).any(axis=1)
    assert 0 < turned.mean() < 0.4
    gap = np.linalg.norm(mean[image].mean(axis=1) - mean[chosen].mean(axis=1), axis=1)
    assert gap[~turned].max() == 0
    length = np.linalg.norm(mean[edges[:, 0]] - mean[edges[:, 1]], axis=1)
    assert np.median(gap[turned]) < 0.2 * np.median(length[turned])
    for index in np.random.default_rng(0).choice(np.flatnonzero(turned), 50):      # no other edge's middle is nearer
        distance = np.linalg.norm(mean[edges].mean(axis=1) - mean[image[index]].mean(axis=0), axis=1)
        assert gap[index] <= distance.min() + 1e-6


def test_a_finer_head_takes_the_same_coefficients(head):
    fine = subdivision.subdivide(head)
    old, random = len(head.mean), np.random.default_rng(1)
    for name in ("mean", "identity", "expression", "albedo", "albedo_mean"):
        np.testing.assert_array_equal(np.asarray(getattr(fine, name))[..., :old, :], getattr(head, name))
    edges, sides = subdivision.edge_table(np.asarray(head.triangles))
    operator = subdivision.butterfly_operator(np.asarray(head.triangles), edges, sides, old)
    weights = random.standard_normal(len(head.identity)).astype(np.float32)
    moved = [np.asarray(each.mean) + np.tensordot(weights, np.asarray(each.identity), axes=1) for each in (head, fine)]
    np.testing.assert_allclose(operator @ moved[0], moved[1], atol=2e-3)
    assert fine.landmarks.triangle.max() < len(fine.triangles) and len(fine.part) == len(fine.triangles)
