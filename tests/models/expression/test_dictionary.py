"""The dictionary gives the mean of the nearest entries (Chen et al. 2019, Eq. 5), by both norms, and is small."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from fitkit.errors import FitkitError
from fitkit.models.build.expression_dictionary import turned_features
from fitkit.models.expression import dictionary
from fitkit.models.expression.dictionary import ExpressionDictionary
from fitkit.models.parameters import WEIGHTS
from fitkit.models.shipped import shipped_files


@pytest.fixture(scope="module")
def table():
    """Features, weights, and the dictionary of them."""
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 1, (60, 5))
    features = weights @ rng.normal(size=(5, 7)) + 0.1 * rng.normal(size=(60, 7))
    centre, matrix = turned_features(features, weights, np.diag([1.0, 2, 3, 4, 5]), ridge=1e-3, coordinates=4)
    stored = dictionary.encode(centre, matrix, features, weights)
    return features, weights, ExpressionDictionary(**{name: jnp.asarray(value) for name, value in stored.items()})


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("neighbours", [1, 6])
def test_the_nearest_entries_by_loops(table, norm, neighbours):
    features, _, entries = table
    seen = features[3] * 0.7 + features[10] * 0.3
    found = dictionary.look_up(entries, jnp.asarray(seen, jnp.float32), norm=norm, neighbours=neighbours)
    place = (seen - np.asarray(entries.centre, np.float64)) @ np.asarray(entries.matrix, np.float64)
    distances = []
    for key in np.asarray(entries.keys):
        gaps = [abs(float(code) * float(step) - own) for code, step, own in zip(key, entries.step, place, strict=True)]
        distances.append(sum(gap**norm for gap in gaps))
    nearest = sorted(range(len(distances)), key=distances.__getitem__)[:neighbours]
    expected = sum(np.asarray(entries.weights)[row] / 255 for row in nearest) / neighbours
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_entry_is_found_by_its_own_features(table):
    features, weights, entries = table
    found = np.stack([dictionary.look_up(entries, jnp.asarray(row, jnp.float32)) for row in features[:20]])
    assert np.mean(np.abs(found - weights[:20]).max(1) < 1 / 255) > 0.9      # 8 bits


def test_turned_features_tell_the_weights_by_ridge_regression(table):
    """With all coordinates kept, distances are those of the ridge regression's predictions, solved here by augmented rows."""
    features, weights, _ = table
    metric = np.diag([1.0, 2, 3, 4, 5])
    centre, matrix = turned_features(features, weights, metric, ridge=0.5, coordinates=5)
    spread = features.std(0) + 1e-3
    rows = np.concatenate([(features - centre) / spread, np.sqrt(0.5 * 60) * np.eye(7)])
    told = weights @ metric.T
    solved, *_ = np.linalg.lstsq(rows, np.concatenate([told - told.mean(0), np.zeros((7, 5))]), rcond=None)
    ours, theirs = (features - centre) @ matrix, rows[:60] @ solved
    np.testing.assert_allclose(np.linalg.norm(ours[:, None] - ours, axis=-1), np.linalg.norm(theirs[:, None] - theirs, axis=-1),
                               atol=1e-8)


def test_the_shipped_one_is_small_and_sound(tmp_path, monkeypatch):
    entries, names = dictionary.load_dictionary()
    assert names[0] == "browDownLeft" and len(names) == 52 and entries.keys.shape == (6200, 24)
    assert (WEIGHTS / "expression_dictionary.safetensors").stat().st_size < 1_000_000
    assert "expression_dictionary.safetensors" in {file.name for file in shipped_files()}
    monkeypatch.setattr("fitkit.models.expression.dictionary.WEIGHTS", tmp_path)
    with pytest.raises(FitkitError, match="E_DATA"):
        dictionary.load_dictionary.__wrapped__()
    broken = {name: np.asarray(value)[:1] for name, value in entries._asdict().items()}
    (tmp_path / "expression_dictionary.safetensors").write_bytes(safetensors.save(broken, metadata={"names": json.dumps(names)}))
    with pytest.raises(FitkitError, match="does not fit this version"):
        dictionary.load_dictionary.__wrapped__()
