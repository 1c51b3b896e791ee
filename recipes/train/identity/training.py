"""Trains the embedded identity network: `models/weights/identity.safetensors`.

    python -m fitkit.recipes.train.identity --photos DIR --skins DIR --teacher mobileface --work DIR --out FILE

A small IResNet learns from renderings of people who do not exist, told apart by ArcFace's angular margin (Deng et al. 2019, Eq. 3),
and from a teacher network's maps and vectors (Romero et al. 2015, "FitNets"; Park et al. 2019, "Relational knowledge distillation",
for the products within a batch), on those renderings and on faces from photos, blended and bent. Stages are first taught alone,
each fed with the teacher's map, then together. `identity_pictures.py` makes the pictures; a run that was stopped goes on.
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
from fitkit.recipes.train.identity.augmentation import augment, behind, blend
from fitkit.recipes.train.identity.pictures import MARGIN, Renderings, photo_crops, photo_patches, render_people

# its maps have the shapes of the teacher's
STUDENT = IResNetPlan(layers=(2, 2, 2, 2), widths=(32, 32, 64, 128), stem=16, stem_stride=2, embedding=256)


Levels = tuple[tuple[Array, Array], ...]        # for each map of the teacher: mean and factor of each channel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How it is trained.

    Attributes:
        people: rendered identities.
        views: renderings of each.
        batch: crops in a step, half rendered, half from photos.
        apart: steps in which each stage is fed with the teacher's map.
        steps: all steps.
        rate: learning rate of Adam; it falls to 0 in the last third.
        margin: ArcFace's m, radians.
        scale: ArcFace's s.
        weight_margin: of ArcFace's loss, once stages are taught together.
        weight_maps: of the squared errors of the maps, in the teacher's variances.
        weight_vector: of 1 - cosine to the teacher's vector.
        weight_relation: of the squared errors of products within the batch.
        every: steps between checkpoints and lines.
        seed: of everything drawn.
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
    """What one step sees: renderings first, then photos."""

    crops: UInt8[np.ndarray, "b 112 112 3"]
    people: Int[np.ndarray, " r"]               # of the renderings


class Learner(NamedTuple):
    """What a checkpoint holds."""

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


def levels_of(teacher: Identity, crops: UInt8[np.ndarray, "b 112 112 3"]) -> Levels:
    """What brings each channel of the teacher's maps to mean 0 and variance 1; nearly constant channels are left small."""
    _, maps = jax.jit(activations)(teacher, jnp.asarray(crops, jnp.float32) / 255)
    variances = [jnp.var(each, axis=(0, 1, 2)) for each in maps]
    return tuple((jnp.mean(each, axis=(0, 1, 2)), 1 / jnp.sqrt(variance + 0.05 * variance.mean() + 1e-12))
                 for each, variance in zip(maps, variances, strict=True))


def forward(network: IResNet, crops: Float[Array, "b 112 112 3"], fed: tuple[Array, ...] | None) -> tuple[Array, tuple[Array, ...]]:
    """Unit vectors and maps; with `fed`, each stage starts from these maps of another network instead of the one before it."""
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
           schedule: Schedule, apart: bool) -> dict[str, Array]:
    """Every term of the loss by name, unweighted."""
    vectors, maps = forward(network, crops, taught[1] if apart else None)
    own = vectors[:len(people)]
    return {
        "maps": map_error(maps, taught[1]),
        "vector": 1.0 - jnp.mean(jnp.sum(vectors * taught[0], -1)),
        "relation": jnp.mean(jnp.square(vectors @ vectors.T - taught[0] @ taught[0].T)),
        "margin": arcface(own, centres, people, margin=schedule.margin, scale=schedule.scale),
    }


def optimiser_of(schedule: Schedule) -> optax.GradientTransformation:
    """Adam with decoupled decay; the rate rises, stays, and falls in the last third: a run can be lengthened while it stays."""
    rise, fall = min(100, schedule.steps // 10), schedule.steps // 3
    rate = optax.join_schedules([
        optax.linear_schedule(0.0, schedule.rate, rise), optax.constant_schedule(schedule.rate),
        optax.linear_schedule(schedule.rate, 0.0, fall)], [rise, schedule.steps - fall])
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adamw(rate, weight_decay=1e-4))


@functools.partial(jax.jit, static_argnames=("graph", "schedule", "apart"), donate_argnames="learner")
def train_step(learner: Learner, batch: Batch, teacher: Identity, levels: Levels, *, graph: Any, schedule: Schedule, apart: bool,
               ) -> tuple[Learner, dict[str, Array]]:
    """One step of every weight; with `apart`, stages do not feed each other and the margin is left out."""
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
    change, optimiser = optimiser_of(schedule).update(gradient, learner.optimiser, trained)
    stepped = optax.apply_updates(trained, change)
    return Learner(stepped[0], statistics, stepped[1], optimiser), terms


def begin(key: Array, plan: IResNetPlan, schedule: Schedule) -> tuple[Any, Learner]:
    """The network's graph, and a learner with random weights (He et al. 2015, Eq. 14)."""
    network: Any = IResNet(plan, train=True)
    graph, (weights, statistics) = nnx.graphdef(network), nnx.state(network, nnx.Param, nnx.BatchStat)
    for_network, for_centres = jax.random.split(key)
    leaves, structure = jax.tree.flatten(weights)
    keys = jax.random.split(for_network, len(leaves))
    leaves = [jnp.asarray(leaf) if leaf.ndim < 2 else jax.random.normal(k, leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
              for k, leaf in zip(keys, leaves, strict=True)]
    weights = jax.tree.unflatten(structure, leaves)
    centres = jax.random.normal(for_centres, (schedule.people, plan.embedding)) / np.sqrt(plan.embedding)
    return graph, Learner(weights, jax.tree.map(jnp.asarray, statistics), centres, optimiser_of(schedule).init((weights, centres)))


class Bank(NamedTuple):
    """Everything a run draws from."""

    renderings: Renderings
    photos: np.ndarray
    watched: np.ndarray             # photos kept out of training, to watch it
    backgrounds: np.ndarray


def draw(bank: Bank, step: int, schedule: Schedule) -> Batch:
    """The batch of a step; depends on the seed and the step alone. A third of the photos are blended with renderings."""
    rng = np.random.default_rng([schedule.seed, step])
    crops, rendered = [], schedule.batch // 2
    picked = rng.integers(len(bank.renderings.people), size=schedule.batch)
    grounds, photos, partners = (rng.integers(len(of), size=schedule.batch) for of in (bank.backgrounds, bank.photos, bank.photos))
    for i in range(schedule.batch):
        head = behind(bank.renderings.crops[picked[i]], bank.renderings.masks[picked[i]], bank.backgrounds[grounds[i]])
        if i < rendered:
            crops.append(augment(rng, head, bend=1.0))
        else:
            partner = head if i % 3 == 0 else bank.photos[partners[i]]
            crops.append(augment(rng, blend(rng, bank.photos[photos[i]], partner), bend=5.0))
    return Batch(np.stack(crops), bank.renderings.people[picked[:rendered]])


def make_bank(work: pathlib.Path, photos: str, skins: str, schedule: Schedule, *, without: tuple[str, ...]) -> Bank:
    """The banks of pictures, made once and kept in the work folder."""
    made_of = {"photos": checkpoints.contents(photos), "skins": checkpoints.contents(skins), "people": schedule.people,
               "views": schedule.views, "seed": schedule.seed, "without": without}

    def make() -> dict[str, np.ndarray]:
        maps = textures(skins, size=128, count=schedule.people, seed=schedule.seed + 5)
        key, head = jax.random.key(schedule.seed + 1), makehuman.load()
        rendered = render_people(key, head, maps, people=schedule.people, views=schedule.views)
        faces, _ = photo_crops(photos, without=without)
        backgrounds = photo_patches(jax.random.key(schedule.seed + 2), photos)
        return {**rendered._asdict(), "photos": faces, "backgrounds": backgrounds}

    stored = checkpoints.kept(work / "bank.safetensors", made_of, make)
    faces = stored["photos"]
    watched = np.arange(len(faces)) % 8 == 4
    return Bank(Renderings(stored["crops"], stored["masks"], stored["people"]), faces[~watched], faces[watched],
                stored["backgrounds"])


def watch(learner: Learner, graph: Any, teacher: Identity, photos: np.ndarray, plan: IResNetPlan) -> float:
    """Mean cosine of the folded network's vectors and the teacher's, on photos it is not trained on."""
    crops = jnp.asarray(photos[:, MARGIN:MARGIN + SIZE, MARGIN:MARGIN + SIZE], jnp.float32) / 255
    ours = Identity(parameters=export(learner, graph), plan=plan, name="trained")
    vectors = [jax.jit(embed)(network, crops) for network in (ours, teacher)]
    return float(jnp.mean(jnp.sum(vectors[0] * vectors[1], -1)))


def export(learner: Learner, graph: Any) -> dict[str, Any]:
    """The folded parameters."""
    return fold(nnx.merge(graph, learner.weights, learner.statistics, copy=True))


def train(bank: Bank, teacher: Identity, schedule: Schedule, *, work: pathlib.Path, plan: IResNetPlan = STUDENT,
          ) -> tuple[Learner, Any]:
    """Run the schedule from the last checkpoint in `work`, or from the start; scalars go to `work/log.jsonl`."""
    graph, learner = begin(jax.random.key(schedule.seed), plan, schedule)
    path, first = work / "checkpoint.safetensors", 0
    if path.is_file():
        first, learner = int(checkpoints.notes_of(path)["step"]), checkpoints.restore(path, learner)
    levels = levels_of(teacher, draw(bank, 0, schedule).crops)
    ahead = concurrent.futures.ThreadPoolExecutor(1)
    following = ahead.submit(draw, bank, first, schedule)
    began, sums = time.monotonic(), dict[str, list[Array]]()
    for step in range(first, schedule.steps):
        learner, terms = train_step(learner, following.result(), teacher, levels, graph=graph, schedule=schedule,
                                    apart=step < schedule.apart)
        following = ahead.submit(draw, bank, step + 1, schedule)        # while the step runs
        for name, term in terms.items():
            sums.setdefault(name, []).append(term)
        done = step + 1
        if done % schedule.every == 0 or done == schedule.steps:
            checkpoints.save(path, learner, notes={"step": done})
            means = {name: round(float(np.mean(jax.device_get(values))), 4) for name, values in sums.items()}
            means["watched"] = round(watch(learner, graph, teacher, bank.watched, plan), 4)
            left = (time.monotonic() - began) / (done - first) * (schedule.steps - done)
            print(f"step {done} of {schedule.steps}, {left / 60:.1f} min left: {means}", flush=True)
            with (work / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": done, **means}) + "\n")
            sums = {}
    return learner, graph


def main(*, photos: str, skins: str, work: str, out: str, teacher: str = "mobileface", without: tuple[str, ...] = (),
         schedule: Schedule = Schedule()) -> None:  # noqa: B008
    """Train the embedded identity network on renderings and photos, by a teacher that `fitkit assets import identity` took.

    Pictures are made once and kept in the work folder, with checkpoints and a log; a run that was stopped goes on bit by bit.

    Args:
        photos: folder of photos with faces.
        skins: folder of MakeHuman's skins.
        work: folder of the banks, checkpoints and log.
        out: weight file to write.
        teacher: an imported identity network.
        without: faces of photos left out, as FILE:NUMBER.
        schedule: how it is trained.
    """
    bank = make_bank(pathlib.Path(work), photos, skins, schedule, without=without)
    learner, graph = train(bank, load_identity(name=teacher), schedule, work=pathlib.Path(work))
    write_bytes(out, encode_identity(export(learner, graph), STUDENT, half=True))
