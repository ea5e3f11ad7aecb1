"""Record a step on a GPU once, and replay it: torch's CUDA graphs.

The CPU launches some hundred kernels in a step, and a GPU works off those of a small network faster
than they come. A recorded step is one launch. It repeats the same kernels on the same memory, and
none of the Python between them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, compute in a stream of its own inside this block.

    torch can record in such a stream only, and a gradient must be recorded in the stream in which
    its parameter was used before.
    """
    if device.type != "cuda":
        yield
        return
    outer = torch.cuda.current_stream(device)
    inner = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    inner.wait_stream(outer)
    try:
        with torch.cuda.stream(inner):
            yield
    finally:
        outer.wait_stream(inner)


@contextmanager
def refused_waits() -> Iterator[None]:
    """Raise a RuntimeError wherever the host would wait for the GPU inside this block."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class Recording:
    """A step as a CUDA graph.

    Recording computes nothing; it keeps the memory of everything that the step computes.

    Args:
        step: called once, to be recorded in the current stream, which must not be the default one.

    Raises:
        RuntimeError: the step does something that cannot be recorded.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        collects = gc.isenabled()
        gc.disable()  # what it frees may call CUDA, which spoils the recording
        try:
            # Other threads, that pin memory for example, may go on.
            with torch.cuda.graph(
                self._graph,
                stream=torch.cuda.current_stream(),
                capture_error_mode="thread_local",
            ):
                step()
        finally:
            if collects:
                gc.enable()

    def replay(self) -> None:
        """Launch the step."""
        self._graph.replay()

    def free(self) -> None:
        """Free its memory."""
        self._graph.reset()
