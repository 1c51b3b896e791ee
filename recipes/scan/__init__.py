"""Recipe `scan`."""
