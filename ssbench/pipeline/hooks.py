"""Call a method's hooks, and fail it if one changes something outside of its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ssbench.errors import BadInputError, RunFailedError
from ssbench.method.contract import Method, offer
from ssbench.method.global_state import check_quickly, quick, unchanged
from ssbench.pipeline.workbench import Workbench


def call(method: Method, hook: str, model: nn.Module, workbench: Workbench, **facts: object) -> Any:
    """Call a hook with the ``facts`` that it asks for.

    Raises:
        RunFailedError: it changed shared state, or refused its input.
    """
    if not defines(method, hook):
        return offer(getattr(method, hook), model, **facts)
    what = _called(method, hook)
    with unchanged(what), _refusals():
        result = offer(getattr(method, hook), model, **facts)
    workbench.check_data(what)
    return result


@contextmanager
def watched_training(method: Method, workbench: Workbench) -> Iterator[None]:
    """Enclose a training; at its end check that no hook changed shared state.

    Raises:
        RunFailedError: a hook changed something.
    """
    hooks = [hook for hook in ("penalty", "after_step") if defines(method, hook)]
    what = _called(method, " or ".join(hooks) or "what was attached")
    with unchanged(what), _refusals():
        yield
    workbench.check_data(what)


def watched_penalty(
    method: Method, model: nn.Module, **facts: object
) -> Callable[[], Tensor | None]:
    """Return the penalty function with a check of shared state, which costs a microsecond."""
    if not defines(method, "penalty"):
        return lambda: None
    what = _called(method, "penalty")

    def penalty() -> Tensor | None:
        before = quick()
        result: Tensor | None = offer(method.penalty, model, **facts)
        check_quickly(what, before)
        return result

    return penalty


def watched_step(method: Method, step: Callable[[float], None]) -> Callable[[float], None]:
    """Return ``step`` with a check of shared state, which costs a microsecond."""
    if not defines(method, "after_step"):
        return step
    what = _called(method, "after_step")

    def after_step(progress: float) -> None:
        before = quick()
        step(progress)
        check_quickly(what, before)

    return after_step


def defines(method: Method, hook: str) -> bool:
    """Whether a method defines the hook itself."""
    return getattr(type(method), hook, None) is not getattr(Method, hook)


def _called(method: Method, hook: str) -> str:
    return f"{hook} of {type(method).__name__}"


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn a method's bad input into a failure of its run, so that the other runs go on."""
    try:
        yield
    except BadInputError as error:
        raise RunFailedError(str(error)) from error
