"""From a recipe's `Solution`, in pixels of its working crop, to a `FitResult` in the photo's own pixels, with its status.

In: the head, the photo, its lens, the observation and the solution. Out: a `FitResult`. Reads and writes no files.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.color import linear_to_srgb, quantize
from fitkit.compilation import quick_jit
from fitkit.fitting.observation import Lens
from fitkit.fitting.state import FaceState, Observation, Solution
from fitkit.geometry.camera import rescale_camera
from fitkit.geometry.pose import camera_from_pose, head_to_view, project_view
from fitkit.io.images import Photo
from fitkit.morphable.correspondence import visible_contour
from fitkit.morphable.model import shape, values_at_points
from fitkit.results.fit_evidence import fit_evidence
from fitkit.results.fit_quality import assess_fit
from fitkit.results.result import FitResult
from fitkit.types import MorphableModel, SurfacePoints
from fitkit.uv.unwrap import full_generated_albedo


def result_from_solution(
    model: MorphableModel, image: Photo, lens: Lens, observation: Observation, back: tuple[float, np.ndarray], solution: Solution,
    *, landmarks_source: str = "detector", **settings: Any,
) -> FitResult:
    """A recipe's solution in the photo's own pixels, with its status.

    Args:
        model: the head.
        image: the photo.
        lens: of the photo.
        observation: the recipe's input, in pixels of the crop.
        back: scale and offset from crop to photo pixels, from `observe`.
        solution: of the recipe.
        landmarks_source: whence the observation's points are; those of a network that sees the face are no witness of the fit.
        **settings: the other fields of `FitResult`: recipe, fields, head, seed, size, timings, face.
    """
    scale, offset = back
    height, width = image.pixels.shape[:2]
    state, losses = solution.state, {name: float(value) for name, value in solution.losses.items()}
    mesh_points, pixels = fitted_points(model, state)
    camera = rescale_camera(camera_from_pose(state.pose), scale, offset)
    fitted = np.asarray(pixels) * scale + offset
    detected = np.asarray(observation.ibug) * scale + offset
    status, reason, confidence = assess_fit(
        state.face, fitted, fitted if landmarks_source == "network" else detected, losses, width, height,
        identity_mean=np.asarray(model.identity_mean),
        evidence={} if observation.scan is not None else fit_evidence(model, observation, solution))
    return FitResult(
        model=model, parameters=state.face, camera=camera, photo=image, status=status, reason=reason,
        confidence=confidence, losses=losses, focal_source=lens.source,
        landmarks_detected=detected.astype(np.float32), landmarks_fitted=fitted.astype(np.float32),
        landmarks_mesh=np.asarray(mesh_points), landmarks_source=landmarks_source, warnings=image.warnings, detail=solution.detail,
        skin=None if solution.texture is None else _encoded_texture(model, state, solution.texture), **settings)


def _encoded_texture(model: MorphableModel, state: FaceState, texture: Float[jax.Array, "s s 3"]) -> np.ndarray:
    """A recipe's own texture as a result keeps it: full size, uint8 sRGB."""
    return quantize(np.asarray(linear_to_srgb(full_generated_albedo(model, state.face.albedo, texture))), np.uint8)


@quick_jit()
def fitted_points(model: MorphableModel, state: FaceState) -> tuple[Float[jax.Array, "68 3"], Float[jax.Array, "68 2"]]:
    """The 68 points on the fitted head, mm, and in the crop, pixels; the 17 of the jaw on its visible contour."""
    vertices = shape(model, state.face.identity, state.face.expression)
    image = project_view(state.pose, head_to_view(state.pose, vertices))
    inner: SurfacePoints = jax.tree.map(lambda table: table[17:], model.landmarks)
    jaw = visible_contour(model, image, jnp.mean(values_at_points(inner, model.triangles, image)[10:19], 0))
    both = jax.tree.map(lambda first, second: jnp.concatenate([first, second]), jaw, inner)
    points = values_at_points(both, model.triangles, vertices)
    return points, project_view(state.pose, head_to_view(state.pose, points))
