"""What the pretended GPU of `tests.support.pretended_gpu` refuses and notes, as a GPU does."""

import pytest
import torch
import torch.nn.functional as F

from ssbench.models.registry import MODELS
from tests.support.pretended_gpu import OnDevice, Pretended

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.usefixtures("gpu")
def test_what_a_gpu_would_refuse_is_refused() -> None:
    there, here = torch.ones(3, device=CUDA), torch.ones(3)
    assert (there.device, here.device) == (torch.device("cuda:0"), CPU)
    assert all(isinstance(p, OnDevice) for p in MODELS["lenet5"](1, 10).to(CUDA).parameters())
    for wrong in (
        lambda: there + here,
        lambda: torch.where(here > 0, there, 0.0),
        lambda: torch.stack([there.sum(), here.sum()]),
        lambda: F.linear(there, torch.ones(2, 3)),
        lambda: here[there.long()],
        lambda: torch.rand(3, generator=torch.Generator(), device=CUDA),
        lambda: there.uniform_(generator=torch.Generator()),
        there.numpy,
    ):
        with pytest.raises((RuntimeError, TypeError), match=r"device|numpy"):
            wrong()
    assert torch.equal((there + here.sum()).cpu(), torch.full((3,), 4.0))  # numbers are taken


def test_what_would_wait_is_noted(gpu: Pretended) -> None:
    there, places = torch.ones(3, device=CUDA), torch.zeros(2, dtype=torch.long, device=CUDA)
    for silent in (
        lambda: there * 2 + torch.zeros_like(there),
        lambda: there[places],
        lambda: torch.where(there > 0, there, 0.0),
        lambda: there.clone().masked_fill_(there > 0, 1.0),
    ):
        silent()
    assert gpu.waits == []
    for waiting in (
        lambda: float(there[0]),
        lambda: bool(there.any()),
        lambda: there[there > 0],
        there.nonzero,
        there.tolist,
        there.cpu,
        lambda: torch.ones(3).to(CUDA),
        lambda: torch.tensor(1.0, device=CUDA),
        lambda: torch.equal(there, there),
        lambda: there[torch.zeros(2, dtype=torch.long)],
    ):
        gpu.waits.clear()
        waiting()
        assert len(gpu.waits) >= 1
