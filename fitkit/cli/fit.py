"""`fitkit fit`: fits photos one after another and writes a folder for each; one bad photo never stops the others.

What would stop every photo (an unknown recipe, no such device, an output that cannot be written) is checked first. Then
`fitkit.fit` or `fitkit.fit_faces` fits each photo, while a second thread makes the pictures and files of the photo before it.
"""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fitkit
from fitkit import configuration, device
from fitkit.cli.console import Console, Outcome, exit_status, failed_outcome, progress_line, summary
from fitkit.cli.options import Fit
from fitkit.detection import DETECTORS
from fitkit.errors import FitkitError
from fitkit.results import OUTPUTS

if TYPE_CHECKING:
    from fitkit.results.result import FitResult

POINT_FILES = (".pts", ".npy")      # endings of landmark files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One photo to fit, and how."""

    photo: Path
    out: Path
    arguments: dict[str, Any]      # of `fitkit.fit`
    outputs: tuple[str, ...]
    every_face: bool
    overwrite: bool
    dry_run: bool


def run_fit(options: Fit, fields: dict[str, Any], console: Console) -> int:
    """Fit every photo of `options`.

    Args:
        options: the command line.
        fields: recipe fields from the config file, before `--set`.
        console: prints results and errors.

    Returns:
        the exit status.

    Raises:
        FitkitError: for what would stop every photo.
    """
    started = time.perf_counter()
    arguments = _arguments(options)
    outputs = _outputs(options.outputs)
    fields = configuration.merge(fields, configuration.parse_assignments(options.set))
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit fit me.jpg, or name a directory of photos")
    if not options.dry_run:
        _check_writable(Path(options.out))
    device.select_device(options.general.device)
    arguments |= _check_recipe(options.recipe, fields)
    if not options.dry_run and device.keep_compiled_programs() is None:
        console.note("compiled programs are not kept: the cache is switched off or its directory cannot be written", level=2)

    photos, outcomes = _find(options.photo, console)
    if len(photos) > 1 and "landmarks" in arguments and not Path(options.landmarks).is_dir():
        raise FitkitError("E_USAGE", f"--landmarks {options.landmarks} holds the points of one photo, and there are {len(photos)};"
                          " name a directory of such files, each named after its photo")
    jobs = [
        Job(photo=photo, out=Path(options.out), arguments=arguments, outputs=outputs, every_face=options.faces == "all",
            overwrite=options.overwrite, dry_run=options.dry_run)
        for photo in photos
    ]
    stopped = (_run_person if options.same_person else _run)(jobs, outcomes, console)
    console.note(summary(outcomes, time.perf_counter() - started) + (", stopped by the keyboard" if stopped else ""))
    return 130 if stopped else exit_status(outcomes)


def _run(jobs: Sequence[Job], outcomes: list[Outcome], console: Console) -> bool:
    """Run the jobs, adding to `outcomes`; True if the keyboard stopped them. What was fitted by then is still written."""
    stopped = False
    with progress_line(console, len(jobs)) as (live, on_progress), ThreadPoolExecutor(max_workers=1) as writer:

        def on_done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            live.outcome(outcome)

        written: Future[None] = writer.submit(lambda: None)
        try:
            for job in jobs:
                on_progress(job.photo.name)
                with _catch_failure(job, on_done, written):
                    write = _fit_photo(job, on_done, live, partial(on_progress, job.photo.name))
                    written.result()      # photos are reported in order, and two at most are in memory
                    written = writer.submit(write)
                on_progress(None)
        except KeyboardInterrupt:
            stopped = True
        written.result()
    return stopped


def _run_person(jobs: Sequence[Job], outcomes: list[Outcome], console: Console) -> bool:
    """Fit one person to the photos of all jobs, adding to `outcomes`; True if the keyboard stopped it."""
    with progress_line(console, 1) as (live, on_progress):      # all photos are one fit

        def on_done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            live.outcome(outcome)

        try:
            known = [_kept(job) or (_planned(job) if job.dry_run else None) for job in jobs]
            if None not in known:
                for outcome in filter(None, known):
                    on_done(outcome)
                return False
            on_progress(jobs[0].photo.name)
            _fit_person(jobs, on_done, live, partial(on_progress, jobs[0].photo.name))
            on_progress(None)
        except KeyboardInterrupt:
            return True
    return False


def _fit_person(
    jobs: Sequence[Job], on_done: Callable[[Outcome], None], console: Console, progress: Callable[[float], None]
) -> None:
    """Fit one person to the photos of all jobs and write a folder for each photo.

    `progress` is called with the completed fraction in [0, 1], `on_done` with the outcome of each photo.
    """
    started = time.perf_counter()
    arguments = dict(jobs[0].arguments)
    if "landmarks" in arguments:
        arguments["landmarks"] = [(job.arguments | _points(job))["landmarks"] for job in jobs]
    results = fitkit.fit([job.photo for job in jobs], same_person=True, progress=progress, **arguments)
    seconds = (time.perf_counter() - started) / len(jobs)
    for job, result in zip(jobs, results, strict=True):
        with _catch_failure(job, on_done):
            if isinstance(result, FitkitError):
                raise result
            _write(job, [result], seconds, on_done, console)


@contextlib.contextmanager
def _catch_failure(job: Job, on_done: Callable[[Outcome], None], before: Future[None] | None = None) -> Iterator[None]:
    """Call `on_done` with the outcome of a photo that fails, after the photo `before`; raise what would stop every photo."""
    started = time.perf_counter()
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads what is printed: not this photo's fault
    except Exception as error:
        if isinstance(error, FitkitError) and error.exit_status in (2, 3, 4):
            raise  # would stop every photo
        if before is not None:
            before.result()
        on_done(failed_outcome(error, str(job.photo), seconds=time.perf_counter() - started))


def _fit_photo(
    job: Job, on_done: Callable[[Outcome], None], console: Console, progress: Callable[[float], None]
) -> Callable[[], None]:
    """Fit one photo.

    Returns:
        a function that writes the folders of its faces and calls `on_done` with each outcome.
    """
    started = time.perf_counter()
    if (kept := _kept(job)) is not None:
        return partial(on_done, kept)
    if job.dry_run:
        return partial(on_done, _planned(job))
    arguments = job.arguments | _points(job) | {"progress": progress}
    results = fitkit.fit_faces(job.photo, **arguments) if job.every_face else [fitkit.fit(job.photo, **arguments)]
    return partial(_write, job, results, (time.perf_counter() - started) / len(results), on_done, console)


def _write(job: Job, results: Sequence["FitResult"], seconds: float, on_done: Callable[[Outcome], None], console: Console) -> None:
    """Write the faces of one photo, each fitted in `seconds`, and call `on_done` with each outcome."""
    photo, several = str(job.photo), len(results) > 1
    with _catch_failure(job, on_done):
        if (kept := _kept(job)) is not None:      # the photo before this one was the same
            on_done(kept)
            return
        # the first face is written last: where its folder is, all of them are, and a stopped run begins the photo again
        for number, result in reversed(list(enumerate(results, start=1))):
            started = time.perf_counter()
            folder = _folder(job, number if several else None)
            result.save(folder, outputs=job.outputs, overwrite=job.overwrite or several)
            taken = time.perf_counter() - started
            for note in result.warnings:
                console.note(f"{photo}: {note}")
            timings = {**result.timings, "write": taken}
            console.note(f"{photo}: " + ", ".join(f"{name} {spent:.2f} s" for name, spent in timings.items()), level=2)
            on_done(Outcome(photo=photo, face=number if several else None, folder=str(folder), status=result.status,
                            reason=result.reason, seconds=round(seconds + taken, 3)))


def _folder(job: Job, face: int | None) -> Path:
    from fitkit.results.save import result_name  # late: it brings JAX

    return job.out / result_name(job.photo, face)


def _planned(job: Job) -> Outcome:
    return Outcome(photo=str(job.photo), status="planned", folder=str(_folder(job, None)))


def _kept(job: Job) -> Outcome | None:
    """The outcome "kept" if this photo has a result folder already (its first face has, if several) and it is not overwritten."""
    candidates = [_folder(job, None)] + ([_folder(job, 1)] if job.every_face else [])
    folder = next((folder for folder in candidates if folder.exists()), None)
    return None if folder is None or job.overwrite else Outcome(photo=str(job.photo), status="kept", folder=str(folder))


def _find(named: Sequence[str], console: Console) -> tuple[list[Path], list[Outcome]]:
    """The photos of the files and directories named, and failed outcomes for those that hold none."""
    from fitkit.io.images import find_photos  # late: it brings JAX

    photos: dict[Path, None] = {}      # in order, each once
    failed = []
    for name in named:
        try:
            photos |= dict.fromkeys(find_photos([name]))
        except (FitkitError, OSError) as error:
            if isinstance(error, OSError):
                error = FitkitError("E_NOFILE", f"cannot read {name}: {error.strerror}; check its permissions")
            failed.append(failed_outcome(error, name))
            console.outcome(failed[-1])
    return list(photos), failed


def _arguments(options: Fit) -> dict[str, Any]:
    """The arguments of `fitkit.fit` that are the same for every photo.

    Raises:
        FitkitError: E_USAGE for a value out of range.
    """
    if options.same_person and options.faces == "all":
        raise FitkitError("E_USAGE", "--same-person fits the largest face of each photo, and --faces all asks for all; drop one")
    if options.size < 64 or options.size % 2:
        raise FitkitError("E_USAGE", f"--size takes an even number of at least 64 pixels, not {options.size}; the default is 224")
    if options.focal is not None and not 0 < options.focal < float("inf"):
        raise FitkitError("E_USAGE", f"--focal {options.focal:g} is no focal length in pixels; give one above 0, or leave it out")
    arguments: dict[str, Any] = {"recipe": options.recipe, "head": options.head, "size": options.size, "focal": options.focal,
                                 "seed": options.seed}
    if options.landmarks in DETECTORS:
        return arguments | {"detector": options.landmarks}
    path = Path(options.landmarks)
    if not path.is_dir() and path.suffix not in POINT_FILES:
        raise FitkitError("E_USAGE", f"--landmarks {options.landmarks} is neither a detector, nor a .pts or .npy file, nor a"
                          f" directory; {configuration.did_you_mean(options.landmarks, DETECTORS)}")
    if options.faces == "all":
        raise FitkitError("E_USAGE", "the points of a file belong to one face, and --faces all asks for several; drop one")
    return arguments | {"landmarks": path}


def _points(job: Job) -> dict[str, Any]:
    """The landmark file of one photo, if --landmarks named a directory."""
    given = job.arguments.get("landmarks")
    if given is None or not given.is_dir():
        return {}
    candidates = [given / (job.photo.stem + suffix) for suffix in POINT_FILES]
    for path in candidates:
        if path.is_file():
            return {"landmarks": path}
    names = " nor ".join(path.name for path in candidates)
    raise FitkitError("E_LANDMARKS", f"there is neither {names} in {given} for {job.photo}; add one, or choose a detector")


def _outputs(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise FitkitError("E_USAGE", f"--outputs is empty; name some of {', '.join(OUTPUTS)}")
    for name in names:
        configuration.check_choice(name, OUTPUTS, code="E_USAGE", what="output")
    return names


def _check_recipe(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The recipe's fields as keyword arguments, each checked."""
    from fitkit.recipes import RECIPES

    configuration.check_choice(name, RECIPES, code="E_RECIPE", what="recipe")
    return configuration.check_fields(RECIPES[name].config, fields)


def _check_writable(out: Path) -> None:
    """Make the folder `out`; raise E_OUTPUT if it cannot be made or written into."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise FitkitError("E_OUTPUT", f"cannot write into {out}: {reason}; choose another directory with --out") from error


