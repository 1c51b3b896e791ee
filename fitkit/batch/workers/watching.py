"""A fit that is watched: each of its steps as a message for the leading process, which shows it (`fitkit fit --watch`).

In: the face that is being fitted, and a `FitStep` after each step. Out, as JSON values: of a face its name, the photo's crop and
the head's triangles; of a step its stage, number and loss, the head's vertices, and its rendering over the crop.
"""

import base64
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.batch.workers.serve import Report
from fitkit.color import linear_to_srgb, quantize
from fitkit.compilation import quick_jit
from fitkit.fitting.state import FaceState, FitStep, Observation, Solution
from fitkit.geometry.pose import camera_from_pose
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import triangles_of_part
from fitkit.rendering.render import render_color, render_textured
from fitkit.types import MorphableModel


class WatchedFit:
    """Tells the steps of one fit after the other.

    Args:
        model: the head.
        report: sends a message to the leading process.
    """

    def __init__(self, model: MorphableModel, report: Report):
        self._model, self._report = model, report
        self._crop = jnp.zeros((2, 2, 3))
        self._step = 0

    def begin(self, name: str, observation: Observation) -> None:
        """The fit of a face begins."""
        self._crop, self._step = jnp.nan_to_num(observation.crop), 0
        self._report({"event": "watched", "name": name, "photo": packed(quantize(np.asarray(self._crop), np.uint8)),
                      "triangles": packed(np.asarray(self._model.triangles, np.int32))})

    def step(self, step: FitStep) -> None:
        """It has come to a step."""
        self._step = step.step
        self._tell(step)

    def end(self, solution: Solution) -> None:
        """It has ended. Wrinkles of single pixels are not shown."""
        loss = float(solution.losses.get("total", jnp.nan))
        self._tell(FitStep(stage="done", step=self._step, most=self._step, loss=loss, state=solution.state,
                           texture=solution.texture))

    def _tell(self, step: FitStep) -> None:
        vertices, picture = _drawn(self._model, step.state, step.texture, self._crop)
        self._report({
            "event": "watched", "stage": step.stage, "step": step.step, "most": step.most,
            "loss": step.loss if math.isfinite(step.loss) else None, "vertices": packed(np.asarray(vertices, np.float32)),
            "overlay": packed(quantize(np.asarray(picture), np.uint8))})


@quick_jit()
def _drawn(
    model: MorphableModel, state: FaceState, texture: Float[Array, "T T 3"] | None, crop: Float[Array, "S S 3"]
) -> tuple[Float[Array, "V 3"], Float[Array, "S S 3"]]:
    """The head's vertices, mm, head frame; and its rendering over the crop, sRGB."""
    face, camera, side = state.face, camera_from_pose(state.pose), crop.shape[0]
    vertices, albedo = shape(model, face.identity, face.expression), vertex_albedo(model, face.albedo)
    colour, mask, seen = render_color(model, vertices, albedo, camera, face.light, height=side, width=side)
    if texture is not None:
        skin = triangles_of_part(model, "skin")[jnp.maximum(seen.triangle, 0)]
        painted, _, _ = render_textured(model, vertices, texture, camera, face.light, height=side, width=side)
        colour = jnp.where(skin[..., None], painted, colour)
    return vertices, jnp.where(mask[..., None], linear_to_srgb(jnp.clip(colour, 0.0, 1.0)), crop)


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON values, exactly."""
    return {"type": array.dtype.str, "shape": list(array.shape), "bytes": base64.b64encode(array.tobytes()).decode()}
