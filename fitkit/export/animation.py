"""A head that moves, as binary glTF 2.0 (GLB): `write_animated_glb`.

    film camera        where the film was taken from: the origin, looking along -Z, in metres
    head               rotation and translation are animated, and the weights of its mesh's expressions
      eye_left, eye_right      rotation is animated: the gaze; only where eyeballs are parts of their own

Keys stand at the film's time stamps; between them programs interpolate. Axes are those of glTF and of the view frame: x to the
viewer's right, y up, z to the viewer.
"""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pygltflib as gltf
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from fitkit.export.glb_document import add_accessor, add_texture, split_at_seams, write_document
from fitkit.export.gltf import METRES, add_head, add_parts, downwards, with_scene
from fitkit.export.vertex_tables import unit_normals
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.gaze import Eyeball, eyeballs
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.types import FaceParameters, MorphableModel

NEAREST, CAMERA, HEAD = 0.01, "film camera", "head"      # metres, of the camera's near plane: chosen; names of nodes


def write_animated_glb(
    path: str | Path, model: MorphableModel, parameters: FaceParameters, *, seconds: Float[np.ndarray, " T"],
    expression: Float[np.ndarray, "T E"], rotation: Float[np.ndarray, "T 3 3"], translation: Float[np.ndarray, "T 3"],
    view: tuple[float, float] | None = None, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    name: str | None = None,
) -> Path:
    """Write a head with the animation of a film: expression weights, pose and gaze; metres.

    Args:
        path: where to.
        model: the head.
        parameters: identity and albedo are used.
        seconds: of the keys, ascending, from 0 on.
        expression: weights.
        rotation: head to view frame.
        translation: of the head's origin in the view frame, mm; z < 0 is before the camera.
        view: vertical field of view, radians, and width over height of the film; without it no camera is written.
        texture: UV albedo, sRGB; without it vertex colours.
        name: of the mesh, as other programs show it; by default the head's.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    document, blob = gltf.GLTF2(), bytearray()
    if texture is not None:
        add_texture(document, blob, texture)
    first = dataclasses.replace(parameters, expression=jnp.asarray(expression[0]))
    eyes = eyeballs(model)
    mesh = add_head(document, blob, model, first, without=tuple(eye.name for eye in eyes))
    document.meshes[mesh].name = name or model.name
    neutral = np.asarray(shape(model, parameters.identity, jnp.zeros(expression.shape[1])))
    colours = np.clip(np.asarray(vertex_albedo(model, parameters.albedo)), 0, 1)
    nodes = [gltf.Node(name=HEAD, mesh=mesh, children=[1 + row for row in range(len(eyes))])]
    for eye in eyes:
        centre = eye.centre(neutral)
        nodes.append(gltf.Node(name=eye.name, translation=(centre * METRES).tolist(),
                               mesh=_add_eye(document, blob, model, eye, neutral - centre, colours)))
    roots = [0]
    if view is not None:
        document.cameras.append(gltf.Camera(type="perspective", perspective=gltf.Perspective(
            yfov=float(view[0]), aspectRatio=float(view[1]), znear=NEAREST)))
        nodes.append(gltf.Node(name=CAMERA, camera=0))
        roots.append(len(nodes) - 1)
    times = add_accessor(document, blob, np.asarray(seconds, np.float32), bounds=True)
    animation = gltf.Animation(name="film")
    _add_channel(document, blob, animation, times, 0, "weights", np.asarray(expression, np.float32).ravel())
    _add_channel(document, blob, animation, times, 0, "translation", np.asarray(translation) * METRES)
    _add_channel(document, blob, animation, times, 0, "rotation", quaternions(Rotation.from_matrix(rotation)))
    for row, eye in enumerate(eyes):
        turned = quaternions(Rotation.from_rotvec(eye.rotations(expression)))
        _add_channel(document, blob, animation, times, 1 + row, "rotation", turned)
    document.animations = [animation]
    return write_document(path, with_scene(document, nodes, roots), blob)


def quaternions(rotations: Rotation) -> Float[np.ndarray, "T 4"]:
    """Unit quaternions (x, y, z, w), each on the side of the one before, so that programs interpolate the short way."""
    values = np.atleast_2d(rotations.as_quat())
    sides = np.sign(np.sum(values[1:] * values[:-1], -1))
    values[1:] *= np.cumprod(np.where(sides < 0, -1.0, 1.0))[:, None]
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _add_channel(
    document: gltf.GLTF2, blob: bytearray, animation: gltf.Animation, times: int, node: int, path: str, values: np.ndarray
) -> None:
    """Animate a property of a node."""
    output = add_accessor(document, blob, values)
    animation.samplers.append(gltf.AnimationSampler(input=times, output=output, interpolation="LINEAR"))
    animation.channels.append(gltf.AnimationChannel(
        sampler=len(animation.samplers) - 1, target=gltf.AnimationChannelTarget(node=node, path=path)))


def _add_eye(
    document: gltf.GLTF2, blob: bytearray, model: MorphableModel, eye: Eyeball, places: Float[np.ndarray, "V 3"],
    colours: Float[np.ndarray, "V 3"],
) -> int:
    """Add an eyeball as a mesh about its centre, and return its index."""
    own = np.asarray(model.part) == model.part_names.index(eye.name)
    rows = split_at_seams(np.asarray(model.triangles)[own], np.asarray(model.uv_triangles)[own], model.uv, np.zeros(own.sum()))
    normals = np.asarray(vertex_normals(jnp.asarray(places), model.triangles))
    attributes = {"POSITION": places[rows.vertex] * METRES, "NORMAL": unit_normals(normals[rows.vertex]),
                  "TEXCOORD_0": downwards(rows.uv)}
    if not document.images:
        attributes["COLOR_0"] = colours[rows.vertex]
    return add_parts(document, blob, (eye.name,), rows, attributes, name=eye.name)
