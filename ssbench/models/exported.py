"""Read, check and load exported networks.

>>> network = ssbench.load("exported/vgg6")        # a plain nn.Module in eval mode

    <folder>/network.json       description: network, input, run, checksums
    <folder>/model.safetensors  its parameters and running statistics
                                (or model.onnx, for onnxruntime; model.pt2, for torch.export.load)

Truncated, altered or foreign files are refused. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ssbench.errors import BadInputError
from ssbench.models.channel_selection import insert_selections, match_widths
from ssbench.models.registry import build

Format = Literal["safetensors", "onnx", "pt2"]
DESCRIPTION = "network.json"


class Description(BaseModel):
    """The content of ``network.json``."""

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
    """Normalise images as (image - mean) / sd, by channel."""
    sd: list[float]
    groups: dict[str, int]
    """By module name, the groups of each convolution, which shapes do not show."""
    surgery_difference: float
    """Difference of the masked and the compact network's outputs, relative to the largest."""
    run: dict[str, Any]
    """The last record of the run."""


def load(folder: str | Path) -> nn.Module:
    """Load an exported network: plain torch, in eval mode, on the CPU.

    It takes images [N, C, H, W] with the values that the data set stores (0 to 255; digits 0 to
    16), normalised by ``mean`` and ``sd`` (by channel) of the folder's description, see `read`.

    Args:
        folder: written by ``ssbench export --to`` in the format safetensors.

    Raises:
        BadInputError: a file is missing, truncated, altered or not from ``ssbench export``.
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
    with torch.random.fork_rng(devices=[]):  # leaves the global generator unchanged
        network = build(found.model, found.image_shape[0], found.classes, str(path))
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
    """Read and check the description of an exported folder, and its network's checksum.

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
    if checksum(found.model_dump_json(indent=1).encode()) != seal:
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
    if checksum(content) != found.sha256:
        raise BadInputError(
            f"{model}: its SHA-256 is {checksum(content)[:16]}… instead of "
            f"{found.sha256[:16]}…: altered; {_AGAIN}"
        )
    return found


def checksum(content: bytes) -> str:
    """Return the SHA-256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _fill(
    network: nn.Module, tensors: Mapping[str, Tensor], groups: Mapping[str, int], place: Path
) -> None:
    """Replace a network's tensors, and set the widths of its modules to match."""
    insert_selections(network, set(tensors))
    expected = set(network.state_dict())
    if expected != set(tensors):
        odd = ", ".join(sorted(expected ^ set(tensors))[:3])
        raise BadInputError(f"{place}: the tensors fit no such network ({odd}); {_AGAIN}")
    for name, module in network.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for key, old in own:
            tensor = tensors.get(f"{name}.{key}" if name else key)
            if tensor is None:
                continue  # fixed by the class, and so no part of a state_dict: as it was built
            new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else None
            setattr(module, key, tensor if new is None else new)
        if isinstance(module, nn.Conv2d):
            module.groups = groups.get(name, 1)
        match_widths(module)
