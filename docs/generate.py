"""Write the parts of the docs that are derived from the code; a test compares them.

>>> uv run python -m docs.generate
"""

import re
from pathlib import Path
from typing import cast

from docs import draw_architecture as drawing
from ssbench.storage.keys import Group
from ssbench.storage.schema import KEYS
from tests.test_architecture import MAY_IMPORT

DOCS = Path(__file__).parent


def metrics(text: str) -> str:
    """Replace the tables of keys in docs/metrics.md."""

    def table(block: re.Match[str]) -> str:
        return f"<!-- keys: {block[1]} -->\n{KEYS.table(cast('Group', block[1]))}\n<!-- end -->"

    return re.sub(r"<!-- keys: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    path = DOCS / "metrics.md"
    path.write_text(metrics(path.read_text(encoding="utf-8")), encoding="utf-8")
    drawing.PICTURE.write_text(drawing.svg(MAY_IMPORT))
    drawing.PAGE.write_text(drawing.page(drawing.PAGE.read_text(), MAY_IMPORT))
