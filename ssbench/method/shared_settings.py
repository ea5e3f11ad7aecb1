"""Settings of the process that all methods share, and how to restore each."""

from __future__ import annotations

import os
import resource
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules import module as torch_module

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM)
_LIMITS = tuple(getattr(resource, name) for name in sorted(dir(resource)) if "RLIMIT_" in name)
_HOOKS = tuple(
    hooks
    for name, hooks in sorted(vars(torch_module).items())
    if name.startswith("_global_") and isinstance(hooks, dict)
)
"""Global hooks of `torch.nn.Module`, by number: torch calls them for all modules."""


@dataclass(frozen=True)
class Setting:
    """One piece of shared state.

    Attributes:
        name: for messages.
        get: returns the current value.
        put: restores a value; None if that is impossible.
        fails: whether a change fails the method; otherwise it is restored silently.
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
    # torch sets these itself when it first compiles or makes an optimiser.
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


AT_EVERY_STEP = (
    Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting(
        "the default device or a torch function mode",
        torch._C._len_torch_function_stack,
        lambda _: torch.set_default_device(None),
    ),
    Setting("whether gradients are computed", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("inference mode", torch.is_inference_mode_enabled),
    Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("global hooks of torch.nn.Module", lambda: tuple(map(tuple, _HOOKS)), _put_hooks),
)
"""Compared at every step of a training; that takes some microseconds."""
AT_EVERY_HOOK = (
    Setting(
        "autocast",
        lambda: (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        lambda on: [torch.set_autocast_enabled(*p) for p in zip(("cpu", "cuda"), on, strict=True)],
    ),
    Setting(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    Setting(
        "the precision of matrix products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Setting(
        "the flags of torch.backends",
        lambda: (*_flags(torch.backends.cudnn), *_flags(torch.backends.mkldnn)),
    ),
    Setting("the working folder", os.getcwd, os.chdir),
    Setting("environment variables", _environment, _put_environment),
    Setting("limits of the process", lambda: tuple(map(resource.getrlimit, _LIMITS)), _put_limits),
    Setting("signal handlers", lambda: tuple(map(signal.getsignal, _SIGNALS)), _put_handlers),
    Setting("warnings filters", lambda: list(warnings.filters), _put_filters, fails=False),
)


def _flags(backend: Any) -> tuple[Any, ...]:
    names = ("enabled", "deterministic", "benchmark", "allow_tf32")
    return tuple(getattr(backend, name, None) for name in names)


def restored(setting: Setting, before: Any) -> list[str]:
    """Restore a setting that is not ``before``; return in words what changed."""
    try:
        now = setting.get()
    except OSError:  # the working folder was removed
        now = None
    if now == before:
        return []
    if setting.put:
        setting.put(before)
    change = setting.name
    if isinstance(before, str | int | float | torch.dtype) and "mode" not in change:
        change += f" ({before} became {now})"
    return [change] if setting.fails else []
