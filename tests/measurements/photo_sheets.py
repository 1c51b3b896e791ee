"""Contact sheets of fitted photos: a row of panels with captions, and a page with the sheets of all photos, small."""

import pathlib

import numpy as np
from PIL import Image, ImageDraw

PANEL = 384             # side of a panel, pixels
CAPTION = 18            # height of a line of text, pixels
SMALL = 1152            # width of a sheet on the page of all, pixels


def write_sheet(path: pathlib.Path, panels: dict[str, np.ndarray], title: str) -> pathlib.Path:
    """Pictures `[h, h, 3]`, sRGB in [0, 1], in two rows under a title, each with its name; the path comes back."""
    columns = -(-len(panels) // 2)
    sheet = Image.new("RGB", (columns * PANEL, CAPTION + 2 * (PANEL + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 3), title, fill="black")
    for number, (name, panel) in enumerate(panels.items()):
        x, y = number % columns * PANEL, CAPTION + number // columns * (PANEL + CAPTION)
        picture = Image.fromarray((np.clip(panel, 0, 1) * 255 + 0.5).astype(np.uint8))
        sheet.paste(picture.resize((PANEL, PANEL), Image.Resampling.LANCZOS), (x, y))
        draw.text((x + 4, y + PANEL + 2), name, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def write_page(path: pathlib.Path, sheets: list[pathlib.Path]) -> None:
    """All sheets at half size, two side by side."""
    small = []
    for sheet in sheets:
        with Image.open(sheet) as picture:
            small.append(picture.resize((SMALL // 2, picture.height * SMALL // 2 // picture.width), Image.Resampling.LANCZOS))
    if not small:
        return
    height = max(picture.height for picture in small)
    page = Image.new("RGB", (SMALL, height * -(-len(small) // 2)), "white")
    for number, picture in enumerate(small):
        page.paste(picture, (number % 2 * SMALL // 2, number // 2 * height))
    page.save(path)
