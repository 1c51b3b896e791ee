"""Updates of the texture GAN: the training state, and the four jitted steps that `training.py` calls in turn.

`reconstruction_update` fits the generator to known maps without a discriminator; `adversarial_update` is a StyleGAN2 step of both
networks with that reconstruction loss beside it; `r1_update` and `path_length_update` are its lazy regularisers. Maps are sRGB in
[0, 1], `[b, s, s, 3]`; every update returns the new state and its losses by name.
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
from fitkit.recipes.train.texture_generator.augmentation import adapted_probability, augment, overfitting_statistic

# Of exponential running means; as StyleGAN2's published code has them
STYLE_DECAY = 0.995      # of the mean style, per step
PATH_DECAY = 0.99        # of the mean path length, per regularised step


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Weights and rates of the updates; static in compiled code.

    Attributes:
        generator: size and shape of the networks.
        rate: learning rate of Adam, both networks.
        warm_rate: learning rate while the generator learns by reconstruction alone.
        reconstruction: weight of the reconstruction loss in an adversarial update.
        penalty: weight of R1, times squared side over batch (Karras et al. 2020, "Training generative adversarial networks with
            limited data", Appendix C).
        penalty_every: steps between two R1 updates.
        path: weight of the path length regularisation.
        path_every: steps between two path length updates; 0 leaves them out.
        mixing: probability that a map is made of two styles.
        average: half-life of the averaged generator, in maps.
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
class TrainingState:
    """Everything that changes in training."""

    generator: Parameters
    discriminator: Parameters
    average: Parameters                    # exponential moving average of the generator's: what is exported
    generator_memory: optax.OptState       # optimiser states
    discriminator_memory: optax.OptState
    path_mean: Float[Array, ""]            # running mean of the path lengths
    probability: Float[Array, ""]          # p of the adaptive augmentation
    sureness: Float[Array, ""]             # r_t: running mean of the sign of its scores of real maps (ADA, Eq. 1)


def adam(config: StepConfig, *, warm: bool = False) -> optax.GradientTransformation:
    """Adam without momentum (Karras et al. 2019), or with it (`warm`) while the generator learns by reconstruction alone."""
    return optax.adam(config.warm_rate, b1=0.9, b2=0.99) if warm else optax.adam(config.rate, b1=0.0, b2=0.99, eps=1e-8)


def initial_state(key: Array, config: StepConfig) -> TrainingState:
    """Untrained networks."""
    first, second = jax.random.split(key)
    return fresh_state(initial_parameters(first, config.generator), initial_discriminator(second, config.generator), config)


def fresh_state(generator: Parameters, discriminator: Parameters, config: StepConfig, *, warm: bool = False) -> TrainingState:
    """A state of the given networks with fresh optimisers."""
    return TrainingState(
        generator=generator, discriminator=discriminator, average=generator,
        generator_memory=adam(config, warm=warm).init(generator), discriminator_memory=adam(config).init(discriminator),
        path_mean=jnp.zeros(()), probability=jnp.zeros(()), sureness=jnp.zeros(()),
    )


@functools.partial(jax.jit, static_argnames="config")
def reconstruction_update(
    key: Array, state: TrainingState, config: StepConfig, latents: Float[Array, "p n"], wanted: Float[Array, "p s s 3"],
) -> tuple[TrainingState, dict[str, Array]]:
    """One step of the generator by reconstruction alone: each map from its own latent."""
    def loss(parameters: Parameters) -> tuple[Array, Array]:
        w = _styles_of(parameters, latents, config)
        return losses.reconstruction(_generate(parameters, _per_layer(w, config), _noise(key, len(w), config), config), wanted), w

    (value, w), gradient = jax.value_and_grad(loss, has_aux=True)(state.generator)
    state = _update_generator(state, gradient, w, config, warm=True, count=len(latents))
    return state, {"reconstruction": value}


@functools.partial(jax.jit, static_argnames="config")
def adversarial_update(
    key: Array, state: TrainingState, config: StepConfig, real: Float[Array, "b s s 3"], latents: Float[Array, "p n"],
    wanted: Float[Array, "p s s 3"],
) -> tuple[TrainingState, dict[str, Array]]:
    """One step of the discriminator, then one of the generator against it, on the same generated maps.

    `latents` and `wanted` are pairs for the reconstruction loss; they may be empty.
    """
    keys = jax.random.split(key, 6)
    count = len(real)
    z = jnp.concatenate([jax.random.normal(keys[0], (2 * count, config.generator.latent)), latents])

    def generate(parameters: Parameters) -> tuple[Array, Array]:
        w = _styles_of(parameters, z, config)
        styles = losses.mix_styles(keys[1], w[:count], w[count:2 * count], layers=config.generator.layers, chance=config.mixing)
        styles = jnp.concatenate([styles, _per_layer(w[2 * count:], config)])
        return _generate(parameters, styles, _noise(keys[2], len(styles), config), config), w

    images, pullback, w = jax.vjp(generate, state.generator, has_aux=True)
    generated = images[:count]

    def discriminator_cost(parameters: Parameters) -> tuple[Array, tuple[Array, Array]]:
        discriminate = with_parameters(Discriminator(config.generator), parameters)
        scores = (discriminate(augment(keys[3], real, state.probability)),
                  discriminate(augment(keys[4], generated, state.probability)))
        return losses.discriminator_loss(*scores), scores

    (value, (real_scores, fake_scores)), gradient = jax.value_and_grad(discriminator_cost, has_aux=True)(state.discriminator)
    change, memory = adam(config).update(gradient, state.discriminator_memory, state.discriminator)
    discriminator = _add(state.discriminator, change)

    def generator_cost(images: Array) -> tuple[Array, tuple[Array, Array]]:
        adversarial_loss = losses.generator_loss(
            with_parameters(Discriminator(config.generator), discriminator)(augment(keys[5], images[:count], state.probability)))
        error = losses.reconstruction(images[count:], wanted) if len(wanted) else jnp.zeros(())
        return adversarial_loss + config.reconstruction * error, (adversarial_loss, error)

    (_, (adversarial_loss, error)), direction = jax.value_and_grad(generator_cost, has_aux=True)(images)
    statistic = overfitting_statistic(state.sureness, real_scores)
    state = dataclasses.replace(state, discriminator=discriminator, discriminator_memory=memory, sureness=statistic,
                                probability=adapted_probability(state.probability, statistic, count=count))
    state = _update_generator(state, pullback(direction)[0], w, config, warm=False, count=count)
    return state, {"generator": adversarial_loss, "discriminator": value, "reconstruction": error,
                   "real": jnp.mean(real_scores), "fake": jnp.mean(fake_scores), "sureness": statistic,
                   "augmentation": state.probability}


@functools.partial(jax.jit, static_argnames="config")
def r1_update(
    key: Array, state: TrainingState, config: StepConfig, real: Float[Array, "b s s 3"]
) -> tuple[TrainingState, dict[str, Array]]:
    """One lazy R1 step of the discriminator, weighted by the steps it stands for (Karras et al. 2020, Section 3.1)."""
    weight = 0.5 * config.penalty * config.generator.size**2 / len(real) * config.penalty_every
    images = augment(key, real, state.probability)

    def loss(parameters: Parameters) -> Array:
        return losses.gradient_penalty(with_parameters(Discriminator(config.generator), parameters), images)

    value, gradient = jax.value_and_grad(loss)(state.discriminator)
    gradient = jax.tree.map(lambda g: weight * g, gradient)
    change, memory = adam(config).update(gradient, state.discriminator_memory, state.discriminator)
    state = dataclasses.replace(state, discriminator=_add(state.discriminator, change), discriminator_memory=memory)
    return state, {"penalty": value}


@functools.partial(jax.jit, static_argnames=("config", "count"))
def path_length_update(
    key: Array, state: TrainingState, config: StepConfig, *, count: int
) -> tuple[TrainingState, dict[str, Array]]:
    """One lazy path length step of the generator on `count` maps (Karras et al. 2020, Sections 3.1 and 3.2)."""
    keys = jax.random.split(key, 3)
    z, noise = jax.random.normal(keys[0], (count, config.generator.latent)), _noise(keys[1], count, config)
    target = jax.random.normal(keys[2], (count, config.generator.size, config.generator.size, 3))

    def loss(parameters: Parameters) -> tuple[Array, Array]:
        w = _styles_of(parameters, z, config)
        lengths = losses.path_lengths(lambda styles: _generate(parameters, styles, noise, config), _per_layer(w, config), target)
        mean = PATH_DECAY * state.path_mean + (1 - PATH_DECAY) * jnp.mean(jax.lax.stop_gradient(lengths))
        mean = jnp.where(state.path_mean == 0, jnp.mean(jax.lax.stop_gradient(lengths)), mean)
        return config.path * config.path_every * losses.path_penalty(lengths, mean), mean

    (_, mean), gradient = jax.value_and_grad(loss, has_aux=True)(state.generator)
    change, memory = adam(config).update(gradient, state.generator_memory, state.generator)
    state = dataclasses.replace(state, generator=_add(state.generator, change), generator_memory=memory, path_mean=mean)
    return state, {"path": mean}


def _styles_of(parameters: Parameters, z: Array, config: StepConfig) -> Array:
    return with_parameters(Generator(config.generator), parameters).map(z)


def _generate(parameters: Parameters, styles: Array, noise: list[Array], config: StepConfig) -> Array:
    return with_parameters(Generator(config.generator), parameters)(styles, noise)


def _per_layer(w: Array, config: StepConfig) -> Array:
    return jnp.broadcast_to(w[:, None], (len(w), config.generator.layers, w.shape[1]))


def _noise(key: Array, count: int, config: StepConfig) -> list[Array]:
    return [jax.random.normal(jax.random.fold_in(key, r), (count, r, r, 2)) for r in config.generator.resolutions]


def _add(parameters: Parameters, change: Parameters) -> Parameters:
    return {name: value + change[name] for name, value in parameters.items()}


def _update_generator(
    state: TrainingState, gradient: Parameters, w: Array, config: StepConfig, *, warm: bool, count: int
) -> TrainingState:
    change, memory = adam(config, warm=warm).update(gradient, state.generator_memory, state.generator)
    moved = _add(state.generator, change)
    mean = jax.lax.stop_gradient(jnp.mean(w, axis=0))
    moved["style_mean"] = STYLE_DECAY * state.generator["style_mean"] + (1 - STYLE_DECAY) * mean
    kept = 0.5 ** (count / config.average)
    average = {name: kept * state.average[name] + (1 - kept) * value for name, value in moved.items()}
    return dataclasses.replace(state, generator=moved, average=average, generator_memory=memory)
