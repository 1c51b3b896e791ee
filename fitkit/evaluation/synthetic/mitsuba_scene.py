"""Mitsuba 3's path tracer as a renderer of the synthetic benchmark: perspective lens, environment light, cast shadows, glossy skin.

A renderer that is not fitkit's, on purpose. Mitsuba is the extra `eval`; it is imported inside `render_radiance` only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.evaluation.synthetic.environment_light import Light
from fitkit.evaluation.synthetic.scene import Part, Studio
from fitkit.evaluation.synthetic.subjects import View

ALBEDO_RANGE = (0.001, 0.95)
NEAR, FAR = 1.0, 1e5                        # clipping planes, mm


def render_radiance(
    parts: Mapping[str, Part], light: Light, view: View, studio: Studio, *, seed: int
) -> Float[np.ndarray, "h w 4"]:
    """Linear radiance of the scene without backdrop, and the share of each pixel that it covers.

    Args:
        parts: meshes of the view frame.
        light: around them.
        view: gives the focal length.
        studio: picture size and render quality.
        seed: of the paths.

    Raises:
        FitkitError: E_DATA if Mitsuba is not installed.
    """
    mitsuba = _mitsuba()
    scene = mitsuba.load_dict(
        {"type": "scene", "integrator": {"type": "path", "max_depth": studio.bounces, "hide_emitters": True},
         "sensor": _sensor(mitsuba, view, studio),
         "sky": {"type": "envmap", "bitmap": mitsuba.Bitmap(light.radiance), "scale": 1.0}}
        | {name: _shape(mitsuba, *part) for name, part in parts.items()})
    return np.array(mitsuba.render(scene, seed=seed), np.float64)


def _mitsuba() -> Any:
    try:
        import mitsuba
    except ImportError:
        raise FitkitError("E_DATA", "the synthetic benchmark renders with Mitsuba, which is not installed; "
                          "pip install 'fitkit[eval]'") from None
    mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return mitsuba


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


