"""The ledger of a run: SQLite in its folder, one row a face, also where a photo came to none; of labels one row a shard. Results
remain the truth.

A face is done when its folder is in place and its row is committed, in this order: WAL with full sync, so that a row survives what
its folder survived. A lost ledger loses failures alone: whole folders are found and entered again. Processes that share a run
on one host share the file; each shard of a run (`--shard`) has its own, since WAL does not work across hosts.

Besides, `claims` says which process works on which photos, by the name of the workplace that it holds locked.
"""

import contextlib
import dataclasses
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fitkit.batch.row import Row
from fitkit.errors import FitkitError
from fitkit.io.atomic_files import is_locked
from fitkit.version import __version__

NAME = "ledger{}.sqlite"
PATTERN = "ledger*.sqlite"
BUSY = 60.0                  # s that a process waits for another one's commit, which takes milliseconds

# what becomes of these photos again, under the same settings and the same fitkit: they are not tried again
LASTING = ("E_NOTIMAGE", "E_TOOLARGE", "E_NOFACE", "E_SMALLFACE", "E_LANDMARKS")
SCHEMA = """
CREATE TABLE IF NOT EXISTS faces (
    job TEXT NOT NULL,           -- sha256: what was asked for, see job.py
    stem TEXT NOT NULL,          -- of the name; a copy of a photo under another name has a row and a folder of its own
    id TEXT NOT NULL,            -- of the manifest, or empty
    task TEXT NOT NULL,          -- job of the photos fitted together, every face of them
    person TEXT,
    path TEXT NOT NULL,
    face INTEGER,                -- 1, 2, ... where every face was asked for
    folder TEXT,                 -- name in the run's folder
    recipe TEXT NOT NULL,        -- or kind of labels
    status TEXT NOT NULL,        -- converged, doubtful or failed; made or failed of a shard
    code TEXT,                   -- of the error
    reason TEXT NOT NULL,        -- why doubtful or failed, a sentence
    seconds REAL NOT NULL,
    confidence REAL,
    record TEXT NOT NULL,        -- JSON of `row.record_of`; of a shard {"pictures": how many}
    fitkit TEXT NOT NULL,        -- version
    PRIMARY KEY (job, stem, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS failures ON faces (task) WHERE status = 'failed';
CREATE TABLE IF NOT EXISTS claims (task TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
"""


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


class Ledger:
    """An open ledger. Of one thread.

    Raises:
        FitkitError: E_OUTPUT, in every method, where the file cannot be written or is damaged.
    """

    def __init__(self, run: Path, *, shard: tuple[int, int] = (1, 1)):
        self._run, self._path = run, run / ledger_name(shard)
        with self._errors():
            self._base = sqlite3.connect(self._path, timeout=BUSY, isolation_level=None)
            _retried(lambda: self._base.execute("PRAGMA journal_mode = WAL"))
            _retried(lambda: self._base.executescript(SCHEMA))
            self._base.execute("PRAGMA synchronous = FULL")

    def record(self, rows: Sequence[Row], *, done: Iterable[str] = (), mended: Iterable[str] = ()) -> None:
        """Enter rows, and give back the claims of the tasks that are `done`, in one commit that has reached the disk.

        A row takes the place of an earlier one of its face, and the rows of a task that of its failures; the failures of the tasks
        `mended` go, too.
        """
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        with self._transaction():
            self._base.executemany("DELETE FROM faces WHERE task = ? AND status = 'failed'",
                                   [(task,) for task in {row.task for row in rows} | set(mended)])
            self._base.executemany(
                f"INSERT OR REPLACE INTO faces ({', '.join(COLUMNS)}, fitkit) VALUES ({marks})",
                [(*(json.dumps(row.record) if name == "record" else _storable(getattr(row, name)) for name in COLUMNS), __version__)
                 for row in rows])
            self._base.executemany("DELETE FROM claims WHERE task = ?", [(task,) for task in done])

    def claim(self, task: str, owner: str) -> bool:
        """Claim a task for the process that holds the workplace named `owner`; False where it, or another living one, has it."""
        with self._errors():
            self._base.execute("PRAGMA synchronous = NORMAL")      # a claim need not survive the power
        try:
            with self._transaction():
                held = self._base.execute("SELECT owner FROM claims WHERE task = ?", (task,)).fetchone()
                if held and (held[0] == owner or is_locked(self._run / held[0])):
                    return False
                self._base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (task, owner))
        finally:
            self._base.execute("PRAGMA synchronous = FULL")
        return True

    def release(self, owner: str) -> None:
        """Give back all claims of a process, and those of dead ones."""
        with self._transaction():
            owners = [name for name, in self._base.execute("SELECT DISTINCT owner FROM claims")]
            gone = [(name,) for name in owners if name == owner or not is_locked(self._run / name)]
            self._base.executemany("DELETE FROM claims WHERE owner = ?", gone)

    def known(self, job: str, stem: str, identifier: str) -> bool:
        """Whether a face or shard has its row, and not as a failure."""
        with self._errors():
            return self._base.execute("SELECT 1 FROM faces WHERE job = ? AND stem = ? AND id = ? AND status <> 'failed'",
                                      (job, _storable(stem), _storable(identifier))).fetchone() is not None

    def lasting_failures(self, task: str) -> list[dict[str, Any]]:
        """The failures of a task, where all of them would come again."""
        with self._errors():
            rows = [dict(zip(("path", "code", "reason", "fitkit"), row, strict=True)) for row in self._base.execute(
                "SELECT path, code, reason, fitkit FROM faces WHERE task = ? AND status = 'failed'", (task,))]
        return rows if all(row["code"] in LASTING and row["fitkit"] == __version__ for row in rows) else []

    def close(self) -> None:
        """Close the file; its write-ahead log goes into it with the last process."""
        with self._errors():
            self._base.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._base.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise FitkitError(
                "E_OUTPUT", f"cannot write the ledger {self._path}: {error}; make space or choose another directory with --out; a "
                "damaged ledger may be deleted, since whole results are found without it") from error


def ledger_name(shard: tuple[int, int]) -> str:
    """File name of the ledger of shard i of n."""
    return NAME.format("" if shard == (1, 1) else "-{}-of-{}".format(*shard))


def rows(run: Path) -> Iterator[dict[str, Any]]:
    """The rows of all ledgers of a run, as dictionaries by column; `record` is parsed. Rows of an interrupted run are among them.

    Raises:
        FitkitError: E_RESULT where a ledger cannot be read.
    """
    seen: set[int] = set()      # shards cut otherwise, at another time, may both know a face
    paths = sorted(run.glob(PATTERN))
    for path in paths:
        try:
            with contextlib.closing(_opened(path)) as base:
                for values in base.execute(f"SELECT {', '.join(COLUMNS)} FROM faces"):
                    row = dict(zip(COLUMNS, values, strict=True))
                    key = hash((row["job"], row["stem"], row["id"]))
                    if len(paths) > 1 and key in seen:
                        continue
                    if len(paths) > 1:
                        seen.add(key)
                    yield row | {"record": json.loads(row["record"])}
        except (sqlite3.Error, ValueError) as error:
            raise FitkitError("E_RESULT", f"the ledger {path} cannot be read ({error}); run its command again") from error


def _opened(path: Path) -> sqlite3.Connection:
    """A ledger opened for reading; where nothing may be written beside it, as it is."""
    options = "mode=rw" if os.access(path.parent, os.W_OK) else "immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=BUSY)


def _storable(value: Any) -> Any:
    """A value as SQLite takes it: text without what is no Unicode, which names of files may hold."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _retried(step: Any) -> None:
    """Run a statement that SQLite does not wait for while another process opens the same ledger."""
    limit = time.monotonic() + BUSY
    while True:
        try:
            step()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > limit:
                raise
            time.sleep(0.05)
