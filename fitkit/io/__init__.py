"""Reads and writes files: images, scans, and atomic writes. Writes elsewhere go through `atomic_files`."""
