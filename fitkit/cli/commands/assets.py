"""`fitkit assets`: the weight files that come with fitkit and those that users import: what each is, its licence, and its state.

Nothing is downloaded: `import` converts a file that the user has (`fitkit.models` does it) and keeps it in their data folder, with
a note of where it comes from.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration
from fitkit.cli.console import Console
from fitkit.cli.general_options import Flag, General
from fitkit.errors import FitkitError, visible

KINDS = ("identity", "head", "vggface")       # what `fitkit assets import` takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssetsList:
    """List the weight files that came with fitkit and those that you imported: what each is, its licence, size and sha256."""

    json: Flag = False
    """Write one JSON object per file."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssetsVerify:
    """Compare every weight file with its pinned sha256: those that came with fitkit, and those that you imported.

    Exit status: 0 all are as they should be, 3 some are not.
    """

    json: Flag = False
    """Write one JSON object per file."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class AssetsImport:
    """Convert your own weight file of another project for use in fitkit, check the conversion, and keep it in your data folder.

    Kinds: identity, a face recognition network: an ArcFace .onnx file, which needs pip install 'fitkit[tables]', or MobileFace's
    .params file with its -symbol.json beside it; head, a morphable head: GNM's gnm_head.npz, FLAME's .pkl, the Basel models' .mat
    or .h5 (pip install 'fitkit[heads]'), eos' .bin of the Surrey model. A head is registered to fitkit's own, once, so that every
    recipe runs on it: afterwards write --head flame:FILE and the like; vggface, VGG-Face as Keras' .h5 (pip install
    'fitkit[heads]') or as .safetensors of PyTorch's names: FineNet of Richardson et al. is trained from its first layers (fitkit
    train richardson_fine --config paper --set trunk=vggface). The file's own licence still applies.

    Examples:
      fitkit assets import head flame2023.pkl
      fitkit assets import head model2019_face12.h5
      fitkit assets import vggface rcmalli_vggface_tf_notop_vgg16.h5
      fitkit assets import identity w600k_r50.onnx
      fitkit assets import identity w600k_r50.onnx --sha256 4c06341c33c2...
      fitkit assets import identity MobileFace_Identification_V2-0000.params --name judge
    """

    kind: Annotated[Positional[str], arg(metavar="KIND", help_behavior_hint="")] = ""
    """Kind of the file: identity, head or vggface."""
    file: Annotated[Positional[str], arg(metavar="FILE", help_behavior_hint="")] = ""
    """File to convert; it is not changed."""
    sha256: Annotated[str | None, arg(metavar="HEX", help_behavior_hint="")] = None
    """Refuse the file unless it has this sha256, as its publisher states it."""
    name: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Name to use an identity network by (--set network=NAME). By default arcface or mobileface, as the file is."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """One weight file, as `fitkit assets` shows it."""

    name: str
    origin: str               # "fitkit", or the file that it was imported from
    what: str
    licence: str
    bytes: int
    sha256: str               # pinned; empty where nothing is known of it
    state: str = "listed"     # after `verify`: "whole", or what is wrong


def run_list(options: AssetsList | AssetsVerify, console: Console) -> int:
    """Print a line for each weight file, after comparing it with its pinned sha256 if `verify` was asked for.

    Raises:
        FitkitError: E_DATA where the list of what comes with fitkit cannot be read.
    """
    wrong = 0
    for path, asset in _assets():
        if isinstance(options, AssetsVerify):
            asset = dataclasses.replace(asset, state=_state(path, asset))
            wrong += asset.state != "whole"
        if options.json:
            print(json.dumps(dataclasses.asdict(asset)))
        elif asset.state not in ("listed", "whole"):
            console.error("E_DATA", f"{path} {asset.state}; " + ("install fitkit again" if asset.origin == "fitkit" else
                          "import it again with fitkit assets import"))
        elif console.level:
            state = "" if asset.state == "listed" else f"{asset.state:8}"
            print(visible(f"{state}{asset.name:36}{asset.bytes / 1e6:6.1f} MB  sha256 {asset.sha256[:16]}  {asset.licence}: "
                          f"{asset.what}"))
    return 3 if wrong else 0


def run_import(options: AssetsImport, console: Console) -> int:
    """Convert one file; print where it is kept, how far its outputs are from the original's, and whose licence applies.

    Raises:
        FitkitError: E_USAGE, E_DATA or E_OUTPUT, as `fitkit.models.identity.importer.import_identity` and
            `fitkit.models.heads.importing.importer.import_head`.
    """
    if not options.kind or not options.file:
        raise FitkitError("E_USAGE", "a kind and a file are needed; write for example fitkit assets import identity arcface.onnx")
    configuration.check_choice(options.kind, KINDS, code="E_USAGE", what="kind of asset")
    from fitkit import device

    device.select_device(options.general.device)
    if options.kind == "head":
        return _import_head(options, console)
    if options.kind == "vggface":
        return _import_trunk(options, console)
    from fitkit.models.identity.importer import import_identity

    path, difference = import_identity(Path(options.file), name=options.name, sha256=options.sha256)
    if console.level:
        print(f"{path}: unit vectors differ by at most {difference:.1g} from the original's; use it as {path.stem!r}; its licence"
              f" is that of {visible(Path(options.file).name)}, which fitkit does not know")
    return 0


def _import_head(options: AssetsImport, console: Console) -> int:
    if options.name is not None or options.sha256 is not None:
        raise FitkitError("E_USAGE", "--name and --sha256 are of identity networks; a head is used by its file, --head FAMILY:FILE")
    from fitkit.models.heads.importing.importer import import_head

    report = import_head(Path(options.file), progress=lambda step: console.note(f"{step} ..."))
    if console.level:
        print(
            visible(
                f"{report.path}: heads differ by at most {report.difference:.1g} mm from what the file says; fitkit's own head"
                f" meets its face to {report.residual:.2f} mm, points that the detector sees to"
                f" {report.points_residual:.1f} mm; use it as --head {report.name}"
            )
        )
        for name, (residual, motion) in report.expressions.items():
            print(f"{name:20}{residual:6.2f} mm of {motion:5.2f} mm")
    return 0


def _import_trunk(options: AssetsImport, console: Console) -> int:
    if options.name is not None:
        raise FitkitError("E_USAGE", "--name is of identity networks; VGG-Face is used as --set trunk=vggface")
    from fitkit.models.richardson.vgg_face import import_vgg_face

    path, difference = import_vgg_face(Path(options.file), sha256=options.sha256)
    if console.level:
        print(f"{path}: features of grey pictures differ by at most {difference:.1g} of the largest from the original's; use it as"
              " fitkit train richardson_fine --config paper --set trunk=vggface; its licence is that of"
              f" {visible(Path(options.file).name)}, which fitkit does not know")
    return 0


def _assets() -> Iterator[tuple[Path, Asset]]:
    from fitkit.models import shipped

    for file in shipped.shipped_files():
        path = shipped.WEIGHTS / file.name
        licence = f"{file.licence} ({file.text})" if file.text else file.licence
        yield path, Asset(name=file.name, origin="fitkit", what=file.what, licence=licence, bytes=_size(path), sha256=file.sha256)
    for path in sorted(shipped.heads_folder().glob("*.safetensors")):
        note = shipped.note_of(path)
        yield path, Asset(name=f"heads/{path.name}", origin=note["source"], what=f"head from {note['source']}",
                          licence="its source's own", bytes=_size(path), sha256=note["sha256"])
    for path in sorted(shipped.trunks_folder().glob("*.safetensors")):
        note = shipped.note_of(path)
        yield path, Asset(name=f"trunks/{path.name}", origin=note["source"], what=f"trunk of a network from {note['source']}",
                          licence="its source's own", bytes=_size(path), sha256=note["sha256"])
    for path in sorted(shipped.imported_folder().glob("*.safetensors")):
        note = shipped.note_of(path)
        yield path, Asset(name=f"identity/{path.name}", origin=note["source"], what=f"identity network from {note['source']}",
                          licence="its source's own", bytes=_size(path), sha256=note["sha256"])


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _state(path: Path, asset: Asset) -> str:
    from fitkit.models.shipped import difference

    return (difference(path, asset.sha256) or "whole") if asset.sha256 else "has no note of its sha256"
