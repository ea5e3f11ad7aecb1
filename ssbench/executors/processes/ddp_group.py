"""Run each stage in several processes jointly, each on its own device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection, wait
from typing import cast

import torch

from ssbench.errors import BadInputError
from ssbench.executors.capacity import cores
from ssbench.executors.processes.ddp_worker import work_jointly
from ssbench.executors.processes.process import Process
from ssbench.executors.processes.worker import Setup
from ssbench.executors.protocol import Began, Busy, Done, Failed, Halted, Message
from ssbench.experiment.stage import Run, Stage
from ssbench.paths import install
from ssbench.training.distributed.launch import Place, meeting_point

TIMEOUT = 600.0
"""Timeout in seconds of an exchange between processes."""
HEARING = 3.0
"""Seconds to wait for the other processes' reasons when one has failed."""


def check(devices: int, device: torch.device, runs: Sequence[Run]) -> None:
    """Check that every training can use this number of devices.

    Raises:
        BadInputError: it cannot; names the reason and the remedy.
    """
    here = torch.cuda.device_count() if device.type == "cuda" else cores()
    what = "CUDA devices" if device.type == "cuda" else "cores"
    if devices > here:
        raise BadInputError(f"--devices {devices}: this machine has {here} usable {what}")
    if ":" in str(device):
        raise BadInputError(
            f"--devices {devices}: it always uses the first ones; choose --device cuda"
        )
    if find_spec("lightning_fabric") is None:
        raise BadInputError(f"--devices {devices} needs: {install('distributed')}")
    if any(stage.recipe and stage.recipe.compile for run in runs for stage in run.stages):
        raise BadInputError(f"--devices {devices}: trains without compile; set compile = false")


class DDPGroup:
    """Processes that run a stage jointly; the first one saves it and reports."""

    def __init__(self, setup: Setup, devices: int) -> None:
        self.stage: Stage | None = None
        self.lost, self.serves_once = False, bool(setup.method_module)
        self._meeting = meeting_point()
        places = [Place(rank, devices, self._meeting.port, TIMEOUT) for rank in range(devices)]
        self._members = [Process(setup, work_jointly, place) for place in places]

    @property
    def pipes(self) -> Sequence[Connection]:
        """The pipes of all processes, because any of them may die."""
        return [member.pipe for member in self._members]

    def give(self, stage: Stage) -> None:
        """Send a stage to the first process, which checks what there is to do."""
        self.stage = stage
        for member in self._members:
            member.stage = stage  # it fails if any process dies
        self._members[0].give(stage)

    def message(self) -> Message:
        """Read a message of one process; if it failed, stop all of them."""
        sender = next(member for member in self._members if member.pipe.poll())
        message = sender.message()
        if isinstance(message, Failed):
            message = self._reason(sender, message)
            self.lost = True
            self.stop()
        elif isinstance(message, Halted):
            self.lost = True
            self.stop()  # the others are entering the next epoch
        elif isinstance(message, Began):
            self._help(message.stage)
        elif isinstance(message, Done | Busy):
            self.stage = None
            for member in self._members:
                member.stage = None
        return message

    def ask(self) -> None:
        """Ask the first process to stop; it saves the current epoch."""
        self._members[0].ask()

    def _help(self, stage: Stage) -> None:
        """Start the other processes if the stage trains; the first one does other stages alone."""
        for member in self._members[1:] if stage.recipe else ():
            member.give(stage)

    def dismiss(self) -> None:
        """Tell the first process to end, and kill the busy helpers, which save nothing."""
        for member in self._members[1:]:
            if self.stage:
                member.process.kill()
            member.pipe.close()
        self._members[0].dismiss()

    def stop(self) -> None:
        """Stop all processes, and wait for their end."""
        self.dismiss()
        for member in self._members:
            member.stop()

    def _reason(self, sender: Process, message: Failed) -> Failed:
        """Find the process whose failure came first; its end makes all others fail."""
        failures = {sender: message}
        deadline = time.monotonic() + HEARING
        while (left := deadline - time.monotonic()) > 0 and not any(m.lost for m in failures):
            silent = {member.pipe: member for member in self._members if member not in failures}
            if not silent:
                break
            for pipe in wait(list(silent), left):
                member = silent[cast("Connection", pipe)]
                answer = member.message()
                if isinstance(answer, Failed):
                    failures[member] = answer
        failed = [type(answer) is Failed for answer in failures.values()]
        first = min(failures, key=lambda m: (not m.lost, type(failures[m]) is not Failed))
        alone = sum(failed) == 1
        where = f" (process {self._members.index(first) + 1} of {len(self._members)})"
        return Failed(failures[first].reason + (where if alone else ""))
