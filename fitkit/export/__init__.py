"""Meshes for other programs: GLB with morph targets, OBJ and PLY."""
