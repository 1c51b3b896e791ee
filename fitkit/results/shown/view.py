"""What the viewer shows of a result: head, photo and overlay cut to the face, and the numbers of fit.json in words.

In: the values of fit.json, the head's GLB and the pictures. Out: a `ViewedFace` for `export.viewer`. Needs no JAX.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from fitkit.color import quantize
from fitkit.errors import FitkitError
from fitkit.export.viewer import ViewedFace
from fitkit.io import images
from fitkit.io.untrusted import parsing, read_bytes

VIEWER_FILE = "viewer.html"      # of a result folder
MARGIN = 0.6                     # share of the points' extent that is shown on each side of it; by eye
MAX_GLB = 2**28                  # bytes, a bound on resources; the embedded head's takes 2 MB


def viewed_face(content: Mapping[str, Any], glb: bytes, *, photo: np.ndarray | None, overlay: np.ndarray | None) -> ViewedFace:
    """A face for the viewer.

    Args:
        content: the values of fit.json.
        glb: the head with its expressions as morph targets.
        photo: `[H, W, 3]` sRGB in [0, 1]; None, or without channels, where it is not at hand.
        overlay: the fit over the photo, of the same shape; None where it was not made.
    """
    points = np.asarray(content["landmarks"]["photo"], np.float64)
    pictures = [None if picture is None or picture.shape[-1] != 3 else _cut(picture, points) for picture in (photo, overlay)]
    return ViewedFace(name=_name(content), glb=glb, photo=pictures[0], overlay=pictures[1], numbers=_numbers(content))


def saved_face(folder: Path, content: Mapping[str, Any]) -> ViewedFace:
    """The same of a result folder, from its mesh.glb and pictures; the photo is shown where it still is the one that was fitted.

    Raises:
        FitkitError: E_RESULT where the folder has no mesh.glb or its fit.json says what no fit says.
    """
    glb = read_bytes(folder / "mesh.glb", most=MAX_GLB, code="E_RESULT",
                     mend="fit the photo again with --outputs mesh, or all")
    overlay = images.read_image(folder / "overlay.png").pixels if (folder / "overlay.png").is_file() else None
    with parsing("E_RESULT", f"the result folder {folder} is damaged: fit.json says what no fit says", mend="fit the photo again"):
        photo = None
        try:
            found = images.read_image(content["photo"]["path"])
            photo = found.pixels if found.sha256 == content["photo"]["sha256"] else None
        except FitkitError:
            pass      # it has moved: the overlay is shown alone
        if photo is not None and overlay is not None and photo.shape != overlay.shape:
            photo = None
        return viewed_face(content, glb, photo=photo, overlay=overlay)


def _cut(picture: np.ndarray, points: np.ndarray) -> Image.Image:
    """The part of a picture around the face."""
    lower, upper = points.min(0), points.max(0)
    half = (0.5 + MARGIN) * (upper - lower).max()
    left, top = np.floor((lower + upper) / 2 - half).astype(int).clip(0)
    right, bottom = np.ceil((lower + upper) / 2 + half).astype(int)
    part = picture[top:max(bottom, top + 1), left:max(right, left + 1)]
    return Image.fromarray(quantize(part if part.size else picture, np.uint8))


def _name(content: Mapping[str, Any]) -> str:
    face = content["photo"]["face"]
    return f"{PurePath(str(content['photo']['path'])).name}{'' if face is None else f', face {face}'}, {content['recipe']['name']}"


def _numbers(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    camera, weights = content["camera"], content.get("arkit", content["expression"])
    angles, focal = camera["euler_degrees"], camera["K"][0][0]
    strongest = sorted(weights.items(), key=lambda item: -abs(item[1]))[:4]
    return [
        ("status", ", ".join(filter(None, (str(content["status"]), str(content["reason"]))))),
        ("confidence", f"{content['confidence']:.2f}"),
        ("head", str(content["head"]["name"])),
        ("yaw, pitch, roll", ", ".join(f"{angles[name]:+.1f}\u00b0" for name in ("yaw", "pitch", "roll"))),
        ("distance", f"{camera['t'][2] / 10:.0f} cm"),
        ("focal length", f"{focal:.0f} px ({camera['focal_source']})"),
        ("expression", ", ".join(f"{name} {weight:.2f}" for name, weight in strongest)),
        ("photo", f"{content['photo']['width']} x {content['photo']['height']} px"),
        ("time", f"{sum(content['timings'].values()):.1f} s"),
    ]
