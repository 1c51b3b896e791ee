"""What every recipe stands on: the state of a fit, what is observed, energies and solvers."""
