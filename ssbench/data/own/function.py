"""A function that returns arrays as a data set: ``my_data.py:load``.

def load():
    return {"x_train": images, "y_train": labels, "x_test": more_images, "y_test": more_labels}

`ssbench.data.own.arrays` has the rules for the arrays.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssbench.data.dataset import DataSet
from ssbench.data.held_back import files_opened
from ssbench.data.own.arrays import arrays
from ssbench.data.own.assemble import assemble
from ssbench.data.own.settings import Request
from ssbench.data.picture import shown
from ssbench.errors import BadInputError, nearest


def function(request: Request) -> DataSet:
    """Call the function, and read what it returns.

    Raises:
        BadInputError: there is no such function, it fails, or an array breaks a rule.
    """
    with files_opened() as opened:
        found = _called(request)
    parts = arrays(found, request, "function")
    return assemble(request, replace(parts, places=tuple(_of_data(opened))))


def _called(request: Request) -> Mapping[str, Any]:
    path, name, place = request.path, request.function, request.place
    try:
        call = _functions(path, place).get(name)
        found = call() if call else None
    except BadInputError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise BadInputError(f"{place}: {_where(error, path)}") from error
    if call is None:
        known = nearest(name, _functions(path, place))
        raise BadInputError(f"{place}: {shown(path)} defines no function {name!r}; {known}")
    if not isinstance(found, Mapping):
        raise BadInputError(
            f"{place}: {shown(path)}: {name} returned {type(found).__name__}; return a dictionary "
            "with x_train, y_train, and if there are any x_val, y_val, x_test, y_test"
        )
    return found


def _functions(path: Path, place: str) -> dict[str, Callable[[], Any]]:
    """Run the file, and return the functions that it defines and that need no argument."""
    if not path.is_file():
        raise BadInputError(f"{place}: {shown(path)} does not exist; name a file with a function")
    name = f"ssbench_data_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInputError(f"{place}: {shown(path)} is no Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    members = inspect.getmembers(module, inspect.isfunction)
    return {each: call for each, call in members if call.__module__ == name and _simple(call)}


def _simple(call: Callable[..., Any]) -> bool:
    """Whether a function can be called without arguments."""
    parameters = inspect.signature(call).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    return not required and not call.__name__.startswith("_")


def _where(error: Exception, path: Path) -> str:
    """Return the error's text, and the last line of the user's file that led to it."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    line = next((f.lineno for f in reversed(frames) if Path(f.filename) == path), None)
    place = shown(path) if line is None else f"{shown(path)}, line {line}"
    return f"{place}: {type(error).__name__}: {error}"


def _of_data(opened: set[str]) -> list[Path]:
    """Return the files that a function read, without those of Python and its libraries."""
    own = [path for path in opened if not path.startswith(_SYSTEM)]
    return [Path(path) for path in own if Path(path).suffix not in _CODE and Path(path).is_file()]


_SYSTEM = tuple({sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/etc", "/usr/lib"})
_CODE = {".py", ".pyc", ".so", ".pyi"}
"""A method may lie in the same file as the function."""
