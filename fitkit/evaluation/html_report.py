"""HTML report of the synthetic benchmark: every picture, its fit over it, and the errors on the ground-truth face, in one file.

Error maps show the measured points of the face from the front, drawn by fitkit's own rasterizer, coloured by distance to the fit.
"""

import html
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic import kinds
from fitkit.evaluation.synthetic.benchmark import MeasuredPicture
from fitkit.geometry.vectors import vertex_normals
from fitkit.io.images import jpeg_address
from fitkit.rendering.rasterizer import interpolate, rasterize

# appearance: chosen, not tuned
PICTURE_HEIGHT, PICTURE_WIDTH = 256, 192    # pixels
JPEG_QUALITY = 82
MAX_ERROR = 5.0                             # mm, the end of the colour bar
MAP_HEIGHT = 230.0                          # mm that an error map shows from top to bottom
MAP_DISTANCE = 500                          # mm from the camera to the head's origin: more than a face is deep
# colours of the bar from 0 to MAX_ERROR, evenly spaced: dark blue, blue, green, yellow, red; sRGB
COLOURS = np.array([[0.13, 0.15, 0.45], [0.13, 0.45, 0.75], [0.25, 0.70, 0.45], [0.95, 0.80, 0.25], [0.80, 0.12, 0.12]])
UNMEASURED = (0.82, 0.82, 0.82)
AMBIENT, DIFFUSE, LAMP = 0.55, 0.45, [0.3, 0.3, 0.9]      # shading of error maps; LAMP: where the light comes from
LEFT_OUT = ": left out of tuning, for reporting only"
STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:24px;color:#222}pre{font-size:12px;overflow-x:auto}
figure{display:inline-block;margin:0 16px 20px 0;vertical-align:top}figcaption{font-size:12px;width:588px}
.bar{width:300px;height:14px}.bad{color:#b00}"""


def figure(picture: MeasuredPicture) -> str:
    """The HTML figure of one picture: photo, overlay, error map and caption."""
    score = picture.score
    with Image.open(picture.picture) as file:
        images = [np.asarray(file.convert("RGB"), np.float32) / 255]
    if picture.result is not None and picture.measured is not None:
        distances = np.full(len(picture.face), np.nan)
        distances[picture.scanned[picture.measured.kept]] = picture.measured.distances
        images += [np.asarray(picture.result.pictures["overlay"]), error_map(picture.face, picture.triangles, distances)]
    size = f'width="{PICTURE_WIDTH}" height="{PICTURE_HEIGHT}"'
    tags = "".join(f'<img src="{_jpeg(image)}" {size}>' for image in images)
    return f"<figure>{tags}<figcaption>{_caption(score)}</figcaption></figure>"


def document(title: str, table: str, figures: Mapping[str, Sequence[str]]) -> bytes:
    """The whole HTML file.

    Args:
        title: what was measured.
        table: the printed table.
        figures: of `figure`, one per picture, for each kind of pictures.
    """
    sections = "".join(f"<h2>{html.escape(kind)}{LEFT_OUT if kinds.parse(kind).left_out else ''}</h2>{''.join(drawn)}"
                       for kind, drawn in figures.items())
    stops = ",".join(f"rgb({','.join(str(round(255 * value)) for value in colour)})" for colour in COLOURS)
    bar = f'<p><span>0</span> <span class="bar" style="display:inline-block;background:linear-gradient(90deg,{stops})"></span> ' \
          f"<span>{MAX_ERROR:g} mm or more</span>: distance from the ground truth to the fit after NoW alignment with scale</p>"
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>fitkit eval synthetic</title><style>{STYLE}</style>"
            f"<h1>Fits of synthetic pictures against their ground truth</h1><p>{html.escape(title)}</p>"
            f"<pre>{html.escape(table)}</pre>{bar}"
            "<p>Each row: the picture, the fit laid over it, the error on the ground-truth face; grey is not measured.</p>"
            f"{sections}</html>").encode()


def error_map(
    vertices: Float[np.ndarray, "N 3"], triangles: np.ndarray, distances: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "h w 3"]:
    """The face from the front, coloured by distance; grey where it was not measured.

    Args:
        vertices: mm, face to +Z.
        triangles: of the face.
        distances: mm; NaN where not measured; at least one is finite.
    """
    measured = vertices[np.isfinite(distances)]
    middle = (measured.min(axis=0) + measured.max(axis=0)) / 2
    zoom = PICTURE_HEIGHT / MAP_HEIGHT
    pixels = (vertices[:, :2] - middle[:2]) * [zoom, -zoom] + [PICTURE_WIDTH / 2, PICTURE_HEIGHT / 2]
    flat = jnp.asarray(pixels, jnp.float32)
    depth, corners = jnp.asarray(MAP_DISTANCE - vertices[:, 2], jnp.float32), jnp.asarray(triangles, jnp.int32)
    seen = rasterize(flat, depth, corners, height=PICTURE_HEIGHT, width=PICTURE_WIDTH, cull=False)
    share = np.clip(np.nan_to_num(distances) / MAX_ERROR, 0, 1) * (len(COLOURS) - 1)
    colours = np.stack([np.interp(share, np.arange(len(COLOURS)), channel) for channel in COLOURS.T], axis=1)
    colours[np.isnan(distances)] = UNMEASURED
    normals = np.asarray(vertex_normals(jnp.asarray(vertices, jnp.float32), corners))
    shade = AMBIENT + DIFFUSE * np.clip(normals @ LAMP, 0, 1)[:, None]
    drawn = np.asarray(interpolate(seen, flat, depth, corners, jnp.asarray(colours * shade, jnp.float32)))
    return np.where((np.asarray(seen.triangle) >= 0)[..., None], drawn, 1.0)


def _caption(score: Score) -> str:
    words = f"{score.title}: mean head {score.mean_head['scaled']:.2f}, mean person {score.mean_person['scaled']:.2f}"
    if score.fit is not None and score.landmarks is not None:
        words += f", landmarks {score.landmarks['scaled']:.2f}, fit {score.fit['scaled']:.2f}"
    words += f", floor {score.floor['scaled']:.2f} mm"
    return html.escape(words) + (f' <span class="bad">{html.escape(score.failure)}</span>' if score.failure else "")


def _jpeg(picture: np.ndarray) -> str:
    image = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
    return jpeg_address(image.resize((PICTURE_WIDTH, PICTURE_HEIGHT), Image.Resampling.LANCZOS), quality=JPEG_QUALITY)
