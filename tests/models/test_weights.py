"""Files of weights that a user gives."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ssbench.errors import BadInputError
from ssbench.models import pretrained, weights
from ssbench.models.registry import MODELS, build

State = dict[str, Tensor]


def state() -> State:
    torch.manual_seed(3)
    return dict(MODELS["vgg6"](1, 10).state_dict())


def wrapped(prefix: str) -> Callable[[State], State]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "a state dict": lambda tensors: tensors,
    "under state_dict, beside an epoch": lambda tensors: {"state_dict": tensors, "epoch": 3},
    "under model": lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}},
    "of DataParallel": wrapped("module."),
    "of Lightning": wrapped("model."),
    "of torch.compile": wrapped("_orig_mod."),
    "of all of them": wrapped("module._orig_mod.model."),
    "half precision": lambda tensors: {n: t.half().float() for n, t in tensors.items()},
    "older than its counters": lambda tensors: {
        n: t for n, t in tensors.items() if "num_batches" not in n
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_file_in_every_form(form: str, suffix: str, tmp_path: Path) -> None:
    kept, path = FORMS[form](state()), tmp_path / f"best{suffix}"
    if suffix == ".safetensors":
        if "under" in form:
            pytest.skip("safetensors has no nesting")
        save_file({name: tensor.contiguous() for name, tensor in kept.items()}, path)
    else:
        torch.save(kept, path)
    torch.manual_seed(4)
    model = MODELS["vgg6"](1, 10)
    assert weights.fit(model, weights.read(path), "classifier", "best") is False
    for name, tensor in model.state_dict().items():
        tolerance = {"atol": 1e-3, "rtol": 1e-3} if form == "half precision" else {}
        if "num_batches" not in name:
            torch.testing.assert_close(tensor, state()[name], **tolerance)


class Harm:
    """Would write a file if it were unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


def test_nothing_is_unpickled_but_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "harm.pth"
    torch.save({"state_dict": state(), "args": Harm()}, path)
    with pytest.raises(BadInputError, match=r"not a file of tensors alone .*state_dict"):
        weights.read(path)
    path.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(BadInputError, match="not a file of tensors alone"):
        weights.read(path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ([1, 2], "holds list instead of tensors by name"),
        ({}, "holds nothing instead of tensors"),
        ({"state_dict": {"lr": 0.1}}, "lr is no tensor; save model.state_dict"),
        (nn.Linear(2, 2), "not a file of tensors alone"),
    ],
)
def test_a_file_of_something_else(kept: object, says: str, tmp_path: Path) -> None:
    torch.save(kept, tmp_path / "odd.pth")
    with pytest.raises(BadInputError, match=says):
        weights.read(tmp_path / "odd.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 2000])
def test_a_damaged_file(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"bad\."):
        weights.read(path)


def test_a_mismatch_lists_names_with_the_nearest_ones() -> None:
    tensors = state()
    tensors["features.1.wieght"] = tensors.pop("features.1.weight")
    tensors["features.0.weight"] = torch.zeros(8, 1, 3, 3)
    with pytest.raises(BadInputError) as caught:
        weights.fit(MODELS["vgg6"](1, 10), tensors, "classifier", "best.pth")
    assert str(caught.value) == (
        "best.pth: holds another network's weights: 1 missing: features.1.weight (the file has "
        "features.1.wieght); 1 unexpected: features.1.wieght; 1 of another shape: "
        "features.0.weight [8, 1, 3, 3] instead of [32, 1, 3, 3]"
    )


def test_names_that_two_prefixes_share_and_values_that_are_not_finite() -> None:
    tensors = state()
    twice = tensors | {"module.classifier.bias": tensors["classifier.bias"]}
    with pytest.raises(BadInputError, match=r"holds classifier\.bias twice"):
        weights.fit(MODELS["vgg6"](1, 10), twice, "classifier", "best.pth")
    tensors["classifier.bias"] = torch.full((10,), torch.nan)
    with pytest.raises(BadInputError, match=r"classifier\.bias has values that are not finite"):
        weights.fit(MODELS["vgg6"](1, 10), tensors, "classifier", "best.pth")


def test_an_output_layer_of_other_classes_keeps_its_own_weights() -> None:
    torch.manual_seed(5)
    model = MODELS["vgg6"](1, 4)
    own = model.classifier.weight.clone()
    assert weights.fit(model, state(), "classifier", "best.pth") is True
    assert torch.equal(model.classifier.weight, own)
    assert torch.equal(model.state_dict()["features.0.weight"], state()["features.0.weight"])


def test_an_address_names_the_content_wherever_the_file_lies(tmp_path: Path) -> None:
    first, second = tmp_path / "a b#1.pth", tmp_path / "other.pth"
    torch.save(state(), first)
    second.write_bytes(first.read_bytes())
    one, two = (weights.address(path, "weights") for path in (first, second))
    assert weights.identity(one) == weights.identity(two)
    assert weights.path_of(one)[0] == first
    assert weights.said(one).startswith("weights given: a b#1.pth (SHA-256 ")
    assert pretrained.fetch(one) == first
    first.write_bytes(b"changed")
    with pytest.raises(BadInputError, match="has changed since the experiment was planned"):
        pretrained.fetch(one)
    first.unlink()
    with pytest.raises(BadInputError, match="is gone; put the file of weights back"):
        pretrained.fetch(one)


def test_a_copy_that_was_sent_to_another_machine_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    path = tmp_path / "a.pth"
    torch.save(state(), path)
    where = weights.address(path, "weights")
    copy = pretrained.weights_folder() / weights.sent_name(where)
    copy.parent.mkdir(parents=True)
    path.rename(copy)
    assert pretrained.fetch(where) == copy


def test_timms_own_reader_fits_weights_to_another_size_of_images(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    name = "timm:vit_tiny_patch16_224"
    torch.save({"model": build(name, 3, 1000).state_dict()}, tmp_path / "vit.pth")
    model = build(name, 3, 10, size=(32, 32))
    assert model.pos_embed.shape == (1, 5, 192)
    assert pretrained.load(model, name, "head", tmp_path / "vit.pth", (32, 32)) is True


def test_timms_weights_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInputError, match=r"(?s)vit_tiny.* are not in its cache .*weights = 'PA"):
        pretrained.published("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", "models.0")
