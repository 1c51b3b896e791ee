"""A labelled picture rendered anew from its stored record: the proof that labels and picture agree, and a way to relight one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from fitkit.geometry.camera import project, to_view_frame
from fitkit.geometry.depth_maps import displaced_normals
from fitkit.geometry.vectors import normalize_planes, vertex_normals
from fitkit.labels.drawing import surface_constants
from fitkit.labels.fine_head import FineHead, fine_head, fine_vertices
from fitkit.labels.record import Record
from fitkit.labels.shading import Light, developed, face_radiance, sight_planes
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.types import Camera, MorphableModel


def light_of(record: Record) -> Light:
    """The light of a record."""
    return Light(harmonics=jnp.asarray(record.light), direction=jnp.asarray(record.lamp_direction), lamp=jnp.asarray(record.lamp),
                 gloss=jnp.asarray(record.gloss))


def render_record(model: MorphableModel, record: Record, *, light: Light | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """The head of a record, sRGB on black: geometry from its coefficients and camera, colours from its albedo.

    Args:
        model: the folded head of the record (`hidden_modes.folded_model`).
        record: of which coefficients, camera, albedo and cast shadows are taken.
        light: another light than the record's.
    """
    size = record.mask.shape[0]
    displacement = record.dense("displacement") if "displacement" in record.maps else None
    arrays = jax.tree.map(jnp.asarray, (record.identity, record.expression, record.camera, record.dense("albedo_map"),
                                        record.dense("lit"), displacement))
    picture = render_labels(model, fine_head(model), *arrays, light_of(record) if light is None else light, size=size)
    return np.where(record.head[..., None], np.asarray(picture), 0).astype(np.uint8)


@functools.partial(jax.jit, static_argnames=("size",))
def render_labels(model: MorphableModel, fine: FineHead, identity: Float[Array, " I"], expression: Float[Array, " E"],
                  camera: Camera, albedo: Float[Array, "H W 3"], lit: Float[Array, "H W"],
                  displacement: Float[Array, "H W"] | None, light: Light, *, size: int) -> UInt8[Array, "H W 3"]:
    """The picture that labels make, sRGB; beside the head it has no meaning. Arguments are those of a `Record`, and its light."""
    vertices, triangles = fine_vertices(model, fine, identity, expression), fine.head.triangles
    pixels, depth = project(camera, vertices)
    fragments = rasterize(pixels, depth, triangles, height=size, width=size)
    normals = to_view_frame(camera, vertex_normals(vertices, triangles))
    values = jnp.concatenate([normals, surface_constants(model, fine.head)[:, 4:]], axis=1)
    picture = jnp.moveaxis(interpolate(fragments, pixels, depth, triangles, values), -1, 0)
    smooth = jnp.stack(normalize_planes(list(picture[:3])))
    if displacement is not None:
        smooth = displaced_normals(smooth, displacement, fragments.depth + displacement, camera)
    at = [plane.ravel() for plane in (*smooth, *picture[3:])]
    colors = face_radiance([albedo[..., k].ravel() for k in range(3)], at[:3],
                           sight_planes(camera, jnp.arange(size * size), size), light, lit.ravel(), wet=at[3], inner=at[4],
                           camera=camera)
    return developed(jnp.stack(colors, axis=-1)).reshape(size, size, 3)
