"""The one texture of a person's several photos, and larger textures than 1024 texels: from fits to maps.

In: the fits of a person's photos, of one identity and albedo (`FitResult`). Out: the albedo map that all of them share, and the
mask of what they saw of the face. `uv/joined_photos.py` joins the photos, `uv/fine_texture.py` enlarges the map.
"""

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from fitkit.color import quantize, srgb_to_linear
from fitkit.geometry.camera import project
from fitkit.results.pictures import seen_texels
from fitkit.uv.fine_texture import FineView, enlarged_texture
from fitkit.uv.joined_photos import JoinedPhotos, join_photos
from fitkit.uv.layout import SeenTexels, layout_of
from fitkit.uv.unwrap import completed_albedo

if TYPE_CHECKING:
    from fitkit.results.result import FitResult


class SharedTexture(NamedTuple):
    """The texture of a person's photos."""

    albedo: UInt8[np.ndarray, "1024 1024 3"]      # sRGB
    seen: UInt8[np.ndarray, "1024 1024"]          # 255 where a photo is taken in full for the face, 0 where none is


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """The fits of one person's photos, or of one; what they share is made once, on first use."""

    fits: tuple["FitResult", ...]

    @cached_property
    def texture(self) -> SharedTexture:
        """The texture of the photos that were fitted well, or of all where none was."""
        first = self._good[0]
        generated = None if first.skin is None else srgb_to_linear(jnp.asarray(first.skin.astype(np.float32) / 255))
        made = completed_albedo(self._joined.seen, layout_of(first.model), generated=generated, model_share=first.model_share())
        albedo, seen = (quantize(np.asarray(each), np.uint8) for each in (made.albedo, self._joined.weight))
        return SharedTexture(albedo=albedo, seen=seen)

    def enlarged(self, albedo: Float[np.ndarray, "1024 1024 3"], *, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """An albedo map with `size` texels a side: above 1024 of them it is the detail of the photo that sees a place best."""
        weight = np.asarray(self._joined.weight)
        views = []
        for fit, seen, share in zip(self._good, self._texels, self._joined.shares, strict=True):
            position = seen.texels.position
            views.append(FineView(photo=fit.photo.pixels, pixels=np.asarray(project(fit.camera, position)[0]),
                                  share=np.asarray(share) * weight, position=np.asarray(position)))
        return enlarged_texture(albedo, views, size=size)

    @cached_property
    def _good(self) -> tuple["FitResult", ...]:
        return tuple(fit for fit in self.fits if fit.status == "converged") or self.fits

    @cached_property
    def _texels(self) -> list[SeenTexels]:
        return [seen_texels(fit.model, fit.parameters, fit.camera, fit.photo.pixels, relief=fit.relief) for fit in self._good]

    @cached_property
    def _joined(self) -> JoinedPhotos:
        scales = [float(fit.camera.focal / fit.camera.translation[2]) for fit in self._good]
        return join_photos(self._texels, scales, layout_of(self._good[0].model))


def of_one_person(results: list["FitResult"]) -> list["FitResult"]:
    """Fits of one person's photos, which then share one texture; a single one keeps its own."""
    if len(results) < 2:
        return results
    person = Person(fits=tuple(results))
    return [dataclasses.replace(result, person=person, shares_texture=True) for result in results]
