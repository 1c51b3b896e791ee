"""The house rules that a reader of import statements can hold: who may know whom, how long things get, what is never called."""

import ast
import graphlib
import re
import sys

import pytest

from tests.source import ROOT, classes, definitions, dotted, imports, modules, tree

# Low to high: a module imports from its own layer and those before it, never from one after it; and never in a circle.
# types <- geometry, camera, morphable, raster, shading <- render <- losses, solvers <- models <- recipes <- api <- cli
LAYERS: dict[str, tuple[str, ...]] = {
    "contracts": ("errors", "types"),
    "files": ("compiling", "files", "decode", "images", "configuration", "device", "scans"),
    "geometry": ("geometry", "camera", "depth", "pose", "morphable", "correspondence", "visibility", "raster", "shading", "texture",
                 "face_crop", "landmarks", "initialize", "subdivision"),
    "metrics": ("surface", "alignment", "metrics", "depth_error"),
    "render": ("render", "repose"),
    "losses": ("losses", "solvers", "photometric"),
    "results": ("results", "record", "export", "detail", "texel_grid", "quotient", "unseen", "skin", "unwrapping", "window",
                "pictures", "verdict"),
    "models": ("models",),
    "recipes": ("recipes",),
    "api": ("observing", "api"),
    "evaluation": ("evaluation", "scenes"),
    "cli": ("options", "report", "assets", "fitting", "unwrap_command", "doctor", "evaluating", "eval_folder", "bench", "cli"),
}
RANK = {f"fitkit.{module}": rank for rank, layer in enumerate(LAYERS.values()) for module in layer}
CLI = [f"fitkit.{module}" for module in LAYERS["cli"]]
FILE_LINES, FUNCTION_LINES = 350, 70      # the aim is 300 and 40
VAGUE = {"util", "utils", "helper", "helpers", "base", "common", "manager", "misc"}


def room(name: str) -> str:
    """`fitkit.models.heads.makehuman` -> `fitkit.models`."""
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize("name", modules())
def test_every_module_has_a_layer(name):
    assert name == "fitkit" or room(name) in RANK, f"{name} is in no layer of LAYERS; decide what may import it"


@pytest.mark.parametrize("name", [name for name in modules() if room(name) in RANK])
def test_imports_run_one_way(name):
    for imported, line in imports(name):
        if imported.split(".")[0] != "fitkit":
            continue
        if imported == "fitkit":      # the public face: for the command line; everyone may read the version
            assert name in CLI or _only_version(name, line), f"{name}:{line} imports the public face"
        else:
            rank = RANK.get(room(imported), len(LAYERS))
            assert rank <= RANK[room(name)], f"{name}:{line} imports {imported}, which stands above it"


def test_no_import_circle():
    graph = {name: {imported for imported, _ in imports(name) if imported in modules() and imported != name} for name in modules()}
    graph["fitkit"] = {"fitkit.errors"}      # the rest of the public face loads on first use
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", modules())
def test_nothing_imports_a_room_by_its_folder_or_the_builders(name):
    for imported, line in imports(name):
        assert imported.split(".")[0] not in ("models", "recipes", "tests"), f"{name}:{line}: write fitkit.{imported}"
        if not name.startswith("fitkit.models.build"):
            assert not imported.startswith("fitkit.models.build"), f"{name}:{line}: builders are run by maintainers only"


@pytest.mark.parametrize("name", modules())
def test_networks_stay_in_models_and_optimisers_out_of_it(name):
    roots = {imported.split(".")[0] for imported, _ in imports(name)}
    allowed = room(name) == "fitkit.models" or name.startswith("fitkit.recipes.train")
    assert allowed or "flax" not in roots, f"{name} imports Flax: networks enter as callables"
    assert room(name) != "fitkit.models" or "optax" not in roots, f"{name} imports Optax: no optimiser in models"


@pytest.mark.parametrize("name", CLI + ["fitkit", "fitkit.configuration", "fitkit.device", "fitkit.errors"])
def test_the_command_line_wakes_jax_late(name):
    heavy = {"jax", "jaxlib", "flax", "optax", "numpy", "scipy", "rich", "trimesh", "imageio", "PIL"}
    body = [node for node in tree(modules()[name]).body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        assert not heavy & {imported.split(".")[0] for imported in names}, f"{name}:{node.lineno}: import it inside the function"
        assert not any(imported.startswith(("fitkit.models", "fitkit.recipes", "fitkit.api")) for imported in names)


@pytest.mark.parametrize("name", modules())
def test_files_and_functions_stay_short(name):
    lines = len(modules()[name].read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES, f"{name} has {lines} lines"
    for title, node in definitions(name):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        assert length <= FUNCTION_LINES, f"{title} has {length} lines"


@pytest.mark.parametrize("name", modules())
def test_no_vague_names(name):
    assert name.rsplit(".")[-1].split("_")[-1] not in VAGUE, f"{name} says nothing of what is in it"
    for node in classes(name):
        words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", node.name)
        assert words[-1].lower() not in VAGUE, f"{name}: class {node.name} says nothing of what it is"


NEVER_CALLED = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "joblib.load", "marshal.loads", "shelve.open",
    "yaml.load", "yaml.Loader", "yaml.unsafe_load", "eval", "exec", "os.system", "pandas.read_pickle", "jnp.load",
}


@pytest.mark.parametrize("name", modules())
def test_no_file_can_carry_code(name):
    for node in ast.walk(tree(modules()[name])):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        used = dotted(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        assert used not in NEVER_CALLED, f"{where} uses {used}"
        assert not used.endswith((".extractall", ".extract", ".unpack_archive")), f"{where} unpacks an archive unchecked"
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.load":
            safe = {word.arg for word in node.keywords if isinstance(word.value, ast.Constant) and word.value.value is True}
            assert "weights_only" in safe, f"{where} lets torch.load unpickle code"
        if isinstance(node, ast.keyword):
            truth = not (isinstance(node.value, ast.Constant) and node.value.value is False)
            assert not (node.arg in ("allow_pickle", "shell") and truth), f"{where} sets {node.arg}"
    roots = {imported.split(".")[0] for imported, _ in imports(name)}
    assert not roots & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}, f"{name} can unpickle code"


@pytest.mark.parametrize("name", modules())
def test_nothing_opens_the_network(name):
    network = {"socket", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "urllib3", "huggingface_hub"}
    assert not network & {imported.split(".")[0] for imported, _ in imports(name)}, f"{name} can reach the network"


@pytest.mark.parametrize("name", modules())
def test_dependencies_are_declared(name):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    declared = {re.split(r"[<>=!~\[; ]", text)[0].lower().replace("-", "_") for text in project["dependencies"] + extras}
    declared |= {"PIL"} if "pillow" in declared else set()
    roots = {imported.split(".")[0] for imported, _ in imports(name)} - {"fitkit"} - set(sys.stdlib_module_names)
    assert not roots - declared, f"{name} imports what pyproject.toml does not name"


def _only_version(name: str, line: int) -> bool:
    found = [node for node in ast.walk(tree(modules()[name])) if isinstance(node, ast.ImportFrom) and node.lineno == line]
    names = [alias.name for node in found for alias in node.names if f"fitkit.{alias.name}" not in modules()]
    return names == ["__version__"]
