"""What the user knows of a face's size: the distance of the pupils, a length between two places, or that the irises are to tell.

Options and arguments in, a `KnownSize` out; its checks need no head. Whether the places exist is seen when a head is measured.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fitkit.errors import FitkitError

PUPILS = ("pupil_right", "pupil_left")
RULER = 0.5                  # mm, deviation of a length that was measured on a person; an optician's pupillometer has it
RANGE = (1.0, 500.0)         # mm that a length on a head may have


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownSize:
    """A length on the face, or none: the irises then tell the size."""

    first: str = ""
    second: str = ""
    millimetres: float = 0.0

    def content(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def known_size(*, interpupillary: float | None = None, length: Sequence[Any] | str | None = None, iris: bool = False
               ) -> KnownSize | None:
    """What is known, of at most one of the arguments; None where nothing is.

    Args:
        interpupillary: distance of the pupils that look far away, mm.
        length: two places (`measures.place`) and the millimetres between them, as a sequence or "A,B,mm".
        iris: the irises are to tell.

    Raises:
        FitkitError: E_USAGE.
    """
    if sum((interpupillary is not None, length is not None, iris)) > 1:
        raise FitkitError("E_USAGE", "interpupillary, length and iris each say how large the face is; give one of them")
    if interpupillary is not None:
        return _length(*PUPILS, interpupillary)
    if length is not None:
        words = length.split(",") if isinstance(length, str) else list(length)
        if len(words) != 3:
            raise FitkitError("E_USAGE", f"length takes two places and the millimetres between them, as in"
                                         " eye_right_outer,eye_left_outer,92,"
                              f" not {str(length)[:60]}")
        return _length(str(words[0]).strip(), str(words[1]).strip(), words[2])
    return KnownSize() if iris else None


def of_content(content: Mapping[str, Any] | None) -> KnownSize | None:
    """The inverse of `KnownSize.content`."""
    return None if content is None else KnownSize(**content)


def _length(first: str, second: str, value: Any) -> KnownSize:
    try:
        millimetres = float(value)
    except (TypeError, ValueError):
        millimetres = 0.0
    if not RANGE[0] <= millimetres <= RANGE[1]:
        raise FitkitError("E_USAGE", f"a length on a face is {RANGE[0]:g} to {RANGE[1]:g} mm, not {str(value)[:20]}; pupils are"
                                     " some 63 mm"
                          " apart")
    if first == second:
        raise FitkitError("E_USAGE", f"a length needs two places, and {first} is one; name another")
    return KnownSize(first=first, second=second, millimetres=millimetres)
