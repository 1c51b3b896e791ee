"""Metrics and pictures of a training, as TensorBoard opens them: `tensorboard --logdir WORK`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import UInt8

from fitkit.errors import FitkitError


def open_metrics(work: Path, *, step: int) -> Any:
    """A writer into the folder of a training; what an earlier one wrote of later steps than `step` is no longer shown.

    Raises:
        FitkitError: E_DATA without tensorboardX; E_OUTPUT, the folder cannot be written.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise FitkitError("E_DATA", "metrics are written by tensorboardX, which is missing; pip install 'fitkit[train]'") from error
    try:
        return SummaryWriter(str(work / "tensorboard"), purge_step=step + 1)
    except OSError as error:
        raise FitkitError("E_OUTPUT", f"the training's folder {work} cannot be written ({error}); choose another --work") from error


def write_metrics(writer: Any, step: int, scalars: Mapping[str, float], pictures: Mapping[str, UInt8[Any, "H W 3"]]) -> None:
    """Write numbers and pictures of a step; a name with a slash, as `train/loss`, names a group and its member."""
    for name, value in scalars.items():
        writer.add_scalar(name, float(value), step)
    for name, picture in pictures.items():
        writer.add_image(name, picture, step, dataformats="HWC")
    writer.flush()
