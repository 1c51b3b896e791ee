"""The PCA of displacement patches (Chen et al. 2019, Section 4.2): a file of components for `fitkit train dfdn --set basis=FILE`.

    python -m fitkit.recipes.train.dfdn.basis RUN [RUN ...] --out FOLDER

No mean is taken off, as in the authors' code: displacement is about 0 on the mean.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.numpy
from jaxtyping import Float

from fitkit.io.atomic_files import write_bytes
from fitkit.models.dfdn.networks import DfdnSizes
from fitkit.recipes.train.dfdn.task import CONFIGS, load

SPARE, TURNS = 16, 2        # more directions than are kept, and power iterations, of the randomised SVD (Halko et al. 2011)


def patch_basis(patches: Float[np.ndarray, "n s s"], *, components: int) -> Float[np.ndarray, "s*s k"]:
    """The directions of the largest second moments of patches, each as long as its deviation."""
    rows = patches.reshape(len(patches), -1).astype(np.float32)
    rng = np.random.default_rng(0)
    span = rng.standard_normal((rows.shape[1], min(components + SPARE, *rows.shape)), np.float32)
    for _ in range(TURNS):
        span = np.linalg.qr(rows.T @ (rows @ span))[0]
    _, singular, directions = np.linalg.svd(rows @ span, full_matrices=False)
    found = (span @ directions.T * (singular / len(rows) ** 0.5))[:, :components]
    return np.pad(found, ((0, 0), (0, components - found.shape[1])))


def kept_variance(basis: Float[np.ndarray, "n k"], patches: Float[np.ndarray, "b s s"]) -> float:
    """Share of the second moment of patches that a basis with orthogonal columns holds."""
    rows = patches.reshape(len(patches), -1).astype(np.float64)
    unit = basis / np.maximum(np.linalg.norm(basis, axis=0), 1e-12)
    return float(np.sum((rows @ unit) ** 2) / np.sum(rows**2))


def main() -> None:
    """Write the bases of both areas."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=CONFIGS["small"].pictures, help="that patches are taken of")
    given = parser.parse_args()
    areas: tuple[Literal["forehead", "mouth"], ...] = ("forehead", "mouth")
    for area in areas:
        config = dataclasses.replace(CONFIGS["small"], area=area, pictures=given.pictures)
        data = load(given.runs, (), config)
        basis = patch_basis(data.labelled.target, components=DfdnSizes().components)
        kept = [kept_variance(basis, each.target) for each in (data.labelled, data.held)]
        print(f"{area}: {basis.shape[1]} components hold {kept[0]:.3f} of {len(data.labelled.target)} patches, {kept[1]:.3f} of"
              " those held out")
        given.out.mkdir(parents=True, exist_ok=True)
        write_bytes(given.out / f"basis_{area}.safetensors", safetensors.numpy.save({"basis": basis.astype(np.float32)}))


if __name__ == "__main__":
    main()
