"""Pictures of people with wrinkles, path-traced, and what is true of each of their pixels: slopes of relief, and depth.

    seed, yaw -> person (ICT-FaceKit's) with drawn wrinkles -> picture by Mitsuba and its truth, kept in a folder -> WrinkledPicture

The relief is that of kind `wrinkled` of the synthetic benchmark; a picture shows it at about 0.4 mm a pixel.
"""

import dataclasses
import io
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from fitkit.evaluation.synthetic import benchmark, kinds, rasterized_scene, subjects
from fitkit.evaluation.synthetic.kinds import Kind
from fitkit.evaluation.synthetic.populations import Population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio, scene_parts
from fitkit.evaluation.synthetic.subjects import Person, View
from fitkit.geometry.camera import project
from fitkit.io import atomic_files
from fitkit.rendering.rasterizer import interpolate, rasterize

STUDIO = Studio(width=768, height=1024, samples=32)      # the noise of 16 paths a pixel hides wrinkles
WRINKLED = kinds.parse("wrinkled")
DEEP, LEVEL = 0.1, 0.02     # mm: relief from which a pixel is in a wrinkle, and up to which it is flat
APART = 6.0                 # mm that flat skin keeps from all relief
ALLOWED = 0.9               # share of relief from which skin counts as foldable
SMOOTH = 8.0                # mm, deviation of the mean that is taken off slopes; as in the measurements of stage 2
FACING = 0.4                # least cosine between a counted normal and the line of sight: silhouettes have no slopes


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrinkledPicture:
    """One picture and its truth."""

    path: Path
    person: Person
    view: View
    population: Population
    relief: Float[np.ndarray, "h w 2"]        # slopes (right and up) that the wrinkles add, less their mean nearby
    depth: Float[np.ndarray, "h w"]           # camera z, mm; 0 beside the person
    skin: Bool[np.ndarray, "h w"]             # foldable skin that faces the camera
    wrinkled: Bool[np.ndarray, "h w"]         # skin in a wrinkle
    flat: Bool[np.ndarray, "h w"]             # skin far from any

    @property
    def pixels_per_mm(self) -> float:
        """At the depth of the face."""
        return float(self.view.camera.focal / np.median(self.depth[self.skin]))


def picture(
    population: Population, cache: Path, seed: int, yaw: int, *, kind: Kind = WRINKLED, studio: Studio = STUDIO
) -> WrinkledPicture:
    """The picture of a seed's person at `yaw` degrees, made where the cache has none.

    Raises:
        FitkitError: E_DATA (Mitsuba), E_OUTPUT.
    """
    folder = benchmark.picture_folder(cache, population, studio, kind=kind)
    person, view = subjects.person(population, seed), subjects.view(seed, yaw, studio.width, studio.height)
    paint = SkinPaint(kind, population, seed, None)
    path = benchmark.ensure_picture(paint, person, view, studio, folder)
    kept = path.with_name(f"{path.stem}-truth.npz")
    if not kept.is_file():
        file = io.BytesIO()
        arrays: dict[str, Any] = _truth(paint, person, view, studio)
        np.savez_compressed(file, **arrays)
        atomic_files.write_bytes(kept, file.getvalue())
    with np.load(kept, allow_pickle=False) as stored:
        return WrinkledPicture(
            path=path, person=person, view=view, population=population, relief=stored["relief"].astype(np.float32),
            depth=stored["depth"], skin=stored["skin"], wrinkled=stored["wrinkled"], flat=stored["flat"])


def _truth(paint: SkinPaint, person: Person, view: View, studio: Studio) -> dict[str, np.ndarray]:
    """The arrays of a `WrinkledPicture`; slopes in half precision, which errs by less than a twentieth of a degree."""
    unpainted = dataclasses.replace(paint, kind=dataclasses.replace(paint.kind, skin="plain"))      # colours are not looked at
    (normals, depth, skin), (smooth, *_) = (rasterized_scene.surface_maps(
        scene_parts(each, person, view, studio, np.random.default_rng(0)), view, studio)
        for each in (unpainted, dataclasses.replace(unpainted, level=True)))
    place = _on_embedded(paint.population, person, view, studio)
    height = paint.relief(place.reshape(-1, 4)).reshape(place.shape[:2])
    skin = skin & (place[..., 3] > ALLOWED) & (normals[..., 2] > FACING)
    pixels_per_mm = float(view.camera.focal / np.median(depth[skin]))
    away = scipy.ndimage.distance_transform_edt(np.abs(height) <= LEVEL) > APART * pixels_per_mm
    relief = added_slopes(normals, smooth, skin, pixels_per_mm)
    return {"relief": relief.astype(np.float16), "depth": depth.astype(np.float32), "skin": skin,
            "wrinkled": skin & (np.abs(height) > DEEP), "flat": skin & away}


def _on_embedded(population: Population, person: Person, view: View, studio: Studio) -> Float[np.ndarray, "h w 4"]:
    """`Population.on_embedded` of what each pixel shows of the face, without relief; 0 beside it."""
    skin = next(part for part in population.parts if part.paint == "skin")
    triangles = jnp.asarray(skin.triangles)
    pixels, depth = project(view.camera, jnp.asarray(person.vertices[skin.rows], jnp.float32))
    seen = rasterize(pixels, depth, triangles, height=studio.height, width=studio.width)
    values = jnp.asarray(population.on_embedded[skin.rows], jnp.float32)
    return np.asarray(interpolate(seen, pixels, depth, triangles, values, perspective=True), np.float64)


def added_slopes(
    normals: Float[np.ndarray, "h w 3"], smooth: Float[np.ndarray, "h w 3"], skin: Bool[np.ndarray, "h w"], pixels_per_mm: float
) -> Float[np.ndarray, "h w 2"]:
    """Slopes (right and up) of a surface less those of the same surface without relief, and less their mean within `SMOOTH` mm.

    The mean is the form of the face, which no relief is. Unit normals of the view frame; 0 beside the skin that both show.
    """
    there = skin & (normals[..., 2] > FACING / 2) & (smooth[..., 2] > FACING / 2)
    slopes = [np.where(there[..., None], each[..., :2] / np.where(there, each[..., 2], 1.0)[..., None], 0.0)
              for each in (normals, smooth)]
    added = slopes[0] - slopes[1]
    blurred = scipy.ndimage.gaussian_filter(added, (*[SMOOTH * pixels_per_mm] * 2, 0))
    return np.where(there[..., None], added - blurred, 0.0)
