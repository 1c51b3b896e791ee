"""How well the folds of an expression are told from wrinkles that last: drawn heads whose relief is the sum of both.

Lines of age (`relief/grooves.py`) last, waves where an expression compresses the skin (`relief/compression.py`) are its folds.
Prints for each head the share of the energy of its folds that `split_relief` takes off at rest, and the share of the energy of its
lines that it leaves; where both lie on one another no rule by place can have both. The folds are drawn by compression, which is
also what they are told by: of the two figures the second is the telling one.

    python -m tests.measurements.expression_folds --heads 10
"""

import argparse
import dataclasses

import jax.numpy as jnp
import numpy as np

from fitkit.models.heads import makehuman
from fitkit.morphable.model import shape
from fitkit.recipes.synthesize.relief import compression, grooves
from fitkit.recipes.synthesize.relief.surface import texel_surface
from fitkit.types import FaceParameters
from fitkit.uv.displacement import relief_on
from fitkit.uv.expression_relief import expressed_relief, split_relief

SIZE = 512                  # texels
AGE = 65                    # years: lines are deep
SMILE = {"mouthSmile": (0.5, 1.0), "cheekSquint": (0.2, 0.8), "eyeSquint": (0.1, 0.6)}
SURPRISE = {"browInnerUp": (0.5, 1.0), "browOuterUp": (0.5, 1.0), "eyeWide": (0.2, 0.6)}
ANGER = {"browDown": (0.6, 1.0), "noseSneer": (0.3, 0.9), "mouthPress": (0.2, 0.6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=10)
    heads = parser.parse_args().heads
    model, surface = makehuman.load(detector=False), texel_surface(size=SIZE)
    rows = []
    for seed in range(heads):
        rng = np.random.default_rng(seed)
        identity = np.asarray(model.identity_mean) + rng.normal(0, 0.7, len(model.identity_mean))
        wanted = (SMILE, SURPRISE, ANGER)[seed % 3]
        weights = np.array([next((rng.uniform(*span) for start, span in wanted.items() if name.startswith(start)), 0.0)
                            for name in model.expression_names])
        face = FaceParameters(identity=jnp.asarray(identity, jnp.float32), expression=jnp.asarray(weights, jnp.float32),
                              albedo=jnp.zeros(len(model.albedo)), light=jnp.ones((1, 3)))
        rest, moved = (np.asarray(shape(model, face.identity, each), np.float64) for each in (face.expression * 0, face.expression))
        folds = compression.expression_wrinkles(rng, surface, rest, moved, np.asarray(model.triangles))
        lines = grooves.relief(surface, grooves.draw_grooves(rng, surface.ground, age=AGE))
        split = split_relief(model, face, relief_on(model, face, jnp.asarray(folds + lines, jnp.float32)))
        calm = dataclasses.replace(face, expression=face.expression * 0)
        left = [np.asarray(expressed_relief(model, calm, split._replace(displacement=jnp.asarray(part, jnp.float32))).displacement)
                for part in (folds, lines)]
        row = 1 - (left[0] ** 2).sum() / (folds**2).sum(), (left[1] ** 2).sum() / (lines**2).sum()
        rows.append(row)
        print(f"head {seed}: {100 * row[0]:.0f} % of the folds leave, {100 * row[1]:.0f} % of the lines stay (energy)")
    print("mean: {:.0f} % of the folds leave, {:.0f} % of the lines stay".format(*(100 * np.mean(rows, axis=0))))


if __name__ == "__main__":
    main()
