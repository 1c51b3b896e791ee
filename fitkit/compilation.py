"""`quick_jit`: `jax.jit` that compiles sooner on a CPU, for programs that run once or a few times per photo.

A first run compiles for longer than it computes. XLA for CPU has two code generators for fused operations; without the newer one,
the fusion emitters, a program compiles in 0.6 of the time. Some loops over many pixels then run up to 1.5 times as long, so fits
of large crops, batches, optimisation loops and the public building blocks keep `jax.jit`. Imports JAX only.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

R = TypeVar("R")

QUICK: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": False}     # compiler options
SMALL_CROP = 256        # pixels a side up to which a fit is compiled so: each runs 0.07 s longer, the first starts 5 s sooner


def quick_jit(
    *, static_argnames: tuple[str, ...] = (), where: Callable[..., bool] = lambda *_, **__: True
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Decorator: `jax.jit`, on a CPU without the fusion emitters.

    While JAX traces an outer program, on other devices, and with an XLA that does not know the option, it is plain `jax.jit`.

    Args:
        static_argnames: as in `jax.jit`.
        where: called with the arguments of each call; whether to compile quickly.
    """
    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        usual = jax.jit(function, static_argnames=static_argnames)
        quick = jax.jit(function, static_argnames=static_argnames, compiler_options=QUICK)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> R:
            chosen = quick if not _is_tracing(args, kwargs) and _option_known() and where(*args, **kwargs) else usual
            result: R = chosen(*args, **kwargs)
            return result

        return run

    return decorate


def _is_tracing(*arguments: Any) -> bool:
    """Whether JAX is tracing: it refuses compiler options then, also in a call whose arguments are all constants."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((arguments, jnp.zeros(()))))


@functools.cache
def _option_known() -> bool:
    """Whether this device compiles with the option."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda x: x + 1, compiler_options=QUICK)(0)
    except jax.errors.JaxRuntimeError:      # options come and go with XLA's versions
        return False
    return True
