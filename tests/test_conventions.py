"""Conventions of public signatures, errors and recipes: stated in DESIGN once, held here."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import fitkit
from fitkit.cli.commands.doctor import field_notes
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


def no(offenders: list[str]) -> None:
    """One property, asked of all modules: whoever breaks it is named, all at once."""
    assert not offenders, "\n".join(offenders)


def test_every_module_is_looked_at():
    """The properties below are each one test over all modules: that there are some, and public functions in them, is a test too."""
    assert len(PRODUCT) > 100 and sum(len(public(name)) for name in PRODUCT) > 300


def test_defaults_are_keyword_only():
    no([f"{title} has a positional default; put a * before it"
        for name in PRODUCT for title, node in public(name) if node.args.defaults])


def test_every_module_and_public_class_is_documented():
    no([f"{name} does not say what it is for" for name in PRODUCT if not ast.get_docstring(tree(modules()[name]))])
    no([f"{name}.{node.name} has no docstring" for name in PRODUCT for node in tree(modules()[name]).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)])


def undocumented(node: Definition) -> bool:
    """Whether a function lacks its docstring; construction, call and overloads need none."""
    overload = any(dotted(decorator).endswith("overload") for decorator in node.decorator_list)
    return node.name not in ("__init__", "__call__") and not overload and not ast.get_docstring(node)


def unannotated(node: Definition) -> list[str]:
    """Arguments without a type, and `return`."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    bare = [argument.arg for argument in arguments if argument.annotation is None and argument.arg not in ("self", "cls")]
    return bare if node.returns is not None or node.name == "__init__" else [*bare, "return"]


def test_everything_public_is_documented_and_annotated():
    functions = [function for name in PRODUCT for function in public(name)]
    no([f"{title} has no docstring" for title, node in functions if undocumented(node)])
    no([f"{title} lacks annotations {unannotated(node)}" for title, node in functions if unannotated(node)])


def carelessly_drawn(title: str, node: Definition) -> list[str]:
    """What is wrong with the randomness of a function: its key not first, no key at all, or NumPy's and Python's global state."""
    arguments = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args] if argument.arg not in ("self", "cls")]
    everything = arguments + [argument.arg for argument in node.args.kwonlyargs]
    drawn = {dotted(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
    draws = any(call.startswith("jax.random.") and call.rsplit(".")[-1] not in ("key", "PRNGKey") for call in drawn)
    seeded = any(call in ("jax.random.key", "jax.random.PRNGKey") for call in drawn)
    legacy = [call for call in drawn if call.startswith(("np.random.", "random.")) and not call.endswith(".default_rng")]
    wrong = [f"{title}: key comes first"] if "key" in everything and arguments[:1] != ["key"] else []
    wrong += [f"{title} draws without a key"] if draws and not seeded and "key" not in everything else []
    return wrong + ([f"{title} draws from a global state: {legacy}"] if legacy else [])


def test_key_comes_first_where_randomness_enters():
    no([wrong for name in PRODUCT for title, node in definitions(name) for wrong in carelessly_drawn(title, node)])


def frozen(node: ast.ClassDef) -> bool:
    """Whether a class, where it is a dataclass, is a frozen one."""
    for decorator in node.decorator_list:
        called = decorator if isinstance(decorator, ast.Call) else None
        if dotted(called.func if called else decorator) in ("dataclasses.dataclass", "dataclass"):
            options = {word.arg: ast.literal_eval(word.value) for word in called.keywords} if called else {}
            return options.get("frozen") is True
    return True


def test_dataclasses_are_frozen():
    no([f"{name}.{node.name} is not frozen" for name in PRODUCT for node in classes(name) if not frozen(node)])


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


def test_named_numbers_stand_in_blocks_that_say_what_they_are():
    """Each group of constants (lines without a blank one between) has a comment: unit, meaning, origin."""
    silent = []
    for name in modules():
        lines = modules()[name].read_text(encoding="utf-8").splitlines()
        for node in tree(modules()[name]).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _numbers(node):
                first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
                while first > 0 and lines[first - 1].strip():
                    first -= 1
                while last + 1 < len(lines) and lines[last + 1].strip():
                    last += 1
                if not any("#" in line for line in lines[first:last + 1]):
                    silent.append(f"{name}:{node.lineno}: {lines[node.lineno - 1]}")
    assert not silent, "\n".join(silent)


def _numbers(node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether an assignment gives numbers to names in capitals."""
    target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    capitals = re.sub(r"[\W_]", "", target).isupper()
    values = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]      # ("name", 1.0) holds a number, too
    called = any(isinstance(inner, ast.Call) for inner in ast.walk(node))
    return capitals and not called and any(type(value) in (int, float) for value in values)
