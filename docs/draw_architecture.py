"""Draw the rooms of ssbench from the table of who may import whom; `docs.generate` writes it."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from pathlib import Path

from ssbench.paths import package_folder

Rooms = Mapping[str, set[str]]
Places = Mapping[str, tuple[float, float]]
PAGE = Path(__file__).with_name("architecture.md")
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- rooms: made by docs/generate.py -->\n", "<!-- /rooms -->\n"
FLOW = (
    ("", "experiment", "TOML"),
    ("experiment", "executors", "runs of stages"),
    ("executors", "pipeline", "one stage"),
    ("executors", "storage", "checkpoints, records"),
    ("storage", "analysis", "records"),
    ("analysis", "report", "rows, verdicts"),
    ("report", "", "tables, figures"),
)
"""From which room what data go to which; "": a file of the user's."""
WIDTH, ROW, TOP = 960, 92, 50
BOX_WIDTH, BOX_HEIGHT = 130, 40
OUTSIDE, BEND = 150, 60
"""In pixels: the length of an arrow that leaves the package; how far one within a column bends."""
STYLE = """
text { font: 14px system-ui, sans-serif; text-anchor: middle; fill: #1a1a1a }
rect { fill: #f3f5f8; stroke: #57606a } .sheet { fill: white; stroke: none }
.room { font-weight: 600 } .import { stroke: #a0a8b0; marker-end: url(#grey) }
.flow { stroke: #0b57d0; stroke-width: 2.5; fill: none; marker-end: url(#blue) }
.data { fill: #0b57d0; stroke: white; stroke-width: 5; paint-order: stroke }
"""


def depths(rooms: Rooms) -> dict[str, int]:
    """The row of each room, from 0 at the bottom: one above the highest that it imports."""
    found: dict[str, int] = {}
    while len(found) < len(rooms):
        found |= {
            room: max((found[other] + 1 for other in imports), default=0)
            for room, imports in rooms.items()
            if imports <= found.keys()
        }
    return found


def arrows(rooms: Rooms) -> list[tuple[str, str]]:
    """The imports to draw: those that do not follow from two others."""
    return [
        (room, other)
        for room, imports in rooms.items()
        for other in sorted(imports)
        if not any(other in rooms[between] for between in imports)
    ]


def svg(rooms: Rooms) -> str:
    """Return the picture: rooms, grey arrows for imports, blue ones for data."""
    places = _places(rooms)
    height = TOP + ROW * max(depths(rooms).values()) + TOP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        f"<title>The rooms of ssbench</title><style>{STYLE}</style>",
        *(_head(name, colour) for name, colour in (("grey", "#a0a8b0"), ("blue", "#0b57d0"))),
        f'<rect class="sheet" width="{WIDTH}" height="{height}"/>',
        *(_line(places[a], places[b]) for a, b in arrows(rooms)),
        *(_flow(places, start, end) for start, end, _ in FLOW),
        *(_box(room, x, y) for room, (x, y) in places.items()),
        *(_label(places, *each) for each in FLOW),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def table(rooms: Rooms) -> str:
    """Return the Markdown table of the rooms, from the top down."""
    lines = ["| room of `ssbench/` | what is inside | may import |", "|:--|:--|:--|"]
    for room in reversed(list(rooms)):
        source = (package_folder() / room / "__init__.py").read_text()
        summary = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
        imports = [name for name in rooms if name in rooms[room]]
        lines.append(f"| `{room}` | {summary} | {', '.join(imports) or 'none'} |")
    return "\n".join(lines) + "\n"


def page(text: str, rooms: Rooms) -> str:
    """Return a page with the table between its marks made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(rooms) + END + after


def _places(rooms: Rooms) -> dict[str, tuple[float, float]]:
    """The middle of each room's box."""
    rows = depths(rooms)
    found: dict[str, tuple[float, float]] = {}
    for depth in range(max(rows.values()) + 1):
        row = [room for room in rooms if rows[room] == depth]
        y = TOP + ROW * (max(rows.values()) - depth)
        found |= {room: ((i + 0.5) / len(row) * WIDTH, y) for i, room in enumerate(row)}
    return found


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/>'
        "</marker>"
    )


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    half = BOX_HEIGHT / 2
    return (
        f'<line class="import" x1="{start[0]:g}" y1="{start[1] + half:g}" '
        f'x2="{end[0]:g}" y2="{end[1] - half:g}"/>'
    )


def _ends(places: Places, start: str, end: str) -> tuple[float, float, float, float]:
    """The ends of a data arrow: from the side of a box to the side, or the edge, of another."""
    half = BOX_WIDTH / 2
    if not start:
        x, y = places[end]
        return x - half - OUTSIDE, y, x - half, y
    x, y = places[start]
    if not end:
        return x + half, y, x + half + OUTSIDE, y
    to_x, to_y = places[end]
    side = _side(y, to_y) * half
    if x == to_x:
        return x + side, y, to_x + side, to_y
    return x + side, y, to_x, to_y - math.copysign(BOX_HEIGHT / 2, to_y - y)


def _side(y: float, to_y: float) -> int:
    """Arrows go up on the left and down on the right."""
    return -1 if to_y < y else 1


def _flow(places: Places, start: str, end: str) -> str:
    x, y, to_x, to_y = _ends(places, start, end)
    bend = f"{to_x:g} {y:g}"
    if x == to_x:
        out = x + _side(y, to_y) * BEND
        bend = f"{out:g} {y:g} {out:g} {to_y:g}"
    command = "C" if x == to_x else "Q"
    return f'<path class="flow" d="M{x:g} {y:g}{command}{bend} {to_x:g} {to_y:g}"/>'


def _label(places: Places, start: str, end: str, data: str) -> str:
    x, y, to_x, to_y = _ends(places, start, end)
    at_x, at_y = (x + 3 * to_x) / 4, (3 * y + to_y) / 4
    if y == to_y:
        at_x, at_y = (x + to_x) / 2, y - 9
    elif x == to_x:
        at_x, at_y = x + _side(y, to_y) * BEND, (y + to_y) / 2
    return f'<text class="data" x="{at_x:g}" y="{at_y + 5:g}">{data}</text>'


def _box(room: str, x: float, y: float) -> str:
    return (
        f'<rect x="{x - BOX_WIDTH / 2:g}" y="{y - BOX_HEIGHT / 2:g}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="6"/><text class="room" x="{x:g}" y="{y + 5:g}">{room}</text>'
    )
