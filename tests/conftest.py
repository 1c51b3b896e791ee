"""Shared fixtures. Randomness is seeded, warnings are errors (pyproject), and the core refuses implicit rank promotion."""

import functools
import gc
import os
import pathlib

import jax
import numpy as np
import pytest

from fitkit.device import keep_compiled_programs

pytest_plugins = ("tests.fixtures.toy_fit",)      # fixtures of the command line's tests

TESTS = pathlib.Path(__file__).parent
ASSETS = TESTS.resolve().parent.parent / "shared" / "assets"

MEMORY = 4 * 2**30       # bytes, of a process that compiles and fits
FEW = 3                  # files named on the command line, for which other processes would start later than one is done

# A file is one process's work. The longest (`--durations=0`) begin first: begun last, one would run on alone.
LONGEST = (
    "recipes/test_ganfit.py", "test_fits.py", "recipes/test_several_photos.py", "fitting/test_photometric.py",
    "recipes/test_geometry_refinement.py", "cli/test_bench.py", "test_end_to_end.py", "rendering/test_rasterizer.py",
    "models/test_identity.py", "recipes/train/test_texture_generator_training.py", "rendering/test_render.py",
)

# Files whose programs are compiled in half the time, unoptimised: they hold small problems to properties and to oracles, so that
# what they assert depends on no optimisation, and most of their programs run once. All others, above all those that hold photos to
# measured figures, run the programs that a user runs. `JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest` optimises all.
UNOPTIMISED = (
    "cli/test_bench.py", "cli/test_train.py", "fitting/", "geometry/", "labels/", "models/blocks/", "models/df2net/",
    "models/dfdn/", "models/expression/", "models/test_texture_gan.py", "morphable/", "recipes/test_albedo_blending.py",
    "recipes/test_ganfit.py", "recipes/test_paper_values.py", "recipes/test_several_photos.py", "recipes/test_tracking.py",
    "recipes/synthesize/", "recipes/train/", "rendering/", "results/", "tracking/", "uv/",
)
OPTION = "jax_disable_most_optimizations"


def pytest_configure():
    """Keep compiled programs on disk, since compiling is most of the work: other tests, processes and runs reuse them."""
    keep_compiled_programs()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)      # small programs are thousands in tests
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")           # processes that share a GPU


def pytest_xdist_auto_num_workers(config):
    """Processes for `--numprocesses=auto`: a core and 4 GiB each; none besides this for a few files, for speed and for `-s`."""
    option, named = config.option, [place.partition("::")[0] for place in config.args]
    few = len(set(named)) <= FEW and all(place.endswith(".py") for place in named)
    if few or option.capture == "no" or option.collectonly or option.benchmark_only:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 4 * MEMORY
    return max(1, min(cores, memory // MEMORY))


def pytest_collection_modifyitems(items):
    """The longest files first, the others as they stand."""
    place = {str(TESTS / name): index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(str(item.path), len(LONGEST)))


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


def forget_tables():
    """Empty fitkit's caches: a table that an unoptimised program computed is rounded otherwise, a fit from it ends elsewhere."""
    for each in gc.get_objects():
        if type(each) is functools._lru_cache_wrapper and each.__module__.partition(".")[0] in ("fitkit", "models", "recipes"):
            each.cache_clear()


@pytest.fixture(autouse=True, scope="module")
def programs(request):
    """How a file's programs are compiled. They go when it is done: thousands exhaust a process's memory maps and crash XLA."""
    place = request.path.relative_to(TESTS).as_posix()
    unoptimised = place.startswith(UNOPTIMISED) and OPTION.upper() not in os.environ and jax.default_backend() == "cpu"
    if unoptimised:
        jax.clear_caches()
        jax.config.update(OPTION, True)
    yield
    jax.config.update(OPTION, os.environ.get(OPTION.upper(), "0") not in ("0", "False", "false", ""))
    jax.clear_caches()
    if unoptimised:
        forget_tables()
