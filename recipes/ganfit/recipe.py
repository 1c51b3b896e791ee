"""Recipe `ganfit`: GANFIT (Gecer et al. 2019), Sections 3 and 4.1: texture from a generator, likeness from an identity network.

    E(p) = l_id L_id + l_id2 L_id^ + l_con L_con + l_pix L_pix + l_lan L_lan + Reg(p_s, p_e, p_l)          (Eq. 12)

by Adam, all coordinates at once. Starts from stage 1 of `inverse_rendering`, whose first stage is the paper's (points alone). The
second rendering (Eq. 7) shows the same person with another expression, camera and light, drawn anew in each step, and so is the
crop in which the network sees photo and rendering (not in the paper). What is moved and drawn is in `ganfit_face.py`, the terms in
`ganfit_energy.py`; networks come from `models/`.
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

from fitkit.errors import FitkitError
from fitkit.fitting.state import COEFFICIENT_BOUND, FaceState, Observation, Solution, point_count
from fitkit.models.identity.network import load_identity
from fitkit.models.photo_statistics import load_photo_statistics
from fitkit.models.texture_gan.generator import HEAD, load_generator
from fitkit.recipes.ganfit import energy, face
from fitkit.recipes.ganfit.energy import Networks, Target
from fitkit.recipes.ganfit.face import Likeness, Setting, Skin
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import FittingTables, ModelFittingConfig
from fitkit.types import MorphableModel

REPORTED = 10            # steps between two words on how far the fit is
THREADS = 2              # faces of a batch at once on a CPU: between two operations of the one it has time for the other

Progress = Callable[[float], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanfitConfig:
    """Fields of recipe `ganfit`.

    Attributes:
        texture: `gan`, or `linear` for the head's own albedo model (GANFIT, Fig. 5).
        light: `phong`, a lamp and ambient light as in the paper, or `harmonics` of three bands: nearer to the photo, but its
            colours and those of the texture take each other's place.
        network: identity network; `embedded`, or a name that `fitkit assets import identity` gave.
        weight_identity: of the likeness of photo and rendering, Eq. 8 (paper: 2.0).
        weight_second: of the likeness of photo and second rendering (paper: 2.0).
        weight_content: of the feature maps, Eq. 9 (paper: 50.0).
        weight_pixel: of the colours, Eq. 10 (paper: 1.0).
        weight_landmark: of the points, Eq. 11, pixels of the crop (paper: 0.001).
        weight_shape: of the mean squared change of the identity coefficients from stage 1's, which heeded their prior (paper: 0.05,
            from zero).
        weight_expression: of the mean squared expression weights, in deviations (paper: 0.05).
        weight_light: of the mean squared change of the light (paper: 0.01).
        weight_tint: of the mean squared change of the light's colours, brightness apart, from stage 1's: a coloured lamp and a
            texture of the other hue make the same picture (not in the paper).
        weight_style: of the mean squared distance of the generator's styles from the mean style: what the photo does not show is
            then as it mostly is (not in the paper). This and `weight_shape` count once for a person, however many photos there are.
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
    weight_shape: float = 100.0
    weight_expression: float = 0.2
    weight_light: float = 0.01
    weight_tint: float = 3.0
    weight_style: float = 1.0
    iterations: int = 200
    rate: float = 0.015
    expression_deviation: float = 0.5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What stacked faces are fitted to, and where they begin."""

    first: Likeness
    setting: Setting
    target: Target
    together: Bool[Array, ""]          # photos of one person, whose shape and texture are the mean of all (Eq. 13)
    numbers: dict[str, Array]          # the fields of the recipe that are: another value of one compiles nothing anew
    seed: Array


@partial(jax.jit, static_argnames=("harmonics",))
def _begin(
    model: MorphableModel, modes: FittingTables, networks: Networks, observations: Observation, started: FaceState,
    numbers: dict[str, Array], together: Bool[Array, ""], seed: Array, *, harmonics: bool,
) -> Task:
    first, setting = jax.vmap(partial(face.begin, skin=networks.skin, harmonics=harmonics))(started)
    target = energy.targets(model, modes, started, observations)
    return Task(first=first, setting=setting, target=target, together=together, numbers=numbers, seed=seed)


def _found_at(
    model: MorphableModel, networks: Networks, task: Task, index: Int[Array, ""] | int, likeness: Likeness
) -> dict[str, Float[Array, " B"]]:
    key = jax.random.fold_in(jax.random.key(task.seed), index)
    return energy.terms(key, model, networks, likeness, task.first, task.setting, task.target,
                               together=task.together, deviation=task.numbers["expression_deviation"])


@jax.jit
def _advance(
    model: MorphableModel, networks: Networks, task: Task, likeness: Likeness, memory: optax.OptState, index: Int[Array, ""] | int
) -> tuple[Likeness, optax.OptState]:
    """A step of Adam, the one of this number.

    Not a loop within the program: XLA for CPU (jaxlib 0.10.2) takes half as long again for the same step inside one.
    """
    def total(likeness: Likeness) -> Float[Array, ""]:
        each = energy.energy(_found_at(model, networks, task, index, likeness), task.numbers)
        # a face without a number takes no part: its gradient would be none either
        return jnp.sum(jnp.where(jnp.isfinite(each), each, 0.0))

    gradient = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0.0), jax.grad(total)(likeness))
    move, memory = optax.adam(task.numbers["rate"]).update(gradient, memory, likeness)
    likeness = inside(model, optax.apply_updates(likeness, move))
    joint = of_one_person(likeness)
    return jax.tree.map(lambda shared, own: jnp.where(task.together, shared, own), joint, likeness), memory


@jax.jit
def _finish(model: MorphableModel, networks: Networks, task: Task, likeness: Likeness) -> Solution:
    found, textures = _found_at(model, networks, task, 0, likeness), face.albedo_maps(likeness, networks.skin)
    state = jax.vmap(partial(face.settled, linear=textures is None))(likeness, task.setting)
    return Solution(state=state, losses={"total": energy.energy(found, task.numbers), **found}, texture=textures)


def inside(model: MorphableModel, likeness: Likeness) -> Likeness:
    """The likeness with its coefficients in their boxes."""
    lower, upper = (model.identity_mean + sign * COEFFICIENT_BOUND for sign in (-1.0, 1.0))
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


def solve(
    model: MorphableModel, observation: Observation, config: GanfitConfig, *, seed: int = 0, progress: Progress | None = None
) -> Solution:
    """Recipe `ganfit` on one face; `seed` is of all that is drawn, `progress` hears the share that is done."""
    stacked = jax.tree.map(lambda leaf: leaf[None], observation)
    found = solve_batch(model, stacked, jnp.ones(1, bool), config, seed=seed, progress=progress)
    return jax.tree.map(lambda leaf: leaf[0], found)


def solve_batch(
    model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: GanfitConfig, *, seed: int = 0,
    progress: Progress | None = None,
) -> Solution:
    """Recipe `ganfit` on stacked faces of different people, the active ones first; solutions stacked."""
    networks = _networks(model, config)
    started = model_fitting.solve_batch(model, observations, active, ModelFittingConfig()).state
    # what only fills the stack would cost as much as a face
    count, size = int(active.sum()), len(active)
    at_once, threads = (1, THREADS) if jax.default_backend() == "cpu" else (count, 1)
    done, turn, over = [0.0] * count, Lock(), Event()

    def some(first: int) -> Solution:
        part = slice(first, min(first + at_once, count))

        def tell(share: float) -> None:
            if over.is_set():
                raise CancelledError
            with turn:
                done[part] = [share] * (part.stop - part.start)
                if progress is not None:
                    progress(sum(done) / count)

        observed, begun = jax.tree.map(operator.itemgetter(part), (observations, started))
        return _solve(model, networks, observed, begun, config, seed, tell, together=False)

    with ThreadPoolExecutor(threads) as pool:
        try:
            solutions = list(pool.map(some, range(0, count, at_once)))
        finally:
            over.set()      # an interrupt does not wait for the faces in work
    last = jnp.minimum(jnp.arange(size), count - 1)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[last], *solutions)


def solve_person(
    model: MorphableModel, observations: Observation, config: GanfitConfig, *, seed: int = 0, progress: Progress | None = None
) -> Solution:
    """Recipe `ganfit` on stacked photos of one person; solutions stacked, shape and texture the same in all."""
    networks = _networks(model, config)
    started = model_fitting.solve_person(model, observations, ModelFittingConfig()).state
    return _solve(model, networks, observations, started, config, seed, progress, together=True)


def _solve(
    model: MorphableModel, networks: Networks, observations: Observation, started: FaceState, config: GanfitConfig, seed: int,
    progress: Progress | None, *, together: bool,
) -> Solution:
    modes = model_fitting.fitting_tables(model, point_count(observations))
    numbers = {name: jnp.asarray(value) for name, value in dataclasses.asdict(config).items() if not isinstance(value, str)}
    task = _begin(model, modes, networks, observations, started, numbers, jnp.asarray(together), jnp.asarray(seed),
                  harmonics=config.light == "harmonics")
    likeness, memory = task.first, optax.adam(config.rate).init(task.first)
    for index in range(1, config.iterations + 1):      # 0 is the number of the losses at the end
        likeness, memory = _advance(model, networks, task, likeness, memory, index)
        if index % REPORTED == 0 or index == config.iterations:
            jax.block_until_ready(likeness)
            if progress is not None:
                progress(index / config.iterations)
    return _finish(model, networks, task, likeness)
