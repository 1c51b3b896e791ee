"""DFDN on synthetic wrinkles, held-out patches, painted beards and seams; rows of ablations by folders of weights.

    python -m tests.measurements.dfdn [--networks FOLDER ...] [--heads N] [--fitted] [--labels RUN ...] [--painted RUN] [--seams]

The heads are those of `wrinkles`, from seed 100 on: nothing was tuned on them. A row is a folder of weights (`shipped`: those that
come with fitkit; `least squares`: what the networks begin with): the share of the normals' error in wrinkles that is removed, of
the whole network and of PDIM alone, on all of the face and by area; correlation; rms on flat skin. `--lamps` gives the same in hard
light from the side. `--labels` names the runs that a network was trained on: their held-out part tells the PCA's share and the
figures of patches. `--painted` names a run of `random`, whose skins are painted without relief. `--seams` measures steps where
patches end.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np

from fitkit.color import LUMINANCE
from fitkit.fitting.state import rasterize_state
from fitkit.geometry.pose import camera_from_pose
from fitkit.labels.reading import open_labels
from fitkit.models.dfdn import inference
from fitkit.models.dfdn.inference import TrainedArea, load_networks
from fitkit.models.dfdn.inputs import UNIT_TEXEL, explain, network_patches, planes_of, proxy_tables, unwrap
from fitkit.models.dfdn.networks import UNIT
from fitkit.models.dfdn.patches import AREAS, origins, stitched, stitching_weights
from fitkit.models.parameters import with_parameters
from fitkit.morphable.model import shape
from fitkit.morphable.regions import region_mask
from fitkit.recipes.dfdn.refinement import refine
from fitkit.recipes.train.dfdn import task
from fitkit.recipes.train.dfdn.basis import kept_variance
from fitkit.recipes.train.dfdn.examples import COEFFICIENTS, CoarseState, camera_of, training_head, unwrapped
from fitkit.rendering.shading import light_from_direction
from fitkit.rendering.texture import sample_image, values_at_fragments
from tests.measurements.wrinkles import Case, angle, fitted, make_case, measure, measure_fitted

FIRST = 100                 # seed
NOISE = 0.005               # deviation of the photo's pixels, sRGB
LEAST_SQUARES = "least squares"
LAMPS = ((85.0, 10.0), (-85.0, 10.0), (60.0, 60.0))         # degrees: azimuth and height of hard lamps
PAINTED, BESIDE = 40, 0.6   # pictures with beards; brightness of a beard relative to the cheeks


def map_of(networks: tuple[TrainedArea, ...] | None, *, broad: bool = False) -> Callable[..., Any]:
    """The displacement map of some networks, of their PDIM alone, or of least squares, as `refine` takes it."""
    def found(model: Any, vertices: Any, camera: Any, photo: Any) -> Any:
        if networks is not None and not broad:
            return inference.displacement_map(networks, model, vertices, camera, photo)
        side = 64 if networks is None else networks[0].sizes.side
        shown, planes = _planes(model, vertices, camera, photo, side)
        if networks is None:
            return UNIT_TEXEL * planes[..., -1] * shown.skin, shown.skin
        places = [origins(area, side) for area in AREAS]
        patches = jnp.concatenate([_broad(each, network_patches(planes, some, side)) for each, some in zip(
            networks, places, strict=True)])
        return stitched(patches, sum(places, ()), size=len(planes)) * shown.skin, shown.skin

    return found


def _planes(model: Any, vertices: Any, camera: Any, photo: Any, side: int) -> Any:
    tables = proxy_tables(model, side)
    shown = unwrap(model, tables, vertices, camera, photo)
    return shown, planes_of(shown, explain(model, tables, shown))


def _broad(area: TrainedArea, patches: Any) -> Any:
    network = with_parameters(inference._network(area.sizes), area.parameters)
    return UNIT * network(patches[..., :area.sizes.planes])[0]


def halves(case: Case) -> dict[str, np.ndarray]:
    """Where a case's wrinkles are of the forehead, and of mouth and cheeks."""
    rows = np.nonzero(case.wrinkled.any(axis=1))[0]
    upper = np.arange(len(case.photo))[:, None] < (rows[0] + rows[-1]) / 2
    return {"forehead": case.wrinkled & upper, "mouth": case.wrinkled & ~upper}


def rows_of(case: Case, detail: Any, *, real: bool) -> list[float]:
    """Error in wrinkles before and after, of all, forehead and mouth; correlation; flat skin, mm."""
    row = (measure_fitted if real else measure)(case, detail)
    parts = [float(angle(normals, case.normals)[there].mean()) for there in halves(case).values()
             for normals in (case.smooth, np.asarray(detail.normals))]
    return [row.before, row.after, *parts, row.correlation, row.flat]


def heads(folders: list[str], count: int, *, real: bool, lamps: bool, size: int) -> None:
    """The table of heads."""
    methods: dict[str, Callable[..., Any]] = {LEAST_SQUARES: map_of(None)}
    for folder in folders:
        networks = load_networks(folder="" if folder == "shipped" else folder)
        methods |= {folder: map_of(networks), f"{folder}, PDIM alone": map_of(networks, broad=True)}
    table: dict[str, list[list[float]]] = {name: [] for name in methods}
    for seed in range(FIRST, FIRST + count):
        for lamp in (LAMPS if lamps else (None,)):
            case = make_case(seed, size=size, noise=NOISE, light=None if lamp is None else hard_light(*lamp))
            state = fitted(case, seed).state if real else case.state
            seen = rasterize_state(state, case.model, size=len(case.photo))
            for name, method in methods.items():
                detail = refine(case.model, state, jnp.asarray(case.photo), seen, map_of=method)
                table[name].append(rows_of(case, detail, real=real))
    for name, rows in table.items():
        mean = np.nanmean(rows, axis=0)
        print(f"{count} heads{', after a real stage 1' if real else ''}{', hard lamps' if lamps else ''}, {name}: error removed"
              f" {1 - mean[1] / mean[0]:.3f} (forehead {1 - mean[3] / mean[2]:.3f}, mouth {1 - mean[5] / mean[4]:.3f})  correlation"
              f" {mean[6]:.3f}  flat skin {np.sqrt(np.mean(np.square(np.array(rows)[:, 7]))):.4f} mm", flush=True)


def hard_light(azimuth: float, height: float) -> np.ndarray:
    """One lamp and little else, spherical harmonics [9, 3]."""
    across, up = np.radians([azimuth, height])
    towards = jnp.asarray([np.sin(across) * np.cos(up), np.sin(up), np.cos(across) * np.cos(up)])
    return np.asarray(light_from_direction(towards, ambient=0.15, strength=1.0)) * np.ones((1, 3))


def patches(folders: list[str], runs: list[Path]) -> None:
    """Held-out patches: the share of their second moment that the PCA holds, and what PDIM and PDRM remove."""
    for number, area in enumerate(AREAS):
        config = dataclasses.replace(task.CONFIGS["small"], area=area)
        data = task.load(runs, (), config)
        some = np.abs(data.held.target).max((1, 2)) > 0.05
        for folder in folders:
            trained = load_networks(folder="" if folder == "shipped" else folder)[number]
            network = with_parameters(inference._network(trained.sizes), trained.parameters)
            share = kept_variance(np.asarray(trained.parameters["basis"]), np.asarray(data.held.target[some], np.float32))
            figures = task.score(SimpleNamespace(generator=network), data, config)
            print(f"held-out patches, {area}, {folder}: the PCA holds {share:.3f} of {int(some.sum())};", "  ".join(
                f"{name} {value:.3f}" for name, value in figures.items()), flush=True)


def painted(folders: list[str], run: Path) -> None:
    """False displacement where a beard is painted, mm, and on the cheeks beside it."""
    source, model = open_labels(run, fields=("picture", "mask", "albedo_map", *COEFFICIENTS)), training_head()
    masks = values_at_fragments(proxy_tables(model, 64).texels, model.triangles, jnp.stack(
        [region_mask(model, "beard"), region_mask(model, "cheeks")], axis=-1))
    found: dict[str, list[list[float]]] = {folder: [] for folder in [LEAST_SQUARES, *folders]}
    for index in range(len(source)):
        fields = source[index]
        state, photo = CoarseState(*(fields[name] for name in COEFFICIENTS)), fields["picture"] / np.float32(255)
        shown, _, _ = unwrapped(state, photo, side=64)
        colour = np.asarray(sample_image(jnp.asarray(fields["albedo_map"], jnp.float32), shown.pixels)) @ np.array(LUMINANCE)
        beard, cheek = ((np.asarray(masks[..., k]) > 0.5) & (np.asarray(shown.skin) > 0.5) for k in range(2))
        if beard.sum() < 500 or cheek.sum() < 100 or np.median(colour[beard]) > BESIDE * np.median(colour[cheek]):
            continue
        vertices = _shape(model, state)
        for folder in found:
            method = map_of(None if folder == LEAST_SQUARES else load_networks(folder="" if folder == "shipped" else folder))
            heights = np.asarray(method(model, vertices, camera_of(state), jnp.asarray(photo))[0])
            found[folder].append([float(np.sqrt(np.mean(heights[there] ** 2))) for there in (beard, cheek)])
        if len(found[LEAST_SQUARES]) == PAINTED:
            break
    for folder, rows in found.items():
        each = np.sqrt(np.mean(np.square(rows), axis=0))
        print(f"{len(rows)} painted beards, {folder}: {each[0]:.4f} mm, cheeks {each[1]:.4f} mm", flush=True)


def _shape(model: Any, state: CoarseState) -> Any:
    return shape(model, jnp.asarray(state.identity), jnp.asarray(state.expression))


def seams(folders: list[str], count: int) -> None:
    """Steps of the stitched map where patches end, as a share of its rms, beside the authors' Gaussian, which does not end in 0."""
    for folder in folders:
        networks = load_networks(folder="" if folder == "shipped" else folder)
        side, shares = networks[0].sizes.side, {"ours": [], "the authors' Gaussian": []}
        for seed in range(FIRST, FIRST + count):
            case = make_case(seed, noise=NOISE)
            vertices = _shape(case.model, CoarseState(case.state.face.identity, case.state.face.expression, *[np.zeros(1)] * 4))
            _, planes = _planes(case.model, vertices, camera_from_pose(case.state.pose), jnp.asarray(case.photo), side)
            places = [origins(area, side) for area in AREAS]
            found = np.concatenate([np.asarray(inference.area_displacement(each, network_patches(planes, some, side)))
                                    for each, some in zip(networks, places, strict=True)])
            line = np.exp(-0.5 * (((np.arange(side) + 0.5) / side - 0.5) / (50 / 256)) ** 2)
            for name, weights in (("ours", stitching_weights(side)), ("the authors' Gaussian", np.outer(line, line))):
                shares[name].append(step_share(found, sum(places, ()), weights, len(planes)))
        for name, values in shares.items():
            print(f"seams, {folder}, {name}: {np.mean(values):.4f} of the map's rms", flush=True)


def step_share(found: np.ndarray, places: Any, weights: np.ndarray, size: int) -> float:
    """Rms of what enters with the first row or column of a patch, over the rms of the map."""
    side = found.shape[1]
    total, share = np.zeros((size, size)), np.zeros((size, size))
    for patch, (row, column) in zip(found, places, strict=True):
        part = slice(row, row + side), slice(column, column + side)
        total[part] += weights * patch
        share[part] += weights
    whole = total / np.maximum(share, 1e-9)
    steps = []
    for patch, (row, column) in zip(found, places, strict=True):
        part = slice(row, row + side), slice(column, column + side)
        others = share[part] - weights
        moved = np.where(others > 1e-6, weights * (patch - whole[part]) / np.maximum(others, 1e-6), 0.0)
        steps += [moved[0], moved[-1], moved[:, 0], moved[:, -1]]
    return float(np.sqrt(np.mean(np.square(steps))) / np.sqrt(np.mean(whole**2)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=["shipped"], help="folders of weights, or shipped")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--size", type=int, default=512, help="of the photos of heads, pixels")
    parser.add_argument("--fitted", action="store_true", help="after a real first stage, too")
    parser.add_argument("--lamps", action="store_true", help="in hard light, too")
    parser.add_argument("--labels", type=Path, nargs="*", default=[])
    parser.add_argument("--painted", type=Path)
    parser.add_argument("--seams", action="store_true")
    given = parser.parse_args()
    if given.heads:
        heads(given.networks, given.heads, real=False, lamps=False, size=given.size)
        if given.lamps:
            heads(given.networks, given.heads, real=False, lamps=True, size=given.size)
        if given.fitted:
            heads(given.networks, given.heads, real=True, lamps=False, size=given.size)
    if given.labels:
        patches(given.networks, given.labels)
    if given.painted:
        painted(given.networks, given.painted)
    if given.seams:
        seams(given.networks, given.heads)


if __name__ == "__main__":
    main()
