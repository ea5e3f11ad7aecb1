"""A CUDA device that is pretended: its tensors lie on the CPU, and behave as if they did not.

    with pretended(monkeypatch) as gpu:
        train(...)                       # with device "cuda"
    assert gpu.waits == []

What a GPU would refuse is refused here: operations between its tensors and others, numpy, a
generator of the CPU. What would make the process wait for it is noted. All numbers are the CPU's,
so that whatever is carried out on it must give the CPU's results, bit for bit.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as tree

ROOT = Path(__file__).parents[2]
OURS = ("ssbench/", "methods/")
WHERE = torch.device("cuda", 0)
aten = torch.ops.aten
_WAITING = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
}
"""Operations whose result, or its shape, the process has to wait for."""
_INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
"""These take places from the CPU too; masks have to be counted first."""
_CONVERTING = {
    torch.Tensor.to,
    torch.Tensor.cuda,
    torch.Tensor.cpu,
    torch.Tensor.type_as,
    torch.tensor,
    torch.as_tensor,
}
"""What copies between host and device."""
_TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}
_DEVICE, _IS_CUDA = torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__  # type: ignore[attr-defined]
_current: list[Pretended] = []


class OnDevice(torch.Tensor):
    """A tensor of the pretended device, which has its numbers itself."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Do on the CPU what is asked for, if a GPU would do it."""
        del types
        kwargs = dict(kwargs or {})
        _current[-1].judge(func, args, kwargs)
        given, named = tree.tree_map(_plain, (args, kwargs))
        with torch._C._DisableTorchDispatch():
            undo = _recording[-1].about_to(func, given) if _recording else None
            found = func(*given, **named)
            if undo is not None:
                undo.append((func, given, named, found))
        if func._schema.is_mutable and not func._schema.name.startswith("aten::_fused"):
            changed = [a for a in tree.tree_leaves(args) if isinstance(a, Tensor)][:1]
            if isinstance(found, Tensor) and changed:
                return changed[0]
        return tree.tree_map(_on_device, found)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """Show the numbers, without a wait that is noted."""
        del tensor_contents
        return f"on the device: {_plain(self.detach())!r}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Copy a leaf with its gradient and its being a parameter."""
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copy._is_param = True
            memo[id(self)] = copy
        found: Tensor = memo[id(self)]
        return found


class Graph:
    """A `torch.cuda.CUDAGraph`: the operations on the device, with the tensors they work on.

    Recording computes nothing that stays. Replaying does the same operations on the same tensors,
    and puts what is new where the recorded results lie; it runs none of the Python between them.
    """

    def __init__(self) -> None:
        self._done: list[tuple[Any, Any, Any, Any]] = []
        self._before: list[tuple[Tensor, Tensor]] = []
        self._drawn = torch.random.get_rng_state()

    def about_to(self, func: Any, given: Any) -> list[tuple[Any, Any, Any, Any]]:
        """Keep what an operation will change; return the list of what was done."""
        if func._schema.is_mutable or func in _CHANGING:
            tensors = [t for t in tree.tree_leaves(given) if isinstance(t, Tensor)]
            self._before += [(t, t.detach().clone()) for t in tensors]
        return self._done

    def begin(self) -> None:
        self._drawn = torch.random.get_rng_state()
        _recording.append(self)

    def end(self) -> None:
        _recording.pop()
        with torch.no_grad():
            for tensor, value in reversed(self._before):
                tensor.detach().copy_(value)
        self._before.clear()
        torch.random.set_rng_state(self._drawn)

    def replay(self) -> None:
        with torch._C._DisableTorchDispatch(), torch.no_grad():
            for func, given, named, found in self._done:
                inputs = {_storage(t) for t in tree.tree_leaves((given, named)) if _is(t)}
                again = func(*given, **named)
                for old, new in zip(tree.tree_leaves(found), tree.tree_leaves(again), strict=True):
                    if _is(old) and _storage(old) not in inputs:
                        old.detach().copy_(new)

    def reset(self) -> None:
        self._done.clear()


class _Recorded:
    """`torch.cuda.graph`."""

    def __init__(
        self, graph: Graph, stream: object = None, capture_error_mode: str = "global"
    ) -> None:
        self._graph = graph
        assert stream
        assert capture_error_mode == "thread_local"  # other threads may go on

    def __enter__(self) -> None:
        self._graph.begin()

    def __exit__(self, *_: object) -> None:
        self._graph.end()


_recording: list[Graph] = []
_CHANGING = {aten.native_batch_norm.default, aten._fused_sgd_.default, aten._fused_sgd_.tensor_lr}
"""Operations that do not say that they change a tensor, and those that change lists of them."""


def _is(value: object) -> bool:
    return isinstance(value, Tensor)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _plain(value: Any) -> Any:
    if not isinstance(value, OnDevice):
        return value
    with torch._C._DisableTorchDispatch():
        return value.as_subclass(torch.Tensor)


def _on_device(value: Any) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, OnDevice):
        return value
    return torch.Tensor._make_subclass(OnDevice, value, value.requires_grad)


class Pretended(TorchFunctionMode):
    """Answers for the device.

    Attributes:
        waits: where the process would have waited for it: the operation, and the lines of ssbench.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.refuses = "default"

    def note(self, what: str) -> None:
        if self.refuses == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        ours = [
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in traceback.extract_stack()
            if any(str(ROOT / part) in frame.filename for part in OURS)
        ]
        self.waits.append(f"{what} at {' < '.join(reversed(ours[-3:]))}")

    def judge(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Check that all operands are on the device, and note what needs a wait."""
        tensors = [a for a in tree.tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
        others = [t for t in tensors if not isinstance(t, OnDevice)]
        joins = func in (aten.cat.default, aten.stack.default)
        takes_places = func in _INDEXING and isinstance(tensors[0], OnDevice)
        if others and (takes_places or func is aten.copy_.default):
            self.note(f"{func} between devices")
        elif any(t.dim() or joins for t in others) and not _inside_autograd():
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {func} found "
                f"{[(isinstance(t, OnDevice), list(t.shape)) for t in tensors]}"
            )
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type == "cpu":
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        by_mask = func in _INDEXING and any(t.dtype == torch.bool for t in args[1] if t is not None)
        if func in _WAITING or by_mask:
            self.note(str(func))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer where a tensor lies, move it, and make new ones there."""
        del types
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if func == _DEVICE:
            return WHERE if isinstance(first, OnDevice) else func(*args)
        if func == _IS_CUDA:
            return isinstance(first, OnDevice)
        if func in _TO_NUMPY and isinstance(first, OnDevice):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func is torch.Tensor.tolist and isinstance(first, OnDevice):
            self.note("tolist")
            return _plain(first.detach()).tolist()
        if func is torch.Tensor.pin_memory:
            return first
        target = self._target(func, args, kwargs)
        if target is None:
            return func(*args, **kwargs)
        return self._moved(func, args, kwargs, target)

    def _target(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> str | None:
        """The kind of device that is asked for; None: none."""
        if func is torch._C._nn._parse_to:
            return None
        if func is torch.Tensor.cpu:
            return "cpu"
        asked = [kwargs.get("device"), *(args[1:] if func is torch.Tensor.to else ())]
        for each in asked:
            if isinstance(each, torch.device):
                return each.type
            if isinstance(each, str):
                return each.partition(":")[0]
            if isinstance(each, Tensor):
                return "cuda" if isinstance(each, OnDevice) else "cpu"
        return None

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any], target: str) -> Any:
        first = args[0] if args else None
        came_from = "cuda" if isinstance(first, OnDevice) else "cpu"
        if target == "cuda" and kwargs.get("generator") is not None:
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if func in _CONVERTING and came_from != target and not kwargs.get("non_blocking"):
            self.note(f"copy to {target}")
        if func is torch.Tensor.cpu:
            func, args = torch.Tensor.clone, (first,)
        if target == "cpu" and came_from == "cuda":
            args = (_plain(first.detach()).clone(), *args[1:])
        args = tuple(_as_cpu(a) for a in args) if func is torch.Tensor.to else args
        kwargs = {
            name: _as_cpu(value) if name == "device" else value for name, value in kwargs.items()
        }
        found = func(*args, **kwargs)
        if target == "cpu":
            return found
        if found is first and came_from == "cpu":
            found = found.clone()  # another device has other memory
        return tree.tree_map(_on_device, found)


def _inside_autograd() -> bool:
    """Whether autograd itself computes, which makes its zeros where torch says that tensors lie."""
    for frame in reversed(traceback.extract_stack()):
        if any(str(ROOT / part) in frame.filename for part in OURS):
            return False
        if frame.name == "_engine_run_backward":
            return True
    return False


def _as_cpu(value: Any) -> Any:
    if isinstance(value, torch.device) or (isinstance(value, str) and value.startswith("cuda")):
        return torch.device("cpu")
    return value


class _Moment:
    """A `torch.cuda.Event`; nothing takes time here."""

    def __init__(self, enable_timing: bool = False, external: bool = False) -> None:
        assert external == bool(_recording)
        self._timing = enable_timing

    def record(self) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Note that the device is waited for."""
        _current[-1].note("synchronize")

    def elapsed_time(self, other: _Moment) -> float:
        """Return the milliseconds to another one."""
        assert self._timing
        assert other._timing
        return 1.0


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """Let there be one CUDA device within the block."""
    idle = SimpleNamespace(is_capturing=lambda: bool(_recording), wait_stream=lambda _: None)
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "is_current_stream_capturing": lambda: bool(_recording),
        "CUDAGraph": Graph,
        "graph": _Recorded,
        "Stream": lambda _: idle,
        "stream": lambda _: nullcontext(),
        "current_stream": lambda _=None: idle,
        "get_sync_debug_mode": lambda: _current[-1].refuses,
        "set_sync_debug_mode": lambda mode: setattr(_current[-1], "refuses", mode),
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "synchronize": lambda _=None: None,
        "empty_cache": lambda: None,
        "get_device_name": lambda _=None: "a pretended GPU",
        "get_device_properties": lambda _=None: SimpleNamespace(uuid="none", major=9),
        "get_rng_state": lambda _=None: torch.random.get_rng_state(),
        "set_rng_state": lambda state, _=None: torch.random.set_rng_state(state),
        "max_memory_allocated": lambda _=None: 1 << 30,
        "max_memory_reserved": lambda _=None: 2 << 30,
        "reset_peak_memory_stats": lambda _=None: None,
        "mem_get_info": lambda _=None: (40 << 30, 80 << 30),
        "Event": _Moment,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    grouped = torch.optim.Optimizer._group_tensors_by_device_and_dtype

    def grouped_there(*given: Any, **named: Any) -> Any:
        groups = grouped(*given, **named)
        return {(WHERE, kind): group for (_, kind), group in groups.items()}

    place = "_group_tensors_by_device_and_dtype"
    monkeypatch.setattr(torch.optim.Optimizer, place, staticmethod(grouped_there))
    # The host draws nothing; what is drawn on the device comes from the CPU's generator.
    drawn = torch.get_rng_state()
    monkeypatch.setattr(torch, "get_rng_state", lambda: drawn)
    monkeypatch.setattr(torch, "set_rng_state", lambda _: None)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda _=None: idle)
    # Parameters that move get other objects: the ones that there are cannot change their class.
    monkeypatch.setattr(torch, "_has_compatible_shallow_copy_type", lambda *_: False)
    with Pretended() as device:
        _current.append(device)
        try:
            yield device
        finally:
            _current.pop()
