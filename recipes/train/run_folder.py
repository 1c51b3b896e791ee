"""The folder of a training: checkpoints that Orbax writes, whole or not at all, and what TensorBoard opens.

    WORK/checkpoints/STEP/      weights, moments and statistics; notes: the task, its configuration, data, seconds, scores
    WORK/tensorboard/           metrics and pictures: tensorboard --logdir WORK

A checkpoint is written under another name and renamed: a killed training loses at most the one that it was writing. Arrays come
back bit for bit. Several hosts write one checkpoint together, to a folder that all of them see.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from fitkit.errors import FitkitError

T = TypeVar("T")
KEPT = 2                  # checkpoints: the last one, and the one before should that be damaged
LONGEST_REASON = 300      # characters of a library's message


def open_checkpoints(work: Path) -> ocp.CheckpointManager:
    """The checkpoints of a training's folder, which is made.

    Raises:
        FitkitError: E_OUTPUT, the folder cannot be written.
    """
    folder = (work / "checkpoints").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, enable_async_checkpointing=False, cleanup_tmp_directories=True))
    except OSError as error:
        raise FitkitError("E_OUTPUT", f"the training's folder {work} cannot be written ({error}); choose another --work") from error


def save(manager: ocp.CheckpointManager, step: int, state: Any, notes: dict[str, Any]) -> None:
    """Write a state, a tree of arrays, after `step` steps; and notes that JSON can hold.

    Raises:
        FitkitError: E_OUTPUT, it cannot be written.
    """
    try:
        parts = ocp.args.Composite(state=ocp.args.StandardSave(_named(state)), notes=ocp.args.JsonSave(notes))
        manager.save(step, args=parts, force=True)
        manager.wait_until_finished()
    except Exception as error:      # Orbax and TensorStore raise many kinds; to the user all of them mean the same
        raise FitkitError("E_OUTPUT", f"the checkpoint of step {step} cannot be written to {manager.directory} ({_reason(error)});"
                          " make room and go on with --resume") from error


def read_notes(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """The notes of a checkpoint.

    Raises:
        FitkitError: E_DATA, it is damaged.
    """
    try:
        restored = manager.restore(step, args=ocp.args.Composite(notes=ocp.args.JsonRestore()))
        return dict(restored["notes"])
    except Exception as error:      # as above
        raise _damaged(manager, step, error) from error


def restore(manager: ocp.CheckpointManager, step: int, like: T, sharding: Sharding) -> T:
    """The state of a checkpoint, in the structure of `like`, whose arrays lie on devices as `sharding` says.

    Raises:
        FitkitError: E_DATA, it is damaged, or holds other arrays.
    """
    wanted = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding) for name, leaf in _named(like).items()}
    try:
        restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted)))
        return jax.tree.unflatten(jax.tree.structure(like), [restored["state"][name] for name in wanted])
    except Exception as error:      # as above
        raise _damaged(manager, step, error) from error


def same_values(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """How two configurations, as JSON holds them, differ: a phrase for each field."""
    here = json.loads(json.dumps(here))
    return [f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
            for name in sorted({*there, *here}) if there.get(name) != here.get(name)]


def _damaged(manager: ocp.CheckpointManager, step: int, error: Exception) -> FitkitError:
    others = [other for other in manager.all_steps() if other != step]
    mend = f"--resume then goes on from step {max(others)}" if others else "then train anew"
    return FitkitError("E_DATA", f"the checkpoint {manager.directory / str(step)} cannot be read ({_reason(error)}); delete it, and"
                       f" {mend}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__


def _named(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
