"""A worker process, as its parent sees it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from types import ModuleType

from ssbench.executors.processes.worker import ASK, END, Setup, work
from ssbench.executors.protocol import Failed, Message
from ssbench.experiment.stage import Stage

GRACE = 5.0
"""Seconds that a worker has to end on its own."""


class Process:
    """A process and its current stage.

    Args:
        setup: the worker's settings.
        target: called in the process, with ``setup``, its end of the pipe and ``more``.
        more: further arguments of ``target``.
    """

    def __init__(self, setup: Setup, target: Callable[..., None] = work, *more: object) -> None:
        # A fork of this process would share its threads, CUDA's state and its images.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([work.__module__, "ssbench.pipeline.preload"])
        self.pipe, child = context.Pipe()
        arguments = (dict(os.environ), target, setup, child, *more)
        self.process: ForkServerProcess = context.Process(target=_begin, args=arguments)
        self.serves_once = bool(setup.method_module)
        _ensure_server()
        with _without_main():
            self.process.start()  # the first one waits for the server's imports
        child.close()
        self.stage: Stage | None = None
        self.lost = False

    @property
    def pipes(self) -> Sequence[Connection]:
        """The only pipe."""
        return (self.pipe,)

    def give(self, stage: Stage) -> None:
        """Send it a stage."""
        self.stage = stage
        with suppress(BrokenPipeError):  # it died: `message` will find out
            self.pipe.send(stage)

    def message(self) -> Message:
        """Receive its message, or a failure if the process has died."""
        try:
            message: Message = self.pipe.recv()
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
        if isinstance(message, Failed) and message.ends:
            self.lost = True
            self.stop()
        return message

    def ask(self) -> None:
        """Ask it to stop after the current epoch."""
        self._send(ASK)

    def _send(self, number: int) -> None:
        if self.process.pid and self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def dismiss(self) -> None:
        """Tell it to end at once; an idle one ends when the pipe closes."""
        self.pipe.close()
        if self.stage and not self.lost:
            self._send(END)

    def stop(self) -> None:
        """End it and wait for it; kill it after `GRACE` seconds."""
        self.dismiss()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _ensure_server() -> None:
    """Start the server that forks workers, unless it runs.

    Ctrl-C and a closed terminal reach the whole group of processes; only this process answers, and
    asks the others to stop. Workers inherit from the server that they ignore both signals, and that
    a request to stop stays pending until they can handle it.
    """
    resource_tracker.ensure_running()  # it would reset the mask otherwise
    handlers = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGHUP)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [ASK])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program that runs: a new process imports it, and a script would run itself again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _begin(
    environment: dict[str, str], target: Callable[..., None], setup: Setup, *arguments: object
) -> None:
    """Start a worker with the current environment of its parent."""
    os.environ.clear()
    os.environ.update(environment)
    target(setup, *arguments)
