"""Patches of the UV map: where they lie, and that stitching loses nothing and leaves no seam."""

import numpy as np

from fitkit.models.dfdn.patches import AREAS, cut, origins, stitched, stitching_weights, window

SIDE = 8


def loops(found, places, size):
    """The weighted mean, texel by texel."""
    side = found.shape[1]
    bell = lambda at: np.exp(-0.5 * (((at + 0.5) / side - 0.5) / (50 / 256)) ** 2)      # noqa: E731
    end = np.exp(-0.5 * (0.5 / (50 / 256)) ** 2)
    total, share = np.zeros((size, size)), np.zeros((size, size))
    for patch, (row, column) in zip(found, places, strict=True):
        for i in range(side):
            for j in range(side):
                weight = (bell(i) - end) * (bell(j) - end) / (1 - end) ** 2
                total[row + i, column + j] += weight * patch[i, j]
                share[row + i, column + j] += weight
    return np.where(share > 0, total / np.where(share > 0, share, 1), 0)


def test_areas_lie_in_the_window_and_share_a_strip():
    size = window(SIDE).side
    rows = {area: {row for row, _ in origins(area, SIDE)} for area in AREAS}
    assert max(max(each) for each in rows.values()) + SIDE == size and min(min(each) for each in rows.values()) == 0
    assert max(rows["forehead"]) + SIDE > min(rows["mouth"]) > min(rows["forehead"])
    covered = np.asarray(stitched(np.ones((len(origins("forehead", SIDE)), SIDE, SIDE)), origins("forehead", SIDE), size=size))
    assert (covered[:max(rows["forehead"]) + SIDE] > 0.99).all()


def test_stitching_is_the_weighted_mean():
    rng, places = np.random.default_rng(0), ((0, 0), (0, 4), (4, 4))
    found = rng.normal(size=(3, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(stitched(found, places, size=14), loops(found, places, 14), atol=1e-5)


def test_patches_of_a_map_become_that_map():
    size = window(SIDE).side
    whole = np.random.default_rng(1).normal(size=(size, size)).astype(np.float32)
    places = origins("forehead", SIDE) + origins("mouth", SIDE)
    np.testing.assert_allclose(stitched(cut(whole, places, SIDE), places, size=size), whole, atol=1e-5)


def test_a_patch_enters_without_a_step():
    weights = stitching_weights(64)
    assert weights[0].max() < 0.005 * weights.max() and weights.max() < 1.01
