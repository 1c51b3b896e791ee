"""Recipe `ganfit`: GANFIT (Gecer et al. 2019), Sections 3 and 4.1: texture from a generator, likeness from an identity network.

    E(p) = l_id L_id + l_id2 L_id^ + l_con L_con + l_pix L_pix + l_lan L_lan + Reg(p_s, p_e, p_l)          (Eq. 12)

by Adam, all coordinates at once. Starts from stage 1 of `inverse_rendering`, whose first stage is the paper's (points alone). The
second rendering (Eq. 7) shows the same person with another expression, camera and light, drawn anew in each step. What is moved and
drawn is in `ganfit_face.py`; networks come from `models/`.
"""

import dataclasses
import operator
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from fitkit import losses, solvers
from fitkit import pose as poses
from fitkit.errors import FitkitError
from fitkit.face_crop import align, five_points
from fitkit.geometry import rotation_from_euler, safe_norm
from fitkit.models.generator import HEAD, load_generator
from fitkit.models.identity import Identity, activations, load_identity
from fitkit.models.photo_statistics import PhotoStatistics, load_photo_statistics
from fitkit.models.photo_statistics import draw as random_of
from fitkit.morphable import points_on, shape
from fitkit.pose import Pose
from fitkit.recipes import ganfit_face, landmarks, model_fitting
from fitkit.recipes import state as states
from fitkit.recipes.ganfit_face import Likeness, Setting, Skin
from fitkit.recipes.landmarks import FrozenPoints
from fitkit.recipes.model_fitting import FittingModes, ModelFittingConfig
from fitkit.recipes.state import FaceState, Observation, Solution
from fitkit.types import MorphableModel

SECOND_SIDE = 128        # pixels of the second rendering: a little above what the network looks at
SECOND_FIELD = 205.0     # mm across it, at the head's origin
NEAREST = 400.0          # mm, least distance of its camera
OVERSAMPLING = 2         # samples along a side of each pixel of the network's crop


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanfitConfig:
    """Fields of recipe `ganfit`.

    Attributes:
        texture: `gan`, or `linear` for the head's own albedo model (GANFIT, Fig. 5).
        light: `phong`, a lamp and ambient light as in the paper, or `harmonics` of three bands.
        network: identity network; `embedded`, or a name that `fitkit assets import identity` gave.
        weight_identity: of the likeness of photo and rendering, Eq. 8 (paper: 2.0).
        weight_second: of the likeness of photo and second rendering (paper: 2.0).
        weight_content: of the feature maps, Eq. 9 (paper: 50.0).
        weight_pixel: of the colours, Eq. 10 (paper: 1.0).
        weight_landmark: of the points, Eq. 11, pixels of the crop (paper: 0.001).
        weight_shape: of the mean squared change of the identity coefficients from stage 1's, which heeded their prior, and of the
            expression weights, in deviations (paper: 0.05, of both from zero).
        weight_light: of the mean squared change of the light (paper: 0.01).
        weight_style: of the mean squared distance of the generator's styles from the mean style: what the photo does not show is
            then as it mostly is (not in the paper).
        iterations: steps of Adam.
        rate: learning rate (paper: 0.01).
        expression_deviation: of the second rendering's expression, in deviations of each weight (paper: 0.5).
    """

    texture: Literal["gan", "linear"] = "gan"
    light: Literal["phong", "harmonics"] = "phong"
    network: str = "embedded"
    weight_identity: float = 1.0
    weight_second: float = 1.0
    weight_content: float = 50.0
    weight_pixel: float = 4.0
    weight_landmark: float = 0.1
    weight_shape: float = 0.2
    weight_light: float = 0.01
    weight_style: float = 4.0
    iterations: int = 150
    rate: float = 0.01
    expression_deviation: float = 0.5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What one photo asks for."""

    photo: Float[Array, "S S 3"]                       # sRGB, 0 outside the photo
    weight: Float[Array, "S S"]                        # of its pixels: how far they are face skin or eyes in the starting pose
    five: Float[Array, "5 2"]                          # eyes, nose, corners of the mouth: pixels of the crop
    mix: Float[Array, "3 3"]                           # of a rendering's colours: none, or their mean for a grey photo
    points: FrozenPoints
    embedding: Float[Array, " d"]
    maps: tuple[Float[Array, "h w c"], ...]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """Everything learned that the fit looks through."""

    skin: Skin
    identity: Identity
    photos: PhotoStatistics


def terms(
    key: Array, model: MorphableModel, networks: Networks, likeness: Likeness, first: Likeness, setting: Setting, target: Target, *,
    deviation: Float[Array, ""],
) -> dict[str, Float[Array, " B"]]:
    """The unweighted terms of Eq. 12 of stacked faces; the arguments from `likeness` to `target` are stacked.

    `deviation` is that of the second rendering's expression.
    """
    def pictures(key: Array, likeness: Likeness, setting: Setting, target: Target, texture: Array | None) -> tuple[Array, ...]:
        return _pictures(key, model, networks.photos, deviation, likeness, setting, target, texture)

    keys, textures = jax.random.split(key, len(likeness.identity)), ganfit_face.albedo_maps(likeness, networks.skin)
    rendering, mask, crop, second, point_error = solvers.over_faces(pictures, keys, likeness, setting, target, textures)
    embedding, maps = activations(networks.identity, jnp.concatenate([crop, second]))
    count = len(crop)
    scale = model.expression_scale
    generated = networks.skin.config is not None
    return {
        "identity": jax.vmap(losses.identity)(embedding[:count], target.embedding),
        "second": jax.vmap(losses.identity)(embedding[count:], target.embedding),
        "content": jax.vmap(losses.content)([each[:count] for each in maps], target.maps),
        "pixel": jax.vmap(losses.pixel)(rendering, target.photo, target.weight * mask),
        "landmark": point_error,
        "shape": jnp.mean(jnp.square(likeness.identity - first.identity), 1)
        + jnp.mean(jnp.square(likeness.expression / scale), 1),
        "light": jnp.mean(jnp.square(likeness.light - first.light), (1, 2)),
        "style": jnp.mean(jnp.square(likeness.texture - first.texture), (1, 2)) if generated else jnp.zeros(count),
    }


def _pictures(
    key: Array, model: MorphableModel, photos: PhotoStatistics, deviation: Float[Array, ""], likeness: Likeness, setting: Setting,
    target: Target, texture: Float[Array, "s s 3"] | None,
) -> tuple[Array, ...]:
    """Both renderings of one face: the first whole with its mask, the crops of both, and how far its points are off."""
    state = ganfit_face.settled(likeness, setting, linear=texture is None)
    vertices = shape(model, likeness.identity, likeness.expression)
    rendering, mask = ganfit_face.draw(model, vertices, texture, state.face.albedo, poses.to_camera(state.pose), likeness.light,
                                       side=target.photo.shape[0])
    grounds, keys = jax.random.split(key)
    ground = jax.random.uniform(grounds, (2, 1, 1, 1))           # no likeness may lean on what stands behind the head
    rendering = rendering @ target.mix.T
    crop = align(jnp.where(mask[..., None], rendering, ground[0]), target.five, samples=OVERSAMPLING)
    second = _second(keys, model, photos, deviation, likeness, state, texture, ground[1]) @ target.mix.T
    off = safe_norm(landmarks.projected(state, target.points.modes) - target.points.target)
    weight = target.points.weight
    return rendering, mask, crop, second, jnp.sum(weight * off) / jnp.maximum(jnp.sum(weight), 1e-6)


def _second(
    key: Array, model: MorphableModel, photos: PhotoStatistics, deviation: Float[Array, ""], likeness: Likeness, state: FaceState,
    texture: Float[Array, "s s 3"] | None, ground: Float[Array, "1 1 1"],
) -> Float[Array, "112 112 3"]:
    """The crop of Eq. 7: the person with a random expression, before a random camera, in a random light."""
    ways, glow, face = jax.random.split(key, 3)
    expression = deviation * model.expression_scale * jax.random.normal(face, model.expression_scale.shape)
    expression = jnp.clip(expression, model.expression_lower, model.expression_upper)
    yaw, pitch, log_distance = random_of(ways, photos.camera)
    distance = jnp.maximum(jnp.exp(log_distance), NEAREST)
    pose = Pose(rotation=rotation_from_euler(jnp.deg2rad(yaw), jnp.deg2rad(pitch), 0.0), centre=jnp.zeros(2), perspective=True,
                log_scale=jnp.log(SECOND_SIDE / SECOND_FIELD), log_focal=jnp.log(distance * SECOND_SIDE / SECOND_FIELD),
                principal=jnp.full(2, SECOND_SIDE / 2))
    vertices = shape(model, likeness.identity, expression)
    light = random_of(glow, photos.light).reshape(9, 3)
    picture, mask = ganfit_face.draw(model, vertices, texture, state.face.albedo, poses.to_camera(pose), light, side=SECOND_SIDE)
    points = points_on(model.landmarks, model.triangles, vertices)
    five = five_points(poses.project_view(pose, poses.turn(pose, points)))
    return align(jnp.where(mask[..., None], picture, ground), five, samples=OVERSAMPLING)


def energy(found: dict[str, Float[Array, " B"]], numbers: dict[str, Array]) -> Float[Array, " B"]:
    """Eq. 12."""
    return sum((numbers[f"weight_{name}"] * value for name, value in found.items()), jnp.zeros(()))


def _targets(
    model: MorphableModel, modes: FittingModes, identity: Identity, started: FaceState, observations: Observation
) -> Target:
    """What stacked photos ask for, seen from their starting states."""
    config = ModelFittingConfig()

    def one(state: FaceState, observation: Observation) -> tuple[Any, ...]:
        photo = jnp.nan_to_num(observation.crop)
        view = model_fitting.freeze_view(observation, state, model, modes, config)
        column, row = view.pixels.position.astype(int)
        weight = jnp.zeros(photo.shape[:2]).at[row, column].add(view.pixels.weight, mode="drop")
        five = five_points(observation.ibug)
        return photo, weight, five, view.pixels.mix, view.points, align(photo, five, samples=OVERSAMPLING)

    photo, weight, five, mix, points, crops = solvers.over_faces(one, started, observations)
    embedding, maps = activations(identity, crops)
    return Target(photo=photo, weight=weight, five=five, mix=mix, points=points, embedding=embedding, maps=maps)


@partial(jax.jit, static_argnames=("harmonics",))
def _fit(
    model: MorphableModel, modes: FittingModes, networks: Networks, observations: Observation, started: FaceState,
    numbers: dict[str, Array], together: Bool[Array, ""], seed: Array, *, harmonics: bool,
) -> Solution:
    """Adam on stacked faces: of different people, or `together` of one, whose shape and texture are the mean of all (Eq. 13).

    `numbers` are the fields of the recipe that are; another value of one, or another seed, compiles nothing anew.
    """
    first, setting = jax.vmap(partial(ganfit_face.begin, skin=networks.skin, harmonics=harmonics))(started)
    target = _targets(model, modes, networks.identity, started, observations)
    optimizer = optax.adam(numbers["rate"])
    key_of = partial(jax.random.fold_in, jax.random.key(seed))

    def found_at(key: Array, likeness: Likeness) -> dict[str, Array]:
        return terms(key, model, networks, likeness, first, setting, target, deviation=numbers["expression_deviation"])

    def total(key: Array, likeness: Likeness) -> Float[Array, ""]:
        each = energy(found_at(key, likeness), numbers)
        # a face without a number takes no part: its gradient would be none either
        return jnp.sum(jnp.where(jnp.isfinite(each), each, 0.0))

    def step(index: Array, carry: tuple[Likeness, optax.OptState]) -> tuple[Likeness, optax.OptState]:
        likeness, memory = carry
        gradient = jax.grad(total, argnums=1)(key_of(index), likeness)
        gradient = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0.0), gradient)
        move, memory = optimizer.update(gradient, memory, likeness)
        likeness = inside(model, optax.apply_updates(likeness, move))
        joint = of_one_person(likeness)
        return jax.tree.map(lambda shared, own: jnp.where(together, shared, own), joint, likeness), memory

    likeness, _ = jax.lax.fori_loop(1, numbers["iterations"] + 1, step, (first, optimizer.init(first)))
    found, textures = found_at(key_of(0), likeness), ganfit_face.albedo_maps(likeness, networks.skin)
    state = jax.vmap(partial(ganfit_face.settled, linear=textures is None))(likeness, setting)
    return Solution(state=state, losses={"total": energy(found, numbers), **found}, texture=textures)


def inside(model: MorphableModel, likeness: Likeness) -> Likeness:
    """The likeness with its coefficients in their boxes."""
    lower, upper = (model.identity_mean + sign * states.COEFFICIENT_BOUND for sign in (-1.0, 1.0))
    light = likeness.light
    if light.shape[-2:] == (3, 3):      # no lamp takes light away
        light = light.at[..., 1:, :].set(jnp.maximum(light[..., 1:, :], 0.0))
    return dataclasses.replace(
        likeness, identity=jnp.clip(likeness.identity, lower, upper), light=light,
        expression=jnp.clip(likeness.expression, model.expression_lower, model.expression_upper))


def of_one_person(likeness: Likeness) -> Likeness:
    """Shape and texture of every photo replaced by their mean (Eq. 13, which prints the sum)."""
    def mean(stack: Float[Array, "B *n"]) -> Float[Array, "B *n"]:
        return jnp.broadcast_to(jnp.mean(stack, 0, keepdims=True), stack.shape)

    return dataclasses.replace(likeness, identity=mean(likeness.identity), texture=mean(likeness.texture))


def _networks(model: MorphableModel, config: GanfitConfig) -> Networks:
    skin = Skin(parameters=None, config=None)
    if config.texture == "gan":
        if model.name != HEAD:
            raise FitkitError("E_HEAD", f"the texture generator paints the UV layout of head {HEAD}, not that of {model.name}; fit "
                              "this head with --set texture=linear (in Python texture='linear')")
        parameters, plan = load_generator()
        skin = Skin(parameters=parameters, config=plan)
    return Networks(skin=skin, identity=load_identity(name=config.network), photos=load_photo_statistics())


def solve(model: MorphableModel, observation: Observation, config: GanfitConfig, *, seed: int = 0) -> Solution:
    """Recipe `ganfit` on one face; `seed` is of the second renderings."""
    stacked = jax.tree.map(lambda leaf: leaf[None], observation)
    return jax.tree.map(lambda leaf: leaf[0], solve_batch(model, stacked, jnp.ones(1, bool), config, seed=seed))


def solve_batch(
    model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: GanfitConfig, *, seed: int = 0
) -> Solution:
    """Recipe `ganfit` on stacked faces of different people, the active ones first; solutions stacked."""
    networks = _networks(model, config)
    started = model_fitting.solve_batch(model, observations, active, ModelFittingConfig()).state
    # what only fills the stack would cost as much as a face; a single face keeps a CPU's cores busy, and is compiled already
    count, size = int(active.sum()), len(active)
    at_once = 1 if jax.default_backend() == "cpu" else count
    parts = [slice(first, min(first + at_once, count)) for first in range(0, count, at_once)]
    solutions = []
    for part in parts:
        some, begun = jax.tree.map(operator.itemgetter(part), (observations, started))
        solutions.append(_solve(model, networks, some, begun, config, seed, together=False))
    last = jnp.minimum(jnp.arange(size), count - 1)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[last], *solutions)


def solve_person(model: MorphableModel, observations: Observation, config: GanfitConfig, *, seed: int = 0) -> Solution:
    """Recipe `ganfit` on stacked photos of one person; solutions stacked, shape and texture the same in all."""
    networks = _networks(model, config)
    started = model_fitting.solve_person(model, observations, ModelFittingConfig()).state
    return _solve(model, networks, observations, started, config, seed, together=True)


def _solve(
    model: MorphableModel, networks: Networks, observations: Observation, started: FaceState, config: GanfitConfig, seed: int, *,
    together: bool,
) -> Solution:
    modes = model_fitting.fitting_modes(model, states.point_count(observations))
    numbers = {name: jnp.asarray(value) for name, value in dataclasses.asdict(config).items() if not isinstance(value, str)}
    return _fit(model, modes, networks, observations, started, numbers, jnp.asarray(together), jnp.asarray(seed),
                harmonics=config.light == "harmonics")
