"""Try a method that does not ship with ssbench in a process of its own, before any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ssbench.data.dataset import DataSet
from ssbench.data.held_back import close
from ssbench.data.without_test import places_of_test
from ssbench.executors.processes.pool import setup_of
from ssbench.executors.processes.process import Process
from ssbench.executors.processes.worker import Setup, import_method, serve
from ssbench.executors.protocol import Failed, Job
from ssbench.experiment.stage import Stage
from ssbench.pipeline.precheck import Attempt, Trial, try_method
from ssbench.pipeline.workbench import Workbench

SECONDS = 60.0
"""A trial that takes longer shows nothing."""


def try_elsewhere(job: Job) -> Attempt:
    """Return a function that tries a method in another process."""

    def attempt(stage: Stage, small: Workbench) -> Trial:
        setup = replace(setup_of(job, 1), device="cpu", method_module=stage.foreign_module)
        places = places_of_test(job.workbench.dataset, job.dataset, setup.data_root)
        worker = Process(setup, _work, small.dataset, places)
        try:
            worker.give(stage)
            shown: object = worker.message() if worker.pipe.poll(SECONDS) else Trial()
        finally:
            worker.stop()
        if isinstance(shown, Failed):
            return Trial(shown.reason)
        return shown if isinstance(shown, Trial) else Trial()

    return attempt


def _work(setup: Setup, pipe: Connection, images: DataSet, places: Sequence[Path]) -> None:
    serve(pipe, setup.threads, partial(_begin, setup, images, places))


def _begin(setup: Setup, images: DataSet, places: Sequence[Path]) -> Callable[[Stage], Trial]:
    small = Workbench(images, torch.device("cpu"))
    close(places, setup.method_module)
    import_method(setup)
    return partial(_try, small)


def _try(small: Workbench, stage: Stage) -> Trial:
    return try_method(stage, small)
