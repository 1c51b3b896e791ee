"""Photos a second and memory of a run over many small photos: recipe `landmarks`, parameters only, beside one photo after another.

    python -m tests.measurements.run_throughput --photos 10000          # --workers 2 for two processes

The photos are parts of the astronaut, 192 pixels a side, each a little brighter or darker, cut and stored otherwise. One after
another is `fitkit.fit` and `save` in a loop, warm; it is timed before and after the run, since the machine may be busy. Memory is
that of leader and workers together, resident, from a tenth of the photos on.
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import fitkit

ASTRONAUT = Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"
SIDE = 192               # pixels of a photo
CORNER = (30, 128)       # of the part with the face: row and column
ALONE = 100              # photos that are fitted one after another, each time


def make_photos(folder: Path, count: int) -> None:
    """Write `count` different small photos of a face."""
    random = np.random.default_rng(0)
    pixels = np.asarray(Image.open(ASTRONAUT).convert("RGB"), np.float32)
    for number in range(count):
        row, column = np.array(CORNER) + random.integers(0, 12, 2)
        part = pixels[row:row + SIDE, column:column + SIDE] * random.uniform(0.8, 1.1) + random.normal(0, 2, (SIDE, SIDE, 3))
        buffer = io.BytesIO()
        Image.fromarray(np.clip(part, 0, 255).astype(np.uint8)).save(buffer, "jpeg", quality=90)
        (folder / f"{number:06d}.jpg").write_bytes(buffer.getvalue())


def one_by_one(photos: list[Path], out: Path) -> float:
    """Photos a second, one after another."""
    started = time.perf_counter()
    for photo in photos:
        try:
            fitkit.fit(photo, recipe="landmarks").save(out / photo.stem, outputs="params", overwrite=True)
        except fitkit.FitkitError as error:
            print(error, file=sys.stderr)
    return len(photos) / (time.perf_counter() - started)


def resident(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for each in [str(pid), *children(pid)]:
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def children(pid: int) -> list[str]:
    """Processes that a process started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += task.read_text().split()
    return found


def run(photos: Path, out: Path, count: int, workers: int) -> tuple[float, list[int]]:
    """Photos a second of a run, from a tenth of them on, and its memory at twenty moments since."""
    command = [sys.executable, "-m", "fitkit.cli.main", "fit", str(photos), "--recipe", "landmarks", "--outputs", "params",
               "--json", "--out", str(out), "--workers", str(workers), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    memory: list[int] = []
    done, begun = 0, 0.0
    assert process.stdout is not None
    with process.stdout as lines:
        for _ in lines:
            done += 1
            if done == count // 10:
                begun = time.perf_counter()
            if done >= count // 10 and done % max(1, count * 9 // 200) == 0:
                memory.append(resident(process.pid))
            if done == count:
                break
        speed = (count - count // 10) / (time.perf_counter() - begun)
        for _ in lines:
            pass
    process.wait()
    return speed, memory


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=10_000, help="how many")
    parser.add_argument("--workers", type=int, default=1, help="processes that fit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        photos, out = Path(name) / "photos", Path(name) / "out"
        photos.mkdir()
        make_photos(photos, options.photos)
        few = sorted(photos.iterdir())[:ALONE]
        one_by_one(few[:5], Path(name) / "warm")
        before = one_by_one(few, Path(name) / "alone")
        speed, memory = run(photos, out, options.photos, options.workers)
        after = one_by_one(few, Path(name) / "alone")
        alone = statistics.mean([before, after])
        print(f"one after another: {before:.1f} and {after:.1f} photos/s; a run of {options.photos}, {options.workers} workers: "
              f"{speed:.1f} photos/s, {speed / alone:.2f} times")
        print("memory, MB: " + " ".join(f"{each / 2**20:.0f}" for each in memory))
        quarter = max(1, len(memory) // 4)
        growth = statistics.mean(memory[-quarter:]) / statistics.mean(memory[:quarter]) - 1
        print(f"growth from the first quarter to the last: {100 * growth:.1f} %")
        results = sum(path.is_dir() for path in out.iterdir())
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        print(f"{results} results, {size / max(results, 1) / 1000:.1f} kB each with ledger and reports")


if __name__ == "__main__":
    main()
