"""Train the texture generator on albedo maps: `python -m fitkit.recipes.train.texture_generator --skins FOLDER --out RUN`.

Maps come from MakeHuman's skins (`recipes/synthesize/textures/paint.py`) and from any folder of UV maps; weights, checkpoints,
sheets of samples and a log go to the run's folder. Stages of two kinds follow each other, each at the size of the one before or
twice it: `warm`, in which the generator learns to reconstruct each map from a latent of its own (its whitened principal
components), and `game`, adversarial training with that reconstruction loss beside it. A run that was stopped goes on from its
checkpoint bit by bit.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Array, Float, UInt8

from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.io.atomic_files import write_bytes
from fitkit.io.images import encode_png
from fitkit.models.parameters import with_parameters
from fitkit.models.texture_gan.discriminator import initial_discriminator
from fitkit.models.texture_gan.generator import Generator, GeneratorConfig, Parameters, fixed_noise, grown_parameters
from fitkit.recipes.synthesize.textures import paint
from fitkit.recipes.train import checkpoints
from fitkit.recipes.train.texture_generator.adversarial_step import (
    StepConfig,
    TrainingState,
    adversarial_update,
    fresh_state,
    initial_state,
    path_length_update,
    r1_update,
    reconstruction_update,
)

SHEET = 64              # samples on a sheet; chosen, not tuned
LATENT_SIDE = 32        # texels a side at which the principal components are taken; chosen, not tuned
LOG_EVERY = 10          # steps between two lines of the log; chosen, not tuned
MEAN_RANGE = (0.01, 0.99)      # of the mean map, sRGB, before its logit is taken


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextureTraining:
    """A training run.

    Attributes:
        out: folder of the run: weights, checkpoint, sheets, log.
        skins: folder of MakeHuman's skins, or of any in that layout; the held-out ones are left out.
        maps: folder of further UV maps, such as `albedo.png` of results.
        count: maps made from the skins.
        stages: `SIZE:warm:STEPS` (reconstruction alone) or `SIZE:game:STEPS` (adversarial), in order; sizes in texels.
        batch: maps in a step.
        pairs: maps reconstructed besides in an adversarial step.
        seed: of everything random.
        checkpoint_every: steps between two checkpoints.
        sheet_every: steps between two sheets of samples.
        half: bfloat16 convolutions, for a GPU.
        game: networks, weights of the losses and learning rates.
    """

    out: pathlib.Path
    skins: pathlib.Path | None = None
    maps: pathlib.Path | None = None
    count: int = 3000
    stages: tuple[str, ...] = ("64:warm:2000", "64:game:4000", "128:warm:1000", "128:game:6000")
    batch: int = 8
    pairs: int = 4
    seed: int = 0
    checkpoint_every: int = 250
    sheet_every: int = 250
    half: bool = False
    game: StepConfig = dataclasses.field(default_factory=StepConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps of one kind at one size."""

    size: int
    warm: bool
    steps: int


def read_stages(training: TextureTraining) -> list[Stage]:
    """The stages, checked.

    Raises:
        FitkitError: `E_FIELD`, a stage is not of the form, or is smaller than the one before it.
    """
    stages: list[Stage] = []
    for text in training.stages:
        parts = text.split(":")
        if len(parts) != 3 or parts[1] not in ("warm", "game") or not (parts[0] + parts[2]).isdigit():
            raise FitkitError("E_FIELD", f"the stage {text!r} is not SIZE:warm:STEPS or SIZE:game:STEPS, such as 128:game:6000")
        stages.append(Stage(size=int(parts[0]), warm=parts[1] == "warm", steps=int(parts[2])))
        if len(stages) > 1 and stages[-1].size not in (stages[-2].size, 2 * stages[-2].size):
            raise FitkitError("E_FIELD", f"the stage {text!r} follows one of {stages[-2].size}: it must keep or double the size")
    return stages


def training_maps(training: TextureTraining) -> UInt8[np.ndarray, "N s s 3"]:
    """All maps at the greatest size, kept in the run's folder once they are made.

    Raises:
        FitkitError: `E_USAGE`, neither skins nor maps are named; and as `paint.textures` and `paint.read_maps`.
    """
    size = max(stage.size for stage in read_stages(training))
    made_of = {"size": size, "count": training.count, "seed": training.seed, "skins": checkpoints.folder_digest(training.skins),
               "maps": checkpoints.folder_digest(training.maps)}

    def make() -> dict[str, np.ndarray]:
        made: list[np.ndarray] = []
        if training.skins is not None:
            made += paint.textures(training.skins, size=size, count=training.count, seed=training.seed)
        if training.maps is not None:
            made += paint.read_maps(training.maps, size=size)
        if not made:
            raise FitkitError("E_USAGE", "there is nothing to train on; name --skins FOLDER, --maps FOLDER or both")
        return {"maps": np.stack(made)}

    return checkpoints.make_once(training.out / "maps.safetensors", made_of, make)["maps"]


def reduced(maps: UInt8[np.ndarray, "N s s 3"], *, size: int) -> UInt8[np.ndarray, "N t t 3"]:
    """Maps at a smaller size: means of blocks."""
    block = maps.shape[1] // size
    if block == 1:
        return maps
    result = np.empty((len(maps), size, size, 3), np.uint8)
    for index, one in enumerate(maps):
        result[index] = np.rint(one.reshape(size, block, size, block, 3).mean(axis=(1, 3), dtype=np.float32))
    return result


def latents_of(maps: UInt8[np.ndarray, "N s s 3"], *, length: int) -> tuple[Float[np.ndarray, "N n"], Float[np.ndarray, " n"]]:
    """A latent for each map: its principal components at size LATENT_SIDE, whitened; numbers beyond the last component are 0.

    Returns:
        the latents, and a weight for each of their numbers: the root of the component's standard deviation, of mean square 1.
    """
    rows = reduced(maps, size=min(LATENT_SIDE, maps.shape[1])).reshape(len(maps), -1).astype(np.float64) / 255
    rows -= rows.mean(axis=0)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    order = np.argsort(values)[::-1][: min(length, len(maps) - 1)]
    latents = np.zeros((len(maps), length), np.float32)
    latents[:, : len(order)] = vectors[:, order] * len(maps) ** 0.5
    weight = np.zeros(length, np.float32)
    weight[: len(order)] = np.maximum(values[order], 0) ** 0.25
    return latents, weight / np.sqrt(np.mean(weight**2))


def train(training: TextureTraining) -> pathlib.Path:
    """Train through all stages, or go on from the run's checkpoint; returns the weight file.

    Raises:
        FitkitError: as `read_stages`, `training_maps` and `checkpoints`.
    """
    stages, maps = read_stages(training), training_maps(training)
    latents, weight = latents_of(maps, length=training.game.generator.latent)
    checkpoint = training.out / "checkpoint.safetensors"
    notes: dict[str, Any] = checkpoints.read_notes(checkpoint) if checkpoint.is_file() else {"stage": 0, "step": 0}
    state = None
    for index in range(notes["stage"], len(stages)):
        config = step_config(training, stages[index])
        current = reduced(maps, size=config.generator.size)
        resumed = checkpoint.is_file() and index == notes["stage"] and state is None
        if resumed:
            state = checkpoints.restore(checkpoint, initial_stage_state(training, stages, index, None, current, weight))
        else:
            state = initial_stage_state(training, stages, index, state, current, weight)
        start_step = notes["step"] if resumed else 0
        for step, moved in _steps(training, stages, index, state, current, latents, start=start_step):
            state = moved
            if step % training.checkpoint_every == 0 or step == stages[index].steps:
                checkpoints.save(checkpoint, state, notes={"stage": index, "step": step})
                export(training.out / "texture_generator.safetensors", state.average, config.generator)
            if step % training.sheet_every == 0 or step == stages[index].steps:
                name = f"samples_{index}_{config.generator.size}_{step:06d}.png"
                write_bytes(training.out / name, encode_png(sheet(sample(state.average, config.generator, count=SHEET))))
    return training.out / "texture_generator.safetensors"


def step_config(training: TextureTraining, stage: Stage) -> StepConfig:
    """The configuration of a stage's steps."""
    config = dataclasses.replace(training.game.generator, size=stage.size, half=training.half)
    return dataclasses.replace(training.game, generator=config)


def initial_stage_state(
    training: TextureTraining, stages: list[Stage], index: int, state: TrainingState | None, maps: np.ndarray, weight: np.ndarray,
) -> TrainingState:
    """The state at the beginning of a stage: new, or the last one's networks, grown where the size doubles.

    A new generator's output is the mean of the maps. The first layer of its mapping is scaled by `weight`, so that the components
    of a latent that change the maps most have the largest effect from the start.
    """
    stage, key = stages[index], jax.random.fold_in(jax.random.key(training.seed), index)
    config = step_config(training, stage)
    if state is None:
        fresh = initial_state(key, config)
        mean = np.clip(maps.mean(axis=0, dtype=np.float64) / 255, *MEAN_RANGE)
        first = fresh.generator["mapping.0.weight"] * jnp.asarray(weight)[:, None]
        generator = fresh.generator | {"mean_map": jnp.asarray(np.log(mean / (1 - mean)), jnp.float32), "mapping.0.weight": first}
        return fresh_state(generator, fresh.discriminator, config, warm=stage.warm)
    generator, discriminator = state.average, state.discriminator
    if stage.size != stages[index - 1].size:
        generator = grown_parameters(key, generator, config.generator)
        discriminator = initial_discriminator(key, config.generator) | discriminator
    return fresh_state(generator, discriminator, config, warm=stage.warm)


def _steps(
    training: TextureTraining, stages: list[Stage], index: int, state: TrainingState, maps: np.ndarray, latents: np.ndarray, *,
    start: int,
) -> Iterator[tuple[int, TrainingState]]:
    """Train one stage step by step; everything random follows from the seed, the stage and the step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    stage, config = stages[index], step_config(training, stages[index])
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[losses]}"))
    with Progress(*columns) as progress, open(training.out / "log.jsonl", "a", encoding="utf-8") as log:
        name = f"stage {index + 1} of {len(stages)}, {stage.size} texels, {'warm' if stage.warm else 'game'}"
        task = progress.add_task(name, total=stage.steps, completed=start, losses="")
        for step in range(start + 1, stage.steps + 1):
            key = jax.random.fold_in(jax.random.key(training.seed + 1), 1_000_000 * index + step)
            draw = np.random.default_rng([training.seed, index, step])
            state, scores = _update(key, draw, training, stage, config, state, maps, latents, step)
            if step % LOG_EVERY == 0 or step == stage.steps:
                numbers = {name: round(float(value), 5) for name, value in scores.items()}
                log.write(json.dumps({"stage": index, "step": step, **numbers}) + "\n")
                log.flush()
                progress.update(task, losses=" ".join(f"{name} {value:.3g}" for name, value in numbers.items()))
            progress.advance(task)
            yield step, state


def _update(
    key: Array, draw: np.random.Generator, training: TextureTraining, stage: Stage, config: StepConfig, state: TrainingState,
    maps: np.ndarray, latents: np.ndarray, step: int,
) -> tuple[TrainingState, dict[str, Array]]:
    def some(count: int) -> tuple[np.ndarray, Array]:
        chosen = draw.integers(len(maps), size=count)
        return latents[chosen], jnp.asarray(maps[chosen], jnp.float32) / 255

    if stage.warm:
        return reconstruction_update(key, state, config, *some(training.batch))
    _, real = some(training.batch)
    state, scores = adversarial_update(key, state, config, real, *some(training.pairs))
    if step % config.penalty_every == 0:
        state, more = r1_update(jax.random.fold_in(key, 1), state, config, real)
        scores |= more
    if config.path_every and step % config.path_every == 0:
        state, more = path_length_update(jax.random.fold_in(key, 2), state, config, count=max(1, training.batch // 2))
        scores |= more
    return state, scores


def sample(parameters: Parameters, config: GeneratorConfig, *, count: int, seed: int = 0, truncation: float = 0.8,
           ) -> Float[np.ndarray, "N s s 3"]:
    """`count` maps of random latents, sRGB in [0, 1]."""
    z = jax.random.normal(jax.random.key(seed), (count, config.latent))

    @jax.jit
    def draw(parameters: Parameters, z: Array) -> Array:
        network = with_parameters(Generator(config), parameters)
        w = parameters["style_mean"] + truncation * (network.map(z) - parameters["style_mean"])
        return network(jnp.broadcast_to(w[:, None], (len(w), config.layers, config.latent)), fixed_noise(config))

    return np.concatenate([np.asarray(draw(parameters, part)) for part in np.array_split(np.asarray(z), max(1, count // 8))])


def sheet(images: Float[np.ndarray, "N s s 3"], *, columns: int = 8) -> Float[np.ndarray, "H W 3"]:
    """Images side by side, row by row; N is a multiple of the columns."""
    rows = len(images) // columns
    size = images.shape[1]
    return images[: rows * columns].reshape(rows, columns, size, size, 3).swapaxes(1, 2).reshape(rows * size, columns * size, 3)


def export(path: pathlib.Path, parameters: Parameters, config: GeneratorConfig) -> pathlib.Path:
    """Write the weights as `models.generator.load_generator` reads them: float16, the network's shape beside them."""
    arrays = {name: np.asarray(value, np.float16) for name, value in parameters.items()}
    shape = dataclasses.asdict(dataclasses.replace(config, half=False))
    return write_bytes(path, safetensors.numpy.save(arrays, metadata={"config": json.dumps(shape)}))


def main() -> None:
    """Command line."""
    import tyro

    keep_compiled_programs()
    print(train(tyro.cli(TextureTraining, prog="python -m fitkit.recipes.train.texture_generator", description=__doc__)))
