"""Fits of the photos that labels are made of, kept in the run: `RUN/fits/NAME`, results as `fitkit fit` writes them.

A run that goes on, and another process of it, loads what is there, and makes the same bytes of it.
"""

from pathlib import Path

from fitkit import api
from fitkit.errors import FitkitError
from fitkit.io.images import Photo, read_image
from fitkit.results.result import FitResult
from fitkit.results.save import result_name

FITS = "fits"                       # folder of a run
OUTPUTS = "params,pictures"         # what labels are made of, and what a user looks at


def kept_fit(path: Path, run: str | Path, *, head: str) -> tuple[FitResult, Photo]:
    """The fit of a photo's largest face, made unless the run has it; and the photo.

    Args:
        path: of the photo.
        run: folder of the run.
        head: morphable head, as `fitkit.load_head` names it.

    Raises:
        FitkitError: as `api.fit` and `api.load`; E_OUTPUT.
    """
    photo = read_image(path)
    folder = Path(run) / FITS / result_name(photo, None)
    if not folder.is_dir():
        try:
            api.fit(path, head=head).save(folder, outputs=OUTPUTS)
        except FitkitError as error:
            if error.code != "E_EXISTS":        # another process of the run has fitted it meanwhile
                raise
    return api.load(folder, head=head), photo
