"""The photograph of a benchmark subject, as JPEG bytes: head, skin and light through Mitsuba 3's path tracer and a simple camera.

A renderer that is not fitkit's, on purpose: perspective lens, environment light, cast shadows, a glossy coat on the skin; then lens
blur, sensor noise, white balance, a tone curve and JPEG. Mitsuba is the extra `eval`; it is imported inside `render_radiance` only.
Lashes, tear fluid and shadow cards of ICT-FaceKit are transparent in a skin renderer and are left out. Amounts are chosen, not
measured.
"""

import dataclasses
import io
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import trimesh
from jaxtyping import Float, Int
from PIL import Image

from fitkit.color import linear_to_srgb
from fitkit.errors import FitkitError
from fitkit.evaluation.synthetic import environment_light, skin_appearance
from fitkit.evaluation.synthetic.subjects import Person, View
from fitkit.models.heads.ict_source import IctArrays

# vertex ranges: ICT-FaceKit's README
SKIN_VERTICES, MOUTH_VERTICES, GUM_VERTICES, TEETH_VERTICES = (0, 11248), (11248, 13294), (14062, 17039), (17039, 21451)
EYE_VERTICES = ((21451, 22221), (23021, 23791))      # the outer, clear shells: iris and pupil are painted on them

# surfaces: parameters of Mitsuba's principled BSDF; the skin's roughness is the person's
SKIN_COAT = {"specular": 0.45, "clearcoat": 0.12, "clearcoat_gloss": 0.6}
WET_COAT = {"roughness": 0.15, "specular": 0.5}
EYE_COAT = {"roughness": 0.06, "specular": 0.6}
CLOTH_COAT = {"roughness": 0.9, "specular": 0.1}
SHIRT_ELLIPSOID = ((0.0, -285.0, -85.0), (240.0, 150.0, 130.0))     # mm in the head's frame: middle and radii
SHIRT_LEVEL, SHIRT_TINT = (0.02, 0.5), 0.5
ALBEDO_RANGE = (0.001, 0.95)
NEAR, FAR = 1.0, 1e5                        # clipping planes, mm

# the camera, in the order of its effects
EXPOSURE_DEVIATION = 0.3                    # stops
WHITE_BALANCE = 0.04                        # deviation of the logarithm of red
LENS_BLUR = (0.35, 0.9)                     # standard deviation, pixels
SHOT_NOISE, READ_NOISE = 2e-4, 1e-6         # variance per unit of radiance; variance
NOISE_SCALE = (0.3, 1.5)
KNEE = 0.7                                  # radiance from which highlights are compressed
JPEG_QUALITY = (72, 96)                     # least, and less than


@dataclasses.dataclass(frozen=True, kw_only=True)
class Studio:
    """Picture size and render quality. Its `repr` is part of the name of the cache folder.

    Attributes:
        width: pixels.
        height: pixels.
        samples: paths per pixel.
        bounces: most segments of a path.
        subdivisions: of the skin, so that vertex colours are finer than pixels.
    """

    width: int = 384
    height: int = 512
    samples: int = 16
    bounces: int = 3
    subdivisions: int = 2


def photograph(head: IctArrays, person: Person, view: View, studio: Studio) -> bytes:
    """The JPEG file of one person in one view; light, backdrop and camera are drawn by seed.

    Raises:
        FitkitError: E_DATA if Mitsuba is not installed.
    """
    generator = np.random.default_rng((person.seed, 4, round(abs(view.yaw))))
    rendered = render_radiance(head, person, view, studio, generator)
    behind = environment_light.backdrop(generator, studio.width, studio.height)
    return encode_photo(rendered[..., :3] + (1 - rendered[..., 3:].clip(0, 1)) * behind, generator)


def render_radiance(
    head: IctArrays, person: Person, view: View, studio: Studio, generator: np.random.Generator
) -> Float[np.ndarray, "h w 4"]:
    """Linear radiance of the person without backdrop, and the share of each pixel that the person covers.

    Raises:
        FitkitError: E_DATA if Mitsuba is not installed.
    """
    mitsuba = _mitsuba()
    environment = environment_light.environment(generator)
    parts = scene_parts(head, person, view, studio, generator)
    scene = mitsuba.load_dict(
        {"type": "scene", "integrator": {"type": "path", "max_depth": studio.bounces, "hide_emitters": True},
         "sensor": _sensor(mitsuba, view, studio),
         "sky": {"type": "envmap", "bitmap": mitsuba.Bitmap(environment), "scale": 1.0}}
        | {name: _shape(mitsuba, *part) for name, part in parts.items()})
    return np.array(mitsuba.render(scene, seed=person.seed * 1000 + round(abs(view.yaw))), np.float64)


def _mitsuba() -> Any:
    try:
        import mitsuba
    except ImportError:
        raise FitkitError("E_DATA", "the synthetic benchmark renders with Mitsuba, which is not installed; "
                          "pip install 'fitkit[eval]'") from None
    mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return mitsuba


# vertices (view frame, mm), triangles, vertex colours (linear RGB), parameters of the BSDF
Part = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


def scene_parts(
    head: IctArrays, person: Person, view: View, studio: Studio, generator: np.random.Generator
) -> dict[str, Part]:
    """The meshes of a person by name: skin, inside of the mouth, gums, teeth, shirt and eyes."""
    appearance = skin_appearance.draw(person.seed)
    mean = head.neutral.astype(np.float64)
    marks, triangles = mean[head.landmarks], head.triangles
    rotation, translation = np.asarray(view.camera.rotation, np.float64), np.asarray(view.camera.translation, np.float64)
    seen = (person.vertices @ rotation.T + translation) * [1, -1, -1]

    def part(bounds: tuple[int, int], levels: int, colour: Any, coat: dict[str, Any]) -> Part:
        faces = triangles[((triangles >= bounds[0]) & (triangles < bounds[1])).all(axis=1)] - bounds[0]
        both = np.concatenate([mean[bounds[0]:bounds[1]], seen[bounds[0]:bounds[1]]], axis=1)
        for _ in range(levels):
            both, faces = _halve(both, faces)
        colours = colour(both[:, :3]) if callable(colour) else np.tile(colour, (len(both), 1))
        return both[:, 3:], faces, colours, coat

    skin = {"roughness": appearance.gloss} | SKIN_COAT
    parts = {
        "skin": part(SKIN_VERTICES, studio.subdivisions, lambda places: skin_appearance.skin(places, marks, appearance), skin),
        "interior": part(MOUTH_VERTICES, 0, skin_appearance.SOCKET, WET_COAT),
        "gums": part(GUM_VERTICES, 0, skin_appearance.GUM, WET_COAT),
        "teeth": part(TEETH_VERTICES, 0, skin_appearance.TEETH, WET_COAT), "shirt": shirt(rotation, translation, generator)}
    for number, bounds in enumerate(EYE_VERTICES):
        parts[f"eye{number}"] = part(bounds, 2, lambda places: skin_appearance.eyeball(places, appearance), EYE_COAT)
    return parts


def _halve(vertices: Float[np.ndarray, "V C"], triangles: Int[np.ndarray, "F 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Every triangle divided into four, new vertices at the edges' middles."""
    halved, faces = trimesh.remesh.subdivide(vertices, triangles)
    return halved, faces


def shirt(rotation: np.ndarray, translation: np.ndarray, generator: np.random.Generator) -> Part:
    """An ellipsoid for shoulders that turns with the head and hides where the neck ends."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    middle, radii = np.array(SHIRT_ELLIPSOID)
    places = (ball.vertices * radii + middle) @ rotation.T + translation
    colour = generator.uniform(*SHIRT_LEVEL) * environment_light.tint(generator, SHIRT_TINT)
    return places * [1, -1, -1], ball.faces, np.tile(colour, (len(places), 1)), CLOTH_COAT


def _shape(mitsuba: Any, vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray, coat: dict[str, Any]) -> Any:
    properties = mitsuba.Properties()
    properties["bsdf"] = mitsuba.load_dict(
        {"type": "twosided", "inner": {
            "type": "principled", "base_color": {"type": "mesh_attribute", "name": "vertex_color"}, **coat}})
    mesh = mitsuba.Mesh("part", len(vertices), len(triangles), has_vertex_normals=True, props=properties)
    fields = mitsuba.traverse(mesh)
    fields["vertex_positions"] = np.ascontiguousarray(vertices, np.float32).ravel()
    fields["faces"] = np.ascontiguousarray(triangles, np.uint32).ravel()
    normals = trimesh.Trimesh(vertices, triangles, process=False).vertex_normals
    fields["vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
    mesh.add_attribute("vertex_color", 3, np.ascontiguousarray(colours, np.float32).ravel().clip(*ALBEDO_RANGE))
    fields.update()
    return mesh


def _sensor(mitsuba: Any, view: View, studio: Studio) -> dict[str, Any]:
    focal = float(view.camera.focal)
    return {
        "type": "perspective", "fov": float(np.degrees(2 * np.arctan(studio.height / (2 * focal)))), "fov_axis": "y",
        "near_clip": NEAR, "far_clip": FAR,
        "to_world": mitsuba.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]),
        "film": {"type": "hdrfilm", "width": studio.width, "height": studio.height, "pixel_format": "rgba",
                 "rfilter": {"type": "gaussian"}},
        "sampler": {"type": "multijitter", "sample_count": studio.samples}}


def encode_photo(radiance: Float[np.ndarray, "h w 3"], generator: np.random.Generator) -> bytes:
    """The camera: exposure, white balance, lens blur, noise, compressed highlights, sRGB, JPEG."""
    exposed = radiance * 2.0 ** generator.normal(0, EXPOSURE_DEVIATION) * environment_light.tint(generator, WHITE_BALANCE)
    blurred = scipy.ndimage.gaussian_filter(exposed, (*[generator.uniform(*LENS_BLUR)] * 2, 0))
    grain = generator.normal(0, 1, radiance.shape) * np.sqrt(np.clip(blurred, 0, None) * SHOT_NOISE + READ_NOISE)
    noisy = blurred + grain * generator.uniform(*NOISE_SCALE)
    rolled = np.where(noisy > KNEE, KNEE + (1 - KNEE) * np.tanh((noisy - KNEE) / (1 - KNEE) / 2), noisy)
    coded = np.asarray(linear_to_srgb(jnp.asarray(np.clip(rolled, 0, 1), jnp.float32)))
    file = io.BytesIO()
    Image.fromarray((coded * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=int(generator.integers(*JPEG_QUALITY)))
    return file.getvalue()
