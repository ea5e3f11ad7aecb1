"""What a report says of tuning: of which methods, by how many trials, over which values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ssbench.report import text
from ssbench.report.nested import Tuning
from ssbench.report.rows import Row
from ssbench.search import written

NOT_TUNED = "not tuned; they are those that the experiment gives"
_WORDS = {"finetune_lr": "learning rate of the finetuning"}


def sentences(rows: Sequence[Row]) -> list[str]:
    """Return what readers must know of how hyper-parameters were chosen; none if nothing was tuned.

    Methods that were tuned alike are named together.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.like.tuning and row.name not in alike[_how(row.like.tuning)]:
            alike[_how(row.like.tuning)].append(row.name)
    if not alike:
        return []
    said = [f"{text.listing(names)}: {how}." for how, names in alike.items()]
    untuned = list(dict.fromkeys(row.name for row in rows if row.like.tuning is None))
    if untuned:
        said.append(f"Not tuned: {text.listing(untuned)}.")
    return said


def _how(tuning: Tuning) -> str:
    """One tuning in words, without the values that it chose."""
    what = [f"{_WORDS.get(name, name)} ({values})" for name, values in sorted(tuning.space.items())]
    seeds = text.listing([str(seed) for seed in tuning.seeds])
    facts = [f"seed{'' if len(tuning.seeds) == 1 else 's'} {seeds}"]
    facts += [f"mean over {len(tuning.kept)} budgets"] if len(tuning.kept) > 1 else []
    if tuning.distinct < tuning.trials:
        facts.append(f"{tuning.distinct} of them different")
    facts += [f"{tuning.failed} of them failed"] if tuning.failed else []
    trials = f"{tuning.trials} trial{'' if tuning.trials == 1 else 's'}"
    return f"{text.listing(what)} chosen on validation error by {trials} ({', '.join(facts)})"


def facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return how the hyper-parameters were chosen, and the values, for the head of a report."""
    said = sentences(rows)
    if not said:
        return [("Hyper-parameters", NOT_TUNED)]
    several = len({row.like.model for row in rows}) > 1
    values = [
        f"{row.name}{f' on {row.like.model}' if several else ''}: {written(row.like.tuning.chosen)}"
        for row in rows
        if row.like.tuning
    ]
    return [("Hyper-parameters", " ".join(said)), ("Chosen", "; ".join(dict.fromkeys(values)))]
