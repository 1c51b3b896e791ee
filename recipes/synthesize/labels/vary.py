"""Labels of kind `vary` (Guo et al. 2018, Section VI-A): people of photos with other expressions and in other poses.

A photo goes through `inverse_rendering`; what the fit found comes here as arrays, a `FittedFace`. Its identity, texture and light
stay; expression and pose are drawn anew, the face is rendered, and the rest of the photo follows it by image meshing.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float, UInt8
from PIL import Image

from fitkit.color import LUMINANCE, linear_to_srgb, quantize, srgb_to_linear
from fitkit.geometry.camera import head_angles, head_rotation, project, rescale_camera
from fitkit.geometry.vectors import vertex_normals
from fitkit.labels.drawing import FACE, HEAD, Scene, draw_scenes
from fitkit.labels.fine_head import fine_head
from fitkit.labels.hidden_modes import fold_camera, folded_model, size_and_place
from fitkit.labels.record import Record, record_of
from fitkit.labels.shading import Light
from fitkit.labels.shards import Make
from fitkit.models import heads
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.morphable.regions import face_region, region_mask
from fitkit.recipes.synthesize.faces import draw_expression
from fitkit.recipes.synthesize.labels import background, scenery
from fitkit.recipes.synthesize.labels.random import nothing_before
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.shading import bounded_irradiance, sh_basis
from fitkit.rendering.texture import visible_weight
from fitkit.types import Camera, FaceParameters, MorphableModel

# Chosen, not tuned; degrees
YAW = 40.0                  # added to the photo's: uniform, either way
PITCH, ROLL = 10.0, 8.0     # added, standard deviations
MOST = (70.0, 30.0, 30.0)   # of yaw, pitch and roll
CROP_SHARE = 0.5            # of the side of a crop, that the longer side of the box of the 68 points takes
KEPT = 0.15                 # share of faces that keep the photo's expression
FEATHER = 4.0               # pixels at 224 over which the drawn face passes into the photo, inside its border
IN_FACE, NECK = 0.5, 0.3    # of `face_region`, from which a vertex is of the face; of the neck's, from which it stays with the body
GREY = 3                    # difference of channels, of 255, under which a photo is grey
DIRECTIONS = 500            # on the sphere, for the light


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedFace:
    """What a fit found in a photo, in a square crop of it around the face."""

    picture: UInt8[np.ndarray, "S S 3"]     # sRGB
    camera: Camera                          # of the crop, pixels; of the head as it is
    identity: Float[np.ndarray, " I"]
    expression: Float[np.ndarray, " E"]
    albedo: Float[np.ndarray, " A"]
    light: Float[np.ndarray, "9 3"]
    texture: UInt8[np.ndarray, "T T 3"]     # UV albedo, sRGB
    name: str                               # of the photo's file
    sha256: str                             # of its bytes


def crop_face(pixels: Float[np.ndarray, "H W 3"], points: Float[np.ndarray, "68 2"], camera: Camera, face: FaceParameters,
              texture: UInt8[np.ndarray, "T T 3"], *, size: int, name: str, sha256: str) -> FittedFace:
    """A fit in a square crop of its photo around the face; beyond the photo its border is repeated.

    Args:
        pixels: the photo, sRGB in [0, 1].
        points: detected, pixels.
        camera: of the photo.
        face: what was fitted.
        texture: UV albedo.
        size: side of the crop, pixels.
        name: of the photo's file.
        sha256: of its bytes.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max() / CROP_SHARE)
    corner = (low + high) / 2 - side / 2
    border = int(np.ceil(max(0.0, *-corner, *(corner + side - pixels.shape[1::-1])))) + 1
    wider = np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="edge")
    box = (*(corner + border), *(corner + border + side))
    picture = Image.fromarray(quantize(wider, np.uint8)).resize((size, size), Image.Resampling.LANCZOS, box=box)
    scale = size / side
    arrays = {field: np.asarray(getattr(face, field)) for field in ("identity", "expression", "albedo", "light")}
    return FittedFace(picture=np.asarray(picture), camera=rescale_camera(camera, scale, -scale * corner), texture=texture,
                      name=name, sha256=sha256, **arrays)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VaryConfig:
    """What a run of varied photos is made of.

    Attributes:
        head: morphable head, as `fitkit.load_head` names it; the photos were fitted with it.
        size: side of the pictures, pixels.
        seed: of everything drawn.
        variants: pictures of each photo, one after the other.
    """

    head: str = "makehuman"
    size: int = 224
    seed: int = 0
    variants: int = 20


@dataclasses.dataclass(frozen=True, eq=False)
class VariedLabels:
    """Makes labels of photos: `records(numbers)`; picture n is variant n % variants of photo n // variants."""

    config: VaryConfig
    faces: Sequence[FittedFace]                # of the photos

    @functools.cached_property
    def unfolded(self) -> MorphableModel:
        """The head as it is."""
        return heads.load(heads.absolute_name(self.config.head))

    @functools.cached_property
    def model(self) -> MorphableModel:
        """The folded head, of which the labels are."""
        return folded_model(self.unfolded)

    def records(self, numbers: Sequence[int]) -> list[Record]:
        """The records of these pictures, in order."""
        return [self.record(number) for number in numbers]

    def record(self, number: int) -> Record:
        """One picture."""
        face, size = toned(self.faces[number // self.config.variants]), self.config.size
        key = jax.random.fold_in(jax.random.key(self.config.seed), number)
        varied = _vary(key, self.unfolded, self.model, jnp.asarray(face.identity), jnp.asarray(face.expression),
                       jax.tree.map(jnp.asarray, face.camera), side=size)
        places = np.asarray(varied["places"], np.float64)[np.asarray(varied["seen"])]
        of_face = np.asarray(face_region(self.model) > IN_FACE)[np.asarray(varied["seen"])]
        backdrop, below = background.warp(face.picture, background.place_anchors(places[:, :2], places[:, 2:], of_face, size=size))
        harmonics = bounded_harmonics(jnp.asarray(face.light))
        light = Light(harmonics=harmonics, direction=jnp.array([0.0, 0.0, 1.0]), lamp=jnp.zeros(3), gloss=jnp.array([0.0, 20.0]))
        scene = Scene(
            identity=varied["identity"], expression=varied["expression"], camera=varied["camera"], light=light,
            colors=jnp.clip(vertex_albedo(self.unfolded, jnp.asarray(face.albedo)), 0.0, 1.0), texture=jnp.asarray(face.texture),
            textured=jnp.array(True), shirt=jnp.full(3, 0.5), backdrop=jnp.asarray(backdrop),
            before=jax.tree.map(jnp.asarray, nothing_before()), has_before=jnp.array(False))
        stacked = jax.tree.map(lambda leaf: leaf[None], scene)
        shirt = scenery.no_shirt()
        batch = draw_scenes(self.model, fine_head(self.model), shirt, stacked, size=size)
        drawn = jax.tree.map(lambda leaf: np.asarray(leaf[0]), batch)
        source = {"number": number, "seed": self.config.seed, "kind": "vary", "head": self.config.head, "photo": face.name,
                  "sha256": face.sha256}
        camera, lit = jax.tree.map(np.asarray, (varied["camera"], light))
        picture, mask, missing = composed(drawn.picture, drawn.mask, backdrop, below)
        source["unseen"] = missing
        labels = {"identity": varied["identity"], "expression": varied["expression"], "albedo": face.albedo,
                  "head_size": varied["size"], "head_place": varied["place"]}
        return record_of(dataclasses.replace(drawn, picture=picture, mask=mask), camera=camera, light=lit, source=source,
                         **{name: np.asarray(value) for name, value in labels.items()})


def composed(drawn: np.ndarray, mask: np.ndarray, backdrop: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The drawn face over the warped photo, its border soft; the mask, whose FACE is what is drawn alone; and the share of pixels
    that neither the photo nor the face has."""
    face = scipy.ndimage.binary_fill_holes((mask & FACE) > 0)
    inside = scipy.ndimage.distance_transform_edt(np.pad(face, 1, mode="edge"))[1:-1, 1:-1]
    share = np.clip(inside / (FEATHER * len(mask) / 224), 0, 1)
    share = np.where(below & face, 1.0, share * share * (3 - 2 * share))[..., None]
    picture = np.round(share * drawn + (1 - share) * backdrop).astype(np.uint8)
    alone = (share[..., 0] == 1) & ((mask & HEAD) > 0)
    return picture, ((mask & (255 - FACE)) | np.where(alone, FACE, 0)).astype(np.uint8), float((below & ~face).mean())


@functools.partial(jax.jit, static_argnames=("side",))
def _vary(key: Array, unfolded: MorphableModel, model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"],
          camera: Camera, *, side: int) -> dict[str, Any]:
    """A new expression and pose of a fitted face; where its vertices are in the photo, which it shows, and where they go."""
    for_kept, for_expression, for_turn, for_yaw = jax.random.split(key, 4)
    size, place = size_and_place(unfolded, identity)
    before, identity, expression = fold_camera(camera, size, place), identity / size, expression / size
    drawn = jnp.where(jax.random.uniform(for_kept) < KEPT, expression, draw_expression(for_expression, model))
    turn = jax.random.normal(for_turn, (3,)).at[0].set(jax.random.uniform(for_yaw, minval=-1, maxval=1))
    angles = head_angles(before) + jnp.array([YAW, PITCH, ROLL]) * turn
    angles = jnp.clip(angles, -jnp.array(MOST), jnp.array(MOST))
    rotation = head_rotation(*jnp.radians(angles))
    old, new = (shape(model, identity, each) for each in (expression, drawn))
    middle = jnp.mean(values_at_points(model.dense, model.triangles, old), axis=0)
    at = before.translation + jnp.dot(before.rotation, middle, precision="highest")
    after = dataclasses.replace(before, rotation=rotation, translation=at - jnp.dot(rotation, middle, precision="highest"))
    (at_before, depth), (at_after, depth_after) = project(before, old), project(after, new)
    surface = rasterize(at_before, depth, model.triangles, height=side, width=side).depth
    # the neck stays with the body
    seen = (visible_weight(old, vertex_normals(old, model.triangles), surface, before) > 0) & (region_mask(model, "neck") < NECK)
    return {"identity": identity, "expression": drawn, "camera": after, "size": size, "place": place, "seen": seen,
            "places": jnp.concatenate([at_before, at_after, depth_after[:, None]], axis=1)}


@jax.jit
def bounded_harmonics(light: Float[Array, "9 3"]) -> Float[Array, "9 3"]:
    """Spherical harmonics nearest to `bounded_irradiance`, which a texture from a photo was divided by: dark from no side."""
    index = jnp.arange(DIRECTIONS) + 0.5
    height, angle = 1 - 2 * index / DIRECTIONS, jnp.pi * (1 + 5**0.5) * index
    flat = jnp.sqrt(1 - height**2)
    normals = jnp.stack([flat * jnp.cos(angle), height, flat * jnp.sin(angle)], axis=-1)
    return jnp.linalg.lstsq(sh_basis(normals), bounded_irradiance(normals, light))[0]


def toned(face: FittedFace) -> FittedFace:
    """A face of a grey photo with grey skin and light; any other as it is."""
    if np.ptp(face.picture.astype(int), axis=-1).mean() >= GREY:
        return face
    grey = linear_to_srgb(srgb_to_linear(jnp.asarray(face.texture, jnp.float32) / 255) @ jnp.array(LUMINANCE))
    return dataclasses.replace(face, texture=np.repeat(quantize(np.asarray(grey), np.uint8)[..., None], 3, axis=-1),
                               light=np.repeat((face.light @ np.array(LUMINANCE, np.float32))[:, None], 3, axis=1))


def maker(config: VaryConfig, faces: Sequence[FittedFace]) -> Make:
    """The function that makes records of a run by their numbers."""
    return VariedLabels(config, faces).records
