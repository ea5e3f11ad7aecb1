"""Time selection and surgery on a big network.

uv run python -m bench.perf.pruning [--model resnet50]
"""

from __future__ import annotations

import argparse

import torch

from bench.perf.measure import heading, interleaved, quartiles
from ssbench.method.contract import Grain, to_grain
from ssbench.models.registry import build
from ssbench.pruning.budget import Budget
from ssbench.pruning.counting import count
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import select
from ssbench.pruning.sizes import make_share
from ssbench.pruning.surgery import compact, zeroed_parameters
from ssbench.pruning.units import Units
from ssbench.training.device import resolve


def main() -> None:
    """Print the seconds of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{heading(resolve('cpu'))}; {options.model}")
    torch.manual_seed(0)
    model = build(options.model, 3, 1000)
    structure = structure_of(model)
    example = torch.zeros(1, 3, 224, 224)
    dense = count(model, example)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    grains: tuple[Grain, ...] = ("connection", "filter", "weight")
    cases = [(grain, scope, False) for grain in grains for scope in ("global", "layerwise")]
    for grain, scope, tied in [*cases, ("connection", "global", True)]:
        budget = Budget(kept=0.25, scope="global" if scope == "global" else "layerwise")
        scores = {
            layer.weight: to_grain(model.get_parameter(layer.weight).detach().abs(), grain)
            for layer in structure.prunable
        }
        if tied:  # as with rounded scores: many units are equal at the cut
            scores = {name: (100 * score).round() for name, score in scores.items()}
        share = make_share(budget, model, dense)

        def choose(scores=scores, budget=budget, share=share):  # type: ignore[no-untyped-def]
            units = Units.of(structure, scores, shapes)
            return select(units, budget, dense, share, None)

        name = f"select {grain}, {scope}{', tied' if tied else ''}"
        values = interleaved({name: choose}, options.rounds)[name]
        print(f"{name:34} {_spread(values)}")
    masks = choose().masks
    zeros = zeroed_parameters(structure, model, masks)
    for name, mask in zeros.items():
        model.get_parameter(name).data.mul_(mask)
    values = interleaved({"surgery": lambda: compact(model, structure, masks)}, options.rounds)
    print(f"{'surgery, connection':34} {_spread(values['surgery'])}")


def _spread(values: list[float]) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:.3f} s [{low:.3f}, {high:.3f}], n = {len(values)}"


if __name__ == "__main__":
    main()
