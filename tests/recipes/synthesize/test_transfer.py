"""Relief carried between pictures: correspondence by triangle, there and back, and the paper's gradient beside ours."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import head_rotation
from fitkit.geometry.depth_maps import differences
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.morphable.model import shape
from fitkit.recipes.synthesize.relief import transfer
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.texture import project, values_at_fragments
from fitkit.uv.displacement import sight_cosine
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters

MODEL = tiny_head(rings=24, sectors=40)
SIZE = 96


def picture(yaw, roll, focal, seed):
    """A head from somewhere: vertices, camera, fragments, cosines to the lines of sight."""
    face = tiny_parameters(MODEL, seed=seed)
    vertices = shape(MODEL, 0.3 * face.identity, jnp.zeros(52))
    camera = dataclasses.replace(tiny_camera(size=SIZE, focal=focal), rotation=head_rotation(*np.radians([yaw, 0.0, roll])))
    seen = rasterize(*project(camera, vertices), MODEL.triangles, height=SIZE, width=SIZE)
    both = values_at_fragments(seen, MODEL.triangles, jnp.concatenate([vertices, vertex_normals(vertices, MODEL.triangles)], 1))
    return vertices, camera, seen, sight_cosine(camera, both[..., :3], safe_normalize(both[..., 3:]))


@pytest.fixture(scope="module")
def pictures():
    return picture(0.0, 0.0, 200.0, 0), picture(18.0, 35.0, 240.0, 1)


def stripes(seen):
    """Level waves of 0.5 mm on the head, as relief at a picture's pixels."""
    height = values_at_fragments(seen, MODEL.triangles, MODEL.mean)[..., 1]
    return 0.5 * jnp.sin(height * 2 * np.pi / 25.0) * (seen.triangle >= 0)


def carried(displacement, source, target, scale=1.0, by_source=False):
    vertices, camera, seen, _ = source
    pixels, cosine, shown = transfer.corresponding_pixels(vertices, MODEL.triangles, camera, seen.depth, target[2])
    field, facing = transfer.along_depth(transfer.relief_of_picture(displacement, pixels, cosine), target[3])
    gradient = transfer.source_differences(displacement, pixels) if by_source else differences(field)
    known = shown & facing
    start = transfer.along_depth(stripes(target[2]), target[3])[0]      # the border is the truth, so that the inside is compared
    return transfer.transfer(scale * gradient, start, known), known


def test_a_pixel_corresponds_to_itself(pictures):
    vertices, camera, seen, cosine = pictures[0]
    pixels, there, shown = transfer.corresponding_pixels(vertices, MODEL.triangles, camera, seen.depth, seen)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    inside = np.asarray(shown)
    assert inside.sum() > 0.9 * (np.asarray(seen.triangle) >= 0).sum()
    np.testing.assert_allclose(np.asarray(pixels)[inside], np.stack([x, y], -1)[inside], atol=1e-2)
    np.testing.assert_allclose(np.asarray(there)[inside], np.asarray(cosine)[inside], atol=1e-5)


def test_relief_survives_the_way_to_another_face_and_back(pictures):
    """Turned by 18 degrees, rolled by 35, another person, another focal length."""
    first, second = pictures
    begin, _ = transfer.along_depth(stripes(first[2]), first[3])
    there, known = carried(begin, first, second)
    truth, _ = transfer.along_depth(stripes(second[2]), second[3])
    inside = np.asarray(known)
    assert inside.sum() > 1500 and np.corrcoef(np.asarray(there)[inside], np.asarray(truth)[inside])[0, 1] > 0.97
    back, returned = carried(there, second, first)
    inside = np.asarray(returned)
    assert np.corrcoef(np.asarray(back)[inside], np.asarray(begin)[inside])[0, 1] > 0.93


def test_the_papers_gradient_holds_for_one_roll_alone(pictures):
    first, second = pictures
    begin, _ = transfer.along_depth(stripes(first[2]), first[3])
    alike, ours = carried(begin, first, first, by_source=True)
    np.testing.assert_allclose(np.asarray(alike)[np.asarray(ours)], np.asarray(begin)[np.asarray(ours)], atol=2e-2)
    turned, known = carried(begin, first, second, by_source=True)
    right = carried(begin, first, second)[0]
    truth = np.asarray(transfer.along_depth(stripes(second[2]), second[3])[0])
    inside = np.asarray(known)
    errors = [np.sqrt(np.mean((np.asarray(found) - truth)[inside] ** 2)) for found in (turned, right)]
    assert errors[0] > 2 * errors[1]


def test_the_scale_is_that_of_the_relief_and_the_border_is_the_targets(pictures):
    first, _ = pictures
    vertices, camera, seen, cosine = first
    known = jnp.zeros((SIZE, SIZE), bool).at[30:60, 30:60].set(True)
    bump = 0.4 * jnp.exp(-((jnp.arange(SIZE) - 45.0) ** 2)[:, None] / 18 - ((jnp.arange(SIZE) - 45.0) ** 2) / 18)
    own = jnp.full((SIZE, SIZE), 0.1)
    found = np.asarray(transfer.transfer(1.3 * differences(bump), own, known))
    np.testing.assert_allclose(found, 0.1 + 1.3 * np.asarray(bump) * np.asarray(known), atol=3e-3)
    np.testing.assert_array_equal(found[~np.asarray(known)], np.float32(0.1))
