"""ICT-FaceKit Light (MIT), the foreign head that tests set beside ours; never shipped, never trained on.

Read by `fitkit.models.ict_source` from `shared/assets/models/ict-facekit.tar.xz` beside the checkout, or from a folder unpacked
from it; goes to tests and to the builder's `--measure`.

Subjects: identity coefficients are N(0, 1) over all 100 modes; seeds 0-19 to tune on, 100-119 to report.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from fitkit.models import ict_source

ARCHIVE = pathlib.Path(__file__).resolve().parents[1].parent / "shared" / "assets" / "models" / "ict-facekit.tar.xz"
NARROW_FACE = 6706      # vertices 0..6705: brow to chin, between the cheeks
FULL_FACE = 9409        # vertices 0..9408: with forehead, temples, jaw
EYEBALLS = slice(21451, 24591)       # both


def load_ict(source: str | pathlib.Path | None = None) -> dict[str, Any]:
    """Neutral head, modes and tables of ICT-FaceKit Light, in millimetres, +Y up, face to +Z, +X the subject's left.

    Args:
        source: the archive, or the folder that holds `FaceXModel`; the shared asset by default.

    Returns:
        neutral [26719, 3] mm; identity [100, V, 3] and expression [53, V, 3] mm, as differences; expression_names;
        triangles [F, 3]; uv [U, 2]; uv_triangles [F, 3];
        landmarks [68] vertex ids (iBUG order, the subject's right jaw first).

    Raises:
        FileNotFoundError: the source is not there (tests skip on it).
    """
    path = pathlib.Path(ARCHIVE if source is None else source)
    if not path.exists():
        raise FileNotFoundError(f"ICT-FaceKit is not at {path}")
    arrays = ict_source.read(path)
    return {field.name: getattr(arrays, field.name) for field in dataclasses.fields(arrays)}


def subject(seed: int) -> np.ndarray:
    """Identity coefficients [100] of subject `seed`, standard normal."""
    return np.random.default_rng(seed).standard_normal(ict_source.IDENTITIES)


def subject_vertices(ict: dict[str, Any], seed: int) -> np.ndarray:
    """Neutral vertices [26719, 3] of subject `seed`, mm."""
    return ict["neutral"] + np.tensordot(subject(seed), ict["identity"], axes=1)


def narrow_face_triangles(ict: dict[str, Any]) -> np.ndarray:
    """Triangles [*, 3] whose corners all lie in the narrow face area."""
    inside = (ict["triangles"] < NARROW_FACE).all(axis=1)
    return ict["triangles"][inside]
