"""What the runs of an experiment start from: each network, its code and its first weights.

Paths are relative to the experiment's file; one that is not there is sought in the working folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.data.registry import dataset_name
from ssbench.errors import BadInputError, RunFailedError
from ssbench.experiment.model_spec import ModelSpec
from ssbench.experiment.presets import fitting, preprocessing
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Start
from ssbench.method.global_state import contained
from ssbench.models import own
from ssbench.models.architecture import Architecture
from ssbench.models.from_timm import check_untagged
from ssbench.models.own import Code
from ssbench.models.pretrained import Published, evaluated_as, published
from ssbench.models.registry import check, is_known, network, suggest
from ssbench.models.weights import address, identity


def find_starts(
    experiment: Experiment,
    fingerprint: str,
    source: str,
    model_files: Sequence[Path],
    on_disk: Preprocessing | None,
) -> dict[str, Start]:
    """Return what the runs of each network start from, for the first seed, by its name in tables.

    Args:
        experiment: the experiment.
        fingerprint: of the data set.
        source: the experiment's file.
        model_files: files with networks that the experiment names.
        on_disk: the preprocessing of images that stay on disk; None: they are in memory.

    Raises:
        BadInputError: an unknown network or argument, a file that cannot be read or imported,
            weights that do not exist, a tag of weights where weights are random, two names of one
            network, or random weights without a training.
    """
    dataset, seed = dataset_name(experiment.dataset), experiment.seeds[0]
    starts: dict[str, Start] = {}
    same: dict[tuple[str, ...], str] = {}
    for index, spec in enumerate(experiment.networks):
        place = f"{source}: models.{index}"
        architecture = find_architecture(spec, place, Path(source).parent, model_files)
        start = Start(dataset, fingerprint, spec.label, seed, architecture)
        start = replace(start, preprocessing=on_disk or STANDARD)
        start = _with_weights(start, spec, experiment, place, Path(source).parent, on_disk)
        mine = f"models.{index} ({spec.label})"
        first = same.setdefault(_identity(start), mine)
        if first != mine:
            raise BadInputError(f"{place}: {spec.label!r} is the network of {first}; remove one")
        if spec.label in starts:
            raise BadInputError(
                f"{place}: two different networks would be called {spec.label!r} in tables; rename "
                "a file"
            )
        if not (start.weights or experiment.train.epochs):
            raise BadInputError(
                f"{source}: train.epochs: 0, but {mine} starts with random weights; give it "
                "weights, or train it"
            )
        starts[spec.label] = start
    return starts


def find_architecture(
    spec: ModelSpec, place: str, folder: Path, model_files: Sequence[Path] = ()
) -> Architecture:
    """Find a network by name, import its code, and check its arguments.

    Args:
        spec: the entry of ``models``.
        place: the entry, for errors.
        folder: to which paths are relative.
        model_files: files in which to look for its name.

    Raises:
        BadInputError: there is no such network, or it takes no such argument.
    """
    file, colon, attribute = spec.name.rpartition(".py:")
    name, code = spec.name, _by_name(spec.name, place, model_files) if not colon else None
    if colon:
        path = _path(f"{file}.py", folder)
        name, code = f"{path.name}:{attribute}", _imported(path, attribute, place)
    if code is None:
        check(name, place)
    architecture = Architecture.of(name, spec.arguments, code)
    architecture.check_arguments(place)
    return architecture


def _path(written: str, folder: Path) -> Path:
    path = folder / Path(written).expanduser()
    return path if path.exists() or not Path(written).exists() else Path(written)


def _imported(path: Path, attribute: str, place: str) -> Code:
    try:
        with contained(f"the import of {path}"):
            return own.read(path, attribute, place)
    except (BadInputError, RunFailedError) as error:
        raise _placed(error, place) from error


def _placed(error: Exception, place: str) -> BadInputError:
    """Return an error that names its place."""
    text = str(error)
    return BadInputError(text if text.startswith(place) else f"{place}: {text}")


def _by_name(name: str, place: str, model_files: Sequence[Path]) -> Code | None:
    """Return a network of a ``--model-file`` or of a package; None if ssbench knows the name.

    Raises:
        BadInputError: nobody knows the name, or several do.
    """
    offered = {path: own_networks(path) for path in model_files}
    having = [path for path, names in offered.items() if name in names]
    packaged = own.packaged()
    owners = [f"--model-file {path}" for path in having]
    owners += [f"the package of {packaged[name].value}"] if name in packaged else []
    owners += ["ssbench"] if is_known(name) else []
    if len(owners) > 1:
        raise BadInputError(
            f"{place}: {name!r} is a network of {' and of '.join(owners)}; rename one, or write "
            "FILE.py:NAME"
        )
    if having:
        return _imported(having[0], name, place)
    if name in packaged:
        return own.of_package(packaged[name], place)
    if owners:
        return None
    more = [*packaged, *(each for names in offered.values() for each in names)]
    raise BadInputError(f"{place}: unknown model {name!r}; {suggest(name, more)}")


def own_networks(path: Path) -> list[str]:
    """Return the networks that a ``--model-file`` defines.

    Raises:
        BadInputError: it cannot be imported, or defines none.
    """
    place = f"--model-file {path}"
    try:
        with contained(f"the import of {path}"):
            names = own.networks_in(path, place)
    except (BadInputError, RunFailedError) as error:
        raise _placed(error, place) from error
    if not names:
        raise BadInputError(
            f"{place}: defines no network: no public class or function that needs no other "
            f"arguments than {' and '.join((own.CHANNELS[0], own.CLASSES[0]))}"
        )
    return names


def _with_weights(
    start: Start,
    spec: ModelSpec,
    experiment: Experiment,
    place: str,
    folder: Path,
    on_disk: Preprocessing | None,
) -> Start:
    """Add the weights that a network starts with, and the preprocessing that they need."""
    name, code = start.architecture.name, start.architecture.code
    if spec.weights is not None:
        where = address(_path(spec.weights, folder), f"{place}: weights")
        known = None if code else evaluated_as(name, place)
        how = _prepared(known, experiment, place, on_disk)
        return replace(start, weights=where, preprocessing=how)
    if experiment.start == "published":
        if code:
            raise BadInputError(
                f"{place}: there are no published weights of {name!r}; give a file: "
                "{ name = …, weights = 'PATH' }"
            )
        weights = published(name, place)
        how = _prepared(weights, experiment, place, on_disk)
        return replace(start, weights=weights.url, preprocessing=how)
    check_untagged(name, place)
    return start


def _prepared(
    weights: Published | None, experiment: Experiment, place: str, on_disk: Preprocessing | None
) -> Preprocessing:
    """Return the preprocessing of images on disk for some weights."""
    if weights is None or on_disk is None:
        return on_disk or STANDARD
    return fitting(preprocessing(weights, place), on_disk, experiment.data)


def _identity(start: Start) -> tuple[str, ...]:
    """Return what makes two entries the same network with the same weights."""
    architecture = start.architecture
    code = architecture.code
    name = f"{code.content}:{code.attribute}" if code else network(architecture.name)
    return name, architecture.written, identity(start.weights)
