"""The kinds of the synthetic benchmark: names, lights, skins, occluders, our own renderer, people of the embedded head.

Small pictures by fitkit's rasterizer; ICT-FaceKit comes from `shared/assets/models` beside the checkout.
"""

import io
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import fitkit
from fitkit.cli import main
from fitkit.color import srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.evaluation import registration_floor, score_table, scores
from fitkit.evaluation.metrics import scan_to_mesh
from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic import (
    benchmark,
    environment_light,
    kinds,
    photograph,
    populations,
    rasterized_scene,
    scene,
    skin_appearance,
    skin_maps,
    subjects,
)
from fitkit.evaluation.synthetic.kinds import Kind
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.geometry.camera import project
from fitkit.models.heads import ict_source
from fitkit.morphable.model import shape
from fitkit.types import FaceParameters
from tests.fixtures.ict_archive import ARCHIVE

TINY = Studio(width=96, height=128, samples=2, bounces=2, subdivisions=0)


@pytest.fixture(scope="module")
def people() -> populations.Population:
    if not ARCHIVE.exists():
        pytest.skip(f"ICT-FaceKit is not at {ARCHIVE}")
    return populations.ict_population(ict_source.read(ARCHIVE))


@pytest.fixture(scope="module")
def skins(tmp_path_factory):
    """A folder of one skin map whose red is the column and whose green is the row, in sRGB."""
    row, column = np.mgrid[0:1440, 0:768]
    pixels = np.stack([column / 768, row / 1440, np.full(row.shape, 0.5)], -1)
    folder = tmp_path_factory.mktemp("skins")
    Image.fromarray((255 * pixels).astype(np.uint8)).save(folder / "young_lightskinned_male_diffuse.png")
    return str(folder)


# names

def test_a_kind_is_named_by_what_it_changes_and_read_back():
    made = Kind(light="hard", occluder="scarf", people="embedded")
    assert Kind().name == "portrait" and made.name == "hard+scarf+embedded" and kinds.parse("embedded+hard+scarf") == made
    assert kinds.parse_all(["hard", "none", "portrait", "hard"]) == (Kind(light="hard"), Kind())


def test_all_holds_every_choice_and_marks_what_is_left_out_of_tuning():
    found = kinds.parse_all(["all"])
    for field, choices in kinds.FIELDS.items():
        assert {getattr(kind, field) for kind in found} == set(choices)
    assert [kind.name for kind in found if kind.left_out] == ["overcast", "photographic", "overcast+photographic"]
    assert len({kind.name for kind in found}) == len(found)


@pytest.mark.parametrize("name, said", [("hrad", "E_USAGE.*hard"), ("hard+overcast", "E_USAGE.*two choices of light")])
def test_a_wrong_kind_is_said(name, said):
    with pytest.raises(FitkitError, match=said):
        kinds.parse(name)


def test_each_kind_has_a_folder_of_its_own(people, skins, tmp_path):
    folders = {benchmark.picture_folder(tmp_path, people, TINY, kind=kind, skins=skins) for kind in kinds.parse_all(["all"])}
    assert len(folders) == len(kinds.parse_all(["all"]))
    other = benchmark.picture_folder(tmp_path, people, TINY, kind=Kind(light="hard"))
    assert "hard" in other.name and other in folders and other != benchmark.picture_folder(tmp_path, people, Studio(),
                                                                                           kind=Kind(light="hard"))


# lights

@pytest.mark.parametrize("name", kinds.LIGHTS)
def test_every_light_gives_one_exposure_and_differs_by_seed(name):
    first, second = (environment_light.make_light(name, np.random.default_rng(seed)) for seed in (0, 1))
    for light in (first, second):
        assert light.radiance.min() >= 0 and environment_light.frontal_irradiance(light.radiance) == pytest.approx(1, rel=1e-3)
    assert np.abs(first.radiance - second.radiance).max() > 0.01


def test_lights_are_what_they_are_called():
    dome, studio, hard = (environment_light.make_light(name, np.random.default_rng(4)) for name in ("overcast", "key_fill", "hard"))
    assert np.ptp(dome.radiance, axis=(1, 2)).max() == 0          # the same all round, and white
    assert dome.radiance[0].mean() > 2.5 * dome.radiance[47].mean() > 2.5 * dome.radiance[60].mean()
    toward, peak = environment_light.texel_directions(), 0.02 * studio.radiance.max()
    for side in (-1, 1):                                          # a lamp on either side, no third behind
        assert (studio.radiance[side * toward[..., 0] > 0.1].max(axis=-1) > peak).any()
    assert not (studio.radiance[toward[..., 2] < -0.5].max(axis=-1) > peak).any()
    lit = hard.lamp.max(axis=-1) > 0
    assert 0 < lit.mean() < 0.003 and (toward[lit] @ hard.direction).min() > 0.99
    assert environment_light.frontal_irradiance(hard.lamp) > 0.7


# our own renderer

def test_coefficients_of_a_map_light_a_surface_as_the_map_does():
    light = environment_light.make_light("portrait", np.random.default_rng(2))
    coefficients = jnp.asarray(rasterized_scene.light_coefficients(light.ambient), jnp.float32)
    toward = environment_light.texel_directions()
    solid = np.linalg.norm(toward[..., [0, 2]], axis=-1) * (np.pi / 96) * (2 * np.pi / 192)
    for normal in ([0, 0, 1], [1, 0, 0], [0, -0.6, 0.8]):
        exact = (light.ambient * (np.clip(toward @ normal, 0, None) * solid)[..., None]).sum(axis=(0, 1)) / np.pi
        found = np.asarray(rasterized_scene.sh_irradiance(jnp.asarray([normal], jnp.float32), coefficients))[0]
        np.testing.assert_allclose(found, exact, rtol=0.12)       # nine functions hold about 98 % of the energy


def test_a_plate_casts_a_shadow_from_the_hard_lamp():
    toward = environment_light.texel_directions()
    direction = environment_light.lamp_axis(0.0, 40.0)
    lamp = (toward @ direction > 0.999)[..., None] * np.ones(3)
    light = environment_light.Light(ambient=np.zeros_like(lamp), lamp=lamp, direction=direction)
    side = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    places = np.array([[0, 0, 0], [60, 0, 0], [-60, 0, 0]], float)           # on a wall that faces the viewer
    plate = 20 * side + 100 * direction
    wall = 90 * side
    vertices, quad = np.concatenate([wall, plate, places]), np.array([[0, 1, 2], [0, 2, 3]])
    lit = rasterized_scene.lamp_irradiance(light, vertices, np.concatenate([quad, quad + 4]), np.tile([0.0, 0, 1], (11, 1)))
    assert lit[8].max() == 0 and lit[9:].min() > 0 and lit[4:8].min() > 0
    solid = np.linalg.norm(toward[..., [0, 2]], axis=-1) * (np.pi / 96) * (2 * np.pi / 192)
    assert lit[9, 0] == pytest.approx((lamp[..., 0] * solid).sum() / np.pi * direction[2], rel=1e-5)


# skins

def test_plain_skin_has_one_colour_and_painted_skin_many(people):
    face = people.mean[people.face]
    plain, painted = (SkinPaint(Kind(skin=skin), people, 3, None).colours(face, np.zeros((len(face), 0)), hair=True)
                      for skin in ("plain", "procedural"))
    assert np.ptp(plain, axis=0).max() == 0 < 0.1 < np.ptp(painted, axis=0).max()
    assert np.median(painted, axis=0) == pytest.approx(plain[0], rel=0.35)


def test_hair_is_shaved_or_a_full_beard(people):
    marks = people.marks(people.mean)
    places, nothing = np.stack([marks[19], (marks[8] + 2 * marks[57]) / 3]), np.zeros((2, 0))       # brow and chin
    for seed in range(4):
        drawn = {kind: SkinPaint(Kind(hair=kind), people, seed, None) for kind in kinds.HAIR}
        bare, painted = (drawn["shaved"].colours(places, nothing, hair=hair) for hair in (False, True))
        np.testing.assert_allclose(painted, bare, atol=1e-6)
        beard = drawn["bearded"].colours(places, nothing, hair=True)
        hair = np.array(drawn["bearded"].appearance.hair)
        assert (np.abs(beard - hair).sum(axis=1) < np.abs(painted - hair).sum(axis=1)).all()


def test_a_photographed_skin_lies_on_the_face_where_makehuman_has_it(people, skins):
    kind = Kind(skin="photographic")
    for crowd in (people, populations.embedded_population()):
        paint = SkinPaint(kind, crowd, 3, skins)
        marks = crowd.marks(crowd.mean)
        nearest = [np.linalg.norm(crowd.mean - mark, axis=1).argmin() for mark in marks]
        seen = skin_maps.colours(paint._map(), paint.columns[nearest])
        np.testing.assert_allclose(paint.columns[nearest, 2:5], seen, atol=1e-6)
        red, green = seen[:, 0], seen[:, 1]      # MakeHuman's face lies on its side: down is the map's right, its right side below
        assert (green[36:40] > green[27]).all() and (green[42:46] < green[27]).all()
        assert red[17:27].max() < red[[30, 33]].min() < red[[51, 57]].min() < red[8]
        assert paint.columns[nearest, 5].max() == 0          # no seam at the landmarks


def test_dark_maps_come_with_dark_hair_and_test_people_wear_maps_kept_aside(tmp_path):
    for name in ("young_lightskinned_male_diffuse", "young_darkskinned_male_diffuse", "old_darkskinned_male_diffuse"):
        Image.new("RGB", (768, 1440), (60, 40, 30)).save(tmp_path / f"{name}.png")
    assert {skin_maps.chosen_map(str(tmp_path), seed).stem for seed in range(20)} == {
        "young_lightskinned_male_diffuse", "old_darkskinned_male_diffuse"}
    assert skin_maps.chosen_map(str(tmp_path), 103).stem == "young_darkskinned_male_diffuse"
    drawn = skin_appearance.draw(5)
    dark = skin_maps.matching(drawn, skin_maps.read_map(tmp_path / "old_darkskinned_male_diffuse.png"))
    assert dark.hair in skin_appearance.HAIR_COLOURS[:2] and dark.iris in skin_appearance.IRIS_COLOURS[:2]
    assert skin_maps.matching(drawn, np.full((2, 2, 3), 0.4)) == drawn


def test_photographed_skin_without_maps_names_the_option(people):
    with pytest.raises(FitkitError, match="E_DATA.*--skins"):
        _ = SkinPaint(Kind(skin="photographic"), people, 0, None).columns


# what is before the face

@pytest.mark.parametrize("name, covered, free", [
    ("spectacles", (), (39, 42, 27, 33, 8)), ("hand", (51, 57), (37, 44)), ("scarf", (48, 54, 57, 8), (27, 30, 37, 44))])
def test_an_occluder_covers_what_it_should_and_the_mask_says_so(people, name, covered, free):
    kind = Kind(renderer="rasterizer", occluder=name)
    shares = []
    for seed in range(2):
        someone, view = subjects.person(people, seed), subjects.view(seed, 0, TINY.width, TINY.height)
        made = photograph.photograph(SkinPaint(kind, people, seed, None), someone, view, TINY)
        bare = photograph.photograph(SkinPaint(Kind(renderer="rasterizer"), people, seed, None), someone, view, TINY)
        assert made.mask is not None and bare.mask is None
        mask = np.asarray(Image.open(io.BytesIO(made.mask)), float) / 255
        marks = np.asarray(project(view.camera, jnp.asarray(people.marks(someone.vertices), jnp.float32))[0])
        column, row = marks.astype(int).T
        at = mask[row, column] > 0.5
        shares.append(at)
        change = np.abs(np.asarray(Image.open(io.BytesIO(made.jpeg)), float) - np.asarray(Image.open(io.BytesIO(bare.jpeg)), float))
        assert change.mean(axis=-1)[mask > 0.9].mean() > 5 * change.mean(axis=-1)[mask == 0].mean()
        if name == "spectacles":        # a rim on every side of each eye
            for eye in (slice(36, 42), slice(42, 48)):
                x, y = marks[eye].mean(axis=0).astype(int)
                assert mask[y - 14:y, x].max() > 0.3 and mask[y:y + 14, x].max() > 0.3 and mask[y, x - 14:x + 14].max() > 0.3
    hit = np.mean(shares, axis=0)
    assert all(hit[list(covered)] > 0.3) and not hit[list(free)].any()
    assert name != "scarf" or all(hit[list(covered)] == 1)


# exposure, expressions and lenses

def test_exposure_changes_how_much_light_is_caught_and_nothing_else(people):
    someone, view = subjects.person(people, 2), subjects.view(2, 0, TINY.width, TINY.height)
    radiance = {}
    for exposure in kinds.EXPOSURES:
        paint = SkinPaint(Kind(renderer="rasterizer", exposure=exposure), people, 2, None)
        file = io.BytesIO(photograph.photograph(paint, someone, view, TINY).jpeg)
        coded = jnp.asarray(np.asarray(Image.open(file), np.float32) / 255)
        radiance[exposure] = np.asarray(srgb_to_linear(coded))
    metered = radiance["metered"]
    middle = (metered > 0.1) & (metered < 0.3)      # below the knee, in all three
    for exposure, stops in (("underexposed", -1.5), ("overexposed", 1.0)):
        assert np.median(np.log2(radiance[exposure][middle] / metered[middle])) == pytest.approx(stops, abs=0.15)



def test_people_are_neutral_or_strong_and_a_wide_lens_keeps_the_size_of_the_head(people):
    moved = {kind: np.mean([np.linalg.norm(made.vertices - made.neutral, axis=1).max() for made in (
        subjects.person(people, seed, expressions=kind) for seed in range(6))]) for kind in kinds.EXPRESSIONS}
    assert moved["neutral"] == 0 < 1.3 * moved["gestures"] < moved["strong"]
    drawn, wide = (subjects.view(4, 30, 384, 512, wide=wide) for wide in (False, True))
    assert wide.lens == 28 < drawn.lens and wide.yaw == drawn.yaw
    assert float(wide.camera.focal / wide.camera.translation[2]) == pytest.approx(
        float(drawn.camera.focal / drawn.camera.translation[2]), rel=1e-4)


# people of the embedded head

def test_people_of_the_embedded_head_are_shapes_of_its_model():
    crowd, model = populations.embedded_population(), fitkit.load_head("makehuman")
    someone = subjects.person(crowd, 7)
    identity = np.zeros(len(model.identity), np.float32)
    identity[: len(someone.identity)] = someone.identity
    same = np.asarray(shape(model, jnp.asarray(identity), jnp.asarray(someone.expression, jnp.float32)))
    offset = someone.vertices[: len(same)] - same
    assert np.ptp(offset, axis=0).max() < 1e-3 and np.abs(someone.vertices[crowd.face].mean(axis=0)).max() < 5
    face = someone.vertices[crowd.face]
    exact = scan_to_mesh.dense_correspondence(face[crowd.dense_rows], same, np.asarray(model.triangles), crowd.dense_places)
    assert exact.mean < 1e-3 and len(crowd.dense_rows) > 1000
    own = registration_floor.head_arrays(model)
    errors = benchmark.now_errors(own, same, face[crowd.scanned], crowd.marks(someone.vertices))
    assert errors["metric"].mean < 0.1                      # the subdivided surface is a little rounder
    assert someone.identity.std() == pytest.approx(populations.EMBEDDED_DEVIATION, rel=0.5)


# scores and runs

def test_kinds_are_counted_and_reported_apart():
    def score(kind, fit, mean_person=1.8, **other):
        both = {"scaled": fit, "metric": 2 * fit} if fit else None
        return Score(kind=kind, seed=0, yaw=0.0, mean_head={"scaled": 2.0, "metric": 4.0}, floor={"scaled": 1.0, "metric": 2.0},
                     mean_person={"scaled": mean_person, "metric": 3.5}, fit=both, status="converged", **other)

    found = [score("hard", 1.9), score("hard", 1.7, landmarks={"scaled": 1.6, "metric": 3.0}), score("hard", None),
             score("overcast", 1.5, expression_only={"scaled": 1.7, "metric": 3.3})]
    summaries = scores.by_kind(found)
    assert list(summaries) == ["hard", "overcast"] and summaries["hard"]["all"]["pictures"] == 3
    hard = summaries["hard"]["all"]
    assert hard["scaled"]["worse"] == 1 and hard["metric"]["worse"] == 1       # 3.8 of 3.5, not 3.4; none for the lost face
    assert hard["scaled"]["landmarks"] == pytest.approx((2 + 1.6 + 2) / 3) and hard["scaled"]["mean_person"] == pytest.approx(1.8)
    assert summaries["overcast"]["all"]["metric"]["expression_only"] == 3.3
    text = score_table.table(summaries)
    rows = [line.split("|")[0].split() for line in text.splitlines() if line.startswith(("hard", "overcast"))]
    assert [row[:3] for row in rows] == [[kind, yaw, n] for kind, n in (("hard", "3"), ("overcast*", "1")) for yaw in ("0", "all")]
    assert "1/1" in text and "left out of tuning (light overcast, skin photographic)" in text
    assert "left out" not in score_table.table(scores.by_kind(found[:2]))


def test_a_run_over_kinds_writes_them_apart_and_skips_what_it_has_no_maps_for(people, tmp_path, capsys, monkeypatch):
    model, taken, recipes = fitkit.load_head("makehuman"), [], []

    def fit(path, *, recipe, head, **fields):
        recipes.append(recipe)
        size = 0.5 if recipe == "landmarks" else 0.0
        nothing = FaceParameters(identity=jnp.full(len(model.identity), 0.1 * size), expression=jnp.zeros(len(model.expression)),
                                 albedo=jnp.zeros(len(model.albedo)), light=jnp.zeros((9, 3)))
        return types.SimpleNamespace(parameters=nothing, camera=subjects.view(0, 0, 384, 512).camera, timings={"fit": 0.5},
                                     status="converged", reason="", pictures={"overlay": np.zeros((64, 48, 3))})

    def take(paint, person, view, studio):
        taken.append(paint.kind.name)
        jpeg = photograph.encode_photo(np.full((64, 48, 3), 0.3), np.random.default_rng(0))
        return photograph.Photograph(jpeg=jpeg, mask=None)

    monkeypatch.setattr(benchmark.api, "fit", fit)
    monkeypatch.setattr(photograph, "photograph", take)
    monkeypatch.setattr(registration_floor, "register", lambda head, scan, marks: np.zeros(len(head.scale)))
    monkeypatch.setattr(scores, "gap_closed", lambda mean, fit, low: np.zeros(mean.shape[:-1]))      # floor and mean are one here
    files = tmp_path / "scores.json", tmp_path / "page.html"
    command = ["eval", "synthetic", "--truth", f"ict:{ARCHIVE}", "--subjects", "1", "--yaw", "0", "--cache", str(tmp_path),
               "--json", str(files[0]), "--page", str(files[1]), "--kinds"]
    assert main.run([*command, "overcast", "embedded", "photographic"]) == 0
    out, err = capsys.readouterr()
    assert "photographic is skipped" in err and "--skins" in err
    assert taken == ["overcast", "embedded"] and recipes == ["inverse_rendering", "landmarks"] * 2
    assert len(list(tmp_path.glob("pictures-*"))) == 2 and len(list(tmp_path.glob("floors-*"))) == 2
    record = json.loads(files[0].read_text())
    assert [score["kind"] for score in record["scores"]] == ["overcast", "embedded"] == list(record["table"])
    assert record["kinds"]["overcast"]["left_out"] and not record["kinds"]["embedded"]["left_out"] and record["skipped"]
    assert all(score["landmarks"] != score["fit"] for score in record["scores"])
    assert "overcast*" in out and files[1].read_text().count("<h2>") == 2
    assert main.run([*command, "photographic"]) == 3 and "no kind of pictures is left" in capsys.readouterr().err


def test_scene_parts_of_both_populations_stand_in_front_of_the_camera(people):
    for crowd in (people, populations.embedded_population()):
        someone, view = subjects.person(crowd, 1), subjects.view(1, 30, TINY.width, TINY.height)
        parts = scene.scene_parts(SkinPaint(Kind(), crowd, 1, None), someone, view, TINY, np.random.default_rng(0))
        assert {"skin", "shirt"} < set(parts) and len(parts) == 8 - (crowd.name == "ict")
        for vertices, triangles, colours, _ in parts.values():
            assert vertices[:, 2].max() < -100 and triangles.max() == len(vertices) - 1 and colours.shape == vertices.shape
