"""Labels of kind `detail` (Guo et al. 2018, Section VIII-A): relief carried to faces, which are rendered anew under several lights.

A target is a labelled picture, here of a random person; `wrinkled` takes any record. Relief comes from `relief/sources.py`;
Eq. 18 brings it to the picture's pixels, depth and normals follow it, and the picture is made of them. `LIGHTS` pictures in a row
are of one person and relief, each under a light of its own.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fitkit.errors import FitkitError
from fitkit.geometry.depth_maps import differences, displaced_normals, sight_lines
from fitkit.labels.drawing import BEFORE, FACE
from fitkit.labels.record import MAPS, Record
from fitkit.labels.rerendering import render_record
from fitkit.labels.shards import Make
from fitkit.morphable.model import shape
from fitkit.recipes.synthesize.labels.random import RandomConfig, RandomLabels
from fitkit.recipes.synthesize.relief.sources import DrawnRelief, ReliefSources, draw_relief, relief_sources
from fitkit.recipes.synthesize.relief.transfer import SCALE, along_depth, transfer
from fitkit.recipes.synthesize.textures.paint import FOLD_SHARE, FOLDS
from fitkit.rendering.texture import sample_texture
from fitkit.types import Camera, MorphableModel

# Chosen, not tuned
LIGHTS = 4                  # pictures of a person
HEAD = "makehuman"          # the head whose UV the relief is in
STREAM = 18                 # of a person's random numbers, beside those of other kinds


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetailConfig(RandomConfig):
    """What a run of detail labels is made of.

    Attributes:
        head: the embedded head, whose UV relief is drawn in.
        size: side of the pictures, pixels.
        seed: of everything drawn.
        skins: folder of MakeHuman's skins, for painted textures and for relief by "dark is deep"; None for neither.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class DetailLabels(RandomLabels):
    """Makes detail labels: `records(numbers)`.

    Attributes:
        photos: reliefs of photos (`relief/photos.py`), to be carried to random people.
    """

    photos: Sequence[Float[np.ndarray, "S S"]] = ()

    @functools.cached_property
    def sources(self) -> ReliefSources:
        """Where the relief comes from.

        Raises:
            FitkitError: E_HEAD, the head has another UV than the relief; those of `relief_sources`.
        """
        if self.unfolded.name != HEAD:
            raise FitkitError("E_HEAD", f"relief is drawn on the head {HEAD}, not on {self.config.head}; leave --head away")
        return relief_sources(skins=self.config.skins, photos=self.photos)

    def person(self, number: int) -> int:
        """One person under `LIGHTS` lights."""
        return number // LIGHTS

    def completed(self, records: list[Record]) -> list[Record]:
        """The records with relief."""
        made = []
        for record in records:
            person = self.person(record.source["number"])
            drawn, scale, darkening = _relief(self, person, record.identity.tobytes(), record.expression.tobytes())
            made.append(wrinkled(self.model, record, drawn, scale=scale, darkening=darkening))
        return made


@functools.lru_cache(maxsize=4)
def _relief(labels: DetailLabels, person: int, identity: bytes, expression: bytes) -> tuple[DrawnRelief, float, float]:
    """A person's relief, s_d, and how much its shade darkens; coefficients as bytes, so that they can be kept for all lights."""
    rng, model = np.random.default_rng((labels.config.seed, person, STREAM)), labels.model
    face, smile = (jnp.asarray(np.frombuffer(each, np.float32)) for each in (identity, expression))
    rest, moved = (np.asarray(_shape(model, face, weights), np.float64) for weights in (jnp.zeros_like(smile), smile))
    drawn = draw_relief(rng, labels.sources, rest, moved, np.asarray(model.triangles))
    return drawn, float(rng.uniform(*SCALE)), float(rng.uniform(*FOLDS))


_shape = jax.jit(shape)


def wrinkled(model: MorphableModel, record: Record, relief: DrawnRelief, *, scale: float, darkening: float) -> Record:
    """A record with relief: displacement, depth, normals, albedo and picture; what stands before the face stays.

    Args:
        model: the folded head of the record.
        record: of a face without relief, or with its own (d_t of Eq. 18).
        relief: to be carried to it, in the head's UV.
        scale: s_d.
        darkening: change of log albedo where the relief's shade is 1.
    """
    maps = dict(record.maps)
    own = record.dense("displacement") if "displacement" in maps else np.zeros(record.mask.shape, np.float32)
    smooth_depth = record.dense("depth") - own
    arrays = jax.tree.map(jnp.asarray, (record.dense("uv"), record.dense("normals"), smooth_depth, own, record.mask & FACE > 0,
                                        record.camera, relief.heights, relief.shade))
    displacement, normals, shade = jax.tree.map(np.asarray, _carried(*arrays, scale))
    tint = np.exp(-darkening * shade[record.head][:, None] * np.array(FOLD_SHARE))
    displacement = np.where(record.head, displacement, 0)
    new = {"displacement": displacement, "normals": normals, "depth": smooth_depth + displacement}
    maps |= {name: values[record.head].astype(MAPS[name][0]) for name, values in new.items()}
    maps["albedo_map"] = np.rint(maps["albedo_map"] * tint).astype(MAPS["albedo_map"][0])
    source = {**record.source, "kind": "detail", "relief": relief.source, "relief_scale": scale}
    made = dataclasses.replace(record, maps=maps, source=source)
    shown = record.head & (record.mask & BEFORE == 0)
    return dataclasses.replace(made, picture=np.where(shown[..., None], render_record(model, made), record.picture))


@jax.jit
def _carried(uv: Float[Array, "H W 2"], normals: Float[Array, "H W 3"], depth: Float[Array, "H W"], own: Float[Array, "H W"],
             face: Bool[Array, "H W"], camera: Camera, heights: Float[Array, "S S"], shade: Float[Array, "S S"],
             scale: Float[Array, ""]) -> tuple[Array, Array, Array]:
    """Displacement as it is stored, normals that follow it, and the relief's shade at the pixels."""
    planes = jnp.moveaxis(normals, -1, 0)
    lines = sight_lines(camera, height=depth.shape[0], width=depth.shape[1])
    cosine = lines[0] * planes[0] - lines[1] * planes[1] - planes[2]
    here = sample_texture(jnp.stack([heights, shade], axis=-1), uv)
    carried, facing = along_depth(here[..., 0], cosine)
    found = transfer(scale * differences(carried), own, face & facing)
    found = found.astype(MAPS["displacement"][0]).astype(jnp.float32)
    moved = displaced_normals(planes, found - own, jnp.where(depth > 0, depth + found, 0.0), camera)
    return found, jnp.moveaxis(moved, 0, -1), jnp.where(face, here[..., 1], 0.0)


def maker(config: DetailConfig, *, photos: Sequence[Float[np.ndarray, "S S"]] = ()) -> Make:
    """The function that makes records of a run by their numbers; `photos` as of `DetailLabels`."""
    return DetailLabels(config, "detail", photos=photos).records
