"""Find methods by name; all other code imports methods/ only through here.

A method's file is its registration: every module of ``ssbench.methods``, every entry point of the
group ``ssbench.methods`` and every file given with ``--method-file`` defines one `Method`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ssbench.errors import BadInputError, located, nearest, outside
from ssbench.method.contract import FACTS, GRAINS, HOOKS, Method
from ssbench.method.describe import GROUP, result_code
from ssbench.method.global_state import contained
from ssbench.method.search_space import Choice, Search, Uniform
from ssbench.paths import method_folder

Value = TypeVar("Value")
PACKAGE = "ssbench.methods"


@dataclass(frozen=True)
class MethodFile:
    """A method, and the hash of its file."""

    name: str
    cls: type[Method]
    path: Path
    content: str

    @property
    def is_ours(self) -> bool:
        """Whether it ships with ssbench."""
        return is_ours(self.cls)


def is_ours(cls: type[Method]) -> bool:
    """Whether a method ships with ssbench; others run in their own processes."""
    return cls.__module__.startswith(f"{PACKAGE}.")


@dataclass(frozen=True)
class Registry:
    """The usable methods, and why others could not be loaded, by name."""

    methods: dict[str, MethodFile]
    broken: dict[str, str] = field(default_factory=dict)

    def method(self, name: str, place: str) -> MethodFile:
        """Return a method by name.

        Raises:
            BadInputError: no such method, or its file does not import; names ``place``.
        """
        if name in self.broken:
            raise BadInputError(f"{place}: method {name!r} cannot be loaded: {self.broken[name]}")
        return look_up(self.methods, name, "method", place, "ssbench list methods")


def look_up(
    known: dict[str, Value], name: str, kind: str, place: str, everything: str = ""
) -> Value:
    """Return the value of a name; if unknown, refuse it with ``place`` and similar names."""
    if name not in known:
        raise BadInputError(f"{place}: unknown {kind} {name!r}; {nearest(name, known, everything)}")
    return known[name]


def discover(files: Sequence[Path] = ()) -> Registry:
    """Import every method; one that fails is listed as broken and the others stay usable."""
    methods: dict[str, MethodFile] = {}
    broken: dict[str, str] = {}
    for name, load in _sources(files):
        if name in methods or name in broken:
            broken[name] = "two files define a method of this name; rename one of them"
            methods.pop(name, None)
            continue
        try:
            methods[name] = _method_file(name, load())
        except Exception as error:  # a method's file may raise anything while it is imported
            broken[name] = located(error)
    return Registry(dict(sorted(methods.items())), broken)


@contextmanager
def foreign_contained(files: Iterable[MethodFile | None]) -> Iterator[None]:
    """Enclose the making of methods and the use of their properties; see `contained`.

    Costs nothing if all of them ship with ssbench.
    """
    names = list(dict.fromkeys(file.name for file in files if file and not file.is_ours))
    with contained(f"making {', '.join(names)}") if names else nullcontext():
        yield


def import_one(module: str, files: Sequence[Path]) -> None:
    """Import the module of one method that does not ship with ssbench.

    Args:
        module: its name, from the method's class.
        files: all files of methods.

    Raises:
        BadInputError: the import fails; says why.
    """
    path = next((path for path in files if _module_name(path) == module), None)
    load = partial(_import_file, path) if path else partial(importlib.import_module, module)
    try:
        with contained(f"the import of {path or module}"):
            load()
    except Exception as error:  # a method's file may raise anything while it is imported
        raise BadInputError(located(error)) from error


def _sources(files: Sequence[Path]) -> Iterable[tuple[str, Callable[[], ModuleType]]]:
    for path in sorted(method_folder().glob("[!_]*.py")):
        yield _name(path.stem), partial(importlib.import_module, f"{PACKAGE}.{path.stem}")
    for entry in importlib.metadata.entry_points(group=GROUP):
        yield _name(entry.name), partial(_contained, f"the import of {entry.value}", entry.load)
    for path in files:
        load = partial(_contained, f"the import of {path}", partial(_import_file, path))
        yield _name(path.stem), load


def _contained(what: str, load: Callable[[], ModuleType]) -> ModuleType:
    with contained(what):
        return load()


def _name(stem: str) -> str:
    return stem.replace("_", "-")


def _module_name(path: Path) -> str:
    return f"ssbench_method_file_{path.stem}"


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BadInputError(f"--method-file {path}: no such file")
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInputError(f"--method-file {path}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _method_file(name: str, module: ModuleType) -> MethodFile:
    classes = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Method) and member.__module__ == module.__name__
    ]
    path = Path(str(module.__file__))
    if len(classes) != 1:
        raise BadInputError(f"{path.name} defines {len(classes)} methods; one per file")
    cls = classes[0]
    _check(cls, path)
    _check_hooks(cls, path)
    content = hashlib.sha256(result_code(path.read_bytes())).hexdigest()[:16]
    return MethodFile(name, cls, path, content)


def _check(cls: type[Method], path: Path) -> None:
    abstract = sorted(getattr(cls, "__abstractmethods__", ()))
    parameters = cls.__dict__.get("__dataclass_params__")
    required = [
        f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
    ]
    if abstract:
        raise BadInputError(f"{path.name}: {cls.__name__} lacks {', '.join(abstract)}")
    if parameters is None or not parameters.frozen:
        raise BadInputError(
            f"{path.name}: put @dataclass(frozen=True, kw_only=True) on {cls.__name__}"
        )
    if required:
        raise BadInputError(f"{path.name}: give {', '.join(required)} a default value")
    names = [f.name.rstrip("_") for f in fields(cls)]
    for declared in ("search", "limits"):
        for name in getattr(cls, declared):
            if name not in names:
                raise BadInputError(
                    f"{path.name}: {declared} names {name!r}, which is no hyper-parameter of "
                    f"{cls.__name__}; {nearest(name, names)}"
                )
    _check_limits(cls, path)


def _check_limits(cls: type[Method], path: Path) -> None:
    """Refuse malformed limits, and limits that the class's own values exceed."""
    defaults = {f.name.rstrip("_"): f.default for f in fields(cls)}
    for name, limit in cls.limits.items():
        match limit:
            case (int() | float(), int() | float(), str()) if limit[0] < limit[1] and limit[2]:
                pass
            case _:
                raise BadInputError(
                    f"{path.name}: limits[{name!r}] is {limit!r}; give (lowest, highest, reason)"
                )
        for value in (defaults[name], *_ends(cls.search.get(name))):
            if wrong := outside(value, limit):
                raise BadInputError(f"{path.name}: {cls.__name__}.{name} = {value!r} {wrong}")


def _ends(search: Search | None) -> tuple[object, ...]:
    """Return the values of a search that could exceed a limit."""
    match search:
        case Uniform(low=low, high=high):
            return low, high
        case Choice(values=values):
            return values
    return ()


def _check_hooks(cls: type[Method], path: Path) -> None:
    """Refuse a misspelt hook, argument or grain, which would have no effect."""
    if isinstance(grain := getattr(cls, "grain", None), str) and grain not in GRAINS:
        raise BadInputError(f"{path.name}: unknown grain {grain!r}; {nearest(grain, GRAINS)}")
    for name, member in vars(cls).items():
        if not inspect.isfunction(member) or name.startswith("_"):
            continue
        if name not in HOOKS and difflib.get_close_matches(name, HOOKS, cutoff=0.8):
            raise BadInputError(
                f"{path.name}: {cls.__name__}.{name} is no hook and would never be called; "
                f"{nearest(name, HOOKS)}; start the names of your own functions with an underscore"
            )
        for argument in inspect.signature(member).parameters.values():
            if name in HOOKS and argument.kind is argument.KEYWORD_ONLY:
                look_up(FACTS, argument.name, "argument", f"{path.name}: {cls.__name__}.{name}")


__all__ = [
    "MethodFile", "Registry", "discover", "foreign_contained", "import_one", "is_ours", "look_up",
    "method_folder",
]  # fmt: skip
