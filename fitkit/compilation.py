"""Programs that compile sooner and run a little slower: those that a photo needs once or a few times.

A first run compiles for longer than it computes. XLA for CPU has two ways to make a kernel of fused operations; without its newer
one, the fusion emitters, a program is compiled in 0.6 of the time. Some loops over many pixels run up to 1.5 times as long then,
so fits of large crops, batches, optimisers' loops and the public core keep `jax.jit`. Knows JAX alone.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

R = TypeVar("R")

QUICK: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": False}
SMALL_CROP = 256        # pixels a side, up to which a fit loses little without them: 0.07 s in each, five seconds won in the first


def quick_jit(
    *, static_argnames: tuple[str, ...] = (), where: Callable[..., bool] = lambda *_, **__: True
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """`jax.jit`, on a CPU with the quick way of compiling.

    Inside other programs, on other devices, and with an XLA that does not know the option, it is `jax.jit`.

    Args:
        static_argnames: as in `jax.jit`.
        where: of the arguments, whether to compile quickly.
    """
    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        usual = jax.jit(function, static_argnames=static_argnames)
        quick = jax.jit(function, static_argnames=static_argnames, compiler_options=QUICK)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> R:
            chosen = quick if not _inside_a_program(args, kwargs) and _known() and where(*args, **kwargs) else usual
            result: R = chosen(*args, **kwargs)
            return result

        return run

    return decorate


def _inside_a_program(*arguments: Any) -> bool:
    """Whether JAX is tracing, where it refuses the option; also a call with constants is traced then."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((arguments, jnp.zeros(()))))


@functools.cache
def _known() -> bool:
    """Whether this device compiles with the option."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda x: x + 1, compiler_options=QUICK)(0)
    except jax.errors.JaxRuntimeError:      # options come and go with XLA's versions
        return False
    return True
