"""Pictures: that they lie where the head lies, at the photo's size, and say what they claim."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.geometry.camera import project, rescale_camera
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.render import render_color, render_textured
from fitkit.results import pictures
from fitkit.uv.displacement import Relief
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters


def test_interpolate_is_the_same_compiled():
    """A large picture once came out with every channel equal to the first when compiled as a whole (a fault of XLA)."""
    model = tiny_head(rings=24, sectors=40)
    pixels, depth = project(tiny_camera(size=400.0, focal=900.0), model.mean)
    seen = rasterize(pixels, depth, model.triangles, height=400, width=400)
    plain = interpolate(seen, pixels, depth, model.triangles, model.mean)
    compiled = jax.jit(interpolate)(seen, pixels, depth, model.triangles, model.mean)
    np.testing.assert_allclose(compiled, plain, atol=1e-2)
    assert float(jnp.abs(plain[..., 0] - plain[..., 1]).max()) > 10.0


@pytest.fixture(scope="module")
def made():
    model = tiny_head(rings=24, sectors=40)
    face, camera = tiny_parameters(model), tiny_camera(size=160.0)
    photo = np.random.default_rng(0).uniform(0.3, 0.6, (150, 170, 3)).astype(np.float32)
    return model, face, camera, photo, pictures.make(model, face, camera, photo)


def test_sizes_and_ranges(made):
    _, _, _, photo, made_pictures = made
    assert made_pictures["overlay"].shape == photo.shape and made_pictures["normals"].shape == photo.shape
    assert made_pictures["depth"].shape == photo.shape[:2]
    assert made_pictures["comparison"].shape == (2 * pictures.PANEL, 4 * pictures.PANEL, 3)
    for name in ("overlay", "albedo", "comparison"):
        assert made_pictures[name].min() >= 0 and made_pictures[name].max() <= 1


def test_depth_and_normals_are_the_cameras(made):
    model, face, camera, _, made_pictures = made
    vertices = shape(model, face.identity, face.expression)
    pixels, depth = project(camera, vertices)
    front = np.asarray(pixels)[np.asarray(depth).argmin()]
    column, row = (int(v) for v in front)
    assert made_pictures["depth"][row, column] == pytest.approx(float(depth.min()), abs=4.0)
    covered = made_pictures["depth"] > 0
    np.testing.assert_allclose(np.linalg.norm(made_pictures["normals"][covered], axis=-1), 1.0, atol=1e-3)
    assert made_pictures["normals"][row, column, 2] > 0.5
    assert not made_pictures["normals"][~covered].any()


def test_overlay_leaves_the_rest_of_the_photo_alone(made):
    _, _, _, photo, made_pictures = made
    beyond = scipy.ndimage.binary_dilation(made_pictures["depth"] > 0, iterations=2)     # the edge is smoothed
    empty = ~beyond
    assert empty.mean() > 0.2
    np.testing.assert_array_equal(made_pictures["overlay"][empty], photo[empty])


def test_albedo_is_the_photo_divided_by_its_light(made):
    """Where the photo shows the head squarely, albedo times light is the photo again, in the hue of the model."""
    model, face, camera, photo, _ = made
    vertices = shape(model, face.identity, face.expression)
    height, width = photo.shape[:2]
    light = face.light.at[0].add(3.0)
    face = type(face)(identity=face.identity, expression=face.expression, albedo=face.albedo, light=light)
    darker = 0.7 * vertex_albedo(model, face.albedo)
    rendered = np.asarray(linear_to_srgb(render_color(model, vertices, darker, camera, light, height=height, width=width)[0]))
    texture, _ = pictures.make_albedo(model, face, camera, np.clip(rendered, 0, 1).astype(np.float32))
    again, mask, fragments = render_textured(
        model, vertices, srgb_to_linear(jnp.asarray(texture)), camera, light, height=height, width=width)
    facing = np.asarray(pictures.make(model, face, camera, photo)["normals"])[..., 2] > 0.8
    difference = np.abs(np.asarray(linear_to_srgb(again)) - rendered)[facing & np.asarray(mask)]
    assert difference.mean() < 0.03


def test_overlay_is_the_textured_head_under_the_fitted_light(made):
    """Where the photo shows the head squarely, its albedo map under its light is the photo again, grain and all."""
    photo, made_pictures = made[3], made[4]
    squarely = made_pictures["normals"][..., 2] > 0.8
    assert squarely.sum() > 500
    shown, grain = (picture[squarely] - picture[squarely].mean(0) for picture in (made_pictures["overlay"], photo))
    assert np.corrcoef(shown.ravel(), grain.ravel())[0, 1] > 0.8


def test_shading_of_the_fine_geometry_is_no_albedo(made):
    """An albedo map is divided by the light on the relief, and pictures put it back: the overlay hardly changes."""
    model, face, camera, photo, plain = made
    rows, columns = np.mgrid[:1024, :1024]
    gradient = 0.3 * np.stack([np.sin(columns / 9.0), np.sin(rows / 9.0), np.zeros((1024, 1024))], -1)
    relief = Relief(displacement=jnp.zeros((1024, 1024)), gradient=jnp.asarray(gradient, jnp.float32))
    face = dataclasses.replace(face, light=face.light.at[1:4].set(0.8))                 # lamps from three sides: the relief shows
    flat, fine = (pictures.make(model, face, camera, photo, relief=each) for each in (None, relief))
    squarely = plain["normals"][..., 2] > 0.8
    changed = np.abs(fine["albedo"] - flat["albedo"]).max(-1)
    seen = changed > 0.01
    assert seen.mean() > 0.05 and np.abs(fine["overlay"] - flat["overlay"])[squarely].mean() < 0.5 * changed[seen].mean()


def test_a_face_beyond_the_border_is_cut(made):
    model, face, _, photo, _ = made
    far = tiny_camera(size=-600.0)
    assert pictures.make(model, face, far, photo)["overlay"].shape == photo.shape


def test_faces_of_all_sizes_share_the_compiled_programs(made, caplog):
    """A large face is rendered in tiles of the one size, seamlessly: its pictures are the small one's, enlarged."""
    model, face, _, photo, small = made
    times = 7
    camera = rescale_camera(tiny_camera(size=160.0), times, jnp.zeros(2))
    with jax.log_compiles():
        large = pictures.make(model, face, camera, np.kron(photo, np.ones((times, times, 1), np.float32)))
        jax.jit(lambda x: x + times)(0)      # shows that the log tells
    compiled = set(re.findall(r"Compiling jit\((.*?)\)", caplog.text))
    shared = {"render_layers", "apply_relief", "light_layers", "light_texture", "_broad_and_fine", "_composed"}
    assert "<lambda>" in compiled and not compiled & shared
    middle = slice(times // 2, None, times)
    both = (large["depth"][middle, middle] > 0) & (small["depth"] > 0)
    assert both.mean() > 0.1
    assert np.mean((large["depth"][middle, middle] > 0) != (small["depth"] > 0)) < 0.02
    # a pixel of the small picture shows its first of four samples: a quarter of a pixel aside, which the rim notices
    assert np.median(np.abs(large["depth"][middle, middle] - small["depth"])[both]) < 1.0
    assert np.median(np.abs(large["normals"][middle, middle] - small["normals"])[both]) < 0.01
