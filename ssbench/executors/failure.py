"""Why a stage failed: the reason in one line, and the keys of its record."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path

from ssbench.errors import BadInputError, DivergedError, RunFailedError, blamed
from ssbench.experiment.stage import Stage
from ssbench.method.registry import is_ours
from ssbench.pipeline.record import Record
from ssbench.training.backward import out_of_memory

LONGEST = 20_000
"""Characters of a traceback that a record keeps: its end, which names the line at fault."""


def facts_of(error: BaseException) -> Record:
    """Return the keys of a failed record besides the reason."""
    text = "".join(traceback.format_exception(error))
    whole = text if len(text) <= LONGEST else f"…{text[-LONGEST:]}"
    diverged = {"diverged_epoch": error.epoch} if isinstance(error, DivergedError) else {}
    return {"traceback": whole} | diverged


def reason_of(stage: Stage, error: BaseException) -> str:
    """Return in one line what happened, and the user's file and line if it happened under them."""
    if isinstance(error, RunFailedError | BadInputError):
        return f"{stage.kind}: {error}{_of_method(stage, error)}"
    if out_of_memory(error):
        return f"{stage.kind}: out of memory ({error})"
    frame = blamed(error)
    place = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame else ""
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{stage.kind}: {what}{place}"


def _of_method(stage: Stage, error: Exception) -> str:
    """Return where a user's method begins if ssbench refused what it gave; else nothing."""
    if stage.method is None or type(error) not in (RunFailedError, BadInputError):
        return ""
    method = type(stage.method)
    if is_ours(method):
        return ""
    try:
        file, (_, line) = inspect.getfile(method), inspect.getsourcelines(method)
    except (OSError, TypeError):  # the file is gone
        return ""
    return f" ({Path(file).name}, line {line}: {method.__name__})"
