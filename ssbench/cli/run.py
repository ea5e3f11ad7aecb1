"""Run and export, without the command line: plain values in, text on a console out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from ssbench.analysis import claims as claims_
from ssbench.analysis.published import collect
from ssbench.data.remarks import print_remarks
from ssbench.errors import BadInputError
from ssbench.executors import estimate, progress
from ssbench.executors.session import Options, execute_missing, prepare
from ssbench.executors.stage_runner import Outcome
from ssbench.models.exported import Format
from ssbench.models.registry import check as check_model
from ssbench.paths import bench_folder
from ssbench.pipeline import export as export_
from ssbench.pipeline.feasibility import out_of_reach
from ssbench.report import freshness
from ssbench.report.formats.environment import FORMATS
from ssbench.report.formats.terminal import terminal_table
from ssbench.report.render import render
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.files import make_folder
from ssbench.storage.results import find_run

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
    print_remarks(ready.workbench.dataset, log)
    if options.dry_run:
        possible = [run for run in ready.runs if run.id not in ready.refused]
        console.print(estimate.tree(ready.runs, ready.store), soft_wrap=True)
        console.print(
            str(estimate.estimate(possible, ready.workbench, ready.store)), soft_wrap=True
        )
        for line in out_of_reach(possible, ready.workbench):
            console.print(line, soft_wrap=True, markup=False)
        _tell(ready.refused, log)
        return Outcome(failed=ready.refused)
    make_folder(ready.results.folder, "--results")
    ready.store.prepare()
    ready.results.open()
    if options.retry_failed:
        ready.results.forget_failed(run.id for run in ready.runs)
    with progress.observer(ready.runs, log, quiet=options.quiet) as observer:
        ready.results.tell = observer.warn
        outcome = execute_missing(ready, observer)
        for _ in range(ATTEMPTS):
            if all(ready.results.has(run.id) for run in ready.runs):
                break
            # Someone removed the records meanwhile; the stages are still in the cache.
            outcome = execute_missing(ready, observer)
    show(ready.results.folder, console, quiet=options.quiet)
    _tell(outcome.failed, log)
    if outcome.failed:
        log.print("failed runs are not repeated; use --retry-failed for that")
    return outcome


def _tell(failed: Mapping[str, str], log: Console) -> None:
    for name, reason in failed.items():
        log.print(f"failed: {name}: {reason}", style="red", markup=False, soft_wrap=True)


def show(folder: Path, console: Console, *, quiet: bool) -> None:
    """Render the report, unless it is up to date, and print the table."""
    published = collect()
    page, found = folder / "report.html", freshness.fingerprint(folder)
    if not freshness.is_fresh(folder, found):
        claims = claims_.shipped(bench_folder())
        render(folder, folder, FORMATS, claims, published)
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
    check_model(str(record["model"]), f"{record['run']}: model")
    beside = [folder / ".cache" for folder in (results, results.resolve().parent)]
    store = CheckpointStore(cache or next(filter(Path.is_dir, beside), beside[0]))
    stage = str(record["stage_id"])
    if not store.has(stage):
        raise BadInputError(
            f"{record['run']}: its checkpoint is not in {store.place}; name another --cache, or "
            "remove the record and run the experiment again"
        )
    network, difference = export_.compact_network(record, store.tensors(stage))
    export_.export(network, export_.describe(network, record, difference), kind, to)
    return to
