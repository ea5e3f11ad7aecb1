"""Submit stages as Ray tasks, collect results, and resubmit lost tasks.

If a process or node dies, the driver resubmits its task, with the parent's tensors from the store
if necessary. Ray's own retries would train the parents again to get these tensors.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from safetensors.torch import load

from ssbench.errors import BadInputError, DamagedError
from ssbench.executors.coordinator import Coordinator
from ssbench.executors.local import PATIENCE
from ssbench.executors.processes.pool import foreign_module
from ssbench.executors.processes.worker import Failed, Refused
from ssbench.executors.ray.cluster import Share
from ssbench.executors.ray.mailbox import ProgressMessage
from ssbench.executors.ray.task import Finished, Orders, Report, carry_out, pack
from ssbench.experiment.plan import stages
from ssbench.experiment.stage import Stage
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.training.loop import Epoch

ATTEMPTS = 4
"""How many times to submit a stage before it counts as failed; processes and nodes may die."""
LOOK_SECONDS = 10.0
"""Seconds between two checks for nodes that joined or left."""
_GO_ON = "running stages will finish and be kept (Ctrl-C stops them too)"
Ref = Any
"""A reference to an object in Ray's store; without a type, because Ray is optional."""


@dataclass(frozen=True)
class _Task:
    """A running stage; ``tensors`` refers to its result."""

    stage: Stage
    tensors: Ref


class RayDriver:
    """Submits stages, a few more than the cluster can run at once.

    Args:
        ray: the module, connected to a cluster.
        coordinator: supplies the stages, and saves their results.
        orders: for the tasks.
        share: the resources of each task.
        most: maximum number of tasks; None: as many as the cluster can run, and a few that wait.
    """

    def __init__(
        self, ray: Any, coordinator: Coordinator, orders: Orders, share: Share, most: int | None
    ) -> None:
        self._ray, self._coordinator, self._share, self._most = ray, coordinator, share, most
        self._orders = replace(orders, threads=share.cpus)
        options = {"num_returns": 2, "max_retries": 0, **share.options()}
        self._submit = ray.remote(**options)(carry_out).remote
        # The process of a method that does not ship with ssbench ends with its stage.
        self._submit_alone = ray.remote(**options | {"max_calls": 1})(carry_out).remote
        self._refs = _TensorRefs(ray, coordinator.store, stages(coordinator.left))
        self._tasks: dict[Ref, _Task] = {}
        self._stages: dict[str, Stage] = {}
        self._given, self._heard = Counter[str](), dict[str, int]()
        self._slots, self._looked = 0, -LOOK_SECONDS
        self._refused = ""
        self._locked: dict[str, ExitStack] = {}

    def run(self) -> None:
        """Run all missing stages.

        Raises:
            BadInputError: a worker rejected the input (the stages of other workers are finished
                first), or no node can run a stage.
        """
        messages = self._orders.mailbox.collect.remote()
        try:
            while self._tasks or (self._coordinator.goes_on(busy=False) and not self._refused):
                if not self._refused:
                    self._give_out()
                wanted = [messages, *self._tasks]
                seconds = PATIENCE if self._coordinator.waits else LOOK_SECONDS
                found, _ = self._ray.wait(wanted, timeout=seconds, fetch_local=False)
                if found == [messages]:
                    self._read(self._ray.get(messages))
                    messages = self._orders.mailbox.collect.remote()
                elif found:
                    self._take_in(found[0])
            # Otherwise Ray would report the pending call of `collect` as lost.
            self._orders.mailbox.post.remote(ProgressMessage(""))
            self._ray.wait([messages], timeout=LOOK_SECONDS)
        finally:
            for ref in self._tasks:
                self._ray.cancel(ref, force=True)
            for lock in self._locked.values():
                lock.close()
        if self._refused:
            raise BadInputError(self._refused)

    def _give_out(self) -> None:
        limit = self._limit()
        while (ready := self._coordinator.schedule.ready) and len(self._tasks) < limit:
            stage = ready.popleft()
            if not self._is_ours(stage):
                continue
            try:
                before = self._refs.before(stage)
            except DamagedError as error:
                self._unlock(stage)
                self._recompute_parent(stage, error)
                continue
            self._given[stage.id] += 1
            self._stages[stage.id] = stage
            module = foreign_module(stage)
            submit = self._submit_alone if module else self._submit
            orders = replace(self._orders, method_module=module)
            report, tensors = submit(orders, pickle.dumps(stage), before)
            self._tasks[report] = _Task(stage, tensors)

    def _is_ours(self, stage: Stage) -> bool:
        """Lock a stage; False if another process works at it, finished it or saw it fail."""
        if stage.id in self._locked:  # by a lost attempt
            return True
        if self._coordinator.passes_over(stage):
            self._refs.used(stage)
            return False
        lock = ExitStack()
        try:
            lock.enter_context(self._coordinator.store.lock(stage.id))
        except BusyError as busy:
            self._coordinator.busy(stage, busy.holder)
            return False
        self._locked[stage.id] = lock
        if self._coordinator.store.has(stage.id):
            self._unlock(stage)
            self._refs.used(stage)
            self._coordinator.done(stage)
            return False
        return True

    def _unlock(self, stage: Stage) -> None:
        self._locked.pop(stage.id).close()

    def _recompute_parent(self, stage: Stage, error: DamagedError) -> None:
        """Postpone a stage until its damaged or missing parent has been recomputed."""
        parent = stage.parent
        assert parent is not None  # without a parent nothing can be damaged
        self._coordinator.observer.warn(f"{error.told}; computed again")
        self._coordinator.store.remove(parent.id)
        self._heard.pop(parent.id, None)
        self._coordinator.schedule.again(parent, stage)

    def _limit(self) -> int:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._slots = self._share.slots(self._ray.nodes())
            if not self._slots and not self._tasks:
                raise BadInputError(
                    f"no node of the Ray cluster has {self._share}, which a stage needs; see `ray "
                    "status`, and start larger nodes"
                )
        return self._most or self._slots + self._slots // 4 + 1

    def _read(self, messages: Iterable[ProgressMessage]) -> None:
        for message in messages:
            stage = self._stages.get(message.stage)
            if stage is not None:  # else it has already ended
                self._tell(stage, message.epochs)

    def _tell(self, stage: Stage, epochs: Iterable[Epoch]) -> None:
        """Report new epochs only: a message may be late, or come from a second attempt."""
        if stage.id not in self._heard:
            self._heard[stage.id] = 0
            self._coordinator.began(stage)
        for epoch in epochs:
            if epoch.number > self._heard[stage.id]:
                self._heard[stage.id] = epoch.number
                self._coordinator.epoch(stage, epoch)

    def _take_in(self, ref: Ref) -> None:
        """Process the end of a task."""
        task = self._tasks.pop(ref)
        try:
            report: Report = self._ray.get(ref)
            content: bytes = self._ray.get(task.tensors) if isinstance(report, Finished) else b""
        except self._ray.exceptions.RayError as error:
            self._lost(task.stage, error)
            return
        if isinstance(report, Refused):
            self._refuse(report.message)
            return
        if isinstance(report, Failed):
            self._fail(task.stage, report.reason, report.facts)
            return
        self._tell(task.stage, report.epochs)
        self._coordinator.store.save(task.stage.id, load(content), report.record)
        self._refs.put(task.stage, task.tensors)
        self._close(task.stage)
        self._coordinator.done(task.stage)

    def _lost(self, stage: Stage, error: Exception) -> None:
        """Resubmit a stage whose task or tensors were lost, up to `ATTEMPTS` times."""
        if self._refused:
            return
        errors = self._ray.exceptions
        cause = getattr(error, "cause", None)
        if isinstance(error, errors.RayTaskError) and not isinstance(cause, errors.RayError):
            self._refuse(
                f"a Ray worker cannot start ({type(cause).__name__}: {cause}); install the same "
                "ssbench and libraries on every node"
            )
            return
        self._refs.lose(stage.parent)
        if self._given[stage.id] < ATTEMPTS:
            self._coordinator.schedule.ready.appendleft(stage)
            return
        how = str(error).strip().splitlines()[0]
        reason = f"the worker was lost {ATTEMPTS} times ({type(error).__name__}: {how})"
        self._fail(stage, f"{stage.kind}: {reason}", {})

    def _refuse(self, message: str) -> None:
        """Submit no more stages, and wait for the running ones, which may have taken hours."""
        if self._refused:
            return
        self._refused = message
        waiting = [ref for ref, task in self._tasks.items() if task.stage.id not in self._heard]
        for ref in waiting:
            self._ray.cancel(ref, force=True)
        if len(self._tasks) > len(waiting):
            self._coordinator.observer.warn(f"{message}. No more stages are started; {_GO_ON}")

    def _fail(self, stage: Stage, reason: str, facts: Mapping[str, Any]) -> None:
        self._tell(stage, ())
        self._close(stage)
        self._coordinator.failed(stage, reason, facts)

    def _close(self, stage: Stage) -> None:
        self._unlock(stage)
        self._refs.used(stage)
        del self._stages[stage.id]


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
