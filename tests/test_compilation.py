"""Programs compiled the quick way compute what `jax.jit` computes, and are `jax.jit`'s wherever the option has no place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit import compilation
from fitkit.compilation import quick_jit

ON_CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the option is for CPUs")


@pytest.fixture
def unknown_option(monkeypatch):
    """An XLA that does not know the option."""
    monkeypatch.setattr(compilation, "QUICK", {"xla_cpu_no_such_option": True})
    known = compilation._option_known
    known.cache_clear()
    yield
    known.cache_clear()


def doubled(x, *, times=1):
    return x * 2.0**times


def test_result_is_that_of_jit_and_the_name_stays():
    quick = quick_jit(static_argnames=("times",))(doubled)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)), jnp.float32)
    np.testing.assert_array_equal(quick(x, times=3), x * 8)
    assert quick.__name__ == "doubled"


@ON_CPU
def test_the_option_reaches_the_compiler(unknown_option, monkeypatch):
    quick = quick_jit()(doubled)
    monkeypatch.setattr(compilation, "_option_known", lambda: True)
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_no_such_option"):
        quick(jnp.ones(3))


def test_without_the_option_it_is_jit(unknown_option):
    assert not compilation._option_known()
    np.testing.assert_array_equal(quick_jit()(doubled)(jnp.ones(3)), 2.0)


@ON_CPU
def test_where_decides_by_the_arguments(unknown_option, monkeypatch):
    quick = quick_jit(where=lambda x: x.size > 3)(doubled)
    monkeypatch.setattr(compilation, "_option_known", lambda: True)
    np.testing.assert_array_equal(quick(jnp.ones(3)), 2.0)
    with pytest.raises(jax.errors.JaxRuntimeError):
        quick(jnp.ones(4))


def test_inside_other_transformations():
    """Nested in a program, in a batch and under a gradient."""
    quick = quick_jit()(doubled)
    np.testing.assert_array_equal(jax.jit(lambda x: quick(x) + 1)(jnp.ones(3)), 3.0)
    np.testing.assert_array_equal(jax.jit(lambda: quick(np.ones(3, np.float32)) + 1)(), 3.0)
    np.testing.assert_array_equal(jax.vmap(quick)(jnp.ones((4, 3))), 2.0)
    np.testing.assert_array_equal(jax.grad(lambda x: quick(x).sum())(jnp.ones(3)), 2.0)
