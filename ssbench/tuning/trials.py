"""The log of trials: one line of JSON per trial, readable without Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssbench.errors import BadInputError, wrong
from ssbench.method.search_space import Value
from ssbench.storage.files import read, write
from ssbench.storage.jsonl import LIMIT

WORST = 100.0
"""The error in percent that the sampler is given for a failed trial."""


class Measured(BaseModel):
    """One run of a trial: budget, seed and top-1 validation error (None if it failed)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    budget_unit: str | None
    budget_asked: float | str | None
    seed: int
    validation_top1_error: float | None


class Trial(BaseModel):
    """One trial of a choice of hyper-parameters.

    Attributes:
        study: a hash of the search space and of everything that the results depend on.
        number: counted from 1; the first has the experiment's own values.
        parameters: the tried values.
        settings: all hyper-parameters of the method.
        value: mean of the runs' errors, percent; None if one of them failed.
        seconds: wall-clock time of the process that finished the trial.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    study: str
    experiment: str
    dataset: str
    model: str
    method: str
    label: str
    number: int = Field(ge=1)
    parameters: dict[str, Value]
    settings: dict[str, Any]
    runs: list[Measured]
    value: float | None
    state: Literal["done", "failed"]
    reason: str | None
    seconds: float
    time: str

    @property
    def error(self) -> float:
        """The value, or the worst possible one if the trial failed."""
        return WORST if self.value is None else self.value


class Log:
    """The trials of one study, in a file that is always rewritten whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = self._read()

    def _read(self) -> list[Trial]:
        if not self.path.exists():
            return []
        trials: list[Trial] = []
        for number, line in enumerate(read(self.path, LIMIT).splitlines(), 1):
            try:
                trials.append(Trial.model_validate_json(line))
            except ValidationError as error:
                reason = wrong(error, "the line")
                raise BadInputError(
                    f"{self.path}, line {number}: not a trial ({reason}); remove the file"
                ) from error
        return trials

    def append(self, trial: Trial) -> None:
        """Append a trial atomically: a killed process leaves the file with it or without it."""
        self.trials.append(trial)
        write(self.path, "".join(f"{each.model_dump_json()}\n" for each in self.trials))


def best(trials: list[Trial]) -> Trial | None:
    """Return the trial with the lowest error, the earliest on a tie; None if all failed."""
    done = [trial for trial in trials if trial.value is not None]
    return min(done, key=lambda trial: (trial.error, trial.number)) if done else None
