"""Prepare an experiment, check everything possible before training, and choose an executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from ssbench.data.download import data_root
from ssbench.data.registry import check, open_dataset
from ssbench.errors import BadInputError
from ssbench.executors.capacity import cores, fitting
from ssbench.executors.one_by_one import execute_one_by_one
from ssbench.executors.processes import ddp_group
from ssbench.executors.processes.ddp_group import DDPGroup
from ssbench.executors.processes.pool import execute_side_by_side
from ssbench.executors.processes.process import Process
from ssbench.executors.processes.worker import Setup
from ssbench.executors.ray.executor import RaySetup, execute_on_ray
from ssbench.executors.stage_runner import Observer, Outcome
from ssbench.experiment import tuned as tuned_
from ssbench.experiment.choose import only, smoke, with_images
from ssbench.experiment.plan import plan_variants
from ssbench.experiment.spec import Experiment, find, load
from ssbench.experiment.stage import Run
from ssbench.experiment.variants import variants
from ssbench.method.registry import discover
from ssbench.models.pretrained import fetch
from ssbench.pipeline.feasibility import check_reach, check_shift
from ssbench.pipeline.first_weights import check_weights
from ssbench.pipeline.precheck import Refused, check_methods, check_networks
from ssbench.pipeline.record import records
from ssbench.pipeline.workbench import Workbench
from ssbench.storage import code_files
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training import device
from ssbench.training.interrupt import SAVE_EVERY


@dataclass(frozen=True)
class Options:
    """How to run an experiment, apart from what it is.

    Attributes:
        concurrency: number of stages side by side; auto: as many as memory and cores allow; None:
            one, and on Ray one per GPU or core.
        address: of the Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT.
        save_every: seconds between two saves of a training.
        devices: number of devices that train each stage jointly.
        only: methods or labels to run; empty: all.
        smoke: whether to try the experiment in one epoch.
        live: whether the report's page shows what runs.
        tensorboard: the folder of TensorBoard's event files.
        data_file: a Python file with the function that the experiment's ``dataset`` names.
    """

    overrides: Sequence[str] = ()
    device: str = "auto"
    results: Path = Path("results")
    cache: Path | str | None = None
    method_files: Sequence[Path] = ()
    model_files: Sequence[Path] = ()
    dry_run: bool = False
    quiet: bool = False
    retry_failed: bool = False
    data_root: Path | None = None
    tuned: Path | None = None
    concurrency: int | Literal["auto"] | None = None
    executor: Literal["local", "ray"] = "local"
    address: str = "local"
    save_every: float = SAVE_EVERY
    devices: int = 1
    only: Sequence[str] = ()
    smoke: bool = False
    live: bool = False
    tensorboard: Path | None = None
    data_file: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A completely checked experiment; no training has started.

    Attributes:
        refused: the runs that fail before any training, and why.
    """

    experiment: Experiment
    runs: list[Run]
    workbench: Workbench
    store: CheckpointStore
    results: Results
    refused: Refused

    def note_refused(self) -> None:
        """Save failed records of the refused runs, unless they exist."""
        for run in self.runs:
            if run.id in self.refused and not self.results.has(run.id):
                # Name the run's own last stage: the stages shared with other runs have not failed.
                facts = {"stage": run.stage.kind, "stage_id": run.stage.id}
                self.results.save(run.id, records(run, [], self.refused[run.id], facts))


def prepare(argument: str, options: Options) -> Prepared:
    """Check everything that can be checked before training.

    Raises:
        BadInputError: what is wrong, where, and the remedy.
    """
    path = find(argument)
    experiment = experiment_of(path, options)
    return prepare_loaded(experiment, options, str(path), command(argument, options))


def prepare_loaded(
    experiment: Experiment, options: Options, source: str, told: Sequence[str]
) -> Prepared:
    """Do the same for an experiment that is no file.

    Args:
        experiment: the experiment, as ``options`` change it.
        options: the rest of the command line.
        source: what messages call the experiment.
        told: the arguments of ``ssbench run`` that repeat the results, for records.

    Raises:
        BadInputError: as `prepare`.
    """
    workbench = open_workbench(experiment, options, source)
    chosen = variants(experiment, discover(options.method_files), source)
    tuned = tuned_.load(options.tuned) if options.tuned else None
    if tuned:
        chosen = tuned_.apply(tuned, experiment, chosen, source)
    chosen = only(chosen, options.only, source)
    dataset = workbench.dataset
    runs = plan_variants(
        experiment, chosen, dataset.fingerprint, source, options.model_files, dataset.on_disk
    )
    manifest = experiment.manifest_on(dataset) | {"tuned": tuned.id if tuned else ""}
    results = Results(options.results, manifest, told)
    results.check()
    if options.devices > 1:
        ddp_group.check(options.devices, workbench.device, runs)
    store = CheckpointStore(options.cache or options.results / ".cache")
    refused = make_ready(runs, experiment.model_names, workbench, store, source)
    return Prepared(experiment, runs, workbench, store, results, refused)


def experiment_of(
    path: Path, options: Options, content: dict[str, Any] | None = None
) -> Experiment:
    """Read an experiment (or take ``content``) as the command line changes it.

    Raises:
        BadInputError: what is wrong, where, and the remedy.
    """
    experiment = load(path, options.overrides, content)
    experiment = with_images(experiment, options.data_file, path.parent)
    return smoke(experiment) if options.smoke else experiment


def command(argument: str, options: Options) -> list[str]:
    """Return the arguments of ``ssbench run`` that results depend on, paths as the user gave them.

    Leaves out seeds, which each record has, and device and threads, of which records name the
    actual ones.
    """
    own = [text for text in options.overrides if not text.startswith("seeds=")]
    parts = [argument, *(part for text in own for part in ("--set", text))]
    parts += [part for path in options.method_files for part in ("--method-file", str(path))]
    parts += [part for path in options.model_files for part in ("--model-file", str(path))]
    parts += ["--data-file", str(options.data_file)] if options.data_file else []
    parts += ["--tuned", str(options.tuned)] if options.tuned else []
    parts += ["--smoke"] if options.smoke else []
    return [*parts, *(["--devices", str(options.devices)] if options.devices > 1 else [])]


def open_workbench(experiment: Experiment, options: Options, source: str) -> Workbench:
    """Open an experiment's data set on the requested device.

    Raises:
        BadInputError: no such device or data set; names ``source``.
    """
    # On Ray, tasks have devices; here the data is only read.
    where = device.resolve("cpu" if options.executor == "ray" else options.device)
    place = f"{source}: dataset"
    check(experiment.dataset, place)
    root = data_root(options.data_root)
    return Workbench(open_dataset(experiment.dataset, root, place, experiment.data), where)


def make_ready(
    runs: Sequence[Run],
    models: Sequence[str],
    workbench: Workbench,
    store: CheckpointStore,
    source: str,
) -> Refused:
    """Fetch the weights that runs start with, and find runs that cannot work.

    Args:
        runs: all runs; skips those in the store.
        models: the networks' names, in the order of the experiment's key ``models``.
        workbench: the data.
        store: of finished stages.
        source: the experiment's file.

    Returns:
        The runs that cannot work, and why.

    Raises:
        BadInputError: weights cannot be fetched or are another network's, a budget is out of
            reach, or no run at all can work; names ``source``.
    """
    for weights in sorted({stage.start for run in runs for stage in run.stages} - {""}):
        fetch(weights)
    check_shift(runs, workbench, source)
    done = store.finished()
    left = [run for run in runs if run.stage.id not in done]
    refused = check_networks(left, workbench, models)
    left = [run for run in left if run.id not in refused]
    check_weights(left, workbench, models, source)
    check_reach(left, workbench, source)
    refused |= check_methods(left, workbench, models)
    if len(refused) == len(runs):
        reasons = dict.fromkeys(refused.values())
        raise BadInputError("\n".join(f"{source}: {reason}" for reason in reasons))
    return refused


def execute_missing(ready: Prepared, options: Options, observer: Observer) -> Outcome:
    """Execute the missing runs, in this process or in several."""
    ready.note_refused()
    for code in {run.stage.architecture.code for run in ready.runs} - {None}:
        if code and code.source:
            code_files.keep(ready.store, code.content, code.source)
    if options.executor == "ray":
        return _execute_on_ray(ready, options, observer)
    finished = ready.results.finished()
    missing = [run for run in ready.runs if run.id not in finished]
    auto, jointly = options.concurrency == "auto", options.devices > 1
    workers = fitting(missing, ready.workbench) if auto else int(options.concurrency or 1)
    if (workers > 1 or jointly) and str(options.cache).startswith("memory://"):
        raise BadInputError(
            f"--cache {options.cache}: only this process sees it; leave out --concurrency and "
            "--devices"
        )
    setup = setup_of(ready.experiment, options, ready.workbench, workers * options.devices)
    if (workers == 1 and not jointly) or not missing:
        return execute_one_by_one(
            ready.runs, ready.workbench, ready.store, ready.results, observer, setup
        )
    make_worker = partial(DDPGroup, devices=options.devices) if jointly else Process
    return execute_side_by_side(
        ready.runs, setup, ready.store, ready.results, observer, workers, make_worker
    )


def setup_of(
    experiment: Experiment, options: Options, workbench: Workbench, processes: int = 1
) -> Setup:
    """Return a worker's settings for this number of processes side by side."""
    cache = options.cache or options.results / ".cache"
    threads = torch.get_num_threads()
    return Setup(
        dataset=experiment.dataset,
        data=experiment.data,
        fingerprint=workbench.dataset.fingerprint if workbench.dataset.facts else "",
        data_root=data_root(options.data_root).absolute(),
        device=str(workbench.device),
        method_files=tuple(path.absolute() for path in options.method_files),
        # A method may change the working folder of its process.
        cache=cache if "://" in str(cache) else Path(cache).absolute(),
        threads=max(min(threads, cores()) // processes, 1) if processes > 1 else threads,
        save_every=options.save_every,
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
    return execute_on_ray(ready.runs, ready.workbench, ready.store, ready.results, observer, setup)
