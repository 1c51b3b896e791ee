"""Options that every command has, and the types that options are made of."""

import dataclasses
from typing import Annotated

from tyro.conf import UseAppendAction, UseCounterAction, arg

from fitkit.device import Device

# an empty hint keeps "(default: None)" and "(default: False)" out of the help
Flag = Annotated[bool, arg(help_behavior_hint="")]
Words = UseAppendAction[tuple[str, ...]]
Degrees = Annotated[float | None, arg(metavar="DEGREES", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class General:
    """Options of every command."""

    device: Annotated[Device | None, arg(metavar="cpu|gpu|tpu", help_behavior_hint="")] = None
    """Device to compute on. By default the fastest that JAX finds."""
    verbose: Annotated[UseCounterAction[int], arg(aliases=["-v"])] = 0
    """Print more: notes and timings (-v), tracebacks of errors (-vv)."""
    quiet: Annotated[bool, arg(aliases=["-q"], help_behavior_hint="")] = False
    """Print errors only."""
    debug: Flag = False
    """Print the traceback of an error, like -vv."""
