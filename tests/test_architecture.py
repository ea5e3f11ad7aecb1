"""Who may import whom, held as a table and read from the source with ast."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(("ssbench", *path.relative_to(ROOT / "ssbench").with_suffix("").parts)): path
    for path in sorted((ROOT / "ssbench").rglob("*.py"))
}
METHODS = sorted((ROOT / "methods").glob("[!_]*.py"))

KNOW_NO_METHOD = ("training", "evaluation", "models", "data", "experiment", "storage", "recipe")
"""Modules and folders that know neither the contract nor the registry."""
NO_TORCH = ("report", "stats")
FORBIDDEN = {
    **dict.fromkeys(
        KNOW_NO_METHOD, ("ssbench.method", "ssbench.method.registry", "ssbench.methods")
    ),
    "pipeline": ("ssbench.method.registry", "ssbench.methods"),
    "search": ("torch", "optuna", "ssbench.method"),
    "report": (
        "torch",
        "ssbench.pipeline.stages",
        "ssbench.method",
        "ssbench.pruning.graph.structure",
    ),
    "stats": ("torch",),
}
OPTIONAL = {
    "altair", "fsspec", "fvcore", "grpc", "lightning_fabric", "onnxruntime", "optuna", "pandas",
    "pynvml", "ray", "scipy", "timm", "torch_pruning", "torchvision", "vl_convert",
}  # fmt: skip
"""Slow or optional libraries that few commands need: imported inside functions, and these alone.
fvcore is not slow itself, but compiles helpers while it is imported."""


def imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_the_table_speaks_of_modules_that_exist() -> None:
    for part in FORBIDDEN:
        assert any(name.startswith(f"ssbench.{part}") for name in MODULES), part


@pytest.mark.parametrize("part", FORBIDDEN)
def test_forbidden_imports(part: str) -> None:
    for name, path in MODULES.items():
        if name == f"ssbench.{part}" or name.startswith(f"ssbench.{part}."):
            for imported in imports(parsed(path)):
                for banned in FORBIDDEN[part]:
                    inside = imported == banned or imported.startswith(f"{banned}.")
                    assert not inside, f"{name} imports {imported}"


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
        if name in ("ssbench.cli.app", "ssbench.cli.app"):
            continue  # each command imports what it needs: help does not wait for torch
        for function in ast.walk(parsed(path)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                roots = {imported.split(".")[0] for imported in imports(function)}
                assert roots <= OPTIONAL, f"{name}.{function.name} imports {roots}"


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


def test_no_cycles() -> None:
    graph = {
        name.removesuffix(".__init__"): {
            imported
            for imported in imports(parsed(path))
            if imported in MODULES or f"{imported}.__init__" in MODULES
        }
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name in done:
            return
        for imported in graph.get(name, set()) - {name}:
            # A package's modules and its __init__ are one room.
            if not imported.startswith(f"{name}.") and not name.startswith(f"{imported}."):
                visit(imported, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_modules_stay_small_enough_to_read() -> None:
    long = {n: len(p.read_text().splitlines()) for n, p in MODULES.items()}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}
