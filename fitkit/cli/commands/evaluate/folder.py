"""`fitkit eval folder`: reads the options, measures results against scans (`fitkit.evaluation.scan_benchmark`), prints."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import device
from fitkit.cli.console import Console, Outcome, exit_status, progress_line
from fitkit.cli.general_options import Flag, General
from fitkit.errors import FitkitError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalFolder:
    """Measure saved results against your own 3D scans: distance from scan to fit in mm.

    The table gives two references beside the fit: our mean head, and the floor, our head registered to the scan itself.

    RESULTS is a folder that `fitkit fit --out RESULTS` wrote. The scans lie in TRUTH, each with its landmarks beside it:
      meshes/anna.obj   or .ply; a file of its own, or the only one in a folder of that name (meshes/anna/scan.ply)
      meshes/anna.pts   or .txt, .json, .npy, .pp: x y z of the 68 iBUG points, or of 7 in this order: outer and inner corner
                        of the right eye, inner and outer corner of the left, bottom of the nose, right and left mouth corner

    A photo belongs to the scan of its name: anna.jpg, anna_2.jpg, anna-side.png and anna/IMG_01.jpg all to anna.

    Examples:
      fitkit fit photos/ --out out && fitkit eval folder out --truth meshes/
      fitkit eval folder out --truth scans/ --neutral --metric now     as the NoW challenge: neutral scans
      fitkit eval folder out --truth scans/ --unit m --json > errors.json

    Metrics: now (NoW challenge: scan to mesh, aligned with scale and without), micc (as GANFIT on MICC: 95 mm around the nose tip,
    both ways; needs 68 points and triangles), facecap (point to point). Exit status: 0 all results were measured, 1 some were not.
    """

    results: Annotated[Positional[str], arg(metavar="RESULTS", help_behavior_hint="")] = ""
    """A folder of result folders, or one result folder."""
    truth: Annotated[str, arg(metavar="TRUTH", help_behavior_hint="")] = ""
    """Folder of the scans and their landmarks."""
    metric: Annotated[str, arg(metavar="LIST")] = "now"
    """Metrics, separated by commas: now, micc, facecap, all."""
    unit: Annotated[Literal["mm", "cm", "m"], arg(metavar="mm|cm|m")] = "mm"
    """Unit of the scans and their landmarks."""
    head: Annotated[str | None, arg(metavar="ict:PATH", help_behavior_hint="")] = None
    """Where the head lies that the results were fitted on, if it is none of fitkit's own."""
    neutral: Flag = False
    """Remove the fitted expression before measuring, for scans of a neutral face."""
    json: Flag = False
    """Write one JSON object to standard output, and nothing else there: every result's errors, and the table's numbers."""
    general: OmitArgPrefixes[General] = General()


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
    from fitkit.results.integrity import result_folders

    wanted = scan_benchmark.choose_metrics(options.metric)
    results, scans = Path(options.results), Path(options.truth)
    with progress_line(console, len(result_folders(results))) as (live, on_progress):
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
