"""MediaPipe's face detector and face meshes as Flax networks, and detection over a whole photo."""
