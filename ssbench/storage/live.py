"""What runs now: small files beside the records, for whoever watches. Results never read them.

    <results>/<experiment>/.live/run-PID-HOST-.json          one for each `ssbench run`
    <results>/<experiment>/.live/<stage id>-PID-HOST-.json   one for each running stage

A process removes its files when it ends. Files of a killed one stay, are marked as such by `read`
and removed by the next run on the same machine.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ssbench.storage.files import abandoned, owned, sweep

FOLDER = ".live"
_RUN = "run"


def now() -> str:
    """Return the time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class RunNow:
    """The state of one `ssbench run`.

    Attributes:
        total: number of runs of the experiment; of these ``finished`` have an end, and ``failed``
            of them have no result.
        seconds_left: at the speed so far; None: no epoch is finished yet.
    """

    experiment: str
    total: int
    finished: int
    failed: int
    seconds_left: float | None
    started: str
    changed: str = field(default_factory=now)


@dataclass(frozen=True)
class StageNow:
    """The state of one running stage.

    Attributes:
        run: the first of its runs, in words.
        epoch: the last finished one, of ``epochs``.
        loss: mean training loss of every epoch since this process runs the stage; None where it was
            not finite.
        error: % of wrong answers in training, for the same epochs.
    """

    stage: str
    kind: str
    run: str
    started: str
    epoch: int
    epochs: int
    loss: list[float | None]
    error: list[float]
    images_per_second: float | None = None
    changed: str = field(default_factory=now)


@dataclass(frozen=True)
class Live:
    """All that runs in one folder of results.

    Attributes:
        killed: number of files whose process has died without removing them.
    """

    runs: list[RunNow]
    stages: list[StageNow]
    killed: int


class LiveFiles:
    """This process' files of one folder of results. A disk that fails is no reason to stop."""

    def __init__(self, results: Path) -> None:
        self._folder = results / FOLDER
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep(self._folder, "")

    def put(self, state: RunNow | StageNow) -> None:
        """Write a state whole, in place of the one before."""
        path = self._path(state.stage if isinstance(state, StageNow) else _RUN)
        with suppress(OSError):
            new = path.with_name(f".{path.name}")
            new.write_text(json.dumps(asdict(state)), encoding="utf-8")
            new.replace(path)

    def remove(self, stage: str) -> None:
        """Remove the file of a stage that no longer runs here."""
        with suppress(OSError):
            self._path(stage).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all files of this process, and the folder if no other process uses it."""
        with suppress(OSError):
            for path in self._folder.glob(f"*{owned('')}*"):
                path.unlink(missing_ok=True)
            self._folder.rmdir()

    def _path(self, name: str) -> Path:
        return self._folder / f"{owned(name)}.json"


def read(results: Path) -> Live:
    """Read what runs in a folder of results; never waits, and skips what is just being written."""
    runs: list[RunNow] = []
    stages: list[StageNow] = []
    killed = 0
    for path in sorted((results / FOLDER).glob("[!.]*.json")):
        if abandoned(path.name):
            killed += 1
            continue
        with suppress(OSError, ValueError, TypeError):
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if "stage" in content:
                stages.append(StageNow(**content))
            else:
                runs.append(RunNow(**content))
    return Live(runs, sorted(stages, key=lambda each: each.started), killed)


def live_folders(folder: Path) -> list[Path]:
    """Return the folder itself and those directly below in which something runs, newest first."""
    found = [folder, *(path for path in sorted(folder.glob("*")) if path.is_dir())]
    running = [path for path in found if any((path / FOLDER).glob("[!.]*.json"))]
    return sorted(running, key=lambda path: (path / FOLDER).stat().st_mtime, reverse=True)
