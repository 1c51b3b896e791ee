"""Tracking CoarseNet's training: Eq. 16 and 17 against loops, the sign of the difference, what is read of labels, mirrors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.geometry.camera import project
from fitkit.labels.record import encode
from fitkit.labels.shards import shard_path, start_run, write_shard
from fitkit.models.coarsenet.crop import crop_of_points
from fitkit.models.coarsenet.estimate import camera_of, pose_of
from fitkit.models.coarsenet.network import PAPER_TRACKING, CoarseNet
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.recipes.train.coarsenet import losses
from fitkit.recipes.train.coarsenet.configuration import HeadTables, tables_of
from fitkit.recipes.train.coarsenet.data import MARGIN, POINTS, STORED
from fitkit.recipes.train.tracking_coarsenet import frames, task
from fitkit.recipes.train.tracking_coarsenet.configuration import PAPER_TRAINING, SMALL_TRAINING, mirrored_numbers
from fitkit.recipes.train.tracking_coarsenet.data import FrameArrays, read_frames
from fitkit.recipes.train.tracking_coarsenet.task import TRACKING_COARSENET, FrameData
from fitkit.rendering.shading import sh_irradiance
from fitkit.types import SurfacePoints
from tests.fixtures import numpy_oracles
from tests.fixtures.tiny_head import tiny_head
from tests.fixtures.toy_labels import toy_record

TINY = dataclasses.replace(PAPER_TRAINING, batch=2, side=32, width=2, points=32, perspective=True)
POSE = np.array([20.0, -5.0, 4.0, 0.02, -0.03, -5.4], np.float32)
DIFFERENCE = np.array([2.0, -1.0, 1.0, 0.02, 0.01, 0.03], np.float32)


def camera_at(pose):
    """In pixels of a stored picture."""
    camera = camera_of(jnp.asarray(pose), tables_of("makehuman").middle, focal=jnp.float32(2.0), principal=jnp.array([0.6, 0.4]))
    return dataclasses.replace(camera, focal=camera.focal * 128, principal=camera.principal * 128 + 16)


@pytest.fixture(scope="module")
def arrays():
    """Labels of two frames of the embedded head: noise, whose pixels see what they would see."""
    rng, model = np.random.default_rng(0), tables_of("makehuman").model
    identity, expression = rng.normal(0, 0.5, (2, 200)).astype(np.float32), rng.uniform(0, 0.3, (2, 52)).astype(np.float32)
    now, before = camera_at(POSE), camera_at(POSE - DIFFERENCE)
    triangle = rng.integers(len(model.triangles), size=(2, POINTS))
    barycentric = rng.dirichlet([1, 1, 1], (2, POINTS)).astype(np.float32)
    place = [project(now, values_at_points(SurfacePoints(triangle=jnp.asarray(t), barycentric=jnp.asarray(b)), model.triangles,
                                           shape(model, jnp.asarray(i), jnp.asarray(e))))[0]
             for t, b, i, e in zip(triangle, barycentric, identity, expression, strict=True)]
    twice = {name: np.repeat(np.asarray(value)[None], 2, 0) for name, value in (
        ("rotation", now.rotation), ("translation", now.translation), ("focal", now.focal), ("principal", now.principal),
        ("previous_rotation", before.rotation), ("previous_translation", before.translation))}
    mask = np.zeros((2, STORED, STORED), np.uint8)
    mask[:, 40:120, 50:110] = 3
    return FrameArrays(
        pictures=rng.integers(0, 256, (2, STORED, STORED, 3)).astype(np.uint8), mask=mask, identity=identity, expression=expression,
        triangle=triangle, barycentric=barycentric, place=np.asarray(place), albedo=rng.normal(size=(2, 54)).astype(np.float32),
        colour=rng.integers(0, 256, (2, POINTS, 3)).astype(np.uint8), **twice)


def batch_of(arrays, config):
    drawn = TRACKING_COARSENET.batch(FrameData(train=arrays, held=arrays), config, range(2))
    return {name: jnp.asarray(value) for name, value in drawn.items()}


def seen_of(arrays, mirrored=False):
    """The labels' frames without pictures."""
    side = STORED / MARGIN
    camera = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], 2, 0), camera_at(POSE))
    camera = dataclasses.replace(camera, focal=camera.focal / side, principal=camera.principal / side + (1 - MARGIN) / 2)
    return frames.SeenFrames(
        pictures=jnp.zeros((2, 1)), camera=camera, before=jnp.repeat(jnp.asarray(POSE - DIFFERENCE)[None], 2, 0),
        scale=jnp.full(2, 1 / side), offset=jnp.full((2, 2), (1 - MARGIN) / 2), mirrored=jnp.full(2, mirrored))


def test_the_difference_is_current_minus_previous(arrays):
    """The truth loses nothing in pose and geometry, and the other sign much; a mirrored frame is told mirrored."""
    batch, truth = batch_of(arrays, TINY), []
    for sign in (1, -1):
        numbers = [batch["identity"], batch["expression"], jnp.repeat(jnp.asarray(sign * DIFFERENCE)[None], 2, 0), batch["albedo"],
                   jnp.ones((2, 27))]
        truth.append(jnp.concatenate(numbers, axis=1))
    terms = jax.jit(lambda numbers, seen: task.terms_of(lambda _: numbers, seen, batch, TINY)[1])
    right, wrong = terms(truth[0], seen_of(arrays)), terms(truth[1], seen_of(arrays))
    assert max(float(right["pose"]), float(right["geometry"])) < 1e-3 < 0.1 < float(wrong["pose"])
    assert float(wrong["geometry"]) < 1e-3 < float(right["colour"])
    again = terms(mirrored_numbers(truth[0], TINY), seen_of(arrays, mirrored=True))
    np.testing.assert_allclose([again[name] for name in ("pose", "geometry", "colour")],
                               [right[name] for name in ("pose", "geometry", "colour")], rtol=1e-3, atol=1e-4)


def test_frames_before_are_the_labels_or_drawn_around_the_pose(arrays):
    batch = batch_of(arrays, TINY)
    seen = jax.jit(lambda batch: frames.plain_frames(batch, TINY))(batch)
    np.testing.assert_allclose(seen.before - jax.vmap(lambda camera: pose_of(camera, tables_of("makehuman").middle))(seen.camera),
                               np.repeat(-DIFFERENCE[None], 2, 0), atol=2e-3)
    assert seen.pictures.shape == (2, 32, 32, 6) and (np.asarray(seen.pictures[..., 3:]).any(-1).mean((1, 2)) > 0.3).all()
    drawn = np.asarray(jax.jit(jax.vmap(frames.drawn_difference))(jnp.arange(800, dtype=jnp.uint32).reshape(400, 2)))
    spread = np.array(frames.DRAWN) * (1 + frames.FAST_SHARE * (frames.FAST**2 - 1)) ** 0.5
    np.testing.assert_allclose(drawn.std(0) / spread, 1, atol=0.2)


def test_colours_are_equation_16(rng):
    """By a loop over pixels: true geometry and pose, a given skin and light."""
    head = tiny_head()
    tables = HeadTables(model=head, middle=jnp.array([0.0, 0.0, 85.0]), signs=jnp.ones(6), partner=jnp.arange(52))
    identity, expression, albedo = rng.normal(size=6), rng.uniform(0, 1, 52), rng.normal(size=4)
    camera = camera_of(jnp.asarray(POSE), tables.middle, focal=jnp.float32(2.0), principal=jnp.zeros(2))
    light = 0.1 * rng.normal(size=(9, 3)) + np.eye(9, 3)[:, :1] * 2
    triangle, barycentric = rng.integers(len(head.triangles), size=8), rng.dirichlet([1, 1, 1], 8)
    colour = rng.integers(0, 256, (8, 3)).astype(np.uint8)
    labels = {"identity": jnp.asarray(identity, jnp.float32), "expression": jnp.asarray(expression, jnp.float32),
              "triangle": triangle, "barycentric": jnp.asarray(barycentric, jnp.float32), "colour": colour}
    vertices = np.asarray(shape(head, labels["identity"], labels["expression"]), np.float64)
    triangles, total = np.asarray(head.triangles), 0.0
    skin = np.asarray(vertex_albedo(head, jnp.asarray(albedo, jnp.float32)), np.float64)
    normals = numpy_oracles.vertex_normals(vertices, triangles) @ np.asarray(camera.rotation, np.float64).T * [1, -1, -1]
    for t, weights, seen in zip(triangle, barycentric, colour, strict=True):
        x, y, z = (n := weights @ normals[triangles[t]]) / np.linalg.norm(n)
        basis = np.array([0.28209479, *(0.48860251 * np.array([y, z, x])), *(1.09254843 * np.array([x * y, y * z])),
                          0.31539157 * (3 * z * z - 1), 1.09254843 * x * z, 0.54627422 * (x * x - y * y)])
        linear = np.clip(weights @ skin[triangles[t]] * (basis @ light), 0, 1)
        encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        total += ((encoded - seen / 255) ** 2).sum() / 8
    found = frames.colour_distance(tables, labels, camera, jnp.asarray(albedo, jnp.float32), jnp.asarray(light, jnp.float32))
    np.testing.assert_allclose(found, total, rtol=1e-4)


def test_the_weights_of_equation_17_are_constants_of_the_derivative(rng):
    """Three terms of shared parameters: the slope is that of the sum with the weights frozen, by central differences."""
    matrix, start = rng.uniform(0.5, 2, (3, 4)) * [[4.0], [1.0], [0.2]], rng.uniform(0.5, 1, 4)

    def terms(x):
        return (matrix * x**2).sum(-1)

    pose, geometry, colour = terms(start)
    twice = 2 * (pose + geometry + colour)
    weights = np.array([geometry + colour, pose + colour, pose + geometry]) / twice
    expected = numpy_oracles.central_difference(lambda x: weights @ terms(x), start)
    found = jax.grad(lambda x: losses.balanced_three(*terms(x)))(jnp.asarray(start, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    moving = numpy_oracles.central_difference(
        lambda x: (terms(x).sum() ** 2 - (terms(x) ** 2).sum()) / (2 * terms(x).sum()), start)      # weights that move
    assert np.abs(moving - expected).max() > 0.05


def test_a_mirrored_light_lights_the_mirrored_side(rng):
    numbers = rng.normal(size=(1, TINY.network.outputs)).astype(np.float32)
    mirrored = mirrored_numbers(jnp.asarray(numbers), TINY)
    np.testing.assert_allclose(mirrored_numbers(mirrored, TINY), numbers, atol=1e-6)
    normal = rng.normal(size=3) / 2
    light, other = (np.asarray(each)[0, -27:].reshape(9, 3) for each in (numbers, mirrored))
    np.testing.assert_allclose(sh_irradiance(jnp.asarray(normal), jnp.asarray(light)),
                               sh_irradiance(jnp.asarray(normal * [-1, 1, 1]), jnp.asarray(other)), atol=1e-5)


def frame_record(number):
    """A toy record whose head was elsewhere in the frame before."""
    record = toy_record(number)
    place = np.array([0.0, 0.0, 400.0], np.float32)
    return dataclasses.replace(
        record, rotation=np.diag([1, -1, -1]).astype(np.float32), translation=place, focal=np.float32(20.0),
        previous_pose=np.zeros(6, np.float32), previous_rotation=np.diag([1, -1, -1]).astype(np.float32),
        previous_translation=place + [20, 0, 0], previous_pncc=np.zeros((0, 3), np.uint16))


def test_frames_are_stored_around_the_face_of_the_frame_before(tmp_path):
    head, record = tiny_head(), frame_record(0)
    start_run(tmp_path / "frames", {"kind": "frames", "head": "toy"})
    write_shard(shard_path(tmp_path / "frames", 0), [(0, encode(record))])
    start_run(tmp_path / "random", {"kind": "random", "head": "toy"})
    write_shard(shard_path(tmp_path / "random", 0), [(0, encode(toy_record(0)))])
    with pytest.raises(FitkitError, match="no frame before"):
        read_frames([tmp_path / "frames"], [tmp_path / "random"], head, drawn=False, most=None)
    _, found = read_frames([tmp_path / "frames"], [tmp_path / "frames", tmp_path / "random"], head, drawn=True, most=None)
    camera = dataclasses.replace(record.camera, translation=jnp.asarray(record.previous_translation))
    points = project(camera, values_at_points(head.dense, head.triangles, shape(head, *map(jnp.asarray, (record.identity,
                                                                                                       record.expression)))))[0]
    crop = crop_of_points(np.asarray(points))
    scale = STORED / (MARGIN * crop.side)
    np.testing.assert_allclose(found.focal[0], 20 * scale, rtol=1e-4)
    corner = crop.corner - (MARGIN - 1) / 2 * crop.side
    np.testing.assert_allclose(found.principal[0], (record.principal - corner) * scale, rtol=1e-3)
    pixels = np.floor(found.place[0] / scale + corner).astype(int)
    np.testing.assert_array_equal(found.colour[0], record.picture[pixels[:, 1], pixels[:, 0]])
    np.testing.assert_array_equal(found.previous_rotation[1], toy_record(0).rotation)       # nothing before it: drawn later


def test_the_paper_trains_as_it_says():
    assert (PAPER_TRAINING.batch, PAPER_TRAINING.steps, PAPER_TRAINING.rate, PAPER_TRAINING.final) == (100, 30_000, 5e-5, 1.0)
    assert not (PAPER_TRAINING.drawn or PAPER_TRAINING.augmented or PAPER_TRAINING.perspective)
    paper = dataclasses.replace(PAPER_TRAINING.network, identity=PAPER_TRACKING.identity, expression=PAPER_TRACKING.expression,
                                albedo=PAPER_TRACKING.albedo)
    assert paper == PAPER_TRACKING
    network = nnx.eval_shape(lambda: CoarseNet(paper, rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == 11_345_976


def gradient_of(arrays, config, *, evaluate=jax.jit):
    batch = batch_of(arrays, config)
    graph, parameters, rest = nnx.split(TRACKING_COARSENET.build(config, nnx.Rngs(0)), nnx.Param, ...)

    def loss(parameters):
        return TRACKING_COARSENET.loss(nnx.merge(graph, parameters, rest, copy=True), batch, config)

    return evaluate(jax.grad(loss, has_aux=True))(parameters)


def test_a_step_has_a_gradient_of_every_weight(arrays):
    """Traced, not computed: computed in the slow test below."""
    slope, terms = gradient_of(arrays, TINY, evaluate=lambda step: lambda weights: jax.eval_shape(step, weights))
    shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(TRACKING_COARSENET.build(TINY, nnx.Rngs(0)), nnx.Param))]
    assert [leaf.shape for leaf in jax.tree.leaves(slope)] == shapes and {"pose", "geometry", "colour"} <= set(terms)


@pytest.mark.slow
@pytest.mark.parametrize("config", [PAPER_TRAINING, SMALL_TRAINING], ids=["paper", "small"])
def test_a_step_of_the_full_configurations(arrays, config):
    slope, _ = gradient_of(arrays, dataclasses.replace(config, batch=2, points=256))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    last = slope["tracking"]["pose"] if config is SMALL_TRAINING else slope["resnet"]["output"]
    assert np.abs(last["kernel"][...]).max() > 0
