"""The commands: each checks its options and calls the library. `evaluate`, `labels`, `assets` and `doctor` hold several.

`options.RUN_BY` names their functions. JAX is imported inside functions only.
"""
