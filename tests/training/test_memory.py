"""A step that does not fit into memory: the same gradient in two parts, or the number that fits."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ssbench.data.dataset import Split
from ssbench.data.digits import digits
from ssbench.data.loader import Loader
from ssbench.errors import NoRoomError
from ssbench.method.contract import Method, offer
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.training.backward import Backward, out_of_memory
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.loop import Hooks, Trained, train
from ssbench.training.recipe import Recipe
from ssbench.training.rng import draws

DATA = digits()


def lenet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Upsample(28), MODELS["lenet5"](1, 10)).train()


def limit(model: nn.Module, most: int, where: str = "") -> None:
    """Let memory run out, in the pass through a module, with more images than ``most``."""

    def hook(_: nn.Module, given: tuple[Tensor, ...], *__: object) -> None:
        if len(given[0]) > most:
            raise torch.OutOfMemoryError("the device's memory is used up")

    model.get_submodule(where).register_forward_hook(hook)


def no_penalty() -> None:
    pass


def backward(
    model: nn.Module, penalty: Callable[[], Tensor | None] = no_penalty
) -> tuple[Backward, torch.optim.Optimizer]:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Backward(model, model, penalty, optimiser, SingleProcess()), optimiser


def batch(count: int) -> tuple[Tensor, Tensor]:
    return next(Loader(DATA.train, DATA.normalisation, count).in_order())


def step(
    model: nn.Module, count: int, penalty: Callable[[], Tensor | None] = no_penalty
) -> tuple[Backward, list[Tensor], list[Tensor]]:
    torch.manual_seed(7)
    computed, _ = backward(model, penalty)
    found = computed(*batch(count))
    return computed, list(found), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("count", [16, 17, 33])
@pytest.mark.parametrize("gated", [False, True])
def test_the_gradient_of_the_parts_is_that_of_the_whole(count: int, gated: bool) -> None:
    method: Method = discover().methods["l0"].cls()
    found = []
    for most in (count, (count + 1) // 2):
        model = lenet()
        if gated:
            offer(method.attach, model[1])
        limit(model, most, "1")
        price = partial(method.penalty, model[1]) if gated else no_penalty
        computed, given, gradients = step(model, count, price)
        found.append((given, gradients, draws(torch.device("cpu"))["cpu"]))
        assert computed.micro_batch == (None if most == count else most)
    (given, gradients, drawn), (in_parts, summed, drawn_) = found
    assert len(gradients) == len(summed) > 0
    for one, other in zip([*given, *gradients], [*in_parts, *summed], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)
    assert torch.equal(drawn, drawn_)  # the next batch has the gates that it would have had


def trained(most: int | None, epochs: int = 2) -> tuple[Trained, dict[str, Tensor]]:
    model = lenet()
    if most:
        limit(model, most)
    split = Split(DATA.train.images[:150], DATA.train.labels[:150])  # the last batch is of 22
    loader = Loader(split, DATA.normalisation, 64)
    result = train(model, Recipe(epochs=epochs, lr=0.01), loader, 0, Hooks(), lambda _: None)
    assert all(parameter.grad is None for parameter in model.parameters())  # room for what follows
    return result, dict(model.state_dict())


def test_a_training_in_parts_is_the_training_to_rounding() -> None:
    (whole, weights), (parts, weights_) = trained(None), trained(40)
    assert (whole.micro_batch, parts.micro_batch) == (None, 32)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-4)
    assert parts.curve_error == pytest.approx(whole.curve_error, abs=0.7)  # one image
    for name, weight in weights.items():
        torch.testing.assert_close(weights_[name], weight, rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_in_half_either_says_what_does() -> None:
    with pytest.raises(NoRoomError, match=r"64 images at once; 20 fit: set batch_size to 20 or"):
        trained(20)


def with_batch_norm() -> nn.Module:
    return MODELS["vgg6"](1, 10).train()


class Centred(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images - images.mean(0)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.batches.add_(1)
        return images


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (with_batch_norm, "batch norms would see other batches"),
        (lambda: nn.Sequential(lenet(), nn.Dropout(0.5)), "does not treat each image by itself"),
        (lambda: nn.Sequential(Centred(), lenet()), "does not treat each image by itself"),
        (lambda: nn.Sequential(Counting(), lenet()), "keeps count of batches"),
    ],
    ids=["batch norm", "dropout", "mean over the batch", "buffer"],
)
def test_networks_that_bind_images_together_are_not_trained_in_parts(
    made: Callable[[], nn.Module], why: str
) -> None:
    model = made().train()
    limit(model, 12)
    with pytest.raises(NoRoomError, match=f"16 images at once; 12 fit.*{why}"):
        step(model, 16)


def test_a_batch_norm_in_evaluation_binds_nothing() -> None:
    model = with_batch_norm().eval()
    limit(model, 12)
    assert step(model, 16)[0].micro_batch == 8


def test_a_failed_step_changes_nothing() -> None:
    model = lenet()
    computed, optimiser = backward(model)
    computed(*batch(8))
    optimiser.step()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    momenta = [state["momentum_buffer"].clone() for state in optimiser.state.values()]
    limit(model, 1)
    with pytest.raises(NoRoomError, match="not even 4 images fit"):
        computed(*batch(8))
    assert all(p.grad is None for p in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for state, momentum in zip(optimiser.state.values(), momenta, strict=True):
        assert torch.equal(state["momentum_buffer"], momentum)


def test_memory_that_runs_out_half_way_back_leaves_no_half_gradient() -> None:
    """The gradients of the last layers are there already when the first ones' cannot be made."""
    model, whole = lenet(), lenet()
    failed: list[bool] = []

    def once(*_: object) -> None:
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("the device's memory is used up")

    next(
        module for module in model.modules() if isinstance(module, nn.Conv2d)
    ).weight.register_hook(once)
    computed, _, gradients = step(model, 16)
    assert computed.micro_batch == 8
    for one, other in zip(step(whole, 16)[2], gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: out of memory"), True),  # of pinned memory
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shape mismatch"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, is_so: bool) -> None:
    assert out_of_memory(error) is is_so


def test_other_errors_pass_through() -> None:
    computed, _ = backward(lenet())
    with pytest.raises(RuntimeError, match="channels"):
        computed(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.long))


class NoRoom:
    """A compiled gradient for which there is no memory."""

    def __init__(self) -> None:
        self.asked = 0

    def takes(self, images: Tensor) -> bool:
        return len(images) == 16

    def __call__(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        self.asked += 1
        raise torch.OutOfMemoryError("the device's memory is used up")


@pytest.mark.parametrize("micro_batch", [None, 8])
def test_parts_are_not_computed_by_a_compiled_gradient(micro_batch: int | None) -> None:
    computed, _ = backward(lenet())
    no_room = NoRoom()
    computed.compiled = no_room  # type: ignore[assignment]
    computed.micro_batch = micro_batch  # 8: as where the training was gone on with
    for _ in range(2):
        _, logits = computed(*batch(16))
        assert (computed.micro_batch, len(logits)) == (8, 16)
    assert no_room.asked == (0 if micro_batch else 1)  # then it is not tried again


REAL = """
import resource, sys
from pathlib import Path
import torch
from ssbench.errors import NoRoomError
from tests.training.test_memory import backward, lenet

torch.set_num_threads(1)
count, room = 4000, int(sys.argv[1]) * 2**20
model = lenet()
computed, _ = backward(model)
computed(torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.long))
images, labels = torch.randn(count, 1, 8, 8), torch.zeros(count, dtype=torch.long)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
try:
    computed(images, labels)
except NoRoomError as error:
    print(error)
else:
    print("parts of", computed.micro_batch)
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_with_a_real_limit_of_the_address_space() -> None:
    said = {}
    for room in (2500, 500, 150):
        command = [sys.executable, "-c", REAL, str(room)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        said[room] = ended.stdout.strip() or ended.stderr
    assert said[2500] == "parts of None"
    assert said[500] == "parts of 2000"
    assert "out of memory with 4000 images at once; " in said[150]
    fits = int(said[150].split("; ")[1].split()[0])
    assert 100 < fits < 2000
