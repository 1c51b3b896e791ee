"""`fitkit assets import head FILE`: reads a foreign head, registers and dresses it, proves what was made, and keeps it.

What is kept lies in the user's data folder, named by the sha256 of its sources; `load` finds it by them. The original is read once.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial

from fitkit.errors import FitkitError
from fitkit.io.atomic_files import write_bytes
from fitkit.io.untrusted import open_file
from fitkit.models import shipped
from fitkit.models.heads import bfm, flame, gnm, makehuman, surrey
from fitkit.models.heads.importing import registration
from fitkit.models.heads.importing.arkit import NamedExpressions
from fitkit.models.heads.importing.dressing import dress
from fitkit.models.heads.importing.stored import Places, encode_head, read_head
from fitkit.models.heads.source import HeadSource
from fitkit.morphable.model import shape
from fitkit.types import MorphableModel

READERS: dict[str, Any] = {"gnm": gnm, "flame": flame, "bfm": bfm, "surrey": surrey}      # modules with `read` and `BESIDE`
ENDINGS = {".npz": "gnm", ".pkl": "flame", ".mat": "bfm", ".h5": "bfm", ".hdf5": "bfm", ".bin": "surrey"}
LARGEST = 2**31             # bytes of a source that are hashed, a bound on resources
TOLERANCE = 0.01            # mm: greatest difference of the kept head from what its file says; float32 leaves 1e-4 of 300 mm
PROOFS = 3                  # random heads that are compared


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadReport:
    """What an import found."""

    path: Path                      # of the kept head
    name: str                       # to use it by: "flame:PATH"
    difference: float               # mm, greatest, of random heads from what the file says
    residual: float                 # mm, mean distance of the registered faces
    points_residual: float          # mm, root mean square distance of the points the detector sees
    expressions: dict[str, tuple[float, float]]      # ARKit's name -> residual and motion, mm; empty: carried over as they are


def family_of(path: Path) -> str:
    """The family of a head by the ending of its file.

    Raises:
        FitkitError: E_USAGE for another ending.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise FitkitError("E_USAGE", f"{path} is no head that can be imported; give GNM's .npz, FLAME's .pkl, Basel's .mat or"
                          " .h5, or eos' .bin")
    return ENDINGS[ending]


def load(path: str, *, family: str) -> MorphableModel:
    """The head that was imported from a file.

    Raises:
        FitkitError: E_DATA where the file is missing, was not imported, or what was kept is damaged.
    """
    kept = kept_path(Path(path), family)
    if not kept.is_file():
        raise FitkitError("E_DATA", f"{path} was not imported yet; run: fitkit assets import head {path}")
    return read_head(kept)[0]


def kept_path(path: Path, family: str) -> Path:
    """Where the head of a file is kept, by the content of the file and of those beside it that belong to it."""
    digest = hashlib.sha256(family.encode())
    for place in (path, *(path.with_name(name) for name in READERS[family].BESIDE)):
        if place == path or place.exists():
            with open_file(place, most=LARGEST, code="E_DATA", mend="put it back there or name another place") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return shipped.heads_folder() / f"{family}-{digest.hexdigest()[:16]}.safetensors"


def import_head(path: Path, *, progress: Callable[[str], None] = lambda step: None) -> HeadReport:
    """Convert a foreign head and keep it.

    Args:
        path: its file: GNM's .npz, FLAME's .pkl, Basel's .mat or .h5, eos' .bin.
        progress: told of each step, in words.

    Raises:
        FitkitError: E_USAGE for another ending; E_DATA where the file is missing, of another layout, damaged, or shows no face;
            E_OUTPUT where the data folder cannot be written.
    """
    family = family_of(path)
    progress("reading")
    kept = kept_path(path, family)
    source: HeadSource = READERS[family].read(path)
    own = makehuman.load()
    progress("registering the embedded head")
    found = registration.register(own, source)
    progress("points, masks, colours and ARKit's expressions")
    model, named = dress(own, source, found)
    facts = {"source": path.name, "residual": f"{found.residual:.4f}", "points_residual": f"{found.points_residual:.4f}",
             "expressions": json.dumps(_by_name(model, named))}
    places = Places(triangle=found.triangle, share=found.share, weight=found.weight)
    data = encode_head(model, facts, places=places)
    written = write_bytes(kept, data)
    shipped.write_note(written, data, source=path.name, source_sha256=kept.stem.partition("-")[2])
    difference = greatest_difference(source, read_head(written)[0])
    if difference > TOLERANCE:
        raise FitkitError("E_DATA", f"the head kept of {path} differs by {difference:.2g} mm from what the file says; report"
                          " it")
    return HeadReport(path=written, name=f"{family}:{path}", difference=difference, residual=found.residual,
                      points_residual=found.points_residual, expressions=_by_name(model, named))


def _by_name(model: MorphableModel, named: NamedExpressions | None) -> dict[str, tuple[float, float]]:
    if named is None:
        return {}
    return {name: (round(float(gap), 3), round(float(motion), 3))
            for name, gap, motion in zip(model.named_expressions, named.residual, named.motion, strict=True)}


def greatest_difference(source: HeadSource, model: MorphableModel) -> float:
    """Greatest distance, mm, between vertices of random heads by the kept model and by its source, evaluated in float64."""
    draws, worst, bend = np.random.default_rng(28), 0.0, jax.jit(shape)
    own = len(source.expression) > 0
    for _ in range(PROOFS):
        identity = draws.normal(size=len(source.identity))
        expression = np.clip(draws.normal(size=len(model.expression)) * np.asarray(model.expression_scale),
                             model.expression_lower, model.expression_upper) * own
        expected = bent_source(source, identity, expression[:len(source.expression)])
        found = bend(model, jnp.asarray(identity, jnp.float32), jnp.asarray(expression, jnp.float32))
        worst = max(worst, float(np.abs(np.asarray(found, np.float64) - expected).max()))
    return worst


def bent_source(source: HeadSource, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """Vertices [V, 3], mm, of a source at coefficients, in NumPy and float64: what the kept head is compared with."""
    rest = source.mean + np.tensordot(identity, source.identity, axes=1) + np.tensordot(expression, source.expression, axes=1)
    joints = source.joints
    if joints is None:
        return np.asarray(rest, np.float64)
    angles = np.tensordot(expression, joints.rotation, axes=1)
    places = joints.place + np.tensordot(np.concatenate([identity, expression]), joints.basis, axes=1)
    turns = np.stack([_rotation(angle) for angle in angles])
    rest = rest + np.tensordot((turns - np.eye(3)).reshape(len(turns), 9), joints.correctives, axes=2)
    world: list[Any] = []
    gone: list[Any] = []
    bent = np.zeros_like(rest)
    for joint, above in enumerate(joints.parent):
        world.append(turns[joint] if above < 0 else world[above] @ turns[joint])
        gone.append(places[joint] if above < 0 else gone[above] + world[above] @ (places[joint] - places[above]))
        bent += joints.skinning[:, joint, None] * ((rest - places[joint]) @ world[joint].T + gone[joint])
    return bent


def _rotation(vector: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.spatial.transform.Rotation.from_rotvec(vector).as_matrix())
