"""`FitResult`: a fitted face, with its mesh, pictures, UV albedo and renderings on request; and its folder on disk.

    fit.json              status, losses, camera, points, expression, as text; see `fit_json.py`
    params.safetensors    coefficients, camera and points, float32, exactly
    mesh.glb              metres, UV texture, 52 morph targets, current expression as weights
    mesh.obj mesh.mtl     head frame, millimetres, expression applied
    mesh_neutral.obj      the same face at rest, with the same materials
    measurements.json     thirteen measures of the face at rest with deviations, and the head's size; see `metric/`
    albedo.png            UV albedo, sRGB
    seen.png              how far a texel of albedo.png is a photo's, in UV, 8 bits
    occlusion.png         ambient occlusion in UV, 8 bits, where it is asked for; it is in GLB, VRM and USD files, too
    overlay.png comparison.png normals.png depth.npy    from `pictures.py`

and on request (`outputs`):

    viewer.html           one page that turns the head, without network
    mesh_rigged.glb       mesh.glb with joints: head, jaw, two eyes, turned as the fitted gaze
    avatar.vrm            the same as VRM 1.0: expression presets, gaze, at rest
    mesh.usdz             the same as a USD package: UsdSkel, blend shapes, texture
    print.stl             the head as in the photo, closed, millimetres

and of a recipe that refines the geometry (then normals.png and depth.npy are of the refined surface, mesh.glb has a normal map):

    detail.safetensors    the `Detail` of the fit, float32, exactly
    mesh_detailed.glb     the head subdivided and displaced, expression applied, metres
    displacement.png      displacement along the normals in UV, 16 bits; fit.json says how many millimetres a step is
    depth_mesh.ply        of recipe `df2net`: the depth map of the crop as a mesh of its pixels, their colours, head frame, mm

of a scan or a depth image, which show no picture themselves:

    picture.png           the picture that was made of it, sRGB

and of a recipe with a texture of its own, such as `ganfit` (albedo.png is then that texture with the photo's detail):

    skin.png              the recipe's UV albedo, sRGB

The folder is written by `save.py` and read back, bit for bit, by `load.py`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.color import quantize
from fitkit.errors import FitkitError
from fitkit.fitting.state import ScanOrigin
from fitkit.fitting.together.cameras import CameraWorld
from fitkit.io import images
from fitkit.io.cameras.distortion import undistort_photo
from fitkit.io.images import Photo
from fitkit.morphable.model import shape
from fitkit.rendering.novel_view import Light, expression_weights, render_novel_view
from fitkit.results import pictures
from fitkit.results.metric.known_size import KnownSize
from fitkit.results.metric.scaled import in_true_size, size_of
from fitkit.results.metric.true_size import TrueSize, measurements
from fitkit.results.person_texture import Person
from fitkit.results.save import save_result
from fitkit.results.shown import summary
from fitkit.types import Camera, Detail, FaceParameters, Mesh, MorphableModel
from fitkit.uv.displacement import Relief, bake_relief
from fitkit.uv.expression_relief import ExpressionRelief, expressed_relief, split_relief
from fitkit.uv.layout import TEXTURE


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """One fitted face. World frame and units are those of `types`; pixels are the photo's own."""

    head: str                                  # name of the head, for `load_head`
    model: MorphableModel
    parameters: FaceParameters
    camera: Camera                             # of the photo, pixels
    photo: Photo                               # loaded from disk its pixels are [H, W, 0]: a result does not hold the photo
    face: int | None                           # 1, 2, ... where the photo has several
    recipe: str
    fields: Mapping[str, Any]                  # of the recipe, all of them
    size: int                                  # side of the working crop, pixels
    seed: int
    status: str                                # "converged" or "doubtful"
    reason: str                                # why doubtful, else empty
    confidence: float                          # in [0, 1], that the fit is to be believed: see `fit_quality.py`
    losses: Mapping[str, float]
    timings: Mapping[str, float]               # seconds
    focal_source: str                          # "given", "exif", "estimated" or "intrinsics"
    landmarks_detected: np.ndarray             # [68, 2] pixels
    landmarks_fitted: np.ndarray               # [68, 2] pixels
    landmarks_mesh: np.ndarray                 # [68, 3] mm, head frame, the frame of mesh.obj
    landmarks_source: str = "detector"         # whence `landmarks_detected` are: "detector", "given" or "network"
    warnings: tuple[str, ...] = ()
    detail: Detail | None = None               # per pixel of the working crop; of a recipe that refines the geometry
    skin: np.ndarray | None = None             # UV albedo [S, S, 3], uint8 sRGB, of a recipe with a texture of its own
    irises: np.ndarray | None = None           # [2, 2] pixels, middles of the right and left one; not saved
    known_size: KnownSize | None = None        # what the user knows of the face's size
    size_read: TrueSize | None = None          # read from disk; ask `true_size` for it
    world: CameraWorld | None = None           # of a photo whose camera stands at a known place
    scan: ScanOrigin | None = None             # of a scan or a depth image: `photo` is then the picture that was made of it
    texture_size: int = TEXTURE                # texels a side of `texture`
    person: Person | None = None               # of one of several photos of a person: all of them, which share one texture
    shares_texture: bool = False               # one of several photos of a person, in memory or read from disk
    albedo_map: np.ndarray | None = None       # uint8 sRGB [S, S, 3] read from disk; ask `texture` for it
    seen_map: np.ndarray | None = None         # uint8 [1024, 1024] read from disk; ask `seen` for it

    def __repr__(self) -> str:
        return summary.describe(self)

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows."""
        return summary.picture(self)

    def mesh(self) -> Mesh:
        """The fitted head, expression applied: millimetres, head frame, with texture coordinates."""
        vertices = shape(self.model, self.parameters.identity, self.parameters.expression)
        model = self.model
        return Mesh(vertices=vertices, triangles=model.triangles, uv=model.uv, uv_triangles=model.uv_triangles)

    @cached_property
    def true_size(self) -> TrueSize:
        """How many true millimetres one of the head's has, with deviation: by a given length, cameras, or irises (`metric/`).

        Raises:
            FitkitError: E_USAGE for a given length that cannot be.
        """
        return size_of(self) if self.size_read is None else self.size_read

    def measurements(self) -> dict[str, Any]:
        """Thirteen measures of the face at rest, true millimetres, each with its deviation: what measurements.json holds."""
        return measurements(self.model, self.parameters, self.true_size)

    def in_true_size(self) -> "FitResult":
        """The result in true millimetres: head, camera, relief. For meshes and renderings; to save, save the result itself."""
        return in_true_size(self)

    @cached_property
    def pictures(self) -> dict[str, np.ndarray]:
        """The pictures of `pictures.make`, made on first use.

        Raises:
            FitkitError: E_RESULT where the result was loaded and its photo is gone or changed.
        """
        return pictures.make(self.model, self.parameters, self.camera, self.photo_pixels(), relief=self.relief,
                             skin=self._skin(), model_share=self.model_share(), albedo=self._shared_albedo())

    @cached_property
    def relief(self) -> Relief | None:
        """The refined geometry in UV, made on first use: displacement along the normals, mm; None where nothing was refined."""
        return None if self.detail is None else bake_relief(self.model, self.parameters, self.detail)

    @cached_property
    def split_relief(self) -> ExpressionRelief | None:
        """The refined geometry by what makes it, made on first use: what lasts, and the folds of the expression."""
        return None if self.relief is None else split_relief(self.model, self.parameters, self.relief)

    @cached_property
    def texture(self) -> np.ndarray | None:
        """UV albedo, uint8 sRGB `[S, S, 3]`, S = `texture_size`, made on first use; None in a result that was saved without it.

        Of several photos of one person it is one texture, made of all of them.
        """
        if self.albedo_map is not None or not self.photo.pixels.size:
            return self.albedo_map
        shared = self._shared_albedo()
        albedo = self._unwrapped[0] if shared is None else shared
        if self.texture_size > TEXTURE:
            return (self.person or Person(fits=(self,))).enlarged(albedo, size=self.texture_size)
        return (np.clip(albedo, 0, 1) * 255 + 0.5).astype(np.uint8)

    @cached_property
    def seen(self) -> np.ndarray | None:
        """How far a texel of `texture` is a photo's: uint8 `[1024, 1024]` in UV, 255 in full; None where it was not saved."""
        if self.person is not None:
            return self.person.texture.seen
        if self.seen_map is not None or not self.photo.pixels.size:
            return self.seen_map
        return quantize(self._unwrapped[1], np.uint8)

    @cached_property
    def _unwrapped(self) -> tuple[np.ndarray, np.ndarray]:
        """Albedo and seen of `pictures.make`, of the photo alone, which costs a fraction of all the pictures."""
        if "pictures" in self.__dict__ and "seen" in self.pictures:
            return self.pictures["albedo"], self.pictures["seen"]
        return pictures.make_albedo(self.model, self.parameters, self.camera, self.photo.pixels, relief=self.relief,
                                    skin=self._skin(), model_share=self.model_share())

    def _shared_albedo(self) -> np.ndarray | None:
        """The texture of several photos, sRGB `[1024, 1024, 3]` in [0, 1]; None where there is one photo."""
        if self.person is not None:
            return self.person.texture.albedo.astype(np.float32) / 255
        if not self.shares_texture or self.albedo_map is None:
            return None
        times = len(self.albedo_map) // TEXTURE
        return self.albedo_map.reshape(TEXTURE, times, TEXTURE, times, 3).mean((1, 3), dtype=np.float32) / np.float32(255)

    def animated_texture(self, *, pixels: Float[np.ndarray, "H W 3"] | None = None) -> np.ndarray:
        """`texture` for other expressions than the photo's, uint8 sRGB `[1024, 1024, 3]`.

        Where lips and lids of the photo are off the fitted ones by a pixel, `texture` shows teeth and eyeballs on skin: nearest to
        the photo in its own pose. Here such texels are completed from the skin around them (`uv/openings.py`).

        Args:
            pixels: of the photo, sRGB in [0, 1]; by default read from where it was.

        Raises:
            FitkitError: E_RESULT where the result was loaded and its photo is gone or changed.
        """
        albedo, _ = pictures.make_albedo(
            self.model, self.parameters, self.camera, self.photo_pixels() if pixels is None else pixels,
            relief=self.relief, skin=self._skin(), model_share=self.model_share(), animated=True)
        return (np.clip(albedo, 0, 1) * 255 + 0.5).astype(np.uint8)

    def render(
        self, *, yaw: float | None = None, pitch: float | None = None, roll: float | None = None,
        light: Light | None = None, expression: Mapping[str, float] | np.ndarray | None = None, size: int = 512,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0), out: str | Path | None = None, as_bytes: bool = False,
    ) -> np.ndarray:
        """Render the face turned, relit or with another expression; `novel_view.render_novel_view` explains the arguments.

        Wrinkles that the fitted expression made grow and fade with its weights; the others stay.

        `out` is a PNG file to write it to, too; `as_bytes` gives uint8, as `imageio.imwrite` and Pillow take it.

        Returns:
            sRGB `[size, size, 3]`, float32 in [0, 1] or uint8.

        Raises:
            FitkitError: E_USAGE for an unknown expression or a value out of range; E_OUTPUT.
        """
        relief = self.relief
        if self.split_relief is not None and expression is not None:
            weights = expression_weights(self.model, self.parameters.expression, expression)
            relief = expressed_relief(
                self.model, dataclasses.replace(self.parameters, expression=jnp.asarray(weights)), self.split_relief)
        picture = render_novel_view(
            self.model, self.parameters, self.camera, texture=self.texture, yaw=yaw, pitch=pitch, roll=roll, light=light,
            expression=expression, size=size, background=background, slopes=None if relief is None else relief.gradient,
        )
        if out is not None:
            images.write_image(out, picture)
        return quantize(picture, np.uint8) if as_bytes else picture

    def save(self, folder: str | Path, *, outputs: str | Sequence[str] = "all", overwrite: bool = False) -> Path:
        """Write the result folder; it appears complete or not at all.

        Args:
            folder: where to; `result_name` makes a good name.
            outputs: what to write beside fit.json, names of `results.OUTPUTS` (a sequence, or separated by commas). Only a folder
                with `params` can be loaded again.
            overwrite: replace a result folder that is there already. A folder that is not a result is never replaced.

        Returns:
            the folder.

        Raises:
            FitkitError: E_EXISTS, E_OUTPUT, E_USAGE (unknown output), E_RESULT (pictures asked for, and the photo is gone).
        """
        return save_result(self, folder, outputs=outputs, overwrite=overwrite)

    def _skin(self) -> np.ndarray | None:
        return None if self.skin is None else self.skin.astype(np.float32) / 255

    def model_share(self) -> tuple[float, float]:
        """Beta of Guo 2018, Section V-C, of a recipe that has it: on plain skin, and where wrinkles are likely."""
        return float(self.fields.get("model_share", 0.0)), float(self.fields.get("model_share_wrinkled", 0.0))

    def photo_pixels(self) -> np.ndarray:
        """The photo, sRGB `[H, W, 3]` in [0, 1]; of a loaded result it is read from where it was.

        Raises:
            FitkitError: E_RESULT where it is gone or changed.
        """
        if self.photo.pixels.size:
            return self.photo.pixels
        try:
            photo = images.read_image(self.photo.path)
        except FitkitError:
            photo = None
        if photo is None or photo.sha256 != self.photo.sha256:
            raise FitkitError(
                "E_RESULT", f"pictures need the photo, and {self.photo.path} is no longer the file that was fitted;"
                " put it back, or save with outputs='params,mesh'"
            )
        return photo.pixels if self.photo.undistorted is None else undistort_photo(photo, self.photo.undistorted).pixels
