"""Draws a scene with all its labels: a head, what stands before it and behind it, under a light. One program for every kind.

In: a `Scene`, all drawn things of a picture as arrays. Out: `Drawn`, the picture and, at each pixel of the head, what is known of
it. Pixels of the head alone are shaded, in blocks: a picture costs what its head covers. Labels are those of the whole head, also
where something stands before it; the mask says where. Batches go through `lax.map`, which on a CPU is 2.4 times as fast as `vmap`.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from fitkit.color import srgb_to_linear
from fitkit.geometry.camera import project, to_view_frame
from fitkit.geometry.vectors import normalize_planes, safe_normalize, vertex_normals
from fitkit.labels.fine_head import FineHead, fine_colors, fine_vertices
from fitkit.labels.shading import Light, developed, face_radiance, irradiance, lamp_frame, sight_planes
from fitkit.morphable.correspondence import CONTOUR, visible_contour
from fitkit.morphable.model import values_at_points
from fitkit.morphable.regions import face_region
from fitkit.rendering.rasterizer import barycentrics, corner_planes, interpolate, rasterize
from fitkit.rendering.render import mouth_normal_offset
from fitkit.rendering.texture import apply_paint, sample_texture, visible_weight
from fitkit.rendering.visibility import default_capacity, running_sum, visible_triangles
from fitkit.types import Camera, MorphableModel

# bits of the mask: the head; its face; something stands before what is there; the mean head in the pose of the frame before
HEAD, FACE, BEFORE, PREVIOUS = 1, 2, 4, 8
BLOCK = 2048                        # pixels shaded at a time; measured, on CPU
SHADOW_PIXELS = 192                 # side of the shadow map
SHADOW_BIAS = 2.0                   # mm that a lit point may lie behind it; more by the slope over `SHADOW_REACH`
SHADOW_REACH = 4.0                  # mm: about the half diagonal of 3 x 3 of its pixels
WHITE16 = 65535                     # of what is stored in 16 bits
IN_FACE = 0.5                       # of `face_region`, from which a pixel is of the face
EYES = ("eye_left", "eye_right")    # wet parts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Things:
    """A mesh beside the head, vertex colours; triangles (0, 0, 0) and unused vertices are padding."""

    vertices: Float[Array, "P 3"]      # mm, head frame
    triangles: Int[Array, "Q 3"]
    colors: Float[Array, "P 3"]        # albedo, linear RGB


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """All that is in a picture. Identity and camera are those of the folded head (`hidden_modes`)."""

    identity: Float[Array, " I"]
    expression: Float[Array, " E"]
    camera: Camera
    light: Light
    colors: Float[Array, "V 3"]        # albedo per vertex, linear RGB
    texture: UInt8[Array, "T T 3"]     # UV albedo, sRGB, with the head's paint on it; in place of the vertices' where `textured`
    textured: Bool[Array, ""]
    shirt: Float[Array, " 3"]          # albedo, linear RGB
    backdrop: UInt8[Array, "H W 3"]    # sRGB
    before: Things
    has_before: Bool[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture and its labels, as they are stored. Rows of [N, ...] are the pixels that see head or shirt, in order.

    `count` of them are used; those whose `mask` has no `HEAD` are of the shirt.
    """

    picture: UInt8[Array, "H W 3"]     # sRGB
    mask: UInt8[Array, "H W"]          # bits HEAD, FACE, BEFORE
    count: Int[Array, ""]
    maps: dict[str, Array]             # see `record.MAPS`; and "bits", the mask without BEFORE
    ibug: Float[Array, "68 2"]         # pixels; the first 17 slide along the visible contour
    dense: Float[Array, "468 2"]       # pixels
    ibug_seen: Bool[Array, " 68"]      # not behind the head, something before it or outside the picture
    dense_seen: Bool[Array, " 468"]


@functools.partial(jax.jit, static_argnames=("size",))
def draw_scenes(model: MorphableModel, fine: FineHead, shirt: Things, scenes: Scene, *, size: int) -> Drawn:
    """Draw stacked scenes, square pictures of `size` pixels.

    Args:
        model: the folded head.
        fine: `fine_head(model)`.
        shirt: a mesh that turns with the head and hides where its neck ends; its colours are the scenes'.
        scenes: with a leading axis.
        size: side, pixels.
    """
    constant = jnp.concatenate([surface_constants(model, fine.head), jnp.zeros((len(shirt.vertices), 6))])
    return lax.map(lambda scene: _draw(model, fine, shirt, constant, scene, size), scenes)


def surface_constants(model: MorphableModel, head: MorphableModel) -> Float[Array, "V 6"]:
    """What a vertex is in every picture: its PNCC, in [0, 1] of the face and of an eye, and `mouth_normal_offset`."""
    wet = jnp.isin(head.part, jnp.array([i for i, name in enumerate(head.part_names) if name in EYES], jnp.int32))
    on_vertex = jnp.zeros(len(head.mean)).at[head.triangles.ravel()].max(jnp.repeat(wet.astype(jnp.float32), 3))
    low, high = model.mean.min(axis=0), model.mean.max(axis=0)      # as `pncc_colors` scales the coarse head
    return jnp.concatenate([(head.mean - low) / (high - low), face_region(head)[:, None], on_vertex[:, None],
                            mouth_normal_offset(head)[:, 2:]], axis=1)


def _draw(model: MorphableModel, fine: FineHead, shirt: Things, constant: Float[Array, "W 6"], scene: Scene, size: int) -> Drawn:
    head = fine_vertices(model, fine, scene.identity, scene.expression)
    mesh = _Mesh(vertices=jnp.concatenate([head, shirt.vertices]),
                 triangles=jnp.concatenate([fine.head.triangles, shirt.triangles + len(head)]),
                 coarse=jnp.concatenate([model.triangles, shirt.triangles + len(head)]))
    normals = vertex_normals(mesh.vertices, mesh.triangles)
    colors = jnp.concatenate([fine_colors(fine, scene.colors), jnp.broadcast_to(scene.shirt, shirt.vertices.shape)])
    places = to_view_frame(scene.camera, mesh.vertices)
    rows = jnp.concatenate([to_view_frame(scene.camera, normals), colors, places, constant], axis=1)
    seen, slot, shaded = _shade_blocks(fine.head, scene, mesh, rows, size)
    depth = jnp.where(seen, shaded["depth"][slot], 0.0)
    picture = jnp.where(seen[..., None], shaded.pop("picture")[slot], scene.backdrop)
    nothing = jnp.zeros((size, size, 3), jnp.uint8), jnp.zeros((size, size), bool)
    over, before = lax.cond(scene.has_before, _draw_before, lambda *_: nothing, scene, depth)
    mask = jnp.where(seen, shaded["bits"][slot], 0) | jnp.where(before, BEFORE, 0).astype(jnp.uint8)
    ibug, ibug_seen, dense, dense_seen = _points(fine.head, scene.camera, head, normals, depth, before)
    return Drawn(picture=jnp.where(before[..., None], over, picture), mask=mask, count=jnp.sum(seen), maps=shaded, ibug=ibug,
                 dense=dense, ibug_seen=ibug_seen, dense_seen=dense_seen)


class _Mesh(NamedTuple):
    """Head and shirt."""

    vertices: Float[Array, "W 3"]
    triangles: Int[Array, "F 3"]
    coarse: Int[Array, "f 3"]          # of the coarse head, whose vertices come first: a quarter of the triangles, for shadows


def _shade_blocks(
    model: MorphableModel, scene: Scene, mesh: _Mesh, rows: Float[Array, "W 15"], size: int
) -> tuple[Bool[Array, "H W"], Int[Array, "H W"], dict[str, Array]]:
    """Which pixels see something, the row of each, and their colours and labels: `BLOCK` at a time, as many blocks as needed."""
    camera, light, shadows = scene.camera, scene.light, _shadow_map(scene, mesh)
    pixels, depth = project(camera, mesh.vertices)
    capacity = default_capacity(size, size, len(mesh.triangles))
    ids, _ = visible_triangles(pixels, depth, mesh.triangles, height=size, width=size, capacity=capacity,
                               perspective=camera.perspective)
    length = -(-size * size // BLOCK) * BLOCK
    slot = running_sum((ids >= 0).astype(jnp.int32)) - 1
    everywhere = jnp.arange(size * size, dtype=jnp.int32)
    order = jnp.full((length,), size * size, jnp.int32).at[jnp.where(ids >= 0, slot, length)].set(everywhere, mode="drop")
    uv_triangles = jnp.concatenate([model.uv_triangles, jnp.zeros_like(mesh.triangles[len(model.triangles):])])

    def block(pixel: Int[Array, " B"]) -> dict[str, Any]:
        triangle = ids.at[pixel].get(mode="fill", fill_value=-1)
        of_head = triangle < len(model.triangles)
        share, z = barycentrics(pixel, triangle, pixels, depth, mesh.triangles, width=size, perspective=camera.perspective)
        at = _blended(corner_planes(triangle, mesh.triangles, rows), share)
        uv = jnp.stack(_blended(corner_planes(triangle, uv_triangles, model.uv), share), axis=-1)
        normals = normalize_planes(at[:3])
        sight = sight_planes(camera, pixel, size)
        own, place = jnp.stack(at[3:6], axis=-1), jnp.stack(lamp_frame(light, at[6:9]), axis=-1)
        albedo = lax.cond(scene.textured, _from_texture, lambda _, uv, own: apply_paint(model, own, uv), scene.texture, uv, own)
        albedo = jnp.clip(jnp.where(of_head[:, None], albedo, own), 0.0, 1.0)
        facing = sum(normals[k] * light.direction[k] for k in range(3))
        lit = lax.cond(light.has_lamp, _lit_share, lambda _, places, facing: jnp.ones(len(places)), shadows, place, facing)
        radiance = face_radiance([albedo[:, k] for k in range(3)], normals, sight, light, lit, wet=at[13], inner=at[14],
                                 camera=camera)
        bits = jnp.where(of_head, HEAD + FACE * (at[12] > IN_FACE), 0).astype(jnp.uint8)
        return {"picture": [developed(channel) for channel in radiance], "depth": z, "bits": bits,
                "normals": [channel.astype(jnp.float16) for channel in normals],
                "pncc": [_sixteen(channel) for channel in at[9:12]], "uv": [_sixteen(uv[:, k]) for k in range(2)],
                "albedo_map": [_sixteen(albedo[:, k]) for k in range(3)], "lit": jnp.round(lit * 255).astype(jnp.uint8)}

    empty = jax.tree.map(lambda leaf: jnp.zeros(length, leaf.dtype), jax.eval_shape(block, order[:BLOCK]))

    def body(number: Int[Array, ""], buffers: dict[str, Any]) -> dict[str, Any]:
        made = block(lax.dynamic_slice_in_dim(order, number * BLOCK, BLOCK))
        return jax.tree.map(lambda buffer, part: lax.dynamic_update_slice_in_dim(buffer, part, number * BLOCK, 0), buffers, made)

    # a plane a channel up to here: XLA computes all of a pixel again for each channel of a stack
    planes = lax.fori_loop(0, -(-jnp.sum(ids >= 0) // BLOCK), body, empty)
    shaded = {name: jnp.stack(each, axis=-1) if isinstance(each, list) else each for name, each in planes.items()}
    return (ids >= 0).reshape(size, size), jnp.maximum(slot, 0).reshape(size, size), shaded


def _from_texture(texture: UInt8[Array, "T T 3"], uv: Float[Array, "B 2"], _: Float[Array, "B 3"]) -> Float[Array, "B 3"]:
    return srgb_to_linear(sample_texture(texture, uv) * (1 / 255))


def _sixteen(values: Float[Array, "..."]) -> Array:
    return jnp.round(jnp.clip(values, 0.0, 1.0) * WHITE16).astype(jnp.uint16)


def _blended(corners: list[list[Float[Array, " B"]]], share: Float[Array, "3 B"]) -> list[Float[Array, " B"]]:
    """Each channel at the pixels, from its values at the corners: one array a channel, which is fast on a CPU."""
    return [first * share[0] + second * share[1] + third * share[2] for first, second, third in zip(*corners, strict=True)]


def _shadow_map(scene: Scene, mesh: _Mesh) -> Float[Array, "S S"]:
    """Distance from the lamp of the first surface it meets, mm in its frame, which `lamp_frame` scales; 0 without a lamp."""
    def cast(scene: Scene) -> Float[Array, "S S"]:
        vertices = jnp.concatenate([mesh.vertices, scene.before.vertices])
        triangles = jnp.concatenate([mesh.coarse, scene.before.triangles + len(mesh.vertices)])      # padding has no area
        across, down, away = lamp_frame(scene.light, list(to_view_frame(scene.camera, vertices).T))
        return rasterize(jnp.stack([across, down], axis=-1) * SHADOW_PIXELS, away, triangles, height=SHADOW_PIXELS,
                         width=SHADOW_PIXELS, cull=False, perspective=False).depth

    return lax.cond(scene.light.has_lamp, cast, lambda _: jnp.zeros((SHADOW_PIXELS, SHADOW_PIXELS)), scene)


def _lit_share(shadows: Float[Array, "S S"], places: Float[Array, "B 3"], facing: Float[Array, " B"]) -> Float[Array, " B"]:
    """The share of the lamp that reaches places of its frame (3 x 3 percentage-closer filter); `facing`: their cosine to it."""
    slope = jnp.sqrt(jnp.clip(1.0 - facing**2, 0.0, 1.0)) / jnp.maximum(facing, 0.1)
    distance = places[:, 2] - SHADOW_BIAS - SHADOW_REACH * slope
    column, row = (jnp.floor(places[:, k] * SHADOW_PIXELS).astype(jnp.int32) for k in range(2))
    total = jnp.zeros(len(places))
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            nearest = shadows[jnp.clip(row + down, 0, SHADOW_PIXELS - 1), jnp.clip(column + across, 0, SHADOW_PIXELS - 1)]
            total = total + ((nearest <= 0.0) | (distance < nearest))
    return total / 9


def _draw_before(scene: Scene, behind: Float[Array, "H W"]) -> tuple[UInt8[Array, "H W 3"], Bool[Array, "H W"]]:
    """What stands before the head, lit, and where it is nearer than what is there. Both of its sides are seen."""
    things, size = scene.before, behind.shape[0]
    pixels, depth = project(scene.camera, things.vertices)
    fragments = rasterize(pixels, depth, things.triangles, height=size, width=size, cull=False,
                          perspective=scene.camera.perspective)
    normals = to_view_frame(scene.camera, vertex_normals(things.vertices, things.triangles))
    values = jnp.concatenate([normals, things.colors], axis=1)
    at = interpolate(fragments, pixels, depth, things.triangles, values, perspective=scene.camera.perspective)
    normals = safe_normalize(at[..., :3])
    normals = jnp.where(normals[..., 2:] < 0, -normals, normals)
    nearer = (fragments.triangle >= 0) & ((behind == 0) | (fragments.depth < behind))
    lit = irradiance([normals[..., k] for k in range(3)], scene.light, jnp.ones(behind.shape))
    return developed(at[..., 3:] * jnp.stack(lit, axis=-1)), nearer


def _points(
    model: MorphableModel, camera: Camera, head: Float[Array, "V 3"], normals: Float[Array, "W 3"], depth: Float[Array, "H W"],
    before: Bool[Array, "H W"]
) -> tuple[Array, Array, Array, Array]:
    """The 68 points, the jaw's along the visible contour, and the 468; and which of them the picture shows."""
    image = project(camera, head)[0]
    jaw = visible_contour(model, image, jnp.mean(values_at_points(model.dense, model.triangles, image), axis=0))
    fixed = jax.tree.map(lambda table: table[CONTOUR:], model.landmarks)
    ibug = jax.tree.map(lambda first, then: jnp.concatenate([first, then]), jaw, fixed)
    found = []
    for points in (ibug, model.dense):
        places = values_at_points(points, model.triangles, jnp.concatenate([head, normals[:len(head)]], axis=1))
        at = project(camera, places[:, :3])[0]
        weight = visible_weight(places[:, :3], safe_normalize(places[:, 3:]), depth, camera)
        column, row = (jnp.clip(jnp.floor(at[:, k]).astype(jnp.int32), 0, before.shape[1 - k] - 1) for k in range(2))
        found += [at, (weight > 0) & ~before[row, column]]
    return found[0], found[1], found[2], found[3]
