"""Conventions of public signatures, errors and recipes: stated in DESIGN once, held here."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import fitkit
from fitkit.cli.doctor import field_notes
from fitkit.errors import EXIT_STATUS
from fitkit.recipes import RECIPES
from tests.fixtures.source_tree import Definition, classes, definitions, dotted, modules, tree

PRODUCT = [name for name in modules() if not name.startswith("fitkit.models.build")]


def is_public(title: str) -> bool:
    """Whether every part of `module:Class.function` is public; construction and call of a class are."""
    parts = title.split(":")[1].split(".")
    return all(not part.startswith("_") or part in ("__init__", "__call__") for part in parts)


def public(name: str) -> list[tuple[str, Definition]]:
    """Public functions and methods, nested ones left out."""
    owners = {node.name for node in classes(name)}
    found = [(title, node) for title, node in definitions(name) if is_public(title)]
    return [(title, node) for title, node in found if set(title.split(":")[1].split(".")[:-1]) <= owners]


@pytest.mark.parametrize("name", PRODUCT)
def test_defaults_are_keyword_only(name):
    for title, node in public(name):
        assert not node.args.defaults, f"{title} has a positional default; put a * before it"


@pytest.mark.parametrize("name", PRODUCT)
def test_everything_public_is_documented_and_annotated(name):
    assert ast.get_docstring(tree(modules()[name])), f"{name} does not say what it is for"
    for title, node in public(name):
        overload = any(dotted(decorator).endswith("overload") for decorator in node.decorator_list)
        if node.name not in ("__init__", "__call__") and not overload:
            assert ast.get_docstring(node), f"{title} has no docstring"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [argument.arg for argument in arguments if argument.annotation is None and argument.arg not in ("self", "cls")]
        assert not bare and (node.returns is not None or node.name == "__init__"), f"{title} lacks annotations {bare}"
    for node in tree(modules()[name]).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


@pytest.mark.parametrize("name", PRODUCT)
def test_key_comes_first_where_randomness_enters(name):
    for title, node in definitions(name):
        arguments = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args] if argument.arg not in ("self", "cls")]
        everything = arguments + [argument.arg for argument in node.args.kwonlyargs]
        if "key" in everything:
            assert arguments[:1] == ["key"], f"{title}: key comes first"
        drawn = {dotted(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
        draws = [call for call in drawn if call.startswith("jax.random.") and call.rsplit(".")[-1] not in ("key", "PRNGKey")]
        seeded = any(call in ("jax.random.key", "jax.random.PRNGKey") for call in drawn)
        assert not draws or seeded or "key" in everything, f"{title} draws without a key"
        legacy = [call for call in drawn if call.startswith(("np.random.", "random.")) and not call.endswith(".default_rng")]
        assert not legacy, f"{title} draws from a global state: {legacy}"


@pytest.mark.parametrize("name", PRODUCT)
def test_dataclasses_are_frozen(name):
    for node in classes(name):
        for decorator in node.decorator_list:
            called = decorator if isinstance(decorator, ast.Call) else None
            if dotted(called.func if called else decorator) in ("dataclasses.dataclass", "dataclass"):
                options = {word.arg: ast.literal_eval(word.value) for word in called.keywords} if called else {}
                assert options.get("frozen") is True, f"{name}.{node.name} is not frozen"


def test_error_codes_are_declared_and_used():
    used = {}
    for name in modules():
        for node in ast.walk(tree(modules()[name])):
            text = node.value if isinstance(node, ast.Constant) and name != "fitkit.errors" else None
            if isinstance(text, str) and re.fullmatch("E_[A-Z]+", text):
                used[text] = f"{name}:{node.lineno}"
    unknown = {code: where for code, where in used.items() if code not in EXIT_STATUS and code != "E_INTERNAL"}
    assert not unknown, f"codes that errors.py does not know: {unknown}"
    assert not set(EXIT_STATUS) - set(used), f"codes that nothing raises: {set(EXIT_STATUS) - set(used)}"


def test_the_public_face_is_spelled_out():
    face = tree(modules()["fitkit"])
    checked = [node for node in face.body if isinstance(node, ast.If)][0]
    typed = {(alias.name, node.module) for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == set(fitkit._HOME.items()), "the imports for type checkers and those at run time differ"
    assert set(fitkit.__all__) == {name for name, _ in typed} | {"FitkitError", "__version__"}
    for name in fitkit.__all__:
        assert getattr(fitkit, name) is not None and name in dir(fitkit)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = fitkit.fitt


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_one_frozen_dataclass_and_one_function(name):
    recipe = RECIPES[name]
    assert recipe.config.__dataclass_params__.frozen and callable(recipe.function)
    assert recipe.summary and recipe.paper
    fields = {field.name for field in dataclasses.fields(recipe.config)}
    assert set(field_notes(recipe.config)) == fields, "the docstring's Attributes and the fields differ"
    taken = fields & set(inspect.signature(fitkit.fit_faces).parameters)
    assert not taken, f"fields {taken} could not be set: `fitkit.fit_faces` has arguments of these names"


def test_no_test_hides_another_of_its_name():
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert len(names) == len(set(names)), f"{path.name}: {sorted({name for name in names if names.count(name) > 1})}"
