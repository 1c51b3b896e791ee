"""`fitkit unwrap`: fits photos and writes their completed UV albedo maps, a PNG for each photo, to train a texture generator on.

Visible skin and the hair of the scalp come from the photo, hidden skin from the mirrored side, the rest from the model
(`fitkit.uv`). The fit is `fitkit.fit`; `python -m fitkit.recipes.train.texture_generator --maps` reads the maps.
"""

import dataclasses
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

import fitkit
from fitkit import configuration, device
from fitkit.cli.console import Console, Outcome, exit_status, failed_outcome, progress_line, summary
from fitkit.cli.general_options import Flag, General
from fitkit.errors import FitkitError

if TYPE_CHECKING:
    from fitkit.batch.sources import Source

SIZES = (64, 128, 256, 512, 1024)      # texels a side: what the generator trains on, up to the size of a fit's texture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unwrap:
    """Fit photos and write their skin colour (albedo) as UV maps, a PNG for each photo, to train a texture generator on.

    Visible skin comes from the photo, hidden skin from the other half of the face, the rest from the model. A photo whose fit is
    doubtful gives no map, because the map would teach errors. Existing maps are kept.

    Examples:
      fitkit unwrap photos/ --out maps
      python -m fitkit.recipes.train.texture_generator --maps maps --out run
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, folders, quoted globs, lists (.txt, .csv, .parquet; - for standard input); the largest face of each is used."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "maps"
    """Directory for the maps, NAME-HASH.png."""
    size: Annotated[int, arg(metavar="TEXELS")] = 512
    """Side of the square maps: 64, 128, 256, 512 or 1024."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """Recipe: how to fit. `fitkit recipes` lists and explains them."""
    overwrite: Flag = False
    """Fit again and replace existing maps."""
    general: OmitArgPrefixes[General] = General()


def run_unwrap(options: Unwrap, console: Console) -> int:
    """Unwrap every photo of `options` and return the exit status; one bad photo never stops the others.

    Raises:
        FitkitError: E_USAGE, E_RECIPE, E_DEVICE: errors that would stop every photo.
    """
    started = time.perf_counter()
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit unwrap photos/ --out maps")
    if options.size not in SIZES:
        raise FitkitError("E_USAGE", f"--size takes one of {', '.join(map(str, SIZES))} texels, not {options.size}")
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.batch.sources import Failure, find_sources
    from fitkit.recipes import RECIPES

    configuration.check_choice(options.recipe, RECIPES, code="E_RECIPE", what="recipe")
    sources, outcomes = list(find_sources(options.photo)), []
    with progress_line(console, len(sources)) as (live, on_progress):
        for source in sources:
            on_progress(Path(source.path).name)
            if isinstance(source, Failure):
                outcomes.append(failed_outcome(source.error, source.path))
            else:
                outcomes.append(_unwrap(source, options))
            live.outcome(outcomes[-1])
            on_progress(None)
    console.note(summary(Counter(outcome.status for outcome in outcomes), time.perf_counter() - started))
    return exit_status(outcomes)


def _unwrap(source: "Source", options: Unwrap) -> Outcome:
    """Fit one photo and write its map, unless the map exists."""
    started, photo = time.perf_counter(), source.path
    try:
        from fitkit.results.save import result_name

        path = Path(options.out) / f"{result_name(photo, None)}.png"
        if path.exists() and not options.overwrite:
            return Outcome(photo=str(photo), status="kept", folder=str(path))
        result = fitkit.fit(photo, recipe=options.recipe, **source.known())
        if result.status == "doubtful":
            raise FitkitError("E_NOFACE", f"the fit of {photo} is doubtful ({result.reason}), and its map would teach errors;"
                              " leave the photo out")
        _write(path, result, options.size)
    except Exception as error:
        return failed_outcome(error, str(photo), seconds=time.perf_counter() - started)
    return Outcome(photo=str(photo), status=result.status, folder=str(path), seconds=time.perf_counter() - started)


def _write(path: Path, result: "fitkit.FitResult", size: int) -> None:
    import numpy as np

    from fitkit.io.images import write_image

    texture = result.texture
    if texture is None:
        raise FitkitError("E_RESULT", f"the recipe {result.recipe} gives no texture; choose another with --recipe")
    block = len(texture) // size
    means = texture.reshape(size, block, size, block, 3).mean(axis=(1, 3), dtype=np.float32)
    write_image(path, np.rint(means).astype(np.uint8))
