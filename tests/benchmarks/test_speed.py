"""Speed of the core beside DEODR on the same mesh in the same run. Skipped by default:

    OPENBLAS_NUM_THREADS=1 pytest tests/benchmarks --benchmark-only --benchmark-group-by=group --benchmark-columns=median,min,rounds

After pytest-benchmark's tables comes one with the ratios (`conftest.py`). DEODR draws and colours only: no coefficients, normals
or light. The scenes are those of `fitkit bench`, which measures the recipes too. Nothing here is asserted.
"""

import jax
import pytest

from fitkit import load_head
from fitkit.evaluation.speed import scenes
from tests.benchmarks.measured import MEASURED
from tests.fixtures.ict_archive import ARCHIVE


@pytest.fixture(scope="module", params=["ict", "makehuman"])
def head(request):
    if request.param == "ict":
        if not ARCHIVE.exists():
            pytest.skip(f"ICT-FaceKit is not at {ARCHIVE}")
        return scenes.many_albedo_modes(load_head(f"ict-face:{ARCHIVE}"))
    return load_head("makehuman")


@pytest.fixture(scope="module", params=[224, 512])
def scene(request, head):
    return scenes.scene(head, request.param)


def measure(benchmark, scene, what, peer, function):
    benchmark.group = f"{what}, {scene.model.name}, {scene.size} px"
    function()
    benchmark.pedantic(function, rounds=30, warmup_rounds=3)
    if benchmark.stats:        # absent under --benchmark-disable
        MEASURED[benchmark.group, peer] = benchmark.stats.stats.median * 1e3


@pytest.mark.parametrize("peer", ["fitkit", "deodr"])
def test_visibility(benchmark, scene, peer):
    work = scenes.deodr(scene)[0] if peer == "deodr" else scenes.visibility(scene)
    measure(benchmark, scene, "visibility", peer, lambda: jax.block_until_ready(work()))


@pytest.mark.parametrize("peer", ["fitkit", "deodr"])
def test_value_and_gradient(benchmark, scene, peer):
    work = scenes.deodr(scene)[1] if peer == "deodr" else scenes.value_and_gradient(scene)
    measure(benchmark, scene, "value and gradient", peer, lambda: jax.block_until_ready(work()))
