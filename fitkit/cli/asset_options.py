"""The options of `fitkit assets list`, `verify` and `import`."""

import dataclasses
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit.cli.general_options import Flag, General


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
    .params file with its -symbol.json beside it. The file's own licence still applies.

    Examples:
      fitkit assets import identity w600k_r50.onnx
      fitkit assets import identity w600k_r50.onnx --sha256 4c06341c33c2...
      fitkit assets import identity MobileFace_Identification_V2-0000.params --name judge
    """

    kind: Annotated[Positional[str], arg(metavar="KIND", help_behavior_hint="")] = ""
    """Kind of the file: identity."""
    file: Annotated[Positional[str], arg(metavar="FILE", help_behavior_hint="")] = ""
    """File to convert; it is not changed."""
    sha256: Annotated[str | None, arg(metavar="HEX", help_behavior_hint="")] = None
    """Refuse the file unless it has this sha256, as its publisher states it."""
    name: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Name to use it by (--set network=NAME). By default arcface or mobileface, as the file is."""
    general: OmitArgPrefixes[General] = General()
