"""Track which stages are ready, and which runs they complete."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from ssbench.experiment.plan import stages
from ssbench.experiment.stage import Run, Stage
from ssbench.storage.checkpoints import CheckpointStore


class Schedule:
    """The missing stages, each once, after its parent.

    Attributes:
        ready: stages that can run now. Children of finished stages come before first stages, so
            that runs finish early.
        finished: the stages that were in the store.
    """

    def __init__(self, runs: Sequence[Run], store: CheckpointStore) -> None:
        every = stages(list(runs))
        missing = {stage.id: stage for stage in every if not store.has(stage.id)}
        self.finished = [stage for stage in every if stage.id not in missing]
        self.ready: deque[Stage] = deque()
        self._after: dict[str, list[Stage]] = defaultdict(list)
        for stage in missing.values():
            if stage.parent and stage.parent.id in missing:
                self._after[stage.parent.id].append(stage)
            else:
                self.ready.append(stage)
        self._runs: dict[str, list[Run]] = defaultdict(list)
        self._left: dict[str, int] = {}
        for run in runs:
            of_run = [stage.id for stage in run.stages if stage.id in missing]
            self._left[run.id] = len(of_run)
            for stage_id in of_run:
                self._runs[stage_id].append(run)

    def complete(self) -> list[str]:
        """Return the ids of runs without a missing stage."""
        return [run for run, left in self._left.items() if left == 0]

    def first_run(self, stage: Stage) -> Run:
        """Return the first run that a missing stage belongs to."""
        return self._runs[stage.id][0]

    def again(self, parent: Stage, stage: Stage) -> None:
        """Postpone a stage until its parent, which had counted as finished, has been repeated."""
        waiting = self._after[parent.id]
        waiting.append(stage)
        if len(waiting) == 1:
            self.ready.appendleft(parent)
        known = self._runs[parent.id]
        for run in self._runs[stage.id]:
            if run not in known:
                known.append(run)
                self._left[run.id] += 1

    def done(self, stage: Stage) -> Iterable[Run]:
        """Note that a stage is finished; yield the runs that it completes."""
        self.ready.extendleft(reversed(self._after.pop(stage.id, [])))
        for run in self._runs.pop(stage.id):
            self._left[run.id] -= 1
            if self._left[run.id] == 0:
                yield run

    def failed(self, stage: Stage) -> list[Run]:
        """Note that a stage failed, and drop its descendants; return the runs that fail."""
        below = self._after.pop(stage.id, [])
        while below:
            below += self._after.pop(below.pop().id, [])
        return self._runs.pop(stage.id)
