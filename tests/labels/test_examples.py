"""The examples of `fitkit.labels` run, each where its package is installed."""

import importlib.util
import re
import textwrap

import numpy as np
import pytest

import fitkit.labels
from tests.fixtures.toy_labels import SIZE, toy_record, toy_run

EXTRAS = {"webdataset": "webdataset", "torch": "torch", "grain": "batches("}


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """A run of four pictures, in the folder `run` that the examples name."""
    toy_run(tmp_path / "run", count=4, per_shard=4)
    monkeypatch.chdir(tmp_path)


def examples():
    """The indented blocks of the docstring that are code, in order, without the list of modules."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", fitkit.labels.__doc__, flags=re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks if "import" in block]


def execute(code, names):
    """Run an example, or skip where its package is missing."""
    for package, word in EXTRAS.items():
        if word in code and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; without it this example cannot run")
    exec(compile(code, "example", "exec"), names)  # noqa: S102
    return names


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")      # WebDataset closes no file
@pytest.mark.parametrize("number", range(4))
def test_an_example_runs(number):
    found = examples()
    assert len(found) == 4
    names = execute(found[0], {})
    made = toy_record(3)
    np.testing.assert_array_equal(names["picture"], made.picture)
    np.testing.assert_array_equal(names["depth"], made.dense("depth"))
    if number:
        names = execute(found[number], names)
        assert np.asarray(names["picture"]).shape[-3:] == (SIZE, SIZE, 3) and np.asarray(names["picture"]).dtype == np.uint8
