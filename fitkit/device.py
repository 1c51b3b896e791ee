"""Selects JAX's device and the folder of its compilation cache. Imports JAX only inside functions: the device is chosen first."""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal, get_args

from fitkit.configuration import check_choice
from fitkit.errors import FitkitError

Device = Literal["cpu", "gpu", "tpu"]
# JAX writes its cache in place: a process that reads an entry while another one writes it compiles for itself, and warns
CACHE_RACE = "Error (reading|writing) persistent compilation cache entry"
LEAST_COMPILE_TIME = 0.2       # s; programs that compile faster are not kept. JAX's own 1 s drops many small ones, which add up


def select_device(name: str | None) -> None:
    """Make JAX compute on `name`; call it before anything computes.

    Args:
        name: cpu, gpu or tpu; None leaves the choice to JAX, and to `JAX_PLATFORMS` where the user set it.

    Raises:
        FitkitError: E_USAGE for another name, E_DEVICE where this machine or this JAX has no such device.
    """
    if name is not None:
        check_choice(name, get_args(Device), code="E_USAGE", what="device")
        os.environ["JAX_PLATFORMS"] = _platforms(name)
    import jax  # late: the line above must come first

    try:
        if name is not None:
            jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])  # also where JAX is imported already
        jax.devices(name)
    except Exception as error:  # a plugin that fails to start may raise anything; to the user all of it means the same
        asked = f"--device {name}" if name else f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
        reason = str(error).partition(" (set JAX_PLATFORMS")[0].partition("\n")[0].rstrip(".") or type(error).__name__
        raise FitkitError("E_DEVICE", f"no device for {asked} ({reason}); {_remedy(name)}") from error


def join_hosts(coordinator: str, host: int, hosts: int) -> None:
    """Make this process one of several whose devices JAX joins; call it before `select_device`. Waits for the others.

    Args:
        coordinator: address and port where the first of them listens.
        host: which one this is, from 0.
        hosts: how many there are.

    Raises:
        FitkitError: E_DEVICE, they do not meet.
    """
    import jax

    try:
        jax.distributed.initialize(coordinator, num_processes=hosts, process_id=host)
    except Exception as error:  # of several kinds; to the user all of them mean the same
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise FitkitError("E_DEVICE", f"host {host + 1} of {hosts} met no others at {coordinator} ({reason}); start all of"
                          " them with the same --coordinator, an address that all can reach") from error


def keep_compiled_programs() -> Path | None:
    """Turn on JAX's persistent compilation cache, in the user's cache directory: a second run then starts in seconds.

    The commands call it, and so does `fitkit.fit`: JAX's setting is one for the whole process, so programs that the user
    compiles afterwards are kept there too. What the user chose stays as it is: a directory (`JAX_COMPILATION_CACHE_DIR`,
    `jax.config`), no cache at all (`JAX_ENABLE_COMPILATION_CACHE=false`), or none by fitkit (`FITKIT_NO_CACHE=1`).

    Returns:
        the directory in use; None where there is none or it cannot be written, and every run compiles for itself.
    """
    import jax
    import platformdirs

    warnings.filterwarnings("ignore", CACHE_RACE, UserWarning)
    config: Any = jax.config        # mypy sees its options in some versions of jax only
    chosen = config.jax_compilation_cache_dir
    if chosen:
        return Path(chosen)
    if os.environ.get("FITKIT_NO_CACHE") or not config.jax_enable_compilation_cache:
        return None
    folder = Path(platformdirs.user_cache_dir("fitkit", appauthor=False)) / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_COMPILE_TIME)
    return folder


def _platforms(name: str) -> str:
    if name != "gpu":
        return name
    import importlib.metadata

    plugins = " ".join(entry.name for entry in importlib.metadata.entry_points(group="jax_plugins"))
    return "rocm,cpu" if "rocm" in plugins and "cuda" not in plugins else "cuda,cpu"


def _remedy(name: str | None) -> str:
    extra = {"gpu": "cuda13", "tpu": "tpu"}.get(name or "")
    install = f'install JAX for it (pip install "jax[{extra}]") or ' if extra else ""
    return install + "choose --device cpu"
