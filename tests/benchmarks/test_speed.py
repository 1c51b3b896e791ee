"""Speed of the core beside DEODR on the same mesh in the same run. Skipped by default:

    OPENBLAS_NUM_THREADS=1 pytest tests/benchmarks --benchmark-only --benchmark-group-by=group --benchmark-columns=median,min,rounds

After pytest-benchmark's tables comes one with the ratios (`conftest.py`). DEODR draws and colours only: no coefficients, normals
or light. Nothing here is asserted.
"""

import jax
import pytest

from tests.benchmarks import scenes


@pytest.fixture(scope="module", params=["ict", "makehuman"])
def head(request):
    if request.param == "ict":
        try:
            return scenes.ict_face()
        except FileNotFoundError as missing:
            pytest.skip(str(missing))
    from fitkit.models.heads import makehuman
    return makehuman.load()


@pytest.fixture(scope="module", params=[224, 512])
def scene(request, head):
    return scenes.scene(head, request.param)


def measure(benchmark, scene, what, peer, function):
    benchmark.group = f"{what}, {scene.model.name}, {scene.size} px"
    function()
    benchmark.pedantic(function, rounds=30, warmup_rounds=3)
    if benchmark.stats:        # absent under --benchmark-disable
        scenes.MEASURED[benchmark.group, peer] = benchmark.stats.stats.median * 1e3


@pytest.mark.parametrize("peer", ["fitkit", "deodr"])
def test_visibility(benchmark, scene, peer):
    arguments = (*scenes.projected(scene), scene.model.triangles)
    see = scenes.visibility(scene)
    forward = scenes.deodr_scene(scene)[0]
    measure(benchmark, scene, "visibility", peer, forward if peer == "deodr" else lambda: jax.block_until_ready(see(*arguments)))


@pytest.mark.parametrize("peer", ["fitkit", "deodr"])
def test_value_and_gradient(benchmark, scene, peer):
    ours = scenes.value_and_gradient(scene)
    theirs = scenes.deodr_scene(scene)[1]
    measure(benchmark, scene, "value and gradient", peer, theirs if peer == "deodr" else lambda: jax.block_until_ready(ours()))
