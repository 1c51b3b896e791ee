"""The morphable head: vertices and colours from coefficients, subdivision, regions, and points on it."""
