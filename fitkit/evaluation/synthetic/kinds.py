"""Kinds of pictures of the synthetic benchmark: light, skin, relief, hair, renderer, occluder and the like, by name.

A kind is written as the words that differ from `portrait`, joined by "+": `hard`, `overcast+photographic`, `embedded+scarf`. Every
kind is measured and reported apart. `LEFT_OUT_LIGHT` and `LEFT_OUT_SKIN` are for reporting only.
"""

import dataclasses
from collections.abc import Sequence

from fitkit.configuration import check_choice
from fitkit.errors import FitkitError

# The first word of each is that of `portrait`
LIGHTS = ("portrait", "overcast", "key_fill", "hard")
SKINS = ("procedural", "plain", "photographic")
HAIR = ("any_hair", "shaved", "bearded")
RENDERERS = ("mitsuba", "rasterizer")
OCCLUDERS = ("none", "spectacles", "hand", "scarf")
EXPRESSIONS = ("gestures", "neutral", "strong")
LENSES = ("portrait_lens", "wide")
EXPOSURES = ("metered", "underexposed", "overexposed")
PEOPLE = ("ict", "embedded")
RELIEFS = ("smooth", "wrinkled")
FIELDS = {"light": LIGHTS, "skin": SKINS, "hair": HAIR, "renderer": RENDERERS, "occluder": OCCLUDERS, "expression": EXPRESSIONS,
          "lens": LENSES, "exposure": EXPOSURES, "people": PEOPLE, "relief": RELIEFS}

# Never tuned on, never trained on; a kind with either is marked in every table. Colours were once found to bend shapes under soft
# light while other lights showed a gain, so soft light tells whether a change holds; key and hard light are needed to develop the
# handling of shadows. Photographed skin is the nearest to what users have, and has what no painted skin has.
LEFT_OUT_LIGHT = "overcast"
LEFT_OUT_SKIN = "photographic"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of pictures.

    Attributes:
        light: one of `LIGHTS`: walls, windows and lamps by seed; a white dome; a key and a fill lamp; one small lamp, cast shadows.
        skin: one of `SKINS`: painted by `skin_appearance`; one colour without brows and hair; maps of MakeHuman's skins.
        hair: one of `HAIR`: by seed; no hair and no brows; a full beard and a hair cap.
        renderer: one of `RENDERERS`: Mitsuba's path tracer, or fitkit's rasterizer with spherical harmonics.
        occluder: one of `OCCLUDERS`: simple shapes in front of the face.
        expression: one of `EXPRESSIONS`: two gestures of any strength, none, or three strong ones.
        lens: one of `LENSES`: 35 to 85 mm by seed, or 28 mm from near by.
        exposure: one of `EXPOSURES`: within about 0.3 stops of right; much too dark; much too light.
        people: one of `PEOPLE`: ICT-FaceKit's, or those of the embedded head's prior.
        relief: one of `RELIEFS`: the model's skin as it is, or with the wrinkles of a person over fifty pressed into it.
    """

    light: str = LIGHTS[0]
    skin: str = SKINS[0]
    hair: str = HAIR[0]
    renderer: str = RENDERERS[0]
    occluder: str = OCCLUDERS[0]
    expression: str = EXPRESSIONS[0]
    lens: str = LENSES[0]
    exposure: str = EXPOSURES[0]
    people: str = PEOPLE[0]
    relief: str = RELIEFS[0]

    @property
    def name(self) -> str:
        """The words that differ from `portrait`, joined by "+"."""
        words = [getattr(self, field) for field, choices in FIELDS.items() if getattr(self, field) != choices[0]]
        return "+".join(words) or LIGHTS[0]

    @property
    def left_out(self) -> bool:
        """Whether nothing may be tuned on these pictures."""
        return self.light == LEFT_OUT_LIGHT or self.skin == LEFT_OUT_SKIN


PORTRAIT = Kind()


def parse(name: str) -> Kind:
    """The kind of a name.

    Raises:
        FitkitError: E_USAGE, a word is unknown, or two words are of one field.
    """
    owners = {word: field for field, choices in FIELDS.items() for word in choices}
    chosen: dict[str, str] = {}
    for word in name.split("+"):
        check_choice(word, owners, code="E_USAGE", what="kind of pictures")
        if owners[word] in chosen:
            raise FitkitError("E_USAGE", f"--kinds {name} names two choices of {owners[word]}, {chosen[owners[word]]} and {word};"
                              " write them as two kinds with a space between")
        chosen[owners[word]] = word
    return Kind(**chosen)


# `--kinds all`: every choice once, beside the first of the other fields, and what is left out of tuning together
ALL = tuple(word for field, choices in FIELDS.items() for word in (choices if field == "light" else choices[1:])) + (
    f"{LEFT_OUT_LIGHT}+{LEFT_OUT_SKIN}",)


def parse_all(names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of several names, each once; `all` stands for those of `ALL`.

    Raises:
        FitkitError: E_USAGE, as in `parse`.
    """
    words = [word for name in names for word in (ALL if name == "all" else (name,))]
    return tuple(dict.fromkeys(parse(word) for word in words))
