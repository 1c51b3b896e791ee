"""fitkit: from a photograph of a face to a 3D face.

    import fitkit
    result = fitkit.fit("me.jpg", recipe="inverse_rendering")
    result.save("out/me")

What a fit is made of stands in the packages `geometry`, `morphable`, `rendering`, `fitting` and `export`: functions of arrays, to
build something else with. Names that neither this package nor one of these lists may move.

Names load on first use (PEP 562), so that `import fitkit` and the command line's help do not wait for JAX.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from fitkit.errors import FitkitError
from fitkit.version import __version__

if TYPE_CHECKING:
    from fitkit import export, fitting, geometry, morphable, rendering
    from fitkit.api import FitResult, Track, fit, fit_batch, fit_faces, load, load_head, predict, track
    from fitkit.types import Camera, FaceParameters, Mesh, MorphableModel

# XLA prints banners about slow compilation on standard error; what it finds fatal it still says. Read when JAX is first imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__all__ = [
    "Camera",
    "FaceParameters",
    "FitResult",
    "FitkitError",
    "Mesh",
    "MorphableModel",
    "Track",
    "__version__",
    "export",
    "fit",
    "fit_batch",
    "fit_faces",
    "fitting",
    "geometry",
    "load",
    "load_head",
    "morphable",
    "predict",
    "rendering",
    "track",
]

_HOME = {       # public name -> module that holds it; a package of building blocks stands in `fitkit` itself
    "export": "fitkit",
    "fitting": "fitkit",
    "geometry": "fitkit",
    "morphable": "fitkit",
    "rendering": "fitkit",
    "fit": "fitkit.api",
    "fit_batch": "fitkit.api",
    "fit_faces": "fitkit.api",
    "load": "fitkit.api",
    "load_head": "fitkit.api",
    "track": "fitkit.api",
    "predict": "fitkit.api",
    "FitResult": "fitkit.api",
    "Track": "fitkit.api",
    "MorphableModel": "fitkit.types",
    "FaceParameters": "fitkit.types",
    "Camera": "fitkit.types",
    "Mesh": "fitkit.types",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'fitkit' has no attribute {name!r}")
    value = importlib.import_module(f"fitkit.{name}") if home == "fitkit" else getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
