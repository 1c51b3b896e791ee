"""`fitkit eval synthetic`, `eval folder`, `eval ablation`: read the options, run the measurement, print its table, write its files.

Measurements, tables and the HTML report are made in `fitkit.evaluation`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from fitkit import configuration, device
from fitkit.cli.console import Console, Outcome, exit_status, progress_line
from fitkit.cli.options import EvalAblation, EvalFolder, EvalSynthetic
from fitkit.errors import FitkitError
from fitkit.io import atomic_files

SUBJECTS = 20                                   # in each split of the synthetic benchmark
FIRST_SEED = {"develop": 0, "test": 100}        # of each split: a definition


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


def run_folder(options: EvalFolder, console: Console) -> int:
    """Measure saved results against the user's scans, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE; E_RESULT or E_SCAN if there is nothing to measure at all.
    """
    if not options.results or not options.truth:
        raise FitkitError("E_USAGE", "results and their scans are both needed; write for example fitkit eval folder out --truth"
                          " meshes/, and fitkit eval folder --help says what lies in meshes/")
    device.select_device(options.general.device)
    from fitkit.evaluation import scan_benchmark, score_table

    wanted = scan_benchmark.choose_metrics(options.metric)
    results, scans = Path(options.results), Path(options.truth)
    with progress_line(console, len(scan_benchmark.find_results(results))) as (live, on_progress):
        pairs = scan_benchmark.run(results, scans, wanted=wanted, unit=options.unit, neutral=options.neutral,
                                   head=options.head, on_progress=on_progress)
        for pair in pairs:
            if pair.failure is not None:
                live.error(pair.failure.code, f"{pair.result.name}: {pair.failure.message}")
            for line in score_table.scan_lines(pair):
                live.note(line, level=2)
    table, pooled = scan_benchmark.summarize(pairs), scan_benchmark.pool(pairs)
    if options.json:
        print(scan_benchmark.to_json(pairs, table, pooled))
    elif console.level and table:
        score_table.print_scan_table(table, pooled)
    failures = [Outcome(photo=str(pair.result), status="failed", code=pair.failure.code) for pair in pairs if pair.failure]
    if failures:
        console.note(f"{len(pairs)} results: {len(pairs) - len(failures)} measured, {len(failures)} not")
    unused = sorted(set(scan_benchmark.find_scans(scans)) - {pair.scan for pair in pairs})
    if unused:
        console.note(f"{len(unused)} scans have no result, and count for nothing: {', '.join(unused[:5])}")
    return exit_status(failures)


def run_ablation(options: EvalAblation, console: Console) -> int:
    """Fit photos with one term left out at a time, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_FIELD, E_DATA (no such identity network), E_OUTPUT, E_NOFILE.
    """
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit eval ablation photos/ --sheet ablation.png")
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.batch.sources import Failure, find_sources
    from fitkit.evaluation import ablation
    from fitkit.io import images
    from fitkit.models.identity.network import load_identity

    for name in options.variants:
        configuration.check_choice(name, ablation.VARIANTS, code="E_USAGE", what="variant")
    variants = options.variants or tuple(ablation.VARIANTS)
    judge, fields = load_identity(name=options.judge), configuration.parse_assignments(options.set)
    failed: list[str] = []

    def on_failure(error: FitkitError, name: str) -> None:
        failed.append(name)
        console.error(error.code, error.message)

    photos = []
    for source in find_sources(options.photo):
        if isinstance(source, Failure):
            on_failure(source.error, source.path)
        else:
            photos.append(source.path)
    with progress_line(console, len(photos) * len(variants)) as (_, on_progress):
        found, crops = ablation.run(photos, judge, fields, variants=variants, on_progress=on_progress, on_failure=on_failure)
    if found:
        print(ablation.table(found))
    if options.sheet and found:
        images.write_image(options.sheet, ablation.sheet(found, crops))
    if options.json:
        record = {"judge": options.judge, "fields": fields, "fits": [ablation.to_record(fit) for fit in found]}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    return 1 if failed else 0


def _plan_fields(options: EvalSynthetic) -> dict[str, Any]:
    """The fields of `benchmark.Plan`, checked before anything is computed."""
    kind, _, path = options.truth.partition(":")
    if kind != "ict" or not path:
        raise FitkitError("E_USAGE", f"--truth {options.truth!r} names no source of people; write --truth ict:PATH with the folder"
                          " or archive of ICT-FaceKit Light")
    if options.subjects is not None and not 1 <= options.subjects <= SUBJECTS:
        raise FitkitError("E_USAGE", f"--subjects must be 1 to {SUBJECTS}, not {options.subjects}")
    if not options.yaw or not all(0 <= yaw <= 90 for yaw in options.yaw):
        raise FitkitError("E_USAGE", f"--yaw takes angles from 0 to 90 degrees, not {options.yaw}; write --yaw 0 30 60, say")
    import platformdirs

    first = FIRST_SEED[options.split]
    cache = Path(options.cache) if options.cache else Path(platformdirs.user_cache_dir("fitkit", appauthor=False)) / "evaluation"
    return {"ict_path": path, "cache": cache, "seeds": tuple(range(first, first + (options.subjects or SUBJECTS))),
            "skins": options.skins, "yaws": options.yaw, "recipe": options.recipe, "head": options.head,
            "fields": configuration.parse_assignments(options.set)}
