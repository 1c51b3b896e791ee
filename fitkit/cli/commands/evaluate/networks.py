"""`fitkit eval networks`: reads the options, compares recipes and networks (`fitkit.evaluation.networks`), writes the page."""

import dataclasses
import json
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration, device
from fitkit.cli.commands.evaluate.synthetic import people_of
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError
from fitkit.io import atomic_files

PEOPLE = 4              # by default: enough to look at; a figure to report wants all


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalNetworks:
    """Compare every recipe and network on the same pictures: one page with a table and every result, to choose by.

    Of --truth, people of ICT-FaceKit Light with wrinkles pressed into their skin are rendered by Mitsuba (pip install
    'fitkit[eval]') and kept. Of them all is known: the table gives the error of the head in mm, of its depth map, how much of the
    wrinkles each result has, and how much relief it draws where skin is flat. Of your own PHOTOS it gives likeness, points and
    seconds. Give either, or both.

    Examples:
      fitkit eval networks photos/ --page networks.html
      fitkit eval networks --truth ict:ict-facekit.tar.xz --split test --subjects 10
      fitkit eval networks photos/ --truth ict:ict-facekit.tar.xz --recipes 3dfacenet df2net inverse_rendering

    Exit status: 0 every recipe saw every picture, 1 some did not.
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, folders, quoted globs, lists (.txt, .csv, .parquet); the largest face of each is compared."""
    truth: Annotated[str, arg(metavar="ict:PATH", help_behavior_hint="")] = ""
    """Source of people with known shape: the folder or archive of ICT-FaceKit Light."""
    split: Literal["develop", "test"] = "develop"
    """Which people: seeds 0-19 to develop on, 100-119 to report."""
    subjects: Annotated[int, arg(metavar="NUMBER")] = PEOPLE
    """How many people of the split, at most 20."""
    yaw: Annotated[tuple[int, ...], arg(metavar="DEGREES")] = (0, 30)
    """Rotation of the heads about the vertical axis, one picture each; left or right is random."""
    recipes: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="")] = ()
    """Which recipes. By default all that read photos; `fitkit recipes` lists them. ganfit takes a third of a minute a face."""
    judge: Annotated[str, arg(metavar="NAME")] = "embedded"
    """Identity network that measures likeness. ganfit fits by the embedded one, which overrates it: import another with
    `fitkit assets import identity`."""
    page: Annotated[str, arg(metavar="FILE.html")] = "networks.html"
    """The page."""
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the tables and the figures of every picture to this file."""
    cache: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Directory that keeps the rendered people. By default the user's cache directory."""
    general: OmitArgPrefixes[General] = General()


def run_networks(options: EvalNetworks, console: Console) -> int:
    """Compare recipes, print the tables, write the page, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_RECIPE, E_DATA (ICT-FaceKit, Mitsuba, no such identity network), E_OUTPUT, E_NOFILE.
    """
    if not options.photo and not options.truth:
        raise FitkitError("E_USAGE", "nothing to compare on; name photos, or people of known shape with --truth ict:PATH, say"
                          " fitkit eval networks photos/ --page networks.html")
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.batch.sources import Failure, find_sources
    from fitkit.evaluation.networks import comparison, page
    from fitkit.models.identity.network import load_identity

    for name in options.recipes:
        configuration.check_choice(name, comparison.every_recipe(), code="E_RECIPE", what="recipe that reads photos")
    sources = list(find_sources(options.photo)) if options.photo else []
    failed = [source for source in sources if isinstance(source, Failure)]
    for each in failed:
        console.error(each.error.code, each.error.message)
    photos = tuple(each.path for each in sources if not isinstance(each, Failure))
    people = people_of(options.truth, options.split, options.subjects, options.yaw, options.cache) if options.truth else {}
    plan = comparison.Plan(recipes=options.recipes or comparison.every_recipe(), photos=photos, **people)
    shown: list[page.Panel] = []
    with progress_line(console, plan.steps) as (live, on_progress):

        def on_measured(score: Any, result: Any) -> None:
            if score.failure:
                live.note(f"{score.picture}, {score.recipe}: {score.failure}")
            if result is not None and score.picture not in {each.picture for each in shown if each.images}:
                shown.append(page.photo_panel(score, result))
            shown.append(page.panel(score, result))

        scores = comparison.run(plan, load_identity(name=options.judge), on_progress=on_progress, on_measured=on_measured)
    tables = {heading: comparison.summarize(scores, known=known) for heading, known in (
        ("Wrinkled people of known shape", True), ("Photos", False))}
    for heading, summary in tables.items():
        if summary:
            print(f"{heading}\n{comparison.text_table(summary)}")
    title = f"{len(plan.people)} pictures of {len(plan.seeds)} people, {len(photos)} photos; judge {options.judge}"
    atomic_files.write_bytes(options.page, page.document(title, tables, shown))
    if options.json:
        record = {"judge": options.judge, "tables": tables, "scores": [dataclasses.asdict(score) for score in scores]}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    return 1 if failed or any(score.failure for score in scores) else 0
