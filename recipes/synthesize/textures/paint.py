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
from fitkit.io.images import MAX_BYTES, find_photos
from fitkit.io.untrusted import open_file, parsing
from fitkit.recipes.synthesize.relief.grooves import draw_grooves, shade
from fitkit.recipes.synthesize.textures import hair, marks
from fitkit.recipes.synthesize.textures.canvas import IRIS_AXIS, SCLERA_AXIS, SKIN_ROWS, Canvas, build_canvas, resample

HELD_OUT = ("young_darkskinned_male_diffuse", "middleage_lightskinned_female_diffuse2")

# Skin colour, linear RGB, at these volume fractions of melanosomes and TYPICAL_BLOOD, and the change of its logarithm per
# logarithm of the blood fraction: values of models/build/makehuman/texture/pigment.py, which a test compares
MELANIN = np.array([0.008, 0.018, 0.035, 0.065, 0.12, 0.21, 0.36])
COLOUR = np.array([[0.6719, 0.4625, 0.3529], [0.6321, 0.4114, 0.2859], [0.5689, 0.3379, 0.2018], [0.4703, 0.2408, 0.1137],
                   [0.3290, 0.1352, 0.0499], [0.1842, 0.0637, 0.0294], [0.0796, 0.0349, 0.0288]])
BLOOD = np.array([[-0.0995, -0.2929, -0.3106], [-0.0994, -0.2928, -0.3010], [-0.0994, -0.2918, -0.2820],
                  [-0.0990, -0.2868, -0.2382], [-0.0970, -0.2652, -0.1263], [-0.0885, -0.1935, 0.0006], [-0.0620, -0.0617, 0.0089]])
TYPICAL_BLOOD = 0.03               # volume fraction in the dermis

# From here on: a painter's choices, not tuned. Palettes in linear RGB
HAIR = {"black": (0.012, 0.010, 0.009), "dark": (0.033, 0.021, 0.014), "brown": (0.075, 0.042, 0.024), "blond": (0.24, 0.15, 0.08),
        "red": (0.15, 0.055, 0.022), "grey": (0.32, 0.31, 0.30)}
IRIS = {"brown": (0.055, 0.026, 0.012), "dark": (0.022, 0.012, 0.008), "amber": (0.14, 0.075, 0.025), "green": (0.11, 0.13, 0.06),
        "blue": (0.11, 0.17, 0.24), "grey": (0.17, 0.19, 0.20)}
IRIS_CHANCES = (0.32, 0.25, 0.1, 0.11, 0.14, 0.08)      # in that order
LIPSTICK = ((0.42, 0.03, 0.05), (0.50, 0.11, 0.14), (0.30, 0.06, 0.09), (0.45, 0.20, 0.15), (0.16, 0.02, 0.04), (0.55, 0.16, 0.24))
SHADOW = ((0.10, 0.06, 0.05), (0.20, 0.10, 0.06), (0.10, 0.10, 0.18), (0.25, 0.12, 0.16), (0.06, 0.09, 0.07))
ROUGE, WET_RIM, LASHES = (0.55, 0.16, 0.15), (0.42, 0.20, 0.17), (0.012, 0.010, 0.010)
PALE_SKIN = 0.25                   # mean skin colour at which rouge and the lids' wet rim have these colours

# People: ages in years, pigments as volume fractions; drawn uniformly from ranges, melanin in its logarithm
AGES = {"young": 24.0, "middleage": 45.0, "old": 68.0}      # that the names of MakeHuman's skins stand for
AGE_RANGE = (17, 80)
MELANIN_RANGE = (0.009, 0.30)
BLOOD_SPREAD = 0.3                 # standard deviation of log blood
LIGHT_HAIR_MELANIN = (0.015, 0.09)      # from which on to which hair loses its light colours
HAIR_SPREAD = 0.2                  # standard deviation of log hair colour
GREYING = (45, 30)                 # age at which hair begins to turn grey, and years that it takes
GREYING_SPREAD = 0.2               # of the greyed share
AGEING = (25, 45)                  # age at which skin begins to show marks, and years until they are all there

# Detail of MakeHuman's skins
SATURATION = 0.85                  # share of the pigment model's: one layer of epidermis is more vivid than measured skin
DETAIL_RANGE = (-2.5, 2.0)         # of log detail
DETAIL_HUE = 0.5                   # greatest difference of a channel's log detail from their mean
# Log detail above which brightness is compressed, and to what share: skins made for dark people have grey temples
COMPRESSED_ABOVE, COMPRESSION = 0.25, 0.25
RECOMBINED_REGIONS = (("nose",), ("lips",), ("eyelids", "under_eye"), ("chin", "beard"), ("forehead",), ("scalp", "neck", "ears"))
RECOMBINATION_CHANCE = 0.55        # that a region comes from another skin
BORDER, LIP_BORDER = 4.0, 1.5      # units: width of the border between two skins
DETAIL_GAIN = (0.85, 1.15)         # range of the factor of a map's detail
AGE_MATCH = 18.0                   # years of difference at which a skin is 1/e as likely
OTHER_SEX, OTHER_TONE = 0.35, 0.1  # factors of the probability of a skin of the other sex or tone
DARK_MELANIN = 0.08                # melanin from which on a person is dark-skinned
VARIED_AXES = np.isin(np.arange(54), [0, 1, 2, 13, 14, 15, 16, 51, 52, 53], invert=True)   # albedo axes but pigments, hair and eyes
VARIED_SPREAD = 0.75               # of their coefficients, standard deviations

# Marks, in log albedo: strengths, and the channels' shares of what melanin, blood and shade take
FRECKLES, AGE_SPOTS, MOLES = 0.38, 0.35, 1.3
FRECKLED_CHANCE, FRECKLE_COUNT, FRECKLE_RADIUS = 0.3, (60, 420), 0.6      # of fair skins; range; units
FRECKLED_MELANIN = (0.015, 0.2)    # from which on to which skin loses its freckles
AGE_SPOT_COUNT, AGE_SPOT_RADIUS = 14, (1.0, 1.8)      # mean at full age; units
MOLE_COUNT = 1.6                   # mean
UNDER_EYE = (0.0, 0.22)            # range of the dark rings' strength
FOLDS, PORES = (0.25, 0.6), (0.01, 0.035)      # ranges
MELANIN_SHARE, FOLD_SHARE, BLOOD_SHARE = (0.55, 0.95, 1.2), (0.8, 1.05, 1.1), (-0.3, -1.0, -0.9)

# Value ranges of the result
LOG_SKIN = (-5.0, -0.05)           # log linear RGB of skin
LINEAR = (0.003, 0.97)             # linear RGB of a map


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
    """Attributes that a map is painted by."""

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
        detail = np.clip(np.log(np.maximum(colour, 1e-3) / mean), *DETAIL_RANGE).astype(np.float32)
        level = detail.mean(axis=-1, keepdims=True)
        compressed = np.minimum(level, COMPRESSED_ABOVE + COMPRESSION * (level - COMPRESSED_ABOVE))
        detail = compressed + np.clip(detail - level, -DETAIL_HUE, DETAIL_HUE)
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
    skin = np.exp(np.clip(logarithm, *LOG_SKIN)).astype(np.float32)
    skin = _make_up(rng, ground, person, skin)
    skin = _hairs(rng, ground, person, skin)
    inside = _eyes_and_mouth(rng, ground)
    return ground.fill(np.clip(np.where(ground.skin[..., None], skin, inside), *LINEAR).astype(np.float32))


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
        mend = "remove it or export it again"
        with (parsing("E_NOTIMAGE", f"the UV map {path} cannot be read", mend=mend),
              open_file(path, most=MAX_BYTES, code="E_NOTIMAGE", mend=mend) as file, Image.open(file) as picture):
            rgb = picture.convert("RGB")
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
    vivid = colour + slope * np.log(blood / TYPICAL_BLOOD)
    return np.exp(vivid.mean() + SATURATION * (vivid - vivid.mean()))


def draw_person(rng: np.random.Generator) -> Person:
    """Age, sex, pigments and colour of hair; dark skin has dark hair, age turns it grey."""
    age, female, melanin = rng.uniform(*AGE_RANGE), bool(rng.random() < 0.5), float(np.exp(rng.uniform(*np.log(MELANIN_RANGE))))
    light = float(np.interp(np.log(melanin), np.log(LIGHT_HAIR_MELANIN), [1, 0]))
    chances = np.array([1 - 0.8 * light, 0.7, 0.1 + 0.6 * light, 0.45 * light, 0.12 * light])
    names = ("black", "dark", "brown", "blond", "red")
    colour = np.array(HAIR[names[rng.choice(5, p=chances / chances.sum())]]) * np.exp(rng.normal(0, HAIR_SPREAD))
    grey = np.clip((age - GREYING[0]) / GREYING[1] + rng.normal(0, GREYING_SPREAD), 0, 1) * rng.uniform(0.3, 1.0)
    colour = (1 - grey) * colour + grey * np.array(HAIR["grey"])
    blood = float(TYPICAL_BLOOD * np.exp(rng.normal(0, BLOOD_SPREAD)))
    return Person(age=age, female=female, melanin=melanin, blood=blood, hair=(colour[0], colour[1], colour[2]))


def recombine(rng: np.random.Generator, ground: Canvas, skins: Sequence[SkinDetail], person: Person) -> Float[np.ndarray, "S S 3"]:
    """Detail of several skins, region by region, borders soft; skins like the person are the likelier."""
    chance = np.array([_match(skin, person) for skin in skins])
    chance /= chance.sum()
    result = skins[rng.choice(len(skins), p=chance)].detail
    for names in RECOMBINED_REGIONS:
        if rng.random() < RECOMBINATION_CHANCE:
            other = skins[rng.choice(len(skins), p=chance)].detail
            border = LIP_BORDER if names == ("lips",) else BORDER
            mask = ground.blur(np.clip(sum(ground.regions[name] for name in names), 0, 1), border)[..., None]
            result = result * (1 - mask) + other * mask
    return result * rng.uniform(*DETAIL_GAIN)


def _match(skin: SkinDetail, person: Person) -> float:
    age = 1.0 if skin.age is None else np.exp(-(((skin.age - person.age) / AGE_MATCH) ** 2))
    sex = 1.0 if skin.female in (None, person.female) else OTHER_SEX
    tone = 1.0 if skin.dark in (None, person.melanin > DARK_MELANIN) else OTHER_TONE
    return float(age * sex * tone) + 1e-3


def _vary(rng: np.random.Generator, ground: Canvas) -> Float[np.ndarray, "S S 3"]:
    """The head's own albedo axes for regions and smooth waves, a little narrower than it draws them."""
    coefficients = (rng.normal(0, VARIED_SPREAD, len(VARIED_AXES)) * VARIED_AXES).astype(np.float32)
    shift = np.tensordot(coefficients, ground.axes, axes=1)
    return np.log(np.maximum(1 + shift / np.maximum(ground.mean, 0.02), 0.3))


def _age(rng: np.random.Generator, ground: Canvas, person: Person) -> Float[np.ndarray, "S S 3"]:
    """Marks and wrinkles, in log albedo: melanin where spots are, blood in blotches, shade in folds."""
    old = np.clip((person.age - AGEING[0]) / AGEING[1], 0, 1)
    light = np.interp(np.log(person.melanin), np.log(FRECKLED_MELANIN), [1, 0.25])
    face = ground.regions["face_skin"] * (1 - ground.regions["lips"]) * (1 - ground.regions["eyelids"])
    centre = face * np.clip(0.15 + ground.regions["cheeks"] + 0.8 * ground.regions["nose"] + 0.3 * ground.regions["forehead"], 0, 1)
    freckled = light > 0.6 and rng.random() < FRECKLED_CHANCE
    count = int(rng.uniform(*FRECKLE_COUNT)) if freckled else 0
    melanin = FRECKLES * marks.spots(rng, ground, centre + 1e-6, count=count, radius=FRECKLE_RADIUS)
    count = int(rng.poisson(AGE_SPOT_COUNT * old**2))
    melanin += AGE_SPOTS * marks.spots(rng, ground, face + 1e-6, count=count, radius=rng.uniform(*AGE_SPOT_RADIUS))
    melanin += MOLES * marks.moles(rng, ground, count=int(rng.poisson(MOLE_COUNT)))
    melanin += rng.uniform(*UNDER_EYE) * ground.regions["under_eye"]
    blotches = (0.025 + 0.035 * old) * ground.clouds(rng, 7.0) + 0.02 * ground.clouds(rng, 2.5)
    folds = rng.uniform(*FOLDS) * shade(ground, draw_grooves(rng, ground, age=person.age))
    pores = rng.uniform(*PORES) * marks.pores(rng, ground)
    result = -melanin[..., None] * np.array(MELANIN_SHARE) - folds[..., None] * np.array(FOLD_SHARE)
    return result + pores[..., None] + (face * blotches)[..., None] * np.array(BLOOD_SHARE)


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
        skin = _over(skin, ground.regions["cheeks"] * rng.uniform(0.1, 0.35), np.array(ROUGE) * skin.mean() / PALE_SKIN)
    upper = rng.uniform(0.7, 0.95) if wears else rng.uniform(0.25, 0.65) if person.female else rng.uniform(0.1, 0.45)
    wet = skin.mean(axis=-1, keepdims=True) * 0.3 + 0.5 * np.array(WET_RIM) * np.clip(skin.mean() / PALE_SKIN, 0.5, 1.2)
    skin = _over(skin, hair.lid_opening(ground), wet)
    rim = hair.lashes(ground, upper=upper, lower=upper * rng.uniform(0.2, 0.8))
    return _over(skin, rim, np.array(LASHES))


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
    iris = np.array(IRIS[names[rng.choice(6, p=IRIS_CHANCES)]]) * np.exp(rng.normal(0, 0.2))
    change = np.abs(ground.axes[IRIS_AXIS]).sum(axis=-1)
    inside = _over(ground.mean, change / max(float(change.max()), 1e-6), iris)
    inside = inside * np.exp(rng.normal(0, 0.08)) * np.array([1.0, 1.0, np.exp(rng.normal(-0.04, 0.07))])
    return inside + rng.normal(0, 0.8) * ground.axes[SCLERA_AXIS]


def _over(below: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return below * (1 - cover[..., None]) + colour * cover[..., None]
