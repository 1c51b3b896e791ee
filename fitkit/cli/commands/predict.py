"""Options of `fitkit predict`: a run as `fitkit fit` makes one, with a recipe that sees faces by a network; `fit.py` runs it."""

import dataclasses
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit.cli.general_options import Flag, General, Words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict:
    """See the face of each photo by a network, without landmarks, and write the same result folders as `fitkit fit`.

    A network tells pose, shape and expression from the pixels in milliseconds; light and skin follow in closed form. The points
    in fit.json are then the network's own, and say so. --refine goes on from there by steps of recipe inverse_rendering.

    Examples:
      fitkit predict me.jpg                          one photo; the result goes to a folder in out/
      fitkit predict photos/ --out faces             every photo of a directory
      fitkit predict me.jpg --refine 3               three steps nearer to the photo
      fitkit predict me.jpg --focal 1200             a known lens: the distance follows

    The same command goes on where it was stopped. Exit status: 0 fine, 1 some photos failed, 2 usage, 3 missing data, 4 device, 5
    output not writable.
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, directories of photos, globs in quotes, manifests (.txt, .csv, .parquet), or - for a list on standard input."""
    recipe: Literal["3dfacenet", "coarsenet", "df2net", "dfdn", "richardson"] = "3dfacenet"
    """Which networks: coarsenet for the head, 3dfacenet for its wrinkles, too; dfdn sees those on its UV map; df2net moves it to a
    depth map; richardson looks four times. `fitkit recipes NAME` explains them."""
    refine: Annotated[int, arg(metavar="STEPS")] = 0
    """Levenberg-Marquardt steps from what the network sees: the first stage of recipe inverse_rendering."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. The networks know fitkit's own; another is laid onto what they see. `fitkit heads` lists them."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "out"
    """Directory for the results, one folder per face, and the ledger of the run."""
    faces: Literal["largest", "all"] = "largest"
    """Which faces of a photo; with `all`, folders end in -face1, -face2."""
    same_person: Flag = False
    """All photos show one person: one identity and skin for all of them."""
    size: Annotated[int, arg(metavar="PIXELS")] = 224
    """Side of the square crop that light, skin and refinement work on; even, at least 64. The network has a size of its own."""
    focal: Annotated[float | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Focal length in pixels of the photo. By default from EXIF, or else that of a portrait."""
    camera: Annotated[str | None, arg(metavar="FX,FY,CX,CY|FILE", help_behavior_hint="")] = None
    """Known camera, as of `fitkit fit`: K, and distortion, which is taken off the photo; R and t place the head in space."""
    outputs: Annotated[str, arg(metavar="LIST")] = "all"
    """What to write, separated by commas: params, mesh, pictures, all (these three); viewer (viewer.html), rig (GLB with joints),
    vrm (VRM 1.0), usd (USDZ), print (closed STL), occlusion (ambient occlusion, in mesh.glb, too). fit.json is always written."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of the recipe. `fitkit recipes NAME` lists its fields and their defaults."""
    json: Flag = False
    """Write one JSON object per face to standard output, and nothing else there."""
    dry_run: Flag = False
    """Print what would be done, and do nothing."""
    overwrite: Flag = False
    """Predict again and replace existing results."""
    workers: Annotated[int, arg(metavar="NUMBER")] = 1
    """Processes that predict, each with a compiled program and 1 to 2 GB of memory."""
    limit: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Look at the first so many photos only."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = 120.0
    """Work on one photo that counts as hanging; it is given up, and the others go on. Compiling does not count."""
    general: OmitArgPrefixes[General] = General()
