"""`fitkit render`: a picture of a result from any side, in any light, with any expression."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

import fitkit
from fitkit import configuration
from fitkit.cli.console import Console
from fitkit.cli.general_options import Degrees, General, Words
from fitkit.errors import FitkitError, visible

# --light: azimuth (to the viewer's right) and elevation of a lamp, degrees; chosen by eye
LIGHTS = {"front": (0.0, 0.0), "left": (-60.0, 15.0), "right": (60.0, 15.0), "above": (0.0, 65.0), "below": (0.0, -65.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Render:
    """Render a saved result as a picture: turned, in another light, with another expression.

    Examples:
      fitkit render out/me-1a2b3c4d --yaw 30 --out side.png
      fitkit render out/me-1a2b3c4d --light left --expression jawOpen=0.6 --expression browInnerUp=1
    """

    result: Annotated[Positional[str], arg(metavar="RESULT", help_behavior_hint="")] = ""
    """A result folder that `fitkit fit` wrote."""
    yaw: Degrees = None
    """Rotation about the vertical axis; positive turns the face to the viewer's right. By default as in the photo."""
    pitch: Degrees = None
    """Nod; positive is down. By default as in the photo."""
    roll: Degrees = None
    """Tilt; positive is counter-clockwise in the picture. By default as in the photo."""
    light: Annotated[str | None, arg(metavar="LIGHT", help_behavior_hint="")] = None
    """Lamp: front, left, right, above, below, or AZIMUTH,ELEVATION in degrees, to the right and up. Default: the photo's light."""
    expression: Annotated[Words, arg(metavar="NAME=WEIGHT")] = ()
    """Weight, 0 to 1, of one of the 52 ARKit expression shapes, like jawOpen=0.6. The others keep their fitted weights."""
    head: Annotated[str | None, arg(metavar="ict:PATH", help_behavior_hint="")] = None
    """Where the head lies that the result was fitted on, if it is none of fitkit's own."""
    out: Annotated[str, arg(metavar="FILE.png", help_behavior_hint="")] = ""
    """Picture to write. By default RESULT/render.png."""
    general: OmitArgPrefixes[General] = General()


def run_render(options: Render, console: Console) -> int:
    """Write the picture and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_RESULT, E_HEAD, E_DEVICE, E_OUTPUT.
    """
    if not options.result:
        raise FitkitError("E_USAGE", "no result folder was named; write for example fitkit render out/me-1a2b3c4d --yaw 30")
    weights = configuration.parse_assignments(options.expression, option="--expression")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise FitkitError("E_USAGE", f"--expression {name} takes a weight from 0 to 1, not {weight!r}; write {name}=0.6, say")
    light = _light(options.light)
    from fitkit import device

    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.io.images import write_image

    picture = fitkit.load(options.result, head=options.head).render(
        yaw=options.yaw, pitch=options.pitch, roll=options.roll, light=light,
        expression={name: float(weight) for name, weight in weights.items()} or None,     # {} would be the neutral face
    )
    path = write_image(options.out or Path(options.result) / "render.png", picture)
    if console.level:
        print(visible(str(path)))
    return 0


def _light(text: str | None) -> tuple[float, float] | None:
    """Direction of a lamp, degrees to the viewer's right and up, from its name or from `AZIMUTH,ELEVATION`."""
    if text is None or text in LIGHTS:
        return LIGHTS.get(text or "")
    try:
        azimuth, elevation = map(float, text.split(","))
        return azimuth, elevation
    except ValueError:
        hint = configuration.did_you_mean(text, LIGHTS)
        sentence = f"--light {text!r} is neither a name nor AZIMUTH,ELEVATION in degrees (like --light=30,10); {hint}"
        raise FitkitError("E_USAGE", sentence) from None
