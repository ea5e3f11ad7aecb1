"""Carry out each stage by several processes jointly, each on a device of its own."""

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
from ssbench.executors.processes.worker import Began, Busy, Done, Failed, Halted, Message, Setup
from ssbench.experiment.stage import Run, Stage
from ssbench.training.distributed.launch import Place, meeting_point

TIMEOUT = 600.0
"""Seconds that a process waits for the others in an exchange."""
HEARING = 3.0
"""Seconds in which the others can say what they failed of, when one has failed."""


def check(devices: int, device: torch.device, runs: Sequence[Run]) -> None:
    """See that every training can be done by so many devices.

    Raises:
        BadInputError: why not, and the remedy.
    """
    here = torch.cuda.device_count() if device.type == "cuda" else cores()
    what = "CUDA devices" if device.type == "cuda" else "cores"
    if devices > here:
        raise BadInputError(f"--devices {devices}: this machine has {here} {what} to be used")
    if ":" in str(device):
        raise BadInputError(f"--devices {devices}: the first ones are taken; choose --device cuda")
    if find_spec("lightning_fabric") is None:
        raise BadInputError(f"--devices {devices} needs: pip install 'ssbench[distributed]'")
    if any(stage.recipe and stage.recipe.compile for run in runs for stage in run.stages):
        raise BadInputError(f"--devices {devices}: trains without compile; set compile = false")


class DDPGroup:
    """Processes that carry out a stage jointly; the first one saves it and tells of it."""

    def __init__(self, setup: Setup, devices: int) -> None:
        self.stage: Stage | None = None
        self.lost, self.serves_once = False, bool(setup.method_module)
        self._meeting = meeting_point()
        places = [Place(rank, devices, self._meeting.port, TIMEOUT) for rank in range(devices)]
        self._members = [Process(setup, work_jointly, place) for place in places]

    @property
    def pipes(self) -> Sequence[Connection]:
        """Those of all processes, as any of them may die."""
        return [member.pipe for member in self._members]

    def give(self, stage: Stage) -> None:
        """Tell the first one, which finds out what is to be done."""
        self.stage = stage
        for member in self._members:
            member.stage = stage  # which fails should any process die
        self._members[0].give(stage)

    def message(self) -> Message | None:
        """Hear what one of them says; when one fails, all are ended."""
        speaker = next(member for member in self._members if member.pipe.poll())
        said = speaker.message()
        if isinstance(said, Failed):
            said = self._reason(speaker, said)
            self.lost = True
            self.stop()
        elif isinstance(said, Halted):
            self.lost = True
            self.stop()  # the others are on their way into the next epoch
        elif isinstance(said, Began):
            self._help(said.stage)
            return None
        elif isinstance(said, Done | Busy):
            self.stage = None
            for member in self._members:
                member.stage = None
        return said

    def ask(self) -> None:
        """Tell the first one, which saves the epoch that all are at."""
        self._members[0].ask()

    def _help(self, stage: Stage) -> None:
        """Let the others help with a training; what is none is the first one's alone."""
        for member in self._members[1:] if stage.recipe else ():
            member.give(stage)

    def dismiss(self) -> None:
        """Tell all processes to end; the helpers, which save nothing, are killed."""
        for member in self._members[1:]:
            if self.stage:
                member.process.kill()
            member.pipe.close()
        self._members[0].dismiss()

    def stop(self) -> None:
        """End all processes, and wait until they have ended."""
        self.dismiss()
        for member in self._members:
            member.stop()

    def _reason(self, speaker: Process, said: Failed) -> Failed:
        """Find what the stage failed of: the end of one process is a failure of all others."""
        found = {speaker: said}
        deadline = time.monotonic() + HEARING
        while (left := deadline - time.monotonic()) > 0 and not any(m.lost for m in found):
            silent = {member.pipe: member for member in self._members if member not in found}
            if not silent:
                break
            for pipe in wait(list(silent), left):
                member = silent[cast("Connection", pipe)]
                answer = member.message()
                if isinstance(answer, Failed):
                    found[member] = answer
        first = min(found, key=lambda member: (not member.lost, type(found[member]) is not Failed))
        alone = sum(type(answer) is Failed for answer in found.values()) == 1
        where = f" (process {self._members.index(first) + 1} of {len(self._members)})"
        return Failed(found[first].reason + (where if alone else ""))
