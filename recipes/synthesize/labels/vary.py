"""Labels of kind `vary` (Guo et al. 2018, Section VI-A): people of photos with other expressions and in other poses.

A photo goes through `inverse_rendering`; what the fit found comes here as arrays, a `FittedFace`. Its identity, texture, wrinkles,
light, size and place stay; expression and pose are drawn anew, the face is rendered, and the rest of the photo follows it
(`image_meshing`): hair, ears, neck and what is behind are the photo's own. The rim of the face blends into it over pixels that are
not marked as face, so that every pixel of the face is what its labels make.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from fitkit.color import LUMINANCE, linear_to_srgb, quantize, srgb_to_linear
from fitkit.geometry.camera import head_angles, head_rotation, project, rescale_camera
from fitkit.labels.drawing import FACE, HEAD, WHITE16, Drawn, Scene, draw_scenes
from fitkit.labels.fine_head import fine_head
from fitkit.labels.hidden_modes import fold_camera, folded_model, size_and_place
from fitkit.labels.record import Record, record_of
from fitkit.labels.shading import Light
from fitkit.labels.shards import Make
from fitkit.models import heads
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.morphable.regions import union_of_regions
from fitkit.recipes.synthesize.faces import draw_expression
from fitkit.recipes.synthesize.labels import random, scenery, skins
from fitkit.recipes.synthesize.labels.image_meshing import blurred, warped_surroundings
from fitkit.recipes.synthesize.labels.own_relief import with_relief
from fitkit.recipes.synthesize.labels.random import nothing_before
from fitkit.rendering.shading import bounded_irradiance, sh_basis
from fitkit.rendering.texture import cached_texel_fragments, sample_texture, values_at_fragments
from fitkit.types import Camera, FaceParameters, MorphableModel

# Chosen, not tuned
TURN = (40.0, 15.0, 15.0)       # degrees that yaw, pitch and roll change by, at most; uniform (Guo gives no distributions)
MOST = (70.0, 40.0, 45.0)       # degrees of yaw, pitch and roll, at most
FACE_SHARE = (0.42, 0.72)       # of the picture's side, that the longer side of the box of the 468 points takes
SHIFT = (0.035, 0.09)           # deviation of the box's middle from the picture's, in sides, and most
SURROUNDINGS = 3.0              # side of the square of the photo that is kept, in longer sides of the box
DETAIL = 2                      # pixels of that square along a pixel of the picture's side
STILL = ("neck",)               # regions of the head that the shoulders hold
HAIRY = ("scalp",)
RIM = 0.03                      # of the picture's side: over which the face blends into the head around it
EDGE = 0.5                      # pixels: deviation of the blur across what is drawn before the background
NECK = (-70.0, -30.0)           # mm above the head's origin, on the mean head: below no side of the head is drawn, above all of it
STRANDS = 0.6                   # deviation of the noise on hair that is drawn, in deviations of the photo's, before it is blurred
STRAND = 0.8                    # pixels: deviation of that blur
KEPT = 0.15                     # share of faces that keep the photo's expression
GREY = 3                        # difference of channels, of 255, under which a photo is grey
DIRECTIONS = 400                # on which a bounded light is fitted
BEHIND = -0.3                   # z of the directions, view frame, from which light is left out: no face shows them


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedFace:
    """What a fit found in a photo, in a square of it around the face."""

    picture: UInt8[np.ndarray, "S S 3"]     # sRGB
    inside: Float[np.ndarray, " 4"]         # left, top, right, bottom of the photo in it, pixels; beyond, its border is repeated
    camera: Camera                          # of the square, pixels; of the head as it is
    identity: Float[np.ndarray, " I"]
    expression: Float[np.ndarray, " E"]
    albedo: Float[np.ndarray, " A"]
    light: Float[np.ndarray, "9 3"]
    texture: UInt8[np.ndarray, "T T 3"]     # UV albedo, sRGB
    relief: Float[np.ndarray, "R R"]        # in UV, mm outwards
    name: str                               # of the photo's file
    sha256: str                             # of its bytes


def crop_face(pixels: Float[np.ndarray, "H W 3"], points: Float[np.ndarray, "68 2"], camera: Camera, face: FaceParameters,
              texture: UInt8[np.ndarray, "T T 3"], relief: Float[np.ndarray, "R R"], *, size: int, name: str, sha256: str
              ) -> FittedFace:
    """A fit in a square of its photo around the face.

    Args:
        pixels: the photo, sRGB in [0, 1].
        points: detected, pixels.
        camera: of the photo.
        face: what was fitted.
        texture: UV albedo.
        relief: from `own_relief.skin_relief`.
        size: side of the labelled pictures, pixels.
        name: of the photo's file.
        sha256: of its bytes.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    side = DETAIL * size
    scale = SURROUNDINGS * float((high - low).max()) / side
    corner = (low + high) / 2 - scale * side / 2
    extent = np.array(pixels.shape[1::-1])
    first = np.maximum(np.ceil(-corner / scale - 1e-6), 0).astype(int)
    last = np.minimum(np.floor((extent - corner) / scale + 1e-6), side).astype(int)
    box = np.concatenate([corner + first * scale, corner + last * scale]).clip(0, np.tile(extent, 2))
    part = Image.fromarray(quantize(pixels, np.uint8)).resize(tuple((last - first).tolist()), Image.Resampling.BICUBIC,
                                                              box=tuple(box.tolist()))
    beyond = [(first[1], side - last[1]), (first[0], side - last[0]), (0, 0)]
    texels = np.asarray(Image.fromarray(texture).resize((skins.SIZE, skins.SIZE), Image.Resampling.BOX))
    arrays = {field: np.asarray(getattr(face, field)) for field in ("identity", "expression", "albedo", "light")}
    return FittedFace(
        picture=np.pad(np.asarray(part), beyond, mode="edge"), inside=np.array([*first, *last], np.float32), texture=texels,
        relief=relief, camera=rescale_camera(camera, 1.0 / scale, jnp.asarray(-corner / scale, jnp.float32)), name=name,
        sha256=sha256, **arrays)


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
        made: dict[int, Record] = {}
        for photo in {number // self.config.variants for number in numbers}:
            of_photo = [number for number in numbers if number // self.config.variants == photo]
            at_once = random.AT_ONCE            # and arrays of the shapes of `random`, whose compiled program draws these, too
            for some in (of_photo[start:start + at_once] for start in range(0, len(of_photo), at_once)):
                padded = [*some, *[some[-1]] * (at_once - len(some))]
                made |= zip(some, self._draw(toned(self.faces[photo]), padded), strict=False)
        return [made[number] for number in numbers]

    def _draw(self, face: FittedFace, numbers: list[int]) -> list[Record]:
        arrays = {field.name: jax.tree.map(jnp.asarray, getattr(face, field.name)) for field in dataclasses.fields(face)
                  if field.name not in ("name", "sha256")}
        scenes, labels = _scenes(jnp.array(numbers), self.config.seed, self.unfolded, self.model, arrays, size=self.config.size)
        shirt = jax.tree.map(jnp.zeros_like, scenery.shirt_mesh(self.unfolded))
        fine = fine_head(self.model)
        drawn = draw_scenes(self.model, fine, shirt, scenes, size=self.config.size)
        drawn = with_relief(self.model, fine, drawn, scenes, arrays["relief"])
        drawn = _blended(drawn, scenes.backdrop, labels.pop("of_head"), labels.pop("hair"), self._scalp, self._neck())
        parts = jax.tree.map(np.asarray, (drawn, scenes.camera, scenes.light, {"identity": scenes.identity,
                                                                               "expression": scenes.expression, **labels}))
        made = []
        for row, number in enumerate(numbers):
            one = jax.tree.map(lambda leaf, row=row: leaf[row], parts)
            source = {"number": number, "seed": self.config.seed, "kind": "vary", "head": self.config.head, "photo": face.name,
                      "sha256": face.sha256, "unseen": float(one[3].pop("unseen"))}
            made.append(record_of(one[0], camera=one[1], light=one[2], source=source, **one[3]))
        return made

    @functools.cached_property
    def _scalp(self) -> Float[Array, "S S"]:
        """Where hair grows, in UV."""
        texels = cached_texel_fragments(self.unfolded, skins.SIZE)
        return values_at_fragments(texels, self.unfolded.triangles, union_of_regions(self.unfolded, HAIRY)[:, None])[..., 0]

    def _neck(self) -> Float[Array, " 2"]:
        """`NECK` as PNCC."""
        height = self.model.mean[:, 1]
        return (jnp.array(NECK) - jnp.min(height)) / (jnp.max(height) - jnp.min(height))


@functools.partial(jax.jit, static_argnames=("size",))
def _scenes(numbers: Array, seed: Array, unfolded: MorphableModel, model: MorphableModel, given: dict[str, Any], *, size: int
            ) -> tuple[Scene, dict[str, Array]]:
    """Scenes of one photo, the warped photo as their backdrop; and what of the person is not in a scene."""
    head_size, place = size_and_place(unfolded, given["identity"])
    identity, before = given["identity"] / head_size, given["expression"] / head_size
    fitted = fold_camera(given["camera"], head_size, place)
    vertices = shape(model, identity, before)
    old, depth = project(fitted, vertices)
    carried, scalp = union_of_regions(model, STILL) < 0.5, union_of_regions(model, HAIRY) > 0.5
    colors = vertex_albedo(unfolded, given["albedo"])
    nothing = jax.tree.map(jnp.asarray, nothing_before())
    harmonics = bounded_harmonics(given["light"])
    light = Light(harmonics=harmonics, direction=jnp.array([0.0, 0.0, 1.0]), lamp=jnp.zeros(3), gloss=jnp.array([0.0, 8.0]))

    def scene(number: Array) -> tuple[Scene, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), number)
        for_kept, for_face, for_turn, for_crop = jax.random.split(key, 4)
        expression = jnp.where(jax.random.uniform(for_kept) < KEPT, before, draw_expression(for_face, model))
        view = dataclasses.replace(fitted, rotation=turned(for_turn, fitted))
        moved = shape(model, identity, expression)
        new = project(view, moved)[0]
        crop = draw_crop(for_crop, values_at_points(model.dense, model.triangles, new), given["inside"], size=size)
        backdrop, source, of_head, hair = warped_surroundings(given["picture"], given["inside"], old, new, depth, model.triangles,
                                                          carried, scalp, crop, size=size)
        grain = blurred(jax.random.normal(jax.random.fold_in(key, 4), (size, size, 1)), STRAND)
        camera = rescale_camera(view, 1.0 / crop[2], -crop[:2] / crop[2])
        made = Scene(identity=identity, expression=expression, camera=camera, light=light, colors=colors, texture=given["texture"],
                     textured=jnp.array(True), shirt=jnp.zeros(3), backdrop=backdrop, before=nothing, has_before=jnp.array(False))
        return made, {"albedo": given["albedo"], "head_size": head_size, "head_place": place, "of_head": of_head,
                      "hair": hair[0] + STRANDS * hair[1] * grain,
                      "unseen": jnp.mean(jnp.isnan(source[..., 0]))}

    return jax.lax.map(scene, numbers)


def turned(key: Array, camera: Camera) -> Float[Array, "3 3"]:
    """Another rotation; one that is beyond the bounds already stays between them and where it is."""
    angles, most = head_angles(camera), jnp.array(MOST)
    bound = jnp.maximum(most, jnp.abs(angles))
    turn = jax.random.uniform(key, (3,), minval=-1.0) * jnp.array(TURN)
    return head_rotation(*jnp.radians(jnp.clip(angles + turn, -bound, bound)))


def draw_crop(key: Array, points: Float[Array, "468 2"], inside: Float[Array, " 4"], *, size: int) -> Float[Array, " 3"]:
    """A square about the face, within the photo: its corner in the photo's square, and pixels of that in one of the picture."""
    for_share, for_shift = jax.random.split(key)
    low, high = jnp.min(points, axis=0), jnp.max(points, axis=0)
    side = jnp.max(high - low) / jax.random.uniform(for_share, minval=FACE_SHARE[0], maxval=FACE_SHARE[1])
    side = jnp.minimum(side, jnp.min(inside[2:] - inside[:2]))
    shift = jnp.clip(SHIFT[0] * jax.random.normal(for_shift, (2,)), -SHIFT[1], SHIFT[1])
    corner = (low + high) / 2 - side * (0.5 + shift)
    return jnp.append(jnp.clip(corner, inside[:2], inside[2:] - side), side / size)


@jax.jit
def _blended(drawn: Drawn, backdrop: UInt8[Array, "N H W 3"], of_head: Float[Array, "N H W"], hair: Float[Array, "N H W 3"],
             scalp: Float[Array, "S S"], neck: Float[Array, " 2"]) -> Drawn:
    """The pictures with the photo around the face, into which the face's rim blends over what is not face.

    Where the turned head has a side that the photo does not show, and the photo something else, the side is drawn, its scalp in the
    colours of the hair in the photo.
    """
    def one(picture: UInt8[Array, "H W 3"], mask: UInt8[Array, "H W"], maps: dict[str, Array], behind: UInt8[Array, "H W 3"],
            of_head: Float[Array, "H W"], hair: Float[Array, "H W 3"]) -> UInt8[Array, "H W 3"]:
        face, head = (mask & FACE > 0).astype(jnp.float32), mask & HEAD > 0
        row = jnp.maximum(jnp.cumsum(head.ravel()) - 1, 0)
        height = maps["pncc"][:, 1][row].reshape(head.shape) / WHITE16
        side = (1.0 - of_head) * jnp.clip((height - neck[0]) / (neck[1] - neck[0]), 0.0, 1.0)
        hairy = sample_texture(scalp[..., None], maps["uv"][row].reshape(*head.shape, 2) / WHITE16)
        hairy = hairy * (side * (1.0 - face))[..., None]
        picture = jnp.where(jnp.isnan(hair), picture, picture + hairy * (jnp.clip(hair, 0.0, 255.0) - picture))
        wide = jnp.clip(2 * blurred(face, RIM * picture.shape[0]), 0.0, 1.0)
        inside = jnp.where(face > 0, 1.0, jnp.where(head, jnp.maximum(wide, side), 0.0))[..., None]
        beside = blurred(jnp.concatenate([picture * inside, inside], axis=-1), EDGE)
        color = jnp.where(head[..., None], picture, beside[..., :3] / jnp.maximum(beside[..., 3:], 1e-3))
        opacity = jnp.where(head[..., None], inside, beside[..., 3:])
        return jnp.round(behind + opacity * (color - behind)).astype(jnp.uint8)

    rows = drawn.picture, drawn.mask, {name: drawn.maps[name] for name in ("pncc", "uv")}, backdrop, of_head, hair
    return dataclasses.replace(drawn, picture=jax.lax.map(lambda row: one(*row), rows))


@jax.jit
def bounded_harmonics(light: Float[Array, "9 3"]) -> Float[Array, "9 3"]:
    """Spherical harmonics nearest to `bounded_irradiance`, which a texture from a photo was divided by: dark from no side."""
    index = jnp.arange(DIRECTIONS) + 0.5
    z, angle = 1 - (1 - BEHIND) * index / DIRECTIONS, jnp.pi * (1 + 5**0.5) * index
    flat = jnp.sqrt(1 - z**2)
    normals = jnp.stack([flat * jnp.cos(angle), flat * jnp.sin(angle), z], axis=-1)
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
