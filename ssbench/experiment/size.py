"""Limit the number of runs of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ssbench.errors import BadInputError
from ssbench.experiment.spec import Experiment, MethodSpec

MOST_RUNS = 200_000
"""More than this is a mistake in a sweep: at a second each, the runs would take days."""


def refuse_too_many(specs: Sequence[MethodSpec], experiment: Experiment, source: str) -> None:
    """Refuse an experiment whose sweeps give too many runs.

    Raises:
        BadInputError: more than `MOST_RUNS`; names the entry of ``methods`` with the most.
    """
    counts = {
        f"methods.{index} ({spec.name})": prod(
            [
                *(len(value) for value in spec.settings.values() if isinstance(value, list)),
                len(spec.budget.expand(experiment.budget)),
                len(spec.retrainings),
                len(experiment.models if spec.models is None else spec.models),
                len(experiment.seeds),
            ]
        )
        for index, spec in enumerate(specs)
    }
    total = sum(counts.values())
    if total > MOST_RUNS:
        most = max(counts, key=lambda place: counts[place])
        raise BadInputError(
            f"{source}: {total:,} runs, more than {MOST_RUNS:,}; {most} asks for most of them "
            f"({counts[most]:,}): shorten its sweeps, the models or the seeds"
        )
