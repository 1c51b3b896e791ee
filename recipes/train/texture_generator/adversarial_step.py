"""One step of training the texture generator: state, and the jitted updates that `texture_generator.py` calls in turn.

Four updates: `warm` (reconstruction alone), `play` (the adversarial game with reconstruction beside it), and the two lazy
regularisers `penalise` (R1) and `straighten` (path lengths). Maps come as sRGB in [0, 1].
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fitkit.models.parameters import with_parameters
from fitkit.models.texture_gan.discriminator import Discriminator, initial_discriminator
from fitkit.models.texture_gan.generator import Generator, GeneratorConfig, Parameters, initial_parameters
from fitkit.recipes.train.texture_generator import losses
from fitkit.recipes.train.texture_generator.augmentation import adapted, augment, sureness

STYLE_MEMORY = 0.995      # of the mean style, per step
PATH_MEMORY = 0.99        # of the mean path length, per regularised step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Game:
    """What a step needs to know beside the state; static.

    Attributes:
        generator: the network.
        rate: of Adam, both networks.
        warm_rate: of Adam while the generator learns by reconstruction alone.
        reconstruction: weight of the reconstruction beside the game.
        penalty: of R1, times squared side over maps in a batch (Karras et al. 2020, limited data, Appendix C).
        penalty_every: steps between two R1 updates.
        path: weight of path lengths.
        path_every: steps between two path updates; 0 leaves them out.
        mixing: chance that a map is made of two styles.
        average: maps in which the averaged generator forgets half.
    """

    generator: GeneratorConfig = dataclasses.field(default_factory=GeneratorConfig)
    rate: float = 0.0025
    warm_rate: float = 0.003
    reconstruction: float = 40.0
    penalty: float = 0.0002
    penalty_every: int = 16
    path: float = 2.0
    path_every: int = 8
    mixing: float = 0.5
    average: float = 1500.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Everything that changes in training."""

    generator: Parameters
    discriminator: Parameters
    average: Parameters                    # of the generator's, exponentially: what ships
    generator_memory: optax.OptState
    discriminator_memory: optax.OptState
    path_mean: Float[Array, ""]
    probability: Float[Array, ""]          # of augmentation
    sureness: Float[Array, ""]             # r_t of the discriminator


def optimiser(game: Game, *, warm: bool = False) -> optax.GradientTransformation:
    """Adam without memory of direction (Karras et al. 2019), or with some while there is no opponent."""
    return optax.adam(game.warm_rate, b1=0.9, b2=0.99) if warm else optax.adam(game.rate, b1=0.0, b2=0.99, eps=1e-8)


def initial_state(key: Array, game: Game) -> State:
    """Untrained networks."""
    first, second = jax.random.split(key)
    return start(initial_parameters(first, game.generator), initial_discriminator(second, game.generator), game)


def start(generator: Parameters, discriminator: Parameters, game: Game, *, warm: bool = False) -> State:
    """Given networks with fresh optimisers."""
    return State(
        generator=generator, discriminator=discriminator, average=generator,
        generator_memory=optimiser(game, warm=warm).init(generator), discriminator_memory=optimiser(game).init(discriminator),
        path_mean=jnp.zeros(()), probability=jnp.zeros(()), sureness=jnp.zeros(()),
    )


@functools.partial(jax.jit, static_argnames="game")
def warm(key: Array, state: State, game: Game, latents: Float[Array, "p n"], wanted: Float[Array, "p s s 3"],
         ) -> tuple[State, dict[str, Array]]:
    """Learn to draw each map from its own latent, without an opponent."""
    def loss(parameters: Parameters) -> tuple[Array, Array]:
        w = _map(parameters, latents, game)
        return losses.reconstruction(_draw(parameters, _spread(w, game), _noise(key, len(w), game), game), wanted), w

    (value, w), gradient = jax.value_and_grad(loss, has_aux=True)(state.generator)
    state = _move_generator(state, gradient, w, game, warm=True, count=len(latents))
    return state, {"reconstruction": value}


@functools.partial(jax.jit, static_argnames="game")
def play(key: Array, state: State, game: Game, real: Float[Array, "b s s 3"], latents: Float[Array, "p n"],
         wanted: Float[Array, "p s s 3"]) -> tuple[State, dict[str, Array]]:
    """One move of each network: the discriminator's first, then the generator's against it, on the same made maps."""
    keys = jax.random.split(key, 6)
    count = len(real)
    z = jnp.concatenate([jax.random.normal(keys[0], (2 * count, game.generator.latent)), latents])

    def make(parameters: Parameters) -> tuple[Array, Array]:
        w = _map(parameters, z, game)
        styles = losses.mixed(keys[1], w[:count], w[count:2 * count], layers=game.generator.layers, chance=game.mixing)
        styles = jnp.concatenate([styles, _spread(w[2 * count:], game)])
        return _draw(parameters, styles, _noise(keys[2], len(styles), game), game), w

    images, pull, w = jax.vjp(make, state.generator, has_aux=True)
    made = images[:count]

    def judge(parameters: Parameters) -> tuple[Array, tuple[Array, Array]]:
        critic = with_parameters(Discriminator(game.generator), parameters)
        scores = critic(augment(keys[3], real, state.probability)), critic(augment(keys[4], made, state.probability))
        return losses.discriminator_loss(*scores), scores

    (strife, (seen, unseen)), gradient = jax.value_and_grad(judge, has_aux=True)(state.discriminator)
    change, memory = optimiser(game).update(gradient, state.discriminator_memory, state.discriminator)
    discriminator = _added(state.discriminator, change)

    def cost(images: Array) -> tuple[Array, tuple[Array, Array]]:
        fooled = losses.generator_loss(
            with_parameters(Discriminator(game.generator), discriminator)(augment(keys[5], images[:count], state.probability)))
        error = losses.reconstruction(images[count:], wanted) if len(wanted) else jnp.zeros(())
        return fooled + game.reconstruction * error, (fooled, error)

    (_, (fooled, error)), direction = jax.value_and_grad(cost, has_aux=True)(images)
    sure = sureness(state.sureness, seen)
    state = dataclasses.replace(state, discriminator=discriminator, discriminator_memory=memory, sureness=sure,
                                probability=adapted(state.probability, sure, count=count))
    state = _move_generator(state, pull(direction)[0], w, game, warm=False, count=count)
    return state, {"generator": fooled, "discriminator": strife, "reconstruction": error, "real": jnp.mean(seen),
                   "fake": jnp.mean(unseen), "sureness": sure, "augmentation": state.probability}


@functools.partial(jax.jit, static_argnames="game")
def penalise(key: Array, state: State, game: Game, real: Float[Array, "b s s 3"]) -> tuple[State, dict[str, Array]]:
    """Lazy R1: weighted by the steps it stands for (Karras et al. 2020, Section 3.1)."""
    weight = 0.5 * game.penalty * game.generator.size**2 / len(real) * game.penalty_every
    images = augment(key, real, state.probability)

    def loss(parameters: Parameters) -> Array:
        return losses.gradient_penalty(with_parameters(Discriminator(game.generator), parameters), images)

    value, gradient = jax.value_and_grad(loss)(state.discriminator)
    gradient = jax.tree.map(lambda g: weight * g, gradient)
    change, memory = optimiser(game).update(gradient, state.discriminator_memory, state.discriminator)
    state = dataclasses.replace(state, discriminator=_added(state.discriminator, change), discriminator_memory=memory)
    return state, {"penalty": value}


@functools.partial(jax.jit, static_argnames=("game", "count"))
def straighten(key: Array, state: State, game: Game, *, count: int) -> tuple[State, dict[str, Array]]:
    """Lazy path-length regularisation on `count` maps."""
    keys = jax.random.split(key, 3)
    z, noise = jax.random.normal(keys[0], (count, game.generator.latent)), _noise(keys[1], count, game)
    target = jax.random.normal(keys[2], (count, game.generator.size, game.generator.size, 3))

    def loss(parameters: Parameters) -> tuple[Array, Array]:
        w = _map(parameters, z, game)
        lengths = losses.path_lengths(lambda styles: _draw(parameters, styles, noise, game), _spread(w, game), target)
        mean = PATH_MEMORY * state.path_mean + (1 - PATH_MEMORY) * jnp.mean(jax.lax.stop_gradient(lengths))
        mean = jnp.where(state.path_mean == 0, jnp.mean(jax.lax.stop_gradient(lengths)), mean)
        return game.path * game.path_every * losses.path_penalty(lengths, mean), mean

    (_, mean), gradient = jax.value_and_grad(loss, has_aux=True)(state.generator)
    change, memory = optimiser(game).update(gradient, state.generator_memory, state.generator)
    state = dataclasses.replace(state, generator=_added(state.generator, change), generator_memory=memory, path_mean=mean)
    return state, {"path": mean}


def _map(parameters: Parameters, z: Array, game: Game) -> Array:
    return with_parameters(Generator(game.generator), parameters).map(z)


def _draw(parameters: Parameters, styles: Array, noise: list[Array], game: Game) -> Array:
    return with_parameters(Generator(game.generator), parameters)(styles, noise)


def _spread(w: Array, game: Game) -> Array:
    return jnp.broadcast_to(w[:, None], (len(w), game.generator.layers, w.shape[1]))


def _noise(key: Array, count: int, game: Game) -> list[Array]:
    return [jax.random.normal(jax.random.fold_in(key, r), (count, r, r, 2)) for r in game.generator.resolutions]


def _added(parameters: Parameters, change: Parameters) -> Parameters:
    return {name: value + change[name] for name, value in parameters.items()}


def _move_generator(state: State, gradient: Parameters, w: Array, game: Game, *, warm: bool, count: int) -> State:
    change, memory = optimiser(game, warm=warm).update(gradient, state.generator_memory, state.generator)
    moved = _added(state.generator, change)
    mean = jax.lax.stop_gradient(jnp.mean(w, axis=0))
    moved["style_mean"] = STYLE_MEMORY * state.generator["style_mean"] + (1 - STYLE_MEMORY) * mean
    kept = 0.5 ** (count / game.average)
    average = {name: kept * state.average[name] + (1 - kept) * value for name, value in moved.items()}
    return dataclasses.replace(state, generator=moved, average=average, generator_memory=memory)
