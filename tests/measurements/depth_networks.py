"""DF2Net's networks (Zeng et al. 2019): depth beside the mean head's, normals in wrinkles, shading losses on photos, milliseconds.

    python -m tests.measurements.depth_networks depth RUN        labels of kind random that no network saw
    python -m tests.measurements.depth_networks wrinkles RUN     labels of kind detail that no network saw; and heads of `wrinkles`
    python -m tests.measurements.depth_networks photos FOLDER [--trained RUN] [--sheet FILE.png]
    python -m tests.measurements.depth_networks ablations RANDOM --fine DETAIL --held RANDOM DETAIL     minutes for each training
    python -m tests.measurements.depth_networks speed

`--weights FOLDER` takes dnet.safetensors, fnet.safetensors and frnet.safetensors from there. The networks are given what recipe
`df2net` gives them: the crop around the points that CoarseNet sees, and face and depth of its head. Depth in mm after RANSAC for
scale and shift, inside the outline of the detected points. `--trained` leaves out the photos that a run of kind vary was made of.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image
from scipy.ndimage import gaussian_filter

from fitkit import pipeline
from fitkit.color import srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.evaluation.metrics.depth import df2net_depth
from fitkit.fitting.state import FaceState, neutral_state, rasterize_state
from fitkit.geometry.pose import rescale_pose
from fitkit.io.images import find_photos
from fitkit.labels.drawing import HEAD
from fitkit.labels.reading import open_labels, source_of
from fitkit.models.df2net import dnet, fnet, frnet, inference
from fitkit.models.df2net.depth_frame import continued, depth_normals
from fitkit.models.df2net.inference import SIDE, Depths, find_depths, load_network, network_colours
from fitkit.recipes.df2net import refinement
from fitkit.recipes.inverse_rendering.face_surface import render
from fitkit.recipes.train.df2net import examples, losses
from fitkit.recipes.train.df2net.starts import coarse_depths, cut_start
from fitkit.recipes.train.finenet.labelled_face import foldable
from fitkit.recipes.train.loop import train
from fitkit.recipes.train.tasks import find_task
from tests.measurements.wrinkles import angle, make_case, measure, summary

SIDE_PICTURES = 256       # pixels: crop of what is measured
DEEP = 0.1                # mm: displacement from which a pixel of a labelled picture counts as wrinkled; a tenth of it is flat
FACING = 0.5              # cosine to the viewer of skin that is judged
FINE = 4.0                # mm: deviation of the Gaussian over which relief on flat skin is levelled
GAIN = 12.0               # mm: deviation of the Gaussian over which the photo's brightness over the model's is taken for albedo
FIRST = 100               # seed of the first head of `wrinkles`
ROUNDS = 5                # timed runs of each network, after one that compiles
NAMES = ("D-Net", "F-Net", "Fr-Net")
Networks = tuple[inference.Trained, inference.Trained, inference.Trained]


def job_of(recipe: str, **fields: Any) -> pipeline.Job:
    """A job on crops of `SIDE_PICTURES` pixels."""
    return pipeline.prepare(recipe=recipe, head="makehuman", size=SIDE_PICTURES, seed=0, detector="mediapipe", progress=None,
                            fields=fields)


def depth(run: Path, networks: Networks, count: int) -> None:
    """Depth errors of the mean head in the detector's pose, of CoarseNet's head and of the networks."""
    points, network = job_of("landmarks"), job_of("coarsenet")
    source, rows = open_labels(run, fields=("picture", "mask", "depth")), []
    for index in range(len(source)):
        read = source[index]
        try:
            marked, seen = (observed(read["picture"].astype(np.float32) / 255, job) for job in (points, network))
        except FitkitError:
            continue
        scale, offset = seen.back
        square = examples.Square(np.asarray(offset, np.float64) + scale * SIDE_PICTURES / 2, scale * SIDE_PICTURES)
        there = (read["mask"] & HEAD > 0).astype(np.float32)
        share = examples.cut(there, square, side=SIDE_PICTURES)
        truth = np.where(share > 0.99, examples.cut(read["depth"] * there, square, side=SIDE_PICTURES) / np.maximum(share, 1e-3), 0)
        # from the detector's crop to the network's
        larger, beside = marked.back[0] / scale, (np.asarray(marked.back[1]) - np.asarray(offset)) / scale
        pose = rescale_pose(marked.observation.message.pose, jnp.float32(larger), jnp.asarray(beside, jnp.float32))
        mean_head = rasterize_state(neutral_state(network.model, pose), network.model, size=SIDE_PICTURES).depth
        crop = crop_of(network, seen.observation.prediction, seen.observation.crop)
        found = find_depths(*networks, crop.colour, crop.start)
        inside, outline = np.asarray(crop.face) > 0, np.asarray(marked.observation.ibug) * larger + beside
        maps = [np.asarray(mean_head), np.asarray(crop.surface.depth), *(100 - np.asarray(each[0]) for each in found)]
        try:
            rows.append([df2net_depth(each * inside, truth, outline) for each in maps])
        except FitkitError:
            continue
        if len(rows) == count:
            break
    for name, column in zip(("mean head, detector's pose", "CoarseNet's head", *NAMES), zip(*rows, strict=True), strict=True):
        figures = [np.mean([getattr(each, figure) for each in column]) for figure in ("mean", "std", "median", "percentile90")]
        better = 1 - figures[0] / np.mean([row[0].mean for row in rows])
        print(f"{len(rows)} pictures, {name:27s} " + "mean {:.2f} std {:.2f} median {:.2f} 90 % {:.2f} mm".format(*figures)
              + f"; {100 * better:.0f} % below the mean head")


def observed(photo: Any, job: pipeline.Job) -> pipeline.Observed:
    """The largest face of a photo."""
    return pipeline.observe_face(pipeline.read(photo, job, landmarks=None, focal=None), 0, job)


def crop_of(job: pipeline.Job, state: FaceState, photo: Any) -> refinement.Crop:
    """What recipe `df2net` gives its networks."""
    return refinement._crop(job.model, state, photo, rasterize_state(state, job.model, size=photo.shape[0]))


def wrinkles(run: Path, networks: Networks, count: int, heads: int) -> None:
    """Normals in wrinkles and relief on flat skin, on labelled pictures and on heads of known coefficients."""
    pictures = examples.open_pictures([run], [run], fields=(*examples.FINE_FIELDS, "displacement"), most_yaw=45.0)[0]
    starts, rows = coarse_depths(pictures), []
    for index in range(len(pictures)):
        read = pictures.read(index)
        square = examples.square_of(read)
        dense = examples.dense_example(read, square, side=SIDE)
        start, shown = cut_start(starts[index], read, square, side=SIDE)
        moved = examples.cut(np.abs(read["displacement"]), square, side=SIDE)
        true = np.asarray(depth_normals(jnp.asarray(dense.depth), side=SIDE))
        skin = examples.cut(foldable(read["uv"]) * (read["mask"] & HEAD > 0), square, side=SIDE) > 0.5
        bare = (np.asarray(losses.inner(jnp.asarray(dense.seen & shown, jnp.float32))) > 0) & skin & (true[..., 2] > FACING)
        folds, flat = bare & (moved > DEEP), bare & (moved < DEEP / 10)
        if folds.sum() < 100:
            continue
        colour = network_colours(jnp.asarray(dense.colour), jnp.asarray(shown))
        found = find_depths(*networks, colour[None], continued(jnp.asarray(start), jnp.asarray(shown))[None])
        focal = float(read["focal"]) * SIDE / square.side
        pixel = float(np.percentile(read["depth"][read["mask"] & HEAD > 0], 0.5)) / focal
        errors = [angle(np.asarray(depth_normals(each[0], side=SIDE)), true)[folds].mean() for each in found]
        row = [*errors, *(relief_on(np.asarray(each[0]) - dense.depth, dense.face & shown, flat, pixel) for each in found),
               *(relief_on(np.asarray(each[0] - found.dense[0]), shown, flat, pixel) for each in found[1:])]
        rows.append(row)
        if len(rows) == count:
            break
    errors, flats, added = (np.array(rows)[:, part] for part in (slice(0, 3), slice(3, 6), slice(6, 8)))
    for k, name in enumerate(NAMES):
        gain = "" if not k else f"; {100 * (1 - errors[:, k].mean() / errors[:, k - 1].mean()):.1f} % below {NAMES[k - 1]}"
        print(f"{len(rows)} labelled pictures, {name}: {errors[:, k].mean():.2f} degrees in wrinkles{gain}; relief on flat skin"
              f" {np.sqrt(np.mean(flats[:, k] ** 2)):.3f} mm")
    print(f"relief added on flat skin: F-Net {np.sqrt(np.mean(added[:, 0] ** 2)):.3f} mm, F-Net and Fr-Net"
          f" {np.sqrt(np.mean(added[:, 1] ** 2)):.3f} mm")
    known_heads(networks, heads)


def known_heads(networks: Networks, heads: int) -> None:
    """Fine relief on heads of known coefficients: D-Net starts from the true smooth head, so that only wrinkles are to be found."""
    table: dict[str, list[Any]] = {name: [] for name in NAMES}
    added = []
    for seed in range(FIRST, FIRST + heads):
        case = make_case(seed, size=SIDE, noise=0.005)
        crop = refinement._crop(case.model, case.state, jnp.asarray(case.photo), rasterize_state(case.state, case.model, size=SIDE))
        found = find_depths(*networks, crop.colour, crop.start)
        for name, each in zip(NAMES, found, strict=True):
            table[name].append(measure(case, refinement._detail(crop, case.state, each[0], jnp.float32(0.0))))
        added.append([relief_on(np.asarray(each[0] - found.dense[0]), np.asarray(crop.face) > 0, case.flat, float(crop.pixel))
                      for each in found[1:]])
    for name, cases in table.items():
        print(f"{heads} heads of known coefficients, fine relief of {name}: "
              + "error removed {:.3f}  correlation {:.3f}  flat skin {:.4f} mm".format(*summary(cases)))
    fine, finer = np.sqrt(np.mean(np.square(added), axis=0))
    print(f"{heads} heads of known coefficients, relief added to D-Net's on flat skin: F-Net {fine:.3f} mm, both {finer:.3f} mm")


def relief_on(gap: np.ndarray, face: np.ndarray, flat: np.ndarray, pixel: float) -> float:
    """Root mean square on flat skin of what differs from its neighbourhood, mm; `gap` in half crops."""
    mm = np.where(face, gap, 0) * (SIDE / 2) * pixel
    share = np.maximum(gaussian_filter(face.astype(float), FINE / pixel), 1e-3)
    return float(np.sqrt(np.mean((mm - gaussian_filter(mm, FINE / pixel) / share)[flat] ** 2)))


def photos(folder: Path, networks: Networks, sheet: Path | None, count: int, trained: Path | None) -> None:
    """Shading losses on photos, each depth in its own best light, and pictures of their normals."""
    job, rows, strips = job_of("coarsenet"), [], []
    source = open_labels(trained, fields=("pose",)) if trained else ()
    known = {source_of(source, index)["photo"] for index in range(len(source))}
    for path in [path for path in find_photos(folder) if Path(path).name not in known][:count]:
        try:
            face = observed(path, job)
        except FitkitError as error:
            print(path.name, error)
            continue
        state = pipeline.solve([face], job, size=1, together=False)[0].state
        crop = crop_of(job, state, face.observation.crop)
        found = find_depths(*networks, crop.colour, crop.start)
        image = jnp.nan_to_num(srgb_to_linear(face.observation.crop))
        albedo = gained_albedo(crop, state.face.light, image, float(crop.pixel))
        mask = jnp.asarray(crop.fading > 0.5, jnp.float32)
        shading = [float(losses.shading_loss(normals, normals, albedo[None], image[None], mask[None]))
                   for normals in (depth_normals(each, side=SIDE) for each in found)]
        rows.append(shading)
        print(f"{path.name:28s} shading loss " + " ".join(f"{value:.4f}" for value in shading), flush=True)
        strips.append(strip(np.nan_to_num(np.asarray(face.observation.crop)), crop, found))
    table = np.array(rows)
    falls = [(table[:, k + 1] < table[:, k]).sum() for k in range(2)]
    means = ", ".join(f"{name} {value:.4f}" for name, value in zip(NAMES, table.mean(0), strict=True))
    print(f"{len(rows)} photos, shading loss: {means}; it falls from D-Net to F-Net on {falls[0]}, from F-Net to Fr-Net on"
          f" {falls[1]}")
    if sheet:
        Image.fromarray(np.concatenate(strips)).save(sheet)


def gained_albedo(crop: refinement.Crop, light: Any, image: Any, pixel: float) -> Any:
    """Albedo of stage 1's model times a smooth gain: what broad differences of brightness say of the skin, not of its shape."""
    surface = crop.surface
    shaded = srgb_to_linear(jnp.moveaxis(render(surface, light, jnp.eye(3), surface.slopes), 0, -1))
    face = np.asarray(crop.face)[..., None]
    means = [np.stack([gaussian_filter(each[..., k], GAIN / pixel) for k in range(3)], axis=-1)
             for each in (np.asarray(image) * face, np.asarray(shaded) * face)]
    return jnp.moveaxis(surface.albedo, 0, -1) * np.clip(means[0] / np.maximum(means[1], 1e-3), 0.3, 3.0)


def strip(photo: np.ndarray, crop: refinement.Crop, found: Depths) -> np.ndarray:
    """A row of pictures: photo, and D-Net's, F-Net's and Fr-Net's depth, lit from the upper left (Fig. 6)."""
    lamp = np.array([-0.5, 0.5, 0.7]) / np.linalg.norm([-0.5, 0.5, 0.7])
    normals = [np.asarray(depth_normals(each[0], side=SIDE)) for each in found]
    lit = [np.clip(0.15 + 0.85 * (each @ lamp), 0, 1) * np.asarray(crop.face) for each in normals]
    return np.rint(255 * np.concatenate([photo, *(np.repeat(each[..., None], 3, -1) for each in lit)], axis=1)).astype(np.uint8)


def ablations(run: Path, fine: Path, held: tuple[Path, Path], weights: Path | None, steps: int) -> None:
    """Short trainings, equally long: D-Net of kind 1 alone and of two kinds, with and without normals; Fr-Net and Fig. 5's others.

    D-Net is small; F-Net and Fr-Net are those that come with fitkit, from scratch, and stand on its D-Net and F-Net (`weights`).
    """
    with tempfile.TemporaryDirectory() as name:

        def trained(title: str, task: str, runs: list[Path], judged: Path, **fields: Any) -> None:
            chosen = find_task(task)
            config = dataclasses.replace(chosen.configs["small"], steps=steps, **fields)
            outcome = train(chosen, config, runs, held=[judged], work=Path(name) / title, every=10 * steps)
            scores = ", ".join(f"{key} {value:.4g}" for key, value in outcome.notes["scores"].items())
            print(f"{steps} steps of {config.batch}, {title}: {scores}", flush=True)

        small = {"side": 64, "levels": 4}
        trained("D-Net, kind 1 alone", "dnet", [run], held[0], **small)
        trained("D-Net, kind 1 and detail", "dnet", [run, fine], held[0], **small)
        trained("D-Net without L_nor", "dnet", [run], held[0], weight_normals=0.0, **small)
        trained("D-Net, the picture alone", "dnet", [run], held[0], started=False, **small)
        before = {name: str(weights / f"{name}.safetensors") if weights else "" for name in ("dnet", "fnet")}
        trained("F-Net without the guide", "fnet", [fine], held[1], guided=False, most_yaw=45.0, dnet=before["dnet"])
        trained("F-Net", "fnet", [fine], held[1], most_yaw=45.0, dnet=before["dnet"])
        third: dict[str, Any] = {"most_yaw": 45.0, **before}
        trained("Fr-Net", "frnet", [fine], held[1], **third)
        trained("Fr-Net without the guide", "frnet", [fine], held[1], guided=False, **third)
        trained("Fr-Net without multi-resolution", "frnet", [fine], held[1], stages="single", **third)
        trained("two F-Nets stacked", "frnet", [fine], held[1], stages="single", residual=0.0, guided=False, **third)


def speed() -> None:
    """Milliseconds of each network on one picture, in the shipped and in the paper's size, with what it is given computed."""
    for title, side, sizes in (("small", SIDE, (dnet.DNetSizes(), fnet.FNetSizes(), frnet.FrNetSizes())),
                               ("paper", 512, (dnet.PAPER, fnet.PAPER, frnet.PAPER))):
        colour = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, side, side, 3)), jnp.float32)
        depth = jnp.zeros((1, side, side))
        networks = [nnx.jit(lambda each=each, build=build: build(each))()
                    for each, (_, build) in zip(sizes, inference.BUILDERS.values(), strict=True)]
        networks[0].eval()
        runs = (partial(inference.dense_depth, side=sizes[0].side), refined, refined)
        for name, network, run in zip(NAMES, networks, runs, strict=True):
            planes = (colour, depth) if run is not refined else (depth, colour)
            wall, spent = milliseconds(nnx.jit(run), network, *planes)
            print(f"{title}, {name} on {side} pixels: {wall:.0f} ms, {spent:.0f} ms of a processor", flush=True)


def refined(network: Any, depth: Any, colour: Any) -> Any:
    """What F-Net or Fr-Net makes of whole crops."""
    return frnet.refined_depth(network, depth, colour, side=depth.shape[1])


def milliseconds(run: Callable[..., Any], *planes: Any) -> tuple[float, float]:
    """Least wall time and processor time of a call."""
    jax.block_until_ready(run(*planes))
    walls, spent = [], []
    for _ in range(ROUNDS):
        wall, used = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(*planes))
        walls.append(time.perf_counter() - wall)
        spent.append(time.process_time() - used)
    return 1e3 * min(walls), 1e3 * min(spent)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("depth", "wrinkles", "photos", "ablations", "speed"))
    parser.add_argument("where", type=Path, nargs="?")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--count", type=int, default=60, help="pictures")
    parser.add_argument("--heads", type=int, default=4, help="heads of `wrinkles`")
    parser.add_argument("--steps", type=int, default=150, help="of a training")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--trained", type=Path, help="run of kind vary whose photos are left out")
    parser.add_argument("--fine", type=Path, help="run of kind detail that F-Net and Fr-Net of `ablations` learn of")
    parser.add_argument("--held", type=Path, nargs=2, help="runs of kinds random and detail that `ablations` is judged on")
    given = parser.parse_args()
    if given.what == "speed":
        return speed()
    if given.what == "ablations":
        return ablations(given.where, given.fine, given.held, given.weights, given.steps)
    networks: Any = tuple(load_network(name, path=given.weights and given.weights / f"{name}.safetensors")
                          for name in ("dnet", "fnet", "frnet"))
    if given.what == "depth":
        return depth(given.where, networks, given.count)
    if given.what == "wrinkles":
        return wrinkles(given.where, networks, given.count, given.heads)
    return photos(given.where, networks, given.sheet, given.count, given.trained)


if __name__ == "__main__":
    main()
