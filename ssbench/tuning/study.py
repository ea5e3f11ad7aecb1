"""The trials of one subject: propose the next one, run it, and log its outcome."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ssbench.data.registry import dataset_name
from ssbench.errors import BadInputError
from ssbench.executors.coordinator import execute
from ssbench.executors.protocol import Job
from ssbench.executors.stage_runner import Observer
from ssbench.experiment.plan import plan_variants
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run
from ssbench.experiment.subjects import Subject
from ssbench.method.search_space import Value, identity
from ssbench.pipeline.record import Record, now
from ssbench.seeds import derive
from ssbench.storage.results import Results
from ssbench.tuning.sampler import propose
from ssbench.tuning.trials import Log, Measured, Trial


@dataclass(frozen=True)
class Place:
    """Where trials run; the same for all subjects.

    Attributes:
        job: the data, the store, and where stages run.
        results: the records of the trials' runs.
        logs: the folder of logs of trials.
        model_files: files with networks that the experiment names.
    """

    job: Job
    results: Results
    logs: Path
    model_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Study:
    """The trials of one subject.

    Attributes:
        experiment: with the seeds to tune on instead of its own.
        source: its file, for errors.
    """

    subject: Subject
    experiment: Experiment
    source: str
    place: Place = field(repr=False)

    @cached_property
    def id(self) -> str:
        """A hash of the space and of everything that a trial's result depends on."""
        base = sorted(run.stage.id for run in self.runs(self.subject.first))
        text = f"{identity(self.subject.space)}: {' '.join(base)}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def log(self) -> Log:
        """The trials so far."""
        name = f"{self.subject.model}-{self.subject.variant.file.name}-{self.id}.jsonl"
        return Log(self.place.logs / name.replace("/", "-").replace(":", "-"))

    def runs(self, parameters: Mapping[str, Value]) -> list[Run]:
        """Return the runs of a trial: every budget and seed.

        Raises:
            BadInputError: the method rejects these values.
        """
        variant = self.subject.choose(parameters, f"{self.source}: {self.subject.variant.place}")
        # Rows without a floor do not compete: no choice may turn on whether they lose a layer.
        variant = variant.competing()
        data, files = self.place.job.workbench.dataset, self.place.model_files
        return plan_variants(
            self.experiment, [variant], data.fingerprint, self.source, files, data.on_disk
        )

    def possible(self, parameters: Mapping[str, Value]) -> list[Run]:
        """Return the runs of a trial; none if the method rejects the values and it will fail."""
        try:
            return self.runs(parameters)
        except BadInputError:
            return []

    def next(self) -> dict[str, Value]:
        """Return the values of the next trial; the first has the experiment's own."""
        if not self.log.trials:
            return dict(self.subject.first)
        # The draws depend on the space, not on the experiment's name or the data.
        name = f"{self.subject.variant.file.name}, {identity(self.subject.space)}"
        seed = derive(len(self.log.trials), f"trial: {name}")
        history = [(trial.parameters, trial.error) for trial in self.log.trials]
        return propose(self.subject.space, history, seed)

    def advance(self, observe: Observer, parameters: Mapping[str, Value]) -> Trial:
        """Run a trial and log it; finished runs are not repeated."""
        began = time.perf_counter()
        place = self.place
        try:
            runs = self.runs(parameters)
        except BadInputError as error:  # the method rejects this combination
            runs, results, reasons = [], [], [str(error)]
        else:
            outcome = execute(runs, place.job, place.results, observe)
            results = [place.results.last(run.id) or {} for run in runs]
            reasons = list(dict.fromkeys(outcome.failed.values()))
        seconds = time.perf_counter() - began
        trial = self._judged(parameters, runs, results, reasons, seconds)
        self.log.append(trial)
        return trial

    def _judged(
        self,
        parameters: Mapping[str, Value],
        runs: Sequence[Run],
        results: Sequence[Record],
        reasons: Sequence[str],
        seconds: float,
    ) -> Trial:
        """Combine the results of a trial. Reads only the validation error of its records.

        So the test split has no influence on the choice.
        """
        errors = [result.get("validation_top1_error") for result in results]
        found = [error for error in errors if error is not None]
        whole = bool(found) and len(found) == len(runs)
        subject = self.subject
        return Trial(
            study=self.id,
            experiment=self.experiment.name,
            dataset=dataset_name(self.experiment.dataset),
            model=subject.model,
            method=subject.variant.file.name,
            label=subject.variant.label,
            number=len(self.log.trials) + 1,
            parameters=dict(parameters),
            settings=runs[0].method.settings if runs else {},
            runs=[_measured(run, error) for run, error in zip(runs, errors, strict=True)],
            value=sum(found) / len(found) if whole else None,
            state="done" if whole else "failed",
            reason=None if whole else "; ".join(reasons),
            seconds=round(seconds, 3),
            time=now(),
        )


def _measured(run: Run, error: float | None) -> Measured:
    return Measured(
        run=run.id,
        budget_unit=run.budget.unit if run.budget else None,
        budget_asked=run.budget.kept if run.budget else None,
        seed=run.stage.seed,
        validation_top1_error=error,
    )
