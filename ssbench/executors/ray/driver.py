"""Keeps a Ray cluster busy: tasks out, tensors and records in, and what was lost out again.

A task that is lost with its process or its node is given out again from here, with its parent's
tensors from the store if need be. Ray's own retries would train the parents anew to get these back.
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
"""How often a stage is given out before it has failed: processes and nodes may die."""
LOOK_SECONDS = 10.0
"""How often is looked for nodes that have joined or left."""
_GO_ON = "stages under way are finished and kept (Ctrl-C ends them too)"
Ref = Any
"""Refers to an object in Ray's store; where Ray is not installed, it has no type."""


@dataclass(frozen=True)
class _Task:
    """A stage under way; ``tensors`` refers to what it will leave."""

    stage: Stage
    tensors: Ref


class RayDriver:
    """Gives out stages, a few more than the cluster can carry out at once.

    Args:
        ray: the module, connected to a cluster.
        clerk: knows what is to do, and writes down what comes of it.
        orders: for the tasks.
        share: what each of them takes of a node.
        most: so many at once; None: as many as the cluster carries, and a few that wait there.
    """

    def __init__(
        self, ray: Any, clerk: Coordinator, orders: Orders, share: Share, most: int | None
    ) -> None:
        self._ray, self._clerk, self._share, self._most = ray, clerk, share, most
        self._orders = replace(orders, threads=share.cpus)
        options = {"num_returns": 2, "max_retries": 0, **share.options()}
        self._submit = ray.remote(**options)(carry_out).remote
        # The process of a method that does not ship with ssbench ends with its stage.
        self._submit_alone = ray.remote(**options | {"max_calls": 1})(carry_out).remote
        self._shelf = _TensorRefs(ray, clerk.store, stages(clerk.left))
        self._tasks: dict[Ref, _Task] = {}
        self._stages: dict[str, Stage] = {}
        self._given, self._heard = Counter[str](), dict[str, int]()
        self._slots, self._looked = 0, -LOOK_SECONDS
        self._refused = ""
        self._locked: dict[str, ExitStack] = {}

    def run(self) -> None:
        """Carry out every stage that is missing.

        Raises:
            BadInputError: a worker found the input at fault (what others were at has been
                finished), or no node can carry out a stage.
        """
        letters = self._orders.letterbox.collect.remote()
        try:
            while self._tasks or (self._clerk.goes_on(busy=False) and not self._refused):
                if not self._refused:
                    self._give_out()
                wanted = [letters, *self._tasks]
                seconds = PATIENCE if self._clerk.waits else LOOK_SECONDS
                found, _ = self._ray.wait(wanted, timeout=seconds, fetch_local=False)
                if found == [letters]:
                    self._read(self._ray.get(letters))
                    letters = self._orders.letterbox.collect.remote()
                elif found:
                    self._take_in(found[0])
            # Else the call that waits for letters would be reported as lost.
            self._orders.letterbox.post.remote(ProgressMessage(""))
            self._ray.wait([letters], timeout=LOOK_SECONDS)
        finally:
            for ref in self._tasks:
                self._ray.cancel(ref, force=True)
            for lock in self._locked.values():
                lock.close()
        if self._refused:
            raise BadInputError(self._refused)

    def _give_out(self) -> None:
        limit = self._limit()
        while (ready := self._clerk.schedule.ready) and len(self._tasks) < limit:
            stage = ready.popleft()
            if not self._is_ours(stage):
                continue
            try:
                before = self._shelf.before(stage)
            except DamagedError as error:
                self._unlock(stage)
                self._compute_anew(stage, error)
                continue
            self._given[stage.id] += 1
            self._stages[stage.id] = stage
            module = foreign_module(stage)
            submit = self._submit_alone if module else self._submit
            orders = replace(self._orders, method_module=module)
            report, tensors = submit(orders, pickle.dumps(stage), before)
            self._tasks[report] = _Task(stage, tensors)

    def _is_ours(self, stage: Stage) -> bool:
        """Lock a stage; false where another process is at it, has finished it or seen it fail."""
        if stage.id in self._locked:  # from an attempt that was lost
            return True
        if self._clerk.passes_over(stage):
            self._shelf.used(stage)
            return False
        lock = ExitStack()
        try:
            lock.enter_context(self._clerk.store.lock(stage.id))
        except BusyError as busy:
            self._clerk.busy(stage, busy.holder)
            return False
        self._locked[stage.id] = lock
        if self._clerk.store.has(stage.id):
            self._unlock(stage)
            self._shelf.used(stage)
            self._clerk.done(stage)
            return False
        return True

    def _unlock(self, stage: Stage) -> None:
        self._locked.pop(stage.id).close()

    def _compute_anew(self, stage: Stage, error: DamagedError) -> None:
        """Put a stage off until its parent, which is damaged or gone, has been computed again."""
        parent = stage.parent
        assert parent is not None  # else there is nothing to be damaged
        self._clerk.observer.warn(f"{error.told}; computed anew")
        self._clerk.store.remove(parent.id)
        self._heard.pop(parent.id, None)
        self._clerk.schedule.again(parent, stage)

    def _limit(self) -> int:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._slots = self._share.slots(self._ray.nodes())
            if not self._slots and not self._tasks:
                raise BadInputError(
                    f"no node of the Ray cluster has {self._share}, which a stage needs; see `ray "
                    "status`, and start nodes that have"
                )
        return self._most or self._slots + self._slots // 4 + 1

    def _read(self, letters: Iterable[ProgressMessage]) -> None:
        for letter in letters:
            stage = self._stages.get(letter.stage)
            if stage is not None:  # else it has come home already
                self._tell(stage, letter.epochs)

    def _tell(self, stage: Stage, epochs: Iterable[Epoch]) -> None:
        """Tell of those epochs that are new: a letter may come late, or from a second attempt."""
        if stage.id not in self._heard:
            self._heard[stage.id] = 0
            self._clerk.began(stage)
        for epoch in epochs:
            if epoch.number > self._heard[stage.id]:
                self._heard[stage.id] = epoch.number
                self._clerk.epoch(stage, epoch)

    def _take_in(self, ref: Ref) -> None:
        """Take note of how a task ended."""
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
        self._clerk.store.save(task.stage.id, load(content), report.record)
        self._shelf.put(task.stage, task.tensors)
        self._close(task.stage)
        self._clerk.done(task.stage)

    def _lost(self, stage: Stage, error: Exception) -> None:
        """Give a stage out again whose task or tensors were lost, unless that happens for ever."""
        if self._refused:
            return
        errors = self._ray.exceptions
        cause = getattr(error, "cause", None)
        if isinstance(error, errors.RayTaskError) and not isinstance(cause, errors.RayError):
            self._refuse(
                f"a Ray worker cannot begin ({type(cause).__name__}: {cause}); install the same "
                "ssbench and libraries on every node"
            )
            return
        self._shelf.lose(stage.parent)
        if self._given[stage.id] < ATTEMPTS:
            self._clerk.schedule.ready.appendleft(stage)
            return
        how = str(error).strip().splitlines()[0]
        reason = f"the worker was lost {ATTEMPTS} times ({type(error).__name__}: {how})"
        self._fail(stage, f"{stage.kind}: {reason}", {})

    def _refuse(self, message: str) -> None:
        """Begin nothing more; what others are at may have taken hours, and is waited for."""
        if self._refused:
            return
        self._refused = message
        waiting = [ref for ref, task in self._tasks.items() if task.stage.id not in self._heard]
        for ref in waiting:
            self._ray.cancel(ref, force=True)
        if len(self._tasks) > len(waiting):
            self._clerk.observer.warn(f"{message}. Nothing more is begun; {_GO_ON}")

    def _fail(self, stage: Stage, reason: str, facts: Mapping[str, Any]) -> None:
        self._tell(stage, ())
        self._close(stage)
        self._clerk.failed(stage, reason, facts)

    def _close(self, stage: Stage) -> None:
        self._unlock(stage)
        self._shelf.used(stage)
        del self._stages[stage.id]


class _TensorRefs:
    """The tensors of finished stages that are in Ray's store, as long as a stage needs them."""

    def __init__(self, ray: Any, store: CheckpointStore, missing: Iterable[Stage]) -> None:
        self._ray, self._store = ray, store
        todo = [stage for stage in missing if stage.parent and not store.has(stage.id)]
        self._left = Counter(stage.parent.id for stage in todo if stage.parent)
        self._refs: dict[str, Ref] = {}

    def before(self, stage: Stage) -> Ref | bytes:
        """What a stage begins with: refers to its parent's tensors, from the store if need be."""
        if stage.parent is None:
            return b""
        if stage.parent.id not in self._refs:
            packed = pack(self._store.tensors(stage.parent.id))
            self._refs[stage.parent.id] = self._ray.put(packed)
        return self._refs[stage.parent.id]

    def put(self, stage: Stage, tensors: Ref) -> None:
        """Keep a stage's tensors, if another builds on it."""
        if self._left[stage.id]:
            self._refs[stage.id] = tensors

    def used(self, stage: Stage) -> None:
        """Note that a stage is finished, or given up; its parent's tensors may be released."""
        if stage.parent is not None:
            self._left[stage.parent.id] -= 1
            if not self._left[stage.parent.id]:
                self._refs.pop(stage.parent.id, None)

    def lose(self, parent: Stage | None) -> None:
        """Take a stage's tensors from the store again when they are next needed."""
        if parent is not None:
            self._refs.pop(parent.id, None)
