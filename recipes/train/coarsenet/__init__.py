"""Training of CoarseNet: single pictures (Guo et al. 2018, Section VI-B) and films (Section VII)."""
