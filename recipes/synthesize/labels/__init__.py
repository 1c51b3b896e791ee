"""Generators of labelled pictures, a file a kind; `KINDS` maps the name of a kind to what makes its records.

A new kind is a frozen dataclass of its settings and a function that gives, for those, the records of pictures by their numbers; and
a line in `KINDS`. Record `number` depends on the settings and that number alone, so that shards can be made in any order and anew.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from fitkit.labels.shards import Make
from fitkit.recipes.synthesize.labels import detail, frames, random, vary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of labels."""

    config: type[Any]                      # frozen dataclass of documented fields
    maker: Callable[..., Make]             # the function of one run, from its config and, with `photos`, their fits
    summary: str
    paper: str
    photos: bool = False                   # takes a sequence of `vary.FittedFace`


KINDS: dict[str, Kind] = {
    "random": Kind(config=random.RandomConfig, maker=random.maker, summary="random heads, poses, skins, lights and backgrounds",
                   paper="Richardson et al. 2017, Section 3.2.2"),
    "frames": Kind(config=frames.FramesConfig, maker=frames.maker, summary="random heads, and their pose in the frame before",
                   paper="Guo et al. 2018, Section VII"),
    "detail": Kind(config=detail.DetailConfig, maker=detail.maker, summary="wrinkles on random heads, each under several lights",
                   paper="Guo et al. 2018, Section VIII-A"),
    "vary": Kind(config=vary.VaryConfig, maker=vary.maker, summary="people of photos with other expressions, in other poses",
                 paper="Guo et al. 2018, Section VI-A", photos=True),
}
