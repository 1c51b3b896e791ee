"""How well fits of photographs match them: points, likeness, pixels, seconds and verdict, with contact sheets to look at.

    python -m tests.measurements.photos [NAME ...] [--recipe NAME] [--set FIELD=VALUE ...] [--size PIXELS] [--photos FOLDER]
        [--json FILE] [--sheets FOLDER] [--compare FILE.json]

The largest face of each photo is fitted. Printed for each, and as means:

    points     mean distance of the 68 fitted points to the detected ones, % of the outer-eye distance
    overlay    likeness of the overlay and the photo: cosine of their embeddings by MobileFace V2
    head       likeness of the textured head from the front and the photo
    turned     the same, turned 30 degrees: the mean of both sides
    psnr ssim  of the final rendering and the photo, over the pixels of the face (skin, eyes and mouth) that the fitted head covers
    seconds    of the fit alone; the first photo's include compiling

Photos are aligned for the judge by their detected points, renderings by the head's own points projected into them: a detector
may find nothing in a rendering, and would hide a head whose eyes lie in the wrong place. The judge is converted from
`assets/mobileface`. For people who are in several photos, it is counted whether a rendering is nearer to another photo of the same
person than to any of anyone else. All is measured in the face's square, 320 px a side, so that large and small photos compare.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fitkit import api, configuration
from fitkit.detection.face_crop import align, five_points, samples_for
from fitkit.errors import FitkitError
from fitkit.evaluation.identity_similarity import face_square, photo_crop
from fitkit.geometry.camera import project
from fitkit.io.images import find_photos
from fitkit.models.identity import mxnet_file
from fitkit.models.identity.importer import convert
from fitkit.models.identity.network import Identity, embed
from fitkit.morphable.model import shape
from fitkit.results import pictures
from fitkit.results.photo_window import TILE, join_tiles, paste_window, tiles_of, window_around, window_camera
from fitkit.results.result import FitResult
from tests.conftest import ASSETS
from tests.measurements.ganfit_scores import nearer
from tests.measurements.photo_sheets import write_page, write_sheet
from tests.measurements.picture_error import psnr, ssim

JUDGE = "mobileface/MobileFace_Identification_V2-0000.params"
TURNED = 30.0           # degrees to each side: a definition
COVERED = 0.5           # least opacity of the fitted face at which a pixel is its: a definition
INSIDE = 0.51           # of a pixel of the square, its least part in the face; above 0.5, which the grey beyond the photo has
OUTER_EYES = (36, 45)   # of the 68 points
COLUMNS = {"points": "{:6.2f}", "overlay": "{:7.3f}", "head": "{:6.3f}", "turned": "{:6.3f}", "psnr": "{:6.2f}", "ssim": "{:6.3f}",
           "seconds": "{:7.2f}"}


def point_error(result: FitResult) -> float:
    """Mean distance of the fitted points to the detected ones, % of the outer-eye distance."""
    detected = result.landmarks_detected
    between = np.linalg.norm(detected[OUTER_EYES[0]] - detected[OUTER_EYES[1]])
    return float(100 * np.linalg.norm(result.landmarks_fitted - detected, axis=1).mean() / between)


def final_rendering(result: FitResult) -> tuple[np.ndarray, np.ndarray]:
    """The fitted face, sRGB `[H, W, 3]`, the photo around it; and which pixels are the face's `[H, W]`.

    The overlay fades at the rim of the face and of the lips; the photo that shines through there is taken off again.
    """
    vertices = shape(result.model, result.parameters.identity, result.parameters.expression)
    window = window_around(np.asarray(project(result.camera, vertices)[0]))
    tiles = [pictures.render_layers(result.model, vertices, vertices, window_camera(result.camera, tile), side=tile.side).face
             for tile in tiles_of(window)]
    cover = join_tiles([np.asarray(tile) for tile in tiles])
    _, opacity, place = pictures.reduce_doubled(np.zeros((*cover.shape, 3), np.float32), cover, window)
    photo, overlay = np.asarray(result.photo.pixels), result.pictures["overlay"]
    whole = paste_window(np.zeros(photo.shape[:2], np.float32), opacity, place)
    covered = whole >= COVERED
    return photo + (overlay - photo) / np.where(covered, whole, 1.0)[..., None], covered


def head_view(result: FitResult, yaw: float) -> tuple[np.ndarray, np.ndarray]:
    """The textured head of the comparison sheet, turned by `yaw` degrees; and its 68 points, in pixels of that picture."""
    vertices = shape(result.model, result.parameters.identity, result.parameters.expression)
    picture = pictures.textured_head(result.model, vertices, result.pictures["albedo"], yaw, result.relief)
    if pictures.is_grey(np.asarray(result.photo.pixels)):
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
    points = project(pictures.portrait_camera(result.model, yaw, TILE), result.landmarks_mesh)[0]
    return picture, np.asarray(points) * (len(picture) / TILE)


def aligned_crop(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """What the judge reads of a picture: ArcFace's crop about its 68 points, in pixels."""
    five = five_points(jnp.asarray(points, jnp.float32))
    return np.asarray(_aligned(jnp.asarray(picture), five, samples=samples_for(np.asarray(five))))


_aligned = jax.jit(align, static_argnames=("samples",))


def measure(result: FitResult, judge: Identity) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Row of the table; unit embeddings of photo, overlay and head; pictures of the contact sheet."""
    rendering, covered = final_rendering(result)
    views = {yaw: head_view(result, yaw) for yaw in (0.0, -TURNED, TURNED)}
    corner, side = face_square(result)
    photo, overlay, lit, inside = (photo_crop(result, picture=picture) for picture in (
        result.photo.pixels, result.pictures["overlay"], rendering, np.repeat(covered[..., None].astype(np.float32), 3, -1)))
    mask = inside[..., 0] > INSIDE
    zoom = len(photo) / side
    crops = [aligned_crop(photo, (result.landmarks_detected - corner) * zoom),
             aligned_crop(overlay, (result.landmarks_fitted - corner) * zoom), *(aligned_crop(*view) for view in views.values())]
    found, *rendered = np.asarray(embed(judge, np.stack(crops)))
    likeness = [float(found @ vector) for vector in rendered]
    row = {"points": point_error(result), "overlay": likeness[0], "head": likeness[1], "turned": (likeness[2] + likeness[3]) / 2,
           "psnr": psnr(photo, lit, mask), "ssim": ssim(photo, lit, mask), "seconds": result.timings["fit"],
           "status": result.status, "reason": result.reason}
    grey = pictures.bare_geometry(result.model, shape(result.model, result.parameters.identity, result.parameters.expression), 0.0,
                                  result.relief)
    panels = {"photo": photo, "overlay": overlay, "head": views[0.0][0], "yaw -30": views[-TURNED][0],
              "yaw 30": views[TURNED][0], "geometry": grey}
    return row, {"photo": found, "overlay": rendered[0], "head": rendered[1]}, panels


def means(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Means of all figures over the photos that were fitted."""
    fitted = [row for row in rows.values() if "points" in row]
    return {name: float(np.mean([row[name] for row in fitted])) for name in COLUMNS} if fitted else {}


def line(name: str, row: dict[str, Any]) -> str:
    """One line of the table."""
    if name != "photo" and "points" not in row:
        return f"{name:20.20s} {row.get('status', '')}: {row.get('reason', '')}"
    cells = [form.format(row[column]) for column, form in COLUMNS.items()]
    return f"{name:20.20s} {' '.join(cells)}  {row.get('status', '')} {row.get('reason', '')}".rstrip()


def differences(rows: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> list[str]:
    """Lines with what has changed since `before`, for the photos that were fitted both times, and the means of the changes."""
    both = [name for name in rows if "points" in rows[name] and "points" in before.get(name, {})]
    changes = {name: {column: rows[name][column] - before[name][column] for column in COLUMNS} for name in both}
    lines = []
    for name, change in changes.items():
        old, new = before[name]["status"], rows[name]["status"]
        lines.append(line(name, change | {"status": "" if old == new else f"{old} -> {new}"}))
    lines += [line("mean change", means(changes))] if both else []
    lost, won = ([name for name in rows if name in before and ("points" in rows[name], "points" in before[name]) == pair]
                 for pair in ((False, True), (True, False)))
    return lines + [f"no longer fitted: {', '.join(lost)}"] * bool(lost) + [f"newly fitted: {', '.join(won)}"] * bool(won)


def run(paths: dict[str, pathlib.Path], judge: Identity, *, sheets: pathlib.Path | None, **settings: Any) -> dict[str, Any]:
    """Fit and measure all photos, printing a line for each, then the means; what `--json` writes, without the settings."""
    rows: dict[str, dict[str, Any]] = {}
    vectors: dict[str, dict[str, np.ndarray]] = {}
    pages: list[pathlib.Path] = []
    print(f"{'photo':20s} {'points':>6} {'overlay':>7} {'head':>6} {'turned':>6} {'psnr':>6} {'ssim':>6} {'seconds':>7}  verdict")
    for name, path in paths.items():
        try:
            rows[name], vectors[name], panels = measure(api.fit(path, **settings), judge)
        except FitkitError as error:
            rows[name] = {"status": error.code, "reason": str(error)}
        print(line(name, rows[name]), flush=True)
        if sheets and name in vectors:
            pages.append(write_sheet(sheets / f"{name}.png", panels, f"{name}: {rows[name]['status']} {rows[name]['reason']}"))
    if sheets:
        write_page(sheets / "all.png", pages)
    found = {what: nearer({name: vector[what] for name, vector in vectors.items()},
                          {name: vector["photo"] for name, vector in vectors.items()}) for what in ("overlay", "head")}
    mean = means(rows)
    print(line("mean", mean) if mean else "no photo was fitted")
    for what, hits in found.items():
        missed = [name for name, good in hits.items() if not good]
        print(f"{what} nearer to another photo of the same person than to anyone else: {sum(hits.values())} of {len(hits)}"
              + (f"; not: {', '.join(missed)}" if missed else ""))
    return {"photos": rows, "means": mean,
            "nearer": {what: {name: bool(good) for name, good in hits.items()} for what, hits in found.items()}}


def main() -> None:
    """Fit, measure, print; write and compare what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="photos by name, without the ending; all where none is named")
    parser.add_argument("--photos", type=pathlib.Path, default=ASSETS / "photos", help="folder of photos")
    parser.add_argument("--recipe", default="inverse_rendering")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="field of the recipe")
    parser.add_argument("--size", type=int, default=224, help="side of the working crop, pixels")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures")
    parser.add_argument("--sheets", type=pathlib.Path, metavar="FOLDER", help="write a contact sheet of each photo, and one of all")
    parser.add_argument("--compare", type=pathlib.Path, metavar="FILE", help="print the differences to an earlier --json")
    options = parser.parse_args()
    for place in (options.photos, ASSETS / JUDGE, *([options.compare] if options.compare else [])):
        if not place.exists():
            sys.exit(f"{place} is not there; photos and judge are looked for in shared/assets beside the checkout, photos also in "
                     "--photos FOLDER")
    paths = {path.stem: path for path in find_photos(options.photos)}
    unknown = [name for name in options.names if name not in paths]
    if unknown:
        sys.exit(f"no photo in {options.photos} is named {', '.join(unknown)}; there are {', '.join(paths)}")
    before = json.loads(options.compare.read_text(encoding="utf-8"))["photos"] if options.compare else {}
    settings = {"recipe": options.recipe, "size": options.size} | configuration.parse_assignments(tuple(options.set))
    result = run({name: path for name, path in paths.items() if not options.names or name in options.names},
                 convert(mxnet_file.read_graph(ASSETS / JUDGE)), sheets=options.sheets, **settings)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"settings": settings} | result, indent=1) + "\n", encoding="utf-8")
    if before:
        print(f"\nchange since {options.compare}", *differences(result["photos"], before), sep="\n")


if __name__ == "__main__":
    main()
