"""Albedo blending: Eq. 10 against NumPy, the painted region, and heads with moles under a known light."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.fitting.state import FaceState
from fitkit.geometry.camera import head_rotation, project, to_view_frame
from fitkit.geometry.pose import Pose
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.models.heads import makehuman
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.recipes.inverse_rendering.albedo_blending import AlbedoBlendingConfig, blend, blended_albedo, model_share
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.shading import light_from_direction, sh_irradiance
from fitkit.types import Camera, Detail
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters

PAPER = AlbedoBlendingConfig(model_share=0.35, model_share_wrinkled=0.65)      # Guo 2018, below Eq. 10
SIZE = 224


def oracle(photo, normals, albedo, light, share, mask):
    """Eq. 10 and the blend, one pixel at a time, from the text of the paper."""
    blended = albedo.copy()
    for row, column in np.ndindex(mask.shape):
        x, y, z = normals[row, column]
        basis = np.array([
            0.5 / np.sqrt(np.pi), *(np.sqrt(3 / (4 * np.pi)) * np.array([y, z, x])),
            *(np.sqrt(15 / (4 * np.pi)) * np.array([x * y, y * z])), np.sqrt(5 / (16 * np.pi)) * (3 * z * z - 1),
            np.sqrt(15 / (4 * np.pi)) * x * z, np.sqrt(15 / (16 * np.pi)) * (x * x - y * y)])
        for channel in range(3):
            value = photo[row, column, channel]
            linear = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            fine = min(linear / (basis @ light[:, channel]), 1.0)
            beta = share[row, column]
            blend = beta * albedo[row, column, channel] + (1 - beta) * fine
            blended[row, column, channel] += mask[row, column] * (blend - albedo[row, column, channel])
    return blended


@pytest.fixture
def pixels():
    """Random pixels under a light that leaves none dark."""
    random = np.random.default_rng(0)
    normals = random.normal(size=(6, 7, 3)).astype(np.float32)
    light = np.vstack([np.full(3, 3.0), random.normal(0, 0.2, (8, 3))]).astype(np.float32)
    return {
        "photo": random.uniform(0.05, 0.9, (6, 7, 3)).astype(np.float32),
        "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        "albedo": random.uniform(0.05, 0.8, (6, 7, 3)).astype(np.float32), "light": light,
        "share": random.uniform(0, 1, (6, 7)).astype(np.float32), "mask": random.uniform(0, 1, (6, 7)).astype(np.float32)}


def test_equation_10_is_the_papers(pixels):
    np.testing.assert_allclose(blended_albedo(**pixels), oracle(**pixels), atol=2e-5)


def test_a_share_of_one_is_the_model_and_of_nought_the_photo(pixels):
    pixels |= {"mask": np.ones((6, 7), np.float32), "photo": 0.5 * pixels["photo"]}
    np.testing.assert_array_equal(blended_albedo(**(pixels | {"share": np.ones((6, 7), np.float32)})), pixels["albedo"])
    fine = blended_albedo(**(pixels | {"share": np.zeros((6, 7), np.float32)}))
    again = linear_to_srgb(fine * sh_irradiance(jnp.asarray(pixels["normals"]), jnp.asarray(pixels["light"])))
    np.testing.assert_allclose(again, pixels["photo"], atol=1e-4)


def test_what_the_photo_does_not_show_or_light_is_the_models(pixels):
    beyond = pixels["photo"].copy()
    beyond[:2] = np.nan
    blended = blended_albedo(**(pixels | {"photo": beyond}))
    np.testing.assert_array_equal(blended[:2], pixels["albedo"][:2])
    np.testing.assert_allclose(blended[2:], oracle(**pixels)[2:], atol=2e-5)
    np.testing.assert_array_equal(blended_albedo(**(pixels | {"light": 0.0 * pixels["light"]})), pixels["albedo"])


def test_gradients_are_finite_in_the_dark_and_beyond_the_photo(pixels):
    pixels["photo"][0] = np.nan
    for scale in (1.0, 0.0, -1.0):
        inputs = {key: jnp.asarray(pixels[key]) for key in ("normals", "albedo")} | {"light": scale * jnp.asarray(pixels["light"])}
        for leaf in jax.tree.leaves(jax.grad(lambda free: jnp.sum(blended_albedo(**(pixels | free)) ** 2))(inputs)):
            assert jnp.isfinite(leaf).all()


def test_a_grey_photo_takes_its_hue_from_the_model(pixels):
    """A black and white picture of the model itself gives the model back, twice as dark where it is half as bright."""
    shown = jnp.asarray(pixels["albedo"]) * sh_irradiance(jnp.asarray(pixels["normals"]), jnp.asarray(pixels["light"]))
    grey = jnp.broadcast_to(jnp.mean(linear_to_srgb(shown), -1, keepdims=True), shown.shape)
    every = {"share": jnp.zeros((6, 7)), "mask": jnp.ones((6, 7))}
    np.testing.assert_allclose(blended_albedo(**(pixels | every | {"photo": grey})), pixels["albedo"], atol=1e-4)
    halved = linear_to_srgb(0.5 * srgb_to_linear(grey))
    np.testing.assert_allclose(blended_albedo(**(pixels | every | {"photo": halved})), 0.5 * pixels["albedo"], atol=1e-4)


def test_the_region_is_exact_inside_and_continuous_at_its_border():
    model, config = makehuman.load(calibrated=False), PAPER      # points where the head was built
    share = np.asarray(model_share(model, config))
    mean, ibug = np.asarray(model.mean), np.einsum(
        "ij,ijd->id", model.landmarks.barycentric, np.asarray(model.mean)[np.asarray(model.triangles)[model.landmarks.triangle]])

    def at(place: np.ndarray) -> float:
        return float(share[np.linalg.norm(mean - place, axis=1).argmin()])
    brow = ibug[[21, 22]].mean(0)
    for inside in (brow + [0, 30, 0], brow + [25, 28, -3], ibug[36] + [-6, -1, -6], ibug[45] + [6, -1, -6]):
        assert at(inside) == pytest.approx(0.65, abs=1e-6)
    for outside in (ibug[30], ibug[8], ibug[62], ibug[2] + [12, 0, 8], ibug[19], mean[mean[:, 2].argmin()]):
        assert at(outside) == pytest.approx(0.35, abs=1e-3)
    np.testing.assert_allclose(share, share[np.asarray(model.mirror)], atol=1e-6)
    # no edge of the mesh on the face jumps by more than it is long: 0.3 over about 8 mm
    skin = np.asarray(model.triangles)[np.asarray(model.part) == model.part_names.index("skin")]
    edges = skin[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[np.linalg.norm(mean[edges[:, 0]] - ibug[27], axis=1) < 90]
    jump = np.abs(share[edges[:, 0]] - share[edges[:, 1]]) / np.linalg.norm(mean[edges[:, 0]] - mean[edges[:, 1]], axis=1)
    assert 0.03 < jump.max() < 0.09


def test_a_head_without_the_region_has_one_share():
    np.testing.assert_array_equal(model_share(tiny_head(), AlbedoBlendingConfig(model_share=0.25)), np.float32(0.25))


def test_a_stage_gives_the_blend_where_the_head_is_seen():
    """A photo of the head in two thirds of its own albedo, upon the geometry it was rendered with."""
    model, camera, size = tiny_head(rings=24, sectors=40), tiny_camera(size=96.0, focal=230.0), 96
    face = tiny_parameters(model)
    face = dataclasses.replace(face, light=light_from_direction(jnp.array([0.3, 0.4, 0.8]), ambient=0.6, strength=0.5))
    vertices = shape(model, face.identity, face.expression)
    place, depth = project(camera, vertices)
    seen = rasterize(place, depth, model.triangles, height=size, width=size)
    normals = to_view_frame(camera, vertex_normals(vertices, model.triangles))
    values = jnp.concatenate([normals, vertex_albedo(model, face.albedo)], -1)
    values = interpolate(seen, place, depth, model.triangles, values)
    normals, albedo, head = safe_normalize(values[..., :3]), values[..., 3:], np.asarray(seen.triangle >= 0)
    photo = linear_to_srgb(albedo / 1.5 * sh_irradiance(normals, face.light))
    empty = jnp.zeros((size, size))
    detail = Detail(camera=camera, mask=empty, displacement=empty, depth=seen.depth, normals=normals, albedo=None)
    pose = Pose(rotation=camera.rotation, centre=jnp.zeros(2), log_scale=jnp.zeros(()), log_focal=jnp.zeros(()),
                principal=camera.principal, perspective=True)
    state, config = FaceState(face=face, pose=pose), AlbedoBlendingConfig(model_share=0.25)
    blended = blend(model, state, photo, seen, detail, config=config).albedo
    assert head.mean() > 0.3 and not np.asarray(blended)[~head].any()
    np.testing.assert_allclose(np.asarray(blended)[head], np.asarray(albedo)[head] * (0.25 + 0.75 / 1.5), atol=1e-3)


@pytest.fixture(scope="module")
def head_layers():
    """Normals, model albedo, beta, visibility and place of every pixel of the embedded head, turned by 15 degrees."""
    model = makehuman.load()
    camera = Camera(focal=jnp.float32(1300.0), principal=jnp.full(2, SIZE / 2), rotation=head_rotation(0.26, 0.0, 0.0),
                    translation=jnp.array([0.0, 0.0, 1200.0]), perspective=True)
    place, depth = project(camera, model.mean)
    seen = rasterize(place, depth, model.triangles, height=SIZE, width=SIZE)
    values = jnp.concatenate([to_view_frame(camera, vertex_normals(model.mean, model.triangles)), model.albedo_mean, model.mean,
                              jnp.stack([model_share(model, PAPER),
                                         model.regions[model.region_names.index("face_skin")]], -1)], -1)
    values = interpolate(seen, place, depth, model.triangles, values)
    return safe_normalize(values[..., :3]), values[..., 3:6], np.asarray(values[..., 6:9]), values[..., 9], values[..., 10]


def moles(place: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Factor [S, S, 1] on the albedo: 60 moles of 1.5 to 3 mm about the face, and freckles."""
    factor = np.ones(place.shape[:2])
    for centre in np.column_stack([random.uniform(-60, 60, 60), random.uniform(-60, 90, 60)]):
        distance = np.linalg.norm(place[..., :2] - centre, axis=-1)
        factor *= 1 - random.uniform(0.3, 0.7) * np.exp(-((distance / random.uniform(1.5, 3.0)) ** 2))
    freckles = sum(np.sin(place @ random.normal(0, 1.2, 3) + k) for k in range(6))
    return (factor * (1 + 0.04 * freckles))[..., None]


@pytest.mark.parametrize("side", [-1.0, 0.2, 1.0])
def test_moles_stay_and_shading_goes(head_layers, side):
    normals, albedo, place, share, skin = head_layers
    truth = np.asarray(albedo) * moles(place, np.random.default_rng(3))
    light = light_from_direction(jnp.array([side, 0.5, 0.7]), ambient=0.35, strength=0.7) * jnp.array([1.1, 1.0, 0.9])
    photo = jnp.clip(linear_to_srgb(jnp.asarray(truth, jnp.float32) * sh_irradiance(normals, light)), 0, 1)
    photo = jnp.round(photo * 255) / 255
    mask = jnp.clip(skin, 0, 1)
    inside = np.asarray((mask > 0.99) & (jnp.min(sh_irradiance(normals, light), -1) > 0.15))
    fine = np.asarray(blended_albedo(photo, normals, albedo, light, jnp.zeros_like(share), mask))
    blended = np.asarray(blended_albedo(photo, normals, albedo, light, share, mask))

    def departure(colours: np.ndarray) -> np.ndarray:
        return np.log(colours[inside].mean(-1) / np.asarray(albedo)[inside].mean(-1))
    shading = np.asarray(sh_irradiance(normals, light))[inside].mean(-1)
    assert inside.sum() > 5000 and shading.std() > 0.1 * shading.mean()
    assert np.corrcoef(departure(fine), departure(truth))[0, 1] > 0.99
    assert np.corrcoef(departure(blended), departure(truth))[0, 1] > 0.95
    assert abs(np.corrcoef(departure(fine), shading)[0, 1]) < 0.1 < abs(
        np.corrcoef(np.log(np.asarray(srgb_to_linear(photo))[inside].mean(-1)), shading)[0, 1])
    np.testing.assert_allclose(
        (blended - truth)[inside], (np.asarray(share)[..., None] * (np.asarray(albedo) - truth))[inside], atol=0.01)


def test_by_default_the_albedo_is_the_photos():
    share = model_share(makehuman.load(), AlbedoBlendingConfig())
    assert not np.asarray(share).any()
