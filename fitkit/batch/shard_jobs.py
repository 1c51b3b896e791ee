"""Shards of labelled pictures as the jobs of a run: which are there, and what became of the others. Without JAX."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fitkit.batch.ledger import Ledger
from fitkit.batch.plan import SHARDS, Message, Told
from fitkit.batch.row import Row
from fitkit.errors import FitkitError
from fitkit.labels import shards

MADE = "made"                # status of a shard


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardJob:
    """A shard; a `plan.Job`."""

    work: "ShardWork"
    number: int
    again: str = ""
    mends = ()

    @property
    def key(self) -> str:
        """sha256 of the run's settings and the shard's number."""
        return hashlib.sha256(json.dumps({"labels": self.work.settings, "shard": self.number}, sort_keys=True).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """Of the tar file."""
        return shards.shard_path(self.work.out, self.number)

    @property
    def names(self) -> list[str]:
        """The path of the tar file."""
        return [str(self.path)]

    def message(self) -> Message:
        """The shard for a worker: its number, and the numbers of its pictures from the first on and before the last."""
        numbers = shards.shard_numbers(self.work.settings, self.number)
        return {"shard": self.number, "pictures": [numbers.start, numbers.stop]}

    def made(self, part: Message) -> Told:
        """A shard that a worker wrote.

        Raises:
            FitkitError: E_RESULT, it is gone or damaged.
        """
        if not shards.is_done(self.work.out, self.number):
            raise FitkitError("E_RESULT", f"{self.path} was written, and is damaged or gone; look after the disk, and run the same"
                              " command again")
        return self._told(MADE, seconds=part["taken"])

    def kept(self, ledger: Ledger | None) -> Told:
        """A shard that is there."""
        told = self._told(MADE)
        known = ledger is None or ledger.known(told.row.job, told.row.stem, told.row.id)
        return dataclasses.replace(told, status="kept", enter=not known)

    def planned(self) -> Told:
        """A shard that would be made."""
        return dataclasses.replace(self._told("planned"), enter=False)

    def failed(self, place: int, code: str, reason: str, *, seconds: float, traceback: str = "") -> Told:
        """A shard that could not be made."""
        return self._told("failed", code=code, reason=reason, seconds=seconds, traceback=traceback)

    def _told(self, status: str, *, code: str | None = None, reason: str = "", seconds: float = 0.0, traceback: str = "") -> Told:
        pictures = len(shards.shard_numbers(self.work.settings, self.number))
        row = Row(job=self.key, stem=self.path.stem, id="", task=self.key, person=None, path=str(self.path), face=None, folder=None,
                  recipe=self.work.settings["kind"], status=status, code=code, reason=reason, seconds=round(seconds, 3),
                  record={"pictures": pictures})
        return Told(row=row, status=status, folder=str(self.path), traceback=traceback)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ShardWork:
    """What a run of labels makes: a `plan.Work`.

    Attributes:
        out: folder of the run.
        request: for the workers: labels (the kind), fields, count, per_shard and what else `LabelProgram` reads.
        dry_run: make nothing.
        shard: (i, n): every n-th shard from the i-th on.
        limit: shards that are looked at.
        settings: what a worker made of the request, as run.json holds it; from `begin` on.
    """

    out: Path
    request: Message
    dry_run: bool = False
    shard: tuple[int, int] = (1, 1)
    limit: int | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    words = SHARDS
    ahead = 0

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write run.json, or compare with the one that is there.

        Raises:
            FitkitError: E_EXISTS, the folder holds a run of other settings; E_RESULT, run.json is damaged; E_OUTPUT.
        """
        self.settings.update(settings)
        if not self.dry_run or (self.out / shards.RUN).exists():
            shards.start_run(self.out, settings)

    def given(self) -> Iterator[int]:
        """The numbers of the shards of this part, up to the limit."""
        return iter(self.numbers())

    def numbers(self) -> range:
        """The numbers of the shards of this part, up to the limit, from `count` and `per_shard` of the settings."""
        part, parts = self.shard
        return range(part - 1, -(-self.settings["count"] // self.settings["per_shard"]), parts)[:self.limit]

    def count(self, item: int) -> int:
        """One."""
        return 1

    def prepared(self, item: int, ledger: Ledger | None) -> tuple[list[Told], ShardJob | None]:
        """The shard of a number as a job."""
        return self.looked_up(ShardJob(work=self, number=item), ledger)

    def looked_up(self, job: ShardJob, ledger: Ledger | None) -> tuple[list[Told], ShardJob | None]:
        """The job if it is to be done; else that it is there."""
        if shards.is_done(self.out, job.number):
            return [job.kept(ledger)], None
        if self.dry_run:
            return [job.planned()], None
        if job.path.exists():
            job = dataclasses.replace(job, again=f"{job.path} is not whole: it is made again")
        return [], job
