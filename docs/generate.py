"""Write the parts of the docs that are derived from the code; a test compares them.

>>> uv run python -m docs.generate
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

from typer.main import get_command

from docs import draw_architecture as drawing
from ssbench.cli.app import app
from ssbench.cli.options import ExitCode
from ssbench.experiment.schema import reference
from ssbench.method.registry import discover
from ssbench.report.selection import choices
from ssbench.report.tables import USUAL_COLUMNS
from ssbench.storage.keys import Group
from ssbench.storage.schema import KEYS
from tests.test_architecture import MAY_IMPORT

DOCS = Path(__file__).parent


def metrics(text: str) -> str:
    """Replace the tables of keys in docs/metrics.md."""

    def table(block: re.Match[str]) -> str:
        return f"<!-- keys: {block[1]} -->\n{KEYS.table(cast('Group', block[1]))}\n<!-- end -->"

    return re.sub(r"<!-- keys: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def commands() -> str:
    """Write the table of all commands."""
    found = getattr(get_command(app), "commands", {})
    lines = [
        f"| `ssbench {name}` | {each.get_short_help_str(200).rstrip('.').replace('|', '/')} |"
        for name, each in found.items()
    ]
    return "\n".join(["| command | what it does |", "|:--|:--|", *lines])


def exit_codes() -> str:
    """Write the table of exit codes."""
    lines = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| exit code | meaning |", "|--:|:--|", *lines])


def columns() -> str:
    """Write the names of all columns."""
    return ", ".join(f"`{name}`" for name in sorted(choices(USUAL_COLUMNS))) + "."


def keys() -> str:
    """Write the keys of experiment files."""
    return reference(discover())


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "command-line.md": {"commands": commands, "exit codes": exit_codes, "columns": columns},
    "experiment-keys.md": {"keys": keys},
}
"""By page, its derived blocks."""


def filled(page: str, text: str) -> str:
    """Replace the derived blocks of a page."""
    for name, write in BLOCKS[page].items():
        head, end = f"<!-- {name}: made by docs/generate.py -->\n", "<!-- end -->"
        before, _, rest = text.partition(head)
        assert rest, f"{page} has no block {name}"
        text = before + head + write() + "\n" + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    path = DOCS / "metrics.md"
    path.write_text(metrics(path.read_text(encoding="utf-8")), encoding="utf-8")
    for name in BLOCKS:
        path = DOCS / name
        path.write_text(filled(name, path.read_text(encoding="utf-8")), encoding="utf-8")
    drawing.PICTURE.write_text(drawing.svg(MAY_IMPORT))
    drawing.PAGE.write_text(drawing.page(drawing.PAGE.read_text(), MAY_IMPORT))
