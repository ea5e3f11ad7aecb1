"""Write a finished run's compact network as files that do not need ssbench.

`ssbench.models.exported` reads them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ssbench.errors import BadInputError, NotFiniteError, RunFailedError
from ssbench.models import own
from ssbench.models.architecture import Architecture
from ssbench.models.exported import (
    CODE,
    DESCRIPTION,
    Description,
    Format,
    checksum,
    load,
    read,
)
from ssbench.models.own import Code
from ssbench.models.registry import check
from ssbench.models.state_dict import restore
from ssbench.paths import install
from ssbench.pipeline.state import State
from ssbench.pruning.equivalence import compact_certified, noise
from ssbench.pruning.graph.structure import structure_of
from ssbench.storage.files import make_folder, sync

SAME = 1e-4
"""Largest relative difference of outputs at which a file passes."""


def architecture_of(
    record: Mapping[str, Any], read_code: Callable[[str], str] | None = None
) -> Architecture:
    """Return the architecture that a record names.

    Args:
        record: of any stage of the run.
        read_code: returns the text of a network's file by its hash.

    Raises:
        BadInputError: the network or its package is not known here, or its code is not kept.
    """
    found = record.get("architecture") or {"name": record["model"], "arguments": {}, "code": None}
    name, content, code = str(found["name"]), found["code"], None
    place = f"{record.get('run', name)}: model"
    if content is None:
        check(name, place)
    elif (packaged := own.packaged().get(name)) and ".py:" not in name:
        code = own.of_package(packaged, place)
    elif read_code:
        code = Code(name.rpartition(":")[2], content, name.partition(":")[0], read_code(content))
    return Architecture.of(name, found["arguments"], code)


def compact_network(
    record: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    architecture: Architecture | None = None,
) -> tuple[nn.Module, float]:
    """Build the network of a finished run without the pruned units.

    Args:
        record: the last record of the run.
        tensors: the tensors of its last stage.
        architecture: of the network; None: as the record says, without a user's code.

    Returns:
        The network, in eval mode on the CPU, and its surgery's certificate.

    Raises:
        RunFailedError: the surgery changed the network's outputs.
    """
    state = State.of(tensors)
    masks = state.zeros
    # Not on torch's device "meta": tensors outside the state_dict (fixed filters) would stay there.
    channels, height, width = record["image_shape"]
    made_by = architecture or architecture_of(record)
    with torch.random.fork_rng(devices=[]):
        network = made_by.build(channels, record["classes"], (height, width))
    restore(network, state.weights, assign=True)
    network.eval().requires_grad_(True)
    if not masks:
        return network, 0.0
    return compact_certified(network, structure_of(network), masks, noise(record["image_shape"]))


def describe(
    network: nn.Module,
    record: Mapping[str, Any],
    difference: float,
    architecture: Architecture | None = None,
) -> dict[str, Any]:
    """Return the fields of a compact network's `Description`, except those of its file."""
    convolutions = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    keys = ("classes", "image_shape", "mean", "sd")
    made_by = architecture or architecture_of(record)
    code = made_by.code
    return {
        **{key: record[key] for key in keys},
        "model": made_by.name,
        "arguments": made_by.arguments,
        "attribute": code.attribute if code else "",
        "code": code.content if code else "",
        "groups": {name: module.groups for name, module in convolutions.items()},
        "surgery_difference": difference,
        "run": dict(record),
    }


def export(
    network: nn.Module, description: Mapping[str, Any], kind: Format, to: Path, source: str = ""
) -> None:
    """Write a network and its description into a new folder, completely or not at all.

    Opens the written file again and checks that it gives the network's outputs.

    Args:
        network: in eval mode, on the CPU.
        description: the result of ``describe``.
        kind: the format.
        to: must not exist, or be empty.
        source: the text of the network's file, if it is a user's.

    Raises:
        BadInputError: the folder is not empty or not writable, or the packages for ONNX are not
            installed.
        RunFailedError: the written file gives other outputs.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BadInputError(f"{to}: exists and is not an empty folder; choose another --to")
    make_folder(to.absolute().parent, "--to")
    folder = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.absolute().parent))
    try:
        images = noise(description["image_shape"])
        model = folder / f"model.{kind}"
        _save(network, images, kind, model)
        if source:
            (folder / CODE).write_text(source, encoding="utf-8", newline="")
        _describe_file(folder, description, kind, model)
        _compare(network, folder, images)
        for path, mode in (*((each, 0o644) for each in folder.iterdir()), (folder, 0o755)):
            path.chmod(mode)  # safetensors and mkdtemp would hide them from colleagues
            sync(path)
        folder.rename(to)
    except OSError as error:
        raise BadInputError(
            f"{to}: cannot be written ({error.strerror}); choose another --to"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _describe_file(folder: Path, description: Mapping[str, Any], kind: Format, model: Path) -> None:
    full = Description.model_validate(
        {
            **description,
            "image_shape": tuple(description["image_shape"]),
            "kind": kind,
            "file": model.name,
            "bytes": model.stat().st_size,
            "sha256": checksum(model.read_bytes()),
        }
    )
    text = full.model_dump_json(indent=1)
    sealed = json.loads(text) | {"seal": checksum(text.encode())}
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
    return BadInputError(f"--format onnx: {error}; {install('onnx')}")


def _compare(network: nn.Module, folder: Path, images: Tensor) -> None:
    """Check that the written file gives the same outputs as the network.

    Raises:
        NotFiniteError: an output of the network is not finite.
        RunFailedError: the file gives other outputs.
    """
    written = read(folder)
    with torch.no_grad():
        expected = network(images)
        if not expected.isfinite().all():
            raise NotFiniteError("an output of the network is not finite")
        if written.kind == "safetensors":
            result = load(folder, trust_code=True)(images)
        elif written.kind == "pt2":
            result = torch.export.load(folder / written.file).module()(images)
        else:
            result = torch.from_numpy(run_onnx(folder / written.file, images))
    difference = float((expected - result).abs().max() / expected.abs().max().clamp_min(1))
    if not difference <= SAME:
        raise RunFailedError(f"{written.kind}: the outputs differ by {difference:.1e}")


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
