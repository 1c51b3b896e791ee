"""What each term of GANFIT brings (Gecer et al. 2019, Fig. 5): photos fitted with all terms, then with one left out at a time.

    photos -> a fit in each variant (api) -> identity similarity, colour and landmark errors -> table, sheet of pictures

Two more variants: the linear albedo model in place of the texture generator, and stage 1 of `inverse_rendering`.
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

# name -> recipe and the fields that differ from its defaults
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
VISIBLE = 1e-3      # difference from the background, sRGB, above which a pixel shows the head


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariantFit:
    """One photo in one variant."""

    photo: str
    variant: str
    similarity: float        # cosine between the embeddings of photo and rendering
    colour: float            # mean absolute difference, sRGB, where the rendering shows the head
    points: float            # mean distance of fitted to detected landmarks, in outer-eye distances
    seconds: float
    picture: Float[np.ndarray, "320 320 3"]


def run(
    photos: Sequence[Path], judge: Identity, fields: Mapping[str, Any], *, variants: Sequence[str] = tuple(VARIANTS),
    on_progress: Callable[[str | None], Any] = lambda name: None,
    on_failure: Callable[[FitkitError, str], Any] = lambda error, name: None,
) -> tuple[list[VariantFit], dict[str, np.ndarray]]:
    """Fit every photo in every variant.

    Args:
        photos: image files.
        judge: network that measures identity similarity; it favours fits that were made with it or with a relative of it.
        fields: of recipe `ganfit`, for all its variants.
        variants: names of `VARIANTS`.
        on_progress: called with each fit's name when it begins and with None when it ends, `len(photos) * len(variants)` times.
        on_failure: called with the error of a photo that could not be fitted, and its name.

    Returns:
        the fits; the photos' crops by name.
    """
    found: list[VariantFit] = []
    crops: dict[str, np.ndarray] = {}
    for variant in variants:
        recipe, changed = VARIANTS[variant]
        for path in photos:
            on_progress(f"{variant}: {path.name}")
            try:
                result = api.fit(path, recipe=recipe, **({**fields, **changed} if recipe == "ganfit" else changed))
            except FitkitError as error:
                if error.exit_status != 1:
                    raise
                on_failure(error, path.name)
            else:
                crops[path.name] = identity_similarity.photo_crop(result)
                found.append(measure(result, path.name, variant, judge, crops[path.name]))
            on_progress(None)
    return found, crops


def measure(result: FitResult, photo: str, variant: str, judge: Identity, crop: np.ndarray) -> VariantFit:
    """Measure one fit against its photo, whose crop is given."""
    picture = identity_similarity.rendered_crop(result)
    head = np.abs(picture - identity_similarity.BACKGROUND).max(-1) > VISIBLE
    return VariantFit(
        photo=photo, variant=variant, similarity=identity_similarity.similarity(judge, result), picture=picture,
        colour=float(np.abs(picture - crop)[head].mean()), seconds=float(result.timings["fit"]),
        points=float(fit_quality.landmark_error(result.landmarks_fitted, result.landmarks_detected)))


def to_record(fit: VariantFit) -> dict[str, Any]:
    """What the JSON file says of one fit."""
    return {"photo": fit.photo, "variant": fit.variant, "likeness": fit.similarity, "colour": fit.colour, "points": fit.points,
            "seconds": fit.seconds}


def table(found: Sequence[VariantFit]) -> str:
    """The printed table: means over photos, a row per variant, and for how many photos similarity falls without the term."""
    rows = [f"{'':20s} similarity (least)  falls for  colour   points  s/photo"]
    names = list(dict.fromkeys(each.variant for each in found))
    whole = {each.photo: each.similarity for each in found if each.variant == names[0]}
    for name in names:
        fits = [each for each in found if each.variant == name]
        lower = sum(each.similarity < whole.get(each.photo, -1.0) for each in fits)
        mean = {field: float(np.mean([getattr(each, field) for each in fits])) for field in ("similarity", "colour", "points")}
        seconds = float(np.median([each.seconds for each in fits]))
        falls = "" if name == names[0] else f"{lower}/{len(fits)}"
        rows.append(f"{name:20s}  {mean['similarity']:6.3f}   ({min(each.similarity for each in fits):6.3f})  {falls:>9s}  "
                    f"{mean['colour']:6.4f}  {100 * mean['points']:5.2f} %  {seconds:7.1f}")
    return "\n".join(rows)


def sheet(found: Sequence[VariantFit], crops: Mapping[str, np.ndarray]) -> Float[np.ndarray, "h w 3"]:
    """A row per photo: the photo, then its variants in the table's order; white where a fit failed."""
    names = list(dict.fromkeys(each.variant for each in found))
    by_place = {(each.photo, each.variant): each.picture for each in found}
    blank = np.ones((identity_similarity.SIDE, identity_similarity.SIDE, 3), np.float32)
    return np.concatenate([np.concatenate([crop, *(by_place.get((photo, name), blank) for name in names)], 1)
                           for photo, crop in crops.items()], 0)
