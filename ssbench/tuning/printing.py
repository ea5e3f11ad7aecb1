"""Print the plan, the trials and the choices of ``ssbench tune``."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssbench.analysis.wording import written
from ssbench.executors import estimate as estimate_
from ssbench.executors import progress
from ssbench.experiment.stage import Run
from ssbench.experiment.subjects import spaces
from ssbench.tuning.outcome import entry
from ssbench.tuning.prepare import Prepared
from ssbench.tuning.study import Study
from ssbench.tuning.trials import Trial


def trial_line(study: Study, trial: Trial, trials: int) -> str:
    """Describe one trial in one line, without anything from the test split."""
    value = f"failed: {trial.reason}" if trial.value is None else f"{trial.value:.2f} %"
    return (
        f"{study.subject.name}, trial {trial.number} of {trials}: {written(trial.parameters)}: "
        f"validation error {value}, {progress.duration(trial.seconds)}"
    )


def foretell(ready: Prepared, trials: int, console: Console) -> None:
    """Print the trials to do and their cost, estimated at values spread evenly over each space."""
    runs: list[Run] = []
    table = Table("network", "method", "chosen among", "trials to do", "runs each")
    for study in ready.studies:
        done, subject = len(study.log.trials), study.subject
        first = study.runs(subject.first)
        table.add_row(
            subject.model, subject.variant.label, spaces(subject).replace("; ", "\n"),
            f"{max(trials - done, 0)} of {trials}", str(len(first)),
        )  # fmt: skip
        runs += first if done == 0 < trials else []
        for number in range(max(done, 1), trials):
            at = (number - 0.5) / max(trials - 1, 1)
            runs += study.possible({name: s.at(at) for name, s in subject.space.items()})
    console.print(table)
    _say_untuned(ready, console)
    estimate = estimate_.estimate(runs, ready.place.job.workbench, ready.place.job.store)
    console.print(f"seeds to tune on: {ready.seeds}", soft_wrap=True, highlight=False)
    console.print(str(estimate), soft_wrap=True)


def outcome(ready: Prepared, trials: int, made: int, path: Path, console: Console) -> None:
    """Print the chosen values."""
    table = Table(
        "network", "method", "chosen", "validation error %", "first trial %", "chosen in trial"
    )
    for study in ready.studies:
        choice = entry(study, trials)
        first = choice.first_validation_top1_error
        table.add_row(
            study.subject.model, choice.label, written(choice.parameters),
            f"{choice.validation_top1_error:.2f}", "failed" if first is None else f"{first:.2f}",
            f"{choice.trial} of {trials}" + f", {choice.failed} failed" * bool(choice.failed),
        )  # fmt: skip
    console.print(table)
    _say_untuned(ready, console)
    if not made:
        console.print(f"nothing to do: every method has its {trials} trials", highlight=False)
    console.print(f"chosen: {path}", soft_wrap=True, highlight=False)
    changed = [each for each in ready.overrides if not each.startswith("name=")]
    sets = [*changed, f"name={ready.experiment.name}-tuned"]
    console.print(
        f"next: ssbench run {ready.source} --tuned {path} "
        + " ".join(f"--set {shlex.quote(each)}" for each in sets),
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def _say_untuned(ready: Prepared, console: Console) -> None:
    if ready.untuned:
        names = ", ".join(subject.name for subject in ready.untuned)
        console.print(
            f"nothing to tune, no trials: {names}", soft_wrap=True, markup=False, highlight=False
        )
