"""Recipe `ganfit`: GANFIT (Gecer et al. 2019), Sections 3 and 4.1: texture by a generator, identity by a face recognition network.

    E(p) = l_id L_id + l_id2 L_id^ + l_con L_con + l_pix L_pix + l_lan L_lan + l_reg Reg(p_s, p_e, p_l)          (Eq. 12)

minimised by Adam over all of p at once, from stage 1 of `inverse_rendering`, whose own first stage is the paper's (landmarks alone,
Section 3.4). The second rendering (Eq. 7) shows the same person with another expression, camera and light, drawn anew in each step;
so is the crop in which the network sees photo and renderings (not in the paper). At the end stage 2 of `inverse_rendering` refines
the fitted surface, so that it carries the photo's wrinkles (not in the paper). The loop stands here; what is optimised is in
`parameters.py`, the renderer in `rendering.py`, the terms in `energy.py`, the networks in `models/`. `paper.toml` holds the paper's
values.
"""

import dataclasses
import operator
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from threading import Event, Lock
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.fitting.state import (
    COEFFICIENT_BOUND,
    FaceState,
    FitStep,
    Observation,
    Solution,
    Watch,
    point_count,
    rasterize_state,
)
from fitkit.models import heads
from fitkit.models.identity.network import load_identity
from fitkit.models.photo_statistics import load_photo_statistics
from fitkit.models.texture_gan.generator import HEAD, load_generator
from fitkit.recipes.ganfit.energy import InputImage, Networks, energy, input_images, loss_terms
from fitkit.recipes.ganfit.parameters import FixedParameters, GanfitParameters, TextureModel, from_face_state, to_face_state
from fitkit.recipes.ganfit.rendering import albedo_maps
from fitkit.recipes.inverse_rendering import geometry_refinement, model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import FittingTables, ModelFittingConfig
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.types import MorphableModel

PROGRESS_INTERVAL = 10   # steps between two calls of `progress` or `watch`; chosen, not tuned
THREADS = 2              # faces fitted at once on a CPU: one step leaves cores idle between its operations

Progress = Callable[[float], None]      # called with the completed fraction in [0, 1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanfitConfig:
    """Fields of recipe `ganfit`; weights are those of Eq. 12, the paper's values (Section 4.1) in brackets.

    Attributes:
        texture: `gan`, the generator; or `linear`, the head's own albedo model (Fig. 5i).
        light: `phong`, a point light and ambient light as in the paper; or `harmonics` of three bands: nearer to the photo, but the
            colours of light and texture are then less well told apart.
        learned_points: in stage 1, take what 468 points were found to tell of a face (paper: no).
        network: identity network: `embedded` (dlib's), or a name that `fitkit assets import identity` gave.
        weight_identity: of 1 - cosine between the embeddings of photo and rendering, Eq. 8 (paper: 2.0).
        weight_second: of the same with the second rendering (paper: 2.0).
        weight_content: of the distance between feature maps, Eq. 9 (paper: 50.0).
        weight_pixel: of the mean absolute difference of sRGB in [0, 1], Eq. 10 (paper: 1.0).
        weight_landmark: of the mean distance between landmarks, Eq. 11, pixels of the crop (paper: 0.001).
        weight_shape: of the mean squared difference of the identity coefficients from stage 1's, which carries their prior (paper:
            0.05, from zero).
        weight_expression: of the mean squared expression weights, in units of their prior scale (paper: 0.05).
        weight_light: of the mean squared change of the light's coefficients from the start's (paper: 0.01).
        weight_tint: of the mean squared change of the light's colours, brightness apart, from the start's: a coloured light and a
            texture of the opposite hue give the same image (not in the paper).
        weight_style: of the mean squared distance of the generator's styles from the mean style: keeps texture that the photo does
            not show typical (not in the paper). This and `weight_shape` count once for a person, however many photos there are.
        iterations: steps of Adam (the paper gives seconds, not steps).
        rate: learning rate of Adam (paper: 0.01).
        expression_deviation: sigma of the second rendering's expression, in units of each weight's prior scale (paper: 0.5,
            Section 3.2).
    """

    texture: Literal["gan", "linear"] = "gan"
    light: Literal["phong", "harmonics"] = "phong"
    learned_points: bool = True
    network: str = "embedded"
    weight_identity: float = 1.0
    weight_second: float = 1.0
    weight_content: float = 50.0
    weight_pixel: float = 4.0
    weight_landmark: float = 0.1
    weight_shape: float = 100.0
    weight_expression: float = 0.2
    weight_light: float = 0.01
    weight_tint: float = 3.0
    weight_style: float = 1.0
    iterations: int = 150
    rate: float = 0.015
    expression_deviation: float = 0.5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FittingProblem:
    """Everything that stays the same from step to step, of stacked faces."""

    initial: GanfitParameters
    fixed: FixedParameters
    image: InputImage
    same_person: Bool[Array, ""]           # the photos show one person: shape and texture are their mean in all (Eq. 13)
    hyperparameters: dict[str, Array]      # the recipe's numeric fields; arguments, so that another value recompiles nothing
    seed: Array


@partial(jax.jit, static_argnames=("harmonics",))
def _set_up(
    model: MorphableModel, modes: FittingTables, networks: Networks, observations: Observation, started: FaceState,
    hyperparameters: dict[str, Array], same_person: Bool[Array, ""], seed: Array, *, harmonics: bool,
) -> FittingProblem:
    convert = partial(from_face_state, texture_model=networks.texture_model, harmonics=harmonics)
    initial, fixed = jax.vmap(convert)(started)
    image = input_images(model, modes, started, observations)
    return FittingProblem(
        initial=initial, fixed=fixed, image=image, same_person=same_person, hyperparameters=hyperparameters, seed=seed)


def _terms_of_step(
    model: MorphableModel, networks: Networks, problem: FittingProblem, step: Int[Array, ""] | int, parameters: GanfitParameters
) -> dict[str, Float[Array, " B"]]:
    key = jax.random.fold_in(jax.random.key(problem.seed), step)
    return loss_terms(key, model, networks, parameters, problem.initial, problem.fixed, problem.image,
                      same_person=problem.same_person, expression_deviation=problem.hyperparameters["expression_deviation"])


@jax.jit
def _adam_step(
    model: MorphableModel, networks: Networks, problem: FittingProblem, parameters: GanfitParameters,
    optimizer_state: optax.OptState, step: Int[Array, ""] | int,
) -> tuple[GanfitParameters, optax.OptState]:
    """One step of Adam.

    Not a loop within the program: XLA for CPU (jaxlib 0.10.2) takes half as long again for the same step inside one.
    """
    def total(parameters: GanfitParameters) -> Float[Array, ""]:
        each = energy(_terms_of_step(model, networks, problem, step, parameters), problem.hyperparameters)
        # faces with a non-finite loss are masked: their gradient would not be finite either
        return jnp.sum(jnp.where(jnp.isfinite(each), each, 0.0))

    gradient = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0.0), jax.grad(total)(parameters))
    update, optimizer_state = optax.adam(problem.hyperparameters["rate"]).update(gradient, optimizer_state, parameters)
    parameters = clip_to_bounds(model, optax.apply_updates(parameters, update))
    averaged = average_over_photos(parameters)
    chosen = jax.tree.map(lambda shared, own: jnp.where(problem.same_person, shared, own), averaged, parameters)
    return chosen, optimizer_state


@jax.jit
def _to_solution(model: MorphableModel, networks: Networks, problem: FittingProblem, parameters: GanfitParameters) -> Solution:
    terms, textures = _terms_of_step(model, networks, problem, 0, parameters), albedo_maps(parameters, networks.texture_model)
    state = jax.vmap(partial(to_face_state, linear=textures is None))(parameters, problem.fixed)
    return Solution(state=state, losses={"total": energy(terms, problem.hyperparameters), **terms}, texture=textures)


def clip_to_bounds(model: MorphableModel, parameters: GanfitParameters) -> GanfitParameters:
    """The parameters with shape and expression coefficients inside their bounds, and no negative colour of a point light."""
    lower, upper = (model.identity_mean + sign * COEFFICIENT_BOUND for sign in (-1.0, 1.0))
    light = parameters.light
    if light.shape[-2:] == (3, 3):
        light = light.at[..., 1:, :].set(jnp.maximum(light[..., 1:, :], 0.0))
    return dataclasses.replace(
        parameters, identity=jnp.clip(parameters.identity, lower, upper), light=light,
        expression=jnp.clip(parameters.expression, model.expression_lower, model.expression_upper))


def average_over_photos(parameters: GanfitParameters) -> GanfitParameters:
    """Shape and texture of every photo replaced by their mean (Eq. 13, which prints the sum)."""
    def mean(stack: Float[Array, "B *n"]) -> Float[Array, "B *n"]:
        return jnp.broadcast_to(jnp.mean(stack, 0, keepdims=True), stack.shape)

    return dataclasses.replace(parameters, identity=mean(parameters.identity), texture=mean(parameters.texture))


def _load_networks(model: MorphableModel, config: GanfitConfig) -> Networks:
    texture_model = TextureModel(parameters=None, config=None)
    if config.texture == "gan":
        if model.name != HEAD and not heads.wears_own_layout(model):
            raise FitkitError("E_HEAD", f"the texture generator paints the UV layout of head {HEAD}, not that of {model.name}; fit "
                              "this head with --set texture=linear (in Python texture='linear')")
        weights, generator = load_generator()
        texture_model = TextureModel(parameters=weights, config=generator)
    return Networks(
        texture_model=texture_model, identity=load_identity(name=config.network), photos=load_photo_statistics())


def _initial_stage(config: GanfitConfig) -> ModelFittingConfig:
    return ModelFittingConfig(learned_points=config.learned_points)


def solve(
    model: MorphableModel, observation: Observation, config: GanfitConfig, *, seed: int = 0, progress: Progress | None = None,
    watch: Watch | None = None,
) -> Solution:
    """Recipe `ganfit` on one face.

    Args:
        model: the head.
        observation: the photo's crop and its points.
        config: fields of the recipe.
        seed: of everything random.
        progress: called with the completed fraction in [0, 1].
        watch: called after every tenth step of Adam.

    Raises:
        FitkitError: E_HEAD, the generator paints another head; E_DATA, a network is missing or damaged.
    """
    networks, stacked = _load_networks(model, config), jax.tree.map(lambda leaf: leaf[None], observation)
    started = model_fitting.solve_batch(model, stacked, jnp.ones(1, bool), _initial_stage(config)).state
    found = _solve(model, networks, stacked, started, config, seed, progress, same_person=False, watch=watch)
    return jax.tree.map(lambda leaf: leaf[0], found)


def solve_batch(
    model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: GanfitConfig, *, seed: int = 0,
    progress: Progress | None = None,
) -> Solution:
    """Recipe `ganfit` on stacked faces of different people, the active ones first; solutions stacked. As `solve` otherwise.

    Inactive faces are not fitted: their solution repeats the last active one.
    """
    networks = _load_networks(model, config)
    started = model_fitting.solve_batch(model, observations, active, _initial_stage(config)).state
    count, size = int(active.sum()), len(active)
    at_once, threads = (1, THREADS) if jax.default_backend() == "cpu" else (count, 1)
    fractions, lock, stopped = [0.0] * count, Lock(), Event()

    def solve_part(start: int) -> Solution:
        part = slice(start, min(start + at_once, count))

        def report(fraction: float) -> None:
            if stopped.is_set():
                raise CancelledError
            with lock:
                fractions[part] = [fraction] * (part.stop - part.start)
                if progress is not None:
                    progress(sum(fractions) / count)

        observed, initial = jax.tree.map(operator.itemgetter(part), (observations, started))
        return _solve(model, networks, observed, initial, config, seed, report, same_person=False)

    with ThreadPoolExecutor(threads) as pool:
        try:
            solutions = list(pool.map(solve_part, range(0, count, at_once)))
        finally:
            stopped.set()      # after an interrupt, threads end at their next report instead of fitting to the end
    last = jnp.minimum(jnp.arange(size), count - 1)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[last], *solutions)


def solve_person(
    model: MorphableModel, observations: Observation, config: GanfitConfig, *, seed: int = 0, progress: Progress | None = None
) -> Solution:
    """Recipe `ganfit` on stacked photos of one person; solutions stacked, all of one shape and texture. As `solve` otherwise."""
    networks = _load_networks(model, config)
    started = model_fitting.solve_person(model, observations, _initial_stage(config)).state
    return _solve(model, networks, observations, started, config, seed, progress, same_person=True)


def _solve(
    model: MorphableModel, networks: Networks, observations: Observation, started: FaceState, config: GanfitConfig, seed: int,
    progress: Progress | None, *, same_person: bool, watch: Watch | None = None,
) -> Solution:
    modes = model_fitting.fitting_tables(model, point_count(observations), ModelFittingConfig())
    hyperparameters = {name: jnp.asarray(value) for name, value in dataclasses.asdict(config).items()
                       if not isinstance(value, str | bool)}
    problem = _set_up(model, modes, networks, observations, started, hyperparameters, jnp.asarray(same_person), jnp.asarray(seed),
                      harmonics=config.light == "harmonics")
    parameters, optimizer_state = problem.initial, optax.adam(config.rate).init(problem.initial)

    def tell(step: int) -> None:
        if watch is not None:
            first = jax.tree.map(lambda leaf: leaf[0], _to_solution(model, networks, problem, parameters))
            watch(FitStep(stage="Adam", step=step, most=config.iterations, loss=float(first.losses["total"]), state=first.state,
                          texture=first.texture))

    tell(0)
    for step in range(1, config.iterations + 1):      # step 0 seeds the losses at the end
        parameters, optimizer_state = _adam_step(model, networks, problem, parameters, optimizer_state, step)
        if step % PROGRESS_INTERVAL == 0 or step == config.iterations:
            jax.block_until_ready(parameters)
            if progress is not None:
                progress(step / config.iterations)
            tell(step)
    return _with_wrinkles(model, observations, _to_solution(model, networks, problem, parameters))


def _with_wrinkles(model: MorphableModel, observations: Observation, solutions: Solution) -> Solution:
    """Stacked solutions with the displacement of each photo's pixels that stage 2 of `inverse_rendering` finds."""
    details = []
    for i in range(len(observations.principal)):
        state, photo = jax.tree.map(operator.itemgetter(i), (solutions.state, observations.crop))
        seen = _rasterize(state, model, size=photo.shape[0])
        details.append(geometry_refinement.refine(model, state, photo, seen, config=GeometryRefinementConfig()))
    return dataclasses.replace(solutions, detail=jax.tree.map(lambda *leaves: jnp.stack(leaves), *details))


_rasterize = quick_jit(static_argnames=("size",))(rasterize_state)
