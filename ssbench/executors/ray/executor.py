"""Run stages as tasks of a Ray cluster, on one machine or many.

Tensors move between stages through Ray's object store, so the nodes share no disk. Only this
process writes: checkpoints when stages finish, and records. If a process or node dies, its task is
submitted again, with the parent's tensors from the store if necessary. Ray's own retries would
train the parents again to get these tensors.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from safetensors.torch import load

from ssbench.errors import BadInputError, DamagedError
from ssbench.executors.capacity import cores
from ssbench.executors.protocol import (
    Began,
    Busy,
    Done,
    Executor,
    Failed,
    Halted,
    Job,
    Message,
    Orphaned,
    Refused,
    Report,
    Where,
)
from ssbench.executors.ray.cluster import joined, reach
from ssbench.executors.ray.mailbox import ProgressMessage
from ssbench.executors.ray.orders import most, prepare
from ssbench.executors.ray.task import Finished, carry_out, pack
from ssbench.experiment.plan import stages
from ssbench.experiment.stage import Run, Stage
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch

ATTEMPTS = 4
"""How many times to submit a stage before it counts as failed; processes and nodes may die."""
LOOK_SECONDS = 10.0
"""Seconds between two checks for nodes that joined or left."""
Ref = Any
"""A reference to an object in Ray's store; without a type, because Ray is optional."""


@dataclass(frozen=True)
class _Task:
    """A running stage; ``tensors`` refers to its result."""

    stage: Stage
    tensors: Ref


class RayExecutor(Executor):
    """Submits stages, a few more than the cluster can run at once, unless a number is asked for."""

    takes = frozenset({"concurrency", "address"})
    elsewhere = True

    @classmethod
    def check(cls, where: Where) -> None:
        """Check that Ray is installed and the cluster answers.

        Raises:
            BadInputError: one of these fails, or there are several devices per stage.
        """
        super().check(where)
        if not where.dry_run:
            reach(where.address or "local")

    def __init__(self, job: Job, runs: Sequence[Run], report: Report) -> None:
        self._report, self._store, self._most = report, job.store, most(job.where)
        self._locks: dict[str, ExitStack] = {}
        self._tasks: dict[Ref, _Task] = {}
        self._stages: dict[str, Stage] = {}
        self._given, self._heard = Counter[str](), dict[str, int]()
        self._slots, self._looked, self._refused = 0, -LOOK_SECONDS, False
        with ExitStack() as stack:
            address = job.where.address or "local"
            self._ray = stack.enter_context(joined(address, max(cores(), self._most or 1)))
            orders, self._share = prepare(self._ray, job, runs)
            self._left = stack.pop_all()
        self._orders = replace(orders, threads=self._share.cpus)
        options = {"num_returns": 2, "max_retries": 0, **self._share.options()}
        self._remote = self._ray.remote(**options)(carry_out).remote
        # The process of a method that does not ship with ssbench ends with its stage.
        self._remote_alone = self._ray.remote(**options | {"max_calls": 1})(carry_out).remote
        self._refs = _TensorRefs(self._ray, job.store, stages(list(runs)))
        self._messages = self._orders.mailbox.collect.remote()

    def room(self) -> bool:
        """Whether the cluster has slots for more tasks, or less than a quarter of them waits.

        Raises:
            BadInputError: no node can run a stage.
        """
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._slots = self._share.slots(self._ray.nodes())
            if not self._slots and not self._tasks:
                raise BadInputError(
                    f"no node of the Ray cluster has {self._share}, which a stage needs; see `ray "
                    "status`, and start larger nodes"
                )
        return len(self._tasks) < (self._most or self._slots + self._slots // 4 + 1)

    def submit(self, stage: Stage) -> None:
        """Lock a stage and submit its task, unless another process holds or has finished it."""
        if stage.id not in self._locks:  # else of a lost attempt
            lock = ExitStack()
            try:
                lock.enter_context(self._store.lock(stage.id))
            except BusyError as busy:
                self._report(stage, Busy(busy.holder))
                return
            self._locks[stage.id] = lock
        if self._store.has(stage.id):
            self._end(stage, Done())
            return
        try:
            before = self._refs.before(stage)
        except DamagedError as error:
            assert stage.parent is not None  # without a parent nothing can be damaged
            self._heard.pop(stage.parent.id, None)
            self._unlock(stage)
            self._report(stage, Orphaned(error.told))
            return
        self._given[stage.id] += 1
        self._stages[stage.id] = stage
        module = stage.foreign_module
        submit = self._remote_alone if module else self._remote
        orders = replace(self._orders, method_module=module)
        report, tensors = submit(orders, pickle.dumps(stage), before)
        self._tasks[report] = _Task(stage, tensors)

    def _unlock(self, stage: Stage) -> None:
        self._locks.pop(stage.id).close()

    def collect(self, seconds: float | None) -> None:
        """Wait for progress or the end of a task; a request to stop ends the wait at once."""
        wait = LOOK_SECONDS if seconds is None else min(seconds, LOOK_SECONDS)
        with STOP.at_once():
            first, _ = self._ray.wait([self._messages, *self._tasks], timeout=wait,
                                      fetch_local=False)  # fmt: skip
        if first == [self._messages]:
            self._read(self._ray.get(self._messages))
            self._messages = self._orders.mailbox.collect.remote()
        elif first:
            self._take_in(first[0])

    def _read(self, messages: Iterable[ProgressMessage]) -> None:
        for message in messages:
            stage = self._stages.get(message.stage)
            if stage is not None:  # else it has already ended
                self._tell(stage, message.epochs)

    def _tell(self, stage: Stage, epochs: Iterable[Epoch]) -> None:
        """Report new epochs only: a message may be late, or come from a second attempt."""
        if stage.id not in self._heard:
            self._heard[stage.id] = 0
            self._report(stage, Began(stage))
        for epoch in epochs:
            if epoch.number > self._heard[stage.id]:
                self._heard[stage.id] = epoch.number
                self._report(stage, epoch)

    def _take_in(self, ref: Ref) -> None:
        """Process the end of a task."""
        task = self._tasks.pop(ref)
        try:
            report = self._ray.get(ref)
            content: bytes = self._ray.get(task.tensors) if isinstance(report, Finished) else b""
        except self._ray.exceptions.RayError as error:
            self._lost(task.stage, error)
            return
        if isinstance(report, Refused):
            self._refuse(task.stage, report)
            return
        self._tell(task.stage, report.epochs if isinstance(report, Finished) else ())
        if isinstance(report, Finished):
            self._store.save(task.stage.id, load(content), report.record)
            self._refs.put(task.stage, task.tensors)
        self._end(task.stage, report if isinstance(report, Failed) else Done())

    def _lost(self, stage: Stage, error: Exception) -> None:
        """Resubmit a stage whose task or tensors were lost, up to `ATTEMPTS` times."""
        errors = self._ray.exceptions
        cause = getattr(error, "cause", None)
        if self._refused:
            self._end(stage, Halted())
        elif isinstance(error, errors.RayTaskError) and not isinstance(cause, errors.RayError):
            self._refuse(stage, Refused(
                f"a Ray worker cannot start ({type(cause).__name__}: {cause}); install the same "
                "ssbench and libraries on every node"
            ))  # fmt: skip
        elif self._given[stage.id] < ATTEMPTS:
            self._refs.lose(stage.parent)
            self.submit(stage)
        else:
            how = str(error).strip().splitlines()[0]
            reason = f"the worker was lost {ATTEMPTS} times ({type(error).__name__}: {how})"
            self._tell(stage, ())
            self._end(stage, Failed(f"{stage.kind}: {reason}"))

    def _refuse(self, stage: Stage, message: Refused) -> None:
        """Report that the input is at fault, and cancel the tasks that have not begun."""
        waiting = [ref for ref, t in self._tasks.items() if t.stage.id not in self._heard]
        for ref in () if self._refused else waiting:
            self._ray.cancel(ref, force=True)
            self._end(self._tasks.pop(ref).stage, Halted())
        self._refused = True
        self._end(stage, message)

    def _end(self, stage: Stage, message: Message) -> None:
        self._unlock(stage)
        self._refs.used(stage)
        self._stages.pop(stage.id, None)
        self._report(stage, message)

    def close(self) -> None:
        """Cancel the tasks that still run, and leave the cluster, or stop the one of this call."""
        with self._left:
            # Otherwise Ray would report the pending call of `collect` as lost.
            self._orders.mailbox.post.remote(ProgressMessage(""))
            for ref in self._tasks:
                self._ray.cancel(ref, force=True)
            for lock in self._locks.values():
                lock.close()
            if not self._tasks:
                self._ray.wait([self._messages], timeout=LOOK_SECONDS)


class _TensorRefs:
    """References to the tensors of finished stages in Ray's store, while other stages need them."""

    def __init__(self, ray: Any, store: CheckpointStore, missing: Iterable[Stage]) -> None:
        self._ray, self._store = ray, store
        todo = [stage for stage in missing if stage.parent and not store.has(stage.id)]
        self._left = Counter(stage.parent.id for stage in todo if stage.parent)
        self._refs: dict[str, Ref] = {}

    def before(self, stage: Stage) -> Ref | bytes:
        """Return a reference to the tensors of a stage's parent, from the store if necessary."""
        if stage.parent is None:
            return b""
        if stage.parent.id not in self._refs:
            packed = pack(self._store.tensors(stage.parent.id))
            self._refs[stage.parent.id] = self._ray.put(packed)
        return self._refs[stage.parent.id]

    def put(self, stage: Stage, tensors: Ref) -> None:
        """Keep a stage's tensors if another stage needs them."""
        if self._left[stage.id]:
            self._refs[stage.id] = tensors

    def used(self, stage: Stage) -> None:
        """Note that a stage has ended, and release its parent's tensors after the last child."""
        if stage.parent is not None:
            self._left[stage.parent.id] -= 1
            if not self._left[stage.parent.id]:
                self._refs.pop(stage.parent.id, None)

    def lose(self, parent: Stage | None) -> None:
        """Forget a stage's tensors, so that they are read from the store again."""
        if parent is not None:
            self._refs.pop(parent.id, None)
