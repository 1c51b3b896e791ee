"""What the user named as photos, as an ordered sequence of `Source`s and of named `Failure`s, made while it is asked for.

    file        a photo, or a manifest by its ending: .txt, .csv, .parquet (`manifest.py`)
    folder      the photos in it by their endings, then those of its subfolders, each sorted by name
    glob        in quotes, 'photos/**/*.jpg': the files of these names, whatever their ending; `**` stands for folders of any depth
    -           a list on standard input

Left out of folders and globs: hidden files and folders, and results of fitkit (folders with a fit.json). A folder that is linked
to several times is read once, so links in a circle end. Needs no JAX unless a manifest gives cameras.
"""

import fnmatch
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from fitkit.batch.manifest import MANIFEST_SUFFIXES, Failure, Source, check_parquet, read_list, read_manifest
from fitkit.errors import FitkitError
from fitkit.io.image_decoder import HEIF_SUFFIXES, SUFFIXES, reads_heif

NAMED = 3                   # files of an unread kind that get a sentence each; more are counted
MOST_PHOTOS = 256           # of a person that are held and fitted together: a bound on resources
SHOWN_KINDS = 5             # endings that the sentence about a folder without photos names
RESULT = "fit.json"         # marks a folder that fitkit wrote
ANY_DEPTH = "**"
# endings of what shows faces and is not read -> what it is, and what mends it
HEIF = ("a HEIC photo", "pip install 'fitkit[heic]' reads it, or export it as JPEG")
FILM = ("a film", "take pictures out of it, as ffmpeg -i FILM frames/%06d.png does")
RAW = ("a camera's raw file", "develop it to JPEG, PNG or TIFF")
DRAWING = ("a picture of a kind that is not read", "convert it to JPEG or PNG")
UNREAD = {
    **dict.fromkeys((".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"), FILM),
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw"), RAW),
    **dict.fromkeys((".eps", ".exr", ".hdr", ".jxl", ".pdf", ".psd", ".svg", ".tga"), DRAWING),
}
PHOTOS = SUFFIXES + HEIF_SUFFIXES
LINK_TO_NOTHING = ("a link to nothing", "mend the link or delete it")
SPECIAL = {
    stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}
NO_FILE = "copy what it gives into a file"

Kind = tuple[str, str]


def find_sources(
    named: Sequence[str | Path], *, standard_input: BinaryIO | None = None, endings: tuple[str, ...] | None = None
) -> Iterator[Source | Failure]:
    """The photos that `named` stands for, in order.

    A photo that does not exist is given all the same, for its reader to report: one bad photo does not stop the others. One that
    is named twice is given twice.

    Args:
        named: files, folders, globs, manifests, or "-".
        standard_input: the list that "-" stands for; by default the process's own.
        endings: of the files that are taken from folders; by default those of photos.

    Raises:
        FitkitError: E_DATA, at once, where a manifest needs an extra that is not installed.
    """
    if any(str(name).lower().endswith(".parquet") for name in named):
        check_parquet()
    return (source for name in named for source in _find(str(name), standard_input, endings or PHOTOS))


def by_person(sources: Iterable[Source | Failure]) -> Iterator[tuple[Source, ...] | Failure]:
    """The sources that are fitted together: a photo alone, or adjacent ones of one person.

    A person who comes again after another one is a `Failure`, since the rest would have to be held until the end; so are the
    photos of a person beyond `MOST_PHOTOS`. Of each person a number of 8 bytes is remembered.
    """
    known: set[int] = set()
    group: list[Source] = []
    for source in sources:
        if group and not (isinstance(source, Source) and source.person == group[0].person):
            yield tuple(group)
            group = []
        if isinstance(source, Failure):
            yield source
        elif source.person is None:
            yield (source,)
        elif not group and hash(source.person) in known:
            yield Failure(str(source.path), FitkitError(
                "E_MANIFEST", f"{source.path} belongs to person {source.person!r}, whose other photos stand elsewhere in the "
                "manifest; sort it by person"))
        elif len(group) == MOST_PHOTOS:
            yield Failure(str(source.path), FitkitError(
                "E_MANIFEST", f"{source.path} is beyond the {MOST_PHOTOS} photos of person {source.person!r} that can be fitted "
                "together; name fewer"))
        else:
            known.add(hash(source.person))
            group.append(source)
    if group:
        yield tuple(group)


def _find(name: str, standard_input: BinaryIO | None, endings: tuple[str, ...]) -> Iterator[Source | Failure]:
    if name == "-":
        return read_list(standard_input or sys.stdin.buffer, folder=None, name="standard input")
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        return _missing(name)
    except (OSError, ValueError) as error:      # ValueError: NUL in a name
        return iter([_unreadable(name, error)])
    if stat.S_ISDIR(mode):
        return _walk(name, (ANY_DEPTH, "*"), endings=endings)
    if not stat.S_ISREG(mode):
        return iter([_sentence([name], 1, (SPECIAL.get(stat.S_IFMT(mode), "a special file"), NO_FILE), name)])
    if Path(name).suffix.lower() in MANIFEST_SUFFIXES:
        return read_manifest(Path(name))
    return iter([Source(path=Path(name))])


def _missing(name: str) -> Iterator[Source | Failure]:
    """What a name that is no file stands for: a glob, or a photo that its reader will miss."""
    parts = Path(name).parts
    first = next((number for number, part in enumerate(parts) if set("*?[") & set(part)), None)
    if first is None:
        if Path(name).suffix.lower() in MANIFEST_SUFFIXES:
            return iter([Failure(name, FitkitError("E_NOFILE", f"there is no list of photos {name}; check the path"))])
        return iter([Source(path=Path(name))])
    pattern = parts[first:] + (("*",) if parts[-1] == ANY_DEPTH else ())
    return _walk(str(Path(*parts[:first])), pattern, endings=None)


def _walk(folder: str, pattern: tuple[str, ...], *, endings: tuple[str, ...] | None) -> Iterator[Source | Failure]:
    """The files below `folder` whose path matches `pattern`, one part a level; of these endings, where any are given."""
    left_out: dict[Kind, list[str]] = {}           # the first of each kind
    counts: Counter[Kind] = Counter()
    others: Counter[str] = Counter()                # endings of what is no picture
    seen: set[tuple[int, int]] = set()
    found, waiting = False, [(folder, _reached({0}, pattern))]
    while waiting:
        place, states = waiting.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            photos, folders, odd = _listing(place, states, pattern, endings, others)
        except OSError as error:
            found = True
            yield _unreadable(place, error)
            continue
        for name in photos:
            found = True
            yield Source(path=Path(place, name))
        for name, kind in odd:
            counts[kind] += 1
            if counts[kind] <= NAMED:
                left_out.setdefault(kind, []).append(os.path.join(place, name))
        waiting += [(os.path.join(place, name), inner) for name, inner in reversed(folders)]
    for kind, count in counts.items():
        several = count > NAMED
        yield from [_sentence(left_out[kind], count, kind, folder)] if several else [
            _sentence([path], 1, kind, folder) for path in left_out[kind]]
    if not found and not counts:
        yield Failure(folder, _nothing(folder, pattern, endings, others))


def _listing(
    place: str, states: frozenset[int], pattern: tuple[str, ...], endings: tuple[str, ...] | None, others: Counter[str]
) -> tuple[list[str], list[tuple[str, frozenset[int]]], list[tuple[str, Kind]]]:
    """Names in a folder, each kind sorted: files that match, subfolders with the states they are entered with, what is not read.

    Args:
        place: the folder.
        states: places in `pattern` that have been reached.
        pattern: of the whole walk.
        endings: of what matches; None takes every ending.
        others: counts the endings of what does not.
    """
    unread = UNREAD if reads_heif() else UNREAD | dict.fromkeys(HEIF_SUFFIXES, HEIF)
    photos, folders, odd = [], [], []
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.name == RESULT:
                return [], [], []
            if _is(entry.is_dir):
                if inner := _entered(states, entry.name, pattern):
                    folders.append((entry.name, inner))
            elif _matches(states, entry.name, pattern):
                suffix = os.path.splitext(entry.name)[1].lower()
                if not _is(entry.is_file):
                    odd.append((entry.name, _special(entry.path)))
                elif suffix in unread:
                    odd.append((entry.name, unread[suffix]))
                elif endings is None or suffix in endings:
                    photos.append(entry.name)
                else:
                    others[suffix or "no ending"] += 1
    return sorted(photos), sorted(folders), sorted(odd)


def _is(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:      # a link to itself, or into a place without rights
        return False


def _reached(states: Iterable[int], pattern: tuple[str, ...]) -> frozenset[int]:
    """The places in the pattern that are reached with these: `**` stands for no folder at all, too."""
    reached = set()
    for state in states:
        reached.add(state)
        while pattern[state] == ANY_DEPTH:
            state += 1
            reached.add(state)
    return frozenset(reached)


def _entered(states: frozenset[int], name: str, pattern: tuple[str, ...]) -> frozenset[int]:
    """The places in the pattern that are reached by going into the folder `name`; none where it cannot match."""
    inner = {state for state in states if pattern[state] == ANY_DEPTH and name[0] != "."}
    inner |= {state + 1 for state in states if pattern[state] != ANY_DEPTH and state + 1 < len(pattern)
              and _fits(name, pattern[state])}
    return _reached(inner, pattern)


def _matches(states: frozenset[int], name: str, pattern: tuple[str, ...]) -> bool:
    return len(pattern) - 1 in states and _fits(name, pattern[-1])


def _fits(name: str, part: str) -> bool:
    return fnmatch.fnmatch(name, part) and (name[0] != "." or part[0] == ".")


def _special(path: str) -> Kind:
    """What a directory entry is that is neither file nor folder."""
    try:
        return SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode), "a special file"), NO_FILE
    except FileNotFoundError:
        return LINK_TO_NOTHING
    except OSError as error:
        return f"a link that cannot be followed ({error.strerror})", LINK_TO_NOTHING[1]


def _sentence(paths: Sequence[str], count: int, kind: Kind, folder: str) -> Failure:
    what, mend = kind
    if count == 1:
        return Failure(paths[0], FitkitError("E_NOTIMAGE", f"{paths[0]} is {what} and was left out; {mend}"))
    return Failure(folder, FitkitError(
        "E_NOTIMAGE", f"{folder} holds {count} files like {paths[0]}, each {what}, which were left out; {mend}"), count)


def _unreadable(path: str, error: Exception) -> Failure:
    reason = getattr(error, "strerror", None) or error
    return Failure(path, FitkitError("E_NOFILE", f"cannot read {path}: {reason}; check the path and its rights"))


def _nothing(folder: str, pattern: tuple[str, ...], endings: tuple[str, ...] | None, others: Counter[str]) -> FitkitError:
    """The error for a folder without photos, or a glob that matches nothing."""
    if not endings:
        return FitkitError("E_NOFILE", f"no file matches {os.path.join(folder, *pattern)!r}; check the pattern")
    held = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(SHOWN_KINDS))
    hint = f" but {held}; files of any ending are named by {os.path.join(folder, '**', '*')!r}" if held else "; name another"
    wanted = "images" if endings == PHOTOS else "files that end in " + ", ".join(endings)
    return FitkitError("E_EMPTYDIR", f"the directory {folder} holds no {wanted}{hint}")
