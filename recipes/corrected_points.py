"""A detector's points less what it is known to see wrongly: for heads of which nothing was learned with that detector.

    detected points -> fit of the embedded head, by what was learned of the detector -> where that head has the points

A detector's errors are smooth over a face and pull it towards the detector's own mean (`fitting.point_posterior`); that was learned
on the embedded head. Another head is given the points that the embedded one, fitted to them, has in the picture.
"""

import dataclasses

import jax.numpy as jnp

from fitkit.fitting.state import Observation
from fitkit.models import heads
from fitkit.recipes import landmarks
from fitkit.recipes.coarsenet.prediction import HEAD, predicted_points
from fitkit.types import MorphableModel


def guide_for(model: MorphableModel) -> MorphableModel | None:
    """The head whose fit corrects points for a head; None where the head has been learned of itself."""
    return heads.load(HEAD) if model.point_regression is None else None


def with_corrected_points(observation: Observation, guide: MorphableModel, guided: Observation) -> Observation:
    """A face's observation with the points that the guide's fit has; as it was for points that are not the detector's 468.

    Args:
        observation: of a face, for a head.
        guide: the head of which their errors were learned.
        guided: of the same face on the same crop, for the guide.
    """
    if guided.message is None:
        return observation
    state = landmarks.solve(guide, guided, landmarks.LandmarkConfig()).state
    points = predicted_points(guide, state)
    told = (guide.dense_weight > 0)[:, None]      # the guide has no place for some points
    return dataclasses.replace(
        observation, seen=dataclasses.replace(observation.seen, points=jnp.where(told, points, observation.seen.points)))
