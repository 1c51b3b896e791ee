"""The `fitkit assets` commands: files that users bring, converted and kept in their data folder. `models/` does the converting."""

from pathlib import Path

from fitkit import configuration
from fitkit.cli.console import Report
from fitkit.cli.options import AssetsImport
from fitkit.errors import FitkitError

KINDS = ("identity",)


def run_import(options: AssetsImport, speech: Report) -> int:
    """Convert one file and say where it is kept, and how near it is to the original.

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
    if speech.level:
        print(f"{path}: unit vectors differ by at most {difference:.1g} from the original's; use it as {path.stem!r}")
    return 0
