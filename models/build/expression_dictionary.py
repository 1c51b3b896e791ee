"""Makes the dictionary of rendered expressions (Chen et al. 2019, Section 3.2): features of labelled pictures, and their weights.

    fitkit labels make expressions --out emotions --count 3100 --seed 11 --skins SKINS
    python -m fitkit.models.build.expression_dictionary emotions [OTHER RUNS]

Each picture is cut as a fit cuts it, about its true points moved as a detector's box errs, and seen by the networks. Features are
turned by ridge regression into coordinates that tell ARKit's weights, in mm of vertices. Writes
`expression_dictionary.safetensors`.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from safetensors import numpy as safetensors

from fitkit.fitting.observation import crop_square, working_crop
from fitkit.labels.reading import open_labels
from fitkit.models import heads
from fitkit.models.expression import dictionary, features
from fitkit.models.mediapipe import blendshapes
from fitkit.models.parameters import WEIGHTS
from fitkit.morphable.expressions import expression_metric, mirrored_names
from fitkit.types import MorphableModel

# Chosen, not tuned
SIZE = 224              # side of the crop, pixels: as `fitkit fit` has it by default
MISPLACED = 0.015       # deviation of the crop's place from the face's, in sizes of the face
# Chosen by the error of held-out pictures (`tests.measurements.expression_prior`)
RIDGE = 0.1             # of standardised features
COORDINATES = 24        # that are kept of the turned features, those that tell most


def features_of_run(run: pathlib.Path, *, most: int) -> tuple[Float[np.ndarray, "N F"], Float[np.ndarray, "N E"]]:
    """Features and ARKit weights of the first pictures of a run."""
    source = open_labels(run, fields=("picture", "points68", "expression"))
    networks, seen, weights = features.load_networks(), [], []
    rng = np.random.default_rng(0)
    for row in range(min(len(source), most)):
        read = source[row]
        points = read["points68"] + rng.normal(0.0, MISPLACED, 2) * np.ptp(read["points68"], axis=0).max()
        crop, scale, offset = working_crop(read["picture"].astype(np.float32) / 255, *crop_square(points), SIZE)
        found = features.see_expression(networks, crop, jnp.asarray((points - offset) / scale, jnp.float32))
        seen.append(np.asarray(found.features))
        weights.append(read["expression"])
        if row % 100 == 0:
            print(f"{run.name}: {row} of {min(len(source), most)}", flush=True)
    return np.stack(seen), np.stack(weights)


def turned_features(seen: Float[np.ndarray, "N F"], weights: Float[np.ndarray, "N E"], metric: Float[np.ndarray, "E E"], *,
                    ridge: float, coordinates: int) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, "F D"]]:
    """The centre of the features, and the matrix from there to the coordinates that tell the weights, mm."""
    centre, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-3
    standard = (seen - centre) / spread
    told = weights @ metric.T
    matrix = np.linalg.solve(standard.T @ standard / len(seen) + ridge * np.eye(len(centre)),
                             standard.T @ (told - told.mean(axis=0)) / len(seen))
    _, _, axes = np.linalg.svd(standard @ matrix, full_matrices=False)
    return centre, matrix @ axes[:coordinates].T / spread[:, None]


def build(runs: Sequence[pathlib.Path], out: pathlib.Path, *, most: int) -> None:
    """Write the dictionary of the pictures of some runs to the folder `out`."""
    model = heads.load("makehuman")
    every = [features_of_run(run, most=most) for run in runs]
    seen, weights = (np.concatenate(values) for values in zip(*every, strict=True))
    write(seen, weights, model, out)


def write(seen: Float[np.ndarray, "N F"], weights: Float[np.ndarray, "N E"], model: MorphableModel, out: pathlib.Path) -> None:
    """Write the dictionary of some pictures, and of their mirror images, to the folder `out`."""
    partner = mirrored_names(model.expression_names)
    seen = np.concatenate([seen, seen[:, [*partner, *len(partner) + np.array(mirrored_names(blendshapes.NAMES))]]])
    weights = np.concatenate([weights, weights[:, partner]])
    centre, matrix = turned_features(seen, weights, expression_metric(model), ridge=RIDGE, coordinates=COORDINATES)
    stored = dictionary.encode(centre, matrix, seen, weights)
    (out / f"{dictionary.NAME}.safetensors").write_bytes(
        safetensors.save(stored, metadata={"names": json.dumps(model.expression_names)}))


def main() -> None:
    """Run the builder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=pathlib.Path, nargs="+", help="of labels of kind expressions or random")
    parser.add_argument("--most", type=int, default=8000, help="pictures of each run")
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS, help="folder of the file")
    arguments = parser.parse_args()
    build(arguments.runs, arguments.out, most=arguments.most)


if __name__ == "__main__":
    main()
