"""FineNet beside the least squares it begins with and stage 2: wrinkles on synthetic heads, one wrinkle in five lights, hard light.

    python -m tests.measurements.fine_geometry [--heads NUMBER] [--labels RUN]

The heads are those of `wrinkles`, from seed 100 on: neither stage 2 nor the network was tuned on them. Of `--labels`, a run of
`fitkit labels make detail` that the network never saw, pictures with a lamp that casts shadows and those without are told apart;
all are given the true coefficients and the nearest light of spherical harmonics.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax.numpy as jnp
import numpy as np

from fitkit.fitting.state import FaceState, rasterize_state
from fitkit.geometry.camera import VIEW_TO_CAMERA
from fitkit.geometry.pose import Pose
from fitkit.geometry.vectors import safe_normalize
from fitkit.labels.hidden_modes import folded_model
from fitkit.labels.reading import open_labels, read_record
from fitkit.labels.record import Record
from fitkit.models.finenet import inference
from fitkit.models.heads import makehuman
from fitkit.recipes import finenet
from fitkit.recipes.inverse_rendering import geometry_refinement
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.shading import basis_planes
from fitkit.types import Detail, FaceParameters, MorphableModel
from tests.measurements.wrinkles import Case, Row, angle, fitted, make_case, measure, measure_fitted, random_light, summary

FIRST = 100               # seed
LIGHTS = 5
NOISE = 0.005             # deviation of the photo's pixels, sRGB
DEEP = 0.1                # mm: displacement from which a pixel of a labelled picture counts as wrinkled
SEEN = 0.5                # of the mask, from which a pixel of one counts at all
Refine = Callable[[MorphableModel, FaceState, np.ndarray], Detail]


def by_network(model: MorphableModel, state: FaceState, photo: np.ndarray) -> Detail:
    """FineNet."""
    return finenet.refine(model, state, jnp.asarray(photo), rasterize_state(state, model, size=len(photo)))


def by_shading(model: MorphableModel, state: FaceState, photo: np.ndarray) -> Detail:
    """Stage 2."""
    return geometry_refinement.refine(model, state, jnp.asarray(photo), rasterize_state(state, model, size=len(photo)),
                                      config=GeometryRefinementConfig())


def by_least_squares(model: MorphableModel, state: FaceState, photo: np.ndarray) -> Detail:
    """What FineNet begins with, and answers untrained: all of its weights are 0."""
    nothing = {name: 0 * value for name, value in inference._weights().items()}
    with mock.patch.object(inference, "_weights", lambda: nothing):
        return by_network(model, state, photo)


METHODS: dict[str, Refine] = {"finenet": by_network, "least squares": by_least_squares, "stage 2": by_shading}


def spread_over_lights(cases: list[Case], refine: Refine) -> tuple[float, float]:
    """Deviation of the displacement over the lights in the wrinkles as a share of its mean, and that mean as one of the truth."""
    found = np.stack([np.asarray(refine(case.model, case.state, case.photo).displacement) for case in cases])
    there, truth = cases[0].wrinkled, cases[0].displacement
    middle, sign = found.mean(0)[there], np.sign(truth[there])
    return float(found.std(0)[there].mean() / np.abs(middle).mean()), float((sign * middle).mean() / (sign * truth[there]).mean())


def heads(count: int) -> None:
    """The tables of heads: from the true coefficients, after a real first stage, and in five lights."""
    true: dict[str, list[Row]] = {name: [] for name in METHODS}
    real: dict[str, list[Row]] = {name: [] for name in METHODS}
    spread: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for seed in range(FIRST, FIRST + count):
        case = make_case(seed, noise=NOISE)
        solution = fitted(case, seed)
        lit = [make_case(seed, noise=NOISE, light=random_light(np.random.default_rng(1000 * seed + k))) for k in range(LIGHTS)]
        for name, refine in METHODS.items():
            true[name].append(measure(case, refine(case.model, case.state, case.photo)))
            real[name].append(measure_fitted(case, refine(case.model, solution.state, case.photo)))
            spread[name].append(spread_over_lights(lit, refine))
            rows = (*dataclasses.astuple(true[name][-1]), *dataclasses.astuple(real[name][-1]), *spread[name][-1])
            print(seed, name, " ".join(f"{value:.3f}" for value in rows), flush=True)
    for title, table in (("from the true coefficients", true), ("after a real stage 1, high-passed", real)):
        for name, rows in table.items():
            print(f"{title}, {name}: " + "error removed {:.3f}  correlation {:.3f}  flat skin {:.4f} mm".format(*summary(rows)))
    for name, pairs in spread.items():
        print("in {} lights, {}: deviation {:.3f} of the mean, which is {:.2f} of the truth".format(
            LIGHTS, name, *np.mean(pairs, axis=0)))


def state_of(record: Record) -> FaceState:
    """The true coefficients of a labelled picture, its lamp and harmonics as harmonics alone."""
    turn, place = jnp.asarray(np.transpose(VIEW_TO_CAMERA) @ record.rotation), jnp.asarray(record.translation)
    focal, scale = jnp.asarray(record.focal), jnp.asarray(record.focal) / place[2]
    pose = Pose(rotation=turn, centre=place[:2] * scale, log_scale=jnp.log(scale), log_focal=jnp.log(focal),
                principal=jnp.asarray(record.principal))
    normals = np.random.default_rng(0).normal(size=(2000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    basis = np.stack([np.asarray(plane) * np.ones(len(normals)) for plane in basis_planes(*jnp.asarray(normals.T), 3)], axis=1)
    lamp = np.maximum(normals @ record.lamp_direction, 0)[:, None] * record.lamp
    light = record.light + np.linalg.lstsq(basis, lamp, rcond=None)[0]
    face = FaceParameters(identity=jnp.asarray(record.identity), expression=jnp.asarray(record.expression),
                          albedo=jnp.asarray(record.albedo), light=jnp.asarray(light, jnp.float32))
    return FaceState(face=face, pose=pose)


def labelled(run: Path, count: int) -> None:
    """The table of labelled pictures, with a lamp and without: share of the normals' error in wrinkles removed, flat skin."""
    source, model = open_labels(run), folded_model(makehuman.load())
    rows: dict[tuple[bool, str], list[tuple[float, float, float]]] = {}
    for index in range(len(source) - count, len(source)):
        record = read_record(source, index)
        state, photo = state_of(record), np.asarray(record.picture, np.float32) / 255
        truth, moved = record.dense("normals"), record.dense("displacement")
        for name, refine in METHODS.items():
            detail = refine(model, state, photo)
            bare = record.face & (np.asarray(finenet.refine(model, state, jnp.asarray(photo), rasterize_state(
                state, model, size=len(photo))).mask) > SEEN)
            there, flat = bare & (np.abs(moved) > DEEP), bare & (np.abs(moved) < DEEP / 10)
            if there.sum() < 100:
                continue
            coarse = np.asarray(safe_normalize(jnp.asarray(smooth_normals(model, state, len(photo)))))
            rows.setdefault((bool(record.lamp.max() > 0), name), []).append((
                float(angle(coarse, truth)[there].mean()), float(angle(np.asarray(detail.normals), truth)[there].mean()),
                float(np.sqrt(np.mean(np.asarray(detail.displacement)[flat] ** 2)))))
    for (lamp, name), table in sorted(rows.items()):
        before, after, level = np.array(table).T
        print(f"{len(table)} labelled pictures {'with' if lamp else 'without'} a lamp, {name}: error removed"
              f" {1 - after.mean() / before.mean():.3f}  flat skin {np.sqrt(np.mean(level**2)):.4f} mm")


def smooth_normals(model: MorphableModel, state: FaceState, size: int) -> Any:
    """Unit normals [S, S, 3] of the head without relief."""
    black = jnp.full((size, size, 3), jnp.nan)      # of which nothing is found
    return finenet.refine(model, state, black, rasterize_state(state, model, size=size)).normals


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=10)
    parser.add_argument("--labels", type=Path, help="a run of detail that the network never saw; its last pictures are taken")
    parser.add_argument("--pictures", type=int, default=60, help="of that run")
    given = parser.parse_args()
    heads(given.heads)
    if given.labels:
        labelled(given.labels, given.pictures)


if __name__ == "__main__":
    main()
