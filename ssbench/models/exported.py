"""Exported networks in a folder: describe, check and load them.

>>> network = ssbench.load("exported/vgg6")        # a plain nn.Module in eval mode

    <folder>/network.json       the network, its preprocessing, its run, checksums
    <folder>/model.safetensors  its parameters and running statistics
                                (or model.onnx, for onnxruntime; model.pt2, for torch.export.load)
    <folder>/network.py         the code of a network from a user's file

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
from ssbench.models import own
from ssbench.models.architecture import Architecture
from ssbench.models.channel_selection import insert_selections, match_widths

Format = Literal["safetensors", "onnx", "pt2"]
DESCRIPTION, CODE = "network.json", "network.py"


class Description(BaseModel):
    """The content of ``network.json``.

    Attributes:
        file: the file of the network, in the same folder.
        image_shape: of one image, [C, H, W].
        mean: by channel; networks take (image - mean) / sd.
        sd: by channel.
        groups: of each convolution, by module name; shapes alone do not tell them.
        surgery_difference: difference between the outputs of the masked and the compact network,
            relative to the largest.
        run: the last record of the run.
        arguments: of the network besides channels and classes.
        attribute: the class or function that builds the network, in `CODE` or, if that is not
            there, in an installed package; empty for the networks of ssbench, torchvision and timm.
        code: a hash of that code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    made_by: Literal["ssbench"] = "ssbench"
    version: Literal[1] = 1
    kind: Format
    file: str = Field(pattern=r"^model\.[a-z0-9]+$")
    bytes: int
    sha256: str
    model: str
    classes: int
    image_shape: tuple[int, int, int]
    mean: list[float]
    sd: list[float]
    groups: dict[str, int]
    surgery_difference: float
    run: dict[str, Any]
    arguments: dict[str, Any] = {}
    attribute: str = ""
    code: str = ""


def load(folder: str | Path, *, trust_code: bool = False) -> nn.Module:
    """Load an exported network: plain torch, in eval mode, on the CPU.

    It takes images [N, C, H, W] normalised as in training: stored values (0 to 255; digits 0 to
    16), minus ``mean``, divided by ``sd`` (by channel). Both are in the folder's description, see
    `read`.

    Args:
        folder: written by ``ssbench export --to``, in the format safetensors.
        trust_code: whether to run the folder's ``network.py``, which the networks of users' files
            need: read it first, if the folder is not your own.

    Raises:
        BadInputError: the folder is not as exported (something is missing, truncated, altered or
            foreign), or it needs ``trust_code``.
    """
    path = Path(folder)
    description = read(path)
    if description.kind != "safetensors":
        with_what = {"onnx": "onnxruntime.InferenceSession", "pt2": "torch.export.load"}[
            description.kind
        ]
        raise BadInputError(
            f"{path}: holds {description.kind}; open {path / description.file} with {with_what}, "
            "or export with --format safetensors"
        )
    try:
        tensors = load_file(path / description.file)
    except SafetensorError as error:
        raise BadInputError(
            f"{path / description.file}: not safetensors ({error}); {_AGAIN}"
        ) from error
    channels, *size = description.image_shape
    architecture = _architecture(path, description, trust_code=trust_code)
    with torch.random.fork_rng(devices=[]):  # leaves the global generator unchanged
        network = architecture.build(channels, description.classes, (size[0], size[1]))
    _fill(network, tensors, description.groups, path)
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, *description.image_shape))
    except RuntimeError as error:
        raise BadInputError(
            f"{path}: the shapes do not fit {description.model} ({error}); {_AGAIN}"
        ) from error
    return network


_AGAIN = "export the run again"


def _architecture(folder: Path, description: Description, *, trust_code: bool) -> Architecture:
    """Return the architecture of an exported network."""
    name, code = description.model, None
    if description.attribute and (folder / CODE).is_file():
        if not trust_code:
            raise BadInputError(
                f"{folder}: its network is a Python program, {folder / CODE}; read it, then load "
                "the folder with trust_code=True"
            )
        code = own.read(folder / CODE, description.attribute, str(folder))
        if code.content != description.code:
            raise BadInputError(f"{folder / CODE}: was altered after it was written; {_AGAIN}")
    elif description.attribute:
        if name not in own.packaged():
            raise BadInputError(
                f"{folder}: its network {name!r} is of a package that is not installed here"
            )
        code = own.of_package(own.packaged()[name], str(folder))
        if code.content != description.code:
            raise BadInputError(
                f"{folder}: its network {name!r} is of another version of its package; {_AGAIN}"
            )
    return Architecture.of(name, description.arguments, code)


def read(folder: Path) -> Description:
    """Read an exported folder's description, and check it and the network's checksum.

    Raises:
        BadInputError: as for `load`.
    """
    path = folder / DESCRIPTION
    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))
        seal = sealed.pop("seal")
        description = Description.model_validate_json(json.dumps(sealed))
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot be read ({error.strerror}); give a folder that ssbench export wrote"
        ) from error
    except (ValueError, ValidationError, KeyError, AttributeError, TypeError) as error:
        raise BadInputError(f"{path}: not written by ssbench export; {_AGAIN}") from error
    # An older file lacks later fields.
    if checksum(description.model_dump_json(indent=1, exclude_unset=True).encode()) != seal:
        raise BadInputError(f"{path}: was altered after it was written; {_AGAIN}")
    model = folder / description.file
    try:
        content = model.read_bytes()
    except OSError as error:
        raise BadInputError(f"{model}: cannot be read ({error.strerror}); {_AGAIN}") from error
    if len(content) != description.bytes:
        raise BadInputError(
            f"{model}: {len(content)} bytes instead of {description.bytes}: truncated or "
            f"replaced; {_AGAIN}"
        )
    if checksum(content) != description.sha256:
        raise BadInputError(
            f"{model}: its SHA-256 is {checksum(content)[:16]}… instead of "
            f"{description.sha256[:16]}…: altered; {_AGAIN}"
        )
    return description


def checksum(content: bytes) -> str:
    """Return the SHA-256 of some bytes, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _fill(
    network: nn.Module, tensors: Mapping[str, Tensor], groups: Mapping[str, int], place: Path
) -> None:
    """Replace a network's tensors, and set its modules' widths by them."""
    insert_selections(network, set(tensors))
    expected = set(network.state_dict())
    if expected != set(tensors):
        odd = ", ".join(sorted(expected ^ set(tensors))[:3])
        raise BadInputError(f"{place}: the tensors do not fit this network ({odd}); {_AGAIN}")
    for name, module in network.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for key, old in own:
            tensor = tensors.get(f"{name}.{key}" if name else key)
            if tensor is None:
                continue  # not in the state_dict: keep the value of the class
            new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else None
            setattr(module, key, tensor if new is None else new)
        if isinstance(module, nn.Conv2d):
            module.groups = groups.get(name, 1)
        match_widths(module)
