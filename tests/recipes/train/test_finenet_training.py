"""Training of FineNet: losses against loops, crops that follow from their places, and a network that learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.models.finenet.inputs import HALF, NOWHERE
from fitkit.recipes.train.finenet import data, losses, task
from tests.fixtures.toy_labels import SIZE, toy_make, toy_record, toy_run

SMALL = dataclasses.replace(task.CONFIGS["small"], widths=(4, 8, 16), crop=SIZE, batch=4, seed=3)


def with_relief(numbers):
    """Toy pictures with a groove across the face; the head is 600 mm away."""
    made = []
    for record in map(toy_record, numbers):
        rows = np.nonzero(record.head)[0]
        moved = (0.9 * np.exp(-0.5 * (rows - 7) ** 2)).astype(np.float16)
        maps = {**record.maps, "displacement": moved, "depth": (600 + rows + moved.astype(np.float32)).astype(np.float32)}
        made.append(dataclasses.replace(record, maps=maps, focal=np.float32(300.0), source={**record.source, "kind": "detail"}))
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = []
    for kind, make, total in (("detail", with_relief, 12), ("toy", toy_make, 8)):
        folder = tmp_path_factory.mktemp(kind)
        toy_run(folder, count=total, per_shard=total, kind=kind, make=make)
        folders.append(folder)
    return folders


def test_losses_agree_with_loops():
    found, target = np.random.default_rng(0).normal(size=(2, 2, 4, 5))
    mask = np.zeros((2, 4, 5))
    mask[0, 1:3, :4] = 1      # the other picture shows no face
    gap = found[0] - target[0]
    inside = [(r, c) for r in range(4) for c in range(5) if mask[0, r, c]]
    expected = np.mean([gap[r, c] ** 2 for r, c in inside]) / 2
    slopes = sum(np.mean([(gap[r + i, c + j] - gap[r, c]) ** 2 for r, c in inside if (r + i, c + j) in inside]) / 2
                 for i, j in ((0, 1), (1, 0)))
    planes = [jnp.asarray(each, jnp.float32) for each in (found, target, mask)]
    assert np.isclose(losses.euclidean_loss(*planes), expected, rtol=1e-5)
    assert np.isclose(losses.slope_loss(*planes), slopes, rtol=1e-5)
    assert all(np.isfinite(jax.grad(loss)(*planes)).all() for loss in (losses.euclidean_loss, losses.slope_loss))


def test_the_last_persons_of_a_run_are_held_out(runs):
    crops = data.open_crops(runs, [], flat=0.5)
    assert [len(each) for each in (crops.trained.relief, crops.held.relief, crops.trained.flat, crops.held.flat)] == [8, 4, 4, 4]
    assert crops.held.relief.places[:, 1].tolist() == [8, 9, 10, 11]
    apart = data.open_crops(runs[:1], runs[:1], flat=0.5)
    assert len(apart.trained.relief) == len(apart.held.relief) == 12 and len(apart.trained.flat) == 0
    with pytest.raises(FitkitError, match="fitkit labels make detail"):
        data.open_crops(runs[1:], [], flat=0.5)


def test_a_crop_follows_from_its_place_alone(runs):
    crops = data.open_crops(runs, [], flat=0.5).trained
    whole = data.draw_crops(crops, 1, range(1, 9), crop=8)
    parts = [data.draw_crops(crops, 1, part, crop=8) for part in (range(1, 4), range(4, 9))]
    for name, values in whole.items():
        np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))
    assert whole["input"].shape == (8, 8, 8, 2) and np.isfinite(whole["input"]).all()
    assert {bool(target.any()) for target in whole["target"]} == {True, False}


def test_the_target_is_the_relief_in_pixels_of_what_is_bare(runs):
    face = data.read_face(data.open_crops(runs, [], flat=0.0).trained.relief, 0)
    record = with_relief([0])[0]
    assert np.isclose(face.pixel, face.middle / 300) and np.isclose(face.middle, 607)
    np.testing.assert_allclose(face.depth[record.head], 600 + np.nonzero(record.head)[0], atol=1e-3)      # without relief
    np.testing.assert_array_equal(face.displacement, np.where(record.mask & 4, 0, record.dense("displacement")))
    crop = data.draw_crop(np.random.default_rng(0), face, crop=SIZE)
    expected = face.displacement / face.pixel
    assert any(np.allclose(crop["target"], each, rtol=1e-6) for each in (expected, expected[:, ::-1]))


def test_the_coarse_depth_is_wrong_as_a_fits_is():
    rows = np.mgrid[:96, :96][0].astype(np.float32)
    there = rows > 20
    plane = np.ones((96, 96), np.float32)
    face = data.Face(plane, np.where(there, 600 + rows, 0).astype(np.float32), plane, plane, 0.5, 650.0, 0.8, there,
                     np.ones((96, 96, 3), np.float32), plane)
    found = np.stack([data.wrong_depth(np.random.default_rng(seed), face, 0, 0, crop=96) for seed in range(40)])
    true = (face.depth - face.middle) / (HALF * face.pixel)
    assert (found[:, :4] == NOWHERE).all() and (found[:, 40:] < NOWHERE).all()
    error = (found - true)[:, 40:, 10:-10] * HALF * face.pixel      # mm
    spread = error.std(axis=(1, 2))
    assert 0.1 < np.median(spread) < 4 and np.abs(np.diff(error, axis=1)).max() < 2 and spread.max() > 3 * spread.min()


def test_a_face_lit_anew_is_lamberts(runs):
    face = data.read_face(data.open_crops(runs, [], flat=0.0).trained.relief, 1)
    face = face._replace(normals=face.normals / np.linalg.norm(face.normals, axis=-1, keepdims=True).clip(1e-9))
    rng, whole = np.random.default_rng(4), (slice(None), slice(None))
    lamps, strengths = data.draw_lamps(np.random.default_rng(4))
    lit = data.lit_by(face.normals, lamps, strengths)
    for row, column in ((6, 6), (8, 9)):
        expected = strengths[-1] + sum(power * max(0.0, face.normals[row, column] @ lamp)
                                       for lamp, power in zip(lamps, strengths, strict=False))
        assert np.isclose(lit[row, column], expected, rtol=1e-5)
    assert np.isclose(strengths.sum(), 1) and np.allclose(np.linalg.norm(lamps, axis=1), 1, atol=1e-6)
    grey, level = data.relit(rng, face._replace(albedo=np.where(face.bare, 0.4, 0).astype(np.float32)), whole)
    np.testing.assert_array_equal(grey[~face.bare], face.grey[~face.bare])
    linear = (grey[face.bare] / level) ** 2.2
    free = grey[face.bare] < 1
    ratio = linear[free] / lit[face.bare][free]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_a_small_network_learns_a_batch(runs):
    crops = task.load(runs, [], SMALL)
    network = task.build(SMALL, nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(network, optimizer, batch):
        (value, terms), slope = nnx.value_and_grad(lambda each: task.loss(each, batch, SMALL), has_aux=True)(network)
        optimizer.update(network, slope)
        return value, terms

    batch, values = task.batch(crops, SMALL, range(4)), []
    batch["target"] = batch["input"][..., 0]       # what can be learned of pictures that are noise
    for _ in range(40):
        value, terms = step(network, optimizer, batch)
        assert np.isclose(value, terms["euclidean"] + SMALL.weight_slopes * terms["slopes"], rtol=1e-5)
        values.append(float(value))
    assert values[-1] < 0.5 * values[0]
    assert set(task.score(network, crops, SMALL)) == {"error_removed", "flat_degrees", "flat_pixels", "correlation"}
    sheet = task.pictures(network, crops, SMALL)["crops"]
    assert sheet.shape == (task.SHOWN * SIZE, 4 * SIZE, 3) and sheet.dtype == np.uint8
