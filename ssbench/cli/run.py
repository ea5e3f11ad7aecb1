"""Run and export, without the command line: plain values in, text on a console out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from ssbench.analysis import claims as claims_
from ssbench.analysis.published import collect
from ssbench.cli.live_page import LivePage
from ssbench.cli.outputs import PlannedOutput, RunOutput, TuneOutput
from ssbench.data.remarks import print_remarks
from ssbench.errors import BadInputError
from ssbench.executors import callbacks, estimate, progress
from ssbench.executors.callbacks import Callbacks
from ssbench.executors.listeners import Listener, Recorder, listening
from ssbench.executors.session import Options, Prepared, execute_missing, experiment_of, prepare
from ssbench.executors.stage_runner import Observer, Outcome
from ssbench.executors.tensorboard import TensorBoard
from ssbench.experiment.spec import find
from ssbench.experiment.stage import Run
from ssbench.models.exported import Format
from ssbench.paths import bench_folder
from ssbench.pipeline import export as export_
from ssbench.pipeline.feasibility import out_of_reach
from ssbench.pipeline.first_weights import unfitted_outputs
from ssbench.report import freshness
from ssbench.report.formats.environment import FORMATS
from ssbench.report.formats.terminal import terminal_table
from ssbench.report.render import render
from ssbench.storage import code_files
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.files import make_folder
from ssbench.storage.results import find_run
from ssbench.storage.view import keep, kept

ATTEMPTS = 3
"""How many times to rewrite records that were deleted during a run."""


def run(argument: str, options: Options, console: Console, log: Console) -> Outcome:
    """Run an experiment, or with ``dry_run`` print the plan and its cost.

    Args:
        argument: the experiment's file, or the name of one that ships with ssbench.
        options: the rest of the command line.
        console: for the result.
        log: for progress.
    """
    ready = prepare(argument, options)
    warn(ready, log)
    if options.dry_run:
        _foretell(ready, console)
        tell(ready.refused, log)
        return Outcome(failed=ready.refused)
    outcome = carry_out(ready, options, log)
    show(ready.results.folder, console, quiet=options.quiet)
    tell(outcome.failed, log)
    if outcome.failed:
        log.print("failed runs are not repeated; use --retry-failed for that")
    return outcome


def warn(ready: Prepared, log: Console) -> None:
    """Print what is odd about the images, and which outputs start with random weights."""
    print_remarks(ready.workbench.dataset, log)
    for line in unfitted_outputs(_possible(ready), ready.workbench):
        log.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def carry_out(ready: Prepared, options: Options, log: Console) -> Outcome:
    """Execute what is missing of a checked experiment, and save records; show progress.

    Raises:
        Stopped: someone asked the process to end; finished stages and epochs are kept.
    """
    make_folder(ready.results.folder, "--results")
    ready.store.prepare()
    ready.results.open()
    keep(ready.results.folder, ready.experiment.report)
    if options.retry_failed:
        ready.results.forget_failed(run.id for run in ready.runs)
    with observing(ready, options, log) as observer:
        ready.results.tell = observer.warn
        outcome = execute_missing(ready, observer)
        for _ in range(ATTEMPTS):
            if all(ready.results.has(run.id) for run in ready.runs):
                break
            # Someone removed the records meanwhile; the stages are still in the cache.
            outcome = execute_missing(ready, observer)
    return outcome


@contextmanager
def observing(ready: Prepared, options: Options, log: Console) -> Iterator[Observer]:
    """Enclose runs: show their progress, write it for watchers, and tell callbacks of it.

    Raises:
        BadInputError: TensorBoard's package is missing.
    """
    folder = ready.results.folder
    display = progress.observer(ready.runs, log, quiet=options.quiet)
    made = callbacks.load(folder, display.warn)
    if options.tensorboard:
        made.append(("tensorboard", TensorBoard(options.tensorboard)))
    recorder = Recorder(ready.runs, folder)
    listeners: list[Listener] = [recorder]
    if options.live:
        listeners.append(LivePage(folder, recorder))
        log.print(f"live: {folder / 'report.html'}", soft_wrap=True, highlight=False)
    if made:
        refused = {name for name in ready.refused if not ready.results.has(name)}
        listeners.append(Callbacks(made, ready.store.record, display.warn, refused))
    with listening(display, listeners) as observer:
        yield observer


def _foretell(ready: Prepared, console: Console) -> None:
    """Print the stages and what they cost."""
    possible = _possible(ready)
    console.print(estimate.tree(ready.runs, ready.store), soft_wrap=True)
    console.print(str(estimate.estimate(possible, ready.workbench, ready.store)), soft_wrap=True)
    for line in out_of_reach(possible, ready.workbench):
        console.print(line, soft_wrap=True, markup=False)


def _possible(ready: Prepared) -> list[Run]:
    return [run for run in ready.runs if run.id not in ready.refused]


def planned(argument: str, options: Options) -> PlannedOutput:
    """Return the plan and its cost for ``run --dry-run --json``."""
    ready = prepare(argument, options)
    cost = estimate.estimate(_possible(ready), ready.workbench, ready.store)
    return PlannedOutput(
        experiment=ready.experiment.name,
        runs=[run.id for run in ready.runs],
        refused=dict(ready.refused),
        stages=cost.stages,
        epochs=cost.epochs,
        images=cost.images,
        macs=cost.macs,
        seconds=cost.seconds,
    )


def ended(argument: str, options: Options, outcome: Outcome) -> RunOutput:
    """Return how a run ended for ``run --json``."""
    name = experiment_of(find(argument), options).name
    folder = options.results / name
    return RunOutput(
        experiment=name,
        folder=str(folder),
        report=str(folder / "report.html"),
        done=outcome.done,
        failed=outcome.failed,
    )


def tuned(argument: str, options: Options, outcome: Outcome) -> TuneOutput:
    """Return how a tuning ended for ``tune --json``."""
    name = experiment_of(find(argument), options).name
    path = options.results / name / "tuning" / "tuned.json"
    return TuneOutput(
        experiment=name,
        tuned=str(path) if path.exists() and not outcome.failed else None,
        done=outcome.done,
        failed=outcome.failed,
    )


def tell(failed: Mapping[str, str], log: Console) -> None:
    """Print why runs have no result."""
    for name, reason in failed.items():
        log.print(f"failed: {name}: {reason}", style="red", markup=False, soft_wrap=True)


def show(folder: Path, console: Console, *, quiet: bool) -> None:
    """Render the report, unless it is up to date, and print the table."""
    published = collect()
    page, found = folder / "report.html", freshness.fingerprint(folder)
    if not freshness.is_fresh(folder, found):
        claims = claims_.shipped(bench_folder())
        render(folder, folder, FORMATS, claims, published, kept(folder))
        freshness.note(folder, found)
    if quiet:
        return
    console.print(terminal_table(folder, console.width, published))
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def export(run_id: str, to: Path, kind: Format, results: Path, cache: Path | str | None) -> Path:
    """Write a finished run's compact network to a folder.

    Returns:
        The folder.

    Raises:
        BadInputError: no such run, no result, no checkpoint, or the folder cannot be written.
    """
    record = find_run(run_id, results)[-1]
    if record["status"] != "done":
        raise BadInputError(f"{record['run']}: failed ({record['reason']}), so there is no network")
    lacking = [key for key in ("image_shape", "classes", "mean", "sd") if key not in record]
    if lacking:
        raise BadInputError(f"{record['run']}: its record lacks {lacking[0]}; run it again")
    beside = [folder / ".cache" for folder in (results, results.resolve().parent)]
    store = CheckpointStore(cache or next(filter(Path.is_dir, beside), beside[0]))
    stage = str(record["stage_id"])
    if not store.has(stage):
        raise BadInputError(
            f"{record['run']}: its checkpoint is not in {store.place}; name another --cache, or "
            "remove the record and run the experiment again"
        )
    architecture = export_.architecture_of(record, partial(code_files.kept, store))
    network, difference = export_.compact_network(record, store.tensors(stage), architecture)
    description = export_.describe(network, record, difference, architecture)
    source = architecture.code.source if architecture.code else ""
    export_.export(network, description, kind, to, source)
    return to
