"""What the user names becomes photos in order, and what is wrong is named: folders, globs, lists and manifests."""

import io
import itertools
import json
import os
import socket

import pytest

from fitkit.batch import sources
from fitkit.batch.manifest import CHUNK, MAX_CELL
from fitkit.batch.sources import Failure, Source, by_person, find_sources
from fitkit.errors import FitkitError
from fitkit.io import image_decoder

FOCAL = ((900, 0, 320), (0, 900, 240), (0, 0, 1))


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def found(*named, **options):
    """Photos, and the sentences of failures, each one sentence in one line."""
    given = list(find_sources([str(name) for name in named], **options))
    failures = [one for one in given if isinstance(one, Failure)]
    assert not any("\n" in failure.error.message for failure in failures)
    return [one for one in given if isinstance(one, Source)], failures


def names(photos, folder):
    return [photo.path.relative_to(folder).as_posix() for photo in photos]


def listed(*lines):
    return io.BytesIO(b"".join(lines))


def test_a_folder_is_read_recursively_in_order(tmp_path):
    tree(tmp_path, "b.JPG", "a.png", "z/c.webp", "m/d.tif", "m/n/e.bmp", "notes.txt", ".hidden.png", ".git/x.png")
    photos, failures = found(tmp_path)
    assert names(photos, tmp_path) == ["a.png", "b.JPG", "m/d.tif", "m/n/e.bmp", "z/c.webp"] and not failures


def test_results_are_no_photos(tmp_path):
    tree(tmp_path, "a.png", "out/a-1234/fit.json", "out/a-1234/overlay.png", "out/b.png")
    assert names(found(tmp_path)[0], tmp_path) == ["a.png", "out/b.png"]


def test_links_in_a_circle_end(tmp_path):
    tree(tmp_path, "photos/a.png", "photos/inner/b.png")
    (tmp_path / "photos/inner/back").symlink_to(tmp_path / "photos", target_is_directory=True)
    (tmp_path / "photos/inner/self").symlink_to("self")
    (tmp_path / "photos/again").symlink_to("inner", target_is_directory=True)
    photos, failures = found(tmp_path / "photos")
    assert names(photos, tmp_path / "photos") == ["a.png", "again/b.png"]
    assert [failure.path for failure in failures] == [str(tmp_path / "photos/again/self")]


def test_a_deep_folder_needs_no_stack(tmp_path):
    deep = "/".join("d" * 500) + "/a.png"
    tree(tmp_path, deep)
    assert names(found(tmp_path)[0], tmp_path) == [deep]


def test_what_is_not_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "reads_heif", lambda: False)
    tree(tmp_path, "a.png", "film.MOV", "raw.nef", *(f"p/{number}.heic" for number in range(5)))
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(tmp_path / "s"))
    (tmp_path / "gone.jpg").symlink_to("nothing")
    photos, failures = found(tmp_path)
    assert names(photos, tmp_path) == ["a.png"]
    said = {failure.path: failure.error for failure in failures}
    assert said.keys() == {str(tmp_path / name) for name in ("film.MOV", "raw.nef", "pipe.jpg", "s", "gone.jpg")} | {str(tmp_path)}
    assert {error.code for error in said.values()} == {"E_NOTIMAGE"}
    many = said[str(tmp_path)].message
    assert "5 files" in many and "0.heic" in many and "fitkit[heic]" in many
    assert next(failure.count for failure in failures if failure.path == str(tmp_path)) == 5
    for name, word in {"film.MOV": "film", "pipe.jpg": "FIFO", "s": "socket", "gone.jpg": "link to nothing"}.items():
        assert word in said[str(tmp_path / name)].message


def test_heic_is_a_photo_where_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "reads_heif", lambda: True)
    assert names(found(tree(tmp_path, "a.heic"))[0], tmp_path) == ["a.heic"]
    assert not set(image_decoder.SUFFIXES) & set(sources.UNREAD)


def test_a_folder_without_photos_says_what_it_holds(tmp_path):
    tree(tmp_path, "a.txt", "b.txt", "c")
    photos, (failure,) = found(tmp_path)
    assert not photos and failure.error.code == "E_EMPTYDIR" and "2 .txt, 1 no ending" in failure.error.message


def test_an_unreadable_folder_does_not_stop_the_others(tmp_path, monkeypatch):
    tree(tmp_path, "a/x.png", "b/y.png")
    listing = sources._listing

    def refusing(place, *rest):
        if place.endswith("a"):
            raise PermissionError(13, "Permission denied")
        return listing(place, *rest)

    monkeypatch.setattr(sources, "_listing", refusing)
    photos, (failure,) = found(tmp_path)
    assert names(photos, tmp_path) == ["b/y.png"] and "Permission denied" in failure.error.message


def test_scans_are_taken_from_folders_by_their_endings(tmp_path):
    folder = tree(tmp_path, "a.ply", "b/c.OBJ", "b/c.png", "d.glb", "e.jpg", "f.mtl")
    assert names(found(folder, endings=(".ply", ".obj", ".glb"))[0], folder) == ["a.ply", "d.glb", "b/c.OBJ"]
    _, (failure,) = found(folder, endings=(".npy",))
    assert "holds no files that end in .npy but" in failure.error.message and failure.error.code == "E_EMPTYDIR"


@pytest.mark.parametrize(("pattern", "expected"), [
    ("*.png", ["a.png"]), ("**/*.png", ["a.png", "m/b.png", "m/n/c.png"]), ("m/*", ["m/b.png", "m/odd"]), ("*/?.png", ["m/b.png"]),
    ("m/**", ["m/b.png", "m/odd", "m/n/c.png"]), ("**/n/**/*.png", ["m/n/c.png"]), ("[ab].*", ["a.png"]), (".h*", [".h.png"]),
])
def test_globs(tmp_path, pattern, expected):
    tree(tmp_path, "a.png", "m/b.png", "m/odd", "m/n/c.png", ".h.png", "c.jpg")
    photos, failures = found(tmp_path / pattern)
    assert names(photos, tmp_path) == expected and not failures


def test_names_that_are_no_files(tmp_path):
    tree(tmp_path, "photo[1].png")
    assert names(found(tmp_path / "photo[1].png")[0], tmp_path) == ["photo[1].png"]      # a file before it is a glob
    assert found(tmp_path / "missing.jpg")[0]                                             # for its reader to report
    for name in ("*.gif", "list.csv", "nul\0.jpg", "x" * 300 + ".jpg"):
        photos, (failure,) = found(tmp_path / name)
        assert not photos and failure.error.code == "E_NOFILE"
    os.mkfifo(tmp_path / "pipe.png")
    assert "FIFO" in found(tmp_path / "pipe.png")[1][0].error.message


def test_a_list_on_standard_input():
    lines = b"\xef\xbb\xbfa.jpg\r\n\nsome where/b \xff.jpg\n/c.jpg"
    photos, failures = found("-", standard_input=listed(lines))
    assert [os.fsencode(photo.path) for photo in photos] == [b"a.jpg", b"some where/b \xff.jpg", b"/c.jpg"] and not failures
    photos, _ = found("-", standard_input=listed(b"a\n1.jpg\0", b"b.jpg\0" * 20_000))
    assert photos[0].path.name == "a\n1.jpg" and len(photos) == 20_001
    for text, says in {b"": "no photo", b"\xff\xfea\0": "UTF-16", b"x" * 2 * MAX_CELL: "no list",
                       b"a\n" * CHUNK + b"b\0c\n": "NUL"}.items():
        assert says in found("-", standard_input=listed(text))[1][-1].error.message


def test_a_list_is_read_as_it_is_asked_for():
    """Ten million lines cost nothing until they are read, and what was read is let go."""
    class Endless(io.RawIOBase):
        def readinto(self, buffer):
            text = b"photo.jpg\n" * (len(buffer) // 10)
            buffer[:len(text)] = text
            return len(text)

        def readable(self):
            return True

    given = find_sources(["-"], standard_input=io.BufferedReader(Endless()))
    assert sum(1 for _ in itertools.islice(given, 100_000)) == 100_000


def test_a_text_manifest_is_relative_to_itself(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/list.txt").write_text("a.jpg\n../b.jpg\n/c.jpg\n")
    assert [str(photo.path) for photo in found(tmp_path / "m/list.txt")[0]] == [
        f"{tmp_path}/m/a.jpg", f"{tmp_path}/m/../b.jpg", "/c.jpg"]


def test_a_csv_manifest(tmp_path):
    (tmp_path / "camera.json").write_text(json.dumps({"K": FOCAL}))
    (tmp_path / "fit.json").write_text(json.dumps({"camera": {"K": FOCAL, "about": ""}}))
    (tmp_path / "list.csv").write_text(
        'Path,id,points,person,focal,camera,fx,fy,cx,cy,mood\n'
        '"a,1.jpg", 7 ,p/a.pts,anna,,camera.json,,,,,gay\nb.jpg,,,anna,850.5,,,,,,\n\nc.jpg,,,,,fit.json\n'
        'd.jpg,,,,,,900,900,320,240\n', encoding="utf-8-sig")
    photos, failures = found(tmp_path / "list.csv")
    first, second, third, fourth = photos
    assert first == Source(path=tmp_path / "a,1.jpg", id="7", points=tmp_path / "p/a.pts", person="anna", camera=first.camera)
    assert second == Source(path=tmp_path / "b.jpg", person="anna", focal=850.5)
    assert first.camera == third.camera == fourth.camera and first.camera.intrinsics == FOCAL and not failures


BAD_ROWS = {
    ",": "no path", "a.jpg,x.txt": ".pts or .npy", "a.jpg,,ten": "'ten' in column focal", "a.jpg,,-5": "above 0",
    "a.jpg,,,5": "without cx, cy, fy", "a.jpg,,,5,5,nan,1": "'nan'", "a.jpg,,,5,9,1,1": "non-square",
    "a.jpg,,,,,,,gone.json": "does not exist", "a.jpg,,,,,,,bad.json": "not JSON", "a.jpg,,,,,,,.": "a directory",
    "a.jpg,,,,,,,odd.json": "3x3", "a.jpg,,,5,5,1,1,bad.json": "one of them", "a,b,c,d,e,f,g,h,i": "9 cells",
    '"a"b,': "mend its quotes", "a\0.jpg": "NUL",
}


def test_a_bad_row_is_named_and_the_next_one_read(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "odd.json").write_text('{"K": [[1, "x"], null]}')
    (tmp_path / "list.csv").write_text("\n".join(["path,points,focal,fx,fy,cx,cy,camera", *BAD_ROWS, "good.jpg"]) + "\n")
    photos, failures = found(tmp_path / "list.csv")
    assert [photo.path.name for photo in photos] == ["good.jpg"]
    for number, (failure, says) in enumerate(zip(failures, BAD_ROWS.values(), strict=True), start=1):
        assert failure.error.code == "E_MANIFEST" and f"row {number} " in failure.error.message, failure
        assert "without" in says or says in failure.error.message, (says, failure.error.message)


@pytest.mark.parametrize(("text", "says"), [
    (b"", "no row"), (b"path\n", "no row"), (b"photo;id\n", "no column path"), (b"path\n" + b"x" * 2 * MAX_CELL, "no manifest"),
    (b'"path\n', "no"),
])
def test_what_is_no_csv_manifest(tmp_path, text, says):
    (tmp_path / "list.csv").write_bytes(text)
    photos, (failure,) = found(tmp_path / "list.csv")
    assert not photos and failure.error.code == "E_MANIFEST" and says in failure.error.message


def test_a_parquet_manifest(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra tables is not installed")
    import pyarrow.parquet

    table = pyarrow.table({"path": ["a.jpg", None, "c.jpg"], "id": [1, 2, 3], "focal": [None, 5.0, 800.0], "label": [[1], [], [2]],
                           "person": pyarrow.array(["x", "x", None]).dictionary_encode()})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    photos, (failure,) = found(tmp_path / "list.parquet")
    assert photos == [Source(path=tmp_path / "a.jpg", id="1", person="x"), Source(path=tmp_path / "c.jpg", id="3", focal=800.0)]
    assert "row 2 has no path" in failure.error.message
    (tmp_path / "list.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    assert "damaged" in found(tmp_path / "list.parquet")[1][0].error.message


def test_parquet_without_its_reader_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(FitkitError, match=r"E_DATA.*fitkit\[tables\]"):
        find_sources(["a.jpg", str(tmp_path / "list.parquet")])


def test_photos_of_a_person_stay_together(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_PHOTOS", 2)
    people = [None, "x", "x", "x", "y", None, "x", "y"]
    given = [Source(path=tmp_path / f"{number}.jpg", person=person) for number, person in enumerate(people)]
    groups = list(by_person([*given[:5], Failure("list", FitkitError("E_MANIFEST", "bad")), *given[5:]]))
    stems = [[photo.path.stem for photo in group] if isinstance(group, tuple) else group.path.rsplit("/")[-1] for group in groups]
    assert stems == [["0"], "3.jpg", ["1", "2"], ["4"], "list", ["5"], "6.jpg", "7.jpg"]
    assert "sort it by person" in groups[-1].error.message and "2 photos" in groups[1].error.message
