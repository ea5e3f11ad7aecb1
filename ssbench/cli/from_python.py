"""`ssbench.run`: the command ``ssbench run`` as a function, with its checks, cache and records."""

from __future__ import annotations

import hashlib
import inspect
import io
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from signal import SIGINT
from typing import Any, Literal

import numpy as np
from rich.console import Console
from torch import nn

from ssbench.cli import run as run_
from ssbench.cli.options import log
from ssbench.errors import BadInputError
from ssbench.executors.session import CONTENT, Options, prepare
from ssbench.method.contract import Method
from ssbench.method.registry import is_ours
from ssbench.report.notebook import Results
from ssbench.storage.files import create, make_folder, write
from ssbench.storage.toml import toml_key, toml_value
from ssbench.training.interrupt import STOP

NAME = "from-python"
"""The name of an experiment that has none."""
_OWN = {"content", "overrides", "dry_run", "results", "cache", "device", "concurrency", "quiet"}
_FURTHER = {field.name for field in fields(Options)} - _OWN
"""Options of ``ssbench run`` that `run` takes among its settings."""


def run(
    experiment: str | Path | Mapping[str, Any] | None = None,
    *,
    models: Sequence[Any] | None = None,
    methods: Sequence[Any] | Literal["all"] | None = None,
    data: str | Path | Mapping[str, Any] | None = None,
    results: str | Path = "results",
    cache: str | Path | None = None,
    device: str = "auto",
    concurrency: int | Literal["auto"] | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Results:
    """Run an experiment as ``ssbench run`` does: the same stages, cache, records and report.

    What is finished is not computed again, also not what the command line computed. Ctrl-C (in a
    notebook: interrupt) saves the epoch under way; the same call goes on.

    Args:
        experiment: a TOML file, the name of an experiment that ships with ssbench, or its content
            as a dict; None: ``settings`` are all of it.
        models: networks by name, or classes and functions that a file defines: the file is part of
            what names the results, so a network that only a notebook has is refused.
        methods: names, dicts with hyper-parameters, methods, or "all".
        data: the data set's name; a path to a folder of images or an .npz file; arrays by name
            (``x_train``, ``y_train``, ``x_test``, ``y_test``), which ``results`` then keeps; or
            the table ``[data]`` of an experiment.
        results: the folder of all experiments.
        cache: folder or URL of finished stages; None: ``results/.cache``.
        device: auto, cpu, cuda or cuda:N.
        concurrency: stages side by side; auto: as many as memory and cores allow; None: one.
        quiet: show no progress.
        settings: further keys of the experiment (``seeds=[0]``, ``train={"epochs": 2}``: tables
            change key by key), and options of ``ssbench run`` (``method_files``, ``model_files``,
            ``retry_failed``, ``data_root``, ``tuned``, ``devices``, ``executor``, ``address``,
            ``save_every``).

    Returns:
        The experiment's results, runs without a result among them: see `Results.failed`.

    Raises:
        BadInputError: what is wrong, where, and the remedy.

    Examples:
        >>> recipe = {"epochs": 1, "lr": 0.05, "schedule": "one-cycle"}
        >>> results = ssbench.run(
        ...     data="digits", models=["vgg6"], methods=["magnitude"], seeds=[0],
        ...     budget={"kept": 0.5, "protection": 0.0}, train=recipe, finetune=recipe,
        ...     results=folder, quiet=True,
        ... )
        >>> results
        Results('.../from-python'): 1 runs, vgg6 on digits
    """
    further = {name: settings.pop(name) for name in _FURTHER & settings.keys()}
    files = [Path(path) for path in further.pop("method_files", ())]
    named = _data(data, Path(results)) | {"models": _list("models", models, _model)}
    named["methods"] = methods if methods == "all" else _list("methods", methods, _Methods(files))
    keys = {name: value for name, value in (named | settings).items() if value is not None}
    options = _options(further) | {"method_files": files, "results": Path(results)}
    options |= {"cache": cache, "device": device, "concurrency": concurrency, "quiet": quiet}
    with STOP.signals((SIGINT,)):
        return _run(experiment, keys, Options(**options))


def _run(
    experiment: str | Path | Mapping[str, Any] | None, keys: Mapping[str, Any], options: Options
) -> Results:
    console = progress_console()
    text = ""
    if isinstance(experiment, str | Path):
        overrides = [f"{path}={toml_value(value, path)}" for path, value in _flat(keys)]
        ready = prepare(str(experiment), replace(options, overrides=overrides))
    else:
        text = _written({"name": NAME} | dict(experiment or {}), keys)
        content = tomllib.loads(text)
        kept = _kept(options.results / str(content["name"]), text)
        ready = prepare(str(kept), replace(options, content=content))
    if not options.quiet:
        run_.warn(ready, console)
    outcome = run_.carry_out(ready, options, console)
    folder = ready.results.folder
    if text:
        create(_kept(folder, text), text)
    run_.show(folder, console, quiet=True)
    run_.tell(outcome.failed, console)
    return Results(folder)


def _kept(folder: Path, text: str) -> Path:
    return folder / f"experiment-{hashlib.sha256(text.encode()).hexdigest()[:8]}.toml"


def _written(content: Mapping[str, Any], keys: Mapping[str, Any]) -> str:
    """Return an experiment as TOML, with ``keys`` changed; tables change key by key."""
    merged = dict(content)
    for key, value in keys.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if both else value
    lines = (f"{toml_key(key, CONTENT)} = {toml_value(v, key)}\n" for key, v in merged.items())
    return "".join(lines)


def _flat(keys: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables by their dotted key."""
    for key, value in keys.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _options(further: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as `Options` holds them: paths may be text."""
    made = dict(further)
    for name in {"data_file", "data_root", "tensorboard", "tuned"} & made.keys():
        made[name] = None if made[name] is None else Path(made[name])
    if "model_files" in made:
        made["model_files"] = [Path(path) for path in made["model_files"]]
    return made


def _data(data: Any, results: Path) -> dict[str, Any]:
    """Return ``data`` under the keys of an experiment."""
    match data:
        case Path() if data.suffix == ".npz":
            return {"dataset": f"npz:{data}"}
        case Path():
            return {"dataset": f"imagefolder:{data}"}
        case Mapping() if "x_train" in data:
            return {"dataset": f"npz:{_kept_arrays(data, results)}"}
        case Mapping():
            return {"data": data}
    return {"dataset": data}


def _kept_arrays(data: Mapping[str, Any], results: Path) -> Path:
    """Write arrays to a file that is named by their content, so that a run can be repeated.

    Raises:
        BadInputError: one is no array of numbers, or the folder cannot be written.
    """
    arrays = {name: np.asarray(value) for name, value in data.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise BadInputError(f"data: {name} is no array of numbers; give arrays or tensors")
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    digest = hashlib.sha256(content.getvalue()).hexdigest()[:8]
    make_folder(results, "results")
    path = results / f"arrays-{digest}.npz"
    if not path.exists():
        write(path, content.getvalue())
    return path


def _list(key: str, values: Sequence[Any] | None, convert: Any) -> list[Any] | None:
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise BadInputError(f"{key}: {values!r} is no list; write [{values!r}]")
    return [convert(value, f"{key}.{number}") for number, value in enumerate(values)]


def _model(value: Any, place: str) -> Any:
    """Return a network as a file names it."""
    if isinstance(value, str | Mapping):
        return value
    if isinstance(value, nn.Module):
        raise BadInputError(
            f"{place}: a {type(value).__name__} has weights already; an experiment builds its "
            "networks itself, for each seed: give the class, or prune this one with ssbench.prune"
        )
    if not callable(value):
        raise BadInputError(f"{place}: {value!r} is no network; give a name or a class")
    return f"{_file_of(value, place)}:{value.__qualname__}"


class _Methods:
    """Turns methods into entries of ``methods``, and collects the files of those from elsewhere."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __call__(self, value: Any, place: str) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping):
            return {str(key).rstrip("_"): each for key, each in value.items()}
        kind = value if isinstance(value, type) else type(value)
        if not issubclass(kind, Method):
            raise BadInputError(f"{place}: {value!r} is no method; give a name or a dict")
        path = Path(_file_of(kind, place))
        if not is_ours(kind) and path not in self._files:
            self._files.append(path)
        usual = kind().settings
        settings = usual if isinstance(value, type) else value.settings
        changed = {name: each for name, each in settings.items() if each != usual[name]}
        return {"name": path.stem.replace("_", "-")} | changed


def _file_of(value: Any, place: str) -> str:
    """Return the file that defines a class or function, relative to this folder if it is inside.

    Raises:
        BadInputError: no file does, or it is not at the top level of one.
    """
    name = value.__qualname__
    try:
        path = Path(inspect.getsourcefile(value) or "")
    except TypeError:  # made by no code of Python's
        path = Path()
    if path.suffix != ".py" or not path.is_file():
        raise BadInputError(
            f"{place}: {name} is in no file, but the content of files names the results that "
            f"depend on them; write it to one (in a notebook: %%writefile my_file.py) and import it"
        )
    if "." in name:
        raise BadInputError(f"{place}: {name}: move it to the top level of {path.name}")
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def progress_console() -> Console:
    """Return where progress goes: plain lines in a notebook, else standard error."""
    if not Console().is_jupyter:
        return log()
    # Kernels claim to be terminals, but an output cell keeps every frame of a moving bar.
    return Console(file=sys.stdout, force_jupyter=False, force_terminal=False)
