"""Write rows as CSV: raw numbers, one line per row of the tables, not rounded.

Errors are in percent, shares in [0, 1], times in seconds, sizes are counts; a cell that does not
apply is empty. Spreads over seeds have mean, sd (sample), min and max. Published rows have origin,
source and note, and are empty in the columns that compare.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ssbench.analysis import stats
from ssbench.analysis.notes import reason
from ssbench.analysis.published import Published, matching
from ssbench.analysis.rows import Row, Spread, best, by_budget, by_table, rivals
from ssbench.storage.schema import KEYS

Cell = str | int | float | bool | None


ALWAYS = ("best", "test_top1_error_mean", "test_top1_error_sd")
"""The columns that no choice of columns leaves out, besides those that identify a row."""


def as_csv(
    rows: Sequence[Row],
    published: Sequence[Published] = (),
    shown: Sequence[Row] | None = None,
    columns: Sequence[str] | None = None,
) -> str:
    """Return at least one row, and the published rows of their networks, as CSV.

    Args:
        rows: those that are compared.
        published: rows of the literature.
        shown: the rows to write, in this order; None: all.
        columns: to write beside those that identify a row; None: all.
    """
    lines: list[dict[str, Cell]] = []
    for (dataset, model), table in by_table(rows).items():
        dense = [row for row in table if row.is_dense and row.done]
        for group in by_budget(table).values():
            bold = best(group)
            for row in group if shown is None else [row for row in shown if row in group]:
                line = identity(row) | {"best": row in bold} | measured(row)
                line |= _compared("best", row, _yardstick(group))
                line |= _compared("dense", row, dense[0] if len(dense) == 1 else None)
                if columns is not None:
                    line |= {key: row.mean(key) for key in columns if key not in line}
                    some = dict.fromkeys([*identity(row), *ALWAYS, *columns])
                    line = {key: line[key] for key in some}
                lines.append(line)
        lines += [quoted(quote) for quote in matching(published, dataset, model)]
    if columns is not None and lines:
        lines = [{key: line.get(key) for key in lines[0]} for line in lines]
    return frame(lines)


def frame(lines: Sequence[Mapping[str, Cell]]) -> str:
    """Write lines as CSV with a header; missing columns stay empty."""
    import pandas as pd  # the import takes nearly a second

    # dtype=object keeps counts integer in columns with empty cells.
    return pd.DataFrame(lines, dtype=object).to_csv(index=False, lineterminator="\n")


def _yardstick(group: Sequence[Row]) -> Row | None:
    return stats.best_row(rivals(group))


def identity(row: Row) -> dict[str, Cell]:
    """Return the columns that identify a row."""
    like = row.like
    return {
        "origin": "measured",
        "experiment": like.experiment,
        "dataset": like.dataset,
        "data_fingerprint": like.data_fingerprint,
        "model": like.model,
        "method": like.method,
        "name": row.name,
        "settings": json.dumps(like.settings, sort_keys=True),
        "tuning": json.dumps(like.tuning.model_dump(), sort_keys=True) if like.tuning else None,
        "grain": like.grain,
        "scope": like.scope,
        "protection": like.protection,
        "retrain": like.retrain,
        "budget_unit": like.budget_unit,
        "budget_asked": like.budget_asked,
        "n": len(row.done),
        "seeds": " ".join(str(run.final.seed) for run in row.done),
        "failed": len(row.failed),
        "reasons": " | ".join(dict.fromkeys(reason(run.final) for run in row.failed)),
    }


def quoted(quote: Published) -> dict[str, Cell]:
    """Return a published row under the names of measured columns, with its source."""
    line, dense = quote.line, quote.dense
    return {
        "origin": "published",
        "dataset": line.dataset,
        "model": line.model,
        "method": line.method,
        "name": quote.name,
        "test_top1_error_mean": line.top1_error,
        "test_top5_error_mean": line.top5_error,
        "params_dense": dense.params if dense else None,
        "params_nonzero": line.params,
        "macs_dense": dense.macs if dense else None,
        "macs_nonzero": line.macs,
        "flops": line.flops,
        "flops_convention": line.flops_convention,
        "source": line.source,
        "note": line.note,
    }


def measured(row: Row) -> dict[str, Cell]:
    """Return all measurements of a row over its seeds."""
    line: dict[str, Cell] = {}
    for key in KEYS.in_csv("error"):
        line |= _spread(key, row.spread(key))
        line |= _spread(f"{key}_before_finetuning", row.before(key))
    for key in KEYS.in_csv("spread"):
        line |= _spread(key, row.spread(key))
    line |= {key: row.mean(key) for key in KEYS.in_csv("size")}
    for key in KEYS.in_csv("total"):
        seconds = row.total(key)
        line[key] = seconds.mean if seconds else None
    joules = row.joules()
    line |= dict.fromkeys(KEYS.in_csv("joules"), joules.mean if joules else None)
    line |= {key: row.mean(key) for key in KEYS.in_csv("last")}
    line["seeds_with_a_dead_layer"] = row.collapsed()
    line["seeds_at_chance"] = row.at_chance()
    return line


def _spread(key: str, found: Spread | None) -> dict[str, Cell]:
    return {
        f"{key}_mean": found.mean if found else None,
        f"{key}_sd": found.sd if found else None,
        f"{key}_min": found.low if found else None,
        f"{key}_max": found.high if found else None,
    }


def _compared(what: str, row: Row, other: Row | None) -> dict[str, Cell]:
    """Return the difference of the test errors to another row's, with its interval."""
    found, pairs = None, 0
    if other is not None and other is not row:
        first, second = row.values("test_top1_error"), other.values("test_top1_error")
        pairs = len(first.keys() & second.keys())
        if pairs >= stats.FEW:
            found = stats.difference(first, second, max(row.resolution, other.resolution))
    return {
        f"difference_to_{what}_mean": found.mean if found else None,
        f"difference_to_{what}_low": found.low if found else None,
        f"difference_to_{what}_high": found.high if found else None,
        f"difference_to_{what}_interval": stats.rule(pairs) if found else None,
    }
