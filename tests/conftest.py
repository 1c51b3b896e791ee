"""Shared fixtures. Randomness is seeded, warnings are errors (pyproject), and the core refuses implicit rank promotion."""

import pathlib

import jax
import numpy as np
import pytest

from fitkit.device import keep_compiled_programs

pytest_plugins = ("tests.fixtures.toy_fit",)      # fixtures of the command line's tests

ASSETS = pathlib.Path(__file__).resolve().parents[1].parent / "shared" / "assets"


def pytest_configure():
    """Compiling is most of the work: what one test compiled, another, a process that a test starts, and the next run read."""
    keep_compiled_programs()


@pytest.fixture
def rng():
    """A seeded generator, fresh for every test."""
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def assets():
    """Folder of the photos, foreign heads and networks that tests may read; they are not part of the project."""
    if not ASSETS.is_dir():
        pytest.skip(f"the shared assets are not at {ASSETS}; without them this comparison cannot run")
    return ASSETS


@pytest.fixture
def strict_ranks():
    """Arrays of different rank meet only where the code says so."""
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
