"""The public functions with the fit itself replaced by one that notes how it was called: for tests of the command line."""

import dataclasses
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import fitkit
import fitkit.recipes
from fitkit import device
from fitkit.errors import FitkitError


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerConfig:
    """Inner fields.

    Attributes:
        iterations: most steps.
    """

    iterations: int = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Fields of the toy recipe.

    Attributes:
        weight: of the points, which is explained
            on two lines.
        robust: whether far points count less.
        schedule: steps per level.
        inner: fields of the first stage.
    """

    weight: float = 10.0
    robust: bool = True
    schedule: tuple[int, ...] = (8, 4)
    inner: InnerConfig = InnerConfig()


@dataclasses.dataclass
class ToyResult:
    status: str = "converged"
    reason: str = ""
    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = dataclasses.field(default_factory=lambda: {"detect": 0.25, "fit": 1.5})

    def save(self, folder, *, outputs, overwrite=False):
        if Path(folder).exists() and not overwrite:
            raise FitkitError("E_EXISTS", f"{folder} is there already")
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "fit.json").write_text(json.dumps({"status": self.status, "outputs": list(outputs)}))

    def render(self, *, yaw=None, pitch=None, roll=None, light=None, expression):
        return np.full((4, 4, 3), 0.5, np.float32)


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The public functions replaced by ones that note how they were called; photos are small text files."""
    noted: list[dict] = []

    def fit(photo, *, progress=lambda share: None, **arguments):
        progress(0.5)
        noted.append({"photo": Path(photo).name} | arguments)
        text = Path(photo).read_text() if Path(photo).exists() else "missing"
        if text == "missing":
            raise FitkitError("E_NOFILE", f"no such photo: {photo}; check the path")
        if text == "noface":
            raise FitkitError("E_NOFACE", f"no face was found in {photo}; try --landmarks")
        if text == "defect":
            raise ZeroDivisionError("division by zero")
        if text == "nodata":
            raise FitkitError("E_DATA", "the weights are missing; install fitkit again")
        if text == "stop":
            raise KeyboardInterrupt
        return ToyResult("doubtful", "the points are far off") if text == "doubtful" else ToyResult(warnings=("an animation",))

    def name(photo, face=None):
        return f"{Path(photo).stem}-12345678" + (f"-face{face}" if face else "")

    toy = types.SimpleNamespace(config=ToyConfig, function=None, summary="A toy.", paper="Toy 1999")
    monkeypatch.setitem(vars(fitkit), "fit", fit)
    monkeypatch.setitem(vars(fitkit), "fit_faces", lambda photo, **arguments: [fit(photo, **arguments), ToyResult()])
    monkeypatch.setitem(vars(fitkit.recipes), "RECIPES", {"inverse_rendering": toy, "landmarks": toy})
    monkeypatch.setitem(sys.modules, "fitkit.results", types.SimpleNamespace(result_name=name))
    monkeypatch.setattr(device, "keep_compiled_programs", lambda: tmp_path)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.chdir(tmp_path)
    return noted


def photos(*texts):
    for index, text in enumerate(texts):
        Path(f"p{index}.jpg").write_text(text)
    return [f"p{index}.jpg" for index in range(len(texts))]
