"""`fitkit labels show`: its options, and the contact sheet of a run."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import device
from fitkit.cli.console import Console
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsShow:
    """Draw a contact sheet of a run of labels: a row a picture, with its points, mask, depth, normals, PNCC, UV and albedo.

    The sha256 of each picture that is drawn is compared with the index; a damaged shard is named.

    Examples:
      fitkit labels show run
      fitkit labels show run --count 20 --first 400 --out sheet.png
    """

    run: Annotated[Positional[str], arg(metavar="RUN", help_behavior_hint="")] = ""
    """A folder that `fitkit labels make` wrote."""
    count: Annotated[int, arg(metavar="NUMBER")] = 8
    """Pictures on the sheet."""
    first: Annotated[int, arg(metavar="NUMBER")] = 0
    """The first of them, counted among those that are there."""
    out: Annotated[str, arg(metavar="FILE.png", help_behavior_hint="")] = ""
    """Picture to write. By default RUN/sheet.png."""
    general: OmitArgPrefixes[General] = General()


def run_show(options: LabelsShow, console: Console) -> int:
    """Write the contact sheet of a run and return the exit status.

    Raises:
        FitkitError: E_USAGE; E_RESULT, no run, or a damaged shard; E_OUTPUT.
    """
    if not options.run:
        raise FitkitError("E_USAGE", "no run was named; write for example fitkit labels show run")
    device.select_device(options.general.device)
    from fitkit.io.images import write_image
    from fitkit.labels.reading import open_labels, read_record
    from fitkit.labels.sheet import contact_sheet

    source = open_labels(options.run)
    rows = range(len(source))[options.first:options.first + options.count]
    if options.first < 0 or not rows:
        raise FitkitError("E_USAGE", f"--first {options.first} and --count {options.count} name no picture of the"
                          f" {len(source)} of {options.run}; give smaller numbers")
    sheet = contact_sheet([read_record(source, row) for row in rows])
    path = write_image(options.out or Path(options.run) / "sheet.png", sheet)
    if console.level:
        print(path)
    return 0
