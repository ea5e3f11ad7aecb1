"""Prepare an experiment, check everything possible before training, and execute it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssbench.data.download import data_root
from ssbench.data.registry import check, open_dataset
from ssbench.errors import BadInputError
from ssbench.executors.coordinator import execute
from ssbench.executors.failure import LONGEST
from ssbench.executors.processes import ddp_group
from ssbench.executors.processes.trial import try_elsewhere
from ssbench.executors.protocol import Job, Where
from ssbench.executors.registry import find as find_executor
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
from ssbench.pipeline.precheck import Refused, check_methods, check_networks, shown_before
from ssbench.pipeline.record import records
from ssbench.pipeline.workbench import Workbench
from ssbench.storage import code_files
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training import device

CONTENT = "experiment"
"""What messages call an experiment that is no file."""


@dataclass(frozen=True)
class Options(Where):
    """How to run an experiment, apart from what it is; see `Where` for further options.

    Attributes:
        only: methods or labels to run; empty: all.
        smoke: whether to try the experiment in one epoch.
        live: whether the report's page shows what runs.
        tensorboard: the folder of TensorBoard's event files.
        content: the experiment's content, if it is no file.
        data_file: a Python file with the function that the experiment's ``dataset`` names.
    """

    overrides: Sequence[str] = ()
    results: Path = Path("results")
    cache: Path | str | None = None
    method_files: Sequence[Path] = ()
    model_files: Sequence[Path] = ()
    quiet: bool = False
    retry_failed: bool = False
    data_root: Path | None = None
    tuned: Path | None = None
    only: Sequence[str] = ()
    smoke: bool = False
    live: bool = False
    tensorboard: Path | None = None
    data_file: Path | None = None
    content: dict[str, Any] | None = None


@dataclass(frozen=True)
class Prepared:
    """A completely checked experiment; no training has started.

    Attributes:
        refused: the runs that fail before any training, and why.
    """

    experiment: Experiment
    runs: list[Run]
    job: Job
    results: Results
    refused: Refused

    @property
    def workbench(self) -> Workbench:
        """The data set."""
        return self.job.workbench

    @property
    def store(self) -> CheckpointStore:
        """The finished stages."""
        return self.job.store

    def note_refused(self) -> None:
        """Save failed records of the refused runs, unless they exist."""
        for run in self.runs:
            if run.id in self.refused and not self.results.has(run.id):
                # Name the run's own last stage: the stages shared with other runs have not failed.
                facts = {"stage": run.stage.kind, "stage_id": run.stage.id}
                if traceback := shown_before(run, self.workbench).traceback:
                    facts["traceback"] = traceback[-LONGEST:]
                self.results.save(run.id, records(run, [], self.refused[run.id], facts))


def prepare(argument: str, options: Options) -> Prepared:
    """Check everything that can be checked before training.

    Raises:
        BadInputError: what is wrong, where, and the remedy.
    """
    path = find(argument) if options.content is None else Path(CONTENT)
    source, experiment = str(path), experiment_of(path, options)
    find_executor(options.executor).check(options)
    job = open_job(experiment, options, source)
    workbench = job.workbench
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
    results = Results(options.results, manifest, command(argument, options))
    results.check()
    if options.devices > 1:
        ddp_group.check(options.devices, workbench.device, runs)
    refused = make_ready(runs, experiment.model_names, job, source)
    return Prepared(experiment, runs, job, results, refused)


def experiment_of(path: Path, options: Options) -> Experiment:
    """Read an experiment as the command line changes it.

    Raises:
        BadInputError: what is wrong, where, and the remedy.
    """
    experiment = load(path, options.overrides, options.content)
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


def open_job(experiment: Experiment, options: Options, source: str) -> Job:
    """Open an experiment's data set on the requested device, and its store.

    Raises:
        BadInputError: no such device or data set; names ``source``.
    """
    elsewhere = find_executor(options.executor).elsewhere
    where = device.resolve("cpu" if elsewhere else options.device)
    place, root = f"{source}: dataset", data_root(options.data_root)
    check(experiment.dataset, place)
    cache = options.cache or options.results / ".cache"
    dataset = open_dataset(experiment.dataset, root, place, experiment.data)
    return Job(
        workbench=Workbench(dataset, where),
        store=CheckpointStore(cache),
        where=options,
        dataset=experiment.dataset,
        data=experiment.data,
        data_root=root,
        cache=cache,
        method_files=tuple(options.method_files),
    )


def make_ready(runs: Sequence[Run], models: Sequence[str], job: Job, source: str) -> Refused:
    """Fetch the weights that runs start with, and find runs that cannot work.

    Args:
        runs: all runs; skips those in the store.
        models: the networks' names, in the order of the experiment's key ``models``.
        job: the data and the store.
        source: the experiment's file.

    Returns:
        The runs that cannot work, and why.

    Raises:
        BadInputError: weights cannot be fetched or are another network's, a budget is out of
            reach, or no run at all can work; names ``source``.
    """
    for weights in sorted({stage.start for run in runs for stage in run.stages} - {""}):
        fetch(weights)
    workbench = job.workbench
    check_shift(runs, workbench, source)
    done = job.store.finished()
    left = [run for run in runs if run.stage.id not in done]
    refused = check_networks(left, workbench, models)
    left = [run for run in left if run.id not in refused]
    check_weights(left, workbench, models, source)
    refused |= check_methods(left, workbench, models, try_elsewhere(job))
    check_reach([run for run in left if run.id not in refused], workbench, source)
    if len(refused) == len(runs):
        reasons = dict.fromkeys(refused.values())
        raise BadInputError("\n".join(f"{source}: {reason}" for reason in reasons))
    return refused


def execute_missing(ready: Prepared, observer: Observer) -> Outcome:
    """Execute the missing runs."""
    ready.note_refused()
    for code in {run.stage.architecture.code for run in ready.runs} - {None}:
        if code and code.source:
            code_files.keep(ready.store, code.content, code.source)
    return execute(ready.runs, ready.job, ready.results, observer)
