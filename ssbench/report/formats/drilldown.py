"""The runs behind each row, as compact data that a page shows on demand.

Texts come from files and are untrusted: the page's script writes them as text, never as markup.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssbench.analysis import wording
from ssbench.analysis.notes import devices, reason, versions
from ssbench.analysis.rows import Row
from ssbench.analysis.verdicts import hours
from ssbench.analysis.wording import written
from ssbench.report.figures.chart import asked
from ssbench.storage.records import RunRecords
from ssbench.storage.schema import KEYS, Record


def commands(run: RunRecords) -> list[str]:
    """Return the shell commands that repeat a run and print its records.

    They set everything from the record that the result depends on: the original arguments, the
    seed, the kind of device, and on a CPU the number of threads.
    """
    final = run.final
    return [f"{_threads(run)}ssbench run {shlex.join(_arguments(run))}",
            f"ssbench show {shlex.quote(final.run)}"]  # fmt: skip


def is_exact(run: RunRecords) -> bool:
    """Whether the record has the command that made it; older records do not."""
    return run.final.command is not None


def _arguments(run: RunRecords) -> list[str]:
    final = run.final
    given = final.command
    if given is None:
        given = [final.experiment, *(["--tuned", "tuned.json"] if final.tuning else [])]
    seed = ["--set", f"seeds={json.dumps([final.seed])}"]
    device = next((stage.device for stage in _trained(run)), None)
    return [*given, *seed, *(["--device", device] if device else [])]


def _threads(run: RunRecords) -> str:
    """Return what sets the CPU's threads; another number changes the last digits of sums."""
    counts = {stage.threads for stage in _trained(run) if stage.device == "cpu" and stage.threads}
    return f"OMP_NUM_THREADS={counts.pop()} " if len(counts) == 1 else ""


def _trained(run: RunRecords) -> list[Record]:
    return [stage for stage in run.stages if stage.epochs != 0 and stage.device]


POINTS = 24
"""Maximum points per curve, so that a thousand runs fit into one page."""
STAGES = ("stage", "epochs", "train loss", "validation error %", "test error %", "seconds")
"""The columns of a run's stages; ``joules`` is added if any are known."""
LONGEST = 200
"""Maximum characters shown of a value without a place of its own."""


def drilldown(tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return all runs of a report, as data that JSON can hold.

    Args:
        tables: the rows of each table by its name, in printing order.

    Returns:
        ``tables``: by name, a list of rows in printing order; ``texts``: shared texts, which runs
        refer to by index; ``stages``: titles of the stages' cells.
    """
    texts: dict[str, int] = {}
    runs = [run for rows in tables.values() for row in rows for run in (*row.done, *row.failed)]
    joules = any(stage.energy_joules is not None for run in runs for stage in run.stages)
    titles = (*STAGES, "joules") if joules else STAGES
    rows = {name: [_row(row, texts, len(titles)) for row in rows] for name, rows in tables.items()}
    return {"tables": rows, "texts": list(texts), "stages": titles}


def _row(row: Row, texts: dict[str, int], columns: int) -> dict[str, Any]:
    runs = sorted((*row.done, *row.failed), key=lambda run: run.final.seed)
    facts = [(what, value) for what, value in _shared(row.like) if value]
    return {
        "name": row.name,
        "model": row.like.model,
        "budget": wording.asked(*row.budget),
        "mark": asked(row),
        "facts": [[what, _index(value, texts)] for what, value in facts],
        "runs": [_run(run, texts, columns) for run in runs],
    }


def _index(value: str, texts: dict[str, int]) -> int:
    return texts.setdefault(value, len(texts))


def _shared(like: Record) -> list[tuple[str, str]]:
    """Return what all runs of a row have in common."""
    tuning = like.tuning
    return [
        ("Experiment", like.experiment),
        ("Data set", like.dataset),
        ("Network", like.model),
        ("Method", like.method),
        ("Prunes", "" if like.grain == "none" else f"by {like.grain}"),
        ("Settings", ", ".join(f"{name}={value}" for name, value in like.settings.items())),
        ("Tuned", f"{written(tuning.chosen)}, by {tuning.trials} trials" if tuning else ""),
        ("Budget", wording.asked(like.budget_asked, like.budget_unit)),
        ("Scope", like.scope or ""),
        ("Protection", "" if like.protection is None else f"{like.protection:g}"),
        ("Passes", "" if like.passes is None else str(like.passes)),
        ("Shares after the passes", ", ".join(f"{share:g}" for share in like.schedule or ())),
        ("After pruning", like.retrain or ""),
        ("Initial weights", like.start or ""),
    ]  # fmt: skip


def _run(run: RunRecords, texts: dict[str, int], columns: int) -> dict[str, Any]:
    final = run.final
    found: dict[str, Any] = {
        "run": final.run,
        "seed": final.seed,
        "facts": [[what, _index(value, texts)] for what, value in _facts(run) if value],
        "stages": [_stage(stage)[:columns] for stage in run.stages],
        "commands": commands(run),
    }
    if not is_exact(run):
        found["guessed"] = True
    if run.failed:
        found["failed"] = f"{final.stage}: {reason(final)}"
    curves = [
        (title, _curve(run.stages, key))
        for title, key in (("training loss", "curve_loss"), ("training error %", "curve_error"))
    ]
    found["curves"] = [[title, *curve] for title, curve in curves if curve]
    return found


def _facts(run: RunRecords) -> list[tuple[str, str]]:
    final = run.final
    measured = [stage for stage in run.stages if stage.device]
    seconds = [run.total("seconds_train"), run.total("seconds_prune")]
    total = sum(value for value in seconds if value is not None)
    return [
        ("Test error", _percent(final.test_top1_error)),
        ("Before finetuning", _percent(run.pruned.test_top1_error if run.pruned else None)),
        ("Budget reached", _share(final.budget_reached)),
        ("Threshold", "" if final.threshold is None else f"{final.threshold:.6g}"),
        ("Nonzero params", _of(final.params_nonzero, final.params_dense)),
        ("Nonzero connections", _of(final.connections_nonzero, final.connections_dense)),
        ("MACs of nonzero weights", _of(final.macs_nonzero, final.macs_dense)),
        ("Epochs in total", "" if final.epochs_total is None else str(final.epochs_total)),
        ("Time of all stages", _time(total)),
        ("Energy of all stages", "" if run.joules is None else f"{wording.count(run.joules)} J"),
        ("Hardware", " | ".join(devices(measured))),
        ("Versions", " | ".join(versions(measured))),
        ("Commit", wording.listing(sorted({stage.commit for stage in run.stages if stage.commit}))),
        ("Finished", final.time or ""),
        *_further(run.stages),
    ]


def _further(stages: Sequence[Record]) -> list[tuple[str, str]]:
    """Return the values of keys without a place of their own; per stage if they differ."""
    known = (name for name, about in KEYS.about.items() if about.details)
    unknown = (key for stage in stages for key in stage.model_extra or ())
    found = []
    for key in dict.fromkeys((*known, *unknown)):
        there = [stage for stage in stages if getattr(stage, key, None) is not None]
        values = [(stage.stage, _written(stage, key)) for stage in there]
        texts = [written for _, written in values]
        if len(set(texts)) > 1:
            texts = [f"{stage}: {written}" for stage, written in values if written]
        title = _TITLES.get(key, key.replace("_", " ").capitalize())
        found.append((title, "; ".join(dict.fromkeys(texts))))
    return found


_TITLES = {"mean": "Mean of the pixels", "sd": "Standard deviation of the pixels"}


def _written(stage: Record, key: str) -> str:
    """Write any value as text; empty values become an empty string."""
    value = getattr(stage, key, None)
    if value is None or value is False or value in ([], {}, ""):
        return ""
    if value is True:
        return "yes"
    text = value if isinstance(value, str) else json.dumps(_short(value), ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} \N{HORIZONTAL ELLIPSIS}"


def _short(value: Any) -> Any:
    """Round every number in a value to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_short(item) for item in value]
    return {key: _short(item) for key, item in value.items()} if isinstance(value, dict) else value


def _time(seconds: float) -> str:
    if not seconds:
        return ""
    return f"{seconds:.3g} s" if seconds < 120 else hours(seconds / 3600)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"


def _share(value: float | None) -> str:
    return "" if value is None else f"{wording.percent(value)} %"


def _of(part: int | None, whole: int | None) -> str:
    return "" if part is None or whole is None else f"{part:,} of {whole:,}"


def _stage(stage: Record) -> list[str]:
    seconds = [s for s in (stage.seconds_train, stage.seconds_prune) if s is not None]
    return [
        stage.stage if stage.status == "done" else f"{stage.stage} (failed)",
        wording.ABSENT if stage.epochs is None else str(stage.epochs),
        wording.number(stage.train_loss),
        wording.fixed(_rounded(stage.validation_top1_error)),
        wording.fixed(_rounded(stage.test_top1_error)),
        wording.number(sum(seconds) if seconds else None),
        wording.number(stage.energy_joules),
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _curve(stages: Iterable[Record], key: str) -> list[Any] | None:
    """Return the number of epochs of a run, and at most `POINTS` values with three digits."""
    values = [value for stage in stages for value in getattr(stage, key) or ()]
    if len(values) < 2:
        return None
    count = min(POINTS, len(values))
    places = [round(i * (len(values) - 1) / (count - 1)) for i in range(count)]
    return [len(values), [float(f"{values[place]:.3g}") for place in places]]
