"""`fitkit assets`: converts weight files that users bring (`fitkit.models` does it) and keeps them in their data folder."""

from pathlib import Path

from fitkit import configuration
from fitkit.cli.console import Console
from fitkit.cli.options import AssetsImport
from fitkit.errors import FitkitError

KINDS = ("identity",)       # what `fitkit assets import` takes


def run_import(options: AssetsImport, console: Console) -> int:
    """Convert one file; print where it is kept and how far its outputs are from the original's.

    Raises:
        FitkitError: E_USAGE, E_DATA or E_OUTPUT, as `fitkit.models.identity.importer.import_identity`.
    """
    if not options.kind or not options.file:
        raise FitkitError("E_USAGE", "a kind and a file are needed; write for example fitkit assets import identity arcface.onnx")
    configuration.check_choice(options.kind, KINDS, code="E_USAGE", what="kind of asset")
    from fitkit import device

    device.select_device(options.general.device)
    from fitkit.models.identity.importer import import_identity

    path, difference = import_identity(Path(options.file), name=options.name)
    if console.level:
        print(f"{path}: unit vectors differ by at most {difference:.1g} from the original's; use it as {path.stem!r}")
    return 0
