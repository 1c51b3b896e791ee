"""Every recipe and network on the same pictures: wrinkled people whose shape is known, and photos whose people are not.

    picture -> points by the detector, once -> a result by each recipe -> Score: shape, depth, relief, likeness, points, seconds

A recipe that cannot see a picture is a row with its reason and stops no other.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fitkit import api
from fitkit.errors import FitkitError
from fitkit.evaluation import identity_similarity, registration_floor
from fitkit.evaluation.metrics.depth import df2net_depth
from fitkit.evaluation.networks import wrinkled_people
from fitkit.evaluation.networks.wrinkled_people import WrinkledPicture, added_slopes
from fitkit.evaluation.registration_floor import HeadArrays
from fitkit.evaluation.synthetic.benchmark import NO_FACE, now_errors
from fitkit.evaluation.synthetic.populations import ict_population
from fitkit.models.heads import ict_source
from fitkit.models.identity.network import Identity
from fitkit.morphable.model import shape
from fitkit.recipes import RECIPES
from fitkit.results import fit_quality
from fitkit.results.result import FitResult

POINTS_RECIPE = "landmarks"                 # whose detected points all recipes are held to: networks see points of their own
# column of the table -> how it is printed, and what it is; of people the first five, of photos the last three
COLUMNS: dict[str, tuple[str, str]] = {
    "shape": ("{:.2f}", "mm from the true face to the head, NoW's alignment with scale"),
    "depth": ("{:.2f}", "mm, mean error of the depth map after RANSAC's scale and shift (Zeng et al. 2019)"),
    "relief": ("{:.0%}", "of the error of slopes in wrinkles that the result's relief removes; a smooth head removes none"),
    "flat": ("{:.1f}", "degrees, mean slope of false relief on flat skin"),
    "likeness": ("{:.3f}", "cosine of the embeddings of picture and rendering"),
    "points": ("{:.2%}", "of the outer-eye distance, from the fitted points to the detected ones"),
    "seconds": ("{:.2f}", "of the fit alone, median without each recipe's first picture, which compiles")}
ON_PHOTOS = ("likeness", "points", "seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One recipe on one picture. Figures are those of `COLUMNS`, None where not known."""

    recipe: str
    picture: str                            # name of its file
    known: bool                             # whether it is a rendered person's
    shape: float | None = None
    depth: float | None = None
    before: float | None = None             # degrees: mean slope that the wrinkles add
    after: float | None = None              # degrees: what is left of it when the slopes of the result's relief are taken off
    flat: float | None = None
    likeness: float | None = None
    points: float | None = None
    seconds: float | None = None
    failure: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare.

    Attributes:
        recipes: names.
        photos: image files; the largest face of each.
        ict_path: folder or archive of ICT-FaceKit Light; None for photos alone.
        cache: folder that keeps the rendered people.
        seeds: of the people.
        yaws: degrees, one picture of each person at each.
    """

    recipes: tuple[str, ...]
    photos: tuple[Path, ...] = ()
    ict_path: str | None = None
    cache: Path = Path()
    seeds: tuple[int, ...] = ()
    yaws: tuple[int, ...] = (0,)

    @property
    def people(self) -> tuple[tuple[int, int], ...]:
        """Seed and yaw of each rendered picture."""
        return tuple((seed, yaw) for seed in self.seeds for yaw in self.yaws) if self.ict_path else ()

    @property
    def steps(self) -> int:
        """How many steps `run` announces."""
        return (len(self.people) + len(self.photos)) * (1 + len(self.recipes))


def every_recipe() -> tuple[str, ...]:
    """Names of the recipes that read a photo."""
    return tuple(name for name, recipe in RECIPES.items() if not recipe.scans)


def run(plan: Plan, judge: Identity, *, on_progress: Callable[[str | None], Any] = lambda name: None,
        on_measured: Callable[[Score, FitResult | None], Any] = lambda score, result: None) -> list[Score]:
    """Measure every recipe on every picture.

    Args:
        plan: what to compare.
        judge: the network that measures likeness.
        on_progress: called with the name of each step when it begins and with None when it ends; there are `plan.steps`.
        on_measured: called with each score and its result.

    Raises:
        FitkitError: E_DATA (ICT-FaceKit, Mitsuba), E_OUTPUT (the cache), E_RECIPE.
    """
    head = registration_floor.head_arrays(api.load_head("makehuman"))
    found = []

    def compare(name: str, path: Path, truth: WrinkledPicture | None) -> None:
        on_progress(f"{name}: points")
        seen = attempt(path, POINTS_RECIPE)
        on_progress(None)
        for recipe in plan.recipes:
            on_progress(f"{name}: {recipe}")
            result = attempt(path, recipe) if isinstance(seen, FitResult) else seen
            score = Score(recipe=recipe, picture=name, known=truth is not None)
            if isinstance(result, FitResult) and isinstance(seen, FitResult):
                score = measure(score, result, seen.landmarks_detected, truth, head, judge)
                on_measured(score, result)
            else:
                score = dataclasses.replace(score, failure=str(result))
                on_measured(score, None)
            found.append(score)
            on_progress(None)

    if plan.people:
        people = ict_population(ict_source.read(str(plan.ict_path)))
    for seed, yaw in plan.people:
        on_progress(f"person {seed} at {yaw} degrees: picture")
        truth = wrinkled_people.picture(people, plan.cache, seed, yaw)
        compare(f"person {seed} at {yaw} degrees", truth.path, truth)
    for path in plan.photos:
        compare(path.name, path, None)
    return found


def attempt(path: Path, recipe: str) -> FitResult | FitkitError:
    """The result of a recipe on the largest face, or why there is none.

    Raises:
        FitkitError: what is no fault of this picture.
    """
    try:
        return (api.predict if RECIPES[recipe].sees else api.fit)(path, recipe=recipe)
    except FitkitError as error:
        if error.code not in (*NO_FACE, "E_DATA") and error.exit_status != 1:
            raise
        return error


def measure(score: Score, result: FitResult, detected: np.ndarray, truth: WrinkledPicture | None, head: HeadArrays, judge: Identity
            ) -> Score:
    """The score with its figures.

    Args:
        score: whose it is.
        result: of the recipe.
        detected: the detector's 68 points, pixels.
        truth: of a rendered person.
        head: of the result, for `now_errors`.
        judge: measures likeness.
    """
    held = dataclasses.replace(result, landmarks_detected=detected)
    score = dataclasses.replace(
        score, likeness=identity_similarity.similarity(judge, held), seconds=float(result.timings["fit"]),
        points=float(fit_quality.landmark_error(result.landmarks_fitted, detected)))
    return score if truth is None else against_truth(score, result, detected, truth, head)


def against_truth(score: Score, result: FitResult, detected: np.ndarray, truth: WrinkledPicture, head: HeadArrays) -> Score:
    """The score with what only a rendered person has: shape, depth, slopes in wrinkles before and after, slopes on flat skin."""
    population, person = truth.population, truth.person
    scan = person.vertices[population.face[population.scanned]]
    vertices = np.asarray(shape(result.model, result.parameters.identity, result.parameters.expression), np.float64)
    errors = now_errors(head, vertices, scan, population.marks(person.vertices), kinds=("scaled",))
    pictures = result.pictures
    smooth = pictures if result.detail is None else dataclasses.replace(result, detail=None).pictures
    own = added_slopes(pictures["normals"], smooth["normals"], truth.skin, truth.pixels_per_mm)
    before, after, false = (np.degrees(np.arctan(np.linalg.norm(slopes, axis=-1)))
                            for slopes in (truth.relief, truth.relief - own, own))
    depth = np.where(truth.skin, truth.depth, 0.0)
    return dataclasses.replace(
        score, shape=errors["scaled"].mean, depth=df2net_depth(pictures["depth"], depth, detected).mean,
        before=float(before[truth.wrinkled].mean()), after=float(after[truth.wrinkled].mean()),
        flat=float(false[truth.flat].mean()))


def summarize(scores: Sequence[Score], *, known: bool) -> dict[str, dict[str, float]]:
    """Means by recipe and column over rendered people or photos, and `seen`, the share of pictures that gave a result."""
    table: dict[str, dict[str, float]] = {}
    for recipe in dict.fromkeys(score.recipe for score in scores if score.known == known):
        rows = [score for score in scores if score.recipe == recipe and score.known == known]
        seen = [score for score in rows if not score.failure]
        means = {name: float(np.mean([getattr(score, name) for score in seen])) for name in (*COLUMNS, "before", "after")
                 if seen and name not in ("relief", "seconds") and getattr(seen[0], name, None) is not None}
        if "before" in means:
            means["relief"] = 1 - means.pop("after") / means.pop("before")
        if seen:
            means["seconds"] = float(np.median([score.seconds for score in seen[1:] or seen if score.seconds is not None]))
        table[recipe] = means | {"seen": len(seen) / len(rows)}
    return table


def text_table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """The printed table: a row for each recipe."""
    names = [name for name in COLUMNS if any(name in row for row in summary.values())]
    lines = [f"{'':18s}" + "".join(f"{name:>10s}" for name in names) + f"{'seen':>8s}"]
    for recipe, row in summary.items():
        cells = (COLUMNS[name][0].format(row[name]) if name in row else "-" for name in names)
        lines.append(f"{recipe:18s}" + "".join(f"{cell:>10s}" for cell in cells) + f"{row['seen']:8.0%}")
    return "\n".join(lines)
