"""What networks tell of expressions that points leave open: recipe `expression_proxy` and its prior, beside recipe `landmarks`.

    fitkit labels make expressions --out held --count 600 --seed 12 --skins SKINS
    python -m tests.measurements.expression_prior held [--count NUMBER] [--pairs NUMBER]

HELD holds people whom the dictionary does not. Prints, for the skin of the cheeks and beside the nose and for the whole face, how
far the vertices under the fitted expression lie from those under the true one (mean, mm; sizes of the heads folded out): of a face
at rest, of recipe `landmarks`, and of the prior and the recipe in each of its ways. Then, of pairs of faces with the same 68 points
and other cheeks, how often each tells which of both a picture shows: the one that its expression lies nearer to, and the one whose
features are likelier to be those seen (`FeatureModel`).
"""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.fitting.observation import known_lens, observe
from fitkit.fitting.state import Observation, Solution
from fitkit.io.images import Photo
from fitkit.labels.drawing import draw_scenes
from fitkit.labels.fine_head import fine_head
from fitkit.labels.hidden_modes import size_and_place
from fitkit.labels.reading import open_labels
from fitkit.models import heads
from fitkit.models.expression.dictionary import ALL, ExpressionDictionary
from fitkit.models.expression.features import see_expression
from fitkit.models.mediapipe import facemesh
from fitkit.morphable.model import values_at_points
from fitkit.morphable.regions import region_mask, union_of_regions
from fitkit.recipes import expression_proxy, landmarks
from fitkit.recipes.expression_proxy.prior import load_tables, prior_expression
from fitkit.recipes.expression_proxy.recipe import ExpressionProxyConfig
from fitkit.recipes.synthesize.emotions import draw_emotional
from fitkit.recipes.synthesize.labels import random
from fitkit.types import MorphableModel

SIZE = 224                      # side of the crop, pixels: the default of a fit
FOLDS = ((31, 48), (35, 54))    # of the 68 points: from each wing of the nose to the corner of the mouth
FOLD_WIDTH, FOLD_FADE = 14.0, 4.0       # mm about these lines: where the region ends, and begins to
STRONG = 1.5                    # mm in the region, of an expression that counts as strong
FAR_OFF = 0.15                  # of the face's size: mean distance of points from which the detector has another face
# Of ambiguous pairs
SAME_POINTS = 0.01              # mean distance of the 68 points, in distances of the outer eyes: equal
OTHER_CHEEKS = 0.6              # mm, mean over the region: other cheeks
HELD_POINTS, RIDGE, STEPS = 0.2, 1e-3, 2000      # weight of the points' mm^2 beside the cheeks', of the weights'; steps
PAIRS = 14              # seed of the pairs; those of 13 were looked at when features were chosen
WEIGHTS_RIDGE = 1e-3    # of the least squares from weights to features
CENTRED = (3e-6, 3e-5)  # weight_expression of the fits about the prior
CHEEKS = ("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight")


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """Where expressions are compared."""

    share: Float[np.ndarray, " V"]         # sums to 1
    expression: Float[np.ndarray, "E V 3"]

    def distance(self, one: Float[np.ndarray, " E"], other: Float[np.ndarray, " E"]) -> float:
        """Mean distance of the vertices under two expressions, mm."""
        moved = np.tensordot(np.asarray(one) - np.asarray(other), self.expression, 1)
        return float(np.linalg.norm(moved, axis=1) @ self.share)


def regions(model: MorphableModel) -> dict[str, Region]:
    """The skin of cheeks and folds beside the nose; and that of the face."""
    vertices, expression = np.asarray(model.mean, np.float64), np.asarray(model.expression, np.float64)
    marks = np.asarray(values_at_points(model.landmarks, model.triangles, model.mean), np.float64)
    gap = np.full(len(vertices), np.inf)
    for first, last in FOLDS:
        along = marks[last] - marks[first]
        place = np.clip((vertices - marks[first]) @ along / (along @ along), 0, 1)
        gap = np.minimum(gap, np.linalg.norm(vertices - marks[first] - place[:, None] * along, axis=1))
    skin = np.asarray(region_mask(model, "face_skin"), np.float64)
    bare = 1 - np.asarray(union_of_regions(model, ("lips", "nostrils", "nose", "eyelids")), np.float64)
    folds = np.maximum(np.asarray(region_mask(model, "cheeks")), np.clip((FOLD_WIDTH - gap) / FOLD_FADE, 0, 1)) * skin * bare
    kept = {"cheeks and folds": folds, "face": skin}
    return {name: Region(mask[mask > 0] / mask.sum(), expression[:, mask > 0]) for name, mask in kept.items()}


def observed(model: MorphableModel, picture: np.ndarray, true68: np.ndarray) -> Observation | None:
    """The face of a picture as a fit is given it, by our detector; None where it finds another or none."""
    pixels = picture.astype(np.float32) / 255
    photo = Photo(pixels=pixels, path="label", sha256="", exif_focal=None, warnings=())
    size = np.ptp(true68, axis=0).max()
    for face in facemesh.find_faces(pixels):
        observation, (scale, offset) = observe(model, photo, face, known_lens(photo, None, None), SIZE)
        if np.linalg.norm(np.asarray(observation.ibug) * scale + offset - true68, axis=1).mean() < FAR_OFF * size:
            return observation
    return None


def ways(model: MorphableModel) -> dict[str, Callable[[Observation], Float[Array, " E"]]]:
    """How an expression is told, by name: weights of the folded head."""
    tables = load_tables(model)
    told: dict[str, Callable[[Observation], Float[Array, " E"]]] = {"at rest": lambda _: jnp.zeros(len(model.expression))}

    def folded(solution: Solution) -> Float[Array, " E"]:
        face = solution.state.face
        return face.expression / size_and_place(model, face.identity)[0]

    def by_recipe(recipe: Any, config: Any) -> Callable[[Observation], Float[Array, " E"]]:
        return lambda observation: folded(recipe.solve(model, observation, config))

    told["landmarks"] = by_recipe(landmarks, landmarks.LandmarkConfig())
    told["landmarks, nothing learned"] = by_recipe(landmarks, landmarks.LandmarkConfig(learned_points=False))
    for norm in (2, 1):
        for neighbours in (1, 8, 32):
            told[f"proxy, prior fixed, L{norm}, {neighbours} nearest"] = jax.jit(
                functools.partial(prior_expression, tables, model, norm=norm, neighbours=neighbours))
    for weight in CENTRED:
        told[f"proxy, prior centre, {weight:.0e}"] = by_recipe(
            expression_proxy, ExpressionProxyConfig(prior="centre", weight_expression=weight))
    told[f"proxy, prior rest, {CENTRED[0]:.0e}"] = by_recipe(
        expression_proxy, ExpressionProxyConfig(prior="rest", weight_expression=CENTRED[0]))
    return told


class FeatureModel:
    """How the dictionary's coordinates follow from weights, and how they err: least squares over its entries.

    An estimate of weights errs towards the mean, and so towards the weaker of two faces; how likely features are does not.
    """

    def __init__(self, entries: ExpressionDictionary) -> None:
        self.entries, places = entries, np.asarray(entries.keys, np.float64) * np.asarray(entries.step)
        weights = np.concatenate([np.asarray(entries.weights) / ALL, np.ones((len(places), 1))], axis=1)
        gram = weights.T @ weights / len(places)
        self.matrix = np.linalg.solve(gram + WEIGHTS_RIDGE * np.eye(len(gram)), weights.T @ places / len(places))
        self.precision = np.linalg.inv(np.cov((places - weights @ self.matrix).T))

    def unlikeness(self, features: Float[np.ndarray, " F"], weights: Float[np.ndarray, " E"]) -> float:
        """Squared distance of features from those that faces of these weights show, in deviations."""
        gap = (features - np.asarray(self.entries.centre)) @ np.asarray(self.entries.matrix) - np.append(weights, 1.0) @ self.matrix
        return float(gap @ self.precision @ gap)


def measure_errors(model: MorphableModel, run: pathlib.Path, *, count: int) -> None:
    """Print the table of errors."""
    source, told, areas = open_labels(run, fields=("picture", "points68", "expression")), ways(model), regions(model)
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in told}
    strong = []
    for number in range(min(count, len(source))):
        read = source[number]
        if (observation := observed(model, read["picture"], read["points68"])) is None:
            continue
        strong.append(areas["cheeks and folds"].distance(read["expression"], 0 * read["expression"]) > STRONG)
        for name, tell in told.items():
            found = np.asarray(tell(observation))
            rows[name].append(tuple(area.distance(found, read["expression"]) for area in areas.values()))
        if number % 25 == 0:
            print(f"  {number}", flush=True)
    base = np.array(rows["landmarks"])
    print(f"{len(base)} pictures, {sum(strong)} of them with a strong expression")
    print(f"{'expression error, mm':34s} cheeks and folds (beside landmarks), strong ones, face")
    for name, values in rows.items():
        each = np.array(values)
        part = each[np.array(strong)].mean(axis=0)[0]
        change = 100 * (each.mean(axis=0)[0] / base.mean(axis=0)[0] - 1)
        print(f"{name:34s} {each.mean(axis=0)[0]:.3f} ({change:+.0f} %)  {part:.3f}  {each.mean(axis=0)[1]:.3f}", flush=True)


class PairMaker:
    """Makes another expression with the same 68 points, seen from the front, and other cheeks."""

    def __init__(self, model: MorphableModel) -> None:
        self.names, self.area = model.expression_names, regions(model)["cheeks and folds"]
        flat = jnp.moveaxis(model.expression, 0, 1).reshape(len(model.mean), -1)
        marks = np.asarray(values_at_points(model.landmarks, model.triangles, flat), np.float64).reshape(68, -1, 3)
        self.marks = marks[..., :2].transpose(0, 2, 1).reshape(136, -1)      # mm of x and y per weight
        eyes = values_at_points(model.landmarks, model.triangles, model.mean)
        self.apart = float(jnp.linalg.norm(eyes[36] - eyes[45]))
        cheeks = (self.area.expression * np.sqrt(self.area.share)[None, :, None]).reshape(len(self.names), -1)
        self.by_marks, self.by_cheeks = HELD_POINTS * self.marks.T @ self.marks, cheeks @ cheeks.T

    def other(self, expression: Float[np.ndarray, " E"], rng: np.random.Generator) -> Float[np.ndarray, " E"] | None:
        """The other of a pair; None where this draw gives none.

        Two weights that move cheeks are turned over. All weights then move inside their bounds, so that the displacement of the 68
        points is projected out and that of the cheeks is kept: least squares, by projected gradients.
        """
        wanted = np.array(expression, np.float64)
        for name in rng.choice(CHEEKS, size=2, replace=False):
            index = self.names.index(str(name))
            wanted[index] = 1 - np.round(wanted[index])
        matrix = self.by_marks + self.by_cheeks + RIDGE * np.eye(len(wanted))
        right = self.by_marks @ expression + (self.by_cheeks + RIDGE * np.eye(len(wanted))) @ wanted
        found, step = wanted.copy(), 1 / np.linalg.eigvalsh(matrix)[-1]
        for _ in range(STEPS):
            found = np.clip(found - step * (matrix @ found - right), 0, 1)
        moved = np.linalg.norm((self.marks @ (found - expression)).reshape(68, 2), axis=1).mean() / self.apart
        return found if moved < SAME_POINTS and self.area.distance(found, expression) > OTHER_CHEEKS else None


def pairs_of_pictures(count: int, *, skins: str | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Picture, its 68 points, its expression, and the other of its pair: both of each pair in turn; nearly from the front."""
    maker = random.RandomLabels(random.RandomConfig(seed=PAIRS, skins=skins), kind="expressions", expression=draw_emotional)
    pairs, rng, made, start = PairMaker(maker.model), np.random.default_rng(0), 0, 0
    while made < count:
        numbers = jnp.arange(start, start + random.AT_ONCE)
        start += random.AT_ONCE
        scenes, people = random._scenes(numbers, numbers, PAIRS, maker.unfolded, maker.model, maker.pool(0), size=SIZE,
                                        view=maker.view, draw=maker.expression)
        nothing = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (random.AT_ONCE, *leaf.shape)), random.nothing_before())
        scenes = dataclasses.replace(scenes, before=nothing)
        first = np.asarray(scenes.expression, np.float64)
        others = [pairs.other(each, rng) for each in first]
        second = np.stack([one if two is None else two for one, two in zip(first, others, strict=True)])
        drawn = [draw_scenes(maker.model, fine_head(maker.model), maker.shirt,
                             dataclasses.replace(scenes, expression=jnp.asarray(each, jnp.float32)), size=SIZE)
                 for each in (first, second)]
        for row in (row for row, other in enumerate(others) if other is not None):
            for picture, own, rest in ((drawn[0], first, second), (drawn[1], second, first)):
                yield np.asarray(picture.picture[row]), np.asarray(picture.ibug[row]), own[row], rest[row]
            made += 1


def measure_pairs(model: MorphableModel, *, count: int, skins: str | None) -> None:
    """Print how often the right one of an ambiguous pair is told."""
    told, area, tables = ways(model), regions(model)["cheeks and folds"], load_tables(model)
    likely = FeatureModel(tables.entries)
    right: dict[str, list[bool]] = {name: [] for name in told if name != "at rest"}
    by_features = list[bool]()
    for picture, points, own, rest in pairs_of_pictures(count, skins=skins):
        if (observation := observed(model, picture, points)) is None:
            continue
        for name, told_right in right.items():
            found = np.asarray(told[name](observation))
            told_right.append(area.distance(found, own) < area.distance(found, rest))
        seen = np.asarray(see_expression(tables.networks, observation.crop, observation.ibug).features)
        by_features.append(likely.unlikeness(seen, own) < likely.unlikeness(seen, rest))
    right["likelier features"] = by_features
    for name, values in right.items():
        print(f"{name:34s} right one of ambiguous pairs {100 * np.mean(values):.1f} % of {len(values)}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="labels of kind expressions, of another seed than the dictionary's")
    parser.add_argument("--count", type=int, default=200, help="pictures of it; 0 for none")
    parser.add_argument("--pairs", type=int, default=50, help="ambiguous pairs; 0 for none")
    parser.add_argument("--skins", help="folder of MakeHuman's skins, for the pairs")
    options = parser.parse_args()
    model = heads.load("makehuman")
    if options.count:
        measure_errors(model, options.run, count=options.count)
    if options.pairs:
        measure_pairs(model, count=options.pairs, skins=options.skins)


if __name__ == "__main__":
    main()
