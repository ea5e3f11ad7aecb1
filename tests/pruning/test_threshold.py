"""The crossing against a sum over sorted entries, on entries that are many, equal or infinite."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssbench.pruning.threshold import Crossing, crossing


def by_hand(entries: list[tuple[Tensor, int]], amount: float) -> Crossing:
    """The first level, from the top, at which the sorted prices exceed the amount."""
    levels = np.concatenate([part.double().numpy() for part, _ in entries])
    prices = np.concatenate([np.full(part.numel(), each) for part, each in entries])
    for level in np.unique(levels)[::-1]:
        reaching = int(prices[levels >= level].sum())
        if reaching > amount:
            return Crossing(float(level), int(prices[levels > level].sum()), reaching)
    raise AssertionError("the amount is larger than the whole")


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.tuples(
            st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.25, 3.0, math.inf]), max_size=20),
            st.integers(0, 5),
        ),
        min_size=1,
        max_size=4,
    ),
    share=st.floats(0, 0.999),
)
def test_few_entries_with_equal_and_infinite_levels(
    parts: list[tuple[list[float], int]], share: float
) -> None:
    entries = [(torch.tensor(levels), each) for levels, each in parts]
    whole = sum(levels.numel() * each for levels, each in entries)
    if whole:
        assert crossing(entries, share * whole) == by_hand(entries, share * whole)


LARGE = 700_000


@pytest.mark.parametrize("distinct", [1, 2, 40, LARGE])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 0.97, 1 - 1e-6])
@pytest.mark.parametrize("infinite", [False, True])
def test_many_entries(distinct: int, share: float, *, infinite: bool) -> None:
    generator = torch.Generator().manual_seed(distinct)
    entries = []
    for each in (1, 7):
        levels = torch.randint(-distinct, distinct, (LARGE,), generator=generator).float()
        if infinite:
            levels[torch.rand(LARGE, generator=generator) < 0.3] = math.inf
            levels[torch.rand(LARGE, generator=generator) < 0.3] = -math.inf
        entries.append((levels, each))
    amount = share * 8 * LARGE
    flat = np.concatenate([part.numpy() for part, _ in entries])
    order = np.argsort(-flat, kind="stable")
    sums = np.cumsum(np.repeat([1, 7], LARGE)[order])
    level = flat[order[np.searchsorted(sums, int(amount), side="right")]]
    found = crossing(entries, amount)
    assert found.level == level
    assert found.above == sum(int((part > level).sum()) * each for part, each in entries)
    assert found.reaching == sum(int((part >= level).sum()) * each for part, each in entries)


def test_a_sample_that_misleads_costs_time_and_no_exactness() -> None:
    levels = torch.zeros(LARGE)
    levels[1::2] = torch.arange(LARGE // 2) + 1.0  # every second one: what a stride may skip
    amount = LARGE // 4
    found = crossing([(levels, 1)], amount)
    assert found == Crossing(float(LARGE // 4), amount, amount + 1)
