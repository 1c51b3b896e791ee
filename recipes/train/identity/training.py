"""Trains a small identity network, ten times as fast as the embedded one: a file for `load_identity`.

    python -m fitkit.recipes.train.identity --photos DIR --skins DIR --teacher mobileface --work DIR --out FILE

A small IResNet is trained by ArcFace's angular margin (Deng et al. 2019, Eq. 3) on renderings of random identities, and by
distilling a teacher network's feature maps and embeddings (Romero et al. 2015, "FitNets"; Park et al. 2019, "Relational knowledge
distillation", for products within a batch) on those renderings and on augmented faces from photos. Stages are first trained
separately, each fed with the teacher's map, then together. `pictures.py` makes the images; a run that was stopped goes on from its
checkpoint.
"""

import concurrent.futures
import dataclasses
import functools
import json
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from fitkit.detection.face_crop import SIZE
from fitkit.geometry.vectors import safe_normalize
from fitkit.io.atomic_files import write_bytes
from fitkit.models.heads import makehuman
from fitkit.models.identity.iresnet import IResNet, IResNetPlan
from fitkit.models.identity.layers import fold
from fitkit.models.identity.network import Identity, activations, embed, encode_identity, load_identity
from fitkit.recipes.synthesize.textures.paint import textures
from fitkit.recipes.train import checkpoints
from fitkit.recipes.train.identity.augmentation import augment, blend, composite
from fitkit.recipes.train.identity.pictures import MARGIN, Renderings, photo_crops, photo_patches, render_people

# its feature maps have the shapes of the teacher's
STUDENT = IResNetPlan(layers=(2, 2, 2, 2), widths=(32, 32, 64, 128), stem=16, stem_stride=2, embedding=256)
WARM_UP = 100               # steps in which the learning rate rises, at most; chosen, not tuned
GRADIENT_NORM = 5.0         # to which gradients are clipped; chosen, not tuned
WEIGHT_DECAY = 1e-4         # of Adam; chosen, not tuned
VARIANCE_FLOOR = 0.05       # added to a channel's variance, over the map's mean variance: nearly constant channels stay small
BEND, PHOTO_BEND = 1.0, 5.0      # pixels: displacement of the augmentation, of renderings and of photos
VALIDATION_SHARE, VALIDATION_OFFSET = 8, 4      # every eighth face of the photos, from the fifth on, is kept for validation

MapNormalisation = tuple[tuple[Array, Array], ...]        # for each feature map of the teacher: mean and factor of each channel


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Data, schedule and weights of a training run.

    Attributes:
        people: rendered identities.
        views: renderings of each.
        batch: crops in a step, half rendered, half from photos.
        apart: first steps, in which each stage is fed with the teacher's map instead of the stage before it.
        steps: all steps.
        rate: learning rate of Adam; it falls to 0 in the last third.
        margin: ArcFace's m, radians.
        scale: ArcFace's s.
        weight_margin: of ArcFace's loss, once stages are trained together.
        weight_maps: of the squared errors of the feature maps, in the teacher's variances.
        weight_vector: of 1 - cosine to the teacher's embedding.
        weight_relation: of the squared errors of inner products within the batch.
        every: steps between checkpoints and lines of the log.
        seed: of everything random.
    """

    people: int = 900
    views: int = 8
    batch: int = 64
    apart: int = 400
    steps: int = 1650
    rate: float = 2e-3
    margin: float = 0.35
    scale: float = 30.0
    weight_margin: float = 0.1
    weight_maps: float = 0.5
    weight_vector: float = 4.0
    weight_relation: float = 2.0
    every: int = 100
    seed: int = 0


class Batch(NamedTuple):
    """The crops of one step: renderings first, then photos."""

    crops: UInt8[np.ndarray, "b 112 112 3"]
    people: Int[np.ndarray, " r"]               # of the renderings


class TrainingState(NamedTuple):
    """What a checkpoint holds. Field names are those of the file."""

    weights: Any                        # of the network
    statistics: Any                     # running ones of its normalisation
    centres: Float[Array, "n d"]        # a direction for each rendered person
    optimiser: Any


def arcface(vectors: Float[Array, "b d"], centres: Float[Array, "n d"], people: Int[Array | np.ndarray, " b"], *, margin: float,
            scale: float) -> Float[Array, ""]:
    """Mean of -log softmax(s cos(angle + m at the own centre)): Deng et al. 2019, Eq. 3; unit vectors in, centres of any length."""
    cosine = jnp.clip(vectors @ safe_normalize(centres).T, -1.0 + 1e-6, 1.0 - 1e-6)
    own = jax.nn.one_hot(people, len(centres))
    # beyond pi - m the cosine would rise again; its tangent goes on
    angle = jnp.arccos(cosine)
    pushed = jnp.where(angle < np.pi - margin, jnp.cos(angle + margin), cosine - margin * np.sin(margin))
    return optax.softmax_cross_entropy_with_integer_labels(scale * jnp.where(own > 0, pushed, cosine), people).mean()


def map_error(maps: tuple[Array, ...], targets: tuple[Array, ...]) -> Float[Array, ""]:
    """Mean squared error, over the maps and all that is in them."""
    errors = [jnp.mean(jnp.square(ours - theirs)) for ours, theirs in zip(maps, targets, strict=True)]
    return sum(errors[1:], start=errors[0]) / len(errors)


def map_normalisation(teacher: Identity, crops: UInt8[np.ndarray, "b 112 112 3"]) -> MapNormalisation:
    """Mean and factor that bring each channel of the teacher's feature maps to mean 0 and variance about 1."""
    _, maps = jax.jit(activations)(teacher, jnp.asarray(crops, jnp.float32) / 255)
    variances = [jnp.var(each, axis=(0, 1, 2)) for each in maps]
    return tuple((jnp.mean(each, axis=(0, 1, 2)), 1 / jnp.sqrt(variance + VARIANCE_FLOOR * variance.mean() + 1e-12))
                 for each, variance in zip(maps, variances, strict=True))


def forward(network: IResNet, crops: Float[Array, "b 112 112 3"], fed: tuple[Array, ...] | None) -> tuple[Array, tuple[Array, ...]]:
    """Unit embeddings and feature maps; with `fed`, each stage starts from that map, not from the stage before."""
    if fed is None:
        vectors, maps = network(crops)
        return safe_normalize(vectors), maps
    x = network.prelu(network.stem((crops * 255.0 - 127.5) / network.divisor))
    stages: list[Array] = []
    for unit, last in zip(network.units, network.last, strict=True):
        x = unit(x)
        if last:
            stages.append(x)
            x = fed[len(stages) - 1]
    return safe_normalize(network.output(network.scaling(x).reshape(len(x), -1))), tuple(stages)


def losses(network: IResNet, centres: Array, crops: Array, people: Array | np.ndarray, taught: tuple[Array, tuple[Array, ...]],
           schedule: TrainingConfig, apart: bool) -> dict[str, Array]:
    """Every term of the loss by name, unweighted."""
    vectors, maps = forward(network, crops, taught[1] if apart else None)
    own = vectors[:len(people)]
    return {
        "maps": map_error(maps, taught[1]),
        "vector": 1.0 - jnp.mean(jnp.sum(vectors * taught[0], -1)),
        "relation": jnp.mean(jnp.square(vectors @ vectors.T - taught[0] @ taught[0].T)),
        "margin": arcface(own, centres, people, margin=schedule.margin, scale=schedule.scale),
    }


def make_optimizer(schedule: TrainingConfig) -> optax.GradientTransformation:
    """AdamW; the rate rises, stays, and falls in the last third: a run can be lengthened while it stays."""
    rise, fall = min(WARM_UP, schedule.steps // 10), schedule.steps // 3
    rate = optax.join_schedules([
        optax.linear_schedule(0.0, schedule.rate, rise), optax.constant_schedule(schedule.rate),
        optax.linear_schedule(schedule.rate, 0.0, fall)], [rise, schedule.steps - fall])
    return optax.chain(optax.clip_by_global_norm(GRADIENT_NORM), optax.adamw(rate, weight_decay=WEIGHT_DECAY))


@functools.partial(jax.jit, static_argnames=("graph", "schedule", "apart"), donate_argnames="learner")
def train_step(
    learner: TrainingState, batch: Batch, teacher: Identity, levels: MapNormalisation, *, graph: Any, schedule: TrainingConfig,
    apart: bool,
) -> tuple[TrainingState, dict[str, Array]]:
    """One step of all weights; with `apart`, stages are trained separately and without the margin loss."""
    crops = jnp.asarray(batch.crops, jnp.float32) / 255
    vectors, maps = activations(teacher, crops)
    taught = vectors, tuple((each - mean) * factor for each, (mean, factor) in zip(maps, levels, strict=True))
    weights = {"maps": schedule.weight_maps, "vector": schedule.weight_vector, "relation": schedule.weight_relation,
               "margin": 0.0 if apart else schedule.weight_margin}

    def total(trained: tuple[Any, Array]) -> tuple[Array, tuple[dict[str, Array], Any]]:
        network = nnx.merge(graph, trained[0], learner.statistics, copy=True)
        terms = losses(network, trained[1], crops, batch.people, taught, schedule, apart)
        whole = jnp.sum(jnp.stack([weights[name] * term for name, term in terms.items()]))
        return whole, (terms, nnx.state(network, nnx.BatchStat))

    trained = (learner.weights, learner.centres)
    gradient, (terms, statistics) = jax.grad(total, has_aux=True)(trained)
    change, optimiser = make_optimizer(schedule).update(gradient, learner.optimiser, trained)
    stepped = optax.apply_updates(trained, change)
    return TrainingState(stepped[0], statistics, stepped[1], optimiser), terms


def initial_training_state(key: Array, plan: IResNetPlan, schedule: TrainingConfig) -> tuple[Any, TrainingState]:
    """The network's graph, and a state with random weights (He et al. 2015, Eq. 14)."""
    network: Any = IResNet(plan, train=True)
    graph, (weights, statistics) = nnx.graphdef(network), nnx.state(network, nnx.Param, nnx.BatchStat)
    for_network, for_centres = jax.random.split(key)
    leaves, structure = jax.tree.flatten(weights)
    keys = jax.random.split(for_network, len(leaves))
    leaves = [jnp.asarray(leaf) if leaf.ndim < 2 else jax.random.normal(k, leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
              for k, leaf in zip(keys, leaves, strict=True)]
    weights = jax.tree.unflatten(structure, leaves)
    centres = jax.random.normal(for_centres, (schedule.people, plan.embedding)) / np.sqrt(plan.embedding)
    optimiser = make_optimizer(schedule).init((weights, centres))
    return graph, TrainingState(weights, jax.tree.map(jnp.asarray, statistics), centres, optimiser)


class TrainingImages(NamedTuple):
    """Everything that batches are drawn from."""

    renderings: Renderings
    photos: np.ndarray
    watched: np.ndarray             # photos for validation
    backgrounds: np.ndarray


def draw_batch(bank: TrainingImages, step: int, schedule: TrainingConfig) -> Batch:
    """The batch of a step; depends on the seed and the step alone. A third of the photos are blended with renderings."""
    rng = np.random.default_rng([schedule.seed, step])
    crops, rendered = [], schedule.batch // 2
    picked = rng.integers(len(bank.renderings.people), size=schedule.batch)
    grounds, photos, partners = (rng.integers(len(of), size=schedule.batch) for of in (bank.backgrounds, bank.photos, bank.photos))
    for i in range(schedule.batch):
        head = composite(bank.renderings.crops[picked[i]], bank.renderings.masks[picked[i]], bank.backgrounds[grounds[i]])
        if i < rendered:
            crops.append(augment(rng, head, bend=BEND))
        else:
            partner = head if i % 3 == 0 else bank.photos[partners[i]]
            crops.append(augment(rng, blend(rng, bank.photos[photos[i]], partner), bend=PHOTO_BEND))
    return Batch(np.stack(crops), bank.renderings.people[picked[:rendered]])


def load_training_images(
    work: pathlib.Path, photos: str, skins: str, schedule: TrainingConfig, *, without: tuple[str, ...]
) -> TrainingImages:
    """Renderings, photo crops and backgrounds, made once and stored in the work folder."""
    made_of = {"photos": checkpoints.folder_digest(photos), "skins": checkpoints.folder_digest(skins), "people": schedule.people,
               "views": schedule.views, "seed": schedule.seed, "without": without}

    def make() -> dict[str, np.ndarray]:
        maps = textures(skins, size=128, count=schedule.people, seed=schedule.seed + 5)
        key, head = jax.random.key(schedule.seed + 1), makehuman.load()
        rendered = render_people(key, head, maps, people=schedule.people, views=schedule.views)
        faces, _ = photo_crops(photos, without=without)
        backgrounds = photo_patches(jax.random.key(schedule.seed + 2), photos)
        return {**rendered._asdict(), "photos": faces, "backgrounds": backgrounds}

    stored = checkpoints.make_once(work / "bank.safetensors", made_of, make)
    faces = stored["photos"]
    watched = np.arange(len(faces)) % VALIDATION_SHARE == VALIDATION_OFFSET
    return TrainingImages(Renderings(stored["crops"], stored["masks"], stored["people"]), faces[~watched], faces[watched],
                stored["backgrounds"])


def validation_cosine(learner: TrainingState, graph: Any, teacher: Identity, photos: np.ndarray, plan: IResNetPlan) -> float:
    """Mean cosine between embeddings of the folded network and of the teacher, on the validation photos."""
    crops = jnp.asarray(photos[:, MARGIN:MARGIN + SIZE, MARGIN:MARGIN + SIZE], jnp.float32) / 255
    ours = Identity(parameters=export(learner, graph), plan=plan, name="trained")
    vectors = [jax.jit(embed)(network, crops) for network in (ours, teacher)]
    return float(jnp.mean(jnp.sum(vectors[0] * vectors[1], -1)))


def export(learner: TrainingState, graph: Any) -> dict[str, Any]:
    """The parameters with batch normalisation folded in."""
    return fold(nnx.merge(graph, learner.weights, learner.statistics, copy=True))


def train(bank: TrainingImages, teacher: Identity, schedule: TrainingConfig, *, work: pathlib.Path, plan: IResNetPlan = STUDENT,
          ) -> tuple[TrainingState, Any]:
    """Run the schedule from the last checkpoint in `work`, or from the start; scalars go to `work/log.jsonl`."""
    graph, learner = initial_training_state(jax.random.key(schedule.seed), plan, schedule)
    path, first = work / "checkpoint.safetensors", 0
    if path.is_file():
        first, learner = int(checkpoints.read_notes(path)["step"]), checkpoints.restore(path, learner)
    levels = map_normalisation(teacher, draw_batch(bank, 0, schedule).crops)
    ahead = concurrent.futures.ThreadPoolExecutor(1)
    following = ahead.submit(draw_batch, bank, first, schedule)
    began, sums = time.monotonic(), dict[str, list[Array]]()
    for step in range(first, schedule.steps):
        learner, terms = train_step(learner, following.result(), teacher, levels, graph=graph, schedule=schedule,
                                    apart=step < schedule.apart)
        following = ahead.submit(draw_batch, bank, step + 1, schedule)        # while the step runs
        for name, term in terms.items():
            sums.setdefault(name, []).append(term)
        done = step + 1
        if done % schedule.every == 0 or done == schedule.steps:
            checkpoints.save(path, learner, notes={"step": done})
            means = {name: round(float(np.mean(jax.device_get(values))), 4) for name, values in sums.items()}
            means["watched"] = round(validation_cosine(learner, graph, teacher, bank.watched, plan), 4)
            left = (time.monotonic() - began) / (done - first) * (schedule.steps - done)
            print(f"step {done} of {schedule.steps}, {left / 60:.1f} min left: {means}", flush=True)
            with (work / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": done, **means}) + "\n")
            sums = {}
    return learner, graph


def main(*, photos: str, skins: str, work: str, out: str, teacher: str = "mobileface", without: tuple[str, ...] = (),
         schedule: TrainingConfig = TrainingConfig()) -> None:  # noqa: B008
    """Train a small identity network on renderings and photos, with a teacher that `fitkit assets import identity` imported.

    Training images, checkpoints and a log stand in the work folder; a run that was stopped goes on from there bit by bit.

    Args:
        photos: folder of photos with faces.
        skins: folder of MakeHuman's skins.
        work: folder of the training images, checkpoints and log.
        out: weight file to write.
        teacher: an imported identity network.
        without: faces of photos left out, as FILE:NUMBER, the largest face of a photo being 0.
        schedule: data, schedule and weights.
    """
    bank = load_training_images(pathlib.Path(work), photos, skins, schedule, without=without)
    learner, graph = train(bank, load_identity(name=teacher), schedule, work=pathlib.Path(work))
    write_bytes(out, encode_identity(export(learner, graph), STUDENT, half=True))
