"""What a worker does, with the real fit: photos of one person together, the same as `fitkit.fit`, and what it tells meanwhile."""

import hashlib
import pathlib
import warnings

import numpy as np
import pytest

import fitkit
from fitkit.batch.job import Task, photo_messages, read_source, result_of
from fitkit.batch.manifest import Source
from fitkit.batch.workers.program import FaceProgram
from fitkit.batch.workers.serve import failure
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.io.images import read_image, write_image

ASTRONAUT = pathlib.Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"
REQUEST = {"recipe": "landmarks", "fields": {}, "head": "makehuman", "size": 224, "seed": 0, "detector": "mediapipe",
           "device": None, "traceback": False, "batch_size": 0, "every_face": False, "overwrite": False, "outputs": ["params"]}


def task_of_files(*paths):
    sources, digests, points = zip(*(read_source(Source(path=pathlib.Path(path))) for path in paths), strict=True)
    return Task(sources=sources, digests=digests, point_digests=points)


def test_photos_of_one_person_are_fitted_together_as_in_python(tmp_path):
    second = write_image(tmp_path / "second.png", read_image(ASTRONAUT).pixels[:, 40:])
    said = []
    program = FaceProgram(REQUEST | {"out": str(tmp_path), "inside": str(tmp_path)}, said.append)
    task = task_of_files(ASTRONAUT, second)
    message = {"task": 1, "photos": photo_messages(task)}
    reading = program.read(message)
    assert reading.together and not reading.failures and [face.place for face in reading.faces] == [0, 1]
    assert all(face.content.reading.image.pixels.size == 0 for face in reading.faces)      # parameters need no photo
    made = [program.write(message, face, solution, 1) for face, solution in
            zip(reading.faces, program.solve(reading.faces, True), strict=True)]
    expected = fitkit.fit([ASTRONAUT, second], recipe="landmarks")
    for each, other, job in zip(made, expected, task.jobs(program.settings, None), strict=True):
        assert result_of(tmp_path / each["folder"], job, ["params"])["job"]["sha256"] == job
        result = fitkit.load(tmp_path / each["folder"])
        np.testing.assert_array_equal(result.parameters.identity, other.parameters.identity)
        np.testing.assert_array_equal(result.parameters.expression, other.parameters.expression)
    meshes = FaceProgram(REQUEST | {"outputs": ["mesh"], "out": str(tmp_path), "inside": str(tmp_path)}, said.append)
    persons = [solved[2] for solved in meshes.solve(reading.faces, True)]      # which have one texture
    assert persons[0] is persons[1] and len(persons[0].fits) == 2
    compiling = [message["on"] for message in said if message["event"] == "compiling"]
    assert compiling == [True, False] * (len(compiling) // 2)
    assert program.write(message, reading.faces[0], program.solve(reading.faces, True)[0], 1)["status"] == "kept"


def test_a_photo_that_changes_while_it_is_read_is_refused(tmp_path):
    photo = write_image(tmp_path / "a.png", read_image(ASTRONAUT).pixels[:400, :400])
    task = task_of_files(photo)
    photo.write_bytes(ASTRONAUT.read_bytes())
    program = FaceProgram(REQUEST | {"out": str(tmp_path), "inside": str(tmp_path)}, lambda message: None)
    with pytest.raises(FitkitError, match="E_NOFILE.*changed while it was read"):
        program.read({"task": 1, "photos": photo_messages(task)})
    assert hashlib.sha256(photo.read_bytes()).hexdigest() != task.digests[0]


def test_out_of_memory_is_told_from_a_defect():
    assert failure(MemoryError(), "a.jpg", False)["code"] == "E_MEMORY"
    assert failure(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), "a.jpg", False)["code"] == "E_MEMORY"
    defect = failure(ZeroDivisionError("x"), "a.jpg", True)
    assert defect["code"] == "E_INTERNAL" and "ZeroDivisionError" in defect["traceback"]


def test_a_race_for_the_compilation_cache_is_no_news():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keep_compiled_programs()
        warnings.warn("Error reading persistent compilation cache entry for 'jit_f': zlib.error: cut", UserWarning, stacklevel=1)
    assert not caught
