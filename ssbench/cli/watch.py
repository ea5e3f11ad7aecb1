"""`ssbench watch`: what runs now, read from the files that a run writes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live as LiveDisplay
from rich.table import Table
from rich.text import Text

from ssbench.analysis.wording import asked
from ssbench.cli.outputs import RunningStage, WatchOutput
from ssbench.errors import BadInputError, DamagedError
from ssbench.executors.progress import duration, shortened
from ssbench.storage.jsonl import last_line
from ssbench.storage.live import Live, StageNow, live_folders, read
from ssbench.storage.records import folders_below

EVERY = 1.0
"""Seconds between two looks."""
ROWS = 10
"""The number of finished rows that a terminal shows, the newest last."""
BLOCKS = "▁▂▃▄▅▆▇█"


class Watcher:
    """Looks at one folder of results again and again; reads each finished run once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, tuple[float, str, bool]] = {}

    def look(self) -> tuple[Live, WatchOutput]:
        """Return what runs, and the finished runs in the order in which they ended."""
        live = read(self.folder)
        for path in self.folder.glob("*.jsonl"):
            if path.name not in self._rows:
                self._read(path)
        ended = sorted(self._rows.values())
        run = live.runs[0] if live.runs else None
        facts = WatchOutput(
            experiment=self.folder.name,
            running=[RunningStage(**asdict(stage)) for stage in live.stages],
            total=run.total if run else None,
            finished=run.finished if run else len(ended),
            failed=sum(failed for _, _, failed in ended),
            seconds_left=run.seconds_left if run else None,
            rows=[row for _, row, _ in ended],
        )
        return live, facts

    def _read(self, path: Path) -> None:
        try:
            last, when = last_line(path), path.stat().st_mtime
        except (DamagedError, BadInputError, OSError):  # the run itself tells about it
            return
        if last is None:
            return
        failed = last["status"] == "failed"
        end = f"failed: {last['reason']}" if failed else f"{last['test_top1_error']:.2f} %"
        kept = asked(last["budget_asked"], last["budget_unit"])
        row = f"{last['model']} {last['label']}, {kept}, seed {last['seed']}: {end}"
        self._rows[path.name] = (when, row, failed)


def choose(folder: Path) -> Path:
    """Return the folder in which something runs, else the one with records.

    Raises:
        BadInputError: there is neither.
    """
    found = live_folders(folder) or (folders_below(folder) if folder.is_dir() else [])
    if not found:
        raise BadInputError(
            f"{folder}: nothing runs here, and there are no records; name the folder of a run's "
            "results, or start one with ssbench run"
        )
    return found[0]


def watch(folder: Path, console: Console) -> None:
    """Show what runs until it ends; without a terminal, once."""
    watcher = Watcher(choose(folder))
    if not console.is_terminal:
        console.print(drawn(*watcher.look(), console.width))
        return
    with LiveDisplay(console=console, auto_refresh=False, vertical_overflow="visible") as display:
        while True:
            live, facts = watcher.look()
            display.update(drawn(live, facts, console.width), refresh=True)
            if not live.runs:
                break
            time.sleep(EVERY)


def drawn(live: Live, facts: WatchOutput, width: int) -> RenderableType:
    """Draw one look: finished rows, running stages with their curves, and the time left."""
    parts: list[RenderableType] = [Text(facts.experiment, style="bold")]
    parts += [Text(shortened(row, width)) for row in facts.rows[-ROWS:]]
    parts += [_stage(stage, width) for stage in live.stages]
    if live.killed:
        parts.append(Text("a run was killed here; start it again: it goes on", style="yellow"))
    parts.append(Text(_summary(facts)))
    return Group(*parts)


def _summary(facts: WatchOutput) -> str:
    failed = f", {facts.failed} failed" if facts.failed else ""
    if facts.total is None:
        runs = "run" if facts.finished == 1 else "runs"
        return f"{facts.finished} {runs} finished{failed}; nothing runs"
    left = duration(facts.seconds_left)
    return f"{facts.finished}/{facts.total} runs finished{failed}, {left} left"


def _stage(stage: StageNow, width: int) -> Table:
    """Draw a running stage in two lines: its name, and its curves."""
    table = Table.grid(padding=(0, 1))
    head = f"{stage.kind} {stage.epoch}/{stage.epochs}  "
    table.add_row(Text(f"{head}{shortened(stage.run, width - len(head) - 1)}", style="cyan"))
    room = max((width - 40) // 2, 8)
    loss = [value for value in stage.loss if value is not None]
    last = f"loss {loss[-1]:.4f}" if loss else "loss -"
    error = f"error {stage.error[-1]:.2f} %" if stage.error else "error -"
    table.add_row(Text(f"  {last} {spark(loss, room)}  {error} {spark(stage.error, room)}"))
    return table


def spark(values: Sequence[float], width: int) -> str:
    """Draw a curve as a line of blocks, at most ``width`` of them; each is the mean of its part."""
    if not values:
        return ""
    count = min(len(values), width)
    ends = [len(values) * number // count for number in range(count + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in itertools.pairwise(ends)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)
