"""fitkit: from a photograph of a face to a 3D face."""
