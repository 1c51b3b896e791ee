"""`fitkit eval synthetic` and `eval ablation`: read the options, run the measurement, print its table, write its files.

The work is done in `evaluation`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from fitkit import configuration, device
from fitkit.cli import console
from fitkit.cli.console import Report
from fitkit.cli.options import EvalAblation, EvalSynthetic
from fitkit.errors import FitkitError
from fitkit.io import atomic_files


def run_synthetic(options: EvalSynthetic, speech: Report) -> int:
    """Measure on synthetic truth, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_FIELD, E_RECIPE, E_HEAD, E_DATA (truth, Mitsuba), E_OUTPUT.
    """
    chosen = _choices(options)
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.evaluation import html_report, score_table, scores
    from fitkit.evaluation.synthetic import benchmark

    plan = benchmark.Plan(**chosen)
    rows: list[str] = []
    with console.progress(speech, benchmark.pieces(plan)) as (voice, turn):

        def look(evidence: Any) -> None:
            voice.note(score_table.line(evidence.score), level=2)
            if options.page:
                rows.append(html_report.row(evidence))

        found = benchmark.run(plan, turn=turn, look=look)
    summary = scores.by_yaw(found)
    text = score_table.table(summary)
    print(text)
    for failure in score_table.failures(found):
        speech.note(failure)
    if options.json:
        record = {"split": options.split, "recipe": options.recipe, "head": options.head, "fields": dict(plan.fields),
                  "pictures": benchmark.PICTURES, "table": summary, "scores": [dataclasses.asdict(score) for score in found]}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    if options.page:
        title = f"{options.split} split, {len(plan.seeds)} subjects, recipe {options.recipe}, head {options.head}"
        atomic_files.write_bytes(options.page, html_report.compose(title, text, rows))
    return 0


def run_ablation(options: EvalAblation, speech: Report) -> int:
    """Fit photos with one term left out at a time, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_FIELD, E_DATA (no such judge), E_OUTPUT, E_NOFILE.
    """
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit eval ablation photos/ --sheet ablation.png")
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.evaluation import ablation
    from fitkit.io import images
    from fitkit.models.identity.network import load_identity

    for name in options.variants:
        configuration.check_choice(name, ablation.VARIANTS, code="E_USAGE", what="variant")
    variants = options.variants or tuple(ablation.VARIANTS)
    judge, fields = load_identity(name=options.judge), configuration.parse_assignments(options.set)
    photos = images.find_photos(options.photo)
    failed: list[str] = []

    def fail(error: FitkitError, name: str) -> None:
        failed.append(name)
        speech.error(error.code, error.message)

    with console.progress(speech, len(photos) * len(variants)) as (_, turn):
        found, windows = ablation.run(photos, judge, fields, variants=variants, turn=turn, fail=fail)
    if found:
        print(ablation.table(found))
    if options.sheet and found:
        images.write_image(options.sheet, ablation.sheet(found, windows))
    if options.json:
        kept = [{key: value for key, value in dataclasses.asdict(each).items() if key != "picture"} for each in found]
        record = {"judge": options.judge, "fields": fields, "fits": kept}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    return 1 if failed else 0


def _choices(options: EvalSynthetic) -> dict[str, Any]:
    """The fields of `synthetic.Plan`, checked before anything is computed."""
    kind, _, path = options.truth.partition(":")
    if kind != "ict" or not path:
        raise FitkitError("E_USAGE", f"--truth {options.truth!r} names no truth; write --truth ict:PATH with the folder or archive "
                          "of ICT-FaceKit Light")
    if options.subjects is not None and not 1 <= options.subjects <= 20:
        raise FitkitError("E_USAGE", f"--subjects must be 1 to 20, not {options.subjects}")
    if not options.yaw or not all(0 <= yaw <= 90 for yaw in options.yaw):
        raise FitkitError("E_USAGE", f"--yaw takes angles from 0 to 90 degrees, not {options.yaw}; write --yaw 0 30 60, say")
    import platformdirs

    first = {"develop": 0, "test": 100}[options.split]
    cache = Path(options.cache) if options.cache else Path(platformdirs.user_cache_dir("fitkit", appauthor=False)) / "evaluation"
    return {"truth": path, "cache": cache, "seeds": tuple(range(first, first + (options.subjects or 20))), "yaws": options.yaw,
            "recipe": options.recipe, "head": options.head, "fields": configuration.parse_assignments(options.set)}
