"""Small networks of random weights, in place of the shipped ones."""

import jax.numpy as jnp
import numpy as np

from fitkit.models.blaze import parameter_shapes
from fitkit.models.identity import Identity
from fitkit.models.mobilefacenet import MobileFaceNet, MobileFaceNetPlan


def small_identity():
    """An identity network."""
    plan = MobileFaceNetPlan(stem=8, blocks=((12, 8, 2), (12, 12, 2), (16, 16, 2)), embedding=16)
    random = np.random.default_rng(3)
    shapes = parameter_shapes(MobileFaceNet(plan))
    return Identity(parameters={name: jnp.asarray(random.normal(size=shape) * 0.3, jnp.float32) for name, shape in shapes.items()},
                    plan=plan, name="small")
