"""What a run tells of itself, from its ledger: `write_report`.

    table.py      log.jsonl and results.parquet, for programs
    page.py       report.html, one file for a browser, from page.html; pictures.py draws into it
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from fitkit.batch import LOG, PAGE, TABLE
from fitkit.batch.report.page import document, summarize
from fitkit.batch.report.table import Row, write_log, write_table
from fitkit.errors import FitkitError
from fitkit.io import atomic_files


def write_report(run: Path, rows: Callable[[], Iterable[Row]]) -> list[FitkitError]:
    """Write `log.jsonl`, `results.parquet` and `report.html` of a run.

    Args:
        run: its folder.
        rows: gives the ledger's rows, each time from the start.

    Returns:
        what could not be written for want of an extra.

    Raises:
        FitkitError: E_OUTPUT.
    """
    write_log(run, rows())
    missing = []
    try:
        write_table(run, rows())
    except FitkitError as error:
        if error.code != "E_DATA":
            raise
        missing.append(FitkitError("E_DATA", f"{TABLE} was not written, but {LOG} was, without coefficients: {error.message}"))
    atomic_files.write_bytes(run / PAGE, document(run, summarize(rows())))
    return missing


