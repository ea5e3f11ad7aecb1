"""Several passes of training and pruning: what is gone stays gone, and the order holds."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ssbench.experiment.plan import plan
from ssbench.experiment.spec import load
from ssbench.experiment.stage import Start, make_stage
from ssbench.method.registry import discover
from ssbench.models.architecture import Architecture
from ssbench.models.registry import MODELS
from ssbench.pipeline.state import State
from ssbench.pruning.budget import Budget
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.masking import keep_masked
from ssbench.storage.checkpoints import CheckpointStore
from tests.support.command_line import Invoke

PASSES = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { unit = "params", kept = [0.08], passes = 3, protection = 0.3 }
train = { epochs = 1, lr = 0.05, schedule = "one-cycle" }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle" }
methods = [
    { name = "magnitude", grain = "weight" },
    { name = "synaptic-strength", lambda = 1e-3 },
    { name = "network-slimming", lambda = 1e-3 },
    { name = "l0" },
]
"""


def test_shares_go_down_in_geometric_progression() -> None:
    budget = Budget(kept=0.008, passes=3)
    assert [budget.at(number).kept for number in (1, 2, 3)] == [
        pytest.approx(0.2), pytest.approx(0.04), 0.008,
    ]  # fmt: skip
    assert Budget(kept="own", passes=2).at(1).kept == "own"


def test_a_schedule_of_ones_own_is_followed_and_hashed_where_it_is_used() -> None:
    budget = Budget(kept=0.05, passes=3, schedule=(0.5, 0.2, 0.05))
    assert [budget.at(number).kept for number in (1, 2, 3)] == [0.5, 0.2, 0.05]
    start = Start("digits", "data", "vgg6", 0, Architecture("vgg6"))
    ids = {
        make_stage(start, "prune", None, None, each).id
        for each in (budget, budget.model_copy(update={"schedule": ()}))
    }
    assert len(ids) == 2
    assert "schedule" not in make_stage(start, "prune", None, None, Budget(passes=3)).said


OWN = PASSES[: PASSES.index("methods =")].replace(
    "kept = [0.08], passes = 3, protection = 0.3", "passes = [0.5, 0.2, 0.08], protection = 0.3"
)


def test_the_passes_keep_the_listed_shares(tmp_path: Path, invoke: Invoke) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN + 'methods = ["magnitude"]')
    assert invoke("run", file, "--results", tmp_path, "--quiet").code == 0
    (path,) = tmp_path.glob("own/*.jsonl")
    stages = [json.loads(line) for line in path.read_text().splitlines()]
    shares = [stage["budget_reached"] for stage in stages if stage["stage"] == "prune"]
    assert shares == [pytest.approx(share, rel=0.03) for share in (0.5, 0.2, 0.08)]
    assert [s["budget_of_stage"] for s in stages if s["stage"] == "prune"] == [0.5, 0.2, 0.08]
    assert {(stage["passes"], *stage["schedule"]) for stage in stages} == {(3, 0.5, 0.2, 0.08)}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0.5, 0.2, 0.08", "0.5, 0.6, 0.08", "budget.passes: each pass keeps less"),
        ("0.5, 0.2, 0.08", "1.5, 0.08", "budget.passes.0: must lie between 1e-06 and 1"),
        ("passes =", "kept = 0.1, passes =", "the last pass keeps 0.08, so kept can be nothing"),
        (
            '"magnitude"',
            '{ name = "magnitude", budget = { kept = 0.5 } }',
            "methods.0.budget.kept: the experiment's budget.passes ends at 0.08",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(
    old: str, new: str, words: str, tmp_path: Path, invoke: Invoke
) -> None:
    file = tmp_path / "own.toml"
    file.write_text((OWN + 'methods = ["magnitude"]').replace(old, new))
    ended = invoke("run", file, "--dry-run")
    assert (ended.code, words in ended.err) == (2, True), ended.err


def parted(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    state = State.of(tensors)
    return state.weights, state.zeros


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("passes")


@pytest.mark.parametrize("method", ["magnitude", "synaptic-strength", "network-slimming", "l0"])
def test_what_one_pass_prunes_stays_gone(results: Path, invoke: Invoke, method: str) -> None:
    file = results / "passes.toml"
    if not file.exists():
        file.write_text(PASSES)
        assert invoke("run", file, "--results", results, "--quiet").code == 0
    (path,) = results.glob(f"passes/*-{method}-*.jsonl")
    stages = [json.loads(line) for line in path.read_text().splitlines()]
    assert [stage["stage"] for stage in stages] == [*["train", "prune"] * 3, "finetune"]
    store = CheckpointStore(results / ".cache")
    states = [parted(store.tensors(stage["stage_id"])) for stage in stages]
    for before, (_, after) in itertools.pairwise(states[1:]):
        for name, mask in before[1].items():
            assert not (after[name] & ~mask).any(), name
    plain = {name for name, _ in MODELS["vgg6"](1, 10).named_parameters()}
    for weights, masks in states[1::2]:
        assert all(not weights[name][~mask].any() for name, mask in masks.items())
        assert set(masks) <= plain
    shares = [stage["budget_reached"] for stage in stages if stage["stage"] == "prune"]
    assert shares == [pytest.approx(0.08 ** (n / 3), rel=0.03) for n in (1, 2, 3)]
    assert stages[-1]["epochs_total"] == 4
    assert {stage["passes"] for stage in stages} == {3}


def test_slimming_takes_the_order_statistic_of_the_scales_that_are_left(
    results: Path, invoke: Invoke
) -> None:
    test_what_one_pass_prunes_stays_gone(results, invoke, "network-slimming")
    (path,) = results.glob("passes/*-network-slimming-*.jsonl")
    stages = [json.loads(line) for line in path.read_text().splitlines()]
    store = CheckpointStore(results / ".cache")
    norms = [layer.norm_after for layer in structure_of(MODELS["vgg6"](1, 10)).prunable]
    capped = 0
    for number in (0, 2, 4):
        weights, before = parted(store.tensors(stages[number]["stage_id"]))
        _, after = parted(store.tensors(stages[number + 1]["stage_id"]))
        pruned, kept = [], []
        for norm in norms:
            scale = weights[f"{norm}.weight"].abs()
            was = before.get(f"{norm}.weight", torch.ones_like(scale, dtype=torch.bool))
            now = after.get(f"{norm}.weight", torch.ones_like(scale, dtype=torch.bool))
            floor = -(-3 * int(was.sum()) // 10)
            assert int(now.sum()) >= floor  # the cap: at most 70 % of what a layer still has
            safe = int(now.sum()) == floor
            capped += safe
            pruned += scale[was & ~now].tolist()
            kept += [] if safe else scale[was & now].tolist()
        # One threshold over all scales that are left, but in layers at their cap.
        threshold = stages[number + 1]["threshold"]
        assert max(pruned) == pytest.approx(threshold)
        assert min(kept) > threshold
        assert capped == sum(stage["protected"] or 0 for stage in stages[1 : number + 2 : 2])


def test_a_parametrized_weight_is_held_at_zero_without_touching_the_rest() -> None:
    model = MODELS["vgg6"](1, 10)
    method = discover().methods["synaptic-strength"].cls()
    masks: dict[str, Tensor] = {}
    for layer in structure_of(model).prunable:
        weight = model.get_parameter(layer.weight)
        masks[layer.weight] = (torch.rand(*weight.shape[:2], 1, 1) < 0.5).expand(weight.shape)
    method.attach(model)
    module = model.features[3]
    assert parametrize.is_parametrized(module, "weight")
    before = {name: p.clone() for name, p in module.named_parameters()}
    keep_masked(model, masks)(0.5)
    mask = masks["features.3.weight"]
    assert not module.weight[~mask].any()
    for name, parameter in module.named_parameters():
        alive = mask[:, :, :1, :1].expand(parameter.shape)
        assert torch.equal(parameter[alive], before[name][alive])
    model.train()
    loss = model(torch.randn(8, 1, 8, 8)).square().mean()
    loss.backward()
    assert isinstance(model, nn.Module)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def epochs_of(folder: Path, text: str) -> dict[str, list[int]]:
    """By method, the epochs of the stages that train, as a dry run plans them."""
    (folder / "split.toml").write_text(text)
    experiment = load(folder / "split.toml")
    runs = plan(experiment, discover(), "data", "split.toml")
    return {run.file.name: [s.epochs for s in run.stages if s.recipe] for run in runs}


def test_split_epochs_add_up_to_those_of_one_pass(tmp_path: Path) -> None:
    text = PASSES.replace("epochs = 1, lr = 0.05", "epochs = 8, lr = 0.05").replace(
        "epochs = 1, lr = 0.02", "epochs = 5, lr = 0.02"
    )
    split = epochs_of(tmp_path, 'passes_epochs = "split"\n' + text)
    assert split["magnitude"] == [8, 1, 2, 2]
    assert split["synaptic-strength"] == split["l0"] == [2, 3, 3, 5]
    assert all(sum(epochs) == 13 for epochs in split.values())
    repeated = epochs_of(tmp_path, text)
    assert repeated["magnitude"] == [8, 5, 5, 5]
    assert repeated["l0"] == [8, 8, 8, 5]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("", "3 passes cannot divide the 1 epochs of 'finetune'"),
        ('retrain = "lr-rewind", ', "rewinds to the same epoch"),
    ],
)
def test_epochs_that_cannot_be_split_are_refused(
    invoke: Invoke, tmp_path: Path, change: str, says: str
) -> None:
    file = tmp_path / "split.toml"
    file.write_text(
        'passes_epochs = "split"\n' + PASSES.replace('"magnitude", ', f'"magnitude", {change}')
    )
    ended = invoke("run", file, "--dry-run")
    assert ended.code == 2
    assert says in ended.err.replace("\n", " ")
    assert "methods.0" in ended.err
