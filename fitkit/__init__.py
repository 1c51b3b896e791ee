"""fitkit: from a photograph of a face to a 3D face. This is the whole public face; everything else may move.

    import fitkit
    result = fitkit.fit("me.jpg", recipe="inverse_rendering")
    result.save("out/me")

Names load on first use (PEP 562), so that `import fitkit` and the command line's help do not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fitkit.errors import FitkitError
from fitkit.version import __version__

if TYPE_CHECKING:
    from fitkit.api import FitResult, fit, fit_batch, fit_faces, load, load_head
    from fitkit.types import Camera, FaceParameters, Mesh, MorphableModel


__all__ = [
    "Camera",
    "FaceParameters",
    "FitResult",
    "FitkitError",
    "Mesh",
    "MorphableModel",
    "__version__",
    "fit",
    "fit_batch",
    "fit_faces",
    "load",
    "load_head",
]

_HOME = {
    "fit": "fitkit.api",
    "fit_batch": "fitkit.api",
    "fit_faces": "fitkit.api",
    "load": "fitkit.api",
    "load_head": "fitkit.api",
    "FitResult": "fitkit.api",
    "MorphableModel": "fitkit.types",
    "FaceParameters": "fitkit.types",
    "Camera": "fitkit.types",
    "Mesh": "fitkit.types",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that owns it."""
    if name not in _HOME:
        raise AttributeError(f"module 'fitkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
