"""`fitkit convert` and `fitkit transfer`: a result in the layout of another head's tools, and on a mesh of the user's own."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit.cli.console import Console
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError, visible

if TYPE_CHECKING:
    from fitkit.results.result import FitResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a result's parameters as the tools of another head read them: flame.npz, gnm.npz, bfm.mat, surrey.npz.

    A face that was fitted with fitkit's own head is converted: the other head is fitted to its vertices, joints included, and how
    far they stay apart is said. The other head must have been imported once (fitkit assets import head FILE).

    Examples:
      fitkit convert out/me-1a2b3c4d --to flame:flame2023.pkl
      fitkit convert out/me-1a2b3c4d --to gnm:gnm_head.npz --out me.npz
    """

    result: Annotated[Positional[str], arg(metavar="RESULT", help_behavior_hint="")] = ""
    """Result folder of a fit."""
    to: Annotated[str, arg(metavar="FAMILY:FILE", help_behavior_hint="")] = ""
    """Head to convert to: flame:FILE, gnm:FILE, bfm:FILE or surrey:FILE, with the file that was imported."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """File to write; by default in the result folder, named by the head."""
    head: Annotated[str | None, arg(metavar="FAMILY:FILE", help_behavior_hint="")] = None
    """Where the head lies that the result was fitted on, if it is not fitkit's own."""
    general: OmitArgPrefixes[General] = General()


def run_convert(options: Convert, console: Console) -> int:
    """Convert and write; print the file and, where a head was fitted to the face, the distance that is left.

    Raises:
        FitkitError: E_USAGE, E_RESULT, E_HEAD, E_DATA, E_OUTPUT.
    """
    if not options.result or not options.to:
        raise FitkitError("E_USAGE", "a result folder and a head are needed; write for example fitkit convert out/me-1a2b3c4d --to"
                          " flame:flame2023.pkl")
    import fitkit
    from fitkit import device

    device.select_device(options.general.device)
    from fitkit.export.tracker_files import FILES, write_parameters
    from fitkit.models import heads

    result = fitkit.load(options.result, head=options.head)
    model = fitkit.load_head(options.to)
    if model.name not in FILES:
        raise FitkitError("E_HEAD", f"--to {options.to} has no layout of parameters; choose flame:, gnm:, bfm: or surrey:")
    face, camera, note = result.parameters, result.camera, ""
    if result.head != heads.absolute_name(options.to):
        face, camera, residual = _converted(result, model, options.to)
        note = f": its face stays {residual:.2f} mm (root mean square) from the fitted one"
    path = write_parameters(options.out or Path(options.result) / FILES[model.name], model, face, camera)
    if console.level:
        print(visible(f"{path}{note}"))
    return 0


def _converted(result: "FitResult", model: Any, to: str) -> tuple[Any, Any, float]:
    """Parameters and camera on another head, and the distance left, mm.

    Raises:
        FitkitError: E_HEAD where the result is of a head that is not fitkit's own; E_DATA where the other's table is missing.
    """
    if result.model.name != "makehuman":
        raise FitkitError(
            "E_HEAD",
            f"the result was fitted on {result.head}, and only fits on fitkit's own head are converted; fit the"
            f" photo again with --head {to}",
        )
    from fitkit.models import heads
    from fitkit.models.heads.importing.conversion import converted_face, places_of

    own = result.model
    return converted_face(own, model, places_of(heads.absolute_name(to), own, model), result.parameters, result.camera)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """Put a fitted face on your own head mesh: its shape, ARKit's 52 expressions and its texture, as a GLB with your vertices.

    The mesh, .obj or .glb, shows a head alone, +Y up, the face to +Z, in any unit. It is registered to fitkit's own head once,
    which takes a minute, and kept in your data folder; its own texture coordinates are replaced by those of fitkit's texture. The
    result must be of a fit with fitkit's own head.

    Examples:
      fitkit transfer out/me-1a2b3c4d --to character.obj
      fitkit transfer out/me-1a2b3c4d --to character.glb --out me_as_character.glb
    """

    result: Annotated[Positional[str], arg(metavar="RESULT", help_behavior_hint="")] = ""
    """Result folder of a fit."""
    to: Annotated[str, arg(metavar="MESH", help_behavior_hint="")] = ""
    """Mesh to put the face on: .obj or .glb."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """GLB file to write; by default in the result folder, named by the mesh."""
    general: OmitArgPrefixes[General] = General()


def run_transfer(options: Transfer, console: Console) -> int:
    """Transfer and write; print the file and how near the faces came.

    Raises:
        FitkitError: E_USAGE, E_RESULT, E_HEAD, E_SCAN, E_DATA, E_OUTPUT.
    """
    if not options.result or not options.to:
        raise FitkitError("E_USAGE", "a result folder and a mesh are needed; write for example fitkit transfer out/me-1a2b3c4d --to"
                          " character.obj")
    import fitkit
    from fitkit import device

    device.select_device(options.general.device)
    import jax.numpy as jnp
    import numpy as np

    from fitkit.export.gltf import write_glb
    from fitkit.io.array_files.meshes import read_own_mesh
    from fitkit.io.untrusted import parsing
    from fitkit.models.heads.importing.transfer import transferred
    from fitkit.morphable.model import shape
    from fitkit.results.save import shown_name

    place = Path(options.to)
    vertices, triangles = read_own_mesh(place, code="E_SCAN")
    result = fitkit.load(options.result)
    if result.model.name != "makehuman":
        raise FitkitError("E_HEAD", f"the result was fitted on {result.head}; fit the photo again without --head")
    face = result.parameters
    neutral = np.asarray(shape(result.model, face.identity, jnp.zeros_like(face.expression)))
    with parsing("E_SCAN", f"{place} cannot be used", mend="give a head alone, +Y up, the face to +Z"):
        found = transferred(result.model, neutral, vertices, triangles, progress=lambda step: console.note(f"{step} ..."))
    bare = dataclasses.replace(face, identity=jnp.zeros(0))
    path = write_glb(options.out or Path(options.result) / f"{place.stem}.glb", found.model, bare, texture=result.texture,
                     name=shown_name(result))
    if console.level:
        print(visible(f"{path}: the faces come within {found.residual:.2f} mm"))
    return 0
