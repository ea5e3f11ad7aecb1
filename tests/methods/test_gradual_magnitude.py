"""Gradual magnitude: the schedule against the paper's formula."""

import pytest
import torch

from ssbench.method.registry import discover
from ssbench.models.registry import MODELS

Gradual = discover().methods["gradual-magnitude"].cls


class Notebook:
    """What the harness offers, with a memory."""

    def __init__(self, kept: float) -> None:
        self.kept = kept
        self.asked: list[float] = []

    def to(self, kept: float) -> None:
        self.asked.append(kept)


@pytest.mark.parametrize(("begin", "end", "renewals"), [(0.0, 0.75, 30), (0.1, 0.9, 7)])
def test_the_schedule_is_the_papers(begin: float, end: float, renewals: int) -> None:
    method, model = Gradual(begin=begin, end=end, renewals=renewals), MODELS["vgg6"](1, 10)
    method.attach(model)
    notes, steps = Notebook(0.1), 1000
    moments = []
    for step in range(1, steps + 1):
        before = len(notes.asked)
        method.after_step(model, step / steps, pruning=notes)
        if len(notes.asked) > before:
            moments.append(step / steps)
    assert len(notes.asked) == renewals
    final, span = 0.9, end - begin
    for number, (kept, moment) in enumerate(zip(notes.asked, moments, strict=True), 1):
        # s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 with s_i = 0
        sparsity = final + (0 - final) * (1 - number / renewals) ** 3
        assert kept == pytest.approx(1 - sparsity)
        assert moment == pytest.approx(begin + number * span / renewals, abs=1.001 / steps)
    assert notes.asked[-1] == pytest.approx(0.1)
    assert notes.asked == sorted(notes.asked, reverse=True)


def test_few_steps_skip_renewals_but_reach_the_end() -> None:
    method, model, notes = Gradual(), MODELS["vgg6"](1, 10), Notebook(0.2)
    method.attach(model)
    for step in (1, 2, 3):
        method.after_step(model, step / 3, pruning=notes)
    times = (1 / 3 / 0.75 * 30 // 1 / 30, 2 / 3 / 0.75 * 30 // 1 / 30, 1.0)
    assert notes.asked == [pytest.approx(1 - 0.8 * (1 - (1 - t) ** 3)) for t in times]
    assert notes.asked[-1] == pytest.approx(0.2)


def test_the_memory_is_saved_and_taken_away() -> None:
    method, model, notes = Gradual(), MODELS["vgg6"](1, 10), Notebook(0.2)
    method.attach(model)
    method.after_step(model, 0.4, pruning=notes)
    other = MODELS["vgg6"](1, 10)
    method.attach(other)
    other.load_state_dict(model.state_dict())
    method.after_step(other, 0.4, pruning=notes)
    assert len(notes.asked) == 1  # nothing is due again
    method.detach(other)
    assert set(other.state_dict()) == set(MODELS["vgg6"](1, 10).state_dict())


def test_without_a_budget_it_trains_as_it_is() -> None:
    method, model = Gradual(), MODELS["vgg6"](1, 10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    method.attach(model)
    method.after_step(model, 0.5)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    "settings", [{"begin": 0.8}, {"end": 1.5}, {"begin": -0.1}, {"renewals": 0}]
)
def test_times_out_of_order_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Gradual(**settings)
