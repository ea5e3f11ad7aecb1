"""What all methods of a process share: torch's settings, patched functions, the working folder.

    with unchanged("attach of lasso"):
        method.attach(model)  # a changed default dtype is put back, and the method fails

A method that changed any of it would change the rows of all others.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch.nn.modules import module as torch_module

from ssbench.errors import BadInputError, RunFailedError
from ssbench.training.interrupt import STOP

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM)
_LIMITS = tuple(getattr(resource, name) for name in sorted(dir(resource)) if "RLIMIT_" in name)
_THREADED = ("torch", "multiprocessing", "concurrent", "tqdm", "rich")
_TORCH = os.path.join(os.path.dirname(torch.__file__), "")  # noqa: PTH118, PTH120 -- as in code
_HOOKS = tuple(
    hooks
    for name, hooks in sorted(vars(torch_module).items())
    if name.startswith("_global_") and isinstance(hooks, dict)
)
"""Of `torch.nn.Module`: by number, functions that are called for the modules of all networks."""


class GlobalStateError(RunFailedError):
    """A method changed what it shares with all others."""


@dataclass(frozen=True)
class _Setting:
    """One thing that methods share.

    Attributes:
        name: as a message names it.
        get: its value now.
        put: puts a value back; None where that cannot be done.
        fails: whether a change fails the method; else it is put back without a word.
    """

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object] | None = None
    fails: bool = True


def _put_limits(limits: tuple[tuple[int, int], ...]) -> None:
    for number, (soft, _) in zip(_LIMITS, limits, strict=True):
        hard = resource.getrlimit(number)[1]  # only root can raise this one
        endless = resource.RLIM_INFINITY
        fits = hard == endless or (soft != endless and soft <= hard)
        resource.setrlimit(number, (soft if fits else hard, hard))


def _environment() -> dict[str, str]:
    # torch itself sets these when it first compiles, or makes an optimiser.
    return {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR_")}


def _put_environment(variables: dict[str, str]) -> None:
    for name in set(_environment()) - set(variables):
        del os.environ[name]
    os.environ.update(variables)


def _put_handlers(handlers: tuple[Any, ...]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in zip(_SIGNALS, handlers, strict=True):
            signal.signal(number, handler)


def _put_hooks(before: tuple[tuple[int, ...], ...]) -> None:
    for hooks, kept in zip(_HOOKS, before, strict=True):
        for number in set(hooks) - set(kept):
            del hooks[number]


def _put_filters(filters: list[Any]) -> None:
    if warnings.filters != filters:
        warnings.filters[:] = filters  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]


_SETTINGS = (
    _Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Setting(
        "the default device or a torch function mode",
        torch._C._len_torch_function_stack,
        lambda _: torch.set_default_device(None),
    ),
    _Setting("whether gradients are computed", torch.is_grad_enabled, torch.set_grad_enabled),
    _Setting("inference mode", torch.is_inference_mode_enabled),
    _Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting("global hooks of torch.nn.Module", lambda: tuple(map(tuple, _HOOKS)), _put_hooks),
)
"""What is looked at at every step of a training; that takes some microseconds."""
_MORE = (
    _Setting(
        "autocast",
        lambda: (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        lambda on: [torch.set_autocast_enabled(*p) for p in zip(("cpu", "cuda"), on, strict=True)],
    ),
    _Setting(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    _Setting(
        "the precision of matrix products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    _Setting(
        "the flags of torch.backends",
        lambda: (*_flags(torch.backends.cudnn), *_flags(torch.backends.mkldnn)),
    ),
    _Setting("the working folder", os.getcwd, os.chdir),
    _Setting("environment variables", _environment, _put_environment),
    _Setting("limits of the process", lambda: tuple(map(resource.getrlimit, _LIMITS)), _put_limits),
    _Setting("signal handlers", lambda: tuple(map(signal.getsignal, _SIGNALS)), _put_handlers),
    _Setting("warnings filters", lambda: list(warnings.filters), _put_filters, fails=False),
)


def _flags(backend: Any) -> tuple[Any, ...]:
    names = ("enabled", "deterministic", "benchmark", "allow_tf32")
    return tuple(getattr(backend, name, None) for name in names)


@dataclass(frozen=True)
class Snapshot:
    """The shared state at one moment."""

    values: tuple[Any, ...]
    threads: frozenset[threading.Thread]
    functions: tuple[tuple[Any, dict[str, Any]], ...]

    @classmethod
    def take(cls) -> Snapshot:
        """Note everything."""
        values = tuple(setting.get() for setting in (*_SETTINGS, *_MORE))
        functions = tuple((place, _functions(place)) for place in _places())
        return cls(values, frozenset(threading.enumerate()), functions)

    def restore(self) -> list[str]:
        """Put back what is different now, and say in words what that was."""
        changed = []
        for setting, before in zip((*_SETTINGS, *_MORE), self.values, strict=True):
            changed += _restored(setting, before)
        for place, before in self.functions:
            changed += _unpatched(place, before)
        started = [t for t in set(threading.enumerate()) - self.threads if _is_of_a_method(t)]
        return changed + [f"the threads of the process ({t.name} still runs)" for t in started]


def _is_of_a_method(thread: threading.Thread) -> bool:
    """Whether no library that reads images or shows progress has started it."""
    target = getattr(thread, "_target", None)
    module = str(getattr(target, "__module__", None) or type(thread).__module__)
    return module.partition(".")[0] not in _THREADED


def _restored(setting: _Setting, before: Any) -> list[str]:
    try:
        now = setting.get()
    except OSError:  # the working folder was removed
        now = None
    if now == before:
        return []
    if setting.put:
        setting.put(before)
    said = setting.name
    if isinstance(before, str | int | float | torch.dtype) and "mode" not in said:
        said += f" ({before} became {now})"
    return [said] if setting.fails else []


@cache
def _torch_places() -> tuple[Any, ...]:
    """Modules and classes of torch whose functions every training and evaluation calls."""
    modules = [torch, torch.nn.functional, torch.nn.init, torch.autograd, torch.nn, torch.optim]
    classes = {torch.Tensor, torch.nn.Module, torch.nn.Parameter}
    for module in (torch.nn, torch.optim, torch_module):
        classes |= {value for value in vars(module).values() if isinstance(value, type)}
    return (*modules, *sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__)))


def _places() -> tuple[Any, ...]:
    """These, and the modules of ssbench that are loaded with the classes that they define."""
    ours: list[Any] = []
    for name, module in sorted(sys.modules.items()):
        if name.startswith("ssbench.") and isinstance(module, ModuleType):
            own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == name]
            ours += [module, *own]
    return (*_torch_places(), *ours)


def _functions(place: Any) -> dict[str, Any]:
    """By name, what can be called there, as it is stored."""
    kinds = (staticmethod, classmethod, property)
    return {k: v for k, v in vars(place).items() if callable(v) or isinstance(v, kinds)}


def _unpatched(place: Any, before: dict[str, Any]) -> list[str]:
    """Put back the functions of a module or class; a class may not have got new ones either."""
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
    """Whether torch wrote it, which wraps some of its own functions when they are first used."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(_TORCH)


def _called(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@contextmanager
def unchanged(what: str, forgiven: tuple[str, ...] = ()) -> Iterator[None]:
    """Within it nothing may be changed that methods share; what is changed is put back.

    Args:
        what: who would have changed it, for the message.
        forgiven: names of settings that are put back without a word.

    Raises:
        GlobalStateError: something was changed; instead of what was raised within, as that may
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
            raise GlobalStateError(_said(what, changed))


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Within it a method's file is imported, or a method made, in a process that has other work.

    Libraries that a file imports may set environment variables; these are put back.

    Raises:
        BadInputError: it would end the process, or changed what methods share.
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
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise BadInputError(f"{what} would end the process ({said}); take that out") from error
    finally:
        os._exit, os.abort = real


def quick() -> tuple[Any, ...]:
    """What is compared at every step of a training."""
    return tuple(setting.get() for setting in _SETTINGS)


def check_quickly(what: str, before: tuple[Any, ...]) -> None:
    """Compare with what `quick` returned; put it back where it differs.

    Raises:
        GlobalStateError: it differs.
    """
    if quick() != before:
        pairs = zip(_SETTINGS, before, strict=True)
        changed = [said for setting, value in pairs for said in _restored(setting, value)]
        raise GlobalStateError(_said(what, changed))


def _said(what: str, changed: list[str]) -> str:
    named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return (
        f"{what} changed {named}, which all methods share; change nothing outside of the network "
        "that the method is given, or put it back before the hook returns"
    )
