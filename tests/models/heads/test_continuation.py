"""Meshes beyond the embedded head's reach: moves that are continued, eyes that are told, and textures across seams."""

import numpy as np
import trimesh

from fitkit.models.heads.importing.continuation import eyeballs, spread
from fitkit.models.heads.source import PARTS


def strip():
    """A strip of 7 squares whose first corner stands twice, as at a seam, and an island beside it."""
    places = np.array([[x, y, 0.0] for x in range(8) for y in range(2)])
    triangles = np.array([[2 * i + a, 2 * i + b, 2 * i + c] for i in range(7) for a, b, c in ((0, 2, 1), (1, 2, 3))]
                         + [[16, 2, 1], [17, 18, 19]])
    return np.concatenate([places, places[:1], places[:3] + 50]), triangles


def test_moves_are_continued_where_none_are_known(rng):
    """The left end moves, and what is said of the rest is wildly wrong."""
    moves, weight = rng.normal(size=(20, 3)) * 30, np.zeros(20)
    moves[:4] = moves[16] = [1.0, 2.0, 3.0]
    weight[:4] = weight[16] = 1.0
    found = spread(moves, weight, *strip())
    np.testing.assert_allclose(found[:17], np.tile([1.0, 2.0, 3.0], (17, 1)), atol=1e-2)
    np.testing.assert_allclose(found[17:], np.tile(moves[17:].mean(0), (3, 1)), atol=1e-3)


def test_moves_fade_into_those_of_what_is_held(rng):
    """The least squares whose rows are edges, and vertices beside their own moves."""
    vertices, triangles = strip()
    vertices, triangles = vertices[:16], triangles[:14]
    moves, weight, hold = rng.normal(size=(16, 2)), np.zeros(16), rng.uniform(0.01, 0.2, 16)
    weight[:2] = 1.0
    edges = {tuple(sorted(pair)) for a, b, c in triangles for pair in ((a, b), (b, c), (a, c))}
    rows = [np.eye(16)[one] - np.eye(16)[other] for one, other in sorted(edges)]
    held = np.sqrt(np.where(weight > 0.5, 1e5, hold))
    system, right = np.concatenate([rows, np.diag(held)]), np.concatenate([np.zeros((len(rows), 2)), held[:, None] * moves])
    expected = np.linalg.lstsq(system, right, rcond=None)[0]
    np.testing.assert_allclose(spread(moves, weight, vertices, triangles, hold=hold), expected, atol=1e-4)


def test_two_balls_side_by_side_are_eyes():
    """With a cornea each, in a head; neither a nose that is a ball nor a pair of ears."""
    ball, mesh = trimesh.creation.icosphere(2), []
    places = {"eye_left": [[30, 10, 70], [30, 10, 79]], "eye_right": [[-31, 11, 70], [-31, 11, 79]],
              "skin": [[0, 0, 0], [0, -20, 90], [75, 5, -10], [-75, 5, -10]]}
    radii = {"eye_left": [12, 6], "eye_right": [12.5, 6], "skin": [90, 13, 21, 21]}
    for name, middles in places.items():
        for middle, radius in zip(middles, radii[name], strict=True):
            mesh.append((ball.vertices * radius * ([1, 1, 0.4] if radius == 6 else 1) + middle, name))
    vertices = np.concatenate([piece for piece, _ in mesh])
    triangles = np.concatenate([ball.faces + len(ball.vertices) * k for k in range(len(mesh))])
    expected = np.concatenate([[PARTS.index(name)] * len(piece) for piece, name in mesh])
    np.testing.assert_array_equal(eyeballs(vertices, triangles), expected)
    blind = (expected == 0)[triangles].all(1)
    assert not eyeballs(vertices, triangles[blind]).any()
