"""The code of users' networks, beside the checkpoints that need it: ``<cache>/networks/<hash>``.

A file of a user's may change or move after a run; an export still builds the network that ran.
"""

from __future__ import annotations

from ssbench.errors import BadInputError, DamagedError
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.files import unwritable

FILE, PART = "network.py", "networks"


def keep(store: CheckpointStore, content: str, source: str) -> None:
    """Store the text of a file under its hash, unless it is there.

    Raises:
        BadInputError: the disk is full, or cannot be written.
    """
    shelf = store.part(PART).shelf
    if shelf.has(content):
        return
    try:
        shelf.prepare()
        with shelf.workspace() as folder:
            (folder / FILE).write_text(source, encoding="utf-8", newline="")
            shelf.put(content, folder)
    except OSError as error:
        raise unwritable(shelf.place, error) from error


def kept(store: CheckpointStore, content: str) -> str:
    """Return the text of a file by its hash.

    Raises:
        BadInputError: it is not there, or damaged.
    """
    shelf = store.part(PART).shelf
    try:
        return shelf.read(content, FILE).decode("utf-8")
    except DamagedError as error:
        raise BadInputError(
            f"{error.told}: the code of the run's network is not beside its checkpoint; name "
            "another --cache, or remove the record and run the experiment again"
        ) from error
