"""``ssbench tune``: choose hyper-parameters on validation, with as many trials for every method.

    <results>/<experiment>/tuning/trials/<network>-<method>-<study>.jsonl   a line per trial
    <results>/<experiment>/tuning/runs/                                    the trials' records
    <results>/<experiment>/tuning/tuned.json                               the chosen values

A killed process loses at most the current stage; started again, it continues with the same trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ssbench.data.remarks import print_remarks
from ssbench.errors import BadInputError
from ssbench.executors import progress
from ssbench.executors.session import Options
from ssbench.executors.stage_runner import Outcome
from ssbench.storage.files import make_folder, write
from ssbench.storage.locks import BusyError, hold
from ssbench.tuning import printing
from ssbench.tuning.outcome import outcome
from ssbench.tuning.prepare import prepare
from ssbench.tuning.sampler import library
from ssbench.tuning.study import Study
from ssbench.tuning.trials import best


def tune(
    argument: str,
    options: Options,
    trials: int,
    seeds: Sequence[int],
    console: Console,
    log: Console,
) -> Outcome:
    """Run the missing trials, and write the chosen values.

    Args:
        argument: the experiment's file, or the name of one that ships with ssbench.
        options: the options shared with ``run``.
        trials: the number for every method, including trials of earlier calls.
        seeds: the seeds to tune on; empty: the experiment's ``tune.seeds``.
        console: for the result.
        log: for progress.

    Returns:
        The subjects by name; ``failed`` holds those whose trials all failed.

    Raises:
        BadInputError: what is wrong, where, and the remedy.
    """
    if trials < 1:
        raise BadInputError(f"--trials {trials}: make at least 1")
    ready = prepare(argument, options, seeds)
    print_remarks(ready.place.job.workbench.dataset, log)
    if options.dry_run:
        printing.foretell(ready, trials, console)
        return Outcome()
    library()
    make_folder(ready.place.logs, "--results")
    make_folder(ready.place.results.folder, "--results")
    ready.place.job.store.prepare()
    ready.place.results.open()
    with _alone(ready.folder):
        made = sum(_advance(study, trials, log, quiet=options.quiet) for study in ready.studies)
    ended = _ended(ready.studies, trials)
    for name, reason in ended.failed.items():
        log.print(f"failed: {name}: {reason}", style="red", markup=False, soft_wrap=True)
    if ended.failed:
        log.print("nothing was chosen: all trials of the methods above failed")
        return ended
    path = ready.folder / "tuned.json"
    write(path, outcome(ready, trials).model_dump_json(indent=1) + "\n")
    if not options.quiet:
        printing.outcome(ready, trials, made, path, console)
    return ended


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock an experiment's tuning, because trials build on each other.

    Raises:
        BadInputError: another process tunes it.
    """
    try:
        with hold(folder / "lock"):
            yield
    except BusyError as busy:
        raise BadInputError(
            f"{folder}: {busy.holder} tunes this experiment; wait for it, or give this one another "
            "--results"
        ) from busy


def _advance(study: Study, trials: int, log: Console, *, quiet: bool) -> int:
    """Run a study's missing trials; return their number."""
    missing = trials - len(study.log.trials)
    for _ in range(missing):
        parameters = study.next()
        # The plain display would print test errors, which must not influence choices.
        silent = quiet or not log.is_terminal
        with progress.observer(study.possible(parameters), log, quiet=silent) as observer:
            trial = study.advance(observer, parameters)
        if not quiet:
            log.print(
                printing.trial_line(study, trial, trials),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    return max(missing, 0)


def _ended(studies: Sequence[Study], trials: int) -> Outcome:
    ended = Outcome()
    for study in studies:
        counted = study.log.trials[:trials]
        if best(counted):
            ended.done.append(study.subject.name)
        else:
            ended.failed[study.subject.name] = counted[0].reason or "no reason given"
    return ended
