"""What each term of GANFIT brings (Gecer et al. 2019, Fig. 5): every photo fitted with all terms, then with one left out at a time.

    photos -> fits of each variant (api) -> likeness to the photo, colour and point errors -> table, sheet

Beside them stand the linear texture in place of the generator's, and stage 1 of `inverse_rendering`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitkit import api
from fitkit.errors import FitkitError
from fitkit.evaluation import identity_similarity
from fitkit.models.identity.network import Identity
from fitkit.results import fit_quality
from fitkit.results.result import FitResult

VARIANTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "all terms": ("ganfit", {}),
    "no identity loss": ("ganfit", {"weight_identity": 0.0}),
    "no second rendering": ("ganfit", {"weight_second": 0.0}),
    "no content loss": ("ganfit", {"weight_content": 0.0}),
    "no network at all": ("ganfit", {"weight_identity": 0.0, "weight_second": 0.0, "weight_content": 0.0}),
    "no pixel loss": ("ganfit", {"weight_pixel": 0.0}),
    "no landmark loss": ("ganfit", {"weight_landmark": 0.0}),
    "linear texture": ("ganfit", {"texture": "linear"}),
    "inverse_rendering": ("inverse_rendering", {"stages": 1}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """One photo in one variant."""

    photo: str
    variant: str
    likeness: float          # cosine of the embeddings of photo and rendering
    colour: float            # mean absolute difference of sRGB where the rendering shows the head
    points: float            # distance of fitted and detected points, shares of the outer-eye distance
    seconds: float
    picture: Float[np.ndarray, "320 320 3"]


def run(
    photos: Sequence[Path], judge: Identity, fields: Mapping[str, Any], *, variants: Sequence[str] = tuple(VARIANTS),
    turn: Callable[[str | None], Any] = lambda name: None, fail: Callable[[FitkitError, str], Any] = lambda error, name: None,
) -> tuple[list[Fitted], dict[str, np.ndarray]]:
    """Fit every photo in every variant.

    Args:
        photos: image files.
        judge: measures the likeness; the more strictly the less it has to do with the network of the fit.
        fields: of recipe `ganfit`, for all its variants.
        variants: names of `VARIANTS`.
        turn: told what is being done, and None when it is done; `len(photos) * len(variants)` times.
        fail: told why a photo has no part, and its name.

    Returns:
        the fits; the photos' windows by name.
    """
    found: list[Fitted] = []
    windows: dict[str, np.ndarray] = {}
    for variant in variants:
        recipe, changed = VARIANTS[variant]
        for path in photos:
            turn(f"{variant}: {path.name}")
            try:
                result = api.fit(path, recipe=recipe, **({**fields, **changed} if recipe == "ganfit" else changed))
            except FitkitError as error:
                if error.exit_status != 1:
                    raise
                fail(error, path.name)
            else:
                windows[path.name] = identity_similarity.shown(result)
                found.append(measure(result, path.name, variant, judge, windows[path.name]))
            turn(None)
    return found, windows


def measure(result: FitResult, photo: str, variant: str, judge: Identity, window: np.ndarray) -> Fitted:
    """One fit beside its photo."""
    picture = identity_similarity.rendered(result)
    head = np.abs(picture - identity_similarity.GROUND).max(-1) > 1e-3
    return Fitted(
        photo=photo, variant=variant, likeness=identity_similarity.likeness(judge, result), picture=picture,
        colour=float(np.abs(picture - window)[head].mean()), seconds=float(result.timings["fit"]),
        points=float(fit_quality.landmark_error(result.landmarks_fitted, result.landmarks_detected)))


def table(found: Sequence[Fitted]) -> str:
    """The printed table: means over photos, one row per variant, and of how many photos likeness fell without the term."""
    rows = [f"{'':20s} likeness   (least)  falls for  colour   points  s/photo"]
    names = list(dict.fromkeys(each.variant for each in found))
    whole = {each.photo: each.likeness for each in found if each.variant == names[0]}
    for name in names:
        fits = [each for each in found if each.variant == name]
        lower = sum(each.likeness < whole.get(each.photo, -1.0) for each in fits)
        mean = {field: float(np.mean([getattr(each, field) for each in fits])) for field in ("likeness", "colour", "points")}
        seconds = float(np.median([each.seconds for each in fits]))
        falls = "" if name == names[0] else f"{lower}/{len(fits)}"
        rows.append(f"{name:20s}  {mean['likeness']:6.3f}   ({min(each.likeness for each in fits):6.3f})  {falls:>9s}  "
                    f"{mean['colour']:6.4f}  {100 * mean['points']:5.2f} %  {seconds:7.1f}")
    return "\n".join(rows)


def sheet(found: Sequence[Fitted], windows: Mapping[str, np.ndarray]) -> Float[np.ndarray, "h w 3"]:
    """A row per photo: the photo, then each variant in the table's order."""
    names = list(dict.fromkeys(each.variant for each in found))
    by_place = {(each.photo, each.variant): each.picture for each in found}
    blank = np.ones((identity_similarity.SIDE, identity_similarity.SIDE, 3), np.float32)
    return np.concatenate([np.concatenate([window, *(by_place.get((photo, name), blank) for name in names)], 1)
                           for photo, window in windows.items()], 0)
