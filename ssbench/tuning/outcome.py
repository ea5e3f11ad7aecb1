"""Turn trials into the chosen values of each method."""

from __future__ import annotations

from ssbench.experiment.tuned import Entry, Tuned, recipe
from ssbench.method.search_space import described, identity
from ssbench.tuning.prepare import Prepared
from ssbench.tuning.study import Study
from ssbench.tuning.trials import best


def outcome(ready: Prepared, trials: int) -> Tuned:
    """Return the choices of the first ``trials`` trials of every study; one must be finished."""
    return Tuned(
        experiment=ready.experiment.name,
        recipe=recipe(ready.experiment),
        seeds=ready.seeds,
        trials=trials,
        methods=[entry(study, trials) for study in ready.studies],
    )


def entry(study: Study, trials: int) -> Entry:
    """Return the choice of the first ``trials`` trials of a study."""
    counted = study.log.trials[:trials]
    chosen = best(counted)
    assert chosen is not None  # else the tuning has failed
    assert chosen.value is not None
    subject = study.subject
    kept = dict.fromkeys(run.budget_asked for run in chosen.runs if run.budget_asked is not None)
    return Entry(
        label=subject.variant.label,
        key=subject.key,
        parameters=chosen.parameters,
        trial=chosen.number,
        trials=trials,
        distinct=len({repr(trial.parameters) for trial in counted}),
        failed=sum(trial.value is None for trial in counted),
        kept=list(kept),
        validation_top1_error=chosen.value,
        first_validation_top1_error=counted[0].value,
        space=described(subject.space),
        space_id=identity(subject.space),
    )
