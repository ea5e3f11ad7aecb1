"""End a process on request: at once, or after the current epoch.

with STOP.signals():            # SIGINT, SIGTERM and SIGHUP are requests
    with STOP.deferred():       # the first one waits here, a second one ends at once
        ...
        STOP.check()            # a good place to end
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

SAVE_EVERY = 60.0
"""Seconds of training that a killed process loses at most, plus one epoch."""
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler's signal, a closed terminal."""
HINT = b"\nstopping after this epoch, which will be saved; once more to stop at once\n"


class Stopped(KeyboardInterrupt):
    """The process ends as asked; like an interrupt it is not an error to handle.

    Attributes:
        signal: the signal that asked.
        saved: what was saved of the current stages, each in a few words.
    """

    def __init__(self, number: int, saved: Sequence[str] = ()) -> None:
        super().__init__(number)
        self.signal, self.saved = signal.Signals(number), tuple(saved)

    def __str__(self) -> str:
        if not self.saved:
            return "stopped; finished stages are kept: start again to continue"
        return (
            f"stopped; saved: {', '.join(self.saved)}, and finished stages: start again to continue"
        )


class Ended(SystemExit):
    """The parent process wants this one to end at once."""


class Stop:
    """The requests to end this process.

    Attributes:
        asked: the first signal that asked; None: no request.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._depth = 0
        self._insists = True
        self._deaf = False
        self._ends: tuple[int, int] | None = None

    @contextmanager
    def signals(
        self,
        numbers: Sequence[int] = ASKING,
        *,
        insists: bool = True,
    ) -> Iterator[None]:
        """Make signals requests; restore their earlier handlers afterwards.

        Ignored signals (a background job's SIGINT) stay ignored. Has no effect outside of the main
        thread, the only one that can handle signals.

        Args:
            numbers: the signals.
            insists: whether a second signal ends at once; otherwise it has no effect.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.asked, self._insists, self._ends = None, insists, os.pipe()
        os.set_blocking(self._ends[1], False)  # a full pipe wakes as well as one byte
        before = {n: signal.getsignal(n) for n in numbers}
        taken = {n: handler for n, handler in before.items() if handler != signal.SIG_IGN}
        unraisable = sys.unraisablehook
        try:
            sys.unraisablehook = lambda what: _told(what, unraisable)
            for number in taken:
                signal.signal(number, self._handle)
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler)
            sys.unraisablehook = unraisable
            ends, self._ends, self.asked = self._ends, None, None
            for end in ends:
                os.close(end)

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Ignore requests, to protect the ending of processes.

        They are lost, so the body must be short.
        """
        if self._ends is None:
            yield
            return
        self._deaf = True
        try:
            yield
        finally:
            self._deaf = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Note the first request instead of ending; end after the body.

        Raises:
            Stopped: after the outermost one, if the request is not answered yet.
        """
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth:
            self.check()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """End at the first request even within `deferred`: the body leaves nothing half done.

        Raises:
            Stopped: also before the body, if asked by then.
        """
        depth, self._depth = self._depth, 0
        try:
            self.check()
            yield
        finally:
            self._depth = depth

    def check(self, saved: Sequence[str] = ()) -> None:
        """End here if asked.

        Raises:
            Stopped: with what is ``saved``.
        """
        if self.asked is not None:
            raise Stopped(self.asked, saved)

    def wanted(self, error: BaseException) -> bool:
        """Whether an exception answers a request to this process.

        Others of its kind (``sys.exit``, ``raise KeyboardInterrupt``) come from code that the
        process runs, and are failures of that code.
        """
        if isinstance(error, Stopped):
            return self.asked is not None
        unhandled = self._ends is None  # Ctrl-C then is Python's own KeyboardInterrupt
        return isinstance(error, Ended) or (isinstance(error, KeyboardInterrupt) and unhandled)

    @property
    def waits(self) -> list[int]:
        """A file that becomes readable at a request, for `multiprocessing.connection.wait`.

        A wait goes on after a signal, so it must wait for this, too.
        """
        return [self._ends[0]] if self._ends else []

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._deaf:
            return
        first = self.asked is None
        self.asked = number if self.asked is None else self.asked
        if first and self._depth:
            if self._ends:
                os.write(self._ends[1], b"\0")
            if self._insists and os.isatty(2):
                os.write(2, HINT)  # the signal may have interrupted a print
        elif first or self._insists:
            raise Stopped(self.asked)


def _told(what: sys.UnraisableHookArgs, tell: Callable[[sys.UnraisableHookArgs], object]) -> None:
    """Report an exception that cannot be raised, as in a destructor, unless it is a request.

    A request is noted, and answered at the next `Stop.check`.
    """
    if not isinstance(what.exc_value, Stopped):
        tell(what)


STOP = Stop()
"""The requests to this process: it has one set of signal handlers."""
