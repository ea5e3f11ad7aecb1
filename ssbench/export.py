"""A finished run's compact network as files that need no harness, and the way back.

>>> network = ssbench.load("exported/vgg6")        # a plain nn.Module in eval mode

    <folder>/network.json       what it is, how to feed it, which run it came from, checksums
    <folder>/model.safetensors  its parameters and running statistics
                                (or model.onnx, for onnxruntime; model.pt2, for torch.export.load)

What was truncated, altered or made by something else is refused. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssbench.errors import BadInputError, RunFailedError
from ssbench.models import MODELS
from ssbench.nearest import nearest
from ssbench.pipeline import parted
from ssbench.storage import make_folder, sync
from ssbench.structure import structure_of
from ssbench.surgery import compact_certified, noise

Format = Literal["safetensors", "onnx", "pt2"]
FORMATS: tuple[Format, ...] = get_args(Format)
DESCRIPTION = "network.json"
SAME = 1e-4
"""The largest relative difference of outputs at which a file passes."""


class Description(BaseModel):
    """What stands in ``network.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    made_by: Literal["ssbench"] = "ssbench"
    version: Literal[1] = 1
    kind: Format
    file: str = Field(pattern=r"^model\.[a-z0-9]+$")
    """The file beside this one that holds the network."""
    bytes: int
    sha256: str
    model: str
    classes: int
    image_shape: tuple[int, int, int]
    """Of one image, [C, H, W]."""
    mean: list[float]
    """Images are to be normalised, by channel, as (image - mean) / sd."""
    sd: list[float]
    groups: dict[str, int]
    """By module name, the groups of each convolution: what shapes do not tell."""
    surgery_difference: float
    """How much the outputs of masked and compact network differ, relative to the largest."""
    run: dict[str, Any]
    """The last record of the run."""


def compact_network(
    record: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[nn.Module, float]:
    """Build the network of a finished run, and take out of it what was pruned.

    Args:
        record: the last record of the run.
        tensors: what its last stage left.

    Returns:
        The network, in eval mode on the CPU, and its surgery's certificate.

    Raises:
        RunFailedError: the surgery changed the network's outputs.
    """
    state, masks = parted(tensors)
    with torch.device("meta"):
        network = MODELS[record["model"]](record["image_shape"][0], record["classes"])
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(True)
    if not masks:
        return network, 0.0
    return compact_certified(network, structure_of(network), masks, noise(record["image_shape"]))


def describe(network: nn.Module, record: Mapping[str, Any], difference: float) -> dict[str, Any]:
    """Say what a compact network is; all of a `Description` but its file."""
    convolutions = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    keys = ("model", "classes", "image_shape", "mean", "sd")
    return {
        **{key: record[key] for key in keys},
        "groups": {name: module.groups for name, module in convolutions.items()},
        "surgery_difference": difference,
        "run": dict(record),
    }


def export(network: nn.Module, description: Mapping[str, Any], kind: Format, to: Path) -> None:
    """Write a network and its description into a new folder, in whole or not at all.

    What was written is opened again and must give the network's outputs.

    Args:
        network: in eval mode, on the CPU.
        description: what ``describe`` gave.
        kind: the format.
        to: must not exist, or be empty.

    Raises:
        BadInputError: the folder is not empty or cannot be written, or ONNX is asked for and its
            packages are not installed.
        RunFailedError: the file that was written gives other outputs.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BadInputError(f"{to}: exists and is not an empty folder; choose another --to")
    make_folder(to.absolute().parent, "--to")
    folder = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.absolute().parent))
    try:
        images = noise(description["image_shape"])
        model = folder / f"model.{kind}"
        _save(network, images, kind, model)
        _describe_file(folder, description, kind, model)
        _compare(network, folder, images)
        for path, mode in ((model, 0o644), (folder / DESCRIPTION, 0o644), (folder, 0o755)):
            path.chmod(mode)  # safetensors and mkdtemp would hide them from colleagues
            sync(path)
        folder.rename(to)
    except OSError as error:
        raise BadInputError(
            f"{to}: cannot be written ({error.strerror}); choose another --to"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _describe_file(
    folder: Path, description: Mapping[str, Any], kind: Format, model: Path
) -> None:
    found = Description.model_validate(
        {
            **description,
            "image_shape": tuple(description["image_shape"]),
            "kind": kind,
            "file": model.name,
            "bytes": model.stat().st_size,
            "sha256": _checksum(model.read_bytes()),
        }
    )
    text = found.model_dump_json(indent=1)
    sealed = json.loads(text) | {"seal": _checksum(text.encode())}
    (folder / DESCRIPTION).write_text(json.dumps(sealed, indent=1) + "\n", encoding="utf-8")


def _save(network: nn.Module, images: Tensor, kind: Format, path: Path) -> None:
    """Write a network's file; the batch size stays free."""
    if kind == "safetensors":
        save_file({name: t.contiguous() for name, t in network.state_dict().items()}, path)
        return
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (images,), dynamic_shapes=shapes)
    if kind == "pt2":
        torch.export.save(program, path)
        return
    try:
        torch.onnx.export(
            program, (), path, input_names=["images"], output_names=["logits"], verbose=False,
            external_data=False,
        )  # fmt: skip
    except ImportError as error:
        raise _without_onnx(error) from error


def _without_onnx(error: ImportError) -> BadInputError:
    return BadInputError(f"--format onnx: {error}; install ssbench[onnx]")


def _compare(network: nn.Module, folder: Path, images: Tensor) -> None:
    """See that what was written gives the same outputs for images as the network.

    Raises:
        RunFailedError: it does not.
    """
    found = read(folder)
    with torch.no_grad():
        expected = network(images)
        if found.kind == "safetensors":
            result = load(folder)(images)
        elif found.kind == "pt2":
            result = torch.export.load(folder / found.file).module()(images)
        else:
            result = torch.from_numpy(run_onnx(folder / found.file, images))
    difference = float((expected - result).abs().max() / expected.abs().max().clamp_min(1))
    if not difference <= SAME:
        raise RunFailedError(f"{found.kind}: the outputs differ by {difference:.1e}")


def run_onnx(path: Path, images: Tensor) -> Any:
    """Run an ONNX file with onnxruntime on the CPU.

    Args:
        path: the file.
        images: normalised, [N, C, H, W].

    Returns:
        The logits, a numpy array [N, classes].

    Raises:
        BadInputError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _without_onnx(error) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})[0]


def load(folder: str | Path) -> nn.Module:
    """Load an exported network: plain torch, in eval mode, on the CPU.

    Args:
        folder: what ``ssbench export --to`` wrote, in the format safetensors.

    Raises:
        BadInputError: the folder does not hold what was exported: something is missing, truncated,
            altered or from elsewhere.
    """
    path = Path(folder)
    found = read(path)
    if found.kind != "safetensors":
        with_what = {"onnx": "onnxruntime.InferenceSession", "pt2": "torch.export.load"}[found.kind]
        raise BadInputError(
            f"{path}: holds {found.kind}; open {path / found.file} with {with_what}, or export "
            "with --format safetensors"
        )
    try:
        tensors = load_file(path / found.file)
    except SafetensorError as error:
        raise BadInputError(f"{path / found.file}: not safetensors ({error}); {_AGAIN}") from error
    if found.model not in MODELS:
        raise BadInputError(
            f"{path}: a network {found.model!r} is not known here; {nearest(found.model, MODELS)}"
        )
    with torch.device("meta"):  # no weights are drawn, the global generator stays as it is
        network = MODELS[found.model](found.image_shape[0], found.classes)
    _fill(network, tensors, found.groups, path)
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, *found.image_shape))
    except RuntimeError as error:
        raise BadInputError(
            f"{path}: the shapes fit no {found.model} ({error}); {_AGAIN}"
        ) from error
    return network


_AGAIN = "export the run again"


def read(folder: Path) -> Description:
    """Read and check what an exported folder says of itself, and its network's checksum.

    Raises:
        BadInputError: as for `load`.
    """
    path = folder / DESCRIPTION
    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))
        seal = sealed.pop("seal")
        found = Description.model_validate_json(json.dumps(sealed))
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot be read ({error.strerror}); name a folder that ssbench export wrote"
        ) from error
    except (ValueError, ValidationError, KeyError, AttributeError, TypeError) as error:
        raise BadInputError(f"{path}: not written by ssbench export; {_AGAIN}") from error
    if _checksum(found.model_dump_json(indent=1).encode()) != seal:
        raise BadInputError(f"{path}: was altered after it was written; {_AGAIN}")
    model = folder / found.file
    try:
        content = model.read_bytes()
    except OSError as error:
        raise BadInputError(f"{model}: cannot be read ({error.strerror}); {_AGAIN}") from error
    if len(content) != found.bytes:
        raise BadInputError(
            f"{model}: {len(content)} bytes instead of {found.bytes}: truncated or replaced; "
            f"{_AGAIN}"
        )
    if _checksum(content) != found.sha256:
        raise BadInputError(
            f"{model}: its SHA-256 is {_checksum(content)[:16]}… instead of "
            f"{found.sha256[:16]}…: altered; {_AGAIN}"
        )
    return found


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fill(
    network: nn.Module, tensors: Mapping[str, Tensor], groups: Mapping[str, int], place: Path
) -> None:
    """Give a network other tensors, and its modules the widths that these have."""
    expected = set(network.state_dict())
    if expected != set(tensors):
        odd = ", ".join(sorted(expected ^ set(tensors))[:3])
        raise BadInputError(f"{place}: the tensors fit no such network ({odd}); {_AGAIN}")
    for name, module in network.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for key, old in own:
            tensor = tensors[f"{name}.{key}" if name else key]
            new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else None
            setattr(module, key, tensor if new is None else new)
        if isinstance(module, nn.Conv2d):
            module.groups = groups.get(name, 1)
            module.out_channels = module.weight.shape[0]
            module.in_channels = module.weight.shape[1] * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.weight is not None:
            module.num_features = module.weight.shape[0]
