"""The rules of the house that import statements show: who may import whom, how large things get, what is never called.

Ranks are by folder: a module imports from its own rank and those below it, never from one above, and never in a circle.
"""

import ast
import graphlib
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fixtures.source_tree import ROOT, classes, definitions, dotted, imports, modules, tree

RANKS = (
    ("errors", "version", "types", "compilation", "color"), ("geometry", "configuration", "io"), ("morphable", "device"),
    ("rendering",), ("uv", "detection", "labels"), ("fitting", "export", "models"), ("recipes", "results"),
    ("pipeline", "tracking"), ("api",), ("evaluation", "batch"), ("cli",),
)
RANK = {f"fitkit.{room}": rank for rank, rooms in enumerate(RANKS) for room in rooms}
BUILDERS = "fitkit.models.build"          # maintainers' scripts: they may use everything, and nothing uses them
PUBLIC_FACE = RANK["fitkit.api"] + 1      # of `fitkit` itself: for evaluation and the command line
CORE = tuple(f"fitkit.{room}" for rooms in RANKS[:6] for room in rooms if room != "models")
# (who, never imports): what ranks alone would allow
NEVER = (
    *((room, "fitkit.models") for room in CORE), *((room, "fitkit.recipes") for room in CORE),
    ("fitkit.recipes", "fitkit.results"), ("fitkit.results", "fitkit.recipes"), ("fitkit.results", "fitkit.models"),
    ("fitkit.models", "fitkit.fitting"), ("fitkit.io", "fitkit.geometry"),
)
# recipes stand alone, but for the points that every fit starts from, the stage that GANFIT starts from and the one it ends with
SHARED_RECIPES = ("fitkit.recipes.priors", "fitkit.recipes.landmarks", "fitkit.recipes.finenet",
                  *(f"fitkit.recipes.coarsenet.{part}" for part in ("appearance", "recipe", "prediction", "fine_recipe")), *(
    f"fitkit.recipes.inverse_rendering.{stage}" for stage in ("model_fitting", "geometry_refinement", "refinement_config",
                                                              "face_surface", "fold_lines")))
FILES, FILE_LINES, FUNCTION_LINES = 12, 350, 70      # of a folder; the aim for the others is 300 and 40
VAGUE = {"util", "utils", "helper", "helpers", "base", "common", "manager", "misc"}


def room(name: str) -> str:
    """`fitkit.models.heads.makehuman` -> `fitkit.models`."""
    return ".".join(name.split(".")[:2])


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def all_imports() -> list[tuple[str, str, int]]:
    """(module, what it imports, line) of the whole source."""
    return [(name, imported, line) for name in modules() for imported, line in imports(name)]


def test_every_module_has_a_rank():
    homeless = [name for name in modules() if name != "fitkit" and room(name) not in RANK]
    assert not homeless, f"{homeless}: say in RANKS what may import them"


def test_imports_run_downwards():
    upwards = []
    for name, imported, line in all_imports():
        if name != "fitkit" and within(imported, "fitkit") and not within(name, BUILDERS):
            rank = PUBLIC_FACE if imported == "fitkit" else RANK.get(room(imported), len(RANKS))
            if rank > RANK[room(name)]:
                upwards.append(f"{name}:{line} imports {imported}")
    assert not upwards, "\n".join(upwards)


def test_no_import_circle():
    known = modules()
    graph = {name: {imported for imported, _ in imports(name) if imported in known and imported != name} for name in known}
    graph["fitkit"] = {"fitkit.errors"}      # the rest of the public face loads on first use
    for name, imported, line in type_checking_imports():
        if line:
            graph[name].discard(imported)
    for name in known:      # a package lists what its modules hold; what they import of it is their siblings
        graph[name] -= {imported for imported in graph[name] if within(name, imported)}
    list(graphlib.TopologicalSorter(graph).static_order())


def type_checking_imports() -> list[tuple[str, str, int]]:
    """Imports that only a type checker sees."""
    found = []
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.If) and dotted(node.test) == "TYPE_CHECKING":
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                found += [(name, imported, line) for imported, line in imports(name) if line in lines]
    return found


def test_what_is_never_imported():
    wrong = [f"{name}:{line} imports {imported}" for name, imported, line in all_imports() for who, what in NEVER
             if within(name, who) and within(imported, what) and not within(name, BUILDERS)]
    assert not wrong, "\n".join(wrong)


def test_recipes_stand_alone():
    wrong = []
    for name, imported, line in all_imports():
        own = ".".join(name.split(".")[:3])
        if within(name, "fitkit.recipes") and name != "fitkit.recipes" and within(imported, "fitkit.recipes"):
            trains = within(name, "fitkit.recipes.train")       # a network is trained on what is synthesized and fitted
            if not (within(imported, own) or imported in SHARED_RECIPES or imported == "fitkit.recipes.landmarks" or trains):
                wrong.append(f"{name}:{line} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_rooms_are_imported_under_their_own_name_and_builders_never():
    wrong = []
    for name, imported, line in all_imports():
        if imported.split(".")[0] in ("models", "recipes", "tests"):
            wrong.append(f"{name}:{line}: write fitkit.{imported}")
        if within(imported, BUILDERS) and not within(name, BUILDERS):
            wrong.append(f"{name}:{line}: builders are run by maintainers only")
    assert not wrong, "\n".join(wrong)


def test_no_alias_is_needed():
    """A module's name, and a function's, serves everyone who imports it as it is."""
    aliases = [f"{name}:{node.lineno}: {alias.name} as {alias.asname}" for name, path in modules().items()
               for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) and within(node.module or "", "fitkit")
               for alias in node.names if alias.asname]
    assert not aliases, "\n".join(aliases)


def test_networks_stay_in_models_and_optimisers_out_of_it():
    wrong = []
    for name, imported, line in all_imports():
        root = imported.split(".")[0]
        if root == "flax" and not (room(name) == "fitkit.models" or within(name, "fitkit.recipes.train")):
            wrong.append(f"{name}:{line} imports Flax: networks enter as callables")
        if root == "optax" and room(name) == "fitkit.models":
            wrong.append(f"{name}:{line} imports Optax: no optimiser in models")
    assert not wrong, "\n".join(wrong)


def test_the_command_line_wakes_jax_late():
    heavy = {"jax", "jaxlib", "flax", "optax", "numpy", "scipy", "rich", "trimesh", "imageio", "PIL"}
    light = [name for name in modules() if room(name) == "fitkit.cli"]
    wrong = []
    for name in light + ["fitkit", "fitkit.version", "fitkit.configuration", "fitkit.device", "fitkit.errors"]:
        for node in tree(modules()[name]).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                if any(text.split(".")[0] in heavy or text.startswith(("fitkit.models", "fitkit.recipes", "fitkit.api"))
                       for text in named):
                    wrong.append(f"{name}:{node.lineno}: import it inside the function")
    assert not wrong, "\n".join(wrong)


def test_folders_files_and_functions_stay_small():
    wrong = []
    folders = Counter(path.parent for path in modules().values() if path.name not in ("__init__.py", "__main__.py"))
    wrong += [f"{folder.relative_to(ROOT)} holds {count} files" for folder, count in folders.items() if count > FILES]
    for name, path in modules().items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        wrong += [f"{name} has {lines} lines"] if lines > FILE_LINES else []
        for title, node in definitions(name):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            wrong += [f"{title} has {length} lines"] if length > FUNCTION_LINES else []
    assert not wrong, "\n".join(wrong)


def test_tests_stand_in_the_folders_of_what_they_test():
    tests = ROOT / "tests"
    rooms = {folder.name for folder in tests.iterdir() if folder.is_dir() and folder.name[0] not in "._"}
    known = {name.removeprefix("fitkit.") for name in RANK} | {"fixtures", "measurements", "benchmarks", "data", "documents"}
    assert rooms <= known, f"tests/{rooms - known} test no folder of the source"
    crowded = Counter(path.parent for path in tests.rglob("test_*.py"))
    assert max(crowded.values()) <= FILES, crowded.most_common(1)


def test_no_vague_names():
    wrong = [name for name in modules() if name.rsplit(".")[-1].split("_")[-1] in VAGUE]
    for name in modules():
        for node in classes(name):
            words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", node.name)
            wrong += [f"{name}: class {node.name}"] if words[-1].lower() in VAGUE else []
    assert not wrong, f"{wrong} say nothing of what they are"


NEVER_CALLED = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "joblib.load", "marshal.loads", "shelve.open",
    "yaml.load", "yaml.Loader", "yaml.unsafe_load", "eval", "exec", "os.system", "pandas.read_pickle", "jnp.load",
}
CARRIES_CODE = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def code_carriers(name: str, source: ast.Module) -> list[str]:
    """Places of a module where a file could bring code with it."""
    wrong = []
    for node in ast.walk(source):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        used = dotted(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        wrong += [f"{where} uses {used}"] if used in NEVER_CALLED else []
        wrong += [f"{where} unpacks an archive unchecked"] if used.endswith((".extractall", ".extract", ".unpack_archive")) else []
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.load":
            safe = {word.arg for word in node.keywords if isinstance(word.value, ast.Constant) and word.value.value is True}
            wrong += [] if "weights_only" in safe else [f"{where} lets torch.load unpickle code"]
        if isinstance(node, ast.keyword):
            truth = not (isinstance(node.value, ast.Constant) and node.value.value is False)
            wrong += [f"{where} sets {node.arg}"] if node.arg in ("allow_pickle", "shell") and truth else []
    return wrong


def test_no_file_can_carry_code():
    wrong = [text for name, path in modules().items() for text in code_carriers(name, tree(path))]
    wrong += [f"{name}:{line} imports {imported}" for name, imported, line in all_imports()
              if imported.split(".")[0] in CARRIES_CODE]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("line", ["pickle.load(f)", "archive.extractall(p)", "torch.load(p)", "np.load(p, allow_pickle=True)",
                                  "subprocess.run(c, shell=x)", "eval(text)"])
def test_what_could_carry_code_is_found(line):
    assert code_carriers("here", ast.parse(line))
    assert not code_carriers("here", ast.parse("np.load(p, allow_pickle=False); torch.load(p, weights_only=True)"))


def test_nothing_opens_the_network():
    network = {"socket", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "urllib3", "huggingface_hub"}
    wrong = [f"{name}:{line} imports {imported}" for name, imported, line in all_imports() if imported.split(".")[0] in network]
    assert not wrong, "\n".join(wrong)


def test_dependencies_are_declared():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    declared = {re.split(r"[<>=!~\[; ]", text)[0].lower().replace("-", "_") for text in project["dependencies"] + extras}
    imported_as = {"pillow": "PIL", "orbax_checkpoint": "orbax", "tensorboardx": "tensorboardX", "usd_core": "pxr"}
    declared |= {imported_as[name] for name in declared & set(imported_as)}
    known = declared | {"fitkit"} | set(sys.stdlib_module_names)
    wrong = [f"{name}:{line} imports {imported}" for name, imported, line in all_imports() if imported.split(".")[0] not in known]
    assert not wrong, "pyproject.toml does not name what is imported:\n" + "\n".join(wrong)


def test_source_is_found():
    """The rules above look at something: every room is there, and the links are not followed."""
    assert {room(name) for name in modules()} - {"fitkit"} == set(RANK)
    assert not [path for path in modules().values() if Path("fitkit/models") in path.relative_to(ROOT).parents]
