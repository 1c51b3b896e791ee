"""The building blocks that users may import: listed, documented, with shapes; and their examples run."""

import ast
import importlib
import inspect
import re
import textwrap

import pytest

import fitkit
from fitkit.errors import EXIT_STATUS
from tests.fixtures.source_tree import ROOT, dotted, modules, tree

PACKAGES = ("fitkit.export", "fitkit.geometry", "fitkit.morphable", "fitkit.rendering")
SHAPED = {"Bool", "Float", "Int", "Integer", "Shaped", "UInt8"}         # jaxtyping's, subscripted by an array type and a shape
ARRAYS = {"Array", "jax.Array", "np.ndarray", "jnp.ndarray"}


def defined(package: str) -> dict[str, ast.AST]:
    """Public name -> its definition, for the functions and classes of a public package."""
    owners = {alias.name: node.module for node in tree(modules()[package]).body if isinstance(node, ast.ImportFrom)
              for alias in node.names}
    found = {}
    for name in importlib.import_module(package).__all__:
        nodes = [node for node in tree(modules()[owners[name]]).body if getattr(node, "name", None) == name]
        assert len(nodes) == 1, f"{package}.{name} is no function and no class of {owners[name]}"
        found[name] = nodes[0]
    return found


def shapeless(annotation: ast.AST) -> list[str]:
    """Arrays named in an annotation without a shape."""
    if isinstance(annotation, ast.Subscript) and dotted(annotation.value).rsplit(".")[-1] in SHAPED:
        return []
    found = [dotted(annotation)] if dotted(annotation) in ARRAYS else []
    return found + [name for child in ast.iter_child_nodes(annotation) for name in shapeless(child)]


@pytest.mark.parametrize(("text", "expected"), [
    ("Float[Array, 'V 3']", []), ("Array", ["Array"]), ("tuple[Float[Array, '3'], np.ndarray | None]", ["np.ndarray"]),
    ("UInt8[np.ndarray, 'S S 3'] | None", []), ("list[jax.Array]", ["jax.Array"])])
def test_arrays_without_a_shape_are_found(text, expected):
    assert shapeless(ast.parse(text, mode="eval").body) == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_package_lists_what_it_imports(package):
    module = importlib.import_module(package)
    imported = [alias.name for node in tree(modules()[package]).body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted(module.__all__) == list(module.__all__), "imported, and listed in order"
    assert set(module.__all__) <= set(dir(module))
    assert getattr(fitkit, package.removeprefix("fitkit.")) is module


@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_name_is_no_module(package):
    """`fitkit.rendering.texture` is a module: a function of that name would be it or not, by the order of imports."""
    names = {name.removeprefix(f"{package}.") for name in modules() if name.startswith(f"{package}.")}
    assert not names & set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_building_blocks_are_documented_with_shapes(package):
    for name, node in defined(package).items():
        where = f"{package}.{name}"
        assert ast.get_docstring(node), f"{where} has no docstring"
        assert inspect.getdoc(getattr(importlib.import_module(package), name)), f"{where} loses its docstring"
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            annotations = [argument.annotation for argument in arguments] + [node.returns]
        else:
            annotations = [line.annotation for line in node.body if isinstance(line, ast.AnnAssign)]
        assert annotations, f"{where} takes and holds nothing"
        for annotation in annotations:
            assert annotation is not None and not shapeless(annotation), f"{where}: {ast.unparse(annotation)} says no shape"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_building_block_names_the_errors_it_raises(package):
    for name, node in defined(package).items():
        codes = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant) and leaf.value in EXIT_STATUS}
        documented = ast.get_docstring(node) or ""
        assert not codes or "Raises:" in documented, f"{package}.{name} raises {codes} and does not say so"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_example_runs(package, tmp_path, monkeypatch):
    """The indented block of the package's docstring, as a user would paste it."""
    blocks = re.findall(r"(?:^    .*\n?)+", inspect.getdoc(importlib.import_module(package)), re.MULTILINE)
    assert len(blocks) == 1, "one example"
    monkeypatch.chdir(tmp_path)
    exec(compile(textwrap.dedent(blocks[0]), f"{ROOT / package}", "exec"), {})
