"""What every run went through: at which budgets, in which stages, measured when."""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.report import text
from ssbench.report.records import Run
from ssbench.report.rows import Row, by_budget

SHOWN = 4
"""So many different orders of stages are named."""


def facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the budgets and the stages of the runs that were not cut short."""
    budgets = [text.asked(*budget) for budget in by_budget(rows) if budget[0] is not None]
    orders = list(dict.fromkeys(_stages(run) for row in rows for run in row.done))
    more = [f"{len(orders) - SHOWN} more"] if len(orders) > SHOWN else []
    return [
        ("Budgets", text.listing(budgets)),
        ("Stages", " | ".join([*orders[:SHOWN], *more])),
        ("Measured", "test error after the last epoch; no epoch is chosen by it" if orders else ""),
    ]


def _stages(run: Run) -> str:
    """The stages in order: 'train (20 epochs), prune, finetune (10 epochs)'."""
    return ", ".join(
        f"{stage.stage} ({stage.epochs} epoch{'' if stage.epochs == 1 else 's'})"
        if stage.epochs
        else stage.stage
        for stage in run.stages
    )
