"""`fitkit view`: saved results as one HTML file that turns, relights and animates them in a browser, offline."""

import dataclasses
import webbrowser
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit.cli.console import Console
from fitkit.cli.general_options import Flag, General
from fitkit.errors import FitkitError, visible

MOST = 24      # results of a page: each takes 3 to 6 MB


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Make one HTML file that shows results in a browser: the head in 3D with its texture, 52 expressions, light, photo, numbers.

    The file needs no server and no network, and can be sent to others: it holds the head, the photo and all that shows them.
    `fitkit fit --outputs all,viewer` writes one into each result.

    Examples:
      fitkit view out/me-1a2b3c4d --open
      fitkit view out --out faces.html               every result of a run, 24 at most
    """

    result: Annotated[Positional[tuple[str, ...]], arg(metavar="RESULT...", help_behavior_hint="")] = ()
    """Result folders that `fitkit fit` wrote, or folders of them."""
    out: Annotated[str, arg(metavar="FILE.html", help_behavior_hint="")] = ""
    """File to write. By default viewer.html in the first result."""
    open: Flag = False
    """Open it in the browser."""
    general: OmitArgPrefixes[General] = General()


def run_view(options: View, console: Console) -> int:
    """Write the page and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_RESULT, E_OUTPUT.
    """
    if not options.result:
        raise FitkitError("E_USAGE", "no result folder was named; write for example fitkit view out/me-1a2b3c4d")
    from fitkit.export.viewer import viewer_page
    from fitkit.io import atomic_files
    from fitkit.results.integrity import read_content, result_folders
    from fitkit.results.shown.view import VIEWER_FILE, saved_face

    folders = [folder for name in options.result for folder in result_folders(Path(name))]
    faces = []
    for folder in folders[:MOST]:
        if (content := read_content(folder)) is None:
            raise FitkitError("E_RESULT", f"{folder} is no result, or its fit.json is damaged; fit the photo again")
        faces.append(saved_face(folder, content))
    if len(folders) > MOST:
        console.note(f"the page holds the first {MOST} of {len(folders)} results; name fewer to choose")
    path = atomic_files.write_bytes(options.out or folders[0] / VIEWER_FILE, viewer_page(faces))
    if console.level:
        print(visible(str(path)))
    if options.open and not webbrowser.open(path.resolve().as_uri()):
        console.note("no browser could be opened; open the file by hand")
    return 0
