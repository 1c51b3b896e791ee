"""The scene of the speed tests: a head whose face fills 70 % of the frame, our pipeline, and DEODR on the same mesh."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from deodr.differentiable_renderer import Scene2D

from fitkit import camera as cameras
from fitkit import morphable
from fitkit.render import foreground_color
from fitkit.types import Camera, MorphableModel
from fitkit.visibility import visible_triangles
from tests.ict import FULL_FACE, load_ict
from tests.tiny_head import tiny_head

MEASURED: dict[tuple[str, str], float] = {}      # (scene, "fitkit" or "deodr") -> median in ms, filled by `test_speed.py`
ALBEDO_MODES = 97      # with 100 identity modes, 53 shapes, 6 of pose and 27 of light: 283 parameters


@dataclasses.dataclass(frozen=True)
class Scene:
    """A head, a pose and a picture to compare with."""

    model: MorphableModel
    camera: Camera
    parameters: dict[str, jax.Array]
    target: jax.Array          # [3, H * W]
    size: int
    foreground: int            # slots for visible pixels


def ict_face() -> MorphableModel:
    """ICT-FaceKit's face mesh: 9,409 vertices, 18,460 triangles, 100 + 53 modes; the albedo modes are smooth noise."""
    ict = load_ict()
    inside = (ict["triangles"] < FULL_FACE).all(axis=1)
    waves = np.random.default_rng(0).normal(size=(ALBEDO_MODES, 3, 3)) * 0.03
    mean = jnp.asarray(ict["neutral"][:FULL_FACE])
    return dataclasses.replace(
        tiny_head(), mean=mean, identity=jnp.asarray(ict["identity"][:, :FULL_FACE]),
        expression=jnp.asarray(ict["expression"][:, :FULL_FACE]), albedo_mean=jnp.full_like(mean, 0.5),
        albedo=jnp.asarray(0.01 * np.sin(np.einsum("vc,kcd->kvd", np.asarray(mean), waves)), jnp.float32),
        triangles=jnp.asarray(ict["triangles"][inside], jnp.int32), name="ict")


def scene(model: MorphableModel, size: int, *, yaw: float = 20.0) -> Scene:
    """Weak perspective, the mesh over 70 % of the frame's height."""
    low, high = np.asarray(model.mean.min(axis=0)), np.asarray(model.mean.max(axis=0))
    distance, rotation = 700.0, cameras.look(np.deg2rad(yaw), 0.0, 0.0)
    camera = Camera(focal=jnp.float32(0.7 * size * distance / (high - low)[1]), principal=jnp.full(2, size / 2), rotation=rotation,
                    translation=jnp.array([0.0, 0.0, distance]) - rotation @ ((low + high) / 2), perspective=False)
    random = np.random.default_rng(1)
    parameters = {
        "identity": random.normal(size=model.identity.shape[0]) * 0.5, "expression": np.zeros(model.expression.shape[0]),
        "albedo": random.normal(size=model.albedo.shape[0]), "rotation": np.zeros(3), "translation": np.zeros(3),
        "light": np.concatenate([[[2.5] * 3], random.normal(size=(8, 3)) * 0.3])}
    parameters = {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}
    bare = Scene(model, camera, parameters, jnp.asarray(random.uniform(size=(3, size * size)), jnp.float32), size, 0)
    pixels, depth = projected(bare)
    seen = int(jnp.sum(visibility(bare)(pixels, depth, model.triangles)[0] >= 0))
    return dataclasses.replace(bare, foreground=-(-int(seen * 1.2) // 1024) * 1024)


def posed(scene: Scene, parameters: dict[str, jax.Array]) -> Camera:
    from fitkit.geometry import rotation_from_vector
    turn = rotation_from_vector(parameters["rotation"])
    return dataclasses.replace(scene.camera, rotation=turn @ scene.camera.rotation,
                               translation=scene.camera.translation + parameters["translation"])


def projected(scene: Scene) -> tuple[jax.Array, jax.Array]:
    """Pixels and depth of the scene's starting point."""
    p = scene.parameters
    return cameras.project(posed(scene, p), morphable.shape(scene.model, p["identity"], p["expression"]))


def visibility(scene: Scene) -> Callable[..., Any]:
    """Jitted (pixels, depth, triangles) -> visible triangle per pixel."""
    from fitkit.visibility import default_capacity
    capacity = default_capacity(scene.size, scene.size, scene.model.triangles.shape[0])
    return jax.jit(lambda pixels, depth, triangles: visible_triangles(
        pixels, depth, triangles, height=scene.size, width=scene.size, capacity=capacity, perspective=False))


def value_and_gradient(scene: Scene) -> Callable[[], Any]:
    """Coefficients -> vertices -> pose -> normals -> raster -> interpolate -> SH9 -> L2, and the gradient of all parameters."""
    def loss(p: dict[str, jax.Array], model: MorphableModel, target: jax.Array) -> jax.Array:
        vertices = morphable.shape(model, p["identity"], p["expression"])
        pixel, color, _ = foreground_color(model.triangles, vertices, morphable.albedo(model, p["albedo"]), posed(scene, p),
                                           p["light"], height=scene.size, width=scene.size, size=scene.foreground)
        there = target.at[:, pixel].get(mode="fill", fill_value=0.0)
        return jnp.sum((color - there) ** 2) / jnp.maximum(jnp.sum(pixel < scene.size**2), 1)
    jitted = jax.jit(jax.value_and_grad(loss))
    return lambda: jitted(scene.parameters, scene.model, scene.target)


def deodr_scene(scene: Scene) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """DEODR on the same projected mesh: (forward, forward and backward), rasterization and vertex colours only, no antialiasing."""
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
