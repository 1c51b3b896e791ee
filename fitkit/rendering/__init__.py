"""Draws a head: rasterize, interpolate, shade, texture. Differentiable, batched by `jax.vmap`."""
