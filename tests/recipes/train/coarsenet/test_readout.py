"""The readout of a CoarseNet with MediaPipe's trunk: its ridge against a dense least-squares solver."""

import numpy as np

from fitkit.recipes.train.coarsenet.readout import RIDGE, STILL, solve_ridge


def test_the_ridge_is_that_of_stacked_least_squares(rng):
    count = 50
    features = rng.normal(size=(count, 7)) * rng.uniform(0.1, 30, 7) + rng.normal(size=7)
    wanted = features @ rng.normal(size=(7, 3)) + rng.normal(size=(count, 3))
    sums = {"f": features.sum(0), "y": wanted.sum(0), "ff": features.T @ features, "fy": features.T @ wanted}
    matrix, offset = solve_ridge(count, sums)
    deviation = features.std(axis=0) + STILL
    standard = (features - features.mean(axis=0)) / deviation
    stacked = np.concatenate([standard, np.sqrt(RIDGE * count) * np.eye(7)])
    solved = np.linalg.lstsq(stacked, np.concatenate([wanted - wanted.mean(axis=0), np.zeros((7, 3))]), rcond=None)[0]
    np.testing.assert_allclose(matrix, solved / deviation[:, None], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(features @ matrix + offset, standard @ solved + wanted.mean(axis=0), rtol=1e-6, atol=1e-6)
