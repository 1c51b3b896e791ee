"""Albedo maps of people in the embedded head's UV, for training a texture prior: what `recipes/train/texture_generator` reads.

MakeHuman's skins (a folder the user names) are taken apart by region, put together anew with soft borders, recoloured along melanin
and blood, and given brows, stubble, freckles, moles, pores, wrinkle tint, make-up and the marks of age. Any folder of UV maps can
be read beside them. The same seed gives the same map; `HELD_OUT` skins serve testing and never enter a training set.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fitkit.color import linear_to_srgb, quantize
from fitkit.errors import FitkitError
from fitkit.io.images import find_photos
from fitkit.recipes.synthesize.textures import hair, marks
from fitkit.recipes.synthesize.textures.canvas import SKIN_ROWS, Canvas, build_canvas, resample

HELD_OUT = ("young_darkskinned_male_diffuse", "middleage_lightskinned_female_diffuse2")
AGES = {"young": 24.0, "middleage": 45.0, "old": 68.0}

# Skin colour, linear RGB, at these volume fractions of melanosomes and 0.03 of blood, and the change of its logarithm per
# logarithm of the blood fraction: values of models/build/makehuman/texture/pigment.py, which a test compares
MELANIN = np.array([0.008, 0.018, 0.035, 0.065, 0.12, 0.21, 0.36])
COLOUR = np.array([[0.6719, 0.4625, 0.3529], [0.6321, 0.4114, 0.2859], [0.5689, 0.3379, 0.2018], [0.4703, 0.2408, 0.1137],
                   [0.3290, 0.1352, 0.0499], [0.1842, 0.0637, 0.0294], [0.0796, 0.0349, 0.0288]])
BLOOD = np.array([[-0.0995, -0.2929, -0.3106], [-0.0994, -0.2928, -0.3010], [-0.0994, -0.2918, -0.2820],
                  [-0.0990, -0.2868, -0.2382], [-0.0970, -0.2652, -0.1263], [-0.0885, -0.1935, 0.0006], [-0.0620, -0.0617, 0.0089]])
SATURATION = 0.85                       # of the model's saturation: one layer of epidermis is more vivid than measured skin
HAIR = {"black": (0.012, 0.010, 0.009), "dark": (0.033, 0.021, 0.014), "brown": (0.075, 0.042, 0.024), "blond": (0.24, 0.15, 0.08),
        "red": (0.15, 0.055, 0.022), "grey": (0.32, 0.31, 0.30)}
IRIS = {"brown": (0.055, 0.026, 0.012), "dark": (0.022, 0.012, 0.008), "amber": (0.14, 0.075, 0.025), "green": (0.11, 0.13, 0.06),
        "blue": (0.11, 0.17, 0.24), "grey": (0.17, 0.19, 0.20)}
LIPSTICK = ((0.42, 0.03, 0.05), (0.50, 0.11, 0.14), (0.30, 0.06, 0.09), (0.45, 0.20, 0.15), (0.16, 0.02, 0.04), (0.55, 0.16, 0.24))
SHADOW = ((0.10, 0.06, 0.05), (0.20, 0.10, 0.06), (0.10, 0.10, 0.18), (0.25, 0.12, 0.16), (0.06, 0.09, 0.07))
RECOMBINED_REGIONS = (("nose",), ("lips",), ("eyelids", "under_eye"), ("chin", "beard"), ("forehead",), ("scalp", "neck", "ears"))
BORDER = 4.0                     # units: border between two skins
VARIED_AXES = np.isin(np.arange(54), [0, 1, 2, 13, 14, 15, 16, 51, 52, 53], invert=True)   # albedo axes but pigments, hair and eyes
# Log detail above which brightness is compressed, and to what share: skins made for dark people have grey temples
COMPRESSED_ABOVE, COMPRESSION = 0.25, 0.25


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SkinDetail:
    """A source of detail: log albedo over the mean of its plain skin, and whose it is where the file's name tells."""

    name: str
    detail: Float[np.ndarray, "S S 3"]
    age: float | None
    female: bool | None
    dark: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """What decides the look of one map."""

    age: float
    female: bool
    melanin: float        # volume fraction of melanosomes
    blood: float          # of blood, in the dermis
    hair: tuple[float, float, float]       # linear RGB


def find_skins(folder: str | pathlib.Path, *, held_out: bool = False) -> list[pathlib.Path]:
    """The skins in a folder, sorted: those to train on, or those of `HELD_OUT`.

    Raises:
        FitkitError: `E_NOFILE` or `E_EMPTYDIR`, as `find_photos`; `E_EMPTYDIR` also where none of the wanted kind is there.
    """
    paths = [path for path in find_photos(folder) if (path.stem in HELD_OUT) == held_out]
    if not paths:
        kind = "held-out skins" if held_out else "skins to train on"
        raise FitkitError("E_EMPTYDIR", f"the folder {folder} holds no {kind}; name the folder of MakeHuman's skins")
    return paths


def load_skins(paths: Sequence[pathlib.Path], ground: Canvas) -> list[SkinDetail]:
    """Each skin in the head's layout, relative to its own plain skin, and mirrored beside itself."""
    plain = ground.regions["fit_skin"] * ground.skin
    for name in ("beard", "brows", "eyelids", "lips", "nostrils", "under_eye"):
        plain = plain * (1 - ground.regions[name])
    skins = []
    for path in paths:
        colour = resample(path, ground)
        mean = (colour * plain[..., None]).sum(axis=(0, 1)) / plain.sum()
        detail = np.clip(np.log(np.maximum(colour, 1e-3) / mean), -2.5, 2.0).astype(np.float32)
        level = detail.mean(axis=-1, keepdims=True)
        detail = np.minimum(level, COMPRESSED_ABOVE + COMPRESSION * (level - COMPRESSED_ABOVE)) + np.clip(detail - level, -0.5, 0.5)
        words = path.stem.split("_")
        female = "female" in words if {"male", "female"} & set(words) else None
        dark = "darkskinned" in words if {"darkskinned", "lightskinned"} & set(words) else None
        skins += [SkinDetail(name=path.stem, detail=either, age=AGES.get(words[0]), female=female, dark=dark)
                  for either in (detail, mirrored(detail))]
    return skins


def mirrored(texels: Float[np.ndarray, "S S C"]) -> Float[np.ndarray, "S S C"]:
    """The map of the mirrored face: the skin's chart turned left to right, the small charts below it kept."""
    rows = int(SKIN_ROWS * len(texels))
    return np.concatenate([texels[:rows, ::-1], texels[rows:]])


def paint(rng: np.random.Generator, ground: Canvas, skins: Sequence[SkinDetail]) -> Float[np.ndarray, "S S 3"]:
    """One map, linear RGB in [0, 1], filled beyond the layout's edge."""
    person = draw_person(rng)
    logarithm = np.log(skin_colour(person.melanin, person.blood)) + recombine(rng, ground, skins, person)
    logarithm = logarithm + _vary(rng, ground) + _age(rng, ground, person)
    skin = np.exp(np.clip(logarithm, -5.0, -0.05)).astype(np.float32)
    skin = _make_up(rng, ground, person, skin)
    skin = _hairs(rng, ground, person, skin)
    inside = _eyes_and_mouth(rng, ground)
    return ground.fill(np.clip(np.where(ground.skin[..., None], skin, inside), 0.003, 0.97).astype(np.float32))


def textures(folder: str | pathlib.Path, *, size: int, count: int, seed: int = 0, held_out: bool = False,
             ) -> Iterator[UInt8[np.ndarray, "S S 3"]]:
    """`count` maps, sRGB, one after the other; map i depends on the skins, the size, the seed and i alone.

    Raises:
        FitkitError: as `find_skins` and `canvas.resample`.
    """
    ground = build_canvas(size=size)
    skins = load_skins(find_skins(folder, held_out=held_out), ground)
    for index in range(count):
        yield encode(paint(np.random.default_rng([seed, index, int(held_out)]), ground, skins))


def read_maps(folder: str | pathlib.Path, *, size: int) -> list[UInt8[np.ndarray, "S S 3"]]:
    """A folder of UV maps of the embedded head, as `fitkit` writes them (`albedo.png`): square, sRGB, brought to `size`.

    Raises:
        FitkitError: `E_NOFILE`, `E_EMPTYDIR`; `E_NOTIMAGE` where a map is not square.
    """
    maps = []
    for path in find_photos(folder):
        try:
            with Image.open(path) as picture:
                rgb = picture.convert("RGB")
        except (OSError, Image.DecompressionBombError) as error:
            raise FitkitError("E_NOTIMAGE", f"the UV map {path} cannot be read ({error}); remove it or export it again") from error
        if rgb.width != rgb.height:
            raise FitkitError("E_NOTIMAGE", f"the UV map {path} is {rgb.width}x{rgb.height}, not square; unwrap photos first")
        maps.append(np.asarray(rgb.resize((size, size), Image.Resampling.BOX if rgb.width > size else Image.Resampling.BICUBIC)))
    return maps


def encode(texels: Float[np.ndarray, "*s 3"]) -> UInt8[np.ndarray, "*s 3"]:
    """SRGB bytes of linear RGB."""
    return quantize(np.asarray(linear_to_srgb(jnp.asarray(texels))), np.uint8)


def skin_colour(melanin: float, blood: float) -> Float[np.ndarray, " 3"]:
    """Linear RGB of plain skin: the table, interpolated in the logarithm of melanin and extrapolated in that of blood, muted."""
    at = np.log(melanin)
    colour = np.array([np.interp(at, np.log(MELANIN), np.log(COLOUR[:, c])) for c in range(3)])
    slope = np.array([np.interp(at, np.log(MELANIN), BLOOD[:, c]) for c in range(3)])
    vivid = colour + slope * np.log(blood / 0.03)
    return np.exp(vivid.mean() + SATURATION * (vivid - vivid.mean()))


def draw_person(rng: np.random.Generator) -> Person:
    """Age, sex, pigments and colour of hair; dark skin has dark hair, age turns it grey."""
    age, female, melanin = rng.uniform(17, 80), bool(rng.random() < 0.5), float(np.exp(rng.uniform(np.log(0.009), np.log(0.30))))
    light = float(np.interp(np.log(melanin), np.log([0.015, 0.09]), [1, 0]))
    chances = np.array([1 - 0.8 * light, 0.7, 0.1 + 0.6 * light, 0.45 * light, 0.12 * light])
    names = ("black", "dark", "brown", "blond", "red")
    colour = np.array(HAIR[names[rng.choice(5, p=chances / chances.sum())]]) * np.exp(rng.normal(0, 0.2))
    grey = np.clip((age - 45) / 30 + rng.normal(0, 0.2), 0, 1) * rng.uniform(0.3, 1.0)
    colour = (1 - grey) * colour + grey * np.array(HAIR["grey"])
    blood = float(0.03 * np.exp(rng.normal(0, 0.3)))
    return Person(age=age, female=female, melanin=melanin, blood=blood, hair=(colour[0], colour[1], colour[2]))


def recombine(rng: np.random.Generator, ground: Canvas, skins: Sequence[SkinDetail], person: Person) -> Float[np.ndarray, "S S 3"]:
    """Detail of several skins, region by region, borders soft; skins like the person are the likelier."""
    chance = np.array([_match(skin, person) for skin in skins])
    chance /= chance.sum()
    result = skins[rng.choice(len(skins), p=chance)].detail
    for names in RECOMBINED_REGIONS:
        if rng.random() < 0.55:
            other = skins[rng.choice(len(skins), p=chance)].detail
            border = 1.5 if names == ("lips",) else BORDER
            mask = ground.blur(np.clip(sum(ground.regions[name] for name in names), 0, 1), border)[..., None]
            result = result * (1 - mask) + other * mask
    return result * rng.uniform(0.85, 1.15)


def _match(skin: SkinDetail, person: Person) -> float:
    age = 1.0 if skin.age is None else np.exp(-(((skin.age - person.age) / 18) ** 2))
    sex = 1.0 if skin.female in (None, person.female) else 0.35
    tone = 1.0 if skin.dark in (None, person.melanin > 0.08) else 0.1
    return float(age * sex * tone) + 1e-3


def _vary(rng: np.random.Generator, ground: Canvas) -> Float[np.ndarray, "S S 3"]:
    """The head's own albedo axes for regions and smooth waves, a little narrower than it draws them."""
    coefficients = (rng.normal(0, 0.75, len(VARIED_AXES)) * VARIED_AXES).astype(np.float32)
    shift = np.tensordot(coefficients, ground.axes, axes=1)
    return np.log(np.maximum(1 + shift / np.maximum(ground.mean, 0.02), 0.3))


def _age(rng: np.random.Generator, ground: Canvas, person: Person) -> Float[np.ndarray, "S S 3"]:
    """Marks and wrinkles, in log albedo: melanin where spots are, blood in blotches, shade in folds."""
    old, light = np.clip((person.age - 25) / 45, 0, 1), np.interp(np.log(person.melanin), np.log([0.015, 0.2]), [1, 0.25])
    face = ground.regions["face_skin"] * (1 - ground.regions["lips"]) * (1 - ground.regions["eyelids"])
    centre = face * np.clip(0.15 + ground.regions["cheeks"] + 0.8 * ground.regions["nose"] + 0.3 * ground.regions["forehead"], 0, 1)
    freckled = light > 0.6 and rng.random() < 0.3
    melanin = 0.38 * marks.spots(rng, ground, centre + 1e-6, count=int(rng.uniform(60, 420)) if freckled else 0, radius=0.6)
    melanin += 0.35 * marks.spots(rng, ground, face + 1e-6, count=int(rng.poisson(14 * old**2)), radius=rng.uniform(1.0, 1.8))
    melanin += 1.3 * marks.moles(rng, ground, count=int(rng.poisson(1.6)))
    melanin += rng.uniform(0.0, 0.22) * ground.regions["under_eye"]
    blotches = (0.025 + 0.035 * old) * ground.clouds(rng, 7.0) + 0.02 * ground.clouds(rng, 2.5)
    folds = rng.uniform(0.25, 0.6) * marks.wrinkles(rng, ground, age=person.age)
    pores = rng.uniform(0.01, 0.035) * marks.pores(rng, ground)
    result = -melanin[..., None] * np.array([0.55, 0.95, 1.2]) - folds[..., None] * np.array([0.8, 1.05, 1.1])
    return result + pores[..., None] + (face * blotches)[..., None] * np.array([-0.3, -1.0, -0.9])


def _make_up(rng: np.random.Generator, ground: Canvas, person: Person, skin: Float[np.ndarray, "S S 3"]) -> np.ndarray:
    """Lipstick, eye shadow, liner and rouge on some; on all, the wet rim between the lids and the dark one of the lashes."""
    wears = person.female and rng.random() < 0.5
    if wears and rng.random() < 0.75:
        lips = np.clip((ground.regions["lips"] - 0.3) / 0.3, 0, 1) * rng.uniform(0.35, 0.85)
        relief = (skin.mean(axis=-1) / np.maximum(ground.blur(skin.mean(axis=-1), 6.0), 1e-3))[..., None]
        skin = _over(skin, lips, np.array(LIPSTICK[rng.integers(len(LIPSTICK))]) * np.clip(relief, 0.4, 1.6))
    if wears and rng.random() < 0.6:
        lids = ground.blur(ground.regions["eyelids"] * (1 - ground.regions["under_eye"]), 1.5) * rng.uniform(0.25, 0.7)
        skin = _over(skin, lids, np.array(SHADOW[rng.integers(len(SHADOW))]))
    if wears and rng.random() < 0.5:
        skin = _over(skin, ground.regions["cheeks"] * rng.uniform(0.1, 0.35), np.array([0.55, 0.16, 0.15]) * skin.mean() / 0.25)
    upper = rng.uniform(0.7, 0.95) if wears else rng.uniform(0.25, 0.65) if person.female else rng.uniform(0.1, 0.45)
    wet = skin.mean(axis=-1, keepdims=True) * 0.3 + 0.5 * np.array([0.42, 0.20, 0.17]) * np.clip(skin.mean() / 0.25, 0.5, 1.2)
    skin = _over(skin, hair.lid_opening(ground), wet)
    rim = hair.lashes(ground, upper=upper, lower=upper * rng.uniform(0.2, 0.8))
    return _over(skin, rim, np.array([0.012, 0.010, 0.010]))


def _hairs(rng: np.random.Generator, ground: Canvas, person: Person, skin: Float[np.ndarray, "S S 3"]) -> np.ndarray:
    colour = np.array(person.hair)
    thickness = rng.uniform(4.0, 7.5) if person.female else rng.uniform(5.5, 11.0)
    brow = hair.brows(rng, ground, thickness=thickness, density=rng.uniform(0.35, 1.0))
    cap = hair.scalp(rng, ground, density=rng.uniform(0.1, 0.95), receding=0.0 if person.female else rng.uniform(0, 1) ** 2)
    skin = _over(skin, cap, colour)
    if not person.female:
        growth = float(rng.choice([rng.uniform(0.0, 0.12), rng.uniform(0.12, 0.4), rng.uniform(0.5, 0.95)], p=[0.5, 0.32, 0.18]))
        skin = _over(skin, hair.beard(rng, ground, growth=growth), colour)
    return _over(skin, brow * rng.uniform(0.7, 0.95), colour * rng.uniform(0.5, 1.0))


def _eyes_and_mouth(rng: np.random.Generator, ground: Canvas) -> Float[np.ndarray, "S S 3"]:
    """The head's own eyeballs, teeth and mouth; the iris in a colour of its own, whites and teeth a little different on each."""
    names = list(IRIS)
    iris = np.array(IRIS[names[rng.choice(6, p=[0.32, 0.25, 0.1, 0.11, 0.14, 0.08])]]) * np.exp(rng.normal(0, 0.2))
    change = np.abs(ground.axes[-3]).sum(axis=-1)
    inside = _over(ground.mean, change / max(float(change.max()), 1e-6), iris)
    inside = inside * np.exp(rng.normal(0, 0.08)) * np.array([1.0, 1.0, np.exp(rng.normal(-0.04, 0.07))])
    return inside + rng.normal(0, 0.8) * ground.axes[-1]


def _over(below: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return below * (1 - cover[..., None]) + colour * cover[..., None]
