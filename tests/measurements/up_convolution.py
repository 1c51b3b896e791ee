"""How much faster a step is with `up_convolution` than with `lax.conv_transpose`, which gives the same numbers.

    python -m tests.measurements.up_convolution

A step: forward, and gradients of input and kernel. Processor time of the process, so that other work on the machine matters little;
the two take turns, and the least of each counts.
"""

import argparse
import time

import jax
import numpy as np

from fitkit.models.blocks.up_convolution import up_convolution

CASES = ((64, 32, 64, 2), (64, 64, 32, 2), (16, 128, 128, 2))      # pixels a side, channels in and out, pictures


def transposed(x, kernel):
    """JAX's own."""
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME")


def main():
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for side, inputs, outputs, pictures in CASES:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(pictures, side, side, inputs)).astype(np.float32)
        kernel = rng.normal(size=(4, 4, inputs, outputs)).astype(np.float32)
        steps = [jax.jit(jax.value_and_grad(lambda x, kernel, f=function: (f(x, kernel) ** 2).mean(), argnums=(0, 1)))
                 for function in (up_convolution, transposed)]
        (_, ours), (_, theirs) = (jax.block_until_ready(step(x, kernel)) for step in steps)
        apart = max(float(abs(a - b).max() / abs(b).max()) for a, b in zip(ours, theirs, strict=True))
        spent = [[], []]
        for _ in range(repeats):
            for step, times in zip(steps, spent, strict=True):
                before = time.process_time()
                jax.block_until_ready(step(x, kernel))
                times.append(time.process_time() - before)
        fast, slow = (1000 * min(times) for times in spent)
        print(f"{side} px, {inputs} -> {outputs}, {pictures} pictures: {fast:.1f} ms of a processor, lax.conv_transpose {slow:.0f}"
              f" ms: {slow / fast:.1f} times; gradients differ by {apart:.1e} of the largest")


if __name__ == "__main__":
    main()
