"""What recipe `ganfit` moves, and the pictures it draws of it: GANFIT (Gecer et al. 2019), Sections 2.1 and 3.2, Eqs. 2 and 5-7.

A `Likeness` holds the coefficients of one face in one photo as Adam moves them, every coordinate of the order of one. `begin` makes
it from a fitted state, `settled` makes a state of it again; `draw` renders it. Skin takes its colour from the texture, eyes and the
mouth's inside from the linear albedo, whose vertices are closer together than texels there.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.color import linear_to_srgb
from fitkit.fitting.state import FaceState
from fitkit.geometry.camera import VIEW_TO_CAMERA, project, to_view_frame
from fitkit.geometry.pose import Pose, camera_from_pose
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.models.texture_gan.generator import GeneratorConfig, Parameters, synthesize
from fitkit.morphable.model import vertex_albedo
from fitkit.morphable.regions import triangles_of_part
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.shading import light_from_direction, sh_irradiance, shade_phong
from fitkit.rendering.texture import sample_texture
from fitkit.types import Camera, FaceParameters, MorphableModel

STEP = 10.0              # mm of camera or target, for a coordinate of one
LAMP = 1000.0            # mm of the lamp's place
LAMP_DISTANCE = 2000.0   # mm, at first
HIGHLIGHT, SHININESS = 0.05, 8.0     # of skin, under a lamp of strength one


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Likeness:
    """One face in one photo: `p_s, p_e, p_t, p_c, p_l` of GANFIT."""

    identity: Float[Array, " I"]           # standard deviations
    expression: Float[Array, " E"]         # ARKit weights
    texture: Float[Array, "..."]           # styles [L, n] of the generator, or coefficients [A] of the linear model
    camera: Float[Array, " 7"]             # position and target in the head frame, in STEP, and the logarithm of the focal length
    light: Float[Array, "..."]             # Phong: [3, 3], place in LAMP (view frame), colour, ambient; or harmonics [9, 3]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What stays as it was at the start of one face."""

    up: Float[Array, " 3"]                 # the picture's vertical in the head frame: photo and rendering are aligned in roll
    principal: Float[Array, " 2"]          # pixels
    albedo: Float[Array, " A"]             # linear coefficients, for what is not skin


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Skin:
    """Where colours come from: a generator of textures, or nothing and the linear model."""

    parameters: Parameters | None
    config: GeneratorConfig | None = dataclasses.field(metadata={"static": True})


def begin(state: FaceState, skin: Skin, *, harmonics: bool) -> tuple[Likeness, Setting]:
    """A likeness that shows the state, in the mean texture of the generator or the state's own linear one."""
    face, pose = state.face, state.pose
    camera = camera_from_pose(pose)
    position = -camera.rotation.T @ camera.translation
    target = position - camera.translation[2] * pose.rotation[2]
    texture = face.albedo
    if skin.config is not None and skin.parameters is not None:
        styles = skin.config.layers, skin.config.latent
        texture = jnp.broadcast_to(skin.parameters["style_mean"], styles)
    likeness = Likeness(
        identity=face.identity, expression=face.expression, texture=texture,
        light=face.light if harmonics else lamp_of(face.light),
        camera=jnp.concatenate([position / STEP, target / STEP, pose.log_focal[None]]))
    return likeness, Setting(up=pose.rotation[1], principal=pose.principal, albedo=face.albedo)


def pose_of(likeness: Likeness, setting: Setting) -> Pose:
    """The camera of GANFIT, `[position, target, focal]`, as a pose: from the one towards the other, upright as `setting` says."""
    position, target = likeness.camera[:3] * STEP, likeness.camera[3:6] * STEP
    back = safe_normalize(position - target)
    right = safe_normalize(jnp.cross(setting.up, back))
    rotation = jnp.stack([right, jnp.cross(back, right), back])
    origin = -rotation @ position
    depth = jnp.maximum(-origin[2], 1.0)
    log_scale = likeness.camera[6] - jnp.log(depth)
    return Pose(rotation=rotation, centre=origin[:2] * jnp.array([1.0, -1.0]) * jnp.exp(log_scale), log_scale=log_scale,
                log_focal=likeness.camera[6], principal=setting.principal, perspective=True)


def lamp_of(light: Float[Array, "9 3"]) -> Float[Array, "3 3"]:
    """The lamp and the ambient light whose first two bands are those of spherical harmonics, the lamp `LAMP_DISTANCE` away."""
    unit = light_from_direction(jnp.array([0.0, 0.0, 1.0]), ambient=0.0, strength=1.0)
    flat = light_from_direction(jnp.array([0.0, 0.0, 1.0]), ambient=1.0, strength=0.0)
    slope = light[jnp.array([3, 1, 2])] / unit[2]                 # x, y, z of each colour
    direction = safe_normalize(jnp.mean(slope, 1))
    colour = jnp.maximum(direction @ slope, 0.01)
    ambient = jnp.maximum((light[0] - colour * unit[0]) / flat[0], 0.05)
    return jnp.stack([direction * LAMP_DISTANCE / LAMP, colour, ambient])


def harmonics_of(light: Float[Array, "..."]) -> Float[Array, "9 3"]:
    """The light as spherical harmonics; of a lamp its Lambertian part."""
    if light.shape == (9, 3):
        return light
    return light_from_direction(safe_normalize(light[0]), ambient=light[2], strength=light[1])


def tint(light: Float[Array, "*B k 3"]) -> Float[Array, "*B j 3"]:
    """What each channel of the light's colours departs from grey; a lamp's place has no colour."""
    colours = light[..., 1:, :] if light.shape[-2] == 3 else light
    return colours - jnp.mean(colours, -1, keepdims=True)


def settled(likeness: Likeness, setting: Setting, *, linear: bool) -> FaceState:
    """The likeness as a state: its pose, and its light as harmonics; the albedo coefficients where it has any."""
    face = FaceParameters(identity=likeness.identity, expression=likeness.expression, light=harmonics_of(likeness.light),
                          albedo=likeness.texture if linear else setting.albedo)
    return FaceState(face=face, pose=pose_of(likeness, setting))


def albedo_maps(likeness: Likeness, skin: Skin) -> Float[Array, "B s s 3"] | None:
    """The textures of stacked faces, linear RGB (Eq. 5); None of the linear model."""
    if skin.parameters is None or skin.config is None:
        return None
    return jax.vmap(partial(synthesize, skin.parameters, config=skin.config))(likeness.texture)


def draw(
    model: MorphableModel, vertices: Float[Array, "V 3"], texture: Float[Array, "s s 3"] | None, albedo: Float[Array, " A"],
    camera: Camera, light: Float[Array, "..."], *, side: int,
) -> tuple[Float[Array, "side side 3"], Bool[Array, "side side"]]:
    """The rendering `R` of Eqs. 6 and 7: sRGB, black where the mask of the head is not.

    Args:
        model: the head.
        vertices: mm, head frame.
        texture: of the skin, linear RGB; None for the linear model everywhere.
        albedo: coefficients of the linear model.
        camera: pinhole.
        light: as in `Likeness`.
        side: pixels.
    """
    pixels, depth = project(camera, vertices)
    seen = rasterize(pixels, depth, model.triangles, height=side, width=side)
    normals = to_view_frame(camera, vertex_normals(vertices, model.triangles))
    values = jnp.concatenate([normals, to_view_frame(camera, vertices), jnp.clip(vertex_albedo(model, albedo), 0.0, 1.0)], axis=-1)
    planes = interpolate(seen, pixels, depth, model.triangles, values)
    colour = planes[..., 6:]
    if texture is not None:
        uv = interpolate(seen, pixels, depth, model.triangles, model.uv, value_triangles=model.uv_triangles)
        of_skin = triangles_of_part(model, "skin")[jnp.maximum(seen.triangle, 0)]
        colour = jnp.where(of_skin[..., None], sample_texture(texture, uv), colour)
    lit = shaded(colour, safe_normalize(planes[..., :3]), planes[..., 3:6], light,
                 viewer=-jnp.asarray(VIEW_TO_CAMERA) @ camera.translation)
    mask = seen.triangle >= 0
    return jnp.where(mask[..., None], linear_to_srgb(jnp.clip(lit, 0.0, 1.0)), 0.0), mask


def shaded(
    albedo: Float[Array, "*n 3"], normals: Float[Array, "*n 3"], places: Float[Array, "*n 3"], light: Float[Array, "..."], *,
    viewer: Float[Array, " 3"],
) -> Float[Array, "*n 3"]:
    """Phong's reflection of a lamp at a place and ambient light, or harmonics; view frame about the head's origin, mm."""
    if light.shape == (9, 3):
        return albedo * sh_irradiance(normals, light)
    return shade_phong(albedo, normals, safe_normalize(viewer - places), safe_normalize(light[0] * LAMP - places), ambient=light[2],
                       diffuse=light[1], specular=HIGHLIGHT * light[1], shininess=SHININESS)
