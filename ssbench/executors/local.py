"""Run stages in this process, one after the other.

A worker process would do, too. But it takes 4 s to start and 0.5 GB of memory (quickstart cut to
one epoch: 27 s instead of 20 s), a debugger does not reach into it, and it cannot see a cache in
this process's memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.executors.protocol import Executor, Failed, Job, Message, Refused, Report, Warned
from ssbench.executors.stage_runner import StageRunner, run_stage
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.resume import ResumePoints
from ssbench.training.interrupt import STOP


class LocalExecutor(Executor):
    """Runs a stage while `collect` is called."""

    takes = frozenset({"concurrency", "devices"})  # see `ssbench.executors.registry.choose`

    def __init__(self, job: Job, runs: Sequence[Run], report: Report) -> None:
        del runs
        self._report, self._stage, self._lost = report, list[Stage](), False
        partials = ResumePoints(
            job.store.part("partial"), job.workbench.device.type, STOP, job.where.save_every,
            self._warn,
        )  # fmt: skip
        self._runner = StageRunner(job.workbench, job.store, partials, self._warn)

    def _warn(self, text: str) -> None:
        self._report(self._stage[0], Warned(text))

    def room(self) -> bool:
        """Whether no stage waits."""
        return not self._stage

    def submit(self, stage: Stage) -> None:
        """Keep a stage for `collect`."""
        self._stage = [stage]

    def collect(self, seconds: float | None) -> None:
        """Run the stage, however long it takes.

        Raises:
            Stopped: this process must end; the current training has been saved.
        """
        del seconds
        (stage,) = self._stage
        message: Message
        if self._lost:
            message = Refused(
                "the GPU no longer answers this process, or its images were changed, since a stage "
                "failed; start the same command again: it continues with the other runs"
            )
        else:
            with STOP.at_once():
                message = run_stage(self._runner, stage, lambda each: self._report(stage, each))
        self._lost = self._lost or (isinstance(message, Failed) and message.ends)
        self._stage = []
        self._report(stage, message)
