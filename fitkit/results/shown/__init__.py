"""What people are shown of a result: `summary` for `repr` and notebooks, `view` for the viewer."""
