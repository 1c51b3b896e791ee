"""One step of training: loss, gradient, Adam; on all devices, the batch split between them.

    weights, gradients, moments   float32, on every device
    convolutions, batch norms     bfloat16 on a GPU, float32 elsewhere; dense layers, which are few and last, float32
    batch                         split along its first axis over a mesh of all devices of all hosts

XLA adds what the devices must tell each other (`jax.sharding`, axis types Auto): gradients and a batch norm's statistics are those
of the whole batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from fitkit.errors import FitkitError
from fitkit.recipes.train.task import Task, TrainingConfig

AXIS = "batch"      # of the mesh: the batch is split along it


class TrainingState(NamedTuple):
    """All that a step changes."""

    parameters: nnx.State      # trained
    statistics: nnx.State      # other numbers of the network: of its batch norms
    optimizer: Any             # Adam's moments and count


def optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015), after clipping, at the scheduled rate."""
    clip = optax.identity() if config.clip is None else optax.clip_by_global_norm(config.clip)
    return optax.chain(clip, optax.adam(schedule(config), b1=config.momentum))


def schedule(config: TrainingConfig) -> optax.Schedule:
    """The rate at each step: a linear rise, the full rate, then half a cosine or a line down to `final` times the rate."""
    begins = config.warmup + config.constant
    steps = max(config.steps - begins, 1)
    falling = (optax.cosine_decay_schedule(config.rate, steps, alpha=config.final) if config.decay == "cosine"
               else optax.linear_schedule(config.rate, config.rate * config.final, steps))
    rising, held = optax.linear_schedule(0.0, config.rate, max(config.warmup, 1)), optax.constant_schedule(config.rate)
    parts = [(rising, config.warmup), (held, config.constant), (falling, steps)]
    used = [part for part, length in parts if length]
    ends = [end for end, length in ((config.warmup, config.warmup), (begins, config.constant)) if length]
    return optax.join_schedules(used, ends) if ends else falling


def initial_state(task: Task, config: Any) -> tuple[nnx.GraphDef, TrainingState]:
    """A new network, taken apart, and the state of its training."""
    apart: tuple[Any, ...] = nnx.split(nnx.jit(lambda: task.build(config, nnx.Rngs(config.seed)))(), nnx.Param, ...)
    graph, parameters, statistics = apart
    return graph, TrainingState(parameters, statistics, optimizer(config).init(parameters))


def network_of(graph: nnx.GraphDef, state: TrainingState) -> nnx.Module:
    """The network of a state, for use: its batch norms apply the statistics that they gathered."""
    network = nnx.merge(graph, _anew(state.parameters), _anew(state.statistics))
    network.eval()
    return network


def differentiable_loss(task: Task, config: Any, graph: nnx.GraphDef) -> Callable[..., Any]:
    """(parameters, statistics, batch) -> (loss, (scalars, statistics afterwards))."""
    half = jax.default_backend() == "gpu"

    def loss(parameters: nnx.State, statistics: nnx.State, batch: Any) -> tuple[Float[Array, ""], Any]:
        network = nnx.merge(graph, parameters, _anew(statistics))      # which its batch norms change
        network.train()
        if half:
            _compute_in(network, jnp.bfloat16)
        value, scalars = task.loss(network, batch, config)
        return value, (scalars, nnx.state(network, nnx.Not(nnx.Param)))

    return loss


def compiled_step(task: Task, config: Any, graph: nnx.GraphDef, mesh: Mesh) -> Callable[..., Any]:
    """(state, batch) -> (state afterwards, scalars, among them `loss` and the norm `gradient`); the given state is used up."""
    loss, adam = differentiable_loss(task, config, graph), optimizer(config)

    def step(state: TrainingState, batch: Any) -> tuple[TrainingState, dict[str, Float[Array, ""]]]:
        gradient = jax.value_and_grad(loss, has_aux=True)
        result, slope = gradient(state.parameters, state.statistics, batch)
        value, (scalars, statistics) = result
        updates, moments = adam.update(slope, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        return TrainingState(parameters, statistics, moments), {**scalars, "loss": value, "gradient": _norm(slope)}

    return jax.jit(step, donate_argnums=0, out_shardings=whole(mesh))


def device_mesh(batch: int) -> Mesh:
    """All devices of all hosts, in a row.

    Raises:
        FitkitError: E_USAGE, they cannot share a batch of that size equally.
    """
    devices = jax.devices()
    if batch % len(devices):
        raise FitkitError("E_USAGE", f"a batch of {batch} cannot be shared by {len(devices)} devices equally; choose a multiple of"
                          f" {len(devices)}: --set batch={-(-batch // len(devices)) * len(devices)}")
    return Mesh(np.array(devices), (AXIS,))


def whole(mesh: Mesh) -> NamedSharding:
    """On every device all of an array."""
    return NamedSharding(mesh, PartitionSpec())


def on_all_devices(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every host holds, put whole on every device of the mesh."""
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(whole(mesh), np.asarray(leaf), np.shape(leaf)), tree)


def on_this_host(tree: Any) -> Any:
    """Arrays of the mesh as this host has them, on one of its devices: for what one host does alone."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf.addressable_data(0))), tree)


def shared_batch(part: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, Array]:
    """This host's part of a batch, split over its devices: arrays of the whole batch."""
    split = NamedSharding(mesh, PartitionSpec(AXIS))
    return {name: jax.make_array_from_process_local_data(split, value) for name, value in part.items()}


def places_of_step(step: int, batch: int) -> range:
    """The places of a step's examples that this host prepares (`Task.batch`): its share of the batch, hosts in order."""
    share, first = batch // jax.process_count(), step * batch
    return range(first + jax.process_index() * share, first + (jax.process_index() + 1) * share)


def _anew(state: nnx.State) -> nnx.State:
    """The same arrays in variables of their own."""
    return jax.tree.map(lambda leaf: leaf, state)


def _norm(tree: Any) -> Float[Array, ""]:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def _compute_in(network: nnx.Module, dtype: Any) -> None:
    for _, layer in nnx.iter_modules(network):
        if hasattr(layer, "dtype") and not isinstance(layer, nnx.Linear):
            layer.dtype = dtype
