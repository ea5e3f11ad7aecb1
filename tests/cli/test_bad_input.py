"""Every kind of bad input ends with exit code 2 and one message that names place and remedy."""

from pathlib import Path

import pytest
import torch

from tests.support.command_line import TINY, Invoke

EDITS = {
    "unknown key": ("epochs = 1, lr = 0.05", "epoch = 1, lr = 0.05", "train.epoch: unknown key",
                    "'epochs'"),
    "unknown top key": ("seeds = [0]", "seed = [0]", "seed: unknown key", "'seeds'"),
    "wrong type": ("epochs = 1, lr = 0.05", 'epochs = "1", lr = 0.05', "train.epochs", "integer"),
    "wrong choice": ('schedule = "one-cycle" }\nfine', 'schedule = "cycle" }\nfine',
                     "train.schedule", "one-cycle"),
    "missing key": ('dataset = "digits"', "", "dataset: this key is missing", "add it"),
    "unknown method": ('"magnitude"', '"magnitud"', "methods.1.name", "'magnitude'"),
    "unknown model": ('"vgg6"', '"vgg7"', "models.0", "'vgg6'"),
    "unknown data set": ('"digits"', '"digit"', "dataset", "'digits'"),
    "unknown hyper-parameter": ('grain = "connection"', 'grains = "connection"',
                                "methods.1.grains", "'grain'"),
    "ill-typed hyper-parameter": ('grain = "connection"', 'grain = "kernel"', "methods.1.grain",
                                  "connection"),
    "empty list of seeds": ("seeds = [0]", "seeds = []", "seeds", "at least 1"),
    "empty sweep": ('grain = "connection"', "grain = []", "methods.1.grain: empty sweep", "value"),
    "no methods": ('methods = [{ name = "dense" }, { name = "magnitude", grain = "connection" }]',
                   "methods = []", "methods: empty sweep", "'all'"),
    "no budgets": ("kept = [0.5, 0.1]", "kept = []", "budget.kept: empty sweep", "share"),
    "budget over 1": ("kept = [0.5, 0.1]", "kept = [1.5]", "budget.kept", "outside (0, 1]"),
    "budget 0": ("kept = [0.5, 0.1]", "kept = [0.0]", "budget.kept", "outside (0, 1]"),
    "budget out of reach": ("kept = [0.5, 0.1]", "kept = [0.00001]", "budget.kept",
                            "is out of reach"),
    "no own threshold": ("kept = [0.5, 0.1]", 'kept = ["own"]', "budget.kept", "threshold"),
    "duplicate runs": ('grain = "connection"', 'grain = ["connection", "connection"]',
                       "both ask for the run", "remove one of them"),
    "duplicate seeds": ("seeds = [0]", "seeds = [0, 0]", "seeds: names the seed 0 twice", "once"),
    "a share twice": ("[0.5, 0.1]", "[0.1, 0.10]", "budget.kept: 0.1 and 0.1 both read 10 %",
                      "name each once"),
    "shares that read alike": ("[0.5, 0.1]", "[0.1, 0.1000001]", "both read 10 %", "each once"),
    "a network under two names": ('["vgg6"]', '["resnet50", "torchvision:resnet50"]', "models.1",
                                  "is the network of models.0 (resnet50); remove one"),
    "a tag of weights that are not used": ('["vgg6"]', '["timm:resnet18.a1_in1k"]', "models.0",
                                           "write 'timm:resnet18', or start = 'published'"),
    "a tag of weights that there are none of": ('["vgg6"]', '["timm:resnet18.a1_in2k"]',
                                                "models.0", "did you mean 'a1_in1k'"),
    "a name that timm has given up": ('["vgg6"]', '["timm:tv_resnet50"]', "models.0",
                                      "write 'timm:resnet50', or start = 'published'"),
    "a momentum of Adam's": ("epochs = 1, lr = 0.05", 'epochs = 1, optimizer = "adam", '
                             "momentum = 0.5", "train: adam has no momentum", "remove it"),
    "Nesterov without momentum": ("epochs = 1, lr = 0.05", "epochs = 1, momentum = 0.0, nesterov "
                                  "= true", "train: nesterov changes nothing", "remove it"),
    "malformed TOML": ("seeds = [0]", "seeds = [0", "not valid TOML", "line"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS)
def test_a_wrong_file_is_refused_with_place_and_remedy(
    case: str, tiny: Path, invoke: Invoke
) -> None:
    old, new, place, remedy = EDITS[case]
    assert old in TINY
    tiny.write_text(TINY.replace(old, new, 1))
    ended = invoke("run", tiny)
    assert ended.code == 2
    assert tiny.name in ended.err
    assert place in ended.err
    assert remedy in ended.err
    assert "Traceback" not in ended.err
    assert not Path("results").exists()


def test_an_unreachable_share_of_params_is_found_before_training(
    tiny: Path, invoke: Invoke
) -> None:
    unit = 'budget = { unit = "params", kept = [0.001] }'
    tiny.write_text(TINY.replace("budget = { kept = [0.5, 0.1], protection = 0.0 }", unit))
    ended = invoke("run", tiny)
    assert ended.code == 2
    assert "0.001 of params is out of reach" in ended.err


def test_layerwise_needs_one_unit_in_every_layer(tiny: Path, invoke: Invoke) -> None:
    unit = 'budget = { scope = "layerwise", kept = [0.0001] }'
    tiny.write_text(TINY.replace("budget = { kept = [0.5, 0.1], protection = 0.0 }", unit))
    ended = invoke("run", tiny)
    assert ended.code == 2
    assert "in every layer" in ended.err


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("nowhere.toml", ("no such file", "ssbench list experiments shows all")),
        ("quickstar", ("no such file", "did you mean 'quickstart'")),
    ],
)
def test_an_experiment_that_is_not_there(
    argument: str, words: tuple[str, ...], invoke: Invoke
) -> None:
    ended = invoke("run", argument)
    assert ended.code == 2
    assert all(word in ended.err for word in words)


def test_a_folder_or_bytes_in_place_of_a_file(tmp_path: Path, invoke: Invoke) -> None:
    assert "cannot be read" in invoke("run", tmp_path).err
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    ended = invoke("run", binary)
    assert ended.code == 2
    assert "cannot be read" in ended.err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", ("train.epoch: unknown key", "'epochs'")),
        ("train.epochs", ("key.path=value",)),
        ("methods.magnitud.grain=filter", ("no entry 'magnitud'", "'magnitude'")),
        ("dataset.name=x", ("is inside a value", "is a value")),
        ("seeds=[]", ("seeds",)),
    ],
)
def test_a_wrong_override(
    override: str, words: tuple[str, ...], tiny: Path, invoke: Invoke
) -> None:
    ended = invoke("run", tiny, "--set", override)
    assert ended.code == 2
    assert any(word in ended.err for word in words)


def test_results_of_another_experiment_are_not_mixed_in(tiny: Path, invoke: Invoke) -> None:
    assert invoke("run", tiny, "--quiet").code == 0
    before = {path: path.read_bytes() for path in Path("results/tiny").iterdir()}
    ended = invoke("run", tiny, "--set", "train.epochs=2")
    assert ended.code == 2
    assert "train.epochs: 1 there, 2 here" in ended.err
    assert "--set name=" in ended.err
    assert {path: path.read_bytes() for path in Path("results/tiny").iterdir()} == before


@pytest.mark.parametrize("option", ["--results", "--cache"])
def test_a_folder_that_cannot_be_written(option: str, tiny: Path, invoke: Invoke) -> None:
    Path("file").write_text("in the way")
    ended = invoke("run", tiny, option, "file/below")
    assert ended.code == 2
    assert "cannot be written" in ended.err
    assert option in ended.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_asked_for_where_there_is_none(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--device", "cuda")
    assert ended.code == 2
    assert "no CUDA device" in ended.err
    assert "--device cpu" in ended.err


def test_an_unknown_device(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--device", "gpu")
    assert ended.code == 2
    assert "known: auto, cpu, cuda, cuda:N" in ended.err


MINE = """
from dataclasses import dataclass
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Mine(Method):
    grain = "weight"

    def scores(self, model):
        return {{name: weight.abs() for name, weight in prunable_weights(model).items()}}

    {more}
"""
BROKEN = {
    "syntax": ("def broken(:\n", "SyntaxError"),
    "import": ("import no_such_library\n", "no_such_library"),
    "raises": ("raise OSError('disk on fire')\n", "disk on fire"),
    "no method": ("x = 1\n", "defines 0 methods"),
    "hook": (MINE.format(more="def penalti(self, model):\n        return None"), "'penalty'"),
    "argument": (
        MINE.format(more="def attach(self, model, *, image=0):\n        pass"),
        "'images'",
    ),
    "grain": (MINE.format(more="").replace('"weight"', '"kernel"'), "unknown grain 'kernel'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_method_file_that_does_not_import_leaves_the_others_listed(
    case: str, tmp_path: Path, invoke: Invoke
) -> None:
    text, why = BROKEN[case]
    path = tmp_path / "mine.py"
    path.write_text(text)
    ended = invoke("list", "methods", "--method-file", path)
    assert ended.code == 2
    assert why in " ".join(ended.out.split())
    assert "mine: cannot be loaded" in ended.out
    assert "synaptic-strength" in ended.out


def test_a_broken_method_that_is_used_is_refused_and_unused_does_no_harm(
    tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import no_such_library\n")
    use = 'methods = [{ name = "mine" }]'
    broken = tmp_path / "uses.toml"
    broken.write_text(TINY[: TINY.index("methods =")] + use)
    ended = invoke("run", broken, "--method-file", path)
    assert ended.code == 2
    assert "methods.0.name" in ended.err
    assert "no_such_library" in ended.err
    assert invoke("run", tiny, "--method-file", path, "--dry-run").code == 0


def test_a_penalty_that_does_nothing_is_refused_before_training(
    tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    path = tmp_path / "mine.py"
    total = "return sum(weight.abs().sum() for weight in prunable_weights(model).values())"
    path.write_text(MINE.format(more=f"def penalty(self, model):\n        {total}"))
    tiny.write_text(TINY[: TINY.index("methods =")] + 'methods = [{ name = "mine" }]')
    ended = invoke("run", tiny, "--method-file", path)
    assert ended.code == 2
    assert "the penalty depends on no parameter that trains" in ended.err


def test_a_network_that_is_too_deep_for_the_images_is_refused(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--set", 'models=["vgg16"]', "--dry-run")
    assert ended.code == 2
    assert "network 'vgg16' cannot take the images of digits, 1 x 8 x 8" in ended.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "quickstart", "--max-seeds", "5"), "--until-separated"),
        (("report", "nowhere"), "no such folder"),
        (("report", "."), "no records"),
        (("report", ".", "--format", "docx"), "known: md, tex, html, csv"),
        (("show", "nothing"), "no run of this id"),
        (("new-method", "9lives"), "a letter first"),
        (("new-method", "class"), "a letter first"),
    ],
)
def test_other_commands(arguments: tuple[str, ...], word: str, invoke: Invoke) -> None:
    ended = invoke(*arguments)
    assert ended.code == 2
    assert word in ended.err


def test_records_that_are_no_records(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "a.jsonl").write_text("{}\nnonsense\n")
    ended = invoke("report", tmp_path)
    assert ended.code == 2
    assert "a.jsonl, line 2: not JSON" in ended.err
