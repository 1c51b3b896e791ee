"""Shared fixtures. Randomness is seeded, warnings are errors (pyproject), and the core refuses implicit rank promotion."""

import pathlib

import jax
import numpy as np
import pytest

from fitkit.device import keep_compiled_programs

pytest_plugins = ("tests.fixtures.toy_fit",)      # fixtures of the command line's tests

ASSETS = pathlib.Path(__file__).resolve().parents[1].parent / "shared" / "assets"


def pytest_configure():
    """Keep compiled programs on disk, since compiling is most of the work: other tests, processes and runs reuse them."""
    keep_compiled_programs()


@pytest.fixture
def rng():
    """A seeded generator, fresh for every test."""
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def assets():
    """Folder of photos, heads and networks from elsewhere that tests may read; not part of the project."""
    if not ASSETS.is_dir():
        pytest.skip(f"the shared assets are not at {ASSETS}; without them this comparison cannot run")
    return ASSETS


@pytest.fixture
def strict_ranks():
    """Refuse implicit rank promotion."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def float64():
    """Double precision, for central differences."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drop a file's compiled programs when it is done: thousands of them in one process exhaust its memory maps and crash XLA."""
    yield
    jax.clear_caches()
