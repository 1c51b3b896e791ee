"""A hostile corpus, made here: every file has its code and one sentence, and no run over all of them and no terminal is hurt.

The command runs in a network namespace without routes where the system lets us make one, and wherever it runs every attempt to
reach the network ends it.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fitkit.errors import FitkitError
from fitkit.io.images import read_image
from tests.fixtures import hostile_files
from tests.measurements import fuzz_readers

ROOT = Path(__file__).parents[1]
ASTRONAUT = ROOT / "notebooks" / "data" / "astronaut.png"
TABLES = {"photos": hostile_files.PHOTOS, "forgiven": hostile_files.EITHER}
REFUSED = {"E_NOTIMAGE", "E_TOOLARGE", "E_NOFILE", "E_NOFACE", "E_SMALLFACE", "E_EMPTYDIR"}
# the command in a process that ends at the first attempt to resolve a name or to reach another machine
COMMAND = """
import os, sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.connect") and not (
            event == "socket.connect" and isinstance(arguments[1], (str, bytes))):      # of another process of this machine
        os.write(2, f"NETWORK {event} {arguments[1:]}\\n".encode())
        os._exit(99)
sys.addaudithook(watch)
from fitkit.cli import main
sys.exit(main.main())
"""


def unshared():
    """What runs a command in a network namespace of its own, without routes; nothing where it is not permitted."""
    wrapper = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*wrapper, "true"], capture_output=True).returncode == 0:
        return wrapper
    return []


def test_the_corpus_is_large():
    assert len(hostile_files.PHOTOS) + len(hostile_files.EITHER) >= 80
    assert len(hostile_files.POINTS) + len(hostile_files.CONFIGS) >= 40


@pytest.mark.parametrize("table", TABLES)
def test_every_photo_has_its_code_and_its_sentence(tmp_path, table, capfd):
    paths = hostile_files.write_all(tmp_path, TABLES[table])
    assert len(paths) > 0.9 * len(TABLES[table])
    wrong = []
    for name, path in paths.items():
        expected = TABLES[table][name][2]
        try:
            read_image(path)
            wrong += [f"{name!r} was read"] if expected else []
        except FitkitError as error:
            sentence = error.message
            acts = not all(character.isprintable() for character in sentence.replace("\u200d", ""))
            if error.code not in ({expected} if expected else REFUSED) or acts or "; " not in sentence or len(sentence) > 1300:
                wrong.append(f"{name!r}: {error}")
    assert not wrong, "\n".join(wrong)
    assert capfd.readouterr() == ("", "")


def test_one_run_over_the_whole_corpus(tmp_path):
    """It ends, fits the one face, names every other file with its code, reaches no network and prints nothing that acts."""
    folder = tmp_path / "in"
    folder.mkdir()
    paths = {}
    for table in TABLES.values():
        paths |= {path: table[name][2] for name, path in hostile_files.write_all(folder, table).items()}
    astronaut = shutil.copy(ASTRONAUT, folder / "z.png")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:surrogateescape"}
    done = subprocess.run(
        [*unshared(), sys.executable, "-c", COMMAND, "fit", *map(os.fsencode, paths), str(astronaut), "--recipe", "landmarks",
         "--json", "--outputs", "params", "--out", str(tmp_path / "out")],
        capture_output=True, env=environment, timeout=600)
    said = done.stderr.decode(errors="surrogateescape")
    assert done.returncode == 1, said
    outcomes = {entry["photo"]: entry for entry in map(json.loads, done.stdout.splitlines())}
    wrong = [f"{path!r}: {outcomes.get(str(path))}" for path, code in paths.items()
             if (outcomes.get(str(path)) or {"code": "nothing"})["code"] not in REFUSED]
    assert not wrong, "\n".join(wrong)
    assert outcomes[str(astronaut)]["status"] == "converged"
    lines = said.splitlines()
    assert [line for line in lines if not line.startswith("fitkit: ")] == []
    assert all(line.isprintable() for line in lines)
    assert "E_INTERNAL" not in said and "NETWORK" not in said


def test_a_few_thousand_mutants():
    """No reader dies, hangs, or raises anything but a `FitkitError`; `tests/measurements/fuzz_readers.py` tries a million."""
    table, findings = fuzz_readers.fuzz(dict.fromkeys(fuzz_readers.targets(), (0, 100)))
    assert findings == []
    assert all(counts["read"] + counts["refused"] == 100 for counts in table.values()), table
    assert sum(counts["read"] > 0 for counts in table.values()) > 0.9 * len(table)      # some of them are good files still


def test_the_fuzzer_finds_what_dies_hangs_and_raises(monkeypatch, tmp_path):
    """It is worth something: a reader that does what none may is found, and the others are tried all the same."""
    (tmp_path / "bad_targets.py").write_text(BAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    table, findings = fuzz_readers.fuzz(
        {"raises": (0, 2), "dies": (0, 1), "hangs": (0, 1), "good": (0, 2)}, module="bad_targets", patience=1.0)
    assert [finding.split(": ")[:2] for finding in findings] == [
        ["raises 0", "KeyError"], ["raises 1", "KeyError"], ["dies 0", "dies"], ["hangs 0", "hangs"]]
    assert table["good"]["read"] == 2


BAD = '''
import os, time
from tests.measurements.fuzz_readers import Target
def dies(path): os.kill(os.getpid(), 11)
def hangs(path): time.sleep(1000)
def raises(path): raise KeyError("x")
def all_targets():
    return [Target(read.__name__, ".a", read, (b"abc",)) for read in (dies, hangs, raises)] + [Target("good", ".a", id, (b"abc",))]
'''


def readers():
    """Every way by which a user's file comes in: what reads one of a path, by the ending of its name."""
    from fitkit.batch.manifest import read_manifest
    from fitkit.configuration import read_config
    from fitkit.detection.face_alignment import face_alignment_detector
    from fitkit.detection.landmarks import read_points
    from fitkit.io import images, scans
    from fitkit.models import heads
    from fitkit.models.heads import bfm, flame, gnm, surrey
    from fitkit.models.heads.importing import stored
    from fitkit.models.identity.importer import import_identity
    from fitkit.models.identity.network import load_identity
    from fitkit.models.texture_gan.generator import load_generator
    from fitkit.results.fit_json import read

    def manifest(path):
        for entry in read_manifest(path):
            raise entry.error      # of the list itself: there is no row

    return {
        "photo": (".jpg", images.read_image), "sha256 of a photo": (".png", images.file_sha256), "points": (".pts", read_points),
        "array of points": (".npy", read_points), "scan": (".ply", scans.read_mesh),
        "points of a scan": (".json", scans.read_landmarks), "head": (".tar.xz", lambda path: heads.load(f"ict:{path}")),
        "gnm": (".npz", gnm.read), "flame": (".pkl", flame.read), "basel 2009": (".mat", bfm.read), "surrey": (".bin", surrey.read),
        "imported head": (".safetensors", stored.read_head), **({"basel 2019": (".h5", bfm.read)} if find_spec("h5py") else {}),
        "mxnet": (".params", import_identity), "onnx": (".onnx", import_identity),
        "generator": (".safetensors", lambda path: load_generator(path=path)),
        "identity": (".safetensors", lambda path: load_identity(name=str(path))), "config": (".toml", read_config),
        "weights of face-alignment": (".tar", lambda path: face_alignment_detector(id, weights=path, sha256="0" * 64)),
        "manifest": (".csv", manifest), "fit.json": ("fit.json", lambda path: read(path.parent)),
    }


SPECIAL = {
    "fifo": lambda path: os.mkfifo(path),
    "link to a fifo": lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")),
    "zeros without end": hostile_files.link("/dev/zero"), "socket": hostile_files.bind, "directory": lambda path: path.mkdir(),
    "sparse": hostile_files.sparse(2**40), "nothing": hostile_files.link("/nowhere"),
}


@pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
@pytest.mark.parametrize("kind", SPECIAL)
def test_no_reader_opens_what_is_no_file(tmp_path, kind):
    wrong = []
    for number, (name, (ending, read)) in enumerate(readers().items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / (ending if ending[0] != "." else f"a{ending}")
        SPECIAL[kind](path)
        try:
            read(path)
            wrong.append(f"{name} was read")
        except FitkitError as error:
            wrong += [] if str(path) in error.message else [f"{name}: {error}"]
    assert not wrong, "\n".join(wrong)
