"""Training of the iterative CoarseNet of Richardson et al. 2017 (Section 3)."""
