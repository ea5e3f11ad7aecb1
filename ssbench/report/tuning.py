"""What a table says of tuning: of which methods, by how many trials, over which values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ssbench.report import text
from ssbench.report.records import Tuning
from ssbench.report.rows import Row

NOT_TUNED = "not tuned; they are those that the experiment gives"
_LR = "finetune_lr"


def sentences(rows: Sequence[Row]) -> list[str]:
    """Return what readers must know of how hyper-parameters were chosen; none if nothing was tuned.

    Methods that were tuned alike are named together.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    untuned: dict[str, None] = {}
    for row in rows:
        tuning = row.like.tuning
        if tuning is None:
            untuned[row.name] = None
            continue
        for how in _how(tuning):
            if row.name not in alike[how]:
                alike[how].append(row.name)
    if not alike:
        return []
    said = [f"Chosen on validation error, never on test: {how} of {text.listing(names)}."
            for how, names in alike.items()]  # fmt: skip
    tuned = {name for names in alike.values() for name in names}
    rest = [name for name in untuned if name not in tuned]
    mixed = [name for name in untuned if name in tuned]
    if rest:
        said.append(f"Not tuned: {text.listing(rest)}.")
    if mixed:
        said.append(f"Tuned in some rows only: {text.listing(mixed)}.")
    return said


def _how(tuning: Tuning) -> list[str]:
    """One tuning in words, without the values that it chose."""
    what = ", ".join(f"{_word(name)} ({values})" for name, values in sorted(tuning.space.items()))
    failed = f", {tuning.failed} of which failed" if tuning.failed else ""
    seeds = f"seed{'' if len(tuning.seeds) == 1 else 's'} {text.listing(_all(tuning.seeds))}"
    over = f", mean over {len(tuning.kept)} budgets" if len(tuning.kept) > 1 else ""
    return [f"{what}, by {tuning.trials} trials each{failed} with {seeds}{over},"]


def _word(name: str) -> str:
    return "finetuning's learning rate" if name == _LR else name


def _all(values: Sequence[object]) -> list[str]:
    return [f"{value}" for value in values]
