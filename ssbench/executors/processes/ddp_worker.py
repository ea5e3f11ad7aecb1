"""A process that runs stages together with others, each on its own device.

All of them train; the first one does everything else, saves the stage and reports.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection

from torch.distributed import DistError

from ssbench.executors.processes.worker import Setup, carry_out, open_runner, serve
from ssbench.executors.protocol import Failed, Message
from ssbench.executors.stage_runner import StageFailedError, StageRunner
from ssbench.experiment.stage import Stage
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.distributed.launch import Place, joined


@dataclass(frozen=True)
class Abandoned(Failed):
    """The stage failed as the other processes no longer answered."""


def work_jointly(setup: Setup, pipe: Connection, place: Place) -> None:
    """Take part in every stage from the pipe, until the other end closes it."""
    with ExitStack() as stack:
        serve(pipe, setup.threads, partial(_begin, setup, pipe, place, stack))


def _begin(
    setup: Setup, pipe: Connection, place: Place, stack: ExitStack
) -> Callable[[Stage], Message | None]:
    kind = setup.device.partition(":")[0]
    spread = stack.enter_context(joined(place, kind))
    device = f"cuda:{place.rank}" if kind == "cuda" else kind
    runner = open_runner(replace(setup, device=device), pipe, spread)
    if spread.helps:
        return partial(_help, runner, CheckpointStore(setup.cache))
    return partial(carry_out, runner, pipe, failed=_failed)


def _help(runner: StageRunner, store: CheckpointStore, stage: Stage) -> Message | None:
    before = store.tensors(stage.parent.id) if stage.parent else {}
    try:
        runner.compute(stage, before, lambda _: None)
    except StageFailedError as failure:
        return _failed(failure)
    return None


def _failed(failure: StageFailedError) -> Failed:
    """Report a failure; `Abandoned` if it is one of the exchange, caused by another process."""
    cause = failure.__cause__
    exchange = isinstance(cause, DistError) or (
        isinstance(cause, RuntimeError) and any(word in str(cause) for word in _EXCHANGES)
    )
    if exchange:
        return Abandoned(
            f"{failure}; another process of this training did not answer", failure.facts
        )
    return Failed(str(failure), failure.facts)


_EXCHANGES = ("gloo", "Gloo", "NCCL", "Connection closed by peer", "Timed out waiting")
