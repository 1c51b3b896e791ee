"""What recipe `ganfit` optimises: the parameters p of GANFIT (Gecer et al. 2019), Eq. 12, and their conversions.

    FaceState  --from_face_state-->  GanfitParameters, FixedParameters  --to_face_state-->  FaceState

`GanfitParameters` holds one face in one photo as Adam moves it, scaled so that every coordinate is of the order of one.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.fitting.state import FaceState
from fitkit.geometry.pose import Pose, camera_from_pose
from fitkit.geometry.vectors import safe_normalize
from fitkit.models.texture_gan.generator import GeneratorConfig, Parameters
from fitkit.rendering.shading import light_from_direction
from fitkit.types import FaceParameters

CAMERA_UNIT = 10.0                 # mm of camera position or target for a coordinate of 1; chosen, not tuned
LIGHT_UNIT = 1000.0                # mm of the light source's position for a coordinate of 1; chosen, not tuned
INITIAL_LIGHT_DISTANCE = 2000.0    # mm from the head's origin, of the light source at the start; chosen, not tuned
MIN_LIGHT_COLOR = 0.01             # of the light source at the start, irradiance: keeps its direction observable
MIN_AMBIENT = 0.05                 # ambient irradiance at the start


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class GanfitParameters:
    """One face in one photo: `p_s, p_e, p_t, p_c, p_l` of GANFIT, Section 3."""

    identity: Float[Array, " I"]           # p_s, standard deviations
    expression: Float[Array, " E"]         # p_e, ARKit weights
    texture: Float[Array, "..."]           # p_t: styles [L, n] of the generator (W+), or coefficients [A] of the linear model
    camera: Float[Array, " 7"]             # p_c: position and target in the head frame, CAMERA_UNIT, and log focal length (pixels)
    light: Float[Array, "..."]             # p_l: Phong [3, 3]: position in LIGHT_UNIT (view frame), colour, ambient; or SH [9, 3]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedParameters:
    """What a rendering needs besides and the optimiser leaves alone."""

    up: Float[Array, " 3"]                 # the image's vertical in the head frame, unit: the start fixes the roll
    principal: Float[Array, " 2"]          # principal point, pixels
    albedo: Float[Array, " A"]             # linear albedo coefficients, for parts that are not skin


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TextureModel:
    """The GAN texture model G (Section 3.1, Eq. 5); both fields None for the head's linear albedo model (Eq. 1)."""

    parameters: Parameters | None
    config: GeneratorConfig | None = dataclasses.field(metadata={"static": True})


def from_face_state(
    state: FaceState, texture_model: TextureModel, *, harmonics: bool
) -> tuple[GanfitParameters, FixedParameters]:
    """Parameters that render as `state` does, the texture at the generator's mean style or at the state's linear albedo.

    Args:
        state: the fitted start.
        texture_model: the generator or the linear model.
        harmonics: keep the light as spherical harmonics instead of a point light and ambient light.
    """
    face, pose = state.face, state.pose
    camera = camera_from_pose(pose)
    position = -camera.rotation.T @ camera.translation
    target = position - camera.translation[2] * pose.rotation[2]
    texture = face.albedo
    if texture_model.config is not None and texture_model.parameters is not None:
        styles = texture_model.config.layers, texture_model.config.latent
        texture = jnp.broadcast_to(texture_model.parameters["style_mean"], styles)
    parameters = GanfitParameters(
        identity=face.identity, expression=face.expression, texture=texture,
        light=face.light if harmonics else phong_from_harmonics(face.light),
        camera=jnp.concatenate([position / CAMERA_UNIT, target / CAMERA_UNIT, pose.log_focal[None]]))
    return parameters, FixedParameters(up=pose.rotation[1], principal=pose.principal, albedo=face.albedo)


def to_face_state(parameters: GanfitParameters, fixed: FixedParameters, *, linear: bool) -> FaceState:
    """The parameters as a `FaceState`: camera as pose, light as spherical harmonics.

    Args:
        parameters: of one face.
        fixed: of the same face.
        linear: `parameters.texture` holds coefficients of the linear albedo model; else the albedo stays the start's.
    """
    face = FaceParameters(identity=parameters.identity, expression=parameters.expression, light=to_harmonics(parameters.light),
                          albedo=parameters.texture if linear else fixed.albedo)
    return FaceState(face=face, pose=pose_of(parameters, fixed))


def pose_of(parameters: GanfitParameters, fixed: FixedParameters) -> Pose:
    """GANFIT's camera, position, target and focal length (Section 3.2), as a pose: a look-at camera, upright along `fixed.up`."""
    position, target = parameters.camera[:3] * CAMERA_UNIT, parameters.camera[3:6] * CAMERA_UNIT
    back = safe_normalize(position - target)
    right = safe_normalize(jnp.cross(fixed.up, back))
    rotation = jnp.stack([right, jnp.cross(back, right), back])
    origin = -rotation @ position
    depth = jnp.maximum(-origin[2], 1.0)
    log_scale = parameters.camera[6] - jnp.log(depth)
    return Pose(rotation=rotation, centre=origin[:2] * jnp.array([1.0, -1.0]) * jnp.exp(log_scale), log_scale=log_scale,
                log_focal=parameters.camera[6], principal=fixed.principal, perspective=True)


def phong_from_harmonics(light: Float[Array, "9 3"]) -> Float[Array, "3 3"]:
    """Point light and ambient light with the first two SH bands of `light`, the source `INITIAL_LIGHT_DISTANCE` away.

    Returns:
        position in LIGHT_UNIT (view frame), colour, ambient colour; irradiance on a surface that faces the source.
    """
    unit = light_from_direction(jnp.array([0.0, 0.0, 1.0]), ambient=0.0, strength=1.0)
    flat = light_from_direction(jnp.array([0.0, 0.0, 1.0]), ambient=1.0, strength=0.0)
    slope = light[jnp.array([3, 1, 2])] / unit[2]                 # x, y, z of each colour
    direction = safe_normalize(jnp.mean(slope, 1))
    colour = jnp.maximum(direction @ slope, MIN_LIGHT_COLOR)
    ambient = jnp.maximum((light[0] - colour * unit[0]) / flat[0], MIN_AMBIENT)
    return jnp.stack([direction * INITIAL_LIGHT_DISTANCE / LIGHT_UNIT, colour, ambient])


def to_harmonics(light: Float[Array, "..."]) -> Float[Array, "9 3"]:
    """Spherical-harmonic irradiance of either kind of light; of a point light its Lambertian part, as if infinitely far."""
    if light.shape == (9, 3):
        return light
    return light_from_direction(safe_normalize(light[0]), ambient=light[2], strength=light[1])


def tint(light: Float[Array, "*B k 3"]) -> Float[Array, "*B j 3"]:
    """Each coefficient of the light's colours minus its mean over RGB: 0 for grey light. A point light's position has no colour."""
    colours = light[..., 1:, :] if light.shape[-2] == 3 else light
    return colours - jnp.mean(colours, -1, keepdims=True)
