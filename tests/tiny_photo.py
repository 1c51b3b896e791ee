"""A small photo of the small head: what a recipe is given of it, its true vertices, and a state."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fitkit import pose as poses
from fitkit.correspondence import correspond, point_modes
from fitkit.geometry import rotation_from_euler
from fitkit.images import linear_to_srgb
from fitkit.morphable import albedo as model_albedo
from fitkit.recipes import landmarks
from fitkit.recipes import state as states
from fitkit.render import render_color
from fitkit.shading import light_from_direction
from tests.tiny_head import tiny_head, tiny_parameters

SIZE = 64


def stacked(observations):
    """Observations of several photos on a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *observations)


@functools.cache
def skinned_head():
    """The tiny head with the regions and parts that recipes ask for."""
    return dataclasses.replace(tiny_head(rings=16, sectors=28), region_names=("fit_skin",), part_names=("skin", "back"))


def observe(head, yaw, *, noise=0.0, seed=0):
    """A rendering of one tiny person, turned, with points that are off by `noise` pixels; and the true vertices."""
    pose = poses.Pose(
        rotation=rotation_from_euler(yaw, 0.1, 0.0), centre=jnp.zeros(2), log_scale=jnp.log(0.25), log_focal=jnp.log(200.0),
        principal=jnp.full(2, SIZE / 2))
    truth = states.FaceState(face=tiny_parameters(head), pose=pose)
    face = dataclasses.replace(truth.face, light=truth.face.light + states.neutral(head, pose).face.light,
                               expression=0.3 * truth.face.expression)
    truth = dataclasses.replace(truth, face=face)
    vertices = landmarks.head_vertices(truth, head)
    image = render_color(head, vertices, model_albedo(head, face.albedo), poses.to_camera(pose), face.light,
                         height=SIZE, width=SIZE)[0]
    random = np.random.default_rng(seed)
    points, ibug = (landmarks.projected(truth, point_modes(head, places)) for places in (head.dense, head.landmarks))
    points, ibug = (each + jnp.asarray(noise * random.normal(size=each.shape), jnp.float32) for each in (points, ibug))
    lens = states.FocalPrior(mean=pose.log_focal, deviation=jnp.asarray(0.1), room=jnp.asarray(0.0))
    return states.Observation(crop=linear_to_srgb(image), seen=correspond(head, points, ibug, contour_weight=0.0), ibug=ibug,
                              focal=lens, principal=pose.principal), vertices


def a_state(head, *, seed=0, turned=(0.3, -0.1, 0.2)):
    """The tiny person before a pinhole, in the light of a lamp."""
    face = tiny_parameters(head, seed=seed)
    light = light_from_direction(jnp.array([0.4, 0.5, 0.8]), ambient=jnp.array([0.3, 0.25, 0.2]), strength=0.8)
    pose = poses.Pose(rotation=rotation_from_euler(*turned), centre=jnp.array([3.0, -2.0]), log_scale=jnp.log(0.25),
                      log_focal=jnp.log(200.0), principal=jnp.array([30.0, 33.0]))
    return states.FaceState(face=dataclasses.replace(face, light=light), pose=pose)
