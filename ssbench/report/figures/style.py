"""Give each method one colour and one marker in every figure of a report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssbench.analysis.rows import Row, twins

if TYPE_CHECKING:
    import altair as alt

# Okabe and Ito's palette without yellow and black, darkened where it vanishes on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#c98a00", "#3da4dc")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right",
          "triangle-left")  # fmt: skip
DASHES = ((1, 0), (6, 2), (2, 2), (7, 2, 2, 2))
DOTS = (1, 3)
"""The dashes of a row without a floor, drawn in the colour of its twin with one."""
_BARS = ("M-1,-0.3L1,-0.3L1,0.3L-1,0.3Z", "M-0.3,-1L0.3,-1L0.3,1L-0.3,1Z",
         "M-0.9,0.5L0.5,-0.9L0.9,-0.5L-0.5,0.9Z")  # fmt: skip
"""Its markers as SVG paths: a flat, an upright or a slanting bar, in case colours repeat."""
CONTROL = "#84898f"
"""For random controls of any grain, which every method has to beat."""
DENSE = "#84898f"


@dataclass(frozen=True)
class Looks:
    """Colours, markers and dashes of the methods by name, in the order of legends."""

    colours: dict[str, str]
    shapes: dict[str, str]
    dashes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Looks:
        """Choose distinct styles for all pruned methods of a report."""
        rows = list(rows)
        without_floor = {row.name: twin.name for row, twin in twins(rows).items()}
        names: dict[str, bool] = {}
        for row in rows:
            if not row.is_dense:
                names.setdefault(row.name, row.like.method == "random")
        found = cls({}, {}, {})
        controls = others = 0
        for name, is_control in sorted(names.items(), key=lambda item: (not item[1], item[0])):
            if name in without_floor:  # its name contains its twin's, which came before
                found._bare(name, without_floor[name])
                continue
            place = controls if is_control else others
            colour = CONTROL if is_control else COLOURS[others % len(COLOURS)]
            found.colours[name] = colour
            found.shapes[name] = SHAPES[place % len(SHAPES)]
            turn = 2 if is_control else others // len(COLOURS)
            found.dashes[name] = DASHES[turn % len(DASHES)]
            controls, others = controls + is_control, others + (not is_control)
        return found

    def _bare(self, name: str, twin: str) -> None:
        """Give a row without a floor the colour of its twin, a bar as its marker, and dots."""
        bare = [self.colours[other] for other, shape in self.shapes.items() if shape in _BARS]
        turn = bare.count(self.colours[twin])
        self.colours[name] = self.colours[twin]
        self.shapes[name] = _BARS[turn % len(_BARS)]
        self.dashes[name] = DOTS

    def only(self, names: Sequence[str]) -> list[str]:
        """Return those of the names that have a style, in the legend's order."""
        return [name for name in self.colours if name in names]

    def colour(self, names: Sequence[str], field: str = "method", **how: Any) -> alt.Color:
        """Encode the method as its colour, with a legend of these names."""
        import altair as alt

        shown = self.only(names)
        scale = alt.Scale(domain=shown, range=[self.colours[name] for name in shown])
        how = {"legend": legend(shown)} | how
        return alt.Color(f"{field}:N", scale=scale, title=None, **how)

    def shape(self, names: Sequence[str], field: str = "method", **how: Any) -> alt.Shape:
        """Encode the method as its marker."""
        import altair as alt

        shown = self.only(names)
        scale = alt.Scale(domain=shown, range=[self.shapes[name] for name in shown])
        how = {"legend": legend(shown)} | how
        return alt.Shape(f"{field}:N", scale=scale, title=None, **how)

    def dash(self, names: Sequence[str]) -> alt.StrokeDashValue:
        """Encode the method as the dashes of its line; dashes would break a legend's marks."""
        import altair as alt

        dashed = [name for name in self.only(names) if self.dashes[name] != DASHES[0]]
        conditions = [
            {"test": f"datum.method === {json.dumps(name)}", "value": list(self.dashes[name])}
            for name in dashed
        ]
        solid = list(DASHES[0])
        return (
            alt.StrokeDashValue(solid, condition=conditions)
            if dashed
            else alt.StrokeDashValue(solid)
        )


def legend(names: Sequence[str], width: int = 800) -> alt.Legend:
    """Return a legend below a figure of this width, with as many columns as fit."""
    import altair as alt

    longest = max((len(name) for name in names), default=1)
    columns = max(1, min(4, len(names), width // (6 * longest + 40)))
    return alt.Legend(
        orient="bottom",
        columns=columns,
        labelLimit=0,
        symbolSize=70,
        symbolOpacity=1,
    )
