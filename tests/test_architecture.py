"""Who may import whom: a room imports only the rooms named beside it, and rooms form no circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "ssbench"
GROUND = {"errors", "paths", "seeds"}
MAY_IMPORT: dict[str, set[str]] = {  # from the bottom up
    "data": set(), "models": set(), "pruning": {"models"}, "storage": set(),
    "training": {"data", "models"},
    "method": {"pruning", "storage", "training"},
    "analysis": {"storage"},
    "report": {"analysis", "storage"},
    "experiment": {"data", "method", "models", "pruning", "storage", "training"},
    "pipeline": {"data", "experiment", "method", "models", "pruning", "storage", "training"},
    "executors": {"data", "experiment", "method", "models", "pipeline", "storage", "training"},
    "tuning": {"analysis", "data", "executors", "experiment", "method", "pipeline", "storage"},
    "cli": {"analysis", "data", "executors", "experiment", "method", "models", "pipeline",
            "report", "storage", "training", "tuning"},
}  # fmt: skip
"""By room, whom it may import; all may import the ground, which imports nothing of ssbench."""
NO_TORCH = ("analysis", "report")
ONLY_HERE = {"ssbench.method.registry": {"experiment", "executors", "cli", "tuning", "method"}}
"""Modules that only some rooms may import: the pipeline knows no method by name."""
OPTIONAL = {
    "altair", "datasets", "fsspec", "fvcore", "grpc", "huggingface_hub", "lightning_fabric",
    "onnxruntime", "optuna", "pandas", "pynvml", "ray", "scipy", "timm", "torch_pruning",
    "torchvision", "vl_convert",
}  # fmt: skip
"""Slow or optional libraries that few commands need: imported inside functions, and these alone.
fvcore is not slow itself, but compiles helpers while it is imported."""
LAZY = {
    "ssbench.data.registry": {"ssbench"}, "ssbench.errors": {"pydantic_core"},
    "ssbench.models.from_timm": {"torch"}, "ssbench.training.compiled": {"torch"},
}  # fmt: skip
"""Modules that import more inside functions: listing data sets needs no torch, help no pydantic,
and a training without compilation nothing of torch's compiler."""

MODULES = {
    ".".join(("ssbench", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
METHODS = sorted((ROOT / "methods").glob("[!_]*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module, and every name of a module, that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(path: Path) -> set[str]:
    """Return the rooms and modules of the ground that a file imports."""
    parts = (name.split(".") for name in imports(parsed(path)))
    return {part[1] for part in parts if part[0] == "ssbench" and len(part) > 1}


def test_every_room_is_in_the_table() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders - {"__pycache__"} == MAY_IMPORT.keys()
    assert {path.stem for path in PACKAGE.glob("[!_]*.py")} == GROUND


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    allowed = {room, *MAY_IMPORT[room], *GROUND, "__version__"}
    broken = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in (PACKAGE / room).rglob("*.py")
        for name in rooms(path) - allowed
    ]
    assert broken == []


def test_the_ground_imports_nothing_of_ours() -> None:
    assert {name for part in GROUND for name in rooms(PACKAGE / f"{part}.py")} == set()


def test_rooms_form_no_circle() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()


def test_files_form_no_circle() -> None:
    graph = {
        name.removesuffix(".__init__"): {
            imported
            for imported in imports(parsed(path))
            if imported in MODULES or f"{imported}.__init__" in MODULES
        }
        for name, path in MODULES.items()
    }
    # Both import lazily what they offer; type checkers alone see the circle.
    graph["ssbench.method"] = graph["ssbench"] = set()
    TopologicalSorter(graph).prepare()


def test_a_room_says_in_one_docstring_what_is_inside() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        tree = parsed(path)
        assert ast.get_docstring(tree), path
        assert len(tree.body) == 1 or path.parent.name == "method", path


@pytest.mark.parametrize("room", NO_TORCH)
def test_what_reads_records_imports_no_torch(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        assert "torch" not in {name.split(".")[0] for name in imports(parsed(path))}, path


@pytest.mark.parametrize("module", ONLY_HERE)
def test_modules_that_only_some_rooms_may_import(module: str) -> None:
    for name, path in MODULES.items():
        if module in set(imports(parsed(path))):
            assert name.split(".")[1] in ONLY_HERE[module], name


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_imports_the_contract_only(path: Path) -> None:
    ours = {name for name in imports(parsed(path)) if name.split(".")[0] == "ssbench"}
    assert {name for name in ours if not name.startswith("ssbench.method")} == set()
    assert not any(name.startswith("ssbench.methods") for name in ours)


def test_nobody_imports_a_method_statically() -> None:
    for name, path in MODULES.items():
        assert not any(i.startswith("ssbench.methods") for i in imports(parsed(path))), name


def test_no_imports_inside_functions_but_optional_ones() -> None:
    for name, path in MODULES.items():
        if name in ("ssbench.cli.app", "ssbench.cli.inspect", "ssbench.cli.tools"):
            continue  # each command imports what it needs: help does not wait for torch
        for function in ast.walk(parsed(path)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                roots = {imported.split(".")[0] for imported in imports(function)}
                assert roots <= OPTIONAL | LAZY.get(name, set()), f"{name}.{function.name}"


def test_slow_libraries_are_imported_inside_functions_alone() -> None:
    def visit(node: ast.AST, path: Path) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            roots = {imported.split(".")[0] for imported in imports(node)}
            assert not roots & OPTIONAL, f"{path}, line {node.lineno}: {roots & OPTIONAL}"
        for child in ast.iter_child_nodes(node):
            visit(child, path)

    for path in (*MODULES.values(), *METHODS):
        visit(parsed(path), path)


def test_modules_stay_small_enough_to_read() -> None:
    long = {n: len(p.read_text().splitlines()) for n, p in MODULES.items()}
    del long["ssbench.storage.schema"]  # one table, of all keys
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


def test_no_name_of_the_contract_is_hidden_by_a_module() -> None:
    """Importing a module binds its name on the package, over what the contract offers by it."""
    import_module("ssbench.method.registry").discover()
    contract = import_module("ssbench.method")
    for name, home in contract._MODULE_OF.items():
        assert getattr(contract, name) is getattr(import_module(home), name), name
