"""Benchmark scenes: heads, poses and pictures drawn from random numbers, so that a benchmark needs nothing but a head.

A `Scene` is a head that fills 70 % of the frame's height under weak perspective, with parameters to differentiate and a picture of
noise to compare with; DEODR gets the same projected mesh. A `portrait` is a lit head under a pinhole camera, which a detector finds
and a recipe fits. `timing.py` takes the time.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb
from fitkit.fitting.point_posterior import point_message
from fitkit.fitting.state import FocalPrior, Observation
from fitkit.geometry.camera import head_rotation, project
from fitkit.geometry.vectors import rotation_from_vector
from fitkit.morphable.correspondence import correspond, ibug_points
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.rendering.render import render_color, render_foreground
from fitkit.rendering.shading import light_from_direction
from fitkit.rendering.visibility import default_capacity, jitted_visible_triangles
from fitkit.types import Camera, MorphableModel

ALBEDO_MODES = 97           # with ICT-FaceKit's 100 identity modes, 53 shapes, 6 of pose and 27 of light: 283 parameters
WAVE_DEVIATION = 0.03       # of those modes' wave numbers, rad/mm
ALBEDO_AMPLITUDE = 0.01     # linear
DISTANCE = 700.0            # mm from the camera to a scene's head
HEAD_SHARE = 0.7            # of the frame's height
IDENTITY_DEVIATION = 0.5    # of coefficients, in standard deviations of the head
AMBIENT, LIGHT_DEVIATION = 2.5, 0.3         # of the spherical harmonics: the constant; deviation of the others
SPARE, SLOTS = 1.2, 1024    # slots for visible pixels: factor on what the start needs, and rounded up to multiples of this
PORTRAIT_FOCAL = 1.6        # in picture sides
PORTRAIT_SPAN = 300.0       # mm that a portrait shows: the face fills it as it fills the crop a recipe gets
PORTRAIT_TURN = 10.0        # degrees of yaw, pitch and roll either way
PORTRAIT_GREY = 0.2         # behind the head, linear
Work = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A head, a pose and a picture to compare with."""

    model: MorphableModel
    camera: Camera
    parameters: dict[str, Array]
    target: Float[Array, "3 HW"]
    size: int                  # side of the picture, pixels
    foreground: int            # slots for visible pixels


def many_albedo_modes(model: MorphableModel) -> MorphableModel:
    """The head with `ALBEDO_MODES` albedo modes of smooth noise."""
    waves = np.random.default_rng(0).normal(size=(ALBEDO_MODES, 3, 3)) * WAVE_DEVIATION
    modes = ALBEDO_AMPLITUDE * np.sin(np.einsum("vc,kcd->kvd", np.asarray(model.mean), waves))
    return dataclasses.replace(model, albedo_mean=jnp.full_like(model.mean, 0.5), albedo=jnp.asarray(modes, jnp.float32))


def scene(model: MorphableModel, size: int, *, yaw: float = 20.0) -> Scene:
    """A head turned by `yaw` degrees in a picture of `size` pixels a side."""
    low, high = np.asarray(model.mean.min(axis=0)), np.asarray(model.mean.max(axis=0))
    rotation = head_rotation(np.deg2rad(yaw), 0.0, 0.0)
    focal = jnp.float32(HEAD_SHARE * size * DISTANCE / (high - low)[1])
    camera = Camera(focal=focal, principal=jnp.full(2, size / 2), rotation=rotation,
                    translation=jnp.array([0.0, 0.0, DISTANCE]) - rotation @ ((low + high) / 2), perspective=False)
    generator = np.random.default_rng(1)
    parameters = {
        "identity": generator.normal(size=model.identity.shape[0]) * IDENTITY_DEVIATION,
        "expression": np.zeros(model.expression.shape[0]),
        "albedo": generator.normal(size=model.albedo.shape[0]), "rotation": np.zeros(3), "translation": np.zeros(3),
        "light": np.concatenate([[[AMBIENT] * 3], generator.normal(size=(8, 3)) * LIGHT_DEVIATION])}
    found = Scene(model, camera, {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()},
                  jnp.asarray(generator.uniform(size=(3, size * size)), jnp.float32), size, 0)
    seen = int(jnp.sum(visibility(found)()[0] >= 0))
    return dataclasses.replace(found, foreground=-(-int(seen * SPARE) // SLOTS) * SLOTS)


def projected(scene: Scene) -> tuple[Float[Array, "V 2"], Float[Array, " V"]]:
    """Pixels and depth of the scene's vertices at its starting parameters."""
    p = scene.parameters
    return project(_posed(scene, p), shape(scene.model, p["identity"], p["expression"]))


def visibility(scene: Scene) -> Work:
    """A function that finds the triangle each pixel sees, from projected vertices."""
    pixels, depth = projected(scene)
    side, triangles = scene.size, scene.model.triangles
    capacity = default_capacity(side, side, triangles.shape[0])
    return lambda: jitted_visible_triangles(pixels, depth, triangles, height=side, width=side, capacity=capacity, perspective=False)


def value_and_gradient(scene: Scene) -> Work:
    """A function for coefficients -> vertices -> pose -> normals -> raster -> interpolation -> SH9 -> L2, with gradients of all."""
    def loss(p: dict[str, Array], model: MorphableModel, target: Array) -> Array:
        vertices = shape(model, p["identity"], p["expression"])
        pixel, color, _ = render_foreground(model.triangles, vertices, vertex_albedo(model, p["albedo"]), _posed(scene, p),
                                           p["light"], height=scene.size, width=scene.size, size=scene.foreground)
        there = target.at[:, pixel].get(mode="fill", fill_value=0.0)
        return jnp.sum((color - there) ** 2) / jnp.maximum(jnp.sum(pixel < scene.size**2), 1)
    jitted = jax.jit(jax.value_and_grad(loss))
    return lambda: jitted(scene.parameters, scene.model, scene.target)


def deodr(scene: Scene) -> tuple[Work, Work]:
    """DEODR on the same projected mesh: (forward, forward and backward), rasterization and vertex colours only, no antialiasing.

    Raises:
        ImportError: DEODR is not installed.
    """
    from deodr.differentiable_renderer import Scene2D

    pixels, depth = (np.asarray(x, np.float64) for x in projected(scene))
    triangles = np.asarray(scene.model.triangles, np.uint32)
    faces, vertices = len(triangles), len(pixels)
    drawn = Scene2D(
        faces=triangles, faces_uv=triangles, ij=pixels, depths=depth, textured=np.zeros(faces, bool), uv=np.zeros((vertices, 2)),
        shade=np.zeros(vertices), colors=np.random.default_rng(0).uniform(size=(vertices, 3)), shaded=np.zeros(faces, bool),
        edgeflags=np.zeros((faces, 3), bool), height=scene.size, width=scene.size, nb_colors=3, texture=np.zeros((1, 1, 3)),
        background_color=np.zeros(3), backface_culling=True, integer_pixel_centers=False)
    target = np.asarray(scene.target, np.float64).T.reshape(scene.size, scene.size, 3)
    return lambda: drawn.render(1), lambda: drawn.render_compare_and_backward(target)


def portrait(model: MorphableModel, size: int, *, seed: int = 0) -> tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "468 2"]]:
    """A random face in front of grey, lit from above: the picture (sRGB) and its 468 MediaPipe points (pixels)."""
    generator = np.random.default_rng(seed)
    identity = jnp.asarray(generator.normal(size=model.identity.shape[0]) * IDENTITY_DEVIATION, jnp.float32)
    vertices = shape(model, identity, jnp.zeros(model.expression.shape[0]))
    coefficients = jnp.asarray(generator.normal(size=model.albedo.shape[0]) * IDENTITY_DEVIATION, jnp.float32)
    albedo = vertex_albedo(model, coefficients)
    places = values_at_points(model.dense, model.triangles, vertices)
    rotation = head_rotation(*np.deg2rad(generator.uniform(-PORTRAIT_TURN, PORTRAIT_TURN, size=3)))
    away = jnp.array([0.0, 0.0, PORTRAIT_FOCAL * PORTRAIT_SPAN])
    camera = Camera(focal=jnp.float32(PORTRAIT_FOCAL * size), principal=jnp.full(2, size / 2), rotation=rotation,
                    translation=away - rotation @ places.mean(axis=0), perspective=True)
    light = light_from_direction(jnp.array([0.2, 0.6, 0.8]), ambient=0.5, strength=0.7)
    color, mask, _ = render_color(model, vertices, jnp.clip(albedo, 0.0, 1.0), camera, light, height=size, width=size)
    picture = linear_to_srgb(jnp.clip(jnp.where(mask[..., None], color, PORTRAIT_GREY), 0.0, 1.0))
    return np.asarray(picture), np.asarray(project(camera, places)[0])


def observation(model: MorphableModel, size: int) -> Observation:
    """What a recipe is given of a portrait of `size` pixels a side; its points are exact, its focal length uncertain."""
    picture, found = portrait(model, size)
    points, ibug, principal = jnp.asarray(found), jnp.asarray(ibug_points(found), jnp.float32), jnp.full(2, size / 2)
    focal = FocalPrior(mean=jnp.log(jnp.float32(PORTRAIT_FOCAL * size)), deviation=jnp.float32(0.4), bound=jnp.float32(1.0))
    return Observation(crop=jnp.asarray(picture), seen=correspond(model, points, ibug), ibug=ibug, principal=principal, focal=focal,
                       message=point_message(model, points, focal, principal))


def _posed(scene: Scene, parameters: dict[str, Array]) -> Camera:
    turn = rotation_from_vector(parameters["rotation"])
    return dataclasses.replace(scene.camera, rotation=turn @ scene.camera.rotation,
                               translation=scene.camera.translation + parameters["translation"])
