"""What the commands do, without the command line: plain values in, text on a console out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ssbench import device, dryrun, progress, report
from ssbench import export as export_
from ssbench.data import check, data_root, open_dataset
from ssbench.errors import BadInputError
from ssbench.executors import Outcome, execute
from ssbench.experiment import Experiment, find, load
from ssbench.exported import Format
from ssbench.models import check as check_model
from ssbench.models import fetch
from ssbench.places import bench_folder
from ssbench.plan import Run, plan_variants
from ssbench.reach import check_reach
from ssbench.registry import discover
from ssbench.report import claims as claims_
from ssbench.storage import Record, Results, Store, make_folder
from ssbench.tuning import tuned as tuned_
from ssbench.variants import variants
from ssbench.workbench import Bench


@dataclass(frozen=True)
class Options:
    """How to run an experiment, apart from what it is."""

    overrides: Sequence[str] = ()
    device: str = "auto"
    results: Path = Path("results")
    cache: Path | None = None
    method_files: Sequence[Path] = ()
    dry_run: bool = False
    quiet: bool = False
    retry_failed: bool = False
    data_root: Path | None = None
    tuned: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """An experiment that has been checked from end to end; no training has started."""

    experiment: Experiment
    runs: list[Run]
    bench: Bench
    store: Store
    results: Results


def prepare(argument: str, options: Options) -> Prepared:
    """Check everything that can be checked before training.

    Raises:
        BadInputError: what is wrong, where, and the remedy.
    """
    path = find(argument)
    source, experiment = str(path), load(path, options.overrides)
    bench = open_bench(experiment, options, source)
    chosen = variants(experiment, discover(options.method_files), source)
    tuned = tuned_.load(options.tuned) if options.tuned else None
    if tuned:
        chosen = tuned_.apply(tuned, experiment, chosen, source)
    runs = plan_variants(experiment, chosen, bench.dataset.fingerprint, source)
    results = Results(options.results, experiment.manifest | {"tuned": tuned.id if tuned else ""})
    results.check()
    store = Store(options.cache or options.results / ".cache")
    make_ready(runs, bench, store, source)
    return Prepared(experiment, runs, bench, store, results)


def open_bench(experiment: Experiment, options: Options, source: str) -> Bench:
    """Open an experiment's data set on the device that is asked for.

    Raises:
        BadInputError: there is no such device or data set; names ``source``.
    """
    where = device.resolve(options.device)
    place = f"{source}: dataset"
    check(experiment.dataset, place)
    return Bench(open_dataset(experiment.dataset, data_root(options.data_root), place), where)


def make_ready(runs: Sequence[Run], bench: Bench, store: Store, source: str) -> None:
    """Fetch the weights that runs begin with, and see that their budgets can be reached.

    Raises:
        BadInputError: either cannot be; names ``source``.
    """
    for weights in sorted({stage.start for run in runs for stage in run.stages} - {""}):
        fetch(weights)
    check_reach([run for run in runs if not store.has(run.stage.id)], bench, source)


def run(argument: str, options: Options, console: Console, log: Console) -> Outcome:
    """Run an experiment, or with ``dry_run`` say what that would do.

    Args:
        argument: the experiment's file, or the name of one that ships with ssbench.
        options: the rest of the command line.
        console: for the result.
        log: for progress.
    """
    ready = prepare(argument, options)
    if options.dry_run:
        console.print(dryrun.tree(ready.runs, ready.store), soft_wrap=True)
        console.print(str(dryrun.estimate(ready.runs, ready.bench, ready.store)), soft_wrap=True)
        return Outcome()
    make_folder(ready.results.folder, "--results")
    ready.store.prepare()
    ready.results.open()
    if options.retry_failed:
        ready.results.forget_failed(run.id for run in ready.runs)
    with progress.observer(ready.runs, log, quiet=options.quiet) as observer:
        outcome = execute(ready.runs, ready.bench, ready.store, ready.results, observer)
    show(ready.results.folder, console, quiet=options.quiet)
    for name, reason in outcome.failed.items():
        log.print(f"failed: {name}: {reason}", style="red", markup=False, soft_wrap=True)
    if outcome.failed:
        log.print("failed runs stay as they are; try them again with --retry-failed")
    return outcome


def show(folder: Path, console: Console, *, quiet: bool) -> None:
    """Render the report, unless it is newer than every record, and print the table."""
    published = report.collect()
    page = folder / "report.html"
    records = max(path.stat().st_mtime_ns for path in folder.glob("*.jsonl"))
    if not page.exists() or page.stat().st_mtime_ns < records:
        claims = claims_.shipped(bench_folder())
        report.render(folder, folder, report.FORMATS, claims, published)
    if quiet:
        return
    console.print(report.terminal_table(folder, console.width, published))
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Rendering:
    """What to render of records, and how.

    Attributes:
        formats: see `ssbench.report.render`.
        table: one of the paper's tables; None for the report.
        out: where to write; None for beside the records. Several folders need one.
        claims: files of claims, beside those that ship with ssbench.
        published: files of published rows.
        shipped: whether to show the published rows that ship with ssbench too.
    """

    formats: Sequence[str] = report.FORMATS
    table: int | None = None
    out: Path | None = None
    claims: Sequence[Path] = ()
    published: Sequence[Path] = ()
    shipped: bool = True


def render(folders: Sequence[Path], options: Rendering) -> list[Path]:
    """Render the report of a results folder, of every experiment under it, or of several together.

    One of the paper's tables is of all these experiments together.

    Args:
        folders: one, of records or of such folders; or several of records, for one report.
        options: what of them, and how.

    One of the paper's tables is of all these experiments together.

    Raises:
        BadInputError: a format that is not known, no records, several folders without
            ``options.out``, a file of claims or published rows that is none, or nothing that fits
            in the table.
    """
    out = options.out
    known = (*report.FORMATS, *report.OPTIONAL)
    if set(options.formats) - set(known) or not options.formats:
        raise BadInputError(f"--format {','.join(options.formats)}: known: {', '.join(known)}")
    for folder in folders:
        if not folder.is_dir():
            raise BadInputError(f"{folder}: no such folder; name one that holds records (*.jsonl)")
    if len(folders) > 1 and out is None:
        raise BadInputError("several folders in one report: say with --out where to write it")
    claims = [*claims_.shipped(bench_folder()), *options.claims]
    published = report.collect(options.published, shipped=options.shipped)
    if len(folders) > 1 and out is not None and options.table is None:
        make_folder(out, "--out")
        return report.render(folders, out, options.formats, claims, published)
    found = [source for folder in folders for source in _with_records(folder)]
    if options.table is not None:
        target = out or folders[0]
        make_folder(target, "--out")
        return report.render_table(options.table, found, target, options.formats, published)
    written: list[Path] = []
    for source in found:
        target = source if out is None else out if source in folders else out / source.name
        make_folder(target, "--out")
        written += report.render(source, target, options.formats, claims, published)
    return written


def _with_records(folder: Path) -> list[Path]:
    """The folder, or those of every experiment under it."""
    if any(folder.glob("*.jsonl")):
        return [folder]
    found = sorted({path.parent for path in folder.glob("*/*.jsonl")})
    if not found:
        raise BadInputError(f"{folder}: no records (*.jsonl) here or one level below")
    return found


def export(run_id: str, to: Path, kind: Format, results: Path, cache: Path | None) -> Path:
    """Write a finished run's compact network to a folder of its own.

    Returns:
        The folder.

    Raises:
        BadInputError: no such run, no result, no checkpoint any more, or nowhere to write.
    """
    record = find_run(run_id, results)[-1]
    if record["status"] != "done":
        raise BadInputError(f"{record['run']}: failed ({record['reason']}); there is no network")
    lacking = [key for key in ("image_shape", "classes", "mean", "sd") if key not in record]
    if lacking:
        raise BadInputError(f"{record['run']}: its record lacks {lacking[0]}; run it again")
    check_model(str(record["model"]), f"{record['run']}: model")
    store = Store(cache or results / ".cache")
    stage = str(record["stage_id"])
    if not store.has(stage):
        raise BadInputError(
            f"{record['run']}: its checkpoint is not in {store.folder}; name another --cache, or "
            "remove the record and run the experiment again"
        )
    network, difference = export_.compact_network(record, store.tensors(stage))
    export_.export(network, export_.describe(network, record, difference), kind, to)
    return to


def find_run(run_id: str, results: Path) -> list[Record]:
    """Return the records of a run, given by its id or the beginning of it.

    Raises:
        BadInputError: none or several runs match.
    """
    paths = sorted(results.glob("*.jsonl")) + sorted(results.glob("*/*.jsonl"))
    exact = [path for path in paths if path.stem == run_id]
    matching = exact or [path for path in paths if run_id in path.stem]
    if not matching:
        raise BadInputError(f"{run_id}: no run of this id under {results}; choose --results")
    if len(matching) > 1:
        names = "\n  ".join(path.stem for path in matching[:10])
        raise BadInputError(f"{run_id}: {len(matching)} runs match; say more of the id:\n  {names}")
    lines = matching[0].read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
