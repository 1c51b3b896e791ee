"""`fitkit eval ablation`: reads the options, fits photos with one term left out at a time (`fitkit.evaluation.ablation`)."""

import dataclasses
import json
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration, device
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import General, Words
from fitkit.errors import FitkitError
from fitkit.io import atomic_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalAblation:
    """Ablation of recipe ganfit on your photos: leave out one term at a time and see what it brings (GANFIT, Fig. 5).

    The table gives identity similarity, the cosine between photo and rendering by an identity network. The network that the fit
    uses overrates its own fits: import another with `fitkit assets import identity` and name it with --judge.

    Examples:
      fitkit eval ablation photos/ --sheet ablation.png
      fitkit eval ablation photos/ --judge arcface --variants "all terms" "linear texture" inverse_rendering
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO...", help_behavior_hint="")] = ()
    """Photos, folders, quoted globs, lists (.txt, .csv, .parquet); the largest face of each is fitted."""
    judge: Annotated[str, arg(metavar="NAME")] = "embedded"
    """Identity network that measures similarity."""
    variants: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="")] = ()
    """Which variants, by their names in the table. By default all of them, which takes minutes per photo."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of recipe ganfit in all variants."""
    sheet: Annotated[str | None, arg(metavar="FILE.png", help_behavior_hint="")] = None
    """Write a picture with a row for each photo: the photo, then the variants."""
    json: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the measures of every fit to this file."""
    general: OmitArgPrefixes[General] = General()


def run_ablation(options: EvalAblation, console: Console) -> int:
    """Fit photos with one term left out at a time, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_FIELD, E_DATA (no such identity network), E_OUTPUT, E_NOFILE.
    """
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit eval ablation photos/ --sheet ablation.png")
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.batch.sources import Failure, find_sources
    from fitkit.evaluation import ablation
    from fitkit.io import images
    from fitkit.models.identity.network import load_identity

    for name in options.variants:
        configuration.check_choice(name, ablation.VARIANTS, code="E_USAGE", what="variant")
    variants = options.variants or tuple(ablation.VARIANTS)
    judge, fields = load_identity(name=options.judge), configuration.parse_assignments(options.set)
    failed: list[str] = []

    def on_failure(error: FitkitError, name: str) -> None:
        failed.append(name)
        console.error(error.code, error.message)

    photos = []
    for source in find_sources(options.photo):
        if isinstance(source, Failure):
            on_failure(source.error, source.path)
        else:
            photos.append(source.path)
    with progress_line(console, len(photos) * len(variants)) as (_, on_progress):
        found, crops = ablation.run(photos, judge, fields, variants=variants, on_progress=on_progress, on_failure=on_failure)
    if found:
        print(ablation.table(found))
    if options.sheet and found:
        images.write_image(options.sheet, ablation.sheet(found, crops))
    if options.json:
        record = {"judge": options.judge, "fields": fields, "fits": [ablation.to_record(fit) for fit in found]}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    return 1 if failed else 0
