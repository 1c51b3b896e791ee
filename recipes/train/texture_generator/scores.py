"""What a texture generator is worth: `python -m fitkit.recipes.train.texture_generator.scores --help`.

Compares its samples with maps made of the held-out skins, beside the head's linear albedo model (sliced Wasserstein distance), and
its projections of held-out maps beside principal components of the training maps (Gecer et al. 2019, Section 3.1). Draws sheets:
samples, each with its nearest training map, ways between two latents, and the projections. Maps are sRGB in [0, 1], `[N, s, s, 3]`.
"""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
import scipy.ndimage
from jaxtyping import Array, Float

from fitkit.io.atomic_files import write_bytes
from fitkit.io.images import encode_png
from fitkit.models.parameters import WEIGHTS, with_parameters
from fitkit.models.texture_gan.generator import Generator, GeneratorConfig, Parameters, fixed_noise, load_generator
from fitkit.recipes.synthesize.textures import paint
from fitkit.recipes.synthesize.textures.canvas import Canvas, build_canvas
from fitkit.recipes.train.texture_generator.training import SHEET, sample, sheet

PATCH, PATCHES, DIRECTIONS = 7, 64, 256     # sliced Wasserstein: texels a side, patches of a map, directions
LEVELS = (128, 64, 32, 16)                  # sizes of the pyramid, where the maps have them


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextureScores:
    """What is scored.

    Attributes:
        skins: folder of MakeHuman's skins, the held-out ones among them.
        run: folder of the training run, for its maps.
        out: folder for sheets and `scores.json`.
        weights: the generator; the shipped one unless named.
        held_out: maps made of the held-out skins.
        projected: of them, projected.
        steps: of a projection.
        seed: of everything.
    """

    skins: pathlib.Path
    run: pathlib.Path
    out: pathlib.Path
    weights: pathlib.Path = WEIGHTS / "texture_generator.safetensors"
    held_out: int = 256
    projected: int = 8
    steps: int = 400
    seed: int = 7


def linear_samples(rng: np.random.Generator, ground: Canvas, *, count: int) -> Float[np.ndarray, "N s s 3"]:
    """Maps of the head's linear albedo model, coefficients N(0, 1)."""
    coefficients = rng.standard_normal((count, len(ground.axes))).astype(np.float32)
    return np.stack([paint.encode(np.clip(ground.mean + np.tensordot(c, ground.axes, axes=1), 0, 1)) / np.float32(255)
                     for c in coefficients])


def sliced_wasserstein(rng: np.random.Generator, first: Float[np.ndarray, "N s s 3"], second: Float[np.ndarray, "N s s 3"],
                       ) -> dict[int, float]:
    """Distance of two sets of maps at each level of a Laplacian pyramid (Karras et al. 2018, Section 5), in deviations of `second`.

    Patches come from the same places of both sets, since maps are aligned; the mean absolute difference of their sorted projections
    is averaged over random directions.
    """
    result = {}
    pyramids = [_laplacian(images) for images in (first, second)]
    for size in pyramids[0]:
        rows, columns = (rng.integers(0, size - PATCH + 1, PATCHES) for _ in range(2))
        sets = [np.stack([level[size][:, r:r + PATCH, c:c + PATCH].reshape(len(level[size]), -1) for r, c in
                          zip(rows, columns, strict=True)], axis=1) for level in pyramids]
        directions = rng.standard_normal((sets[0].shape[-1], DIRECTIONS)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        scale = sets[1].std()
        # one distribution per place and direction: where on the face a patch comes from matters
        sorted_sets = [np.sort(patches @ directions, axis=0) for patches in sets]
        result[size] = float(np.abs(sorted_sets[0] - sorted_sets[1]).mean() / scale)
    return result


def _laplacian(images: Float[np.ndarray, "N s s 3"]) -> dict[int, Float[np.ndarray, "N t t 3"]]:
    levels: dict[int, np.ndarray] = {}
    while True:
        size = images.shape[1]
        if size <= LEVELS[-1]:
            return levels | {size: images}
        coarse = images.reshape(len(images), size // 2, 2, size // 2, 2, 3).mean(axis=(2, 4))
        if size in LEVELS:
            levels[size] = images - scipy.ndimage.zoom(coarse, (1, 2, 2, 1), order=1, grid_mode=True, mode="nearest")
        images = coarse


def project(parameters: Parameters, wanted: Float[Array, "N s s 3"], covered: Float[Array, "s s 1"], *, config: GeneratorConfig,
            space: str, steps: int) -> Float[Array, "N s s 3"]:
    """Maps nearest to the wanted ones: min |G(p) - I_uv|, p in Z, W or W+ (Gecer et al. 2019, Section 3.1), by Adam.

    The loop is Python's: on CPU, XLA runs convolutions inside a loop of its own on one thread.
    """
    count = len(wanted)
    p = jnp.zeros((count, config.layers, config.latent) if space == "W+" else (count, config.latent))
    p = p + (parameters["style_mean"] if space != "Z" else 0.1)
    rule = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    def draw(parameters: Parameters, p: Array) -> Array:
        network = with_parameters(Generator(config), parameters)
        w = network.map(p) if space == "Z" else p
        w = w if space == "W+" else jnp.broadcast_to(w[:, None], (count, config.layers, config.latent))
        return network(w, fixed_noise(config))

    @jax.jit
    def move(parameters: Parameters, p: Array, memory: optax.OptState) -> tuple[Array, optax.OptState, Array]:
        def cost(p: Array) -> tuple[Array, Array]:
            made = draw(parameters, p)
            return jnp.sum(jnp.abs(made - wanted) * covered) / (3 * jnp.sum(covered)), made

        (_, made), gradient = jax.value_and_grad(cost, has_aux=True)(p)
        change, memory = rule.update(gradient, memory)
        return p + change, memory, made

    memory = rule.init(p)
    for _ in range(steps + 1):      # the last move's maps are those of `steps` moves
        p, memory, made = move(parameters, p, memory)
    return made


def principal(training: Float[np.ndarray, "N s s 3"], wanted: Float[np.ndarray, "M s s 3"], covered: np.ndarray, *, count: int,
              ) -> Float[np.ndarray, "M s s 3"]:
    """The wanted maps from `count` principal components of the training maps, least squares over the layout."""
    rows, targets = (images[:, covered].reshape(len(images), -1).astype(np.float32) for images in (training, wanted))
    mean = rows.mean(axis=0)
    rows = rows - mean
    values, vectors = np.linalg.eigh(rows @ rows.T)
    basis = vectors[:, np.argsort(values)[::-1][:count]].T @ rows
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    result = wanted.copy()
    result[:, covered] = (mean + ((targets - mean) @ basis.T) @ basis).reshape(len(wanted), -1, 3)
    return result


def errors(made: Float[np.ndarray, "N s s 3"], wanted: Float[np.ndarray, "N s s 3"], covered: np.ndarray) -> dict[str, float]:
    """Mean absolute difference over the layout, of values and of differences between neighbouring texels; sRGB, full range 1.

    `sharpness` is how much of the wanted maps' differences between neighbours the made ones have.
    """
    error = made - wanted

    def steps(images: np.ndarray) -> float:
        down = covered[1:] & covered[:-1]
        across = covered[:, 1:] & covered[:, :-1]
        return float((np.abs(np.diff(images, axis=1))[:, down].mean() + np.abs(np.diff(images, axis=2))[:, across].mean()) / 2)

    return {"L1": float(np.abs(error)[:, covered].mean()), "gradient": steps(error), "sharpness": steps(made) / steps(wanted)}


def nearest(images: Float[np.ndarray, "N s s 3"], maps: Float[np.ndarray, "M s s 3"]) -> np.ndarray:
    """Index of the map nearest to each image, in mean square."""
    first, second = images.reshape(len(images), -1), maps.reshape(len(maps), -1)
    return np.argmin((second**2).sum(axis=1)[None] - 2 * first @ second.T, axis=1)


def interpolations(parameters: Parameters, config: GeneratorConfig, *, ways: int, seed: int) -> Float[np.ndarray, "N s s 3"]:
    """Eight maps on each of several ways between two latents, along the sphere."""
    ends = np.random.default_rng(seed).standard_normal((ways, 2, config.latent))
    ends /= np.linalg.norm(ends, axis=-1, keepdims=True)
    angle = np.arccos((ends[:, 0] * ends[:, 1]).sum(axis=-1))[:, None, None]
    t = np.linspace(0, 1, 8)[None, :, None]
    z = (np.sin((1 - t) * angle) * ends[:, :1] + np.sin(t * angle) * ends[:, 1:]) / np.sin(angle)
    network = with_parameters(Generator(config), parameters)
    w = network.map(jnp.asarray(z.reshape(-1, config.latent), jnp.float32))
    return np.asarray(network(jnp.broadcast_to(w[:, None], (len(w), config.layers, config.latent)), fixed_noise(config)))


def score(task: TextureScores) -> dict[str, object]:
    """Everything, written to the folder and returned."""
    parameters, config = load_generator(path=task.weights)
    ground = build_canvas(size=config.size)
    training = safetensors.numpy.load_file(task.run / "maps.safetensors")["maps"].astype(np.float32) / 255
    held_out = np.stack(list(paint.textures(task.skins, size=config.size, count=task.held_out, seed=task.seed, held_out=True)))
    held_out = held_out.astype(np.float32) / 255
    made = sample(parameters, config, count=task.held_out, seed=task.seed, truncation=1.0)
    linear = linear_samples(np.random.default_rng(task.seed), ground, count=task.held_out)
    sets = {"generator": made, "linear albedo model": linear, "training maps": training[:task.held_out]}
    scores: dict[str, object] = {"sliced Wasserstein": {
        name: sliced_wasserstein(np.random.default_rng(task.seed), images, held_out) for name, images in sets.items()}}
    wanted = held_out[:task.projected]
    covered = jnp.asarray(ground.covered[..., None], jnp.float32)
    fits = {f"generator, {space}": np.asarray(project(parameters, jnp.asarray(wanted), covered, config=config, space=space,
                                                      steps=task.steps)) for space in ("Z", "W", "W+")}
    fits |= {f"PCA, {count}": principal(training, wanted, ground.covered, count=count)
             for count in (config.latent, min(len(training) - 1, config.latent * config.layers))}
    scores["projection"] = {name: errors(images, wanted, ground.covered) for name, images in fits.items()}
    _draw_sheets(task, parameters, config, training, wanted, fits)
    write_bytes(task.out / "scores.json", json.dumps(scores, indent=1).encode())
    return scores


def _draw_sheets(task: TextureScores, parameters: Parameters, config: GeneratorConfig, training: np.ndarray, wanted: np.ndarray,
                 fits: dict[str, np.ndarray]) -> None:
    samples = sample(parameters, config, count=SHEET, seed=task.seed)
    pairs = np.stack([samples[:32], training[nearest(samples[:32], training)]], axis=1)
    pictures = {"samples": sheet(samples), "nearest": sheet(pairs.reshape(-1, *samples.shape[1:])),
                "interpolation": sheet(interpolations(parameters, config, ways=6, seed=task.seed)),
                "projection": sheet(np.concatenate([wanted, *fits.values()]), columns=len(wanted))}
    for name, picture in pictures.items():
        write_bytes(task.out / f"{name}.png", encode_png(picture))


def main() -> None:
    """Command line."""
    import tyro

    print(json.dumps(score(tyro.cli(TextureScores, prog=f"python -m {__spec__.name}", description=__doc__)), indent=1))


if __name__ == "__main__":
    main()
