"""The notebooks: every name and keyword they use exists; and they run from top to bottom, and their pictures are pictures."""

import ast
import dataclasses
import importlib
import inspect
import pathlib

import jupytext
import numpy as np
import pytest
from PIL import Image

import fitkit
from fitkit.recipes import RECIPES

NOTEBOOKS = pathlib.Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.py"))
# what makes a notebook small, in place of its cell "parameters"; and pictures that it must have made
SMALL = {
    "ganfit_step_by_step": (
        {"ITERATIONS": 10, "EVERY": 1, "SIZE": 96}, ("beginning", "strangers", "textures", "compared", "turned", "worn")),
    "labels_to_network": (
        {"COUNT": 40, "SIDE": 64, "STEPS": 4, "BATCH": 4, "LOOK": 2}, ("sheet", "answers")),
    "several_photos": (
        {"SIZE": 96, "VIEWS": ((-30, 0, (-50, 20), {}), (30, 0, (0, 40), {"jawOpen": 0.3}))}, ("taken", "fits", "joint", "turned")),
}
RESULTS = ("fit", "predict", "load")      # functions of `fitkit` that give a result, or a list of them


def cells(name):
    return jupytext.read(NOTEBOOKS / f"{name}.py").cells


def code(name):
    return [cell.source for cell in cells(name) if cell.cell_type == "code"]


def run(name, folder, monkeypatch, **parameters):
    """The names that a notebook leaves, run in an empty folder with other values in its cell "parameters"."""
    path = NOTEBOOKS / f"{name}.py"
    monkeypatch.chdir(folder)
    names: dict = {"__file__": str(path), "__name__": "__main__"}
    for cell in [cell for cell in cells(name) if cell.cell_type == "code"]:
        exec(compile(cell.source, str(path), "exec"), names)  # noqa: S102
        if "parameters" in cell.metadata.get("tags", ()):
            assert set(parameters) <= set(names)
            names |= parameters
    return names


class Checker(ast.NodeVisitor):
    """Finds names of fitkit that do not exist, and keywords that their functions do not take."""

    def __init__(self):
        self.known, self.wrong, self.checked = {}, [], 0

    def visit_Import(self, node):
        self.known |= {each.asname or each.name.partition(".")[0]: importlib.import_module(each.name.partition(".")[0])
                       for each in node.names if each.name.startswith("fitkit")}

    def visit_ImportFrom(self, node):
        if not node.module.startswith("fitkit"):
            return
        module = importlib.import_module(node.module)
        for each in node.names:
            self.checked += 1
            if hasattr(module, each.name):
                self.known[each.asname or each.name] = getattr(module, each.name)
            else:
                self.wrong.append(f"line {node.lineno}: {node.module} has no {each.name}")

    def visit_Assign(self, node):
        self.generic_visit(node)
        called = node.value.func if isinstance(node.value, ast.Call) else None
        of_fitkit = isinstance(called, ast.Attribute) and self.value(called.value) is fitkit
        if of_fitkit and called.attr in RESULTS and isinstance(node.targets[0], ast.Name):
            self.known[node.targets[0].id] = fitkit.FitResult

    def visit_Attribute(self, node):
        self.generic_visit(node)
        owner = self.value(node.value)
        if owner is not None:
            self.checked += 1
            if not (hasattr(owner, node.attr) or node.attr in getattr(owner, "__dataclass_fields__", {})):
                self.wrong.append(f"line {node.lineno}: {ast.unparse(node.value)} has no {node.attr}")

    def visit_Call(self, node):
        self.generic_visit(node)
        function = self.value(node.func)
        if function is None or not callable(function):
            return
        taken = inspect.signature(function).parameters
        open_ended = any(each.kind is each.VAR_KEYWORD for each in taken.values())
        recipe = next((each.value.value for each in node.keywords if each.arg == "recipe"), "inverse_rendering")
        fields = {field.name for field in dataclasses.fields(RECIPES[recipe].config)} if open_ended else set()
        for keyword in node.keywords:
            self.checked += 1
            if keyword.arg is not None and keyword.arg not in taken and keyword.arg not in fields:
                self.wrong.append(f"line {node.lineno}: {ast.unparse(node.func)} takes no {keyword.arg}")

    def value(self, node):
        """What a name or an attribute of fitkit stands for; None for anything else."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        owner = self.value(node.value) if isinstance(node, ast.Attribute) else None
        return None if owner is None else getattr(owner, node.attr, None)


def check(source):
    checker = Checker()
    checker.visit(ast.parse(source))
    return checker


@pytest.mark.parametrize("name", NAMES)
def test_names_and_keywords_exist(name):
    found = check("\n".join(code(name)))
    assert not found.wrong, "\n".join(found.wrong)
    assert found.checked > 10


def test_wrong_names_and_keywords_are_found():
    found = check("import fitkit\nfrom fitkit import geometry\nresult = fitkit.fit('a', stages=1, stage=2)\nresult.rendr()\n"
                  "result.render(yaw=3, jaw=4)\ngeometry.nothing\nfitkit.fitt()\nfitkit.fit('a', recipe='ganfit', stages=1)")
    assert [each.partition(": ")[2] for each in found.wrong] == [
        "fitkit.fit takes no stage", "result has no rendr", "result.render takes no jaw", "geometry has no nothing",
        "fitkit has no fitt", "fitkit.fit takes no stages"]


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_as_a_page(name):
    """A title, prose before the first code and between the cells, no cell too long to follow, and every formula closed."""
    prose = [cell.source for cell in cells(name) if cell.cell_type == "markdown"]
    assert prose[0].startswith("# ") and cells(name)[0].cell_type == "markdown"
    assert len(prose) >= 5 and all(len(source.splitlines()) <= 25 for source in code(name))
    assert all(text.count("$$") % 2 == 0 for text in prose)


def test_quickstart_runs(tmp_path, monkeypatch):
    names = run("quickstart", tmp_path, monkeypatch)
    for name, width in (("sheet", 1536), ("turned", 768), ("relit", 768), ("animated", 768)):
        picture = np.asarray(names[name])
        assert picture.shape[1] == width and picture.std() > 10, name
    assert not np.array_equal(*(np.asarray(names["animated"])[:, i : i + 256] for i in (0, 256)))
    assert (tmp_path / "out" / "astronaut" / "mesh.glb").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_others_run(name, tmp_path, monkeypatch):
    parameters, pictures = SMALL[name]
    names = run(name, tmp_path, monkeypatch, **parameters)
    for each in pictures:
        assert isinstance(names[each], Image.Image) and np.asarray(names[each]).std() > 5, each


def test_each_notebook_is_run():
    assert set(NAMES) == {*SMALL, "quickstart"}
    for name, (parameters, pictures) in SMALL.items():
        source = "\n".join(code(name))
        assert all(f"{each} = " in source for each in (*parameters, *pictures)), name
        assert any("parameters" in cell.metadata.get("tags", ()) for cell in cells(name))
