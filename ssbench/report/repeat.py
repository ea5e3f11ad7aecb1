"""The commands that make a run again, and print its records."""

from __future__ import annotations

import json
import shlex

from ssbench.report.records import Record, Run


def commands(run: Run) -> list[str]:
    """Return the shell's commands that make a run again and print its records.

    What the result depends on is in them as the record has it: the arguments that the run was
    asked for with, its seed, the kind of device, and on a CPU the number of threads.
    """
    final = run.final
    return [f"{_threads(run)}ssbench run {shlex.join(_arguments(run))}",
            f"ssbench show {shlex.quote(final.run)}"]  # fmt: skip


def is_exact(run: Run) -> bool:
    """Whether a record says by which command it was made; older ones do not."""
    return run.final.command is not None


def _arguments(run: Run) -> list[str]:
    final = run.final
    given = final.command
    if given is None:
        given = [final.experiment, *(["--tuned", "tuned.json"] if final.tuning else [])]
    seed = ["--set", f"seeds={json.dumps([final.seed])}"]
    device = next((stage.device for stage in _trained(run)), None)
    return [*given, *seed, *(["--device", device] if device else [])]


def _threads(run: Run) -> str:
    """What sets the threads of a CPU: with others its sums end in other digits."""
    counts = {stage.threads for stage in _trained(run) if stage.device == "cpu" and stage.threads}
    return f"OMP_NUM_THREADS={counts.pop()} " if len(counts) == 1 else ""


def _trained(run: Run) -> list[Record]:
    return [stage for stage in run.stages if stage.epochs != 0 and stage.device]
