"""`fitkit report`: writes the report of a run again, from its ledger and its result folders, also while the run goes on."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit.batch import LABELLED_FITS, PAGE
from fitkit.cli.console import Console
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Write the report of a run again: report.html (for a browser), results.parquet and log.jsonl (for programs).

    `fitkit fit` writes them when it ends. This writes them from the ledger and the result folders as they are now: of a run that
    was stopped or still goes on, or whose parts (--shard) ran on several machines; and of a run of `fitkit labels make`, where rows
    are shards, and of the fits of its photos, in RUN/fits.

    Examples:
      fitkit report out
    """

    run: Annotated[Positional[str], arg(metavar="RUN", help_behavior_hint="")] = ""
    """The folder of the run, --out of `fitkit fit` or `fitkit labels make`."""
    general: OmitArgPrefixes[General] = General()


def run_report(options: Report, console: Console) -> int:
    """Write the report and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_RESULT (no run, or a damaged ledger), E_OUTPUT.
    """
    if not options.run:
        raise FitkitError("E_USAGE", "no run was named; write for example fitkit report out")
    from fitkit.batch import ledger

    runs = [run for run in (Path(options.run), Path(options.run) / LABELLED_FITS) if list(run.glob(ledger.PATTERN))]
    if not runs:
        raise FitkitError("E_RESULT", f"{options.run} is no run of fitkit fit or fitkit labels make, it holds no {ledger.PATTERN};"
                          " name the folder of --out")
    for run in runs:
        said = make_report(run)
        if console.level:
            print(said)
    return 0


def make_report(run: Path) -> str:
    """Write the report of a run, and say in a line where it is, and what an extra would add.

    Raises:
        FitkitError: E_RESULT, E_OUTPUT.
    """
    from fitkit.batch import ledger
    from fitkit.batch.report import write_report

    missing = write_report(run, lambda: ledger.rows(run))
    return "; ".join([str(run / PAGE), *(error.message for error in missing)])
