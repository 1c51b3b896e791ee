"""`fitkit fit`: the photos one after another, each into its own folder; one bad photo never stops the others.

While a photo is fitted, a second thread makes the pictures and files of the one before it.

Everything that would stop every photo (an unknown recipe, no such device, an output that cannot be written) is looked at first.
Fitting itself is `fitkit.fit` and `fitkit.fit_faces`.
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
from fitkit.cli import console
from fitkit.cli.console import Outcome, Report
from fitkit.cli.options import Fit
from fitkit.detection import DETECTORS
from fitkit.errors import FitkitError
from fitkit.results import OUTPUTS

if TYPE_CHECKING:
    from fitkit.results.result import FitResult

POINT_FILES = (".pts", ".npy")


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


def run_fit(options: Fit, fields: dict[str, Any], speech: Report) -> int:
    """Fit every photo of `options`.

    Args:
        options: the command line.
        fields: recipe fields from the config file, before `--set`.
        speech: where results and errors are said.

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
        speech.note("compiled programs are not kept: the cache is switched off or its directory cannot be written", level=2)

    photos, outcomes = _find(options.photo, speech)
    if len(photos) > 1 and "landmarks" in arguments and not Path(options.landmarks).is_dir():
        raise FitkitError("E_USAGE", f"--landmarks {options.landmarks} holds the points of one photo, and there are {len(photos)};"
                          " name a directory of such files, each named after its photo")
    jobs = [
        Job(photo=photo, out=Path(options.out), arguments=arguments, outputs=outputs, every_face=options.faces == "all",
            overwrite=options.overwrite, dry_run=options.dry_run)
        for photo in photos
    ]
    stopped = (_run_person if options.same_person else _run)(jobs, outcomes, speech)
    speech.note(console.summary(outcomes, time.perf_counter() - started) + (", stopped by the keyboard" if stopped else ""))
    return 130 if stopped else console.exit_status(outcomes)


def _run(jobs: Sequence[Job], outcomes: list[Outcome], speech: Report) -> bool:
    """Run the jobs, adding to `outcomes`; True where the keyboard stopped them. What was fitted by then is still written."""
    stopped = False
    with console.progress(speech, len(jobs)) as (voice, turn), ThreadPoolExecutor(max_workers=1) as writer:

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            voice.outcome(outcome)

        written: Future[None] = writer.submit(lambda: None)
        try:
            for job in jobs:
                turn(job.photo.name)
                with _one_bad_photo(job, done, written):
                    write = _fit_photo(job, done, voice, partial(turn, job.photo.name))
                    written.result()      # photos are reported in order, and two at most are in memory
                    written = writer.submit(write)
                turn(None)
        except KeyboardInterrupt:
            stopped = True
        written.result()
    return stopped


def _run_person(jobs: Sequence[Job], outcomes: list[Outcome], speech: Report) -> bool:
    """Fit one person to the photos of all jobs, adding to `outcomes`; True where the keyboard stopped it."""
    with console.progress(speech, 1) as (voice, turn):      # all photos are one fit

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            voice.outcome(outcome)

        try:
            settled = [_kept(job) or (_planned(job) if job.dry_run else None) for job in jobs]
            if None not in settled:
                list(map(done, filter(None, settled)))
                return False
            turn(jobs[0].photo.name)
            _fit_person(jobs, done, voice, partial(turn, jobs[0].photo.name))
            turn(None)
        except KeyboardInterrupt:
            return True
    return False


def _fit_person(
    jobs: Sequence[Job], done: Callable[[Outcome], None], speech: Report, progress: Callable[[float], None]
) -> None:
    """Fit one person to the photos of all jobs, telling `progress`, and write what came of each, telling `done`."""
    started = time.perf_counter()
    arguments = dict(jobs[0].arguments)
    if "landmarks" in arguments:
        arguments["landmarks"] = [(job.arguments | _points(job))["landmarks"] for job in jobs]
    results = fitkit.fit([job.photo for job in jobs], same_person=True, progress=progress, **arguments)
    share = (time.perf_counter() - started) / len(jobs)
    for job, result in zip(jobs, results, strict=True):
        with _one_bad_photo(job, done):
            if isinstance(result, FitkitError):
                raise result
            _write(job, [result], share, done, speech)


@contextlib.contextmanager
def _one_bad_photo(job: Job, done: Callable[[Outcome], None], before: Future[None] | None = None) -> Iterator[None]:
    """Tell `done` of a photo that fails, after the photo `before`; what would stop every photo is raised."""
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
        done(console.failure(error, str(job.photo), seconds=time.perf_counter() - started))


def _fit_photo(
    job: Job, done: Callable[[Outcome], None], speech: Report, progress: Callable[[float], None]
) -> Callable[[], None]:
    """Fit one photo, telling `progress`; what is left to do is to call what comes back, which writes and tells `done`."""
    started = time.perf_counter()
    if (kept := _kept(job)) is not None:
        return partial(done, kept)
    if job.dry_run:
        return partial(done, _planned(job))
    arguments = job.arguments | _points(job) | {"progress": progress}
    results = fitkit.fit_faces(job.photo, **arguments) if job.every_face else [fitkit.fit(job.photo, **arguments)]
    return partial(_write, job, results, (time.perf_counter() - started) / len(results), done, speech)


def _write(job: Job, results: Sequence["FitResult"], share: float, done: Callable[[Outcome], None], speech: Report) -> None:
    """Write the faces of one photo, each fitted in `share` seconds, telling `done` of each."""
    photo, several = str(job.photo), len(results) > 1
    with _one_bad_photo(job, done):
        if (kept := _kept(job)) is not None:      # the photo before this one was the same
            done(kept)
            return
        # the first face is written last: where its folder is, all of them are, and a stopped run begins the photo again
        for number, result in reversed(list(enumerate(results, start=1))):
            started = time.perf_counter()
            folder = _folder(job, number if several else None)
            result.save(folder, outputs=job.outputs, overwrite=job.overwrite or several)
            taken = time.perf_counter() - started
            for note in result.warnings:
                speech.note(f"{photo}: {note}")
            timings = {**result.timings, "write": taken}
            speech.note(f"{photo}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in timings.items()), level=2)
            done(Outcome(photo=photo, face=number if several else None, folder=str(folder), status=result.status,
                         reason=result.reason, seconds=round(share + taken, 3)))


def _folder(job: Job, face: int | None) -> Path:
    from fitkit.results.save import result_name  # late: it brings JAX

    return job.out / result_name(job.photo, face)


def _planned(job: Job) -> Outcome:
    return Outcome(photo=str(job.photo), status="planned", folder=str(_folder(job, None)))


def _kept(job: Job) -> Outcome | None:
    """The folder that is there already for this photo (its first face's, where there are several), if it is to be kept."""
    candidates = [_folder(job, None)] + ([_folder(job, 1)] if job.every_face else [])
    folder = next((folder for folder in candidates if folder.exists()), None)
    return None if folder is None or job.overwrite else Outcome(photo=str(job.photo), status="kept", folder=str(folder))


def _find(named: Sequence[str], speech: Report) -> tuple[list[Path], list[Outcome]]:
    """The photos of the files and directories named, and the outcomes of those that hold none."""
    from fitkit.io.images import find_photos  # late: it brings JAX

    photos: dict[Path, None] = {}      # in order, each once
    failed = []
    for name in named:
        try:
            photos |= dict.fromkeys(find_photos([name]))
        except (FitkitError, OSError) as error:
            if isinstance(error, OSError):
                error = FitkitError("E_NOFILE", f"cannot read {name}: {error.strerror}; check its permissions")
            failed.append(console.failure(error, name))
            speech.outcome(failed[-1])
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
    """The landmark file of one photo, where files were asked for."""
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
    """Raise E_OUTPUT where no folder can be made in `out`; makes `out` itself."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise FitkitError("E_OUTPUT", f"cannot write into {out}: {reason}; choose another directory with --out") from error


