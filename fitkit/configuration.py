"""Options as text: `field=value` on the command line and TOML files, checked against a frozen dataclass's fields.

Used by the command line and by `pipeline.py` to check a recipe's fields. Knows no option by name and imports neither JAX nor a
recipe. Anything unknown is refused with the nearest name.
"""

import dataclasses
import difflib
import importlib.util
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fitkit.errors import FitkitError
from fitkit.io.untrusted import parsing, read_bytes

# Bounds on resources
MAX_BYTES = 2**18       # of a TOML file
MAX_DOTS = 256          # of a line of one: for a name of n parts `tomllib` takes memory that grows with n squared
MAX_VALUE = 10_000      # characters of a value on the command line
MAX_DEPTH = 8           # parts of a dotted name
PAPER = "paper:"      # `paper:NAME` stands for the config file of the values that the paper of recipe NAME states


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `name`: the nearest known one, or all of them."""
    names = sorted(known)
    near = nearest(name, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return "there are " + ", ".join(names) if names else "there are none"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, upper and lower case alike; None where none is like it."""
    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    return folded[close[0]] if close else None


def check_choice(name: str, known: Iterable[str], *, code: str, what: str) -> str:
    """Return `name` where it is known.

    Raises:
        FitkitError: `code`, with the nearest name, where it is not.
    """
    names = list(known)
    if name not in names:
        raise FitkitError(code, f"unknown {what} {name!r}; {did_you_mean(name, names)}")
    return name


def check_fields(kind: type, given: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """The fields of the dataclass `kind` named in `given`, each of the type the dataclass states.

    Args:
        kind: a dataclass whose field types are bool, int, float, str, Literal, tuple, another dataclass, or one of these or None.
        given: field name -> value; an int is taken where a float is asked, a list where a tuple is, a table where a dataclass is.
        where: what the values came from, for the error's sentence ("config.toml", "--set").

    Raises:
        FitkitError: E_FIELD for an unknown field (the nearest is named) or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    source = f" in {where}" if where else ""
    checked = {}
    for name, value in given.items():
        if name not in names:
            raise FitkitError("E_FIELD", f"unknown field {name!r} of {kind.__name__}{source}; {did_you_mean(name, names)}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            checked[name] = hints[name](**check_fields(hints[name], value, where=where))
            continue
        try:
            checked[name] = _convert(value, hints[name])
        except (ValueError, OverflowError):
            wanted, shown = describe_type(hints[name]), repr(value) if _is_short(value) else "a number of so many digits"
            raise FitkitError("E_FIELD", f"field {name!r} of {kind.__name__}{source} takes {wanted}, not {shown}") from None
    return checked


def parse_assignments(texts: Sequence[str], *, option: str = "--set") -> dict[str, Any]:
    """`name=value` texts as a dictionary; a value is read as TOML (`3`, `0.5`, `true`, `[1, 2]`), or else is the text itself.

    A dotted name reaches into a nested table: `landmarks.iterations=5`.

    Raises:
        FitkitError: E_USAGE for a text without a name or `=`, or one of unlikely length or depth.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise FitkitError("E_USAGE", f"{option} takes name=value, not {text!r}; write {option} {name or 'name'}=0.5, say")
        parts = name.strip().split(".")
        if len(parts) > MAX_DEPTH or len(value) > MAX_VALUE:
            raise FitkitError("E_USAGE", f"{option} {name.strip()} has {len(parts)} parts and a value of {len(value)} characters;"
                              f" at most {MAX_DEPTH} and {MAX_VALUE} are read")
        with parsing("E_USAGE", f"the value of {option} {name.strip()} cannot be read", mend=f"write {option} name=0.5, say"):
            assigned = _parse_value(value.strip())
        for part in reversed(parts):
            assigned = {part: assigned}
        values = merge(values, assigned)
    return values


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested tables as one; where both hold a value, `above` wins."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def paper_recipe(config: str | Path) -> str | None:
    """The recipe that a config of the form `paper:NAME` names; None for the path of a file."""
    return str(config).removeprefix(PAPER) if str(config).startswith(PAPER) else None


def paper_files() -> dict[str, Path]:
    """The installed `paper.toml` of each recipe that has one, by the recipe's name."""
    found = importlib.util.find_spec("fitkit.recipes")      # not imported: a recipe brings JAX, whose device is not chosen yet
    folders = (found.submodule_search_locations or []) if found else []
    return {path.parent.name: path for folder in folders for path in sorted(Path(folder).glob("*/paper.toml"))}


def read_config(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read a TOML file of two tables: `[fit]`, options of `fitkit fit`, and `[recipe]`, fields of the recipe.

    `paper:NAME` reads the values of recipe NAME's paper (`paper.toml` beside the recipe) and names that recipe in `[fit]`.
    In Python: `fitkit.fit("me.jpg", recipe="ganfit", **read_config("paper:ganfit")["recipe"])`.

    Raises:
        FitkitError: E_USAGE where the file is missing, is not TOML, or holds another table, and for a recipe without `paper.toml`.
    """
    if (name := paper_recipe(path)) is not None:
        files = paper_files()
        if name not in files:
            hint = did_you_mean(name, files)
            raise FitkitError("E_USAGE", f"there is no file of a paper's values for recipe {name!r} (--config {path}); {hint}")
        tables = read_config(files[name])
        return {"fit": {"recipe": name} | tables["fit"], "recipe": tables["recipe"]}
    data = read_bytes(path, most=MAX_BYTES, code="E_USAGE", mend="check --config")
    with parsing("E_USAGE", f"the config file {path} is not TOML", mend="mend that line"):
        tables = _parse_toml(data.decode())
    for name, table in tables.items():
        if name not in ("fit", "recipe") or not isinstance(table, dict):
            raise FitkitError("E_USAGE", f"{name!r} in {path} stands in neither table [fit] nor table [recipe]; move it into one")
    return {"fit": tables.get("fit", {}), "recipe": tables.get("recipe", {})}


def describe_type(hint: Any) -> str:
    """A field's type in words a user knows: 'a number', 'one of a, b', 'a whole number or nothing'."""
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if _is_union(hint):
        return " or ".join(describe_type(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "a list: each " + " / ".join(dict.fromkeys(describe_type(a) for a in typing.get_args(hint) if a is not ...))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", types.NoneType: "nothing"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def _parse_value(text: str) -> Any:
    if "\n" in text:
        return text
    try:
        return _parse_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None if text.lower() == "none" else text


def _parse_toml(text: str) -> dict[str, Any]:
    """TOML within bounds; its integers have 64 bits, where Python takes longer ones, and then cannot print them."""
    if max((line.count(".") for line in text.splitlines()), default=0) > MAX_DOTS:
        raise ValueError(f"a line has more than {MAX_DOTS} dots")
    tables = tomllib.loads(text)
    waiting: list[Any] = [tables]
    while waiting:
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if not _is_short(value):
            raise ValueError(f"a whole number of {value.bit_length()} bits")
    return tables


def _is_short(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _convert(value: Any, hint: Any) -> Any:
    """`value` as `hint` asks; ValueError where it cannot be."""
    if not _is_short(value):
        raise ValueError(value)
    if _is_union(hint):
        return _convert_union(value, typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        if value in typing.get_args(hint):
            return value
    elif typing.get_origin(hint) is tuple:
        return _convert_tuple(value, typing.get_args(hint))
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, float) and math.isnan(value):
        pass      # no field means anything by it
    elif hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    elif hint is Any or (isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ValueError(value)


def _convert_union(value: Any, options: Sequence[Any]) -> Any:
    for option in options:
        try:
            return _convert(value, option)
        except ValueError:
            continue
    raise ValueError(value)


def _convert_tuple(value: Any, items: Sequence[Any]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(value)
    if len(items) == 2 and items[1] is ...:
        return tuple(_convert(item, items[0]) for item in value)
    if len(items) != len(value):
        raise ValueError(value)
    return tuple(_convert(item, kind) for item, kind in zip(value, items, strict=True))
