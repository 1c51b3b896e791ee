"""Photos as the jobs of a run: hashed, looked up among the results that are there, and what became of each of their faces."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fitkit.batch.job import Task, find_results, folder_name, in_shard, photo_messages, read_source, unread_job
from fitkit.batch.ledger import Ledger
from fitkit.batch.manifest import Failure, Source
from fitkit.batch.plan import PHOTOS, Message, Told
from fitkit.batch.row import bare_row, row_of
from fitkit.errors import FitkitError
from fitkit.io.cameras import CameraFile
from fitkit.results.integrity import read_content

Group = tuple[Source, ...]           # photos that are fitted together


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoJob:
    """Photos that are fitted together; a `plan.Job`."""

    work: "PhotoWork"
    key: str
    task: Task
    again: str = ""

    @property
    def names(self) -> list[str]:
        """Of the photos, as given."""
        return [str(source.path) for source in self.task.sources]

    @property
    def mends(self) -> list[str]:
        """Names of the photos in the ledger while they could not be read."""
        return [unread_job(name, self.work.settings) for name in self.names]

    def message(self) -> Message:
        """The photos for a worker."""
        return {"photos": photo_messages(self.task)}

    def made(self, part: Message) -> Told:
        """A face of which a worker wrote the folder.

        Raises:
            FitkitError: E_RESULT, its folder is gone or damaged.
        """
        source, folder = self.task.sources[part["place"]], self.work.out / part["folder"]
        content = read_content(folder)
        if content is None:
            raise FitkitError("E_RESULT", f"{folder} was written, and is damaged or gone; look after the disk, and fit the photo"
                              " again")
        row = row_of(source, self.key, folder, content, seconds=part["seconds"])
        return Told(row=row, status=part["status"], folder=str(folder))

    def failed(self, place: int, code: str, reason: str, *, seconds: float, traceback: str = "") -> Told:
        """A photo that came to no face."""
        job = self.task.jobs(self.work.settings, 0 if self.work.every_face else None)[place]
        return self.work.failure(self.task.sources[place], job, code, reason, task=self.key, seconds=seconds, traceback=traceback)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PhotoWork:
    """What a run of fits makes: a `plan.Work`.

    Attributes:
        groups: photos that are fitted together, and what cannot be fitted: `sources.by_person`.
        out: folder of the results.
        options: what workers need to know: recipe, fields, head, size, seed, detector, device, traceback, batch_size; and
            one_thread, where the fits must be the same however many workers there are.
        outputs: what is written of each face.
        points: a file of points, or a folder with one for each photo.
        focal: pixels, where a photo's manifest says none.
        camera: the file of cameras, the same.
        every_face: of a photo, not the largest alone.
        overwrite: fit again what is there.
        dry_run: fit nothing.
        shard: (i, n): part i of n of the photos.
        limit: photos that are looked at.
        settings: what a worker made of the options; from `begin` on.
    """

    groups: Iterable[Group | Failure]
    out: Path
    options: Message
    outputs: tuple[str, ...]
    points: Path | None = None
    focal: float | None = None
    camera: CameraFile | None = None
    every_face: bool = False
    overwrite: bool = False
    dry_run: bool = False
    shard: tuple[int, int] = (1, 1)
    limit: int | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    words = PHOTOS
    ahead = 2

    @property
    def request(self) -> Message:
        """What all photos have in common, for the workers."""
        return self.options | {"outputs": list(self.outputs), "every_face": self.every_face, "overwrite": self.overwrite}

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Take the settings that a worker found: recipe with every field, the head's digest and the like."""
        self.settings.update(settings)

    def given(self) -> Iterator[Group | Failure]:
        """The photos of this shard, up to the limit."""
        count = 0
        for group in self.groups:
            if isinstance(group, Failure):
                if self.shard[0] == 1:      # told once
                    yield group
            elif in_shard(group, self.shard):
                if self.limit is not None and count >= self.limit:
                    return
                count += len(group)
                yield group

    def count(self, item: Group | Failure) -> int:
        """How many photos these are."""
        return 1 if isinstance(item, Failure) else len(item)

    def prepared(self, item: Group | Failure, ledger: Ledger | None) -> tuple[list[Told], PhotoJob | None]:
        """The job of photos, which are read for it; what cannot be read is said."""
        if isinstance(item, Failure):
            return [self._unread(Source(path=Path(item.path)), item.error, name=item.path)], None
        told: list[Told] = []
        read: list[tuple[Source, str, str]] = []
        for source in item:
            if source.focal is None and self.focal is not None:
                source = dataclasses.replace(source, focal=self.focal)
            try:
                if source.camera is None and self.camera is not None:
                    source = dataclasses.replace(source, camera=self.camera.of(source.path))
                read.append(read_source(source, points=self.points))
            except FitkitError as error:
                told.append(self._unread(source, error, name=str(source.path)))
        if not read:
            return told, None
        sources, digests, points = zip(*read, strict=True)
        task = Task(sources=sources, digests=digests, point_digests=points)
        key = task.jobs(self.settings, 0 if self.every_face else None)[0]
        said, job = self.looked_up(PhotoJob(work=self, key=key, task=task), ledger)
        return told + said, job

    def looked_up(self, job: PhotoJob, ledger: Ledger | None) -> tuple[list[Told], PhotoJob | None]:
        """The job if it is to be done; else its results that are there, or its failures that would come again."""
        task = job.task
        if not self.overwrite:
            found = find_results(task, self.settings, self.out, every_face=self.every_face, outputs=self.outputs)
            if found is not None:
                rows = [row_of(source, job.key, folder, content) for source, folder, content in found]
                return [Told(row=row, status="kept", folder=str(self.out / str(row.folder)),
                             enter=ledger is not None and not ledger.known(row.job, row.stem, row.id)) for row in rows], None
            known = ledger.lasting_failures(job.key) if ledger is not None else []
            if known and len(known) == len(task.sources):
                sources = {str(source.path): source for source in task.sources}
                return [self.failure(sources.get(row["path"], task.sources[0]), job.key, row["code"], row["reason"], enter=False)
                        for row in known], None
        face = 1 if self.every_face else None
        folder = self.out / folder_name(task.sources[0].path, task.jobs(self.settings, face)[0], self.settings["recipe"], face)
        if self.dry_run:
            return [Told(row=bare_row(source), status="planned", folder=str(folder), enter=False) for source in task.sources], None
        if folder.exists() and not self.overwrite:
            job = dataclasses.replace(job, again=f"{folder} is not whole, or lacks an output asked for: it is made again")
        return [], job

    def failure(self, source: Source, job: str, code: str, reason: str, *, task: str | None = None, seconds: float = 0.0,
                traceback: str = "", enter: bool = True) -> Told:
        """A photo that came to no face."""
        row = dataclasses.replace(bare_row(source), job=job, task=task or job, recipe=self.settings.get("recipe", ""),
                                  status="failed", code=code, reason=reason, seconds=round(seconds, 3))
        return Told(row=row, status="failed", traceback=traceback, enter=enter)

    def _unread(self, source: Source, error: FitkitError, *, name: str) -> Told:
        return self.failure(source, unread_job(name, self.settings), error.code, error.message)


def each_once(sources: Iterable[Source | Failure], named: Sequence[str]) -> Iterator[Source | Failure]:
    """The sources of what is `named`, a photo that several names stand for once."""
    seen: set[int] = set()
    for source in sources:
        if isinstance(source, Source) and len(named) > 1:
            key = hash((source.path, source.id))
            if key in seen:
                continue
            seen.add(key)
        yield source
