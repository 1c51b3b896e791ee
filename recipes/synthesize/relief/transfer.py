"""Relief of one face carried to the picture of another by dense correspondence (Guo et al. 2018, Section VIII-A, Eq. 18).

    min over d of  sum |grad d - w|^2  over the pixels of the target that have relief carried to them, d = d_t on their border

with d_t what the target has itself. The paper takes for w the differences between neighbours in the *source* picture, s_d times
(`source_differences`): they are right where both pictures show the face at one scale and roll. Here the displacement is carried as
a field and w is s_d times its differences in the *target* picture (`depth_maps.differences`), which holds for any two pictures.

Displacements are mm along the depth, positive away from the camera; relief is mm outwards along the normal, which no pose changes.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fitkit.geometry.camera import project
from fitkit.geometry.depth_maps import ahead, behind
from fitkit.geometry.poisson import solve_poisson
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.rendering.texture import sample_image, values_at_fragments, visible_weight
from fitkit.types import Camera, Fragments
from fitkit.uv.displacement import sight_cosine

SCALE = (0.7, 1.3)      # range of s_d (Section VIII-A)
FACING = 0.3            # cosine of normal and line of sight under which a target's pixel has no relief; chosen


def corresponding_pixels(
    vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"], camera: Camera, depth: Float[Array, "h w"], target: Fragments
) -> tuple[Float[Array, "H W 2"], Float[Array, "H W"], Bool[Array, "H W"]]:
    """Where the source picture shows what each pixel of the target shows.

    Args:
        vertices: the source's head, mm.
        triangles: of both heads.
        camera: of the source picture.
        depth: camera z of the source's head, mm, 0 where it is not.
        target: what the target picture sees.

    Returns:
        pixels: (x, y) in the source picture.
        cosine: of its normal and line of sight there, as `sight_cosine`: negative where it is seen.
        shown: where the target sees the head at a place that the source picture shows.
    """
    both = jnp.concatenate([vertices, vertex_normals(vertices, triangles)], axis=1)
    at = values_at_fragments(target, triangles, both)
    places, normals = at[..., :3], safe_normalize(at[..., 3:])
    seen = (target.triangle >= 0) & (visible_weight(places, normals, depth, camera) > 0.0)
    return project(camera, places)[0], sight_cosine(camera, places, normals), seen


def relief_of_picture(displacement: Float[Array, "h w"], pixels: Float[Array, "H W 2"], cosine: Float[Array, "H W"]
                      ) -> Float[Array, "H W"]:
    """A source's displacement at corresponding pixels, as relief."""
    return sample_image(displacement[..., None], pixels)[..., 0] * cosine


def source_differences(displacement: Float[Array, "h w"], pixels: Float[Array, "H W 2"]) -> Float[Array, "2 H W"]:
    """The paper's w without s_d: differences to the next pixels of the source picture, across and down."""
    here, across, down = (sample_image(displacement[..., None], pixels + jnp.array(step))[..., 0] for step in (
        (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    return jnp.stack([across - here, down - here])


def along_depth(relief: Float[Array, "H W"], cosine: Float[Array, "H W"]) -> tuple[Float[Array, "H W"], Bool[Array, "H W"]]:
    """Relief as a displacement of a picture, and where that picture sees its place well enough.

    Args:
        relief: mm outwards.
        cosine: of the picture's own normals and lines of sight, as `sight_cosine`.
    """
    facing = cosine < -FACING
    return jnp.where(facing, relief / jnp.where(facing, cosine, -1.0), 0.0), facing


def transfer(gradient: Float[Array, "2 H W"], own: Float[Array, "H W"], known: Bool[Array, "H W"]) -> Float[Array, "H W"]:
    """The displacement that has the wanted gradient (Eq. 18), and the target's own on the border of what is known and beyond.

    Args:
        gradient: w, s_d included: differences to the next pixels, across and down.
        own: displacement of the target, d_t.
        known: where relief was carried to; w holds between two such pixels.
    """
    inner = known
    for axis in (0, 1):
        inner = inner & ahead(known, axis=axis) & behind(known, axis=axis)
    solved: Array = solve_poisson(gradient, own, inner)
    return solved
