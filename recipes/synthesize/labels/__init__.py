"""Generators of labelled pictures, a file a kind; `MAKERS` maps the name of a kind to what makes its records.

A new kind is a frozen dataclass of its settings and a function that gives, for those, the records of pictures by their numbers; a
line in `MAKERS`, and one in `fitkit.labels.kinds`. Record `number` depends on the settings and that number alone, so that shards
can be made in any order and anew.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from fitkit.labels.shards import Make
from fitkit.recipes.synthesize.labels import detail, expressions, frames, random, vary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maker:
    """What makes one kind of labels."""

    config: type[Any]                      # frozen dataclass of documented fields
    maker: Callable[..., Make]             # the function of one run, from its config and what else the kind takes


MAKERS: dict[str, Maker] = {
    "random": Maker(config=random.RandomConfig, maker=random.maker),
    "expressions": Maker(config=random.RandomConfig, maker=expressions.maker),
    "frames": Maker(config=frames.FramesConfig, maker=frames.maker),
    "detail": Maker(config=detail.DetailConfig, maker=detail.maker),      # photos: their reliefs
    "vary": Maker(config=vary.VaryConfig, maker=vary.maker),              # faces: a sequence of `vary.FittedFace`
}
