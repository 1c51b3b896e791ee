"""The next frame of a face by Tracking CoarseNet (Guo et al. 2018, Section VII): frame, and where the face was -> where it is.

    crop = next_crop(model, identity, expression, camera)                       # of the frame before
    picture = cut_crop(frame, crop, side=config.side)
    before = pose_of(rescaled(camera, 1 / crop.side, -crop.corner / crop.side), middle)
    face = follow(parameters, model, middle, picture, before, focal, principal, config=config)
    camera = camera_of(face.pose, middle, focal=focal, principal=principal)     # sides of the crop; the next frame starts here

The network's pose is a difference, **the current frame's minus that of the one before**, both in the crop of the current frame:
degrees, sides of the crop, and the logarithm of the size's ratio. (The paper's text has the same sign; its simulation, Section
VII, has delta = before minus current.) The model is the folded head, `middle` is `hidden_modes(model).middle` of the head itself.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from fitkit.geometry.camera import project
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_points
from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, rescaled, split_outputs
from fitkit.models.coarsenet.network import CoarseNetConfig, Parameters, predict
from fitkit.models.shipped import WEIGHTS
from fitkit.morphable.model import shape, values_at_points
from fitkit.rendering.render import render_pncc
from fitkit.types import Camera, MorphableModel

TRACKING_WEIGHTS = WEIGHTS / "tracking_coarsenet.safetensors"       # `load_coarsenet(path=TRACKING_WEIGHTS)`


def next_crop(model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"], camera: Camera) -> FaceCrop:
    """The square of the next frame that is looked at: around the 468 points of the face in this one, photo pixels."""
    return crop_of_points(np.asarray(_points(model, identity, expression, camera)))


@jax.jit
def _points(model: MorphableModel, identity: Array, expression: Array, camera: Camera) -> Float[Array, "468 2"]:
    return project(camera, values_at_points(model.dense, model.triangles, shape(model, identity, expression)))[0]


def mean_pncc(model: MorphableModel, before: Camera, *, side: int) -> Float[Array, "s s 3"]:
    """The PNCC of the mean head, neutral, as `before` (pixels of the crop) saw it; in [0, 1]."""
    mean = shape(model, model.identity_mean, jnp.zeros(len(model.expression)))
    return render_pncc(model, mean, before, height=side, width=side)


@functools.partial(jax.jit, static_argnames="config")
def follow(parameters: Parameters, model: MorphableModel, middle: Float[Array, " 3"], picture: UInt8[Array, "s s 3"],
           before: Float[Array, " 6"], focal: Float[Array, ""], principal: Float[Array, " 2"], *, config: CoarseNetConfig
           ) -> CoarseFace:
    """The face in a frame.

    Args:
        parameters: of the tracking network.
        model: the folded head.
        middle: of its face, mm.
        picture: the crop of the frame, sRGB.
        before: pose of the frame before, in this crop.
        focal: of the film, in sides of the crop.
        principal: in sides of the crop.
        config: of the network.

    Returns:
        the face, its pose that of this frame, no longer a difference.
    """
    seen = camera_of(before, middle, focal=focal, principal=principal, perspective=config.perspective)
    pncc = mean_pncc(model, rescaled(seen, jnp.float32(config.side), jnp.zeros(2)), side=config.side)
    shown = jnp.concatenate([picture / jnp.float32(255), pncc], axis=-1)
    face = split_outputs(predict(parameters, shown[None], config=config)[0], config)
    return face._replace(pose=before + face.pose)
