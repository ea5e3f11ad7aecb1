"""Show progress: a live display, plain lines without a terminal, or nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from ssbench.experiment.plan import stages
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record
from ssbench.training.loop import Epoch


class Work:
    """The remaining epochs, and their time at the speed so far."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.left = {stage.id: stage.epochs for stage in stages(list(runs))}
        self.began, self.epochs = 0.0, 0

    def start(self) -> None:
        """Start the clock at the first stage."""
        self.began = self.began or time.monotonic()

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Count one finished epoch; another process may have done earlier ones."""
        self.epochs += 1
        self.left[stage.id] = epoch.of - epoch.number

    def finish(self, stage: Stage) -> None:
        """Remove a stage from the list."""
        self.left.pop(stage.id, None)

    def seconds_left(self) -> float | None:
        """Estimate the remaining time from the average so far, with evaluation and surgery."""
        if not self.epochs:
            return None
        pace = (time.monotonic() - self.began) / self.epochs
        return pace * sum(self.left.values())


class Quiet:
    """Shows nothing; the base of the other displays."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        self.console, self.total, self.finished = console, len(runs), 0
        self.work = Work(runs)

    def __enter__(self) -> Self:
        """Start the display."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Remove the display."""

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Note that a stage begins."""
        del run, stage
        self.work.start()

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Note a finished epoch."""
        self.work.epoch(stage, epoch)

    def stage_done(self, stage: Stage) -> None:
        """Note that a stage is finished."""
        self.work.finish(stage)

    def stage_put_off(self, stage: Stage) -> None:
        """Note that another process works at a stage for now."""

    def waiting(self, what: str) -> None:
        """Note what the executor waits for."""

    def warn(self, text: str) -> None:
        """Print a warning, even if nothing else is shown."""
        self.say(text, "yellow")

    def say(self, what: str, style: str = "") -> None:
        """Print a line that stays."""
        self.console.print(what, style=style, markup=False, highlight=False, soft_wrap=True)

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Note that a run and all of its stages are finished, now or ``before``."""
        del result, before
        for stage in run.stages:
            self.work.finish(stage)
        self.finished += 1


class Plain(Quiet):
    """Prints one line per finished run, for logs and pipes."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        super().__init__(runs, console)
        self.printed: set[str] = set()

    def waiting(self, what: str) -> None:
        """Print once what the executor waits for."""
        if what not in self.printed:
            self.say(what)
        self.printed.add(what)

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Print how a run ended."""
        super().run_done(run, result, before=before)
        if not before:
            self.say(
                f"[{self.finished}/{self.total}] {describe(run)}: {ending(result)}, "
                f"{duration(self.work.seconds_left())} left"
            )


NARROW = 100
"""The width in characters below which bars are short and speeds left out."""


class Rich(Quiet):
    """A live display: finished runs, and a line for each running stage."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        super().__init__(runs, console)
        self.narrow = console.width < NARROW
        bar = 10 if self.narrow else 40
        self.bars = Progress(
            TextColumn("{task.description:<8}", table_column=Column(no_wrap=True)),
            BarColumn(bar),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
        )
        longest = max([len(str(self.total)), *(len(str(run.stage.epochs)) for run in runs)])
        self.room = console.width - len(f"{'':<8} ") - bar - 1 - (2 * longest + 1) - 2
        """The characters that are left for a note."""
        self.runs = self.bars.add_task("runs", total=self.total, note="")
        self.under_way: dict[str, tuple[TaskID, str]] = {}
        self.live = Live(self.bars, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        """Start the display."""
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Remove the display."""
        self.live.stop()

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Show a stage with one of its runs."""
        super().stage_started(run, stage)
        name = describe(run)
        note = shortened(name, self.room)
        task = self.bars.add_task(stage.kind, total=stage.epochs or 1, note=note)
        self.under_way[stage.id] = (task, name)

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Show loss, error and speed of the epoch."""
        super().epoch(stage, epoch)
        task, name = self.under_way[stage.id]
        numbers = f"loss {epoch.loss:.4f}  error {epoch.error:.2f} %"
        if not self.narrow:
            numbers += f"  {epoch.images_per_second:,.0f} images/s"
        note = f"{numbers}  {shortened(name, self.room - len(numbers) - 2)}"
        self.bars.update(task, completed=epoch.number, note=note)
        self.bars.update(self.runs, note=self._left())

    def stage_done(self, stage: Stage) -> None:
        """Remove a stage's line."""
        super().stage_done(stage)
        self.stage_put_off(stage)

    def stage_put_off(self, stage: Stage) -> None:
        """Remove the line of a stage that does not run here now."""
        if stage.id in self.under_way:
            self.bars.remove_task(self.under_way.pop(stage.id)[0])

    def waiting(self, what: str) -> None:
        """Show what the executor waits for beside the bar of the runs."""
        self.bars.update(self.runs, note=shortened(f"{self._left()}, {what}", self.room))

    def say(self, what: str, style: str = "") -> None:
        """Print a line above the bars."""
        self.live.console.print(what, style=style, markup=False, highlight=False, soft_wrap=True)

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Advance the bar of the runs; print how a run ended above it, so that it stays."""
        super().run_done(run, result, before=before)
        self.bars.update(self.runs, completed=self.finished, note=self._left())
        if not before:
            style = "red" if result["status"] == "failed" else ""
            self.say(f"[{self.finished}/{self.total}] {describe(run)}: {ending(result)}", style)

    def _left(self) -> str:
        return f"{duration(self.work.seconds_left())} left"


def shortened(text: str, width: int) -> str:
    """Shorten a text in its middle: the end of a run's name says what distinguishes it."""
    if len(text) <= width:
        return text
    end = max(width - 1, 0) * 2 // 3
    return f"{text[: max(width - 1 - end, 0)]}…{text[len(text) - end :]}" if width > 1 else ""


def observer(runs: Sequence[Run], console: Console, *, quiet: bool) -> Quiet:
    """Choose the display for a console."""
    kind = Quiet if quiet else Rich if console.is_terminal else Plain
    return kind(runs, console)


def describe(run: Run) -> str:
    """Describe a run in words."""
    kept = "" if run.budget is None else f", {share(run.budget.kept)} of {run.budget.unit}"
    floor = run.budget.protection if run.budget else 0.0
    kept += f", floor {100 * floor:g} %" if floor else ""
    return f"{run.stage.dataset} {run.stage.model} {run.label}{kept}, seed {run.stage.seed}"


def share(kept: float | str) -> str:
    """Write a kept share."""
    return f"own share ({kept})" if isinstance(kept, str) else f"{100 * kept:g} %"


def ending(result: Record) -> str:
    """Say how a run ended."""
    if result["status"] == "failed":
        return f"failed: {result['reason']}"
    return f"test error {result['test_top1_error']:.2f} %"


def duration(seconds: float | None) -> str:
    """Write seconds in hours, minutes and seconds."""
    if seconds is None:
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
