"""DFDN without parts of it, by short trainings: PDRM, PCA, adversary, appearance loss, layers of single texels, areas.

    python -m tests.measurements.dfdn_ablations DETAIL RANDOM VARY --basis FOLDER [--steps N] [--rows NAME ...] [--heads N]

The runs are those that the shipped networks were trained on, FOLDER is what `python -m fitkit.recipes.train.dfdn.basis` made. A row
is a training of its own, all of as many steps of the same patches; of "all" there are two, whose weights begin otherwise and whose
patches come in another order: less than what these differ by is no difference. Printed, of held-out patches of its area: the share
of the normals' error in wrinkles removed, by PDIM alone too (all without PDRM), and degrees of false slope on flat skin. Of rows of
the forehead also the share removed on foreheads of synthetic heads, in their own light and in hard light from the side, of which
labelled pictures have little: one lamp and hardly any light from elsewhere.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.device import keep_compiled_programs
from fitkit.fitting.state import rasterize_state
from fitkit.models.dfdn.inference import TrainedArea
from fitkit.models.dfdn.networks import DfdnSizes
from fitkit.models.parameters import named_state
from fitkit.recipes.dfdn.refinement import refine
from fitkit.recipes.train import loop
from fitkit.recipes.train.dfdn import task
from tests.measurements.dfdn import FIRST, LAMPS, NOISE, hard_light, map_of, rows_of
from tests.measurements.wrinkles import make_case

ROWS: dict[str, dict[str, Any]] = {
    "all": {}, "all, seed 1": {"seed": 1}, "no adversary": {"weight_adversary": 0.0}, "no appearance loss": {"photographs": 0},
    "no appearance loss, seed 1": {"photographs": 0, "seed": 1}, "no PDIM, no PCA": {"pdim_width": 0},
    "no layers of single texels": {"pdrm_fine": 0}, "cosines, no PCA": {"basis": ""}, "no loss of slopes": {"weight_slopes": 0.0},
    "all, mouth": {"area": "mouth"}, "one network for both areas": {"area": "both"}}


def trained(given: argparse.Namespace, changed: dict[str, Any]) -> tuple[Any, Any]:
    """The network of a row, and its configuration."""
    plain = task.CONFIGS["small"]
    area = changed.get("area", "forehead")
    basis = given.basis / f"basis_{'forehead' if area == 'both' else area}.safetensors"
    config = dataclasses.replace(plain, **{"basis": str(basis), "steps": given.steps, "constant": round(
        given.steps * plain.constant / plain.steps), **changed})
    data = task.load(given.runs, (), dataclasses.replace(config, seed=0))       # patches are those of one seed
    with tempfile.TemporaryDirectory() as work:
        found = loop.train(dataclasses.replace(task.DFDN, load=lambda *_: data), config, given.runs, work=Path(work))
    return found.network.generator, config


def on_patches(network: Any, config: Any, given: argparse.Namespace) -> str:
    """Figures of held-out patches, of each area that it is for."""
    line = ""
    for area in ("forehead", "mouth") if config.area == "both" else (config.area,):
        data = task.load(given.runs, (), dataclasses.replace(config, area=area, seed=0))
        told = task.score(SimpleNamespace(generator=network), data, config)
        line += (f"  {area} {told['error_removed']:.3f} (PDIM {told['pdim_error_removed']:.3f}), flat {told['flat_degrees']:.2f}"
                 f" ({told['pdim_flat_degrees']:.2f}) degrees")
    return line


def on_foreheads(network: Any, config: Any, cases: list[Any]) -> float:
    """Share of the normals' error on foreheads that is removed."""
    sizes = DfdnSizes(**task.described(config))
    area = TrainedArea({name: jnp.asarray(value) for name, value in named_state(network).items()}, sizes)
    told = []
    for case in cases:
        seen = rasterize_state(case.state, case.model, size=len(case.photo))
        detail = refine(case.model, case.state, jnp.asarray(case.photo), seen, map_of=map_of((area, area)))
        told.append(rows_of(case, detail, real=False))
    mean = np.nanmean(told, axis=0)
    return float(1 - mean[3] / mean[2])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs=3, type=Path)
    parser.add_argument("--basis", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--heads", type=int, default=2, help="of those of `dfdn`")
    given = parser.parse_args()
    keep_compiled_programs()
    seeds = range(FIRST, FIRST + given.heads)
    own = [make_case(seed, noise=NOISE) for seed in seeds]
    hard = [make_case(seed, noise=NOISE, light=hard_light(*lamp)) for seed in seeds for lamp in LAMPS]
    for name in given.rows:
        started = time.process_time()
        network, config = trained(given, ROWS[name])
        line = f"{name:28s}{on_patches(network, config, given)}"
        if config.area == "forehead" and given.heads:
            line += "  heads " + ", hard light ".join(f"{on_foreheads(network, config, each):.3f}" for each in (own, hard))
        print(f"{line}  ({time.process_time() - started:.0f} s)", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
