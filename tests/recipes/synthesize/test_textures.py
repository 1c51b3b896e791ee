"""Synthetic albedo maps: seeded, inside [0, 1], made of the skins they may be made of, and each procedure where it belongs."""

import ast

import numpy as np
import pytest
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.models.build.makehuman.texture.pigment import skin_colour
from fitkit.models.build.makehuman.texture.skin_statistics import LEFT_OUT
from fitkit.recipes.synthesize.relief.grooves import draw_grooves, shade
from fitkit.recipes.synthesize.textures import canvas, hair, marks, paint
from tests.fixtures.source_tree import modules

SIZE = 64
NAMES = ("young_lightskinned_female_diffuse", "old_darkskinned_male_diffuse", "middleage_lightskinned_male_diffuse")


@pytest.fixture(scope="module")
def ground():
    return canvas.build_canvas(size=SIZE)


@pytest.fixture(scope="module")
def skins(tmp_path_factory):
    """Made-up skins in the window of MakeHuman's layout, held-out ones among them: gradients of different colours."""
    folder = tmp_path_factory.mktemp("skins")
    height, width = canvas.WINDOW
    for index, name in enumerate((*NAMES, *paint.HELD_OUT)):
        across = np.linspace(90, 200 + 10 * index, width)[None, :, None] * np.array([1.0, 0.8, 0.7])
        Image.fromarray(np.broadcast_to(across, (height, width, 3)).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def test_the_pigment_table_is_the_optical_models():
    np.testing.assert_allclose(skin_colour(paint.MELANIN, np.full(7, 0.03)), paint.COLOUR, atol=6e-5)
    more, less = (np.log(skin_colour(paint.MELANIN, np.full(7, 0.03 * f))) for f in (1.5, 1 / 1.5))
    np.testing.assert_allclose((more - less) / (2 * np.log(1.5)), paint.BLOOD, atol=6e-5)


def test_darker_and_bloodier_skin_looks_so():
    shades = np.array([paint.skin_colour(melanin, 0.03) for melanin in np.geomspace(0.008, 0.36, 20)])
    assert (np.diff(shades.mean(axis=1)) < 0).all() and (shades > 0).all() and (shades < 1).all()
    pale, flushed = paint.skin_colour(0.03, 0.015), paint.skin_colour(0.03, 0.06)
    assert flushed[0] / flushed[1] > 1.1 * pale[0] / pale[1]


def test_held_out_skins_never_train(skins):
    training, held_out = paint.find_skins(skins), paint.find_skins(skins, held_out=True)
    assert {path.stem for path in training} == set(NAMES) and {path.stem for path in held_out} == set(paint.HELD_OUT)
    # the same two that the head's own albedo model never saw; one dark, one light, of different ages
    assert {f"{name}.png" for name in paint.HELD_OUT} == set(LEFT_OUT)
    # nothing that trains asks for them
    for name, path in modules().items():
        if name.startswith("fitkit.recipes.train.") and not name.endswith("texture_generator.scores"):
            calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.keyword)]
            assert not [node for node in calls if node.arg == "held_out"], name


def test_maps_are_seeded_each_by_its_own_number(skins):
    first = list(paint.textures(skins, size=SIZE, count=2, seed=3))
    np.testing.assert_array_equal(first, list(paint.textures(skins, size=SIZE, count=2, seed=3)))
    np.testing.assert_array_equal(first[0], next(paint.textures(skins, size=SIZE, count=1, seed=3)))
    other = next(paint.textures(skins, size=SIZE, count=1, seed=4))
    held_out = next(paint.textures(skins, size=SIZE, count=1, seed=3, held_out=True))
    for one in (first[1], other, held_out):
        assert np.abs(first[0].astype(int) - one).mean() > 2


def test_values_stay_in_range_and_beyond_the_layout_the_edge_goes_on(skins, ground):
    sources = paint.load_skins(paint.find_skins(skins), ground)
    for seed in range(4):
        texels = paint.paint(np.random.default_rng(seed), ground, sources)
        assert texels.shape == (SIZE, SIZE, 3) and np.isfinite(texels).all() and (texels > 0).all() and (texels < 1).all()
        np.testing.assert_array_equal(texels, texels[ground.nearest])
    assert not ground.covered.all() and ground.covered[ground.nearest].all()


def test_recombining_one_skin_gives_it_back_and_of_two_stays_between(skins, ground):
    sources = paint.load_skins(paint.find_skins(skins), ground)
    person = paint.draw_person(np.random.default_rng(0))
    flat = [paint.SkinDetail(name=str(v), detail=np.full((SIZE, SIZE, 3), v, np.float32), age=None, female=None, dark=None)
            for v in (-0.4, 0.2)]
    for seed in range(5):
        alone = paint.recombine(np.random.default_rng(seed), ground, sources[:1], person)
        gain = alone[ground.skin] / sources[0].detail[ground.skin]
        np.testing.assert_allclose(gain, gain.flat[0], rtol=1e-3)
        mixture = paint.recombine(np.random.default_rng(seed), ground, flat, person)
        assert mixture.min() >= -0.4 * 1.15 - 1e-5 and mixture.max() <= 0.2 * 1.15 + 1e-5
        steps = np.abs(np.diff(mixture, axis=0)).max()
        assert steps < 0.8 * 0.6 * 1.15      # a border between two skins is no edge


def test_mirroring_turns_the_skin_and_keeps_the_small_charts(rng):
    texels = rng.normal(size=(SIZE, SIZE, 3))
    turned, rows = paint.mirrored(texels), int(canvas.SKIN_ROWS * SIZE)
    np.testing.assert_array_equal(turned[:rows], texels[:rows, ::-1])
    np.testing.assert_array_equal(turned[rows:], texels[rows:])
    np.testing.assert_array_equal(paint.mirrored(turned), texels)


def test_the_layout_is_symmetric_and_has_its_features_in_place(ground):
    rows = int(canvas.SKIN_ROWS * SIZE)
    assert (ground.skin[:rows] == ground.skin[:rows, ::-1]).mean() > 0.99 and not ground.skin[rows + 1:].any()
    mouth = ground.landmarks[48:68].mean(axis=0) * SIZE / canvas.UNITS
    row, column = np.array([np.average(axis, weights=ground.regions["lips"]) for axis in np.mgrid[:SIZE, :SIZE]])
    np.testing.assert_allclose([column + 0.5, row + 0.5], mouth, atol=1.0)


def test_marks_lie_where_they_belong(rng, ground):
    brow = hair.brows(rng, ground, thickness=7.0, density=0.8)
    near = ground.blur(ground.regions["brows"], 6.0) > 0.02
    assert brow.max() > 0.5 and brow[~near].sum() < 0.1 * brow.sum()
    beard = hair.beard(rng, ground, growth=0.8)
    assert beard[ground.regions["lips"] > 0.9].max() < 0.1 < beard.max()
    where = ground.regions["cheeks"] + 1e-9
    few, many = (marks.spots(np.random.default_rng(1), ground, where, count=n, radius=0.6).sum() for n in (10, 100))
    assert 0 < few < many and not marks.spots(rng, ground, where, count=0, radius=0.6).any()
    young, old = (shade(ground, draw_grooves(np.random.default_rng(2), ground, age=age)).sum() for age in (20, 75))
    assert young == 0 < old
    assert marks.moles(rng, ground, count=5).max() > 0.2


def test_a_skin_is_resampled_by_the_heads_table(tmp_path, ground):
    """A picture whose red is its own column and green its row says where every texel came from."""
    height, width = canvas.WINDOW
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, width)[None], np.linspace(0, 255, height)[:, None]
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    coded = paint.encode(canvas.resample(tmp_path / "ramp.png", ground))
    middle = ground.places.reshape(SIZE, canvas.FINER, SIZE, canvas.FINER, 2).mean(axis=(1, 3))
    for channel, extent in ((0, width), (1, height)):
        wanted = np.clip(middle[..., channel] / (extent - 1) * 255, 0, 255)
        assert np.median(np.abs(coded[..., channel] - wanted)[ground.skin]) < 2.0


def test_folders_that_cannot_serve_are_refused(tmp_path, skins, ground):
    small = tmp_path / "small.png"
    Image.new("RGB", (30, 20)).save(small)
    with pytest.raises(FitkitError, match="E_NOTIMAGE.*30x20"):
        canvas.resample(small, ground)
    with pytest.raises(FitkitError, match="E_NOTIMAGE.*not square"):
        paint.read_maps(tmp_path, size=SIZE)
    with pytest.raises(FitkitError, match="E_EMPTYDIR.*no held-out skins"):
        paint.find_skins(tmp_path, held_out=True)
    Image.new("RGB", (128, 128), (10, 20, 30)).save(small)
    assert paint.read_maps(tmp_path, size=SIZE)[0][5, 5].tolist() == [10, 20, 30]
    small.write_bytes(b"not a picture")
    with pytest.raises(FitkitError, match="E_NOTIMAGE"):
        paint.read_maps(tmp_path, size=SIZE)


def test_real_skins_keep_their_features(assets, ground):
    """Nostrils are dark and cheeks light on every skin once it is in the head's layout."""
    for skin in paint.load_skins(paint.find_skins(assets / "skins", held_out=True), ground):
        nostrils, cheeks = (np.average(skin.detail.mean(axis=-1), weights=ground.regions[name]) for name in ("nostrils", "cheeks"))
        assert nostrils < cheeks - 0.3
