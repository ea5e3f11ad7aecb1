"""What the commands do, without the command line: plain values in, text on a console out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from ssbench import device, dryrun, freshness, progress, report
from ssbench import export as export_
from ssbench.data import check, data_root, open_dataset
from ssbench.errors import BadInputError
from ssbench.executors import (
    Observer,
    Outcome,
    Process,
    RaySetup,
    Setup,
    Team,
    execute,
    execute_on_ray,
    execute_side_by_side,
)
from ssbench.executors import devices as devices_
from ssbench.executors.capacity import cores, fitting
from ssbench.executors.cluster import reach
from ssbench.experiment import Experiment, find, load
from ssbench.exported import Format
from ssbench.models import check as check_model
from ssbench.models import fetch
from ssbench.places import bench_folder
from ssbench.plan import plan_variants
from ssbench.reach import check_reach
from ssbench.reading import find_run
from ssbench.registry import discover
from ssbench.report import claims as claims_
from ssbench.stage import Run
from ssbench.stopping import SAVE_EVERY
from ssbench.storage import Results, Store, make_folder
from ssbench.tuning import tuned as tuned_
from ssbench.variants import variants
from ssbench.workbench import Bench

ATTEMPTS = 3
"""So often records that are removed during a run are written again."""


@dataclass(frozen=True)
class Options:
    """How to run an experiment, apart from what it is."""

    overrides: Sequence[str] = ()
    device: str = "auto"
    results: Path = Path("results")
    cache: Path | str | None = None
    method_files: Sequence[Path] = ()
    dry_run: bool = False
    quiet: bool = False
    retry_failed: bool = False
    data_root: Path | None = None
    tuned: Path | None = None
    concurrency: int | Literal["auto"] | None = None
    """So many stages side by side; auto: as many as memory and cores carry; None: one, and on Ray
    one on each GPU or core."""
    executor: Literal["local", "ray"] = "local"
    address: str = "local"
    """Of the Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT."""
    save_every: float = SAVE_EVERY
    """Seconds between two saves of a training."""
    devices: int = 1
    """So many devices train each stage jointly."""


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
    manifest = experiment.manifest | {"tuned": tuned.id if tuned else ""}
    results = Results(options.results, manifest, command(argument, options))
    results.check()
    if options.devices > 1:
        devices_.check(options.devices, bench.device, runs)
    store = Store(options.cache or options.results / ".cache")
    make_ready(runs, bench, store, source)
    return Prepared(experiment, runs, bench, store, results)


def command(argument: str, options: Options) -> list[str]:
    """Return the arguments of ``ssbench run`` that results depend on, paths as they were given.

    The seeds are left out: a record has its own. So are device and threads, which records name as
    they were and not as they were asked for.
    """
    own = [text for text in options.overrides if not text.startswith("seeds=")]
    parts = [argument, *(part for text in own for part in ("--set", text))]
    parts += [part for path in options.method_files for part in ("--method-file", str(path))]
    parts += ["--tuned", str(options.tuned)] if options.tuned else []
    return [*parts, *(["--devices", str(options.devices)] if options.devices > 1 else [])]


def open_bench(experiment: Experiment, options: Options, source: str) -> Bench:
    """Open an experiment's data set on the device that is asked for.

    Raises:
        BadInputError: there is no such device or data set; names ``source``.
    """
    # On Ray, tasks have devices; here the data is only read.
    where = device.resolve("cpu" if options.executor == "ray" else options.device)
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
    done = store.finished()
    check_reach([run for run in runs if run.stage.id not in done], bench, source)


def run(argument: str, options: Options, console: Console, log: Console) -> Outcome:
    """Run an experiment, or with ``dry_run`` say what that would do.

    Args:
        argument: the experiment's file, or the name of one that ships with ssbench.
        options: the rest of the command line.
        console: for the result.
        log: for progress.
    """
    if options.executor == "ray" and not options.dry_run:
        reach(options.address)
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
        ready.results.tell = observer.warn
        outcome = _execute(ready, options, observer)
        for _ in range(ATTEMPTS):
            if all(ready.results.has(run.id) for run in ready.runs):
                break
            # Someone removed the folder meanwhile; the stages are there.
            outcome = _execute(ready, options, observer)
    show(ready.results.folder, console, quiet=options.quiet)
    for name, reason in outcome.failed.items():
        log.print(f"failed: {name}: {reason}", style="red", markup=False, soft_wrap=True)
    if outcome.failed:
        log.print("failed runs stay as they are; try them again with --retry-failed")
    return outcome


def _execute(ready: Prepared, options: Options, observer: Observer) -> Outcome:
    """Carry out what is missing, in this process or in several."""
    if options.executor == "ray":
        return _execute_on_ray(ready, options, observer)
    finished = ready.results.finished()
    missing = [run for run in ready.runs if run.id not in finished]
    auto, jointly = options.concurrency == "auto", options.devices > 1
    workers = fitting(missing, ready.bench) if auto else int(options.concurrency or 1)
    if (workers > 1 or jointly) and str(options.cache).startswith("memory://"):
        raise BadInputError(
            f"--cache {options.cache}: only this process sees it; leave out --concurrency and "
            "--devices"
        )
    if (workers == 1 and not jointly) or not missing:
        every = options.save_every
        return execute(ready.runs, ready.bench, ready.store, ready.results, observer, every)
    setup = Setup(
        dataset=ready.experiment.dataset,
        data_root=data_root(options.data_root),
        device=str(ready.bench.device),
        method_files=tuple(options.method_files),
        cache=options.cache or options.results / ".cache",
        threads=max(min(torch.get_num_threads(), cores()) // (workers * options.devices), 1),
        save_every=options.save_every,
    )
    hire = partial(Team, devices=options.devices) if jointly else Process
    return execute_side_by_side(
        ready.runs, setup, ready.store, ready.results, observer, workers, hire
    )


def _execute_on_ray(ready: Prepared, options: Options, observer: Observer) -> Outcome:
    setup = RaySetup(
        address=options.address,
        device=options.device,
        stages=options.concurrency if isinstance(options.concurrency, int) else None,
        packed=options.concurrency == "auto",
        method_files=tuple(options.method_files),
        data_root=data_root(options.data_root),
    )
    return execute_on_ray(ready.runs, ready.bench, ready.store, ready.results, observer, setup)


def show(folder: Path, console: Console, *, quiet: bool) -> None:
    """Render the report, unless it is of these very records, and print the table."""
    published = report.collect()
    page, found = folder / "report.html", freshness.fingerprint(folder)
    if not freshness.is_fresh(folder, found):
        claims = claims_.shipped(bench_folder())
        report.render(folder, folder, report.FORMATS, claims, published)
        freshness.note(folder, found)
    if quiet:
        return
    console.print(report.terminal_table(folder, console.width, published))
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def export(run_id: str, to: Path, kind: Format, results: Path, cache: Path | str | None) -> Path:
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
    beside = [folder / ".cache" for folder in (results, results.resolve().parent)]
    store = Store(cache or next(filter(Path.is_dir, beside), beside[0]))
    stage = str(record["stage_id"])
    if not store.has(stage):
        raise BadInputError(
            f"{record['run']}: its checkpoint is not in {store.place}; name another --cache, or "
            "remove the record and run the experiment again"
        )
    network, difference = export_.compact_network(record, store.tensors(stage))
    export_.export(network, export_.describe(network, record, difference), kind, to)
    return to
