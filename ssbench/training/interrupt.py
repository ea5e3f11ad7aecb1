"""A process that is asked to end: at once, or when what it is in the middle of is done.

with STOP.signals():            # SIGINT, SIGTERM and SIGHUP ask
    with STOP.deferred():       # a first one is noted here, a second one ends at once
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
"""Seconds of training that are lost at most when a process is killed, one epoch apart."""
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler, a terminal that is closed."""
HINT = b"\nstopping after this epoch, which will be saved; once more to stop at once\n"


class Stopped(KeyboardInterrupt):
    """The process ends as it was asked to; like an interrupt it is no error that is dealt with.

    Attributes:
        signal: which signal asked.
        saved: what was saved of the stages under way, each in a few words.
    """

    def __init__(self, number: int, saved: Sequence[str] = ()) -> None:
        super().__init__(number)
        self.signal, self.saved = signal.Signals(number), tuple(saved)

    def __str__(self) -> str:
        if not self.saved:
            return "stopped; finished stages are kept: start again to go on"
        return f"stopped; saved: {', '.join(self.saved)}, and finished stages: start again to go on"


class Ended(SystemExit):
    """The process that handed out the work wants this one to end at once."""


class Stop:
    """Whether this process was asked to end.

    Attributes:
        asked: the signal that did, None as long as there was none.
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
        """Within it signals ask; what handled them before does so again behind it.

        A signal that is ignored (a background job's SIGINT) stays so. Outside of the main thread,
        which alone can handle signals, nothing happens.

        Args:
            numbers: the signals.
            insists: whether a second one ends at once; else it is as if it had not come.
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
        """Within it nothing is heard of requests: what ends a process is not to be cut short.

        They are not noted either, so that it has to be short.
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
        """Within it a first request is noted; what then reaches the end of it stops there.

        Raises:
            Stopped: behind the outermost one, where nobody has answered the request.
        """
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth:
            self.check()

    def check(self, saved: Sequence[str] = ()) -> None:
        """End here if that was asked for.

        Raises:
            Stopped: with what is ``saved``.
        """
        if self.asked is not None:
            raise Stopped(self.asked, saved)

    def wanted(self, error: BaseException) -> bool:
        """Whether an exception answers a request to this process.

        Others of its kind (``sys.exit``, ``raise KeyboardInterrupt``) come from code that the
        process runs for somebody, and are failures of that code.
        """
        if isinstance(error, Stopped):
            return self.asked is not None
        unhandled = self._ends is None  # Ctrl-C then is Python's own KeyboardInterrupt
        return isinstance(error, Ended) or (isinstance(error, KeyboardInterrupt) and unhandled)

    @property
    def waits(self) -> list[int]:
        """What becomes readable when the process is asked: for `multiprocessing.connection.wait`.

        A wait that a signal interrupts goes on, so that it has to wait for this too.
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
                os.write(2, HINT)  # print could be in the middle of printing
        elif first or self._insists:
            raise Stopped(self.asked)


def _told(what: sys.UnraisableHookArgs, tell: Callable[[sys.UnraisableHookArgs], object]) -> None:
    """Tell of an exception that cannot be raised, as in a destructor, unless it is a request.

    That is noted, and answered at the next `Stop.check`.
    """
    if not isinstance(what.exc_value, Stopped):
        tell(what)


STOP = Stop()
"""That of this process: it has one set of signal handlers."""
