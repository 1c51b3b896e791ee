"""A head as files for other programs: GLB with morph targets, GLB of a displaced head, OBJ with materials, PLY.

GLB is in metres, as glTF demands; OBJ and PLY are in millimetres. All are in the head's frame: +Y up, the face looks to +Z. Every
file is written whole or not at all; a place that cannot be written raises `FitkitError` E_OUTPUT.

    import jax.numpy as jnp
    import fitkit
    head = fitkit.load_head("makehuman")
    face = fitkit.FaceParameters(identity=head.identity_mean, expression=jnp.zeros(len(head.expression)),
                                 albedo=jnp.zeros(len(head.albedo)), light=jnp.ones((1, 3)))
    fitkit.export.write_glb("head.glb", head, face)
"""

from fitkit.export.gltf import write_detailed_glb, write_glb
from fitkit.export.obj import write_obj, write_ply
from fitkit.types import FaceParameters, MorphableModel

__all__ = ["FaceParameters", "MorphableModel", "write_detailed_glb", "write_glb", "write_obj", "write_ply"]
