"""A trained network as a file of weights in half precision, and its card: what it learned from, how long, and how well."""

import json
import math
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from fitkit.io.atomic_files import write_bytes
from fitkit.models.parameters import encode_network
from fitkit.recipes.train.task import Task
from fitkit.version import __version__


def export(path: Path, task: Task, config: Any, network: nnx.Module, *, step: int, notes: dict[str, Any]) -> Path:
    """Write the weights of a network, and its card beside them (.md).

    The header's texts are `task`, and `config`, the JSON of `Task.described`.

    Args:
        path: of the weights, .safetensors.
        task: what was trained.
        config: its configuration.
        network: of `loop.train`.
        step: steps that it was trained for.
        notes: of `loop.train`.

    Raises:
        FitkitError: E_OUTPUT, a file cannot be written.
    """
    network = task.exported(network)
    header = {"task": task.name, "config": json.dumps(task.described(config))}
    write_bytes(path, encode_network(network, header))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    write_bytes(path.with_suffix(".md"), _card(path.name, task, count, step, notes).encode())
    return path


def machine() -> str:
    """What trains here, in words: devices, and versions."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}, {jax.process_count()} host(s), JAX {jax.__version__}, fitkit {__version__}"


def _card(name: str, task: Task, count: int, step: int, notes: dict[str, Any]) -> str:
    config = notes["config"]
    pictures, hours = step * config["batch"], notes["seconds"] / 3600
    lines = [
        f"# {name}", "", f"{task.summary[:1].upper()}{task.summary[1:]} ({task.paper}). {count:,} parameters, stored float16.", "",
        f"- **Steps**: {step:,} of {config['steps']:,}, batch {config['batch']}: {pictures:,} examples seen.",
        f"- **Configuration**: `{json.dumps(config)}`",
        *(f"- **Data** from step {part['from_step']:,} on: {_runs(part['runs'])}; held out:"
          f" {_runs(part['held']) or 'their last part'}" for part in notes["data"]),
        f"- **Made by** `fitkit train {task.name}` in {hours:.2f} h on {notes.get('machine', machine())}.", "",
        "## Scores, held out", "", "| | |", "|---|---|",
        *(f"| {figure} | {_figure(value)} |" for figure, value in notes["scores"].items()),
    ]
    return "\n".join(lines) + "\n"


def _runs(runs: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"`{name}`, {facts['pictures']:,} pictures, sha256 of its indices {facts['sha256']}"
                     for name, facts in runs.items())


def _figure(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "none"
