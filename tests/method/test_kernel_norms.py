"""The norms of kernels and their gradients, against torch's own and finite differences."""

import pytest
import torch

from ssbench.method.norms import kernel_norms

SHAPES = [(6, 4, 3, 3), (5, 1, 5, 1), (3, 2, 1, 1), (4, 7)]


def some_weight(shape: tuple[int, ...], dtype: torch.dtype = torch.double) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_norm_is_torchs_own(shape: tuple[int, ...]) -> None:
    weight = some_weight(shape)
    flat = weight.reshape(*shape[:2], -1)
    torch.testing.assert_close(
        kernel_norms(weight).flatten(1), torch.linalg.vector_norm(flat, dim=2)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_finite_differences(shape: tuple[int, ...]) -> None:
    weight = some_weight(shape).requires_grad_()
    assert torch.autograd.gradcheck(kernel_norms, weight)
    assert torch.autograd.gradgradcheck(kernel_norms, weight)


def test_a_kernel_of_zeros_has_no_gradient_and_spoils_no_other() -> None:
    weight = some_weight((3, 2, 3, 3))
    weight[1, 0] = 0
    kernel_norms(weight.requires_grad_()).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad[1, 0], torch.zeros(3, 3, dtype=torch.double))
    norms = weight.grad.flatten(2).norm(dim=2).flatten()
    torch.testing.assert_close(norms, torch.tensor([1, 1, 0, 1, 1, 1], dtype=torch.double))


def test_channels_last_memory_stays_and_changes_nothing() -> None:
    weight = some_weight((8, 6, 3, 3), torch.float).contiguous(memory_format=torch.channels_last)
    found, expected = weight.clone().requires_grad_(), weight.contiguous().requires_grad_()
    kernel_norms(found).square().sum().backward()
    kernel_norms(expected).square().sum().backward()
    assert found.grad is not None
    assert found.grad.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.grad, expected.grad)
