"""The surface of the embedded head: points, mirror, regions, texture map, colour. Of the shipped file, without the wheel."""

import importlib.resources
import pathlib
import tomllib

import numpy as np
import pytest

from fitkit.models.build.makehuman.points.landmarks import read_points
from fitkit.models.heads import makehuman

ASSETS = pathlib.Path(__file__).resolve().parents[3].parent / "shared" / "assets"
SKINS = ASSETS / "skins"
HELD_OUT = {"young_darkskinned_male_diffuse.png": 0.020, "middleage_lightskinned_female_diffuse2.png": 0.070}
IBUG = tomllib.loads((importlib.resources.files("fitkit") / "data" / "landmarks.toml").read_text())
SIZE = 512              # texels a side, for counting


@pytest.fixture(scope="module")
def head() -> dict[str, np.ndarray]:
    """The arrays of the file; masks under their own names with `region:` before."""
    tensors, names = makehuman.read(makehuman.WEIGHTS)
    tensors = {key: value.astype(np.float64) if value.dtype.kind == "f" else value for key, value in tensors.items()}
    return tensors | {f"region:{name}": mask for name, mask in zip(names["region_names"], tensors["regions"], strict=True)}


def points(head: dict[str, np.ndarray], name: str) -> np.ndarray:
    corners = head["mean"][head["triangles"][head[f"{name}_triangle"]]]
    return np.einsum("...k,...kd->...d", head[f"{name}_barycentric"], corners)


def mirrored(values: np.ndarray) -> np.ndarray:
    return values * [-1, 1, 1]


def texels(head: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """How many triangles cover each texel, and the value of the face skin mask there, both [SIZE, SIZE] (a slow oracle)."""
    count, face = np.zeros((SIZE, SIZE), int), np.zeros((SIZE, SIZE))
    corners = head["uv"][head["uv_triangles"]] * SIZE
    masks = head["region:face_skin"][head["triangles"]]
    for (a, b, c), mask in zip(corners, masks, strict=True):
        low, high = np.floor(np.min([a, b, c], axis=0)).astype(int), np.ceil(np.max([a, b, c], axis=0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        weight = np.linalg.solve(np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]]),
                                 np.stack([x.ravel() + 0.5, y.ravel() + 0.5, np.ones(x.size)]))
        inside = (weight > 1e-4).all(axis=0)
        place = y.ravel()[inside], x.ravel()[inside]
        count[place] += 1
        face[place] = mask @ weight[:, inside]
    return count, face


def test_ibug_table_is_complete_and_mirrors_itself() -> None:
    marks, mirror = IBUG["mediapipe"], IBUG["mirror"]
    assert len(marks) == len(mirror) == 68
    assert [mirror[mirror[i]] for i in range(68)] == list(range(68))
    twin = {row[0]: row[1] for row in read_points()["dense"]}
    twin |= {other: own for own, other in twin.items()}
    for index, row in enumerate(marks):
        assert sum(weight for _, weight in row) == pytest.approx(1)
        assert {twin[point] for point, _ in row} == {point for point, _ in marks[mirror[index]]}


def test_landmarks_mirror_each_other(head: dict[str, np.ndarray]) -> None:
    ibug = points(head, "landmarks")
    assert np.abs(mirrored(ibug)[IBUG["mirror"]] - ibug).max() < 0.1


def test_landmarks_are_in_the_order_of_ibug(head: dict[str, np.ndarray]) -> None:
    ibug = points(head, "landmarks")
    x, y, z = ibug.T
    right = [*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67]
    assert (x[right] < -1).all()                                # the subject's right is at -X
    assert (np.diff(x[3:14]) > 0).all() and (np.diff(y[:9]) < 0).all()     # along the jaw, down to the chin
    assert (np.diff(x[17:27]) > 0).all() and (np.diff(y[27:31]) < -5).all()
    assert ibug[30, 2] == z[17:].max()                          # the tip of the nose stands out furthest
    assert (np.diff(x[31:36]) > 0).all()
    assert (np.diff(x[36:40]) > 0).all() and (np.diff(x[[39, 40, 41, 36]]) < 0).all()
    assert (y[[37, 38]] > y[[41, 40]] + 4).all()                # eyes are open
    assert (np.diff(x[48:55]) > 0).all() and (np.diff(x[54:60]) < 0).all()
    assert (y[49:54] > y[[59, 58, 57, 56, 55]] + 5).all()
    assert (y[[61, 62, 63]] >= y[[67, 66, 65]] - 0.5).all()     # lips are closed, not crossed
    assert y[17:22].min() > y[36:42].max() + 5
    assert np.linalg.norm(ibug[36] - ibug[45]) == pytest.approx(87, abs=8)     # mm, adults: 80 to 95


def test_jaw_lines_end_at_the_jaw_and_run_over_the_cheek(head: dict[str, np.ndarray]) -> None:
    lines = points(head, "contour")
    assert lines.shape[:1] == (17,) and 12 <= lines.shape[1] <= 20
    assert np.allclose(lines[:, -1], points(head, "landmarks")[:17], atol=1e-4)
    assert np.abs(mirrored(lines)[::-1] - lines).max() < 0.1
    steps = np.linalg.norm(np.diff(lines, axis=1), axis=-1)
    assert steps.max() < 7 and steps.min() > 0.3                # even and unbroken
    assert (np.diff(lines[[0, 1, 2, 3], :, 2], axis=1) < 0.5).all()     # from the front backwards


@pytest.mark.parametrize("yaw", [35, 60])
def test_jaw_lines_reach_the_outline_of_a_rotated_head(head: dict[str, np.ndarray], yaw: float) -> None:
    turn = np.radians(yaw)
    across = points(head, "contour") @ [np.cos(turn), 0, np.sin(turn)]     # image x of a head turned to its left
    hidden, shown = across[13:], across[:4]
    assert (hidden.max(axis=1) > hidden[:, -1] + 3).all()      # the far cheek stands before the far jaw
    assert (shown.argmin(axis=1) == across.shape[1] - 1).all()  # the near jaw stays


def test_dense_points_mirror_each_other_and_agree_with_ibug(head: dict[str, np.ndarray]) -> None:
    dense, ibug = points(head, "dense"), points(head, "landmarks")
    for own, other, *_ in read_points()["dense"]:
        assert np.abs(mirrored(dense[own]) - dense[other]).max() < 0.1
    for index in range(17, 68):
        target = sum(weight * dense[point] for point, weight in IBUG["mediapipe"][index])
        assert np.linalg.norm(target - ibug[index]) < 1.6
    for index in range(17):
        target = sum(weight * dense[point] for point, weight in IBUG["mediapipe"][index])
        assert np.linalg.norm(target - ibug[index]) < 4


def test_dense_points_lie_on_lids_and_lips(head: dict[str, np.ndarray]) -> None:
    dense, weight = points(head, "dense"), head["dense_weight"]
    lids = [33, 246, 161, 160, 159, 158, 157, 173, 133, 7, 163, 144, 145, 153, 154, 155]
    lips = [61, 185, 40, 39, 37, 0, 78, 191, 80, 81, 82, 13, 146, 91, 181, 84, 17, 95, 88, 178, 87, 14]
    assert ((weight >= 0) & (weight <= 1)).all() and (weight[lids + lips] == 1).all()
    assert (weight[[127, 234, 93, 132, 58]] == 0).all()         # before the ears, where silhouettes slide
    ball = head["mean"][np.unique(head["triangles"][head["part"] == 2])]
    *twice, rest = np.linalg.lstsq(np.c_[2 * ball, np.ones(len(ball))], (ball**2).sum(axis=1), rcond=None)[0]
    centre = np.array(twice)
    radius = np.sqrt(rest + centre @ centre)
    gap = np.linalg.norm(dense[lids] - centre, axis=1) - radius
    assert gap.min() > -1 and np.median(gap) < 3 and gap.max() < 9          # the inner corner lies off the ball
    places = head["triangles"][head["dense_triangle"][lips]]
    assert (head["region:lips"][places].max(axis=1) > 0.3).all()


def test_mirror_is_an_involution(head: dict[str, np.ndarray]) -> None:
    mirror = head["mirror"]
    assert (mirror[mirror] == np.arange(len(mirror))).all() and (mirror != np.arange(len(mirror))).mean() > 0.9
    assert np.abs(mirrored(head["mean"])[mirror] - head["mean"]).max() < 0.5
    flipped = {tuple(sorted(row)) for row in mirror[head["triangles"]].tolist()}
    assert flipped == {tuple(sorted(row)) for row in head["triangles"].tolist()}


def test_regions_are_soft_masks_in_their_places(head: dict[str, np.ndarray]) -> None:
    masks = {key.removeprefix("region:"): value for key, value in head.items() if key.startswith("region:")}
    wanted = {"face_skin", "fit_skin", "lips", "eyes", "brows", "ears", "neck", "nose", "forehead", "cheeks", "under_eye",
              "chin", "scalp", "nostrils", "eyelids", "beard", "mouth_interior"}
    assert wanted <= set(masks)
    for mask in masks.values():
        assert mask.min() >= 0 and mask.max() <= 1 and mask.max() > 0.6
        assert np.abs(mask - mask[head["mirror"]]).max() < 1e-3
    ibug = points(head, "landmarks")

    def at(name: str, place: np.ndarray) -> float:
        return float(masks[name][np.argmin(np.linalg.norm(head["mean"] - place, axis=1))])
    assert at("nose", ibug[30]) > 0.9 and at("chin", ibug[8] + [0, 12, 5]) > 0.4 and at("brows", ibug[19]) > 0.5
    assert at("lips", ibug[62]) > 0.9 and at("face_skin", ibug[62]) < 0.1
    cheek = points(head, "dense")[50]
    assert at("cheeks", cheek) > 0.5 and at("fit_skin", cheek) > 0.9 and at("neck", cheek) < 0.01
    eyes = np.unique(head["triangles"][np.isin(head["part"], (1, 2))])
    assert masks["eyes"][eyes].min() == 1 and masks["fit_skin"][eyes].max() == 0
    lowest = head["mean"][:, 1] < ibug[8, 1] - 25
    assert masks["neck"][lowest].mean() > 0.9 and masks["fit_skin"][lowest].max() < 0.05
    crown = head["mean"][:, 1] > ibug[19, 1] + 80
    assert masks["scalp"][crown].mean() > 0.8 and masks["fit_skin"][crown].max() < 0.05


def test_texture_map_has_no_overlap_and_is_half_face(head: dict[str, np.ndarray]) -> None:
    assert head["uv"].min() >= 0 and head["uv"].max() <= 1
    count, face = texels(head)
    assert (count > 1).sum() == 0
    assert face.mean() >= 0.5
    first, second = (head["uv"][head["uv_triangles"][:, k]] - head["uv"][head["uv_triangles"][:, 0]] for k in (1, 2))
    assert (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0).all()      # no triangle is flipped


def test_texture_map_is_upright_and_little_stretched(head: dict[str, np.ndarray]) -> None:
    faces = head["region:face_skin"][head["triangles"]].mean(axis=1) > 0.5
    place, flat = head["mean"][head["triangles"][faces]], head["uv"][head["uv_triangles"][faces]]
    assert np.corrcoef(place.mean(axis=1)[:, 0], flat.mean(axis=1)[:, 0])[0, 1] > 0.95
    assert np.corrcoef(place.mean(axis=1)[:, 1], flat.mean(axis=1)[:, 1])[0, 1] > 0.95
    first, second = place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]
    base = np.linalg.norm(first, axis=1)
    along, height = (first * second).sum(axis=1) / base, np.linalg.norm(np.cross(first, second), axis=1) / base
    rest = np.zeros((len(base), 2, 2))
    rest[:, 0, 0], rest[:, 0, 1], rest[:, 1, 1] = base, along, height
    edges = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], axis=2)
    stretch = np.linalg.svd(edges @ np.linalg.inv(rest), compute_uv=False)
    order = np.argsort(stretch[:, 0] / stretch[:, 1])
    share = np.cumsum((base * height)[order]) / (base * height).sum()
    shear = (stretch[:, 0] / stretch[:, 1])[order]
    assert shear[np.searchsorted(share, 0.5)] < 1.3 and shear[np.searchsorted(share, 0.9)] < 1.6
    scale = np.sort(np.sqrt(stretch.prod(axis=1)))
    assert scale[int(0.95 * len(scale))] / scale[int(0.05 * len(scale))] < 2.2


def test_seams_are_only_behind_the_head(head: dict[str, np.ndarray]) -> None:
    pairs = np.unique(np.stack([head["triangles"].ravel(), head["uv_triangles"].ravel()], axis=1), axis=0)
    flat = head["uv"][pairs[:, 1]]
    low, high = np.full((len(head["mean"]), 2), np.inf), np.full((len(head["mean"]), 2), -np.inf)
    np.minimum.at(low, pairs[:, 0], flat)
    np.maximum.at(high, pairs[:, 0], flat)
    split = (high - low).max(axis=1) > 0.02
    assert split.sum() > 10
    assert head["region:face_skin"][split].max() == 0


def test_sampled_albedos_are_skin_colours(head: dict[str, np.ndarray]) -> None:
    mean, axes = head["albedo_mean"], head["albedo"]
    assert 40 <= len(axes) <= 60 and mean.min() > 0 and mean.max() < 1
    generator = np.random.default_rng(0)
    people = mean + np.tensordot(np.clip(generator.standard_normal((200, len(axes))), -2.5, 2.5), axes, axes=1)
    assert ((people > 0) & (people < 1)).mean() > 0.985
    plain = head["region:fit_skin"] * (1 - head["region:brows"]) * (1 - head["region:lips"])
    faces = np.einsum("nvc,v->nc", people, plain) / plain.sum()
    assert faces[:, 0].min() < 0.12 and faces[:, 0].max() > 0.55        # very dark and very light
    assert (np.diff(faces[faces[:, 2] > 0.03], axis=1) < 0).mean() > 0.97     # red over green over blue
    lips = head["region:lips"] > 0.9
    assert (mean[lips, 0] / mean[lips, 1]).mean() > 1.2 * (mean[plain > 0.9, 0] / mean[plain > 0.9, 1]).mean()


def test_one_axis_is_melanin(head: dict[str, np.ndarray]) -> None:
    plain = head["region:fit_skin"] > 0.95
    dark, light = (head["albedo_mean"][plain] + k * head["albedo"][0][plain] for k in (2.3, -2.3))
    assert 0.04 < np.median(dark, axis=0)[0] < 0.10 and 0.5 < np.median(light, axis=0)[0] < 0.68


@pytest.mark.skipif(not SKINS.is_dir(), reason="shared/assets/skins is not beside the checkout")
@pytest.mark.parametrize("name", HELD_OUT)
def test_albedo_model_reproduces_held_out_skins(head: dict[str, np.ndarray], name: str) -> None:
    colour = _skin(head, SKINS / name)
    weight = head["region:fit_skin"] * (1 - head["region:brows"])
    axes = (head["albedo"] * np.sqrt(weight)[:, None]).reshape(len(head["albedo"]), -1).T
    target = ((colour - head["albedo_mean"]) * np.sqrt(weight)[:, None]).ravel()
    coefficients = np.linalg.solve(axes.T @ axes + 1e-3 * np.eye(axes.shape[1]), axes.T @ target)
    fitted = head["albedo_mean"] + np.tensordot(coefficients, head["albedo"], axes=1)

    def error(other: np.ndarray) -> float:
        return float(np.sqrt(((colour - other) ** 2).mean(axis=1) @ weight / weight.sum()))
    assert error(fitted) < HELD_OUT[name] < 0.3 * error(head["albedo_mean"])


def _skin(head: dict[str, np.ndarray], path: pathlib.Path) -> np.ndarray:
    """Linear RGB [V, 3] of the nearest texel of a MakeHuman skin (a crop of the head) at each vertex."""
    import imageio.v3 as imageio

    coded = np.asarray(imageio.imread(path), float) / 255
    place = np.zeros((len(head["mean"]), 2))
    place[head["triangles"]] = head["uv_makehuman"][head["uv_triangles"]]
    column = np.clip((place[:, 0] * 2048 - 1280).astype(int), 0, 767)
    row = np.clip(((1 - place[:, 1]) * 2048 - 320).astype(int), 0, 1439)
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)[row, column]
