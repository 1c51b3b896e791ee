"""Scores of a trained texture generator: `python -m fitkit.recipes.train.texture_generator.scores --help`.

Sliced Wasserstein distance from its samples to maps made of the held-out skins, beside that of the head's linear albedo model; and
the error of projecting held-out maps to its latent space, beside PCA of the training maps (Gecer et al. 2019, Section 3.1). Writes
scores.json and sheets: samples, their nearest training maps, interpolations, projections. Maps are sRGB in [0, 1], `[N, s, s, 3]`.
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

# Of the sliced Wasserstein distance: 7x7 patches and levels down to 16 as Karras et al. 2018, Section 5; counts chosen, not tuned
PATCH, PATCHES, DIRECTIONS = 7, 64, 256     # texels a side, patches of a map, directions
LEVELS = (128, 64, 32, 16)                  # sizes of the pyramid, where the maps have them
PROJECTION_RATE = 0.05                      # first learning rate of Adam in a projection; chosen, not tuned
LATENT_START = 0.1                          # every number of z at the start of a projection: at 0 the mapping has no direction
STEPS_BETWEEN = 8                           # maps of an interpolation


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextureScores:
    """What is scored, and where the results go.

    Attributes:
        skins: folder of MakeHuman's skins, the held-out ones among them.
        run: folder of the training run, for its maps.
        out: folder for sheets and `scores.json`.
        weights: the generator; the shipped one unless named.
        held_out: maps made of the held-out skins.
        projected: how many of them are projected.
        steps: of Adam in a projection.
        seed: of everything random.
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
    p = p + (parameters["style_mean"] if space != "Z" else LATENT_START)
    optimizer = optax.adam(optax.cosine_decay_schedule(PROJECTION_RATE, steps))

    def draw(parameters: Parameters, p: Array) -> Array:
        network = with_parameters(Generator(config), parameters)
        w = network.map(p) if space == "Z" else p
        w = w if space == "W+" else jnp.broadcast_to(w[:, None], (count, config.layers, config.latent))
        return network(w, fixed_noise(config))

    @jax.jit
    def step(parameters: Parameters, p: Array, optimizer_state: optax.OptState) -> tuple[Array, optax.OptState, Array]:
        def cost(p: Array) -> tuple[Array, Array]:
            made = draw(parameters, p)
            return jnp.sum(jnp.abs(made - wanted) * covered) / (3 * jnp.sum(covered)), made

        (_, made), gradient = jax.value_and_grad(cost, has_aux=True)(p)
        change, optimizer_state = optimizer.update(gradient, optimizer_state)
        return p + change, optimizer_state, made

    optimizer_state = optimizer.init(p)
    for _ in range(steps + 1):      # `made` is of the parameters before the step: one more step shows the last
        p, optimizer_state, made = step(parameters, p, optimizer_state)
    return made


def pca_reconstruction(
    training: Float[np.ndarray, "N s s 3"], wanted: Float[np.ndarray, "M s s 3"], covered: np.ndarray, *, count: int,
) -> Float[np.ndarray, "M s s 3"]:
    """The wanted maps reconstructed from `count` principal components of the training maps, least squares over the layout."""
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


def nearest_maps(images: Float[np.ndarray, "N s s 3"], maps: Float[np.ndarray, "M s s 3"]) -> np.ndarray:
    """Index of the map nearest to each image, in mean square."""
    first, second = images.reshape(len(images), -1), maps.reshape(len(maps), -1)
    return np.argmin((second**2).sum(axis=1)[None] - 2 * first @ second.T, axis=1)


def interpolate_latents(parameters: Parameters, config: GeneratorConfig, *, ways: int, seed: int) -> Float[np.ndarray, "N s s 3"]:
    """Spherical interpolations of `ways` pairs of latents, `STEPS_BETWEEN` maps each, pair by pair."""
    ends = np.random.default_rng(seed).standard_normal((ways, 2, config.latent))
    ends /= np.linalg.norm(ends, axis=-1, keepdims=True)
    angle = np.arccos((ends[:, 0] * ends[:, 1]).sum(axis=-1))[:, None, None]
    t = np.linspace(0, 1, STEPS_BETWEEN)[None, :, None]
    z = (np.sin((1 - t) * angle) * ends[:, :1] + np.sin(t * angle) * ends[:, 1:]) / np.sin(angle)
    network = with_parameters(Generator(config), parameters)
    w = network.map(jnp.asarray(z.reshape(-1, config.latent), jnp.float32))
    return np.asarray(network(jnp.broadcast_to(w[:, None], (len(w), config.layers, config.latent)), fixed_noise(config)))


def score(options: TextureScores) -> dict[str, object]:
    """All scores, written to `scores.json` with the sheets beside it, and returned."""
    parameters, config = load_generator(path=options.weights)
    ground = build_canvas(size=config.size)
    training = safetensors.numpy.load_file(options.run / "maps.safetensors")["maps"].astype(np.float32) / 255
    painted = paint.textures(options.skins, size=config.size, count=options.held_out, seed=options.seed, held_out=True)
    held_out = np.stack(list(painted)).astype(np.float32) / 255
    made = sample(parameters, config, count=options.held_out, seed=options.seed, truncation=1.0)
    linear = linear_samples(np.random.default_rng(options.seed), ground, count=options.held_out)
    sets = {"generator": made, "linear albedo model": linear, "training maps": training[:options.held_out]}
    scores: dict[str, object] = {"sliced Wasserstein": {
        name: sliced_wasserstein(np.random.default_rng(options.seed), images, held_out) for name, images in sets.items()}}
    wanted = held_out[:options.projected]
    covered = jnp.asarray(ground.covered[..., None], jnp.float32)
    fits = {f"generator, {space}": np.asarray(project(parameters, jnp.asarray(wanted), covered, config=config, space=space,
                                                      steps=options.steps)) for space in ("Z", "W", "W+")}
    fits |= {f"PCA, {count}": pca_reconstruction(training, wanted, ground.covered, count=count)
             for count in (config.latent, min(len(training) - 1, config.latent * config.layers))}
    scores["projection"] = {name: errors(images, wanted, ground.covered) for name, images in fits.items()}
    _draw_sheets(options, parameters, config, training, wanted, fits)
    write_bytes(options.out / "scores.json", json.dumps(scores, indent=1).encode())
    return scores


def _draw_sheets(options: TextureScores, parameters: Parameters, config: GeneratorConfig, training: np.ndarray, wanted: np.ndarray,
                 fits: dict[str, np.ndarray]) -> None:
    samples = sample(parameters, config, count=SHEET, seed=options.seed)
    pairs = np.stack([samples[:32], training[nearest_maps(samples[:32], training)]], axis=1)
    pictures = {"samples": sheet(samples), "nearest": sheet(pairs.reshape(-1, *samples.shape[1:])),
                "interpolation": sheet(interpolate_latents(parameters, config, ways=6, seed=options.seed)),
                "projection": sheet(np.concatenate([wanted, *fits.values()]), columns=len(wanted))}
    for name, picture in pictures.items():
        write_bytes(options.out / f"{name}.png", encode_png(picture))


def main() -> None:
    """Command line."""
    import tyro

    print(json.dumps(score(tyro.cli(TextureScores, prog=f"python -m {__spec__.name}", description=__doc__)), indent=1))


if __name__ == "__main__":
    main()
