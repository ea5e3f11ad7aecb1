"""What a method returns as scores: refused with layer and remedy, or selected by in exact order."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssbench.errors import RunFailedError
from ssbench.method.contract import prunable_weights, to_grain
from ssbench.models.registry import MODELS
from ssbench.pruning.budget import Budget
from ssbench.pruning.counting import count
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.scores import checked
from ssbench.pruning.select import select
from ssbench.pruning.sizes import make_share
from ssbench.pruning.units import Units
from tests.support.command_line import TINY, Invoke

MODEL = MODELS["vgg6"](1, 10)
STRUCTURE = structure_of(MODEL)
SHAPES = {name: p.shape for name, p in MODEL.named_parameters()}
DENSE = count(MODEL, torch.zeros(1, 1, 8, 8))
FIRST = "features.0.weight"
Scores = dict[str, Tensor]


def kernels() -> Scores:
    return {n: to_grain(w.abs(), "connection") for n, w in prunable_weights(MODEL).items()}


def check(scores: object, grain: str = "connection", leaves_out: str = "") -> Scores:
    return checked(scores, STRUCTURE, SHAPES, grain, leaves_out)


def changed(change: Callable[[Tensor], Tensor]) -> Scores:
    """Scores of kernels with those of the first layer changed."""
    scores = kernels()
    return scores | {FIRST: change(scores[FIRST])}


def put(value: float) -> Callable[[Tensor], Tensor]:
    def change(score: Tensor) -> Tensor:
        score[0] = value
        return score

    return change


WRONG: dict[str, tuple[object, str]] = {
    "no dict": ([1], "scores must be a dict of tensors"),
    "no tensors": ({FIRST: 1.0}, "scores must be a dict of tensors"),
    "no layer": (kernels() | {"x": torch.ones(1)}, "'x', which is not the weight"),
    "another shape": (changed(lambda s: s[:5]), f"{FIRST} have shape [5, 1, 1, 1], which does not"),
    "another grain": (
        changed(lambda s: s.expand(SHAPES[FIRST])),
        f"{FIRST} have shape [32, 1, 3, 3]; one score for each connection, as the method declares "
        "it, has [32, 1, 1, 1]",
    ),
    "NaN": (changed(put(math.nan)), f"{FIRST} contain NaN; give a number"),
    "some infinite": (
        changed(put(math.inf)),
        f"{FIRST} contain infinity; give units that must stay",
    ),
    "all infinite": (
        {name: torch.full_like(score, math.inf) for name, score in kernels().items()},
        f"{FIRST} contain infinity",
    ),
    "all minus infinity": (
        {name: torch.full_like(score, -math.inf) for name, score in kernels().items()},
        f"all scores are minus infinity, those of {FIRST} first; give finite ones",
    ),
    "complex": (changed(lambda s: s * 1j), f"{FIRST} are not plain real numbers (complex64"),
    "sparse": (changed(lambda s: s.to_sparse()), "give their magnitudes, or a dense tensor"),
    "nowhere": (changed(lambda s: s.to("meta")), f"{FIRST} are not plain real numbers (float32"),
    "huge floats": (changed(lambda s: s.double() + 1e301), f"{FIRST} reach 1e+301, more than"),
    "huge integers": (
        changed(lambda s: s.long() + 2**60),
        "reach 1.15e+18, more than 9.01e+15, where double precision ends; divide all scores",
    ),
    "a layer left out": (
        {name: score for name, score in kernels().items() if name != FIRST},
        f"scores lack {FIRST}: layers without scores are never pruned; score every prunable layer, "
        "or name those without scores in the method's class variable leaves_out",
    ),
    "nothing": ({}, f"scores lack {FIRST}, features.3.weight, features.7.weight and others"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_scores_are_refused_with_layer_and_remedy(case: str) -> None:
    scores, words = WRONG[case]
    with pytest.raises(RunFailedError) as raised:
        check(scores)
    assert words in str(raised.value)


def test_several_grains_in_one_method_are_refused() -> None:
    mixed = changed(lambda score: score[:, :1].sum((1, 2, 3), keepdim=True))
    mixed["features.3.weight"] = mixed["features.3.weight"].sum(1, keepdim=True)
    with pytest.raises(RunFailedError, match=r"features\.3\.weight have shape \[32, 1, 1, 1\]"):
        check(mixed)


def test_a_method_that_says_so_leaves_layers_out() -> None:
    some = {FIRST: kernels()[FIRST]}
    assert list(check(some, leaves_out="all layers but the first")) == [FIRST]


def test_filters_may_be_scored_by_what_they_write_or_by_what_they_read() -> None:
    found = {n: torch.ones(SHAPES[n][0], 1, 1, 1) for n in prunable_weights(MODEL)}
    found["features.3.weight"] = torch.ones(1, SHAPES["features.3.weight"][1], 1, 1)
    assert check(found, "filter").keys() == found.keys()


def test_what_is_pruned_already_may_be_minus_infinity() -> None:
    found = check(changed(put(-math.inf)))
    assert float(found[FIRST].flatten()[0]) == -math.inf


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.float16,
                                   torch.bfloat16, torch.float32])  # fmt: skip
def test_what_single_precision_holds_is_single_precision(dtype: torch.dtype) -> None:
    found = check({name: (score > 0).to(dtype) for name, score in kernels().items()})
    assert all(score.dtype == torch.float32 for score in found.values())


@pytest.mark.parametrize(
    ("first", "step", "dtype"),
    [
        (2**24, 1, torch.int64),
        (-(2**52), 1, torch.int64),
        (1.0, 2.0**-40, torch.float64),
        (1e200, 1e190, torch.float64),
        (-1e-200, 1e-210, torch.float64),
    ],
)
@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_integers_and_doubles_keep_their_order(
    first: float, step: float, dtype: torch.dtype, scope: str
) -> None:
    """Scores that single precision would make equal: the best half of them stays, exactly."""
    generator = torch.Generator().manual_seed(3)
    weights = prunable_weights(MODEL)
    total = sum(w.shape[:2].numel() for w in weights.values())
    ranks = iter(torch.randperm(total, generator=generator).split(
        [w.shape[:2].numel() for w in weights.values()]
    ))  # fmt: skip
    order = {n: next(ranks).reshape(*w.shape[:2], 1, 1) for n, w in weights.items()}
    scores = {name: (first + rank.to(dtype) * step).to(dtype) for name, rank in order.items()}
    made = Units.of(STRUCTURE, check(scores), SHAPES)
    assert len(made.values.unique()) == total
    budget = Budget(kept=0.5, scope=scope)
    found = select(made, budget, DENSE, make_share(budget, MODEL, DENSE), None)
    if scope == "layerwise":
        expected = {n: rank > rank.float().quantile(0.5) for n, rank in order.items()}
    else:
        expected = {n: rank >= total - total // 2 for n, rank in order.items()}
    for name, mask in found.masks.items():
        if name in expected:
            assert torch.equal(mask[:, :, :1, :1], expected[name]), name


FAULTY = """
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from ssbench.method import Method, prunable_weights


@dataclass(frozen=True, kw_only=True)
class Faulty(Method):
    grain: ClassVar[str] = "weight"
    fault: Literal["none", "inf", "complex", "grain", "gap"] = "none"

    def scores(self, model):
        scores = {name: weight.abs() for name, weight in prunable_weights(model).items()}
        first = next(iter(scores))
        if self.fault == "inf":
            scores[first][0] = float("inf")
        if self.fault == "complex":
            scores[first] = scores[first].to(torch.complex64)
        if self.fault == "grain":
            scores[first] = scores[first].sum((1, 2, 3), keepdim=True)
        if self.fault == "gap":
            del scores[first]
        return scores
"""


def test_runs_with_wrong_scores_fail_by_name_and_the_others_go_on(
    tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    tiny.write_text(
        TINY[: TINY.index("methods =")].replace("[0.5, 0.1]", "[0.2]")
        + 'methods = [{ name = "faulty", fault = ["inf", "complex", "grain", "gap", "none"] }]'
    )
    ended = invoke("run", tiny, "--method-file", path)
    assert ended.code == 1
    failed = [line for line in ended.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 4
    for line, words in zip(
        failed, ("infinity", "complex64", "for each weight", "lack"), strict=True
    ):
        assert FIRST in line
        assert words in line
    assert "fault=none" in ended.out
