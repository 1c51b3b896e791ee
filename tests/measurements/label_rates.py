"""How fast labels are made and read, and how well pictures, depth and normals of a run agree.

    python -m tests.measurements.label_rates RUN [--size 224] [--count 400] [--processes 2] [--takes 1]

Makes runs of kind `random` in RUN-..., by one process and by several, each a part of the shards, free and with a core each; and
reads the last one back. Wall time and processor time of each process count from its second shard on: the first one compiles.
"""

import argparse
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

PER_SHARD = 100
READ_SECONDS = 5.0
FIELDS = ("picture", "identity", "expression", "pose")


def make(folder: str, size: int, count: int, part: int, parts: int) -> None:
    """Make a part of a run as a worker does; print the seconds of a picture, those of the first shard left out."""
    from fitkit.batch.workers.label_program import LabelProgram
    from fitkit.labels import shards

    request = {"out": folder, "labels": "random", "fields": {"size": size}, "count": count, "per_shard": PER_SHARD, "device": None,
               "motion": None, "fits": None, "faces": None}
    program = LabelProgram(request, lambda message: None)
    shards.start_run(folder, program.settings)
    numbers = range(part, count // PER_SHARD, parts)
    times = []
    for shard in numbers:
        task = {"shard": shard, "pictures": [shard * PER_SHARD, (shard + 1) * PER_SHARD]}
        face, = program.read(task).faces
        program.write(task, face, program.solve([face], False)[0], 1)
        times.append((time.perf_counter(), time.process_time()))
    wall, processor = (np.array(times[-1]) - times[0]) / (PER_SHARD * (len(numbers) - 1))
    print(json.dumps({"wall": wall, "processor": processor}))


def made(folder: str, size: int, count: int, parts: int, *, bound: bool) -> list[dict[str, float]]:
    """What each of `parts` processes says of its part of a new run; `bound`, each has a core of its own."""
    command = [sys.executable, "-m", "tests.measurements.label_rates", folder, "--size", str(size), "--count", str(count)]
    cores = sorted(os.sched_getaffinity(0))
    running = []
    for part in range(parts):
        os.sched_setaffinity(0, {cores[part % len(cores)]} if bound else cores)      # the process takes it over
        running.append(subprocess.Popen([*command, "--part", f"{part}/{parts}"], stdout=subprocess.PIPE, text=True))
    os.sched_setaffinity(0, cores)
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]


def read(folder: str) -> None:
    """Print the rates of reading."""
    from fitkit.labels.reading import batches, open_labels

    source = open_labels(folder, fields=FIELDS)
    order = np.random.default_rng(0).permutation(len(source))
    for name, take in (("one after the other", lambda: [source[int(row)] for row in order]),
                       ("batches of 32 through grain", lambda: list(batches(source, size=32, epochs=1)))):
        try:
            take()
        except Exception as error:      # grain is an extra
            print(f"read, {name}: {error}")
            continue
        passes, started, processor = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < READ_SECONDS:
            take()
            passes += 1
        pictures = passes * len(source)
        print(f"read, {name}: {pictures / (time.perf_counter() - started):.0f} pictures with coefficients a second, "
              f"{(time.process_time() - processor) / pictures * 1e3:.3f} ms of a processor each")


def agreement(folder: str, most: int) -> None:
    """Print how well a picture rendered anew, and normals of its depth, agree with the record."""
    from fitkit.labels.hidden_modes import folded_model
    from fitkit.labels.reading import open_labels, read_record
    from fitkit.labels.rerendering import render_record
    from fitkit.models import heads

    source = open_labels(folder)
    model = folded_model(heads.load(heads.absolute_name(read_record(source, 0).source["head"])))
    beyond, pixels, angles = 0, 0, []
    for row in range(min(most, len(source))):
        record = read_record(source, row)
        apart = np.abs(render_record(model, record).astype(int) - record.picture).max(axis=-1)[record.face]
        beyond, pixels = beyond + int((apart > 1).sum()), pixels + len(apart)
        inside = record.face & np.all([np.roll(record.head, step, axis) for step in (1, -1) for axis in (0, 1)], axis=0)
        cosine = (normals_of_depth(record) * record.dense("normals")).sum(axis=-1)[inside]
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    print(f"rendered anew: {beyond} of {pixels} pixels of faces differ by more than 1/255; normals of depth (central differences)"
          f" and rendered: {np.median(np.concatenate(angles)):.2f} degrees (median), "
          f"{max(np.median(each) for each in angles):.2f} in the worst picture")


def normals_of_depth(record: object) -> np.ndarray:
    """Normals of a depth map by differences across each pixel: at its centre, as rendered ones are."""
    camera, depth = record.camera, record.dense("depth").astype(np.float64)
    at = np.arange(len(depth)) + 0.5
    x, y = ((at - float(middle)) / float(camera.focal) for middle in camera.principal)
    places = np.stack([x[None] * depth, -y[:, None] * depth, -depth], axis=-1)
    normals = np.cross(np.roll(places, -1, 1) - np.roll(places, 1, 1), np.roll(places, 1, 0) - np.roll(places, -1, 0))
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="folder of the runs, which must not be there")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, default=400, help="pictures, at least two shards a process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--takes", type=int, default=1)
    parser.add_argument("--part", help="of a process that this script starts")
    options = parser.parse_args()
    if options.part:
        part, parts = map(int, options.part.split("/"))
        make(str(options.run), options.size, options.count, part, parts)
        return
    for _ in range(options.takes):      # in turn, so that all see the same load
        for parts, bound in itertools.product(sorted({1, options.processes}), (False, True)):
            load, folder = os.getloadavg()[0], f"{options.run}-{parts}-{'bound' if bound else 'free'}"
            shutil.rmtree(folder, ignore_errors=True)
            each = made(folder, options.size, options.count, parts, bound=bound)
            print(f"{options.size} px, load {load:.1f} on {os.cpu_count()} processors, {parts} process(es)"
                  f"{', a core each' if bound else ''}: {sum(1 / one['wall'] for one in each):.1f} pictures a second, "
                  f"{np.mean([one['processor'] for one in each]) * 1e3:.1f} ms of a processor each", flush=True)
    read(folder)
    agreement(folder, 100)


if __name__ == "__main__":
    main()
