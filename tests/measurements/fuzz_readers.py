"""Every reader of a stranger's file, fed with mutants of good ones: none may die, hang, or raise anything but a `FitkitError`.

    python -m tests.measurements.fuzz_readers --mutants 1000000 [--only NAME ...] [--from NUMBER]

Mutant k of a reader is always the same (seeded by both). The readers run in a process of their own, which says before each mutant
which it is: where it dies, or says nothing for `PATIENCE` seconds, the mutant is a finding and the next process goes on behind it.
Prints a row per reader: mutants, how many were read and how many refused, seconds, findings; exit status 1 if there are findings.
`--repeat NAME NUMBER` runs one mutant here, with its traceback.
"""

import argparse
import collections
import dataclasses
import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from fitkit.errors import FitkitError

PATIENCE = 30.0          # seconds for one mutant; the slowest takes one or two on a busy machine
STARTING = 300.0         # seconds until the first one: a process imports JAX first
MEMORY = 6 * 2**30       # bytes of address space beside what a process has: a bomb is a MemoryError, and not the machine's end
TARGETS = "tests.measurements.fuzz_targets"      # the module with `all_targets`
TOKENS = (b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 400, b"2147483648", b"18446744073709551616", b"[" * 300, b"{", b"}", b"\0",
          b"\n", b'"', b"/", b"..", b"null", b"true", b"\xff\xfe", b"-", b" ", b",", b"=", b"\\")
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader: what it is called, the ending of its files, what reads one, and good files to begin with."""

    name: str
    ending: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]


def mutant(target: Target, number: int) -> bytes:
    """Mutant `number` of a target's seeds."""
    chance = random.Random(f"{target.name} {number}")
    data = bytearray(chance.choice(target.seeds))
    for _ in range(chance.choice((1, 1, 2, 3, 8, 30))):
        place = chance.randrange(len(data) + 1)
        if chance.random() < 0.3:
            place = min(place, chance.randrange(600))      # heads are where readers decide
        match chance.randrange(8):
            case 0:
                data[place:place + 1] = bytes([chance.randrange(256)])
            case 1:
                data[place:place + 1] = bytes([(data[place] if place < len(data) else 0) ^ 1 << chance.randrange(8)])
            case 2:
                size = chance.choice((1, 2, 4, 8))
                data[place:place + size] = (chance.choice(NUMBERS) & 256**size - 1).to_bytes(size, chance.choice(("little", "big")))
            case 3:
                data[place:place + chance.choice((0, 1, 4))] = chance.choice(TOKENS)
            case 4:
                del data[place:place + chance.choice((1, 2, 4, 64, 1000))]
            case 5:
                start = chance.randrange(len(data) + 1)
                data[place:place] = data[start:start + chance.choice((1, 4, 64, 1000))]
            case 6:
                other = chance.choice(target.seeds)
                start = chance.randrange(len(other) + 1)
                data[place:place + 64] = other[start:start + chance.choice((16, 64, 500))]
            case 7:
                if chance.random() < 0.2:
                    del data[place:]
    return bytes(data)


def targets(module: str = TARGETS) -> dict[str, Target]:
    """All readers, by name."""
    return {target.name: target for target in importlib.import_module(module).all_targets()}


def try_mutant(target: Target, number: int, folder: Path) -> bool:
    """Whether a mutant was read; False where it was refused as it should be. Anything else is raised."""
    path = folder / f"a{target.ending}"
    path.write_bytes(mutant(target, number))
    try:
        target.read(path)
    except FitkitError as error:
        if "\n" in error.message or len(error.message) > 2000 or not error.message.isprintable() and error.message.isascii():
            raise AssertionError(f"no sentence: {error.message!r}") from error
        return False
    return True


def _work(module: str, names: list[str], ranges: dict[str, tuple[int, int]], shared, results) -> None:
    """Try mutants of several targets; what was tried and what was found goes to `results`, target by target."""
    import resource

    warnings.simplefilter("ignore")
    known = targets(module)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = _address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for index, name in enumerate(names):
            counts, started = collections.Counter(), time.monotonic()
            for number in range(*ranges[name]):
                shared[0], shared[1] = index, number
                try:
                    counts["read" if try_mutant(known[name], number, Path(folder)) else "refused"] += 1
                except Exception as error:
                    results.put(("finding", name, number, f"{type(error).__name__}: {str(error)[:200]}"))
                except BaseException as error:      # a Rust library's panic is no Exception
                    results.put(("finding", name, number, f"{type(error).__name__}: {str(error)[:200]}"))
                    if isinstance(error, KeyboardInterrupt):
                        raise
                if number % 500 == 499:
                    results.put(("counts", name, dict(counts), time.monotonic() - started))
                    counts, started = collections.Counter(), time.monotonic()
            results.put(("counts", name, dict(counts), time.monotonic() - started))
    results.put(("done", "", 0, ""))


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def fuzz(
    ranges: dict[str, tuple[int, int]], *, module: str = TARGETS, deadline: float = float("inf"), patience: float = PATIENCE,
) -> tuple[dict[str, collections.Counter], list[str]]:
    """Try ranges of mutants by target, the targets being those of a module, until `deadline`, a time of the clock.

    Returns:
        by target: how many were read and refused, and "seconds"; the findings.
    """
    context = multiprocessing.get_context("spawn")
    table: dict[str, collections.Counter] = {name: collections.Counter() for name in ranges}
    findings: list[str] = []
    waiting = list(ranges)
    while waiting and time.time() < deadline:
        shared, results = context.Array("q", [0, -1]), context.SimpleQueue()      # which target and mutant
        process = context.Process(target=_work, args=(module, waiting, ranges, shared, results))
        process.start()
        last, changed = (0, -1), time.monotonic()
        finished = False
        while not finished:
            while not results.empty():
                kind, name, value, more = results.get()
                if kind == "finding":
                    findings.append(f"{name} {value}: {more}")
                    print(findings[-1], flush=True)
                elif kind == "counts":
                    table[name].update(value)
                    table[name]["seconds"] += more
                finished = finished or kind == "done"
            if tuple(shared) != last:
                last, changed = tuple(shared), time.monotonic()
            if finished or time.time() > deadline:
                break
            hangs, dead = time.monotonic() - changed > (patience if last[1] >= 0 else STARTING), not process.is_alive()
            if hangs or dead and results.empty():
                if last[1] < 0:
                    raise RuntimeError("the process that reads does not start")
                name, number, code = waiting[last[0]], last[1], process.exitcode or 0
                what = "hangs" if hangs else f"dies: {signal.Signals(-code).name if code < 0 else code}"
                findings.append(f"{name} {number}: {what}")
                print(findings[-1], flush=True)
                waiting = waiting[last[0]:]
                ranges = ranges | {name: (number + 1, ranges[name][1])}
                break
            time.sleep(0.02)
        process.kill()
        process.join()
        if finished:
            waiting = []
    return table, findings


def main(arguments: list[str] | None = None) -> int:
    """Fuzz the readers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=5000, help="of all readers together")
    parser.add_argument("--from", dest="start", type=int, default=0, help="number of the first mutant of each")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--only", nargs="*", help="names of readers")
    parser.add_argument("--repeat", nargs=2, metavar=("NAME", "NUMBER"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    known = targets()
    if options.repeat:
        with tempfile.TemporaryDirectory() as folder:
            print("read" if try_mutant(known[options.repeat[0]], int(options.repeat[1]), Path(folder)) else "refused")
        return 0
    names = options.only or list(known)
    each = -(-options.mutants // len(names))
    table, findings = fuzz(dict.fromkeys(names, (options.start, options.start + each)),
                           deadline=time.time() + 60 * options.minutes)
    if options.json:
        print(json.dumps({"table": table, "findings": findings}))
    else:
        print(f"{'reader':24}{'read':>9}{'refused':>9}{'seconds':>9}")
        for name, counts in table.items():
            print(f"{name:24}{counts['read']:9}{counts['refused']:9}{counts['seconds']:9.0f}")
        print(f"{sum(c['read'] + c['refused'] for c in table.values())} mutants, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
