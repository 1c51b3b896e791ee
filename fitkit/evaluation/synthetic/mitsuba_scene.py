"""The photograph: a foreign person, its complexion and its light, through Mitsuba 3's path tracer and a simple camera.

Another renderer than ours, on purpose: perspective lens, environment light, cast shadows, a glossy coat on the skin; then lens
blur, sensor noise, white balance, a tone curve and JPEG. Mitsuba is the extra `eval`; it wakes here, inside `photograph`, and
nowhere else. Lashes, tear fluid and shadow cards of ICT-FaceKit are transparent in a renderer of skin and are left out.
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

# vertex ranges of the README of ICT-FaceKit
SKIN, INTERIOR, GUMS, TEETH = (0, 11248), (11248, 13294), (14062, 17039), (17039, 21451)
EYES = ((21451, 22221), (23021, 23791))      # the outer, clear shells: iris and pupil are painted on them
BODY = ((0.0, -285.0, -85.0), (240.0, 150.0, 130.0))     # mm under the face: middle and radii of what wears the shirt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Studio:
    """How pictures are taken; part of the name of the cache.

    Attributes:
        width: pixels.
        height: pixels.
        samples: paths per pixel.
        bounces: most segments of a path.
        subdivisions: of the skin, so that colours at vertices are finer than pixels.
    """

    width: int = 384
    height: int = 512
    samples: int = 16
    bounces: int = 3
    subdivisions: int = 2


def photograph(head: IctArrays, person: Person, view: View, studio: Studio) -> bytes:
    """The JPEG file of one person in one view, drawn by seed.

    Raises:
        FitkitError: E_DATA where Mitsuba is not installed.
    """
    generator = np.random.default_rng((person.seed, 4, round(abs(view.yaw))))
    rendered = expose(head, person, view, studio, generator)
    behind = environment_light.backdrop(generator, studio.width, studio.height)
    return develop(rendered[..., :3] + (1 - rendered[..., 3:].clip(0, 1)) * behind, generator)


def expose(
    head: IctArrays, person: Person, view: View, studio: Studio, generator: np.random.Generator
) -> Float[np.ndarray, "h w 4"]:
    """Linear radiance of the person alone, and how much of each pixel it covers.

    Raises:
        FitkitError: E_DATA where Mitsuba is not installed.
    """
    mitsuba = _mitsuba()
    surroundings = environment_light.environment(generator)
    parts = dressed(head, person, view, studio, generator)
    scene = mitsuba.load_dict(
        {"type": "scene", "integrator": {"type": "path", "max_depth": studio.bounces, "hide_emitters": True},
         "sensor": _sensor(mitsuba, view, studio),
         "sky": {"type": "envmap", "bitmap": mitsuba.Bitmap(surroundings), "scale": 1.0}}
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


Part = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]      # vertices (view frame), triangles, colours, coat


def dressed(
    head: IctArrays, person: Person, view: View, studio: Studio, generator: np.random.Generator
) -> dict[str, Part]:
    """Every part of the person in the view frame, with colours and coat."""
    look = skin_appearance.draw(person.seed)
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

    skin = {"roughness": look.gloss, "specular": 0.45, "clearcoat": 0.12, "clearcoat_gloss": 0.6}
    wet = {"roughness": 0.15, "specular": 0.5}
    parts = {
        "skin": part(SKIN, studio.subdivisions, lambda places: skin_appearance.skin(places, marks, look), skin),
        "interior": part(INTERIOR, 0, skin_appearance.SOCKET, wet), "gums": part(GUMS, 0, skin_appearance.GUM, wet),
        "teeth": part(TEETH, 0, skin_appearance.TEETH, wet), "shirt": shirt(rotation, translation, generator)}
    for number, bounds in enumerate(EYES):
        clear = {"roughness": 0.06, "specular": 0.6}
        parts[f"eye{number}"] = part(bounds, 2, lambda places: skin_appearance.eyeball(places, look), clear)
    return parts


def _halve(vertices: Float[np.ndarray, "V C"], triangles: Int[np.ndarray, "F 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Every triangle in four, straight."""
    halved, faces = trimesh.remesh.subdivide(vertices, triangles)
    return halved, faces


def shirt(rotation: np.ndarray, translation: np.ndarray, generator: np.random.Generator) -> Part:
    """Shoulders that turn with the head, as the neck does; they hide where it ends."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    middle, radii = np.array(BODY)
    places = (ball.vertices * radii + middle) @ rotation.T + translation
    colour = generator.uniform(0.02, 0.5) * environment_light.tint(generator, 0.5)
    return places * [1, -1, -1], ball.faces, np.tile(colour, (len(places), 1)), {"roughness": 0.9, "specular": 0.1}


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
    mesh.add_attribute("vertex_color", 3, np.ascontiguousarray(colours, np.float32).ravel().clip(0.001, 0.95))
    fields.update()
    return mesh


def _sensor(mitsuba: Any, view: View, studio: Studio) -> dict[str, Any]:
    focal = float(view.camera.focal)
    return {
        "type": "perspective", "fov": float(np.degrees(2 * np.arctan(studio.height / (2 * focal)))), "fov_axis": "y",
        "near_clip": 1.0, "far_clip": 1e5,
        "to_world": mitsuba.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]),
        "film": {"type": "hdrfilm", "width": studio.width, "height": studio.height, "pixel_format": "rgba",
                 "rfilter": {"type": "gaussian"}},
        "sampler": {"type": "multijitter", "sample_count": studio.samples}}


def develop(radiance: Float[np.ndarray, "h w 3"], generator: np.random.Generator) -> bytes:
    """A camera's way from light to file: exposure, white balance, lens blur, noise, a shoulder for highlights, JPEG."""
    exposed = radiance * 2.0 ** generator.normal(0, 0.3) * environment_light.tint(generator, 0.04)
    blurred = scipy.ndimage.gaussian_filter(exposed, (*[generator.uniform(0.35, 0.9)] * 2, 0))
    grain = generator.normal(0, 1, radiance.shape) * np.sqrt(np.clip(blurred, 0, None) * 2e-4 + 1e-6)
    noisy = blurred + grain * generator.uniform(0.3, 1.5)
    knee = 0.7
    rolled = np.where(noisy > knee, knee + (1 - knee) * np.tanh((noisy - knee) / (1 - knee) / 2), noisy)
    coded = np.asarray(linear_to_srgb(jnp.asarray(np.clip(rolled, 0, 1), jnp.float32)))
    file = io.BytesIO()
    Image.fromarray((coded * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=int(generator.integers(72, 96)))
    return file.getvalue()
