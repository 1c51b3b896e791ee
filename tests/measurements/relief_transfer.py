"""How well relief survives the way to another face and back (Guo et al. 2018, Eq. 18), and what Poisson's problem leaves unsolved.

    python -m tests.measurements.relief_transfer [--pairs NUMBER] [--size PIXELS]

Two random people seen from two sides, at two scales and rolls; the first has drawn wrinkles. They are carried to the second's
picture, and from there back to the first's. Prints, for each pair and for all, the correlation with the displacement that was there
at first, where it came back, and where it was deeper than 0.02 mm; and the larger residual of the two, relative to the start's.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.geometry.camera import head_rotation, project
from fitkit.geometry.depth_maps import ahead, behind, differences
from fitkit.geometry.poisson import poisson_residual
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.models.heads import makehuman
from fitkit.morphable.model import shape
from fitkit.morphable.regions import region_mask
from fitkit.recipes.synthesize.relief import grooves
from fitkit.recipes.synthesize.relief.surface import texel_surface
from fitkit.recipes.synthesize.relief.transfer import along_depth, corresponding_pixels, relief_of_picture, transfer
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.texture import sample_texture, values_at_fragments
from fitkit.types import Camera
from fitkit.uv.displacement import sight_cosine

SPREAD = 0.5                        # standard deviations of identities
TURNS = (np.array([15, 8, 8]), np.array([25, 10, 10]))      # degrees either way, of the first and of the second picture
SCALES = ((1.0, 1.0), (0.9, 1.15))      # of the two
DISTANCE, ACROSS = 800.0, 250.0     # mm to the face; mm that a picture shows
AGE = 75.0                          # years
DEEP = 0.02                         # mm


@functools.cache
def head() -> Any:
    """The embedded head."""
    return makehuman.load(detector=False)


def draw_view(rng: np.random.Generator, which: int, size: int) -> tuple[Any, Camera]:
    """Vertices and camera of a random person."""
    model = head()
    vertices = shape(model, model.identity_mean + jnp.asarray(rng.normal(0, SPREAD, len(model.identity)), jnp.float32),
                     jnp.zeros(len(model.expression)))
    rotation = head_rotation(*np.radians(rng.uniform(-TURNS[which], TURNS[which])))
    face = region_mask(model, "face_skin")
    place = jnp.array([0.0, 0.0, DISTANCE]) - rotation @ (face @ vertices / jnp.sum(face))
    focal = jnp.float32(rng.uniform(*SCALES[which]) * size * DISTANCE / ACROSS)
    return vertices, Camera(focal=focal, principal=jnp.full(2, size / 2), rotation=rotation, translation=place, perspective=True)


@functools.partial(jax.jit, static_argnames=("size",))
def look(vertices: Any, camera: Camera, *, size: int) -> tuple[Any, Any, Any]:
    """Fragments, UV coordinates and cosines to the lines of sight."""
    model = head()
    seen = rasterize(*project(camera, vertices), model.triangles, height=size, width=size)
    at = values_at_fragments(seen, model.triangles, jnp.concatenate([vertices, vertex_normals(vertices, model.triangles)], 1))
    uv = values_at_fragments(seen, model.uv_triangles, model.uv)
    return seen, uv, sight_cosine(camera, at[..., :3], safe_normalize(at[..., 3:]))


@jax.jit
def carry(displacement: Any, vertices: Any, camera: Camera, depth: Any, target: Any, cosine: Any) -> tuple[Any, Any, Any]:
    """The displacement in the target's picture, where it is known, and the residual of Poisson's problem."""
    pixels, sight, shown = corresponding_pixels(vertices, head().triangles, camera, depth, target)
    field, facing = along_depth(relief_of_picture(displacement, pixels, sight), cosine)
    known = shown & facing
    gradient, own = differences(field), jnp.zeros_like(field)
    found = transfer(gradient, own, known)
    inner = known & ahead(known, axis=0) & ahead(known, axis=1) & behind(known, axis=0) & behind(known, axis=1)
    after, before = (jnp.linalg.norm(poisson_residual(gradient, each, inner)) for each in (found, own))
    return found, known, after / before


def measure(seed: int, size: int) -> tuple[float, float, float]:
    """Correlation there and back, the same in the wrinkles, residual."""
    rng, surface = np.random.default_rng(seed), texel_surface(size=512)
    relief = jnp.asarray(grooves.relief(surface, grooves.draw_grooves(rng, surface.ground, age=AGE)))
    first, second = (draw_view(rng, which, size) for which in (0, 1))
    (seen, uv, cosine), (target, _, target_cosine) = look(*first, size=size), look(*second, size=size)
    begin, _ = along_depth(sample_texture(relief[..., None], uv)[..., 0] * (seen.triangle >= 0), cosine)
    there, _, one = carry(begin, *first, seen.depth, target, target_cosine)
    back, known, other = carry(there, *second, target.depth, seen, cosine)
    start, end, inside = np.asarray(begin), np.asarray(back), np.asarray(known)
    deep = inside & (np.abs(start) > DEEP)
    return (float(np.corrcoef(start[inside], end[inside])[0, 1]), float(np.corrcoef(start[deep], end[deep])[0, 1]),
            float(max(one, other)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20, help="of faces")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures, pixels")
    options = parser.parse_args()
    rows = []
    for seed in range(options.pairs):
        rows.append(measure(seed, options.size))
        print("{} {:.3f} {:.3f} {:.1e}".format(seed, *rows[-1]), flush=True)
    table = np.array(rows)
    print(f"there and back {table[:, 0].mean():.3f} (worst {table[:, 0].min():.3f}), in wrinkles {table[:, 1].mean():.3f} (worst"
          f" {table[:, 1].min():.3f}), residual at most {table[:, 2].max():.1e}")


if __name__ == "__main__":
    main()
