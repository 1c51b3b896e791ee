"""What an installation holds, and what it must not: the wheel is built from a copy of the source and looked into."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import fitkit
from tests.fixtures.source_tree import ROOT, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
KEPT = ("pyproject.toml", "README.md", "LICENSE", "fitkit", "models", "recipes")
MEGABYTE = 1_000_000


def copy_source(place: Path) -> Path:
    """What a build needs, in a folder of its own, so that it leaves nothing in the checkout; links stay links."""
    for name in KEPT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, place / name)
    return place


def build(source: Path, what: str, out: Path) -> Path:
    """Run the build backend in a process of its own; setuptools must be installed, nothing is downloaded."""
    code = f"import setuptools.build_meta as backend; print(backend.build_{what}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77")
    place = tmp_path_factory.mktemp("wheel")
    return build(copy_source(place), "wheel", tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_every_module_once(names):
    installed = sorted(name for name in names if name.endswith(".py"))
    expected = []
    for module, path in modules().items():
        folder = module.replace(".", "/")
        expected.append(f"{folder}/__init__.py" if path.name == "__init__.py" else f"{folder}.py")
    assert installed == sorted(expected)


def test_nothing_but_fitkit_reaches_site_packages(names):
    assert {name.split("/")[0] for name in names} == {"fitkit", f"fitkit-{fitkit.__version__}.dist-info"}


def test_the_wheel_holds_the_data_and_the_licences(names):
    weights = [path for path in (ROOT / "models" / "weights").iterdir() if path.is_file()]
    tables = [path for name in ("fitkit/data", "models", "recipes") for path in (ROOT / name).rglob("*.toml")]
    tables += [path for kind in ("html", "js") for path in (ROOT / "fitkit").rglob(f"*.{kind}")]
    assert "fitkit/py.typed" in names
    assert not {f"fitkit/models/weights/{path.name}" for path in weights} - set(names)
    for path in tables:
        where = path.relative_to(ROOT).as_posix()
        assert (where if where.startswith("fitkit/") else f"fitkit/{where}") in names
    licences = {Path(name).name for name in names if "dist-info/licenses/" in name}
    assert licences == {"LICENSE"} | {path.name for path in weights if path.suffix == ".txt"} | {"three-LICENSE.txt"}


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < 60 * MEGABYTE


def test_the_wheel_works_alone(wheel, tmp_path):
    """Unpacked away from the checkout, every module is found under `fitkit` and nothing under `models`."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            assert not name.startswith("/") and ".." not in name
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                (tmp_path / name).write_bytes(archive.read(name))
    code = "import importlib.util as u, fitkit, fitkit.models.heads\n" \
           "print(fitkit.__file__, u.find_spec('models'), fitkit.__version__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, models, version = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path) and models == "None" and version == fitkit.__version__


def test_the_source_distribution_builds_the_same_wheel(names, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    packed = build(copy_source(source), "sdist", tmp_path)
    with tarfile.open(packed) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}      # Python 3.11.4 and later
        archive.extractall(tmp_path, **safely)  # noqa: S202, built above
    again = build(tmp_path / packed.name.removesuffix(".tar.gz"), "wheel", tmp_path)
    with zipfile.ZipFile(again) as archive:
        assert sorted(archive.namelist()) == sorted(names)


def test_the_links_stand_and_are_relative():
    if not (ROOT / "fitkit" / "models").is_symlink():
        pytest.skip("this checkout has no links (Windows): the package mapping takes their place")
    for name in ("models", "recipes"):
        assert os.readlink(ROOT / "fitkit" / name) == f"../{name}"


def test_every_package_is_listed():
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    mapped = PROJECT["tool"]["setuptools"]["package-dir"]
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert listed == packages
    elsewhere = {name for name in packages if name.startswith(("fitkit.models", "fitkit.recipes"))}      # behind the links
    assert mapped == {name: name.removeprefix("fitkit.").replace(".", "/") for name in elsewhere}


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["project"]["dynamic"]
    assert f"## {fitkit.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_exists():
    module, function = PROJECT["project"]["scripts"]["fitkit"].split(":")
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_pytest_is_strict():
    options = PROJECT["tool"]["pytest"]["ini_options"]
    assert options["filterwarnings"][0] == "error" and options["xfail_strict"] is True


def test_importing_fitkit_does_not_wake_jax():
    code = "import sys, fitkit; assert not {'jax', 'numpy', 'flax'} & set(sys.modules); print(dir(fitkit))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "'fit_faces'" in done.stdout, done.stderr
