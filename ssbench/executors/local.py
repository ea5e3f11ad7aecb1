"""Carry out runs one after the other; stages that are finished are taken from the store."""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.executors.hand import Hand, Observer, Outcome, StageFailedError
from ssbench.partial import Partials
from ssbench.record import Record, records
from ssbench.stage import Run
from ssbench.stopping import SAVE_EVERY, STOP
from ssbench.storage import Results, Store
from ssbench.workbench import Bench


class _FailedError(Exception):
    """A stage of a run failed; carries what was measured until then."""

    def __init__(self, measured: list[Record], failure: StageFailedError) -> None:
        super().__init__(str(failure))
        self.measured, self.failure = measured, failure


class _Local:
    def __init__(self, hand: Hand, store: Store, observer: Observer) -> None:
        self.hand, self.store, self.observer = hand, store, observer
        self.failures: dict[str, StageFailedError] = {}

    def run(self, run: Run) -> list[Record]:
        """Carry out what is missing of a run; return its records."""
        measured: list[Record] = []
        for stage in run.stages:
            if stage.id not in self.failures and not self.store.has(stage.id):
                STOP.check()
                self.observer.stage_started(run, stage)
                try:
                    self.hand.carry_out(stage, lambda e, of=stage: self.observer.epoch(of, e))  # type: ignore[misc]
                except StageFailedError as failure:
                    self.failures[stage.id] = failure
                    self.observer.stage_done(stage)
            if stage.id in self.failures:
                raise _FailedError(measured, self.failures[stage.id])
            measured.append(self.store.record(stage.id))
            self.observer.stage_done(stage)
        return records(run, measured)


def execute(
    runs: Sequence[Run],
    bench: Bench,
    store: Store,
    results: Results,
    observer: Observer,
    save_every: float = SAVE_EVERY,
) -> Outcome:
    """Carry out the runs that have no record yet.

    Trainings are saved between two epochs, at most every ``save_every`` seconds.

    Raises:
        Stopped: the process is to end.
    """
    partial = Store(store.folder.parent, "partial")
    partials = Partials(partial, bench.device.type, STOP, save_every, observer.warn)
    partials.tidy(store)
    local, outcome = _Local(Hand(bench, store, partials), store, observer), Outcome()
    for run in runs:
        before = results.last(run.id)
        if before is None:
            try:
                found = local.run(run)
            except _FailedError as failed:
                failure = failed.failure
                found = records(run, failed.measured, str(failure), failure.facts)
            results.save(run.id, found)
        last = before or found[-1]
        outcome.note(last)
        observer.run_done(run, last, before=before is not None)
    return outcome
