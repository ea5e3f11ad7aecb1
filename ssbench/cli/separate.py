"""Add seeds to two rows until one of them has a significantly lower error.

A test after every seed would find differences that do not exist. So the numbers of seeds at which
the rows are tested are fixed in advance, and each test is stricter
(`ssbench.analysis.stats.looks`), so that all tests together are wrong in one case of twenty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from ssbench.analysis import stats
from ssbench.analysis.find_row import find_row, find_rows
from ssbench.analysis.rows import Row, make_rows
from ssbench.analysis.verdicts import Pair, judge
from ssbench.analysis.wording import asked
from ssbench.cli import run as run_
from ssbench.errors import BadInputError
from ssbench.executors import progress
from ssbench.executors.coordinator import execute
from ssbench.executors.session import Options, prepare
from ssbench.executors.stage_runner import Outcome
from ssbench.experiment.stage import Run
from ssbench.pipeline.record import records
from ssbench.storage import records as records_
from ssbench.storage.records import read_runs
from ssbench.storage.schema import Record

Names = tuple[str, str]


def rows_of(written: str) -> Names:
    """Split 'ROW_A,ROW_B' at the comma outside brackets.

    Raises:
        BadInputError: not two names.
    """
    depth, parts = 0, [""]
    for character in written:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    first, *others = (part.strip() for part in parts)
    if len(others) != 1 or not first or not others[0]:
        raise BadInputError(
            f"--until-separated {written}: write two rows separated by a comma, for "
            "instance l0@0.05,network-slimming@0.05"
        )
    return first, others[0]


def check(argument: str, options: Options, names: Names) -> None:
    """Check before training that two rows can be separated.

    Args:
        argument: the experiment's file or name.
        options: the rest of the command line.
        names: as for `run`.

    Raises:
        BadInputError: a row that the experiment does not have, or rows without a common budget.
    """
    ready = prepare(argument, options)
    # Names depend on all rows, so make records for the runs that are missing.
    coming = [
        records_.RunRecords(
            tuple(Record.model_validate(line) for line in records(each, [], "not run yet"))
        )
        for each in ready.runs
    ]
    there = read_runs(ready.results.folder) if any(ready.results.folder.glob("*.jsonl")) else []
    _pairs([*there, *coming], names)


def run(
    argument: str, options: Options, names: Names, max_seeds: int, console: Console, log: Console
) -> Outcome:
    """Run further seeds of two rows of an experiment whose own seeds are done.

    Args:
        argument: the experiment's file or name.
        options: the rest of the command line.
        names: two rows for `ssbench.analysis.find_row`; without a share, all common budgets.
        max_seeds: the number of seeds at which to stop.
        console: for the verdicts.
        log: for progress.

    Returns:
        How the further runs ended.

    Raises:
        BadInputError: a missing row, or rows without a common budget.
    """
    ready = prepare(argument, options)
    folder, seeds = ready.results.folder, list(ready.experiment.seeds)
    outcome = Outcome()
    looks = stats.looks(len(seeds), max(max_seeds, len(seeds)))
    level = stats.level_of_each(len(looks))
    for look in looks:
        left = _open(_pairs(read_runs(folder), names), level)
        if not left:
            break
        seeds += _new(seeds, look - len(seeds))
        again = replace(options, overrides=[*options.overrides, f"seeds={json.dumps(seeds)}"])
        ready = prepare(argument, again)
        wanted = {_key_of_row(row) for pair in left for row in pair}
        runs = [each for each in ready.runs if _key_of_run(each) in wanted]
        plural = "" if len(left) == 1 else "s"
        log.print(f"{look} seeds: {len(left)} comparison{plural} open", highlight=False)
        ready.note_refused()
        with progress.observer(runs, log, quiet=options.quiet) as observer:
            done = execute(runs, ready.job, ready.results, observer)
        outcome.done += done.done
        outcome.failed |= done.failed
    run_.show(folder, console, quiet=True)
    for line in _verdicts(_pairs(read_runs(folder), names), level, len(looks)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return outcome


def _pairs(runs: Iterable[records_.RunRecords], names: Names) -> list[tuple[Row, Row]]:
    """Pair the rows of the two names that share a table and a budget."""
    rows, _ = make_rows(runs)
    first, second = (
        [find_row(rows, name)] if "@" in name else find_rows(rows, name) for name in names
    )
    pairs = [(one, two) for one in first for two in second if _place(one) == _place(two)]
    if not pairs:
        raise BadInputError(
            f"--until-separated {','.join(names)}: these rows have no budget in common"
        )
    return pairs


def _place(row: Row) -> tuple[object, ...]:
    return (row.like.dataset, row.like.model, *row.budget)


def _judge(pair: tuple[Row, Row], level: float) -> Pair:
    def error(row: Row) -> float:
        values = row.values("test_top1_error").values()
        return stats.mean(values) if values else float("inf")

    better, worse = sorted(pair, key=error)
    return judge(better, worse, asked(*better.budget), level)


def _open(pairs: Iterable[tuple[Row, Row]], level: float) -> list[tuple[Row, Row]]:
    return [pair for pair in pairs if _judge(pair, level).verdict.kind != "better"]


def _new(seeds: Sequence[int], count: int) -> list[int]:
    return list(range(max(seeds) + 1, max(seeds) + 1 + max(count, 0)))


def _verdicts(pairs: Iterable[tuple[Row, Row]], level: float, looks: int) -> list[str]:
    lines = []
    for pair in pairs:
        judged = _judge(pair, level)
        seeds = judged.verdict.pairs
        if judged.verdict.kind == "better":
            words = f"better, with {seeds} seeds"
        elif judged.verdict.kind == "lower at every seed":
            words = f"lower at every seed, but not separable with {seeds} seeds"
        else:
            words = f"not separable with {seeds} seeds"
        lines.append(f"{judged.budget}: {judged.first} before {judged.second}: {words}")
    lines.append(
        f"At most {looks} tests, each at {100 * level:.2f} %, so that together they keep a "
        f"confidence of {100 * stats.LEVEL:.0f} %."
    )
    return lines


def _key_of_row(row: Row) -> str:
    like = row.like
    parts = (like.dataset, like.model, like.method, like.label, like.settings, like.retrain,
             like.budget_unit, like.budget_asked, like.scope, like.protection,
             like.passes, like.schedule or [])  # fmt: skip
    return json.dumps(parts, sort_keys=True)


def _key_of_run(each: Run) -> str:
    budget = each.budget
    cut: list[Any] = [None] * 5 + [[]] if budget is None else [
        budget.unit, budget.kept, budget.scope, budget.protection, budget.passes, budget.schedule,
    ]  # fmt: skip
    parts = (each.stage.dataset, each.stage.model, each.file.name, each.label,
             each.method.settings, each.retrain, *cut)  # fmt: skip
    return json.dumps(parts, sort_keys=True)
