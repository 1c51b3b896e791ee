"""`fitkit eval synthetic`: reads the options, runs the measurement of `fitkit.evaluation.synthetic`, prints its table."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, arg

from fitkit import configuration, device
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import General, Words
from fitkit.errors import FitkitError
from fitkit.io import atomic_files

SUBJECTS = 20                                   # in each split of the synthetic benchmark
FIRST_SEED = {"develop": 0, "test": 100}        # of each split: a definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSynthetic:
    """Measure the accuracy of fits on rendered pictures of people whose 3D shape is known.

    The people are random heads of ICT-FaceKit Light, rendered by Mitsuba (pip install 'fitkit[eval]'). The table gives the mean
    distance from the true face to the fit in mm, with and without scale, for each kind of pictures and each yaw. Beside it stand
    the mean head, the prior's mean person, neutral and with the fit's expression, recipe landmarks, and the floor, our head
    registered to the true shape itself, which no fit can be expected to beat.

    Kinds are words, joined by + where they differ from portrait in several things:
      light      portrait, overcast, key_fill, hard (one lamp, cast shadows)
      skin       procedural, plain (one colour), photographic (needs --skins)
      hair       any_hair, shaved (no brows either), bearded
      renderer   mitsuba, rasterizer (fitkit's own)
      occluder   none, spectacles, hand, scarf
      expression gestures, neutral, strong
      lens       portrait_lens (35 to 85 mm), wide (28 mm)
      exposure   metered, underexposed (by 1.5 stops), overexposed (by 1)
      people     ict, embedded (of the embedded head's own prior)
      relief     smooth, wrinkled (lines of people over fifty, 0.3 to 1.5 mm deep)

    What is marked * is left out of all tuning: report it, and change nothing because of it.

    Pictures are rendered once and kept; later runs cost the fits alone, and a stopped run resumes. Tune on --split develop; report
    --split test.

    Examples:
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --subjects 5 --yaw 0 30 --recipe landmarks
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --kinds portrait hard hard+spectacles
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --kinds all --skins skins/ --subjects 5
      fitkit eval synthetic --truth ict:ict-facekit.tar.xz --split test --json scores.json --page scores.html
    """

    truth: Annotated[str, arg(metavar="ict:PATH", help_behavior_hint="")] = ""
    """Source of people with known shape: the folder or archive of ICT-FaceKit Light."""
    split: Literal["develop", "test"] = "develop"
    """Which people: seeds 0-19 to develop on, 100-119 to report."""
    subjects: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """How many people of the split. By default all 20."""
    yaw: Annotated[tuple[int, ...], arg(metavar="DEGREES")] = (0, 30, 60)
    """Rotation of the heads about the vertical axis, one picture each; left or right is random."""
    kinds: Annotated[tuple[str, ...], arg(metavar="NAME...")] = ("portrait",)
    """Kinds of pictures; `all` is every word above once, and the light and the skin that are left out of tuning together."""
    skins: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Folder of MakeHuman's skin maps, for kinds with photographic skin; without it they are skipped."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """Recipe: how to fit. `fitkit recipes` lists and explains them."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. `fitkit heads` lists them."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of the recipe. `fitkit recipes NAME` lists its fields and their defaults."""
    cache: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Directory that keeps the pictures and the errors of the references. By default the user's cache directory."""
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the scores of every picture and the table to this file."""
    page: Annotated[str | None, arg(metavar="FILE.html", help_behavior_hint="")] = None
    """Write an HTML report with every picture, its fit and a map of its errors."""
    general: OmitArgPrefixes[General] = General()


def run_synthetic(options: EvalSynthetic, console: Console) -> int:
    """Measure fits on rendered people of known shape, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_FIELD, E_RECIPE, E_HEAD, E_DATA (ICT-FaceKit, Mitsuba), E_OUTPUT.
    """
    chosen = _plan_fields(options)
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.evaluation import html_report, score_table, scores
    from fitkit.evaluation.synthetic import benchmark, kinds

    plan = benchmark.Plan(**chosen, kinds=kinds.parse_all(options.kinds))
    for name, reason in benchmark.missing(plan).items():
        console.note(f"kind {name} is skipped: {reason}")
    if not benchmark.count_steps(plan):
        raise FitkitError("E_DATA", "no kind of pictures is left to measure; name the folder of MakeHuman's skins with --skins"
                          " PATH, or other kinds")
    figures: dict[str, list[str]] = {}
    with progress_line(console, benchmark.count_steps(plan)) as (live, on_progress):

        def on_measured(picture: Any) -> None:
            live.note(score_table.line(picture.score), level=2)
            if options.page:
                figures.setdefault(picture.score.kind, []).append(html_report.figure(picture))

        found = benchmark.run(plan, on_progress=on_progress, on_measured=on_measured)
    summary = scores.by_kind(found)
    text = score_table.table(summary)
    print(text)
    for failure in score_table.failures(found):
        console.note(failure)
    if options.json:
        record = {"split": options.split, "recipe": options.recipe, "head": options.head, "fields": dict(plan.fields),
                  "pictures": benchmark.PICTURES_VERSION, "table": summary, "skipped": benchmark.missing(plan),
                  "kinds": {kind.name: dataclasses.asdict(kind) | {"left_out": kind.left_out} for kind in plan.kinds},
                  "scores": [dataclasses.asdict(score) for score in found]}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    if options.page:
        title = f"{options.split} split, {len(plan.seeds)} subjects, recipe {options.recipe}, head {options.head}"
        atomic_files.write_bytes(options.page, html_report.document(title, text, figures))
    return 0


def _plan_fields(options: EvalSynthetic) -> dict[str, Any]:
    """The fields of `benchmark.Plan`, checked before anything is computed."""
    people = people_of(options.truth, options.split, options.subjects, options.yaw, options.cache)
    return people | {"skins": options.skins, "recipe": options.recipe, "head": options.head,
                     "fields": configuration.parse_assignments(options.set)}


def people_of(truth: str, split: str, subjects: int | None, yaws: tuple[int, ...], cache: str | None) -> dict[str, Any]:
    """Where rendered people come from, which they are, how they turn, and the folder that keeps them: fields of a plan.

    Raises:
        FitkitError: E_USAGE for options that name no people.
    """
    kind, _, path = truth.partition(":")
    if kind != "ict" or not path:
        raise FitkitError("E_USAGE", f"--truth {truth!r} names no source of people; write --truth ict:PATH with the folder or"
                          " archive of ICT-FaceKit Light")
    if subjects is not None and not 1 <= subjects <= SUBJECTS:
        raise FitkitError("E_USAGE", f"--subjects must be 1 to {SUBJECTS}, not {subjects}")
    if not yaws or not all(0 <= yaw <= 90 for yaw in yaws):
        raise FitkitError("E_USAGE", f"--yaw takes angles from 0 to 90 degrees, not {yaws}; write --yaw 0 30 60, say")
    import platformdirs

    first = FIRST_SEED[split]
    return {"ict_path": path, "seeds": tuple(range(first, first + (subjects or SUBJECTS))), "yaws": yaws,
            "cache": Path(cache) if cache else Path(platformdirs.user_cache_dir("fitkit", appauthor=False)) / "evaluation"}
