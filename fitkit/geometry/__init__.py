"""Pure mathematics of vectors, cameras, poses and depth maps. Knows no head and no picture."""
