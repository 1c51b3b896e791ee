"""Measures of shape: distances from scans to meshes, of depth maps, and the alignments that come before them. NumPy only."""
