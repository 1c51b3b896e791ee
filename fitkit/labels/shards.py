"""Tar shards of labelled pictures: written whole or not at all, each with an index beside it.

    RUN/run.json               what the run is made of: kind, number of pictures and of those in a shard, and the kind's settings
    RUN/shard-000012.tar       the records `encode` gives, members named NUMBER.END, in order; the same bytes on every run
    RUN/shard-000012.json      for each record its number, sha256 (of its members' bytes, one after the other) and their places

A shard is done when its index is there, which is written last. A killed run leaves whole shards; what is missing is made again, by
the same numbers, so that it ends with the shards of a run that nobody killed.
"""

import hashlib
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitkit.errors import FitkitError
from fitkit.io import atomic_files
from fitkit.io.untrusted import parsing, read_bytes

if TYPE_CHECKING:           # records wake JAX, and a run's leading process knows shards alone
    from fitkit.labels.record import Record

VERSION = 1                 # of the layout
MEMBERS = ("png", "labels.npy", "json", "mask.png", "maps.npy", "previous.npy")     # in this order: what is read most comes first
RUN = "run.json"
BLOCK = tarfile.BLOCKSIZE   # bytes, to which tar pads each member
LARGEST_INDEX = 2**28       # bytes that are read of run.json and of an index

Make = Callable[[Sequence[int]], "list[Record]"]    # the records of pictures, by their numbers


def start_run(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Write `run.json`, or compare with the one that is there.

    Args:
        folder: of the run.
        settings: all that its pictures depend on, as JSON can hold it.

    Raises:
        FitkitError: E_EXISTS, the folder holds a run of other settings; E_RESULT, its `run.json` is damaged; E_OUTPUT.
    """
    path = Path(folder) / RUN
    if path.exists():
        there = read_run(folder)
        check_run(folder, dict.fromkeys(there.keys() - {"version"}) | dict(settings))
    else:
        atomic_files.write_bytes(path, json.dumps({"version": VERSION, **settings}, indent=1).encode() + b"\n")


def check_run(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Compare some settings with those of the run that a folder holds, if it holds one.

    Raises:
        FitkitError: E_EXISTS, they are others; E_RESULT, its `run.json` is damaged.
    """
    there = read_run(folder) if (Path(folder) / RUN).exists() else settings
    different = [f"{name} is {there.get(name)!r} there and {value!r} here" for name, value in sorted(settings.items())
                 if there.get(name) != value]
    if different:
        raise FitkitError("E_EXISTS", f"{folder} holds a run of other labels ({'; '.join(different)}); choose another --out")


def read_run(folder: str | Path) -> dict[str, Any]:
    """The settings of a run.

    Raises:
        FitkitError: E_RESULT, the folder holds none, or a damaged one.
    """
    mend = "name a folder that fitkit labels make wrote"
    data = read_bytes(Path(folder) / RUN, most=LARGEST_INDEX, code="E_RESULT", mend=mend)
    with parsing("E_RESULT", f"{folder} is no run of labels", mend=mend):
        settings = dict(json.loads(data))
        if settings["version"] != VERSION:
            raise ValueError(f"its version is {settings['version']}, not {VERSION}")
        return settings


def shard_path(folder: str | Path, shard: int) -> Path:
    """The tar file of a shard; its index has the same name and ends in .json."""
    return Path(folder) / f"shard-{shard:06d}.tar"


def is_done(folder: str | Path, shard: int) -> bool:
    """Whether a shard is there, of the length that its index says."""
    path = shard_path(folder, shard)
    try:
        return bool(read_index(path)["bytes"] == path.stat().st_size)
    except (FitkitError, OSError):
        return False


def shard_numbers(settings: Mapping[str, Any], shard: int) -> range:
    """The numbers of the pictures of a shard, from `count` and `per_shard` of the run's settings."""
    return range(shard * settings["per_shard"], min(settings["count"], (shard + 1) * settings["per_shard"]))


def write_shard(path: Path, records: Sequence[tuple[int, Mapping[str, bytes]]]) -> None:
    """Write numbered records as a tar file and its index.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    parts: list[bytes] = []
    index, length = [], 0
    for number, members in records:
        digest, places = hashlib.sha256(), {}
        for end, data in members.items():
            entry = tarfile.TarInfo(f"{number:09d}.{end}")
            entry.size = len(data)
            header = entry.tobuf(tarfile.USTAR_FORMAT)
            places[end] = [length + len(header), len(data)]
            parts += [header, data, bytes(-len(data) % BLOCK)]
            length += sum(map(len, parts[-3:]))
            digest.update(data)
        index.append({"number": number, "sha256": digest.hexdigest(), "members": places})
    parts.append(bytes(2 * BLOCK))
    described = {"version": VERSION, "bytes": length + 2 * BLOCK, "records": index}
    path.with_suffix(".json").unlink(missing_ok=True)
    with atomic_files.writing(path) as file:
        file.writelines(parts)
    atomic_files.write_bytes(path.with_suffix(".json"), json.dumps(described).encode() + b"\n")


def read_index(path: Path) -> dict[str, Any]:
    """The index of a shard, by the path of its tar file.

    Raises:
        FitkitError: E_RESULT, it is missing or damaged.
    """
    data = read_bytes(path.with_suffix(".json"), most=LARGEST_INDEX, code="E_RESULT", mend=anew(path))
    with parsing("E_RESULT", f"the index of the shard {path} is damaged", mend=anew(path)):
        described = dict(json.loads(data))
        if described["version"] != VERSION:
            raise ValueError(f"its version is {described['version']}, not {VERSION}")
        for entry in described["records"]:
            entry["number"], entry["sha256"], [[int(at) for at in place] for place in entry["members"].values()]
            if list(entry["members"]) != list(MEMBERS[:len(entry["members"])]):
                raise ValueError(f"picture {entry['number']} has members {list(entry['members'])}")
        return described


def anew(path: Path) -> str:
    """What mends a damaged shard: the end of a sentence."""
    return (f"delete {path.with_suffix('.json').name} and run the same fitkit labels make again, which makes the shard"
            f" {path.name} anew")
