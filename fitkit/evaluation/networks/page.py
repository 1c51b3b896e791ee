"""The HTML page of `fitkit eval networks`: tables first, then each picture with every recipe's overlay and bare geometry. One file.

    Score, result and picture -> Panel, as they come -> document
"""

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from fitkit.color import quantize
from fitkit.evaluation.identity_similarity import photo_crop
from fitkit.evaluation.networks.comparison import COLUMNS, Score
from fitkit.io.images import jpeg_address
from fitkit.morphable.model import shape
from fitkit.results import pictures
from fitkit.results.result import FitResult

# appearance: chosen, not tuned
SIDE, JPEG_QUALITY = 240, 85        # of each picture, pixels
MORE_IS_BETTER = ("relief", "likeness")      # of the columns
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:24px;color:#222;background:#fff}
table{border-collapse:collapse;margin:8px 0}
td,th{padding:4px 12px;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
.best{font-weight:700}.row{display:flex;flex-wrap:wrap;gap:10px;margin:6px 0 28px}figure{margin:0;width:240px}img{display:block}
figcaption{font-size:12px;line-height:1.35}.bad{color:#b00}h3{margin:18px 0 4px}"""


class Panel(NamedTuple):
    """What the page shows of one recipe on one picture: addresses of pictures, and a caption in HTML."""

    picture: str
    images: tuple[str, ...]
    caption: str


def panel(score: Score, result: FitResult | None) -> Panel:
    """The recipe's overlay and its bare geometry, with its figures; its reason where there is no result."""
    name = f"<b>{html.escape(score.recipe)}</b>"
    if result is None:
        return Panel(score.picture, (), f'{name}<br><span class="bad">{html.escape(score.failure)}</span>')
    vertices = shape(result.model, result.parameters.identity, result.parameters.expression)
    grey = pictures.bare_geometry(result.model, vertices, 0.0, result.relief)
    figures = {column: getattr(score, column, None) for column in COLUMNS}
    if score.before and score.after is not None:
        figures["relief"] = 1 - score.after / score.before
    words = ", ".join(f"{column} {COLUMNS[column][0].format(value)}" for column, value in figures.items() if value is not None)
    images = tuple(_address(image) for image in (photo_crop(result, picture=result.pictures["overlay"]), grey))
    return Panel(score.picture, images, f"{name}<br>{words}")


def photo_panel(score: Score, result: FitResult) -> Panel:
    """The picture itself, cut out as the overlays are."""
    return Panel(score.picture, (_address(photo_crop(result)),), html.escape(score.picture))


def document(title: str, tables: Mapping[str, Mapping[str, Mapping[str, float]]], shown: Sequence[Panel]) -> bytes:
    """The whole HTML file.

    Args:
        title: what was compared.
        tables: heading -> recipe -> column -> figure, of `comparison.summarize`.
        shown: panels in their order; those of one picture stand together.
    """
    parts = [f"<h2>{html.escape(heading)}</h2>{_table(summary)}" for heading, summary in tables.items() if summary]
    meaning = "".join(f"<li><b>{name}</b>: {html.escape(words)}</li>" for name, (_, words) in COLUMNS.items())
    for picture in dict.fromkeys(each.picture for each in shown):
        figures = "".join(_figure(each) for each in shown if each.picture == picture)
        parts.append(f'<h3>{html.escape(picture)}</h3><div class="row">{figures}</div>')
    return (f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>fitkit eval networks</title><style>{STYLE}</style><h1>Recipes and networks on the same pictures</h1>"
            f"<p>{html.escape(title)}</p><ul>{meaning}</ul>{''.join(parts)}</html>").encode()


def _figure(panel: Panel) -> str:
    images = "".join(f'<img src="{address}" width="{SIDE}" height="{SIDE}" alt="">' for address in panel.images)
    return f"<figure>{images}<figcaption>{panel.caption}</figcaption></figure>"


def _table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """The table with the best figure of each column in bold."""
    names = [name for name in COLUMNS if any(name in row for row in summary.values())]
    best = {name: (max if name in MORE_IS_BETTER else min)(row[name] for row in summary.values() if name in row) for name in names}
    head = "".join(f"<th>{name}</th>" for name in ("", *names, "seen"))
    body = "".join(
        f"<tr><td>{html.escape(recipe)}</td>" + "".join(
            f'<td{" class=best" if row.get(name) == best[name] else ""}>'
            f'{COLUMNS[name][0].format(row[name]) if name in row else "&ndash;"}</td>' for name in names)
        + f"<td>{row['seen']:.0%}</td></tr>" for recipe, row in summary.items())
    return f"<table><tr>{head}</tr>{body}</table>"


def _address(picture: np.ndarray) -> str:
    image = Image.fromarray(quantize(np.asarray(picture), np.uint8))
    return jpeg_address(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), quality=JPEG_QUALITY)
