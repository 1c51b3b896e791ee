"""Table II of Guo et al. 2018: CoarseNet trained on their loss (Eq. 15) beside Richardson's, the same steps and seed.

    python -m tests.measurements.coarsenet_losses --data RUN --held RUN [--steps 1500] [--set FIELD=VALUE ...]

Both are the small ResNet-18. No term of the losses but the papers': Eq. 15 has the squared distances of the pixels' points under
predicted pose (Eq. 13) and predicted geometry (Eq. 14), which balance each other; Richardson's has that of all vertices, mm, and
that of pose numbers in their deviations. Printed of held-out pictures, and of a network that answers the mean:

    L_pose, L_geo    Eq. 13 and 14, squared pixels of the network's picture
    pose             mean squared error of the six pose numbers, in their deviations
    vertices         mean distance of the folded head's vertices, mm: Table II's "mean vertex distance"
    face             mean distance of the face's vertices after a similarity, mm
"""

import argparse
import dataclasses
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fitkit.configuration import parse_assignments
from fitkit.device import keep_compiled_programs
from fitkit.models.coarsenet.estimate import split_outputs
from fitkit.morphable.model import shape
from fitkit.recipes.train.coarsenet import scores
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.configuration import LOSSES, CoarseNetTraining, tables_of
from fitkit.recipes.train.coarsenet.data import LabelArrays
from fitkit.recipes.train.coarsenet.task import COARSENET, load, terms_of
from fitkit.recipes.train.loop import train

AT_ONCE = 50                # held-out pictures of one call
NAMES = ("L_pose", "L_geo", "pose", "vertices", "face")
PLAIN = {"weight_depth": 0.0, "weight_joint": 0.0, "weight_geometry": 0.0, "weight_coefficients": 0.0}     # what the paper has not


def measures(network: Any, held: LabelArrays, config: CoarseNetTraining) -> dict[str, float]:
    """The five figures of a network."""
    tables = tables_of(config.head)

    @jax.jit
    def some(network: Any, arrays: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
        shown = plain_crops(arrays["pictures"], side=config.side)
        terms = terms_of(network, shown, arrays, config)[1]
        face = split_outputs(network(shown.pictures), config.network)
        apart = jax.vmap(lambda i, e: shape(tables.model, i, e))(face.identity, face.expression) - jax.vmap(
            lambda i, e: shape(tables.model, i, e))(arrays["identity"], arrays["expression"])
        return terms["pose"], terms["geometry"], terms["pose_numbers"], jnp.mean(jnp.linalg.norm(apart, axis=-1))

    rows = [some(network, held.take(slice(start, start + AT_ONCE))) for start in range(0, len(held) - AT_ONCE + 1, AT_ONCE)]
    face = scores.score(network, held, tables, config.network)["vertices"]
    return dict(zip(NAMES, [*np.mean(np.array(rows), 0).tolist(), face], strict=True))


def main() -> None:
    """Train and measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True, help="runs of labels to train on")
    parser.add_argument("--held", type=pathlib.Path, nargs="+", required=True, help="runs that are not trained on")
    parser.add_argument("--steps", type=int, default=1500, help="of each training")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the training")
    options = parser.parse_args()
    keep_compiled_programs()
    given = parse_assignments(options.set)
    common = dataclasses.replace(COARSENET.configs["small"], **{**PLAIN, "steps": options.steps, **given})
    data = load(options.data, options.held, common)
    task = dataclasses.replace(COARSENET, load=lambda runs, held, config: data)
    print("".join(f"{name:>10s}" for name in ("", *NAMES)), flush=True)
    for loss in ("", *LOSSES):
        config = dataclasses.replace(common, loss=loss or "pixels")
        if loss:
            with tempfile.TemporaryDirectory() as work:
                network = train(task, config, options.data, work=pathlib.Path(work), held=options.held, every=config.steps).network
        else:
            network = COARSENET.build(config, nnx.Rngs(config.seed))
        network.eval()
        row = "".join(f"{value:10.3f}" for value in measures(network, data.held, config).values())
        print(f"{loss or 'mean face':>10s}{row}", flush=True)


if __name__ == "__main__":
    main()
