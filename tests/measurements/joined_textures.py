"""One texture of two photos: likeness and colour beside those of each photo alone, on drawn people; seams to look at.

    python -m tests.measurements.joined_textures [--people 3] [--folder FOLDER] [--sheets FOLDER] [--skins FOLDER]
        [--photos PHOTO PHOTO ...] [--recipe NAME] [--size 1024]

People with painted skins (`assets/skins`) are drawn at yaw 0 and 45, each picture under a light of its own, and fitted: each
picture alone, and both as one person. Printed for each person and as means:

    0, 45      the fit to that picture alone
    own 0, own 45      the fit to both, with the texture of that picture alone: what the texture does, shape apart
    both       the fit to both, with their one texture

    likeness   of the textured head and the true one, both turned 30 degrees under one lamp: cosine of MobileFace's embeddings
    other      the same, turned 30 degrees to the other side, of which the second picture shows nothing
    colour     of the texture, where a picture shows the face: mean absolute log ratio to the truth, the mean ratio taken off
    light      deviation of the leftover lights' logarithm over the face, which is taken off

`--sheets` writes the head at 30 degrees under a lamp at its side, the textures, and the mask of what was seen. `--photos` does that
for photographs of one person. Fits are kept in `--folder` and read again.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import fitkit
from fitkit.color import srgb_to_linear
from fitkit.geometry.camera import head_rotation, project
from fitkit.io import images
from fitkit.labels.drawing import Scene, draw_scenes
from fitkit.labels.fine_head import fine_head
from fitkit.models.identity import mxnet_file
from fitkit.models.identity.importer import convert
from fitkit.models.identity.network import Identity, embed
from fitkit.morphable.correspondence import visible_contour
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes.synthesize.labels import random, scenery
from fitkit.recipes.synthesize.textures import paint
from fitkit.rendering.shading import sh_basis
from fitkit.results import pictures
from fitkit.results.person_texture import of_one_person
from fitkit.results.photo_window import TILE
from fitkit.results.result import FitResult
from fitkit.types import Camera
from fitkit.uv.layout import TEXTURE
from tests.conftest import ASSETS
from tests.measurements.photos import JUDGE, aligned_crop

SIDE = 640              # pixels of a picture
FOCAL = 1.9 * SIDE      # pixels
DISTANCE = 800.0        # mm
YAWS = (0.0, 45.0)      # degrees
JUDGED = 30.0           # degrees
SKIN = 512              # texels of a painted skin
LAMP = (75.0, 15.0)     # degrees: from the side, of the sheets
SHEET = 768             # pixels of a head on a sheet
WAYS = ("0", "45", "own 0", "own 45", "both")


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A person, and what is true of her."""

    pictures: list[np.ndarray]      # uint8
    identity: Any
    texture: np.ndarray             # uint8 sRGB


def draw_person(maker: random.RandomLabels, seed: int, texture: np.ndarray) -> Drawn:
    """Both pictures of a person at rest."""
    model = maker.unfolded
    keys = jax.random.split(jax.random.key(seed), 8)
    identity = random.draw_identity(keys[0], model)
    scenes = []
    for yaw, for_light, for_backdrop in zip(YAWS, keys[1:3], keys[3:5], strict=True):
        rotation = head_rotation(jnp.radians(yaw), jnp.radians(3.0), 0.0)
        camera = Camera(focal=jnp.float32(FOCAL), principal=jnp.full(2, SIDE / 2.0), rotation=rotation, perspective=True,
                        translation=jnp.array([0.0, 0.0, DISTANCE]) - rotation @ jnp.mean(model.mean, 0))
        scenes.append(Scene(
            identity=identity, expression=jnp.zeros(len(model.expression)), camera=camera, light=scenery.draw_lights(for_light),
            colors=jnp.zeros_like(model.mean), texture=jnp.asarray(texture), textured=jnp.array(True),
            shirt=scenery.draw_shirt(keys[5]), backdrop=scenery.draw_backdrop(for_backdrop, size=SIDE),
            before=jax.tree.map(jnp.asarray, random.nothing_before()), has_before=jnp.array(False)))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scenes)
    drawn = draw_scenes(model, fine_head(model), maker.shirt, stacked, size=SIDE)
    return Drawn(list(np.asarray(drawn.picture)), identity, texture)


def fits(paths: list[pathlib.Path], folder: pathlib.Path, recipe: str) -> tuple[list[FitResult], list[FitResult]]:
    """Fits of each photo alone, and of all as one person; kept in the folder."""
    places = [folder / f"{recipe}-{way}-{path.stem}" for way in ("alone", "together") for path in paths]
    if not all(place.is_dir() for place in places):
        made = [fitkit.fit(path, recipe=recipe) for path in paths] + fitkit.fit(paths, recipe=recipe)
        for result, place in zip(made, places, strict=True):
            if not isinstance(result, FitResult):
                raise result
            dataclasses.replace(result, person=None).save(place, outputs="params", overwrite=True)
    loaded = [fitkit.load(place) for place in places]
    loaded = [dataclasses.replace(each, photo=dataclasses.replace(each.photo, pixels=each.photo_pixels())) for each in loaded]
    return loaded[:len(paths)], loaded[len(paths):]


def turned(result: FitResult, albedo: np.ndarray, yaw: float) -> np.ndarray:
    """What the judge reads of a head with a texture, turned."""
    return head_crop(result.model, result.mesh().vertices, albedo, yaw, result.relief)


def head_crop(model: Any, vertices: Any, albedo: np.ndarray, yaw: float, relief: Any) -> np.ndarray:
    """The same, of any vertices; aligned by their own points."""
    picture = pictures.textured_head(model, vertices, albedo, yaw, relief)
    pixels = project(pictures.portrait_camera(model, yaw, TILE), vertices)[0]
    inner = jax.tree.map(lambda table: table[17:], model.landmarks)
    jaw = visible_contour(model, pixels, jnp.mean(values_at_points(inner, model.triangles, pixels)[10:19], 0))
    points = [values_at_points(each, model.triangles, pixels) for each in (jaw, inner)]
    return aligned_crop(picture, np.concatenate(points) * (len(picture) / TILE))


def colour_error(albedo: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute log ratio of two maps, sRGB in [0, 1], over some texels, the mean ratio taken off."""
    ratio = [np.log(np.maximum(np.asarray(srgb_to_linear(jnp.asarray(each)))[where], 0.01)) for each in (albedo, truth)]
    difference = ratio[0] - ratio[1]
    return float(np.abs(difference - difference.mean(0)).mean())


def maps_of(alone: list[FitResult], together: list[FitResult]) -> dict[str, tuple[FitResult, np.ndarray]]:
    """Of each way its fit and its texture, sRGB in [0, 1]."""
    joint = of_one_person(together)
    named = zip(WAYS, [*alone[:2], *together[:2], joint[0]], strict=True)
    return {way: (result, result.texture.astype(np.float32) / 255) for way, result in named}


def light_left(joint: FitResult) -> float:
    """Deviation of the logarithm of the leftover lights, over the normals of a face."""
    directions = np.asarray(jax.random.normal(jax.random.key(0), (500, 3))) + [0.0, 0.0, 1.5]
    basis = np.asarray(sh_basis(jnp.asarray(directions / np.linalg.norm(directions, axis=-1, keepdims=True)), bands=2))
    return float(np.sqrt(np.mean((basis @ np.asarray(joint.person._joined.light)) ** 2)))


def write_sheets(folder: pathlib.Path, name: str, made: dict[str, tuple[FitResult, np.ndarray]], size: int) -> None:
    """Each way's head under a lamp at its side; the textures; what was seen."""
    rows = []
    for way, (result, albedo) in made.items():
        shown = dataclasses.replace(result, person=None, albedo_map=(albedo * 255 + 0.5).astype(np.uint8))
        rows.append(shown.render(yaw=JUDGED, light=LAMP, size=SHEET))
        images.write_image(folder / f"{name}-{way.replace(' ', '-')}-albedo.png", albedo)
    images.write_image(folder / f"{name}-lit.png", np.concatenate(rows, 1))
    images.write_image(folder / f"{name}-seen.png", made["both"][0].seen)
    if size > 1024:
        joint = dataclasses.replace(made["both"][0], texture_size=size)
        images.write_image(folder / f"{name}-{size}.png", joint.texture)


def measure(drawn: Drawn, alone: list[FitResult], together: list[FitResult], judge: Identity
            ) -> tuple[dict[str, list[float]], Any]:
    """Likeness, likeness of the other side and colour error of each way."""
    made = maps_of(alone, together)
    large = Image.fromarray(drawn.texture).resize((TEXTURE, TEXTURE), Image.Resampling.BICUBIC)
    model, truth = alone[0].model, np.asarray(large, np.float32) / 255
    vertices = shape(model, drawn.identity, jnp.zeros(len(model.expression)))
    seen = made["both"][0].seen
    crops = {yaw: [head_crop(model, vertices, truth, yaw, None), *(turned(*made[way], yaw) for way in WAYS)]
             for yaw in (JUDGED, -JUDGED)}
    found = {yaw: np.asarray(embed(judge, np.stack(each))) for yaw, each in crops.items()}
    rows = {way: [float(found[yaw][0] @ found[yaw][number + 1]) for yaw in (JUDGED, -JUDGED)]
            + [colour_error(made[way][1], truth, seen > 127)] for number, way in enumerate(WAYS)}
    return rows, made


def main() -> None:
    """Draw, fit, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("out/joined_textures"))
    parser.add_argument("--sheets", type=pathlib.Path)
    parser.add_argument("--skins", default=str(ASSETS / "skins"))
    parser.add_argument("--photos", type=pathlib.Path, nargs="*", default=[])
    parser.add_argument("--recipe", default="inverse_rendering")
    parser.add_argument("--size", type=int, default=1024)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.photos:
        made = maps_of(*fits(options.photos, options.folder, options.recipe))
        print(f"leftover light {light_left(made['both'][0]):.3f}")
        write_sheets(options.sheets or options.folder, options.photos[0].stem, made, options.size)
        return
    if not (ASSETS / JUDGE).exists():
        sys.exit(f"{ASSETS / JUDGE} is not there; the judge is looked for in shared/assets beside the checkout")
    judge, maker = convert(mxnet_file.read_graph(ASSETS / JUDGE)), random.RandomLabels(random.RandomConfig(size=SIDE, seed=0))
    rows: list[dict[str, list[float]]] = []
    textures = paint.textures(options.skins, size=SKIN, count=options.people, seed=29)
    for number, texture in enumerate(textures):
        drawn = draw_person(maker, 100 + number, texture)
        paths = [images.write_image(options.folder / f"person{number}-{yaw:.0f}.png", picture)
                 for yaw, picture in zip(YAWS, drawn.pictures, strict=True)]
        found, made = measure(drawn, *fits(paths, options.folder, options.recipe), judge)
        rows.append(found)
        for way, values in found.items():
            print(f"person {number} {way:8s} likeness {values[0]:.3f} other {values[1]:.3f} colour {values[2]:.4f}", flush=True)
        print(f"person {number} light {light_left(made['both'][0]):.3f}", flush=True)
        if options.sheets:
            write_sheets(options.sheets, f"person{number}", made, options.size)
    for way in WAYS:
        mean = np.mean([row[way] for row in rows], 0)
        print(f"mean     {way:8s} likeness {mean[0]:.3f} other {mean[1]:.3f} colour {mean[2]:.4f}")


if __name__ == "__main__":
    main()
