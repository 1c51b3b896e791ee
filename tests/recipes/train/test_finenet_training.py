"""Training of FineNet: losses against loops, crops that follow from their places, and a network that learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.labels.reading import open_labels, read_record
from fitkit.recipes.train.finenet import data, lighting, losses, task, wear
from fitkit.recipes.train.finenet.labelled_face import Face, read_face
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
    target[0, 1:3, :2] = 0.3      # level
    mask = np.zeros((2, 4, 5))
    mask[0, 1:3, :4] = 1      # the other picture shows no face
    gap = found[0] - target[0]
    inside = [(r, c) for r in range(4) for c in range(5) if mask[0, r, c]]
    expected = np.mean([gap[r, c] ** 2 for r, c in inside]) / 2
    lengths, weights = [], []
    for r, c in inside:
        if (r + 1, c) in inside and (r, c + 1) in inside:
            gaps, true = ([each[r, c + 1] - each[r, c], each[r + 1, c] - each[r, c]] for each in (gap, target[0]))
            weights.append(losses.WRINKLED if np.hypot(*true) > losses.STEEP else 1.0)
            lengths.append(np.sqrt(np.hypot(*gaps) ** 2 + losses.ROUNDED**2) - losses.ROUNDED)
    slopes = np.average(lengths, weights=weights) / 2
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
    assert whole["input"].shape == (8, 8, 8, 9) and np.isfinite(whole["input"]).all()
    assert {bool(target.any()) for target in whole["target"]} == {True, False}


def test_the_target_is_the_relief_in_pixels_of_what_is_bare(runs):
    face = read_face(data.open_crops(runs, [], flat=0.0).trained.relief, 0)
    record = with_relief([0])[0]
    assert np.isclose(face.pixel, face.middle / 300) and np.isclose(face.middle, 607)
    np.testing.assert_allclose(face.depth[record.head], 600 + np.nonzero(record.head)[0], atol=1e-3)      # without relief
    np.testing.assert_array_equal(face.displacement, np.where(record.mask & 4, 0, record.dense("displacement")))
    targets = [data.draw_crop(np.random.default_rng(seed), face, crop=SIZE)["target"] for seed in range(4)]
    expected = face.displacement / face.pixel
    either = expected, expected[:, ::-1], 0 * expected      # the last where relief is left out
    assert all(any(np.allclose(found, each, rtol=1e-6) for each in either) for found in targets)
    assert any(found.any() for found in targets)


def test_slopes_of_the_coarse_head_and_of_its_relief_make_its_normals(runs):
    source = open_labels(runs[0], fields=("picture", "mask"))
    face, record = read_face(data.open_crops(runs, [], flat=0.0).trained.relief, 0), read_record(source, 0)
    moved, depth = record.dense("displacement"), record.dense("depth")
    row, column = 6, 7
    scale = 300.0 / depth[row, column]
    steps = moved[row, column + 1] - moved[row, column - 1], moved[row + 1, column] - moved[row - 1, column]
    np.testing.assert_allclose(face.steps[:, row, column], scale / 2 * np.array(steps), rtol=1e-3, atol=1e-5)
    lines = (column + 0.5 - record.principal[0]) / 300, (row + 0.5 - record.principal[1]) / 300
    np.testing.assert_allclose(face.sight[:, row, column], lines, rtol=1e-5)
    normal = record.dense("normals")[row, column].astype(float)
    found = lighting.unit_normals((face.slopes + face.steps)[:, row, column], face.sight[:, row, column])
    np.testing.assert_allclose(found, normal / np.linalg.norm(normal), atol=2e-3)


def plane_face(side=96):
    """A level head below row 20."""
    rows = np.mgrid[:side, :side][0].astype(np.float32)
    there, one, two = rows > 20, np.ones((side, side), np.float32), np.zeros((2, side, side), np.float32)
    colour = np.repeat(0.4 * one[..., None], 3, axis=-1)
    depth = np.where(there, 600 + rows, 0).astype(np.float32)
    return Face(colour, depth, 0 * one, one, one, there, two, two, two, colour, 0.4 * one, 0.5, 650.0, 0.8)


def test_the_coarse_head_is_wrong_as_a_fits_is():
    face, window = plane_face(), (slice(0, 96), slice(0, 96))
    made = [wear.wrong_view(np.random.default_rng(seed), face, window, np.ones(9)) for seed in range(40)]
    depth = np.stack([view.depth for view in made])
    assert (depth[:, :10] == 0).all() and (depth[:, 40:] > 0).all()
    spread = (depth - face.depth)[:, 40:, 10:-10].std(axis=(1, 2))      # mm
    assert 0.1 < np.median(spread) < 4 and spread.max() > 3 * spread.min()
    lean = np.stack([view.slopes for view in made])[:, :, 40:].std(axis=(1, 2, 3))
    assert lean.min() > 0.005 and lean.max() < 0.3
    assert 0.01 < np.std([np.log(view.albedo / 0.4) for view in made]) < 0.2


def test_a_face_lit_anew_is_lamberts_and_its_light_is_found():
    y, x = (np.mgrid[:64, :64].astype(np.float32) - 31.5) / 40
    slopes = np.stack([x, y]) / np.sqrt(np.maximum(1 - x**2 - y**2, 0.05))      # a ball
    ball = plane_face(64)._replace(slopes=slopes, steps=0 * slopes, bare=np.ones((64, 64), bool))
    lamps, strengths, colours = lighting.draw_lamps(np.random.default_rng(4))
    normals = lighting.unit_normals(slopes, 0 * slopes)
    np.testing.assert_allclose(normals, np.moveaxis(np.stack([slopes[0], -slopes[1], 1 + 0 * x]) / np.sqrt(
        1 + slopes[0]**2 + slopes[1]**2), 0, -1), rtol=1e-5)
    lit = lighting.lit_by(normals, lamps, strengths, colours)
    for row, column in ((6, 6), (40, 20)):
        expected = strengths[-1] * colours[-1]
        for lamp, power, colour in zip(lamps, strengths, colours, strict=False):
            expected = expected + power * colour * max(0.0, normals[row, column] @ lamp)
        np.testing.assert_allclose(lit[row, column], expected, rtol=1e-5)
    assert np.isclose(strengths.sum(), 1) and np.allclose(np.linalg.norm(lamps, axis=1), 1, atol=1e-6)
    window, found = (slice(0, 64), slice(0, 64)), []
    for seed in range(12):
        shown = lighting.photographed(np.random.default_rng(seed), ball, window)
        if np.array_equal(shown.photo, ball.photo):      # as the picture is
            continue
        light = lighting.fitted_light(np.random.default_rng(seed), ball, shown)
        shade = np.asarray(lighting.sh_basis(normals)) @ light * 0.4
        true = lighting.linear(shown.photo) @ np.array([0.2126, 0.7152, 0.0722])
        found.append(np.corrcoef(shade.ravel(), true.ravel())[0, 1])
    assert len(found) > 5 and np.median(found) > 0.9


def test_paint_without_relief_and_hairs_are_drawn():
    face, window = plane_face(), (slice(0, 96), slice(0, 96))
    left_out = [lighting.photographed(np.random.default_rng(seed), face, window).relief for seed in range(60)]
    assert 0.02 < np.mean(np.equal(left_out, 0.0)) < 0.4
    taken = wear.hairs(np.random.default_rng(3), (64, 64))
    assert taken.shape == (64, 64) and taken.min() >= 0 and 0.1 < taken.max() < 1 and (taken < 0.05).mean() > 0.3


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
    batch["target"] = 0.4 * batch["input"][..., -1]      # what can be learned of pictures that are noise
    for _ in range(30):
        value, terms = step(network, optimizer, batch)
        assert np.isclose(value, terms["euclidean"] + SMALL.weight_slopes * terms["slopes"], rtol=1e-5)
        values.append(float(value))
    assert values[-1] < 0.5 * values[0]
    assert set(task.score(network, crops, SMALL)) == {"error_removed", "flat_degrees", "flat_pixels", "correlation"}
    sheet = task.pictures(network, crops, SMALL)["crops"]
    assert sheet.shape == (task.SHOWN * SIZE, 4 * SIZE, 3) and sheet.dtype == np.uint8
