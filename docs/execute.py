"""Execute the notebooks that are committed with outputs, each in an empty folder.

>>> uv run python -m docs.execute
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

EXECUTED = (Path(__file__).parents[1] / "examples" / "own_network.ipynb",)
SECONDS = 300
"""The longest time of one cell."""


def executed(path: Path, folder: Path) -> NotebookNode:
    """Return a notebook with the outputs of a new kernel, which works in ``folder``.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the kernel's versions
    return notebook


if __name__ == "__main__":
    for path in EXECUTED:
        with tempfile.TemporaryDirectory() as folder:
            made = executed(path, Path(folder))
        text = nbformat.writes(made, indent=1)  # type: ignore[no-untyped-call]
        path.write_text(f"{text}\n", encoding="utf-8")
