"""List the methods by reading their files.

``ssbench list methods`` takes 0.4 s so; importing the methods, and torch with them, would take 3 s.
"""

from __future__ import annotations

import ast
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssbench.method.search_space import Choice, LogUniform, Search, Uniform
from ssbench.paths import method_folder

SEARCHES: dict[str, Callable[..., Search]] = {
    kind.__name__: kind for kind in (Uniform, LogUniform, Choice)
}
DECLARATIONS = ("limits", "leaves_out")
"""Attributes of a method's class that only declare which values and scores are refused."""
GROUP = "ssbench.methods"
"""Group of the entry points of other packages."""


@dataclass(frozen=True)
class Described:
    """A method in a list.

    Attributes:
        settings: the hyper-parameters with their defaults, by public name.
        search: the values for tuning, by public name.
    """

    name: str
    grain: str
    settings: dict[str, Any]
    summary: str
    paper: str
    search: Mapping[str, Search] = field(default_factory=dict)


def result_code(source: bytes) -> bytes:
    """Return a method's file without the class's declarations that can change no result.

    The rest is hashed into stage ids.
    """
    if not any(name.encode() in source for name in DECLARATIONS):
        return source
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        for inner in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(inner, ast.Assign | ast.AnnAssign) and _target(inner) in DECLARATIONS:
                for number in range(inner.lineno - 1, inner.end_lineno or inner.lineno):
                    lines[number] = b""
    return b"".join(lines)


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    """Return the name that an assignment sets."""
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


def described() -> list[Described] | None:
    """Describe every method that ships with ssbench.

    Returns:
        None if the files do not tell: a class with other than plain values, or methods of other
        packages. Then the methods must be imported.
    """
    if importlib.metadata.entry_points(group=GROUP):
        return None
    found = [_described(path) for path in sorted(method_folder().glob("[!_]*.py"))]
    plain = [method for method in found if method is not None]
    return plain if len(plain) == len(found) else None


def _described(path: Path) -> Described | None:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return None
    classes = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and "Method" in map(ast.unparse, node.bases)
    ]
    if len(classes) != 1 or len(classes[0].bases) != 1:
        return None
    try:
        values = dict(_values(classes[0]))
    except ValueError:
        return None
    summary = (ast.get_docstring(classes[0]) or "").splitlines()
    constants = {name: value for name, (value, constant) in values.items() if constant}
    settings = {name: value for name, (value, constant) in values.items() if not constant}
    grain = constants.get("grain", settings.get("grain"))
    if grain is None or not summary:
        return None
    public = {name.rstrip("_"): value for name, value in settings.items()}
    paper = str(constants.get("paper", ""))
    name, search = path.stem.replace("_", "-"), constants.get("search", {})
    return Described(name, str(grain), public, summary[0], paper, search)


def _values(cls: ast.ClassDef) -> Iterator[tuple[str, tuple[Any, bool]]]:
    """Yield name, value, and whether it is a class constant rather than a hyper-parameter.

    Raises:
        ValueError: a value is not a literal, or a hyper-parameter has none.
    """
    for node in cls.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield _target(node), (_literal(node.value), True)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if node.value is None:
                raise ValueError(node.target.id)
            constant = ast.unparse(node.annotation).startswith("ClassVar")
            yield node.target.id, (_literal(node.value), constant)


def _literal(node: ast.expr) -> Any:
    """Evaluate a literal, or a mapping of names to searches with literal arguments."""
    if not isinstance(node, ast.Dict) or not any(isinstance(v, ast.Call) for v in node.values):
        return ast.literal_eval(node)
    return {
        ast.literal_eval(key): _search(value)
        for key, value in zip(node.keys, node.values, strict=True)
        if key is not None
    }


def _search(node: ast.expr) -> Search:
    if not isinstance(node, ast.Call) or ast.unparse(node.func) not in SEARCHES or node.keywords:
        raise ValueError(ast.unparse(node))
    arguments = [ast.literal_eval(argument) for argument in node.args]
    return SEARCHES[ast.unparse(node.func)](*arguments)
