"""One HTML file that shows fitted heads: it opens offline, in any browser with WebGL, and fetches nothing.

In: GLB files and what is known of each face (`ViewedFace`). Out: the page as bytes, made of `page.html`, `viewer.js` and
`three.js` (three.md says where that is from). The page's policy lets no other script run and nothing be loaded, whatever a file
or a name says.
"""

import base64
import dataclasses
import hashlib
import html
import importlib.resources
import json
import string
from collections.abc import Sequence

from PIL import Image

from fitkit.errors import visible
from fitkit.io.images import jpeg_address

PICTURE_SIDE, QUALITY = 720, 85      # pixels and JPEG quality of the photo beside the head: sharp in a column of 350


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewedFace:
    """A face of the page."""

    name: str
    glb: bytes                              # a head with its expressions as morph targets
    photo: Image.Image | None               # RGB
    overlay: Image.Image | None             # the fit over the photo, of the photo's shape
    numbers: Sequence[tuple[str, str]]      # what each is, and its value with its unit


def viewer_page(faces: Sequence[ViewedFace]) -> bytes:
    """The HTML file of one face or more; a choice above the photo changes between them."""
    template, viewer, three = (_text(name) for name in ("page.html", "viewer.js", "three.js"))
    data = json.dumps([_entry(face) for face in faces]).replace("<", "\\u003c")
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in (three, viewer))
    return string.Template(template).substitute(
        title=html.escape(visible(faces[0].name)), faces=data, three=three, viewer=viewer,
        scripts=" ".join(f"'sha256-{digest}'" for digest in digests)).encode()


def _entry(face: ViewedFace) -> dict[str, object]:
    return {"name": visible(face.name), "glb": base64.b64encode(face.glb).decode(), "photo": _address(face.photo),
            "overlay": _address(face.overlay), "numbers": [[visible(name), visible(value)] for name, value in face.numbers]}


def _address(picture: Image.Image | None) -> str | None:
    if picture is None:
        return None
    small = picture.copy()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return jpeg_address(small, quality=QUALITY)


def _text(name: str) -> str:
    return importlib.resources.files("fitkit.export.viewer").joinpath(name).read_text("utf-8")
