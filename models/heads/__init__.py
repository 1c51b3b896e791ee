"""Morphable heads, one file a family, and the registry that finds one by its name: `load("makehuman")`, `load("ict:PATH")`.

A new head is a file here with a `read` that gives a `source.HeadSource`, and a line in `importing.importer.READERS`: the import
does the rest. A head that needs no import has a `load` that gives a `fitkit.types.MorphableModel`, and a line in one of the tables
of `load`.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from fitkit.configuration import check_choice
from fitkit.errors import FitkitError
from fitkit.types import MorphableModel


def absolute_name(head: str) -> str:
    """The name of a head with the path it carries made absolute: a result may be loaded from another folder."""
    family, _, path = head.partition(":")
    return f"{family}:{Path(path).expanduser().absolute()}" if path else head


@cache
def load(name: str) -> MorphableModel:
    """The head of a name, read once a process; its path, where it has one, is absolute (`absolute_name`).

    Raises:
        FitkitError: E_HEAD (unknown name, or one without the path it needs), E_DATA (its file is missing or damaged).
    """
    from fitkit.models.heads import ict, makehuman
    from fitkit.models.heads.importing import importer

    own: dict[str, Callable[[], MorphableModel]] = {"makehuman": makehuman.load}
    from_path: dict[str, Callable[[str], MorphableModel]] = {
        "ict": ict.load, "ict-face": partial(ict.load, face_only=True),
        **{family: partial(importer.load, family=family) for family in importer.READERS}}
    family, _, path = name.partition(":")
    check_choice(family, [*own, *from_path], code="E_HEAD", what="head")
    if bool(path) != (family in from_path):
        needs = f"needs its files; write {family}:PATH" if family in from_path else f"takes no path; write {family}"
        raise FitkitError("E_HEAD", f"head {name!r} {needs}")
    return from_path[family](path) if path else own[family]()


def wears_own_layout(model: MorphableModel) -> bool:
    """Whether the head has the texture layout of the embedded one, as imported heads do: ICT-FaceKit has its own."""
    from fitkit.models.heads.importing import importer

    return model.name in ("makehuman", *importer.READERS)
