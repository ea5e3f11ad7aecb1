"""State that all methods of a process share: torch's settings, functions, the working folder.

    with unchanged("attach of lasso"):
        method.attach(model)  # a changed default dtype is put back, and the method fails

A method that changed any of it would change the results of all others.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch.nn.modules import module as torch_module

from ssbench.errors import BadInputError, RunFailedError
from ssbench.method.shared_settings import AT_EVERY_HOOK, AT_EVERY_STEP, restored
from ssbench.training.interrupt import STOP

_THREADED = ("torch", "multiprocessing", "concurrent", "tqdm", "rich")
_TORCH = os.path.join(os.path.dirname(torch.__file__), "")  # noqa: PTH118, PTH120 -- as in code


class GlobalStateError(RunFailedError):
    """A method changed state that all methods share."""


@dataclass(frozen=True)
class Snapshot:
    """The shared state at one moment."""

    values: tuple[Any, ...]
    threads: frozenset[threading.Thread]
    functions: tuple[tuple[Any, dict[str, Any]], ...]

    @classmethod
    def take(cls) -> Snapshot:
        """Record everything."""
        values = tuple(setting.get() for setting in (*AT_EVERY_STEP, *AT_EVERY_HOOK))
        functions = tuple((place, _functions(place)) for place in _places())
        return cls(values, frozenset(threading.enumerate()), functions)

    def restore(self) -> list[str]:
        """Restore what changed since, and return its names."""
        changed = []
        for setting, before in zip((*AT_EVERY_STEP, *AT_EVERY_HOOK), self.values, strict=True):
            changed += restored(setting, before)
        for place, before in self.functions:
            changed += _unpatched(place, before)
        started = [t for t in set(threading.enumerate()) - self.threads if _is_of_a_method(t)]
        return changed + [f"the threads of the process ({t.name} still runs)" for t in started]


def _is_of_a_method(thread: threading.Thread) -> bool:
    """Whether a method started the thread, not a library that reads images or shows progress."""
    target = getattr(thread, "_target", None)
    module = str(getattr(target, "__module__", None) or type(thread).__module__)
    return module.partition(".")[0] not in _THREADED


@cache
def _torch_places() -> tuple[Any, ...]:
    """Return torch's modules and classes whose functions every training calls."""
    modules = [torch, torch.nn.functional, torch.nn.init, torch.autograd, torch.nn, torch.optim]
    classes = {torch.Tensor, torch.nn.Module, torch.nn.Parameter}
    for module in (torch.nn, torch.optim, torch_module):
        classes |= {value for value in vars(module).values() if isinstance(value, type)}
    return (*modules, *sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__)))


def _places() -> tuple[Any, ...]:
    """Return torch's places, and the loaded modules of ssbench with their classes."""
    ours: list[Any] = []
    for name, module in sorted(sys.modules.items()):
        if name.startswith("ssbench.") and isinstance(module, ModuleType):
            own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == name]
            ours += [module, *own]
    return (*_torch_places(), *ours)


def _functions(place: Any) -> dict[str, Any]:
    """Return the callables of a module or class by name, as stored."""
    kinds = (staticmethod, classmethod, property)
    return {k: v for k, v in vars(place).items() if callable(v) or isinstance(v, kinds)}


def _unpatched(place: Any, before: dict[str, Any]) -> list[str]:
    """Restore the functions of a module or class, and remove those added to a class."""
    now = vars(place)
    changed = [
        name
        for name, function in before.items()
        if now.get(name) is not function and not _is_of_torch(now.get(name))
    ]
    added = set(_functions(place)) - set(before) if isinstance(place, type) else set()
    added = {name for name in added if not _is_of_torch(now[name])}
    for name in changed:
        setattr(place, name, before[name])
    for name in added:
        delattr(place, name)
    owner = place.__name__ if isinstance(place, ModuleType) else _called(place)
    return [f"{owner}.{name}" for name in (*changed, *sorted(added))]


def _is_of_torch(function: Any) -> bool:
    """Whether a function is torch's, which wraps some of its own functions at first use."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(_TORCH)


def _called(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@contextmanager
def unchanged(what: str, forgiven: tuple[str, ...] = ()) -> Iterator[None]:
    """Fail if the body changes state that methods share; restore that state.

    Args:
        what: the suspect, for the message.
        forgiven: names of settings to restore silently.

    Raises:
        GlobalStateError: the body changed something; replaces an exception of the body, which may
            be a consequence.
    """
    before, failed = Snapshot.take(), False
    try:
        yield
    except BaseException as error:
        failed = STOP.wanted(error)
        raise
    finally:
        changed = [each for each in before.restore() if not each.startswith(forgiven)]
        if changed and not failed:
            raise GlobalStateError(_message(what, changed))


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Import a method's file, or make a method, in a process that has other work.

    Restores environment variables, which imported libraries may set.

    Raises:
        BadInputError: the body would end the process, or changed state that methods share.
    """
    real = os._exit, os.abort

    def refuse(*_: object) -> None:
        raise BadInputError(f"{what} would end the process (os._exit or os.abort); take that out")

    try:
        os._exit = os.abort = refuse  # type: ignore[assignment]
        with unchanged(what, ("environment variables",)):
            yield
    except GlobalStateError as error:
        raise BadInputError(str(error)) from error
    except Exception:
        raise
    except BaseException as error:
        if STOP.wanted(error):
            raise
        cause = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise BadInputError(f"{what} would end the process ({cause}); take that out") from error
    finally:
        os._exit, os.abort = real


def quick() -> tuple[Any, ...]:
    """Return the state to compare at every step of a training."""
    return tuple(setting.get() for setting in AT_EVERY_STEP)


def check_quickly(what: str, before: tuple[Any, ...]) -> None:
    """Compare with the result of `quick`; restore what differs.

    Raises:
        GlobalStateError: something differs.
    """
    if quick() != before:
        pairs = zip(AT_EVERY_STEP, before, strict=True)
        changed = [name for setting, value in pairs for name in restored(setting, value)]
        raise GlobalStateError(_message(what, changed))


def _message(what: str, changed: list[str]) -> str:
    named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return (
        f"{what} changed {named}, which all methods share; change nothing outside of the network "
        "that the method is given, or put it back before the hook returns"
    )
