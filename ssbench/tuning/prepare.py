"""Check a tuning completely before its first trial."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbench.errors import BadInputError
from ssbench.executors.session import Options, experiment_of, make_ready, open_job
from ssbench.experiment.choose import only
from ssbench.experiment.spec import Experiment, find
from ssbench.experiment.subjects import Subject, subjects
from ssbench.experiment.variants import variants
from ssbench.method.registry import discover
from ssbench.storage.results import Results
from ssbench.tuning.study import Place, Study

FIRST_SEED = 1000
"""The lowest default seed for tuning, far from the seeds of experiments."""


@dataclass(frozen=True)
class Prepared:
    """A completely checked tuning, before its first trial."""

    source: str
    experiment: Experiment
    seeds: list[int]
    studies: list[Study]
    untuned: list[Subject]
    """Subjects with nothing to tune."""
    place: Place
    folder: Path
    overrides: tuple[str, ...] = ()


def prepare(argument: str, options: Options, seeds: Sequence[int]) -> Prepared:
    """Check everything that can be checked before the first trial.

    Raises:
        BadInputError: what is wrong, where, and the remedy.
    """
    path = find(argument)
    source, experiment = str(path), experiment_of(path, options)
    tuned_on = _seeds(experiment, seeds, source)
    job = open_job(experiment, options, source)
    folder = options.results / experiment.name / "tuning"
    manifest = experiment.manifest_on(job.workbench.dataset)
    results = Results(folder, manifest | {"name": "runs"})
    results.check()
    place = Place(job, results, folder / "trials", tuple(options.model_files))
    chosen = variants(experiment, discover(options.method_files), source)
    found = subjects(experiment, only(chosen, options.only, source), source)
    other_seeds = experiment.model_copy(update={"seeds": tuned_on})
    studies = [Study(each, other_seeds, source, place) for each in found if each.space]
    if not studies:
        raise BadInputError(
            f"{source}: nothing to tune: none of its methods has a search, and tune.finetune_lr "
            "names no learning rates; give one of them"
        )
    first = [run for study in studies for run in study.runs(study.subject.first)]
    make_ready(first, experiment.model_names, job, source)
    untuned = [each for each in found if not each.space]
    return Prepared(
        source, experiment, tuned_on, studies, untuned, place, folder, tuple(options.overrides)
    )


def _seeds(experiment: Experiment, given: Sequence[int], source: str) -> list[int]:
    """Return the seeds to tune on, which the experiment's results must not use."""
    seeds = list(given) or experiment.tune.seeds
    place = "--seeds" if given else f"{source}: tune.seeds"
    if seeds is None:
        free = (seed for seed in itertools.count(FIRST_SEED) if seed not in experiment.seeds)
        return [next(free)]
    shared = sorted(set(seeds) & set(experiment.seeds))
    if shared:
        raise BadInputError(
            f"{place}: {shared[0]} is a seed of the experiment's results, which would no longer be "
            "independent of the choice; name others"
        )
    if len(set(seeds)) != len(seeds):
        raise BadInputError(f"{place}: {seeds} names a seed twice; name each once")
    return seeds
