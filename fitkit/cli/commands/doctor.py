"""`fitkit doctor`, `fitkit heads`, `fitkit recipes`: whether the installation works, and which heads and recipes there are."""

import ast
import dataclasses
import hashlib
import importlib.metadata
import inspect
import json
import platform
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from tyro.conf import OmitArgPrefixes, Positional, arg

import fitkit
from fitkit import configuration, device
from fitkit.cli.console import Console
from fitkit.cli.general_options import Flag, General
from fitkit.errors import EXIT_STATUS, FitkitError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pillow", "safetensors")     # whose versions are printed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check this installation: versions, device, embedded data, one tiny fit. Exit status 0 if all is well."""

    json: Flag = False
    """Write the findings as one JSON object."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads:
    """List the morphable head models that can be fitted, and where each comes from."""

    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes (ways to fit) and their papers; with a name, list the fields of that recipe and their defaults.

    Examples:
      fitkit recipes
      fitkit recipes inverse_rendering
    """

    recipe: Annotated[Positional[str], arg(metavar="[RECIPE]", help_behavior_hint="")] = ""
    """The recipe to explain."""
    general: OmitArgPrefixes[General] = General()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of `fitkit doctor`."""

    name: str
    text: str                  # what was found
    code: str | None = None    # of the error; None if there is none


def run_doctor(options: Doctor, console: Console) -> int:
    """Check everything a fit needs, print each finding, and return the exit status."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("device", lambda: describe_device(options.general.device)),
        ("compilation cache", describe_cache),
        ("embedded data", check_weights),
        ("default head", check_head),
        ("tiny fit", tiny_fit),
    )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    findings = [
        Finding(name="fitkit", text=f"{fitkit.__version__}, Python {platform.python_version()}, {platform.platform()}"),
        Finding(name="packages", text=versions),
    ]
    if not options.json:
        for finding in findings:
            _print(finding, console)
    for name, check in checks:
        try:
            finding = Finding(name=name, text=check())
        except FitkitError as error:
            finding = Finding(name=name, text=error.message, code=error.code)
        except Exception as error:  # a check that fails is a finding, and the next one runs
            finding = Finding(name=name, text=f"{type(error).__name__}: {error}", code="E_INTERNAL")
        findings.append(finding)
        if not options.json:
            _print(finding, console)
    if options.json:
        print(json.dumps({finding.name: {"text": finding.text, "code": finding.code} for finding in findings}, indent=2))
    return max((EXIT_STATUS.get(finding.code, 1) for finding in findings if finding.code), default=0)


def describe_device(name: str | None) -> str:
    """The backend and devices that JAX computes on.

    Raises:
        FitkitError: E_DEVICE if there is no device `name`.
    """
    device.select_device(name)
    import jax

    return f"{jax.default_backend()}: " + ", ".join(str(found.device_kind) for found in jax.devices())


def describe_cache() -> str:
    """The folder of compiled programs and its size."""
    folder = device.keep_compiled_programs()
    if folder is None:
        return "none: the cache is switched off or its directory cannot be written, so each run compiles again"
    files = [path for path in folder.glob("*") if path.is_file()]
    return f"{folder}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"


def check_weights() -> str:
    """Read every embedded weight file; compare its sha256 with the pinned one.

    Raises:
        FitkitError: E_DATA for a file that is missing, damaged, or not the one that was installed.
    """
    import numpy as np
    from safetensors import SafetensorError, numpy

    from fitkit.models.shipped import shipped_files

    paths = sorted(weights_folder().glob("*.safetensors"))
    if not paths:
        raise FitkitError("E_DATA", f"there are no weight files in {weights_folder()}; install fitkit again")
    pinned = {file.name: file.sha256 for file in shipped_files()}
    lines = []
    for path in paths:
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        expected = pinned.get(path.name)
        if expected not in (None, found):
            raise FitkitError("E_DATA", f"{path} is not the file that was released (its sha256 differs); install fitkit again")
        try:
            tensors = numpy.load(data)
        except SafetensorError as error:
            raise FitkitError("E_DATA", f"{path} is damaged ({error}); install fitkit again") from error
        if not all(np.isfinite(tensor).all() for tensor in tensors.values() if tensor.dtype.kind == "f"):
            raise FitkitError("E_DATA", f"{path} holds numbers that are not finite; install fitkit again")
        compared = "" if expected else " (not compared)"
        lines.append(f"{path.name} {len(data) / 1e6:.1f} MB sha256 {found[:16]}{compared}")
    return "; ".join(lines)


def check_head() -> str:
    """Load the default head and give its sizes."""
    model = fitkit.load_head("makehuman")
    coefficients = f"{len(model.identity)} identity, {len(model.expression)} expression, {len(model.albedo)} albedo coefficients"
    return f"{model.name}: {len(model.mean)} vertices, {len(model.triangles)} triangles, {coefficients}"


def tiny_fit() -> str:
    """Fit a head to the landmarks of the mean head, seen from the front on a grey picture.

    Raises:
        RuntimeError: if the fit does not converge.
    """
    import numpy as np

    from fitkit.io.images import write_image

    model = fitkit.load_head("makehuman")
    corners = np.asarray(model.mean)[np.asarray(model.triangles)[np.asarray(model.landmarks.triangle)]]
    points = (corners * np.asarray(model.landmarks.barycentric)[..., None]).sum(1)
    points = (points - points.mean(0))[:, :2] * (1.0, -1.0)
    pixels = 128 + points * (90 / np.abs(points).max())
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        photo = write_image(Path(folder) / "grey.png", np.full((256, 256, 3), 0.5, np.float32))
        np.save(Path(folder) / "grey.npy", pixels.astype(np.float32))
        result = fitkit.fit(photo, recipe="landmarks", landmarks=Path(folder) / "grey.npy")
    if result.status not in ("converged", "doubtful"):
        raise RuntimeError(f"the fit of the mean head's own points ended as {result.status}")
    return f"{result.status} in {time.perf_counter() - started:.1f} s, compilation included"


def weights_folder() -> Path:
    """The folder of the embedded weight files."""
    return _models() / "weights"


def run_heads(options: Heads, console: Console) -> int:
    """Print the heads and return the exit status."""
    print(describe_heads())
    return 0


def run_recipes(options: Recipes, console: Console) -> int:
    """Print the recipes, or the fields of one, and return the exit status.

    Raises:
        FitkitError: E_RECIPE for an unknown name.
    """
    print(describe_recipes(options.recipe))
    return 0


def describe_heads() -> str:
    """One line per head, a module with `load` or, of heads to be imported, `read`: its name, and its docstring's first line."""
    lines = []
    for path in sorted((_models() / "heads").glob("[a-z]*.py")):
        if path.stem == "ict_source":
            continue
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name in ("load", "read") for node in module.body):
            note = (ast.get_docstring(module) or "").partition("\n")[0]
            lines.append((path.stem, note + ("  (default)" if path.stem == "makehuman" else "")))
    return _columns(lines)


def describe_recipes(name: str) -> str:
    """All recipes with their papers if `name` is empty; else the fields of one, with defaults, meaning and types.

    Raises:
        FitkitError: E_RECIPE for an unknown name.
    """
    from fitkit.recipes import RECIPES

    if not name:
        notes = [(key, f"{recipe.summary}\n{recipe.paper}") for key, recipe in RECIPES.items()]
        return _columns(notes) + "\n\nfitkit recipes NAME lists the fields of one; fitkit fit --set FIELD=VALUE changes one."
    configuration.check_choice(name, RECIPES, code="E_RECIPE", what="recipe")
    recipe = RECIPES[name]
    introduction = f"{name}: {recipe.summary}\n{recipe.paper}\n\nFields (fitkit fit --set FIELD=VALUE):\n"
    return introduction + _columns(fields_of(recipe.config))


def fields_of(kind: type, *, prefix: str = "") -> list[tuple[str, str]]:
    """The fields of a recipe's configuration: `name=default`, and its meaning and type."""
    hints, notes = get_type_hints(kind), field_notes(kind)
    lines = []
    for name, value in ((field.name, getattr(kind(), field.name)) for field in dataclasses.fields(kind)):
        if dataclasses.is_dataclass(value):
            lines += fields_of(type(value), prefix=f"{prefix}{name}.")
        else:
            text = json.dumps(value) if not isinstance(value, str) and value is not None else str(value)
            lines.append((f"{prefix}{name}={text}", f"{notes.get(name, '')} ({configuration.describe_type(hints[name])})"))
    return lines


def field_notes(kind: type) -> dict[str, str]:
    """Field -> its text in section `Attributes:` of the docstring of a dataclass or of one it extends."""
    notes: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        section = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")[2].split("\n\n")[0]
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", section, flags=re.MULTILINE)
        notes |= {name: " ".join(text.split()) for name, text in entries}
    return notes


def _models() -> Path:
    from fitkit import models  # by import: in a checkout without links it lies elsewhere

    return Path(str(models.__file__)).parent


def _print(finding: Finding, console: Console) -> None:
    if finding.code is not None:
        console.error(finding.code, f"{finding.name}: {finding.text}")
    elif console.level:
        print(f"{'ok':4} {finding.name}: {finding.text}", flush=True)


def _columns(entries: list[tuple[str, Any]]) -> str:
    """Names and texts in two columns; a text of several lines goes on under itself."""
    width = max((len(name) for name, _ in entries), default=0) + 2
    return "\n".join(f"{name:{width}}" + str(text).replace("\n", "\n" + " " * width) for name, text in entries)
