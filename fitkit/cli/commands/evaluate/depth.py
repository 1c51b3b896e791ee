"""`fitkit eval depth`: reads the options, measures depth maps of results (`fitkit.evaluation.depth_benchmark`), prints."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import device
from fitkit.cli.console import Console, Outcome, exit_status, progress_line
from fitkit.cli.general_options import Flag, General
from fitkit.errors import FitkitError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalDepth:
    """Measure the depth maps of saved results against your own, as Zeng et al. 2019 (DF2Net) measure BU-3DFE.

    RESULTS is a folder that `fitkit fit` or `fitkit predict` wrote, pictures included: each depth.npy is measured. TRUTH holds
    NAME.npy for NAME.jpg: an array [height, width], camera z in mm of each pixel of the photo, 0 where nothing was scanned.

    Depth from one picture has no scale of its own: RANSAC finds the scale and the shift under which most pixels agree, then the
    absolute errors inside the outline of the 68 points count: their mean, standard deviation, median and 90th percentile.

    Examples:
      fitkit predict photos/ --recipe df2net --out out && fitkit eval depth out --truth depths/
      fitkit eval depth out --truth depths/ --json > errors.json

    Exit status: 0 all results were measured, 1 some were not.
    """

    results: Annotated[Positional[str], arg(metavar="RESULTS", help_behavior_hint="")] = ""
    """A folder of result folders, or one result folder."""
    truth: Annotated[str, arg(metavar="TRUTH", help_behavior_hint="")] = ""
    """Folder of the true depth maps."""
    head: Annotated[str | None, arg(metavar="ict:PATH", help_behavior_hint="")] = None
    """Where the head lies that the results were fitted on, if it is none of fitkit's own."""
    json: Flag = False
    """Write one JSON object to standard output, and nothing else there: every result's errors, and their means."""
    general: OmitArgPrefixes[General] = General()


def run_depth(options: EvalDepth, console: Console) -> int:
    """Measure depth maps of results against the user's, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE; E_RESULT or E_SCAN if there is nothing to measure at all.
    """
    if not options.results or not options.truth:
        raise FitkitError("E_USAGE", "results and true depth maps are both needed; write for example fitkit eval depth out --truth"
                          " depths/, and fitkit eval depth --help says what lies in depths/")
    device.select_device(options.general.device)
    from fitkit.evaluation import depth_benchmark
    from fitkit.results.integrity import result_folders

    results = Path(options.results)
    with progress_line(console, len(result_folders(results))) as (live, on_progress):
        rows = depth_benchmark.run(results, Path(options.truth), head=options.head, on_progress=on_progress)
        for row in rows:
            if row.failure is not None:
                live.error(row.failure.code, f"{row.result.name}: {row.failure.message}")
    if options.json:
        print(depth_benchmark.to_json(rows))
    elif console.level and depth_benchmark.table(rows):
        print(depth_benchmark.table(rows))
    return exit_status([Outcome(photo=str(row.result), status="failed", code=row.failure.code) for row in rows if row.failure])
