"""`fitkit train`: trains one of fitkit's networks on labelled pictures. The loop is `fitkit.recipes.train.loop`."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration, device
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import Flag, General, Words
from fitkit.errors import FitkitError

STOPPED = 130      # exit status after Ctrl-C


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network on runs of labelled pictures, which `fitkit labels make` writes.

    Networks:
      coarsenet            identity, expression and pose from one photo (Guo et al. 2018, Section VI); labels random, vary
      tracking_coarsenet   the same, albedo and light, from a frame and the pose before (Section VII); labels frames
      richardson_coarse    the same as coarsenet by a network that corrects its last word (Richardson et al. 2017); labels random
      finenet              wrinkles from a photo and a coarse depth map (Section VIII); labels detail
      richardson_fine      the same from shading alone, without any truth (Richardson et al. 2017, Section 4); labels detail, vary
      richardson           richardson_coarse and richardson_fine end to end, from their weights (Section 4.4); labels detail, vary
      dnet                 dense depth from one photo (DF2Net, Zeng et al. 2019, step 1); labels random, vary, detail
      fnet                 fine depth from the photo and dnet's (step 2); labels vary, detail; --set dnet=FILE names dnet's weights
      frnet                finer depth from the photo and fnet's (step 3); labels vary, detail; --set dnet=FILE, fnet=FILE
      emotion_net          emotion and expression from a grey face (Chen et al. 2019, Section 3.2); labels expressions
      dfdn                 displacement of the UV map (Section 4); labels detail, random, vary; --set area=forehead, then area=mouth

    Each has two configurations: paper, its paper's sizes and schedule, for a GPU; small, which two CPU cores train in hours.
    CoarseNet has a third, mesh: the trunk of MediaPipe's face mesh, trained on from the weights that come with fitkit.
    --set changes a field: batch, steps, rate (Adam's), warmup (steps of a rising rate), final (rate at the end, a share of rate),
    clip (longest gradient), seed, and the network's own sizes and the weights of its loss.

    WORK is the folder of the training: checkpoints, and metrics and pictures for TensorBoard (tensorboard --logdir WORK). Every
    so many steps (--every), at the end and at Ctrl-C a checkpoint is written, with scores of pictures that are never trained on;
    the same command with --resume goes on from there, to the same numbers bit by bit as if nothing had stopped it. At the end the
    weights are written to WORK/NAME.safetensors in half precision, and a card, WORK/NAME.md: steps, data, scores, hours.

    A GPU computes convolutions in bfloat16; weights stay float32. All devices of a machine share each batch. Several machines
    train together: each runs the same command, WORK on a disk that all see, with --coordinator HOST:PORT and --host I/N.

    Examples:
      fitkit labels make random --out run --count 20000
      fitkit train coarsenet --data run --config small --dry-run
      fitkit train coarsenet --data run --config small --minutes 120
      fitkit train coarsenet --data run --config small --minutes 120 --resume
      fitkit train finenet --data wrinkles --held more_wrinkles --config paper --set batch=32 --export finenet.safetensors
      fitkit train coarsenet --data run --coordinator 10.0.0.1:1234 --host 1/2      and --host 2/2 on the other machine

    Needs pip install 'fitkit[train]'. Exit status: 0 fine, also when --minutes are over; 130 stopped by Ctrl-C.
    """

    name: Annotated[Positional[str], arg(metavar="NAME", help_behavior_hint="")] = ""
    """Network to train: one of those above."""
    data: Annotated[tuple[str, ...], arg(metavar="RUN...", help_behavior_hint="")] = ()
    """Runs of labels to train on; of each the last part is held out, if --held names none."""
    held: Annotated[tuple[str, ...], arg(metavar="RUN...", help_behavior_hint="")] = ()
    """Runs of labels that are not trained on: scores and pictures are of them."""
    config: Annotated[str, arg(metavar="paper|small|mesh")] = "small"
    """Configuration of the network and its training."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of the configuration."""
    steps: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Steps of the whole training, in place of the configuration's. A training that ended goes on where --resume gives more."""
    work: Annotated[str, arg(metavar="DIRECTORY", help_behavior_hint="")] = ""
    """Folder of the training. By default training/NAME-CONFIG."""
    resume: Flag = False
    """Go on from the last checkpoint in WORK, of the same configuration; without one, begin."""
    every: Annotated[int, arg(metavar="STEPS")] = 500
    """Steps between two checkpoints."""
    minutes: Annotated[float | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Save and end after so many minutes; --resume goes on."""
    export: Annotated[str | None, arg(metavar="FILE.safetensors", help_behavior_hint="")] = None
    """Write the weights, and a card beside them, to this file, also when the training is stopped before its end."""
    coordinator: Annotated[str | None, arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """Of several machines: where the first one listens, any free port."""
    host: Annotated[str, arg(metavar="I/N")] = "1/1"
    """Of several machines: which one this is, from 1, and how many there are."""
    dry_run: Flag = False
    """Say parameters, memory, data and steps, and do not train."""
    general: OmitArgPrefixes[General] = General()


def run_train(options: Train, console: Console) -> int:
    """Train, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_FIELD; E_DATA without the extra, and of a damaged checkpoint; E_RESULT, damaged labels; E_EXISTS,
            the folder holds a training; E_DEVICE; E_OUTPUT.
    """
    _check(options)
    if options.coordinator is not None:
        device.join_hosts(options.coordinator, *_host(options.host))
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.recipes.train.tasks import find_task

    task = find_task(options.name)
    config = _configured(task, options)
    work = Path(options.work or f"training/{options.name}-{options.config}")
    if options.dry_run:
        return _tell(task, config, options, work)
    return _train(task, config, options, work, console)


def _check(options: Train) -> None:
    """Refuse what cannot be meant, before JAX starts."""
    if not options.name or not options.data:
        raise FitkitError("E_USAGE", "the network and its data are needed; write for example fitkit train coarsenet --data run, a"
                          " run that fitkit labels make random --out run made")
    for name, value in (("--steps", options.steps), ("--every", options.every), ("--minutes", options.minutes)):
        if value is not None and not value > 0:
            raise FitkitError("E_USAGE", f"{name} takes a number above 0, not {value}")
    if (options.coordinator is None) != (options.host == "1/1"):
        raise FitkitError("E_USAGE", "several machines need both --coordinator HOST:PORT and --host I/N; give both, or none")


def _host(text: str) -> tuple[int, int]:
    """(I - 1, N) of --host I/N."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise FitkitError("E_USAGE", f"--host takes I/N, machine I of N, I from 1, not {text!r}; write --host 1/2, say")
    return int(part) - 1, int(parts)


def _configured(task: Any, options: Train) -> Any:
    """The configuration, with what the command line sets."""
    config = task.configs[configuration.check_choice(options.config, task.configs, code="E_USAGE",
                                                     what=f"configuration of {task.name}")]
    given = configuration.parse_assignments(options.set)
    fields = configuration.check_fields(type(config), given, where="--set")
    config = dataclasses.replace(config, **fields, **({} if options.steps is None else {"steps": options.steps}))
    if config.batch < 1 or config.steps < 1:
        raise FitkitError("E_FIELD", f"a training takes a batch and steps of 1 or more, not {config.batch} and {config.steps}")
    return config


def _tell(task: Any, config: Any, options: Train, work: Path) -> int:
    """Print what would be trained."""
    import jax

    from fitkit.recipes.train.plan import plan

    found = plan(task, config, list(map(Path, options.data)), list(map(Path, options.held)))
    devices = jax.devices()
    memory = found.weights + (found.kept + found.batch) / len(devices)
    pictures = ", ".join(f"{name} {facts['pictures']:,} pictures" for name, facts in found.data.items())
    held = ", ".join(f"{name} {facts['pictures']:,} pictures" for name, facts in found.held.items()) or "the last part of each run"
    print(f"network   {task.name}, configuration {options.config}: {task.summary} ({task.paper}); {found.parameters:,} parameters\n"
          f"steps     {config.steps:,} of {config.batch} examples: {config.steps * config.batch:,} examples\n"
          f"devices   {len(devices)} x {devices[0].device_kind}\n"
          f"memory    about {memory / 1e9:.2f} GB on each: weights, gradients and moments {found.weights / 1e9:.2f},"
          f" what the backward pass needs {found.kept / len(devices) / 1e9:.2f}\n"
          f"data      {pictures}; held out: {held}\n"
          f"work      {work}")
    return 0


def _train(task: Any, config: Any, options: Train, work: Path, console: Console) -> int:
    """Train, write the weights, and say what became of it."""
    import jax

    from fitkit.recipes.train.export import export
    from fitkit.recipes.train.loop import train

    first = jax.process_index() == 0
    quiet = console if first else dataclasses.replace(console, level=0)
    end = time.monotonic() + 60 * options.minutes if options.minutes is not None else float("inf")
    with progress_line(quiet, config.steps) as (live, on_progress), _interrupts() as interrupted:

        def told(progress: Any) -> None:
            left = (config.steps - progress.step) * config.batch / progress.rate / 60
            line = f"loss {progress.loss:.4g}, {progress.rate:.1f} examples/s"
            on_progress(line, progress.step)
            if progress.scores is not None:
                scores = ", ".join(f"{name} {value:.4g}" for name, value in progress.scores.items())
                live.note(f"step {progress.step} of {config.steps}: {line}, {left:.0f} min left; {scores}")

        on_progress("compiling")
        outcome = train(task, config, list(map(Path, options.data)), work=work, held=list(map(Path, options.held)),
                        resume=options.resume, every=options.every, on_progress=told,
                        stop=lambda: interrupted.is_set() or time.monotonic() > end)
    ended = outcome.step >= config.steps
    files = [Path(options.export)] if options.export else [work / f"{task.name}.safetensors"] if ended else []
    for path in files if first else []:
        export(path, task, config, outcome.network, step=outcome.step, notes=outcome.notes)
        if console.level:
            print(path)
    if not ended:
        quiet.note(f"stopped at step {outcome.step} of {config.steps}, which is saved in {work}; the same command with"
                   " --resume goes on")
    return STOPPED if interrupted.is_set() and not ended else 0


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, or SIGTERM, sets; the second one acts as ever."""
    asked = threading.Event()
    before: dict[int, Any] = {}

    def ask(*_: Any) -> None:
        asked.set()
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
