"""Networks that do not ship with ssbench: classes and functions in a user's file or a package.

>>> code = read("my_net.py", "Net", "models.0")     # imports the file once
>>> code.build(3, 10, {"depth": 4})                 # Net(channels=3, classes=10, depth=4)

The text of a file travels with its `Code`, so that other processes and machines need no file.
Networks of other packages have the entry points of the group ``ssbench.models``.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import linecache
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ssbench.errors import BadInputError, RunFailedError, located, nearest

GROUP = "ssbench.models"
CHANNELS = ("channels", "in_channels", "in_chans")
"""The arguments that receive the number of image channels, where a network takes them."""
CLASSES = ("classes", "num_classes", "n_classes")
_ALONE = (
    "a change of that file would change no stage's id: put its content into the same file, or make "
    f"a package with an entry point of the group {GROUP}"
)


@dataclass(frozen=True)
class Code:
    """A class or function that builds a network, and the code around it.

    Attributes:
        attribute: its name.
        content: a hash of the code.
        path: the file, for messages.
        source: the file's text; empty for an installed package.
        module: of an installed package, by its full name; else empty.
    """

    attribute: str
    content: str
    path: str
    source: str = field(default="", repr=False)
    module: str = ""

    def build(self, channels: int, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
        """Build the network; it gets channels and classes by name, where it takes them.

        Raises:
            BadInputError: the code is not the same here, or the arguments do not fit.
            RunFailedError: it returns no module. Its own errors pass through.
        """
        maker = self.maker()
        made = maker(**_given(maker, channels, classes), **arguments)
        if not isinstance(made, nn.Module):
            raise RunFailedError(
                f"{self.attribute} of {self.path} returns {type(made).__name__}, not a "
                "torch.nn.Module"
            )
        return made

    def maker(self) -> Callable[..., Any]:
        """Import the code, once in each process, and return the class or function.

        Raises:
            BadInputError: it cannot be imported, or differs from the code that was hashed.
        """
        if self.module:
            module = _installed(self.module, self.path)
            if self.content != _package_hash(module):
                raise BadInputError(
                    f"{self.path}: the package of {self.module} differs from the one of the "
                    "experiment; install the same one"
                )
        else:
            module = _imported(self)
        return _attribute(module, self.attribute, self.path)


def read(file: Path, attribute: str, place: str) -> Code:
    """Read a file and import it.

    Args:
        file: its path.
        attribute: the name of a class or function in it.
        place: what names it, for errors.

    Raises:
        BadInputError: it cannot be read or imported, or has no such class or function.
    """
    code = _code(file, attribute, place)
    code.maker()
    return code


def networks_in(file: Path, place: str) -> list[str]:
    """Return the names in a file that build a network from channels and classes alone.

    Raises:
        BadInputError: it cannot be read or imported.
    """
    return _candidates(_imported(_code(file, "", place)))


def _code(file: Path, attribute: str, place: str) -> Code:
    try:
        content = file.read_bytes()
        source = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(
            f"{place}: {file} cannot be read ({reason}); give a Python file (.py)"
        ) from error
    return Code(attribute, hashlib.sha256(content).hexdigest()[:16], str(file.absolute()), source)


def packaged() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the networks of installed packages, by name."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def of_package(entry: importlib.metadata.EntryPoint, place: str) -> Code:
    """Import a network of an installed package.

    Raises:
        BadInputError: it cannot be imported; names ``place``.
    """
    module = _installed(entry.module, f"{place}: {entry.name}")
    path = str(getattr(module, "__file__", entry.module))
    _attribute(module, entry.attr, f"{place}: {path}")
    return Code(entry.attr, _package_hash(module), path, module=entry.module)


def refuse_unknown(maker: Callable[..., Any], names: Mapping[str, Any], place: str) -> None:
    """Refuse arguments that a function does not take, and those that the data set decides.

    Raises:
        BadInputError: names ``place``, the argument and similar ones.
    """
    known = _parameters(maker)
    open_ended = any(each.kind is each.VAR_KEYWORD for each in known.values())
    own = [name for name in known if name not in (*CHANNELS, *CLASSES)]
    for name in names:
        if name in (*CHANNELS, *CLASSES):
            raise BadInputError(f"{place}.{name}: the data set decides it; remove it")
        if name not in own and not open_ended:
            others = nearest(name, own) if own else "it takes none"
            raise BadInputError(f"{place}.{name}: no argument of this network; {others}")


def _given(maker: Callable[..., Any], channels: int, classes: int) -> dict[str, int]:
    known = _parameters(maker)
    given: dict[str, int] = {}
    for names, value in ((CHANNELS, channels), (CLASSES, classes)):
        given |= dict.fromkeys([name for name in names if name in known][:1], value)
    if not given and any(each.kind is each.VAR_KEYWORD for each in known.values()):
        return {"channels": channels, "classes": classes}
    return given


def _parameters(maker: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(maker).parameters
    except (ValueError, TypeError):  # made in C
        return {}


def _candidates(module: ModuleType) -> list[str]:
    found = []
    for name, member in vars(module).items():
        own = getattr(member, "__module__", None) == module.__name__
        is_network = inspect.isclass(member) and issubclass(member, nn.Module)
        if name.startswith("_") or not own or not (is_network or inspect.isfunction(member)):
            continue
        needed = [
            key
            for key, each in _parameters(member).items()
            if each.default is each.empty
            and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        ]
        takes = set(_parameters(member)) & {*CHANNELS, *CLASSES}
        if set(needed) <= {*CHANNELS, *CLASSES} and (takes or is_network):
            found.append(name)
    return found


def _attribute(module: ModuleType, name: str, place: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if found is None:
        known = _candidates(module)
        hint = nearest(name, known) if known else "it defines none"
        raise BadInputError(f"{place}: has no network {name!r}; {hint}")
    if not callable(found):
        raise BadInputError(f"{place}: {name} is {type(found).__name__}, not a class or function")
    return found  # type: ignore[no-any-return]


_modules: dict[str, ModuleType] = {}
"""Imported files of this process, by the hash of their text."""


def _imported(code: Code) -> ModuleType:
    """Execute a file's text as a module, once for each text."""
    if code.content not in _modules:
        _modules[code.content] = _executed(code)
    return _modules[code.content]


def _executed(code: Code) -> ModuleType:
    module = ModuleType(f"ssbench_model_file_{Path(code.path).stem}_{code.content}")
    module.__file__ = code.path
    before = set(sys.modules)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    lines = code.source.splitlines(keepends=True)
    linecache.cache[code.path] = (len(code.source), None, lines, code.path)
    try:
        exec(compile(code.source, code.path, "exec"), module.__dict__)  # noqa: S102 -- a user's own
    except Exception as error:  # a user's file may raise anything
        del sys.modules[module.__name__]
        beside = isinstance(error, ModuleNotFoundError) and _beside(code, f"{error.name}.py")
        more = f"; {_ALONE}" if beside else ""
        raise BadInputError(f"{code.path}: cannot be imported: {located(error)}{more}") from error
    _refuse_neighbours(code, set(sys.modules) - before)
    return module


def _beside(code: Code, name: str) -> bool:
    return (Path(code.path).parent / name).is_file()


def _refuse_neighbours(code: Code, new: set[str]) -> None:
    """Refuse modules of the file's own folder: no hash would notice that they change."""
    folder = Path(code.path).parent
    for name in sorted(new):
        file = Path(str(getattr(sys.modules[name], "__file__", None) or "/"))
        others = "site-packages" in file.parts or name.startswith(("ssbench.", "ssbench_"))
        if file.is_relative_to(folder) and not others:
            for each in new:
                del sys.modules[each]
            raise BadInputError(f"{code.path}: imports {file.name} beside it; {_ALONE}")


def _installed(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a package may raise anything
        raise BadInputError(f"{place}: cannot be imported: {located(error)}") from error


def _package_hash(module: ModuleType) -> str:
    """Return a hash of all Python files of a module's package, or of the module alone."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    folders = [Path(place) for place in getattr(top, "__path__", [])]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    digest = hashlib.sha256()
    for file in files or [Path(str(module.__file__))]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
