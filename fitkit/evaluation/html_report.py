"""The page of a measurement: every picture, its fit laid over it, and the errors on the truth's face. One HTML file, alone.

Error maps show the scan's cropped points from the front, drawn by our own rasterizer, with the distance to the fit in colour.
"""

import base64
import html
import io
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic.benchmark import Evidence
from fitkit.geometry.vectors import vertex_normals
from fitkit.rendering.rasterizer import interpolate, rasterize

HEIGHT, WIDTH = 256, 192         # of a picture on the page, pixels
LARGEST = 5.0                    # mm, the end of the colour bar
SPAN = 230.0                     # mm, height of an error map
# from small to large, evenly spaced; dark blue, blue, green, yellow, red
COLOURS = np.array([[0.13, 0.15, 0.45], [0.13, 0.45, 0.75], [0.25, 0.70, 0.45], [0.95, 0.80, 0.25], [0.80, 0.12, 0.12]])
BARE = (0.82, 0.82, 0.82)        # of what is not measured
STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:24px;color:#222}pre{font-size:12px;overflow-x:auto}
figure{display:inline-block;margin:0 16px 20px 0;vertical-align:top}figcaption{font-size:12px;width:588px}
.bar{width:300px;height:14px}.bad{color:#b00}"""


def row(evidence: Evidence) -> str:
    """The figure of one picture."""
    score = evidence.score
    with Image.open(evidence.picture) as file:
        pictures = [np.asarray(file.convert("RGB"), np.float32) / 255]
    if evidence.result is not None and evidence.measured is not None:
        distances = np.full(len(evidence.face), np.nan)
        distances[evidence.scanned[evidence.measured.kept]] = evidence.measured.distances
        pictures += [np.asarray(evidence.result.pictures["overlay"]), error_map(evidence.face, evidence.triangles, distances)]
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    images = "".join(f'<img src="data:image/jpeg;base64,{_jpeg(picture)}" {size}>' for picture in pictures)
    return f"<figure>{images}<figcaption>{_caption(score)}</figcaption></figure>"


def compose(title: str, table: str, rows: Sequence[str]) -> bytes:
    """The whole page.

    Args:
        title: what was measured.
        table: the printed table.
        rows: of `row`.
    """
    stops = ",".join(f"rgb({','.join(str(round(255 * value)) for value in colour)})" for colour in COLOURS)
    bar = f'<p><span>0</span> <span class="bar" style="display:inline-block;background:linear-gradient(90deg,{stops})"></span> ' \
          f"<span>{LARGEST:g} mm or more</span>: distance from the truth to the fit after NoW alignment with scale</p>"
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>fitkit eval synthetic</title><style>{STYLE}</style>"
            f"<h1>Fits against synthetic truth</h1><p>{html.escape(title)}</p><pre>{html.escape(table)}</pre>{bar}"
            "<p>Each row: the picture, the fit laid over it, the error on the truth's face; what is grey there is not measured.</p>"
            f"{''.join(rows)}</html>").encode()


def error_map(
    vertices: Float[np.ndarray, "N 3"], triangles: np.ndarray, distances: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "h w 3"]:
    """The face from the front, coloured by distance; grey where it was not measured.

    Args:
        vertices: mm, face to +Z.
        triangles: of the face.
        distances: mm; NaN where none was measured, but not everywhere.
    """
    measured = vertices[np.isfinite(distances)]
    middle = (measured.min(axis=0) + measured.max(axis=0)) / 2
    zoom = HEIGHT / SPAN
    pixels = (vertices[:, :2] - middle[:2]) * [zoom, -zoom] + [WIDTH / 2, HEIGHT / 2]
    flat = jnp.asarray(pixels, jnp.float32)
    depth, corners = jnp.asarray(500 - vertices[:, 2], jnp.float32), jnp.asarray(triangles, jnp.int32)
    seen = rasterize(flat, depth, corners, height=HEIGHT, width=WIDTH, cull=False)
    share = np.clip(np.nan_to_num(distances) / LARGEST, 0, 1) * (len(COLOURS) - 1)
    colours = np.stack([np.interp(share, np.arange(len(COLOURS)), channel) for channel in COLOURS.T], axis=1)
    colours[np.isnan(distances)] = BARE
    normals = np.asarray(vertex_normals(jnp.asarray(vertices, jnp.float32), corners))
    shade = 0.55 + 0.45 * np.clip(normals @ [0.3, 0.3, 0.9], 0, 1)[:, None]
    drawn = np.asarray(interpolate(seen, flat, depth, corners, jnp.asarray(colours * shade, jnp.float32)))
    return np.where((np.asarray(seen.triangle) >= 0)[..., None], drawn, 1.0)


def _caption(score: Score) -> str:
    words = f"subject {score.seed}, yaw {round(score.yaw)}: mean head {score.mean_head['scaled']:.2f}"
    if score.fit is not None:
        words += f", fit {score.fit['scaled']:.2f}"
    words += f", floor {score.floor['scaled']:.2f} mm"
    return html.escape(words) + (f' <span class="bad">{html.escape(score.failure)}</span>' if score.failure else "")


def _jpeg(picture: np.ndarray) -> str:
    image = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return base64.b64encode(file.getvalue()).decode()
