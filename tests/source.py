"""The source as the architecture and convention tests see it: parsed, never imported."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("fitkit", "models", "recipes")
Definition = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def modules() -> dict[str, Path]:
    """Module name -> file, for the three rooms; `models/blaze.py` is `fitkit.models.blaze`, its link in `fitkit/` is left out."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[0] == "fitkit" and parts[1] in ROOMS:
                continue
            name = ".".join(parts if parts[0] == "fitkit" else ("fitkit", *parts))
            found[name.removesuffix(".__init__")] = path
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(name: str) -> Iterator[tuple[str, int]]:
    """Every module that `name` imports, anywhere in it, with the line; names imported from a package count as its modules."""
    for node in ast.walk(tree(modules()[name])):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively; write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in modules() else node.module or "", node.lineno)


def definitions(name: str) -> Iterator[tuple[str, Definition]]:
    """Every function and method of a module with its qualified name."""
    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                yield f"{prefix}{child.name}", child
            if isinstance(child, Definition | ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")

    yield from visit(tree(modules()[name]), f"{name}:")


def classes(name: str) -> Iterator[ast.ClassDef]:
    """Every class of a module."""
    return (node for node in ast.walk(tree(modules()[name])) if isinstance(node, ast.ClassDef))


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression made of names and attributes; empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else f"?.{node.attr}"
    return ""
