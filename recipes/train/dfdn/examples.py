"""Pictures unwrapped for DFDN: labelled ones by a proxy that is wrong as a fit is, with their truth; photographs by their own fit.

Labelled pictures (kinds `detail` and, without relief, others) are lit anew and worn as those of FineNet's training are. Photographs
(kind `vary`) have no truth: what the appearance loss compares is kept with them.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.color import srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.geometry.camera import to_camera_frame, to_view_frame
from fitkit.geometry.filters import gaussian_blur
from fitkit.labels.drawing import BEFORE
from fitkit.labels.hidden_modes import folded_model
from fitkit.labels.reading import LabelSource, open_labels, source_of
from fitkit.models import heads
from fitkit.models.dfdn.inputs import AROUND, FARTHEST, Appearance, Unwrapped, explain, planes_of, proxy_tables, unwrap
from fitkit.models.dfdn.patches import WINDOW
from fitkit.morphable.model import shape
from fitkit.recipes.train.finenet.data import GAMMA, Crops, open_crops
from fitkit.recipes.train.finenet.labelled_face import HEAD, Pictures, read_face
from fitkit.recipes.train.finenet.lighting import photographed
from fitkit.recipes.train.finenet.wear import worn_photo
from fitkit.recipes.train.richardson_fine.data import COEFFICIENTS, CoarseState, with_coefficients, wrong_state
from fitkit.rendering.shading import sh_basis
from fitkit.rendering.texture import sample_image
from fitkit.types import Camera, MorphableModel

PHOTOGRAPHED = "vary"       # kind of labels that are made of photographs
STREAM = 26                 # of the random numbers of a picture, beside those of other trainings
SPARED = 0.3                # share of pictures that are not worn, beside the clean ones of FineNet's training; chosen, not tuned
DRAWING = 2                 # raised with every change of what is drawn: patches that were kept before are made anew


class Truth(NamedTuple):
    """A labelled picture at the texels of a proxy."""

    planes: Float[np.ndarray, "n n 9"]
    displacement: Float[np.ndarray, "n n"]      # outwards, mm


class Photographed(NamedTuple):
    """A photograph at the texels of its proxy, with what explains it (Eqs. 11 to 14)."""

    planes: Float[np.ndarray, "n n 9"]
    points: Float[np.ndarray, "n n 3"]
    normals: Float[np.ndarray, "n n 3"]
    albedo: Float[np.ndarray, "n n 3"]          # of its fit, times a smooth gain that takes its rendering to the photo
    colour: Float[np.ndarray, "n n 3"]          # linear
    light: Float[np.ndarray, "9 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The pictures of all runs."""

    labelled: Crops
    photographs: tuple[LabelSource, ...]


def open_runs(runs: Sequence[Path], held: Sequence[Path], *, flat: float) -> Runs:
    """Runs of `detail` and others, of which truth is read, and runs of `vary`, of which none is.

    Args:
        runs: to train on.
        held: that are held out; where there are none, the last part of each of `runs` with truth is.
        flat: share of pictures without relief, where there are such.

    Raises:
        FitkitError: as `open_labels` and `open_crops`.
    """
    photographs, labelled = [], []
    for path in runs:
        source = open_labels(path, fields=("picture", "mask", *COEFFICIENTS))
        if source_of(source, 0)["kind"] == PHOTOGRAPHED:
            photographs.append(source)
        else:
            labelled.append(path)
    return Runs(with_coefficients(open_crops(labelled, held, flat=flat)), tuple(photographs))


@functools.cache
def training_head() -> MorphableModel:
    """The head of the labels, folded."""
    return folded_model(heads.load(HEAD))


def labelled_example(pictures: Pictures, number: int, seed: int, *, side: int) -> Truth:
    """A labelled picture, lit anew and worn, on a proxy that is a little wrong; all that is drawn follows from seed and number.

    Args:
        pictures: of `open_runs`.
        number: of the picture, among these.
        seed: of the training.
        side: of a patch, texels.
    """
    rng = np.random.default_rng((seed, number, STREAM))
    face, (run, place) = read_face(pictures, number), pictures.places[number]
    fields = pictures.sources[run][int(place)]
    shown = photographed(rng, face, (slice(None), slice(None)))
    photo = worn_photo(rng, shown.photo) if rng.uniform() >= SPARED else shown.photo
    photo = photo ** np.float32(rng.uniform(*GAMMA))
    # fits of all qualities: of the worst alone a network learns that no shading is to be trusted
    state = wrong_state(rng, CoarseState(*(fields[name] for name in COEFFICIENTS)), face.pixel, share=rng.uniform())
    seen, planes, _ = unwrapped(state, photo, side=side)
    along = jnp.asarray(shown.relief * face.displacement, jnp.float32)
    return Truth(np.asarray(planes), np.asarray(_outwards(along, seen, camera_of(state))))


def photograph(source: LabelSource, number: int, *, side: int) -> Photographed:
    """A photograph of a run, on its own fit; where something stands before the face, no skin is seen."""
    fields = source[number]
    state = CoarseState(*(fields[name] for name in COEFFICIENTS))
    photo = np.where((fields["mask"] & BEFORE)[..., None] > 0, np.nan, fields["picture"] / np.float32(255))
    seen, planes, skin = unwrapped(state, photo, side=side)
    colour, albedo = _compared(seen, skin)
    return Photographed(*map(np.asarray, (planes, seen.points, seen.normals, albedo, colour, skin.light)))


@quick_jit()
def _compared(seen: Unwrapped, skin: Appearance) -> tuple[Array, Array]:
    """Linear colour of the photo, and the albedo times the smooth gain."""
    around, there = AROUND * len(seen.skin) / WINDOW[2], seen.skin
    colour, rendered = srgb_to_linear(seen.colour), skin.albedo * jnp.maximum(sh_basis(seen.normals) @ skin.light, 1e-3)
    ratio = jnp.log(jnp.maximum(colour, 1e-3) / jnp.maximum(rendered, 1e-3)).clip(-FARTHEST, FARTHEST) * there[..., None]
    smooth = gaussian_blur(jnp.moveaxis(ratio, -1, 0), around) / (gaussian_blur(there, around) + 1e-3)
    return colour, skin.albedo * jnp.exp(jnp.moveaxis(smooth, 0, -1))


def unwrapped(state: CoarseState, photo: Float[np.ndarray, "H W 3"], *, side: int
              ) -> tuple[Unwrapped, Float[Array, "n n 9"], Appearance]:
    """A photo on a proxy, the networks' planes, and what explains it."""
    model = training_head()
    tables = proxy_tables(model, side)
    vertices = _shape(model, jnp.asarray(state.identity, jnp.float32), jnp.asarray(state.expression, jnp.float32))
    seen = unwrap(model, tables, vertices, camera_of(state), jnp.asarray(photo, jnp.float32))
    skin = explain(model, tables, seen)
    return seen, planes_of(seen, skin), skin


def camera_of(state: CoarseState) -> Camera:
    """Its camera."""
    names = ("focal", "principal", "rotation", "translation")
    return Camera(**{name: jnp.asarray(getattr(state, name), jnp.float32) for name in names}, perspective=True)


@quick_jit()
def _outwards(along: Float[Array, "H W"], seen: Unwrapped, camera: Camera) -> Float[Array, "n n"]:
    """Displacement along the depth as one along the normals of the texels that see it."""
    towards, at = to_view_frame(camera, seen.normals), to_camera_frame(camera, seen.points)
    x, y = (at[..., i] / jnp.maximum(at[..., 2], 1.0) for i in range(2))
    return sample_image(along[..., None], seen.pixels)[..., 0] * (towards[..., 0] * x - towards[..., 1] * y - towards[..., 2])


_shape = quick_jit()(shape)
