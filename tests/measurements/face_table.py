"""Faces found, missed and invented by the detector on photos whose faces were boxed by hand (`tests/data/face_boxes.toml`).

    python -m tests.measurements.face_table photos          # or photos_train, the set open to tuning

Prints a row for each photo and the sums.
"""

import argparse
import pathlib
import time
import tomllib

import numpy as np
from PIL import Image

from fitkit.models.mediapipe.facemesh import find_faces
from fitkit.models.mediapipe.multiscale_detection import overlap
from tests.conftest import ASSETS

BOXES = pathlib.Path(__file__).parents[1] / "data" / "face_boxes.toml"
MATCH = 0.4             # least intersection over union of a found box and a marked one: chosen, not tuned


def marked(which: str) -> list[dict]:
    """The photos of one set with their boxes."""
    return tomllib.loads(BOXES.read_text(encoding="utf-8"))[which]


def count_faces(folder: pathlib.Path, entry: dict) -> dict:
    """Find the faces of one photo and match them to the marked ones.

    Returns:
        counts `clear` (clear faces), `missed` (clear faces not found), `invented` (found where nothing is marked), `extra` (unclear
        faces found); per face `union` (best intersection over union of each clear face) and `score` (of matches); `milliseconds`.
    """
    image = np.asarray(Image.open(folder / entry["file"]).convert("RGB"), np.float32) / 255
    start = time.perf_counter()
    found = find_faces(image)
    milliseconds = 1000 * (time.perf_counter() - start)
    boxes = np.array([face["box"] for face in entry["faces"]], float)
    clear = np.array([face["clear"] for face in entry["faces"]])
    unions = np.array([overlap(face.box, boxes)[0] for face in found]).reshape(len(found), len(boxes))
    best = unions.max(0, initial=0)
    hits = unions.max(1, initial=0) >= MATCH
    return {"file": entry["file"], "size": image.shape[1::-1],
            "clear": int(clear.sum()), "missed": int((best[clear] < MATCH).sum()),
            "invented": int((~hits).sum()), "extra": int((best[~clear] >= MATCH).sum()), "union": best[clear],
            "score": [face.score for face, hit in zip(found, hits, strict=True) if hit], "milliseconds": milliseconds}


def print_rows(rows: list[dict]) -> None:
    """Print the table and its sums."""
    print(f"{'photo':30} {'size':>10} {'clear':>5} {'missed':>6} {'invented':>8} {'unclear':>7}   overlap            ms   score")
    for row in rows:
        size = "x".join(str(side) for side in row["size"])
        union = " ".join(f"{u:.2f}" for u in row["union"])
        score = " ".join(f"{s:.2f}" for s in row["score"])
        print(f"{row['file']:30} {size:>10} {row['clear']:5} {row['missed']:6} {row['invented']:8} {row['extra']:7}   {union:15} "
              f"{row['milliseconds']:6.0f}   {score}")
    total = {key: sum(row[key] for row in rows) for key in ("clear", "missed", "invented", "extra")}
    print(f"{len(rows)} photos: {total['clear']} clear faces, {total['missed']} missed, {total['invented']} invented, "
          f"{total['extra']} unclear ones found besides")


def main() -> None:
    """Measure the photos of one set, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="?", choices=("photos", "photos_train"), default="photos", help="folder of shared/assets")
    which = parser.parse_args().which
    print_rows([count_faces(ASSETS / which, entry) for entry in marked(which)])


if __name__ == "__main__":
    main()
