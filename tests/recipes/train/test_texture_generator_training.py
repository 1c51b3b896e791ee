"""Training the texture generator: each term against explicit gradients, the adaptive rule, resuming bit by bit, learning."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.models.texture_gan.generator import GeneratorConfig, load_generator
from fitkit.recipes.train import checkpoints
from fitkit.recipes.train.texture_generator import losses, training
from fitkit.recipes.train.texture_generator.adversarial_step import StepConfig
from fitkit.recipes.train.texture_generator.augmentation import (
    MAX_PROBABILITY,
    STATISTIC_TARGET,
    adapted_probability,
    augment,
    overfitting_statistic,
)
from fitkit.recipes.train.texture_generator.training import Stage, TextureTraining, latents_of, read_stages, reduced, train

TINY = StepConfig(generator=GeneratorConfig(size=8, latent=8, mapping=1, widest=6, budget=32, narrowest=4), penalty_every=3,
                  path_every=0, average=20.0)


def test_gradient_penalty_is_the_squared_gradient(rng):
    """A critic a x + b x^3 has gradient a + 3 b x^2 in every pixel."""
    x, a, b = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(4, 5, 2)), 0.3
    penalty = losses.gradient_penalty(lambda images: jnp.sum(a * images + b * images**3, axis=(1, 2, 3)), jnp.asarray(x))
    np.testing.assert_allclose(penalty, np.mean(np.sum((a + 3 * b * x**2) ** 2, axis=(1, 2, 3))), rtol=1e-5)


def test_path_lengths_are_those_of_the_jacobian(rng):
    layers, latent, shape = 2, 3, (4, 4, 3)
    matrix = rng.normal(size=(layers * latent, int(np.prod(shape))))
    styles, noise = rng.normal(size=(5, layers, latent)), rng.normal(size=(5, *shape))

    def draw(w):
        return jnp.tanh(w.reshape(len(w), -1) @ matrix).reshape(len(w), *shape)

    made = losses.path_lengths(draw, jnp.asarray(styles, jnp.float32), jnp.asarray(noise, jnp.float32))
    for index in range(5):
        flat = styles[index].ravel()
        jacobian = matrix * (1 - np.tanh(flat @ matrix) ** 2)                       # d image / d w, written out
        pulled = (jacobian @ noise[index].ravel()).reshape(layers, latent) / np.sqrt(16)
        np.testing.assert_allclose(made[index], np.sqrt(np.mean((pulled**2).sum(axis=1))), rtol=1e-4)
    penalty = losses.path_penalty(jnp.array([1.0, 3.0]), jnp.asarray(2.5))
    np.testing.assert_allclose(penalty, (1.5**2 + 0.5**2) / 2)


def test_the_losses_by_hand():
    real, fake = np.array([2.0, -1.0]), np.array([0.5, 3.0])
    sigmoid = 1 / (1 + np.exp(-np.concatenate([real, fake])))
    np.testing.assert_allclose(losses.discriminator_loss(jnp.asarray(real), jnp.asarray(fake)),
                               -np.log(sigmoid[:2]).mean() - np.log(1 - sigmoid[2:]).mean(), rtol=1e-5)
    np.testing.assert_allclose(losses.generator_loss(jnp.asarray(fake)), -np.log(sigmoid[2:]).mean(), rtol=1e-5)
    error = np.zeros((1, 4, 4, 3))
    error[:, :, 2:] = 0.5                                                           # half the map, one edge across
    np.testing.assert_allclose(losses.reconstruction(jnp.asarray(error), jnp.zeros((1, 4, 4, 3))), 0.25 + 0.5 / 3, rtol=1e-6)


def test_mixing_changes_the_style_once_and_in_the_given_share():
    first, second = jnp.zeros((2000, 1)), jnp.ones((2000, 1))
    styles = np.asarray(losses.mix_styles(jax.random.key(0), first, second, layers=6, chance=0.4))[..., 0]
    assert (np.diff(styles, axis=1) >= 0).all() and not styles[:, 0].any()
    assert 0.36 < (styles.sum(axis=1) > 0).mean() < 0.44
    assert set(np.unique(styles.sum(axis=1))) == {0, 1, 2, 3, 4, 5}


def test_the_probability_follows_the_sign_of_the_statistic():
    zero = jnp.zeros(())
    np.testing.assert_allclose(overfitting_statistic(jnp.asarray(0.8), jnp.array([3.0, -1.0, 0.5, 0.2])), 0.75 * 0.8 + 0.25 * 0.5)
    assert float(adapted_probability(zero, jnp.asarray(STATISTIC_TARGET + 0.1), count=200)) == pytest.approx(0.01)
    assert float(adapted_probability(jnp.asarray(0.5), jnp.asarray(STATISTIC_TARGET - 0.1), count=200)) == pytest.approx(0.49)
    assert float(adapted_probability(zero, jnp.asarray(-1.0), count=200)) == 0.0
    assert float(adapted_probability(jnp.asarray(MAX_PROBABILITY), jnp.asarray(1.0), count=200)) == pytest.approx(MAX_PROBABILITY)


def test_augmentation_does_nothing_or_something_and_keeps_the_layout(rng):
    images = jnp.asarray(rng.uniform(0.2, 0.8, size=(16, 36, 36, 3)), jnp.float32)
    np.testing.assert_allclose(augment(jax.random.key(0), images, jnp.zeros(())), images, atol=1e-6)
    changed = augment(jax.random.key(0), images, jnp.ones(()))
    assert (np.abs(changed - images).max(axis=(1, 2, 3)) > 1e-3).all()
    grey = np.repeat(np.asarray(images).mean(axis=-1, keepdims=True), 3, axis=-1)
    turned = np.concatenate([grey[:, :31, ::-1], grey[:, 31:]], axis=1)

    def agreement(a, b):
        return np.array([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)])

    light = np.asarray(changed).mean(axis=-1, keepdims=True)
    kept, mirrored = agreement(light, grey[..., :1]), agreement(light, turned[..., :1])
    assert (np.maximum(kept, mirrored) > 0.999).all() and (kept > 0.999).any() and (mirrored > 0.999).any()


def test_latents_are_white_and_tell_maps_apart(rng):
    maps = rng.integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    latents, weight = latents_of(maps, length=64)
    assert weight.shape == (64,) and (np.diff(weight) <= 0).all() and weight[0] > 1 and not weight[39:].any()
    assert latents.shape == (40, 64) and not latents[:, 39:].any()
    np.testing.assert_allclose(latents[:, :39].T @ latents[:, :39] / 40, np.eye(39), atol=1e-5)
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=1e-5)
    assert reduced(maps, size=4)[3, 0, 0].tolist() == np.rint(maps[3, :4, :4].mean(axis=(0, 1))).tolist()


def test_stages_are_read_and_checked(tmp_path):
    read = read_stages(TextureTraining(out=tmp_path, stages=("64:warm:5", "128:game:7")))
    assert read == [Stage(size=64, warm=True, steps=5), Stage(size=128, warm=False, steps=7)]
    wrong = ((("64:warm",), "is not SIZE:warm:STEPS"), (("64:game:5", "256:game:5"), "must keep or double the size"))
    for stages, message in wrong:
        with pytest.raises(FitkitError, match=f"E_FIELD.*{message}"):
            read_stages(TextureTraining(out=tmp_path, stages=stages))
    with pytest.raises(FitkitError, match="E_USAGE.*nothing to train on"):
        train(TextureTraining(out=tmp_path))


def toy_run(out, **fields):
    """A run on maps of two kinds, dark above and dark below."""
    rng = np.random.default_rng(1)
    shade = np.linspace(40, 200, 8)[:, None, None] * np.ones((1, 8, 3))
    maps = np.stack([shade[:: (-1) ** i] + rng.normal(0, 6, (8, 8, 3)) for i in range(24)]).clip(0, 255).astype(np.uint8)
    folder = out.with_name(f"maps of {out.name}")
    folder.mkdir(parents=True)
    for index, each in enumerate(maps):
        Image.fromarray(each).save(folder / f"{index:02d}.png")
    given = {"maps": folder, "stages": ("8:warm:2", "8:game:6"), "batch": 4, "pairs": 2, "checkpoint_every": 3, "sheet_every": 100,
             "game": TINY}
    return TextureTraining(out=out, **(given | fields)), maps


def test_maps_are_kept_and_made_anew_where_they_are_of_something_else(tmp_path, monkeypatch):
    toy, maps = toy_run(tmp_path / "run")
    np.testing.assert_array_equal(training.training_maps(toy), maps)
    moved = dataclasses.replace(toy, maps=toy.maps.rename(tmp_path / "elsewhere"))
    with monkeypatch.context() as patched:
        patched.setattr(training.paint, "read_maps", None)
        np.testing.assert_array_equal(training.training_maps(moved), maps)         # kept
    (moved.maps / "00.png").rename(moved.maps / "99.png")
    np.testing.assert_array_equal(training.training_maps(moved), np.roll(maps, -1, 0))
    (moved.maps / "99.png").unlink()
    np.testing.assert_array_equal(training.training_maps(moved), maps[1:])


def test_a_stopped_run_goes_on_bit_by_bit(tmp_path, monkeypatch):
    whole, _ = toy_run(tmp_path / "whole")
    train(whole)
    halted, _ = toy_run(tmp_path / "halted")
    move, moves = training._update, iter(range(6))

    def until(*arguments):
        next(moves)                             # StopIteration inside the generator of steps: the run dies in the seventh move
        return move(*arguments)

    monkeypatch.setattr(training, "_update", until)
    with pytest.raises(RuntimeError):
        train(halted)
    assert checkpoints.read_notes(halted.out / "checkpoint.safetensors") == {"stage": 1, "step": 3}
    monkeypatch.setattr(training, "_update", move)
    train(halted)
    first, second = ((run.out / "checkpoint.safetensors").read_bytes() for run in (whole, halted))
    assert first == second
    log = [json.loads(line) for line in (whole.out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 6] and log[1]["stage"] == 1
    assert len(list(whole.out.glob("samples_*.png"))) == 2
    parameters, config = load_generator(path=whole.out / "texture_generator.safetensors")
    assert config == TINY.generator and float(jnp.abs(parameters["style_mean"]).max()) > 0


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = checkpoints.save(tmp_path / "c.safetensors", {"a": jnp.ones(3), "b": (jnp.zeros((), jnp.int32),)}, notes={"step": 1})
    back = checkpoints.restore(path, {"a": jnp.zeros(3), "b": (jnp.ones((), jnp.int32),)})
    assert back["a"].tolist() == [1, 1, 1] and back["b"][0].dtype == jnp.int32
    with pytest.raises(FitkitError, match="E_DATA.*another network"):
        checkpoints.restore(path, {"a": jnp.zeros(4), "b": (jnp.ones((), jnp.int32),)})
    path.write_bytes(b"no weights")
    for read in (lambda: checkpoints.read_notes(path), lambda: checkpoints.restore(path, {})):
        with pytest.raises(FitkitError, match="E_DATA.*cannot be read"):
            read()


def distance(images, maps):
    """Mean distance of each map to the nearest image: what of the data a set of samples reaches."""
    apart = np.abs(images.reshape(len(images), 1, -1) - maps.reshape(1, len(maps), -1) / 255).mean(axis=-1)
    return apart.min(axis=0).mean()


def trained_distance(toy, maps):
    parameters, config = load_generator(path=train(toy))
    return distance(training.sample(parameters, config, count=32, truncation=1.0), maps)


@pytest.mark.parametrize("steps", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_training_brings_samples_to_the_maps(tmp_path, steps):
    start, maps = toy_run(tmp_path / "start", stages=("8:warm:1", "8:game:1"))
    learned, _ = toy_run(tmp_path / "learned", stages=(f"8:warm:{steps}", f"8:game:{steps}"))
    before, after = trained_distance(start, maps), trained_distance(learned, maps)
    assert after < (0.7 if steps < 1000 else 0.4) * before
