"""The process that fits or draws, apart from the one that leads a run: it may be killed, and only its jobs in flight are lost.

`python -m fitkit.batch.workers` speaks JSON, a line a message, on standard input and output (`flow.py` is at the other end):

    in      {"request": ...} first: settings of the run; then {"task": number, "names": of its photos or its shard, ...} each;
            {"stop": true}; end of file: leave at once
    out     ready (settings with the head's digest) or refused; stage (which tasks are read, solved, written: this takes time);
            compiling; progress; watched (a step of a fit); note; done (what was made of a task, and what of it failed); dropped
            (not begun when the stop came)

Three threads, so that no one waits for another: one decodes and detects, the main one solves, one writes. Queues between them are
short. What is fitted, and how, is a `Program`; tests put a stand-in in its place.
"""

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from fitkit.batch.plan import PHOTOS, Words
from fitkit.errors import FitkitError

AHEAD_BYTES = 1 << 30        # of photos that wait to be solved, or one photo
WRITING = 2                  # groups of solved faces that wait to be written
PATIENCE = 0.05              # s that an unfilled group waits for the next face
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")

Message = dict[str, Any]
Report = Callable[[Message], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """A face that was read: `bucket` tells which faces go through one program, `together` whether they are one person."""

    place: int               # of its photo in the task
    number: int | None       # 1, 2, ... where every face is asked for
    bucket: Any
    bytes: int
    content: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """A task that was read: its faces, and the photos of it that cannot be fitted."""

    task: Message
    faces: list[Face]
    failures: list[Message]
    together: bool


class Program(Protocol):
    """What a worker does with a task."""

    words: Words                     # how it speaks of what it makes
    settings: dict[str, Any]         # the same for every task, as `Work.begin` takes them
    batch_size: int                  # faces that are solved at once

    def read(self, task: Message) -> Reading:
        """Decode the photos and find their faces."""

    def solve(self, faces: Sequence[Face], together: bool) -> Sequence[Any]:
        """Solutions of faces of one bucket."""

    def write(self, task: Message, face: Face, solution: Any, faces: int) -> Message:
        """Write a face's result; its place, warnings, timings, and what its job reads of it. `faces` are those of its photo."""


def serve(make: Callable[[Mapping[str, Any], Report], Program], receive: Callable[[], Message | None], report: Report) -> None:
    """Do what the messages ask until they end.

    Args:
        make: the program of a request; a `FitkitError` of it is reported, and ends the worker.
        receive: the next message; None at the end.
        report: sends a message; of any thread.
    """
    request = receive()
    if request is None:
        return
    try:
        program = make(request["request"], report)
    except Exception as error:
        report({"event": "refused", **failure(error, "this run", request["request"]["traceback"])})
        return
    report({"event": "ready", "settings": program.settings, "batch_size": program.batch_size})
    _Pipeline(program, report, request["request"]["traceback"]).run(receive)


def failure(error: BaseException, what: str, with_traceback: bool, *, smaller: str = PHOTOS.smaller) -> Message:
    """Code and sentence of an error; an error that is not a `FitkitError` is a defect of ours: E_INTERNAL."""
    if isinstance(error, FitkitError):
        code, sentence = error.code, error.message
    elif isinstance(error, MemoryError) or any(text in str(error) for text in OUT_OF_MEMORY):
        code, sentence = "E_MEMORY", f"{what} needs more memory than there is; {smaller}"
    else:
        code = "E_INTERNAL"
        sentence = f"{what} met a defect of fitkit, {type(error).__name__}: {error}; --debug shows where, please report it"
    trace = "".join(traceback.format_exception(error)) if with_traceback else ""
    return {"code": code, "message": sentence, "traceback": trace}


class _Pipeline:
    """Reader, solver and writer of a worker."""

    def __init__(self, program: Program, report: Report, with_traceback: bool):
        self._program, self._report, self._with_traceback = program, report, with_traceback
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._read: queue.SimpleQueue[Reading | None] = queue.SimpleQueue()
        self._solved: queue.Queue[tuple[Any, ...] | None] = queue.Queue(WRITING)
        self._ahead, self._room = 0, threading.Condition()
        self._stopping = threading.Event()

    def run(self, receive: Callable[[], Message | None]) -> None:
        """Work until `receive` gives None."""
        reader, writer = threading.Thread(target=self._reader, daemon=True), threading.Thread(target=self._writer, daemon=True)
        threading.Thread(target=self._listener, args=(receive,), daemon=True).start()
        reader.start()
        writer.start()
        self._solver()
        self._solved.put(None)
        writer.join()

    def _listener(self, receive: Callable[[], Message | None]) -> None:
        while (message := receive()) is not None:
            if "stop" in message:
                self._stopping.set()
            else:
                self._inbox.put(message)
        self._inbox.put(None)

    def _reader(self) -> None:
        while (task := self._inbox.get()) is not None:
            with self._room:
                self._room.wait_for(lambda: self._ahead < AHEAD_BYTES or self._stopping.is_set())
            if self._stopping.is_set():
                self._drop(task)
                continue
            self._stage("read", [task])
            try:
                reading = self._program.read(task)
            except Exception as error:
                self._done(task, [], [self._failure(error, task, 0)])
                continue
            self._stage("", [task])
            if not reading.faces:
                self._done(task, [], reading.failures)
                continue
            with self._room:
                self._ahead += sum(face.bytes for face in reading.faces)
            self._read.put(reading)
        self._read.put(None)

    def _solver(self) -> None:
        waiting: dict[Any, list[tuple[Reading, Face]]] = {}
        while True:
            try:
                reading = self._read.get(timeout=PATIENCE if waiting else None)
            except queue.Empty:
                self._solve(waiting.pop(next(iter(waiting))))
                continue
            if reading is None:
                break
            if reading.together:
                self._solve([(reading, face) for face in reading.faces])
                continue
            for face in reading.faces:
                group = waiting.setdefault(face.bucket, [])
                group.append((reading, face))
                if len(group) >= self._program.batch_size:
                    self._solve(waiting.pop(face.bucket))
        for group in waiting.values():
            self._solve(group)

    def _solve(self, group: list[tuple[Reading, Face]]) -> None:
        """Solve a group of faces and hand them to the writer; out of memory halves the batch."""
        tasks = list({id(reading): reading.task for reading, _ in group}.values())
        together = group[0][0].together
        if self._stopping.is_set():
            solutions: list[Any] = [None] * len(group)
        else:
            self._stage("solve", tasks)
            try:
                solutions = list(self._program.solve([face for _, face in group], together))
            except Exception as error:
                if not together and len(group) > 1 and failure(error, "", False)["code"] == "E_MEMORY":
                    self._program.batch_size = half = len(group) // 2
                    self._report({"event": "batch_size", "batch_size": half})
                    for part in (group[:half], group[half:2 * half], group[2 * half:]):
                        if part:
                            self._solve(part)
                    return
                solutions = [error] * len(group)
            self._stage("", tasks)
        with self._room:
            self._ahead -= sum(face.bytes for _, face in group)
            self._room.notify_all()
        self._solved.put((group, solutions))

    def _writer(self) -> None:
        finished: dict[int, list[Message]] = {}
        while (item := self._solved.get()) is not None:
            for (reading, face), solution in zip(*item, strict=True):
                task, number = reading.task, reading.task["task"]
                made = finished.setdefault(number, [])
                made.append(self._written(reading, face, solution))
                if len(made) == len(reading.faces):
                    del finished[number]
                    if any("dropped" in each for each in made):
                        self._drop(task)
                        continue
                    failures = [each for each in made if "code" in each]
                    self._done(task, [each for each in made if "code" not in each], reading.failures + failures)

    def _written(self, reading: Reading, face: Face, solution: Any) -> Message:
        if solution is None:
            return {"dropped": True}
        self._stage("write", [reading.task])
        try:
            if isinstance(solution, Exception):
                raise solution
            of_photo = sum(other.place == face.place for other in reading.faces)
            made = self._program.write(reading.task, face, solution, of_photo)
        except Exception as error:
            made = self._failure(error, reading.task, face.place)
        self._stage("", [reading.task])
        return made

    def _stage(self, name: str, tasks: Sequence[Message]) -> None:
        self._report({"event": "stage", "stage": name, "tasks": [task["task"] for task in tasks]})

    def _drop(self, task: Message) -> None:
        self._report({"event": "dropped", "task": task["task"]})

    def _done(self, task: Message, made: list[Message], failures: list[Message]) -> None:
        self._report({"event": "done", "task": task["task"], "made": made, "failures": failures})

    def _failure(self, error: Exception, task: Message, place: int) -> Message:
        return {"place": place, **failure(error, task["names"][place], self._with_traceback, smaller=self._program.words.smaller)}


def main(make: Callable[[Mapping[str, Any], Report], Program]) -> None:
    """Serve a program on standard input and output. Nothing else is written there: what libraries print goes to standard error."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):      # the leading process decides when this one ends
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    lines, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def report(message: Message) -> None:
        text = json.dumps(message).encode() + b"\n"
        with lock:
            out.write(text)
            out.flush()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        report({"event": "note", "text": f"warning: {message}", "level": 1})

    def receive() -> Message | None:
        line = lines.readline()
        if not line and not finishing.is_set():
            os._exit(1)      # the leading process is gone
        message: Message = json.loads(line) if line else {}
        if "end" in message:
            finishing.set()
        return None if "end" in message or not line else message

    finishing = threading.Event()
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", category=UserWarning, module=r"fitkit\b")
    warnings.showwarning = show
    try:
        serve(make, receive, report)
    except BrokenPipeError:
        os._exit(1)
    os._exit(0)      # without waiting for what libraries do at the end of a process
