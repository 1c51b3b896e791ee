"""Ambient occlusion: how much of an even sky each vertex of a head sees, by rasterizing it from many sides.

    occlusion(v) = sum over directions d of  max(n.d, 0) seen(v, d)  /  sum of max(n.d, 0)

(Zhukov et al. 1998; Landis 2002): 1 in the open, 0 where nothing is seen. Directions are spread evenly over the sphere, and a
vertex is seen from one where nothing of the head lies nearer in an orthographic picture from there. In: vertices and triangles.
Out: a value for each vertex; `uv/occlusion_map.py` bakes it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fitkit.compilation import quick_jit
from fitkit.geometry.camera import project
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.texture import visible_weight
from fitkit.types import Camera

DIRECTIONS = 96             # the occlusion of a vertex is then within 0.05 of that by ten times as many: tests
SIDE = 256                  # pixels of a picture: about 1.3 mm each on a head
TOLERANCE = 1.5             # mm that a vertex may lie behind what a pixel shows of the same surface
MARGIN = 1.02               # extent of a picture over the sphere about the vertices
DISTANCE = 2.0              # of the camera from the middle, in radii of that sphere: any above 1, since it is orthographic
GOLDEN = np.pi * (3.0 - np.sqrt(5.0))      # radians: turns by it spread points evenly (Vogel 1979)


@quick_jit(static_argnames=("directions", "side"))
def ambient_occlusion(
    vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"], *, directions: int = DIRECTIONS, side: int = SIDE
) -> Float[Array, " V"]:
    """How much each vertex sees of an even sky, in [0, 1]; 1 where it sees all of the half that its normal looks to.

    Args:
        vertices: mm.
        triangles: corners, counter-clockwise seen from outside.
        directions: from which it is looked at.
        side: of the pictures, pixels.
    """
    normals = safe_normalize(vertex_normals(vertices, triangles))
    centred = vertices - (vertices.max(0) + vertices.min(0)) / 2
    distance = DISTANCE * MARGIN * jnp.max(jnp.linalg.norm(centred, axis=-1))
    away = jnp.zeros(3).at[2].set(distance)

    def add(sums: tuple[Array, Array], towards: Float[Array, "3"]) -> tuple[tuple[Array, Array], None]:
        camera = Camera(focal=jnp.float32(DISTANCE * side / 2), principal=jnp.full(2, side / 2.0), rotation=_looking_from(towards),
                        translation=away, perspective=False)
        pixels, depth = project(camera, centred)
        seen = rasterize(pixels, depth, triangles, height=side, width=side, perspective=False)
        visible = visible_weight(centred, normals, seen.depth, camera, tolerance=TOLERANCE) > 0.0
        column, row = jnp.floor(pixels.T).astype(jnp.int32)
        facing = jnp.maximum(normals @ towards, 0.0)
        free = visible | (seen.depth[row, column] == 0.0)      # at an outline a vertex's own pixel may show nothing
        return (sums[0] + jnp.where(free, facing, 0.0), sums[1] + facing), None

    nothing = jnp.zeros(len(vertices))
    (free, whole), _ = jax.lax.scan(add, (nothing, nothing), jnp.asarray(sphere_directions(directions)))
    return free / jnp.maximum(whole, 1e-6)


def sphere_directions(count: int) -> Float[np.ndarray, "N 3"]:
    """Unit vectors spread evenly over the sphere: a spiral of equal heights (Vogel 1979)."""
    number = np.arange(count)
    y = 1.0 - (2.0 * number + 1.0) / count
    across = np.sqrt(1.0 - y**2)
    return np.stack([across * np.cos(GOLDEN * number), y, across * np.sin(GOLDEN * number)], -1).astype(np.float32)


def _looking_from(towards: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """World -> camera rotation of a camera that stands in this direction and looks back."""
    forward = -towards
    aside = jnp.where(jnp.abs(forward[1]) < 0.9, jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 0.0]))
    right = safe_normalize(jnp.cross(aside, forward))
    return jnp.stack([right, jnp.cross(forward, right), forward])
