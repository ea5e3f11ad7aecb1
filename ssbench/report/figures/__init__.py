"""Figures of rows: each is a function that returns a Vega-Lite spec, or None without data.

>>> [figure.stem for figure in draw(rows, Looks.of(rows))]
['error-digits-vgg6', 'sizes-digits-vgg6', ...]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ssbench.analysis.rows import Row, differing, twins
from ssbench.report.captions import DOTTED
from ssbench.report.figures.chart import Figure, theme
from ssbench.report.figures.cost import cost
from ssbench.report.figures.error_size import (
    Reference,
    error_against_shares,
    error_against_sizes,
    unplaced,
)
from ssbench.report.figures.export import KINDS, convert, script
from ssbench.report.figures.finetuning import before_and_after
from ssbench.report.figures.layers import collapse_map, kept_by_layer
from ssbench.report.figures.mask_overlap import mask_overlap
from ssbench.report.figures.pareto import pareto_front
from ssbench.report.figures.ranks import rank_diagram
from ssbench.report.figures.scores import score_histograms
from ssbench.report.figures.style import Looks
from ssbench.report.figures.sweep import sweeps
from ssbench.report.figures.training_curves import training_curves

__all__ = ["FIRST", "KINDS", "Figure", "Looks", "Reference", "convert", "draw", "draw_overall",
           "script", "theme"]  # fmt: skip

FIRST = "error"
"""The kind of figure beside every table."""
_SEEDS = "Means over seeds; bands (bars for marks without a line) ± 1 sample standard deviation."
_BY_SIZE = (FIRST, "sizes", "pareto")
_WITH_TWINS = (*_BY_SIZE, "layers", "collapse")
"""Kinds that also show rows without a floor beside their twins with one; see `ssbench.report`."""
_KINDS: tuple[
    tuple[str, str, str, Callable[[Sequence[Row], Looks], dict[str, Any] | None]], ...
] = (
    (
        FIRST,
        "Error against what is kept",
        "test error of the last epoch against the kept share of params, connections (2-D kernels) "
        f"and MACs of nonzero weights. {_SEEDS} Dashed: the dense network.",
        error_against_shares,
    ),
    (
        "sizes",
        "Error against size",
        "test error of the last epoch against nonzero params, MACs of nonzero weights (1 per "
        "multiply-add, one image) and bytes of the compact network with each tensor in its "
        f"smallest format. {_SEEDS} Dashed: the dense network.",
        error_against_sizes,
    ),
    (
        "pareto",
        "Pareto front",
        "filled marks are the rows that no other row beats in both test error and size, joined by "
        "a step line (the dense network counts too); open marks are all others. The front compares "
        "means; the verdicts say which differences are significant.",
        pareto_front,
    ),
    (
        "finetuning",
        "Before and after finetuning",
        "test error against the requested share of the budget's unit (connections, params or "
        f"MACs), right after pruning and at the end. {_SEEDS}",
        before_and_after,
    ),
    (
        "layers",
        "Kept in each layer",
        "the share of weights that each prunable layer keeps, means over seeds, a panel for each "
        "requested share. Crosses: the layer lost all weights in some seed.",
        kept_by_layer,
    ),
    (
        "collapse",
        "Layers without a weight",
        "the number of seeds in which a layer lost all its weights; cells show the kept share of "
        "its weights in %, mean over seeds. Methods without such a layer are left out.",
        collapse_map,
    ),
    (
        "scores",
        "Scores and thresholds",
        "the scores of all units (weights, connections or filters: the method's grain) at pruning, "
        "for the first seed; lines are the thresholds of the requested shares.",
        score_histograms,
    ),
    (
        "masks",
        "Overlap of masks",
        "weights kept by both of two methods as a share of those kept by either, for the same "
        "seed, mean over seeds, from a sample of 4,096 prunable weights. Two random masks that "
        "keep a share s of the weights overlap by s / (2 - s).",
        mask_overlap,
    ),
    (
        "sweep",
        "Hyper-parameters",
        "test error of the last epoch against the swept hyper-parameter. Means over seeds, bars "
        "± 1 sample standard deviation.",
        sweeps,
    ),
    (
        "cost",
        "Error against cost",
        "test error of the last epoch against the seconds that one seed took on the hardware of "
        "the records, all stages together, shared ones included; against total epochs if rows "
        "differ in them; and against energy if a counter was readable: the GPU's (the sum if "
        "several trained jointly), else the CPU packages', without the rest of the machine. It "
        "includes everything that ran there, also other stages and other users' jobs.",
        cost,
    ),
    (
        "training",
        "Training",
        "loss (mean cross-entropy) and error on the (augmented) training images by epoch, each "
        "method at its smallest budget, means over seeds. Marks: error on the validation images "
        "at the end of a stage. Dashed lines separate stages. Methods that share a stage share its "
        "line: the last one drawn hides the others. A stage of one epoch is a short stroke.",
        training_curves,
    ),
)


def draw(
    rows: Sequence[Row], looks: Looks, label: str, published: Sequence[Reference] = ()
) -> list[Figure]:
    """Draw every figure of a (data set, model) that has data.

    Args:
        rows: of one table, in printing order.
        looks: the colours and marks of all methods of the report.
        label: ends the names of the figures' files.
        published: results from papers for the same network and data.
    """
    # Altair otherwise validates each part of a chart again and again.
    from altair.utils.schemapi import debug_mode

    where = f"{rows[0].like.model} on {rows[0].like.dataset}"
    without_floor = twins(rows)
    alone = [row for row in rows if row not in without_floor]
    both = differing(rows)
    figures = []
    for kind, title, caption, make in _KINDS:
        quoted = published if make is error_against_sizes else ()
        shown = both if kind in _WITH_TWINS else alone
        with debug_mode(False):
            spec = error_against_sizes(shown, looks, quoted) if quoted else make(shown, looks)
        if spec is not None:
            text = f"{where}: {caption}"
            text += f" Crosses: {', '.join(sorted({r.source for r in quoted}))}." if quoted else ""
            text += unplaced(rows) if kind in _BY_SIZE else ""
            text += DOTTED if len(both) > len(alone) and kind in _WITH_TWINS else ""
            figures.append(Figure(f"{kind}-{label}", title, text, spec))
    return figures


def draw_overall(tables: Sequence[Sequence[Row]], looks: Looks) -> list[Figure]:
    """Draw the figures that cover all tables of a report, given the rows of each."""
    spec = rank_diagram(tables, looks)
    caption = (
        "Average rank by mean test error over all (data set, model, kept share) of tables with the "
        "same total epochs and initial weights. A thick line joins methods whose ranks differ by "
        "less than Nemenyi's critical difference (95 %). That test assumes independence, but the "
        "shares of one network depend on each other, so the difference is too small."
    )
    return [] if spec is None else [Figure("ranks", "Average ranks", caption, spec)]
