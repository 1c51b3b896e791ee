"""The `fitkit` command: parses the command line, calls the command's function, prints errors, and returns the exit status.

tyro parses, from the classes that `command_table.py` lists. JAX is imported inside functions only: help comes in a fraction of a
second, and the device is chosen before JAX starts.
Exit status: 0 fine, 1 some photos failed, 2 usage, 3 missing data, 4 device, 5 output not writable.
"""

import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import tyro

import fitkit
from fitkit import configuration
from fitkit.cli.command_table import COMMANDS, RUN_BY, Command, Fit
from fitkit.cli.console import Console, Level, failed_outcome
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError

DESCRIPTION = """From a photograph of a face to a 3D face.

Examples:
  fitkit fit me.jpg                            fit one photo; the result goes to out/
  fitkit render out/me-1a2b3c4d --yaw 30       a picture of the result from the side
  fitkit doctor                                check the installation

fitkit COMMAND --help explains a command.
Exit status: 0 fine, 1 some photos failed, 2 usage, 3 missing data, 4 device, 5 output not writable."""

_NO_PAIRS = (tyro.conf.FlagCreatePairsOff,)      # no --no-FLAG beside --FLAG


def main() -> int:
    """Run the process's own command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a photo may have any name; printing it must not stop the others
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Run a command line, given without the program's name, and return its exit status."""
    console = Console()
    try:
        status = 0
        if (parsed := parse(arguments)) is not None:
            options, fields = parsed
            console = Console(level=_level(options.general), as_json=getattr(options, "json", False) is True)
            with _print_warnings(console):
                status = _dispatch(options, fields, console)
        sys.stdout.flush()  # a closed pipe is noticed here, not at the interpreter's end
        return status
    except FitkitError as error:
        console.error(error.code, error.message)
        return error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has gone
        return 1
    except KeyboardInterrupt:
        console.note("stopped by the keyboard")
        return 130
    except Exception as error:
        outcome = failed_outcome(error, "this command")
        console.error("E_INTERNAL", outcome.message)
        return 1


def parse(arguments: Sequence[str]) -> tuple[Command, dict[str, Any]] | None:
    """Read a command line.

    Returns:
        the command's options, and the recipe fields of its config file; None if it asked for help, which is printed.

    Raises:
        FitkitError: E_USAGE or E_FIELD, in one sentence.
    """
    if not arguments or arguments[0] in ("-h", "--help", "--version"):
        _introduce(arguments)
        return None
    name, *rest = arguments
    if any(command.startswith(f"{name} ") for command in COMMANDS):
        if not rest or rest[0] in ("-h", "--help"):
            _introduce(["--help"] if rest else [], group=name)
            return None
        name, rest = f"{name} {rest[0]}", rest[1:]
    configuration.check_choice(name, COMMANDS, code="E_USAGE", what="command")
    options = _read(name, rest, None)
    if not isinstance(options, Fit) or options.config is None:
        return None if options is None else (options, {})
    tables = configuration.read_config(options.config)
    config, options = options.config, _read(name, rest, _defaults(tables["fit"], options.config))
    paper = configuration.paper_recipe(config)
    if isinstance(options, Fit) and paper not in (None, options.recipe):
        raise FitkitError("E_USAGE", f"--config {config} is for recipe {paper}, and --recipe says {options.recipe}; drop one")
    return None if options is None else (options, tables["recipe"])


def _defaults(table: dict[str, Any], path: str) -> Fit:
    """The options as table [fit] of a config file sets them."""
    for key in ("photo", "set", "config", "general"):
        if key in table:
            raise FitkitError("E_FIELD", f"{key!r} in table [fit] of {path} is not for a file; give it on the command line")
    given = {key.replace("-", "_"): value for key, value in table.items()}
    shared = {key: value for key, value in given.items() if key in {field.name for field in dataclasses.fields(General)}}
    general = General(**configuration.check_fields(General, shared, where=path))
    own = {key: value for key, value in given.items() if key not in shared}
    return Fit(**configuration.check_fields(Fit, own, where=path), general=general)


def _introduce(arguments: Sequence[str], group: str = "") -> None:
    """Print the list of all commands, or of those of a group; or the version."""
    prog, prefix = f"fitkit {group}".strip(), f"{group} ".lstrip()
    commands = {name.removeprefix(prefix): kind for name, kind in COMMANDS.items() if name.startswith(prefix)}
    if not arguments:
        raise FitkitError("E_USAGE", f"no command was named; there are {', '.join(commands)}, and {prog} --help explains them")
    if arguments[0] == "--version":
        print(f"fitkit {fitkit.__version__}")
        return
    # not by tyro: it would read every option of every command, which takes as long as printing the help itself
    indent, width = max(map(len, commands)) + 4, min(shutil.get_terminal_size().columns, 100)
    print(f"usage: {prog} [-h{'' if group else ' | --version'}] COMMAND ...\n")
    print("" if group else f"{DESCRIPTION}\n\n", "commands:", sep="")
    for name, kind in commands.items():
        summary = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
        print(textwrap.fill(summary, width, initial_indent=f"  {name}".ljust(indent), subsequent_indent=" " * indent))


def _read(name: str, arguments: Sequence[str], default: Command | None) -> Command | None:
    """Parse one command's arguments; tyro's error boxes become sentences. None if help was asked for, which is printed."""
    printed = io.StringIO()
    kind = COMMANDS[name]
    try:
        with contextlib.redirect_stderr(printed):
            options, unknown = tyro.cli(
                kind, prog=f"fitkit {name}", description=inspect.cleandoc(kind.__doc__ or ""), args=list(arguments),
                default=default or kind(), return_unknown_args=True, config=_NO_PAIRS,
            )
    except SystemExit as stop:
        if not stop.code:
            return None
        raise FitkitError("E_USAGE", f"{_sentence(printed.getvalue())}; fitkit {name} --help explains the options") from None
    if unknown:
        fields = dataclasses.fields(kind) + dataclasses.fields(General)
        others = ("photo", "result", "results", "run", "video", "film", "general")
        flags = ["--" + field.name.replace("_", "-") for field in fields if field.name not in others]
        word = unknown[0].partition("=")[0]
        if not word.startswith("-"):
            raise FitkitError("E_USAGE", f"fitkit {name} does not take {unknown[0]!r}; fitkit {name} --help explains what it takes")
        raise FitkitError("E_USAGE", f"unknown option {word!r} of fitkit {name}; {configuration.did_you_mean(word, flags)}")
    return options


def _sentence(box: str) -> str:
    """The first paragraph of one of tyro's boxes, in one line, without its title and frame (drawn or of dashes)."""
    rows = [line.strip("│ ") for line in box.strip().splitlines()[1:]]
    ruled = [not row.strip("─-╰╯ ") for row in rows]
    start = ruled.index(False) if False in ruled else len(rows)
    end = ruled.index(True, start) if True in ruled[start:] else len(rows)
    sentence = " ".join(" ".join(rows[start:end]).split()).rstrip(".") or "the command line cannot be read"
    sentence = sentence.replace("invalid literal for int() with base 10:", "not a whole number:")
    return sentence.replace("could not convert string to float:", "not a number:").replace("Error parsing ", "cannot take ", 1)


def _level(options: General) -> Level:
    if options.debug or options.verbose >= 2:
        return 3
    if options.verbose and options.quiet:
        raise FitkitError("E_USAGE", "-v and -q exclude each other; drop one")
    return 2 if options.verbose else 0 if options.quiet else 1


@contextlib.contextmanager
def _print_warnings(console: Console) -> Iterator[None]:
    """Print Python's warnings in one line each; those meant for developers only at level 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("default" if console.level >= 3 else "ignore")
        warnings.filterwarnings("always" if console.level >= 1 else "ignore", category=UserWarning, module=r"fitkit\b")
        warnings.showwarning = lambda message, *_, **__: console.note(f"warning: {message}")
        yield


def _dispatch(options: Command, fields: dict[str, Any], console: Console) -> int:
    module, function = RUN_BY[type(options)].split(":")
    run = getattr(importlib.import_module(f"fitkit.cli.commands.{module}"), function)
    status: int = run(options, fields, console) if isinstance(options, Fit) else run(options, console)
    return status


if __name__ == "__main__":
    sys.exit(main())
