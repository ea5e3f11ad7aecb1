"""A worker process, seen from the one that gives it stages."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from ssbench.executors.processes.worker import ASK, END, Failed, Message, Setup, work
from ssbench.experiment.stage import Stage

GRACE = 5.0
"""Seconds that a worker has to end by itself."""


class Process:
    """A process and the stage that it is at.

    Args:
        setup: what it needs to know.
        target: is called there, with ``setup``, its end of the pipe and ``more``.
        more: see there.
    """

    def __init__(self, setup: Setup, target: Callable[..., None] = work, *more: object) -> None:
        # A fork of this process would share its threads, CUDA's state and its images.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([work.__module__, "ssbench.pipeline.preload"])
        self.pipe, theirs = context.Pipe()
        arguments = (dict(os.environ), target, setup, theirs, *more)
        self.process: ForkServerProcess = context.Process(target=_begin, args=arguments)
        self.serves_once = bool(setup.method_module)
        _ensure_server()
        self.process.start()  # the first one waits for what the server imports
        theirs.close()
        self.stage: Stage | None = None
        self.lost = False

    @property
    def pipes(self) -> Sequence[Connection]:
        """The only one."""
        return (self.pipe,)

    def give(self, stage: Stage) -> None:
        """Tell it to carry out a stage."""
        self.stage = stage
        with suppress(BrokenPipeError):  # it died: `message` will find that
            self.pipe.send(stage)

    def message(self) -> Message:
        """Receive what it says; a worker that has died says how."""
        try:
            said: Message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.lost = True
            self.stop()
            code = self.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            advice = " (9: the system does that when memory runs out)" if code == -9 else ""
            if self.serves_once and code >= 0:
                advice = " (the method, or a library that it calls, ended it)"
            kind = self.stage.kind if self.stage else ""
            return Failed(f"{kind}: the worker process {how}{advice}")
        if isinstance(said, Failed) and said.ends:
            self.lost = True
            self.stop()
        return said

    def ask(self) -> None:
        """Tell it to stop after the epoch that it is at."""
        self._send(ASK)

    def _send(self, number: int) -> None:
        if self.process.pid and self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def dismiss(self) -> None:
        """Tell it to end at once; one that is idle ends by itself."""
        self.pipe.close()
        if self.stage and not self.lost:
            self._send(END)

    def stop(self) -> None:
        """End it, and wait until it has ended, which it has `GRACE` seconds for."""
        self.dismiss()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _ensure_server() -> None:
    """Start the server that workers are forked from, unless it runs.

    Ctrl-C, and a terminal that is closed, reach the whole group of processes; only this one
    answers, and asks the others. What asks is kept for a worker until it can handle it. Workers
    have all that from the server.
    """
    resource_tracker.ensure_running()  # which else would do away with the mask
    handlers = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGHUP)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [ASK])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _begin(
    environment: dict[str, str], target: Callable[..., None], setup: Setup, *arguments: object
) -> None:
    """Begin in a worker, with the environment of the process that asks for it now."""
    os.environ.clear()
    os.environ.update(environment)
    target(setup, *arguments)
