"""The commands that compare, on networks that were really trained; and what runs write down."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from ssbench.analysis import mask_overlap
from ssbench.analysis.mask_overlap import decode, overlaps
from ssbench.analysis.rows import make_rows
from ssbench.cli import separate
from ssbench.errors import BadInputError
from ssbench.models.registry import build
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.histogram import BINS, DECADES, histogram
from ssbench.pruning.mask_sample import SAMPLED, mask_sample
from ssbench.storage.records import read_runs
from tests.support.command_line import TINY, Invoke
from tests.support.records import Folder

PAIR = '[{ name = "magnitude", grain = "connection" }, { name = "random", grain = "connection" }]'


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "pair.toml"
    text = TINY.replace('[{ name = "dense" }, { name = "magnitude", grain = "connection" }]', PAIR)
    path.write_text(text.replace("seeds = [0]", "seeds = [0, 1]"))
    return path


@pytest.mark.slow
def test_what_a_run_writes_down_of_scores_masks_and_epochs(
    experiment: Path, invoke: Invoke, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    changes = ("--set", "train.epochs=3", "--set", "seeds=[0]")
    assert invoke("run", experiment, *changes, "--results", results).code == 0
    for path in sorted(results.glob("pair/*.jsonl")):
        train, prune, finetune = (json.loads(line) for line in path.read_text().splitlines())
        assert [len(train[key]) for key in ("curve_loss", "curve_error")] == [3, 3]
        assert train["curve_loss"][-1] == pytest.approx(train["train_loss"], rel=1e-5)
        assert (len(finetune["curve_error"]), prune["curve_loss"]) == (1, None)
        assert (finetune["mask_sample"], finetune["score_histogram"]) == (None, None)
        counted = prune["score_histogram"]
        assert sum(counted["counts"]) + counted["below"] == prune["connections_dense"]
        under = counted["low"] <= prune["threshold"] <= counted["high"]
        assert under
        assert prune["mask_sample"]["weights"] == SAMPLED
    rows, _ = make_rows(read_runs(results / "pair"))
    for row in rows:
        record = row.done[0].pruned
        assert record is not None
        assert record.mask_sample is not None
        kept = decode(record.mask_sample).mean()
        assert kept == pytest.approx(row.like.budget_asked, abs=0.05)


@pytest.mark.slow
def test_the_sampled_overlap_is_that_of_the_whole_masks(
    experiment: Path, invoke: Invoke, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert invoke("run", experiment, "--results", results, "--quiet").code == 0
    rows, _ = make_rows(read_runs(results / "pair"))
    whole, sampled = mask_overlap.whole_overlaps(rows, results / ".cache"), overlaps(rows)
    assert len(whole) == len(sampled) == 2
    for exact, rough in zip(whole, sampled, strict=True):
        assert (exact.first, exact.second, exact.seeds) == (rough.first, rough.second, 2)
        assert exact.jaccard == pytest.approx(rough.jaccard, abs=4 * rough.error)
        assert exact.error == 0 < rough.error < 0.05
        # Random masks meet others as chance would have it.
        assert exact.jaccard == pytest.approx(exact.within, abs=0.02)
    shown = invoke("overlap", results / "pair")
    assert str(whole[0]) in shown.out
    shutil.rmtree(results / ".cache")
    assert str(sampled[0]) in invoke("overlap", results / "pair").out
    missing = invoke("overlap", results / "pair", "--cache", tmp_path / "nowhere")
    assert missing.code == 2
    assert "its checkpoint is not under" in missing.err


def test_whole_masks_are_those_of_the_checkpoint(
    tiny: Path, invoke: Invoke, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert invoke("run", tiny, "--results", results, "--quiet").code == 0
    rows, _ = make_rows(read_runs(results / "tiny"))
    run = next(row.done[0] for row in rows if row.budget[0] == 0.1)
    found = mask_overlap.read(run, results / ".cache")
    assert run.pruned is not None
    stage = results / ".cache" / "stages" / str(run.pruned.stage_id)
    tensors = load_file(stage / "model.safetensors")
    for name, mask in found.items():
        assert mask.mean() == pytest.approx(run.pruned.layers[name])
        weight = tensors[f"{name}.weight"].reshape(-1)
        np.testing.assert_array_equal(weight[~mask], 0)
    dense = next(row.done[0] for row in rows if row.is_dense)
    assert not mask_overlap.has_masks(
        [row for row in rows if row.done[0] is dense], results / ".cache"
    )


@pytest.mark.slow
def test_two_rows_and_two_folders_are_compared(
    experiment: Path, invoke: Invoke, tmp_path: Path
) -> None:
    for number, (rate, kept) in enumerate(((0.05, "[0.5, 0.1]"), (0.01, "[0.1]"))):
        changes = ("--set", f"train.lr={rate}", "--set", "seeds=[0, 1, 2]", "--quiet",
                   "--set", f"budget.kept={kept}")  # fmt: skip
        ended = invoke("run", experiment, *changes, "--results", tmp_path / str(number))
        assert ended.code == 0
    folders = [tmp_path / str(number) / "pair" for number in (0, 1)]
    both = invoke("compare", *folders)
    assert both.code == 0
    assert "train.lr: 0.05 -> 0.01" in both.out
    assert "2 rows in both" in both.out
    receipt = invoke("compare", "magnitude@0.1", "random@10%", "--results", tmp_path / "0")
    assert receipt.code == 0
    for words in ("Differences besides the method: nothing", "seeds: 0, 1 and 2", "Cost per seed"):
        assert words in receipt.out
    assert "before" in receipt.out.splitlines()[-1]
    unequal = invoke("compare", "magnitude@0.1", "magnitude@0.5", "--results", folders[0])
    assert "10 % of connections" in unequal.out
    assert "budget" in unequal.out.split("The same for both")[0]
    wrong = invoke("compare", "magnitude@0.1", "random (conection)@0.1", "--results", folders[0])
    assert wrong.code == 2
    assert "did you mean" in wrong.err


@pytest.mark.slow
def test_seeds_are_added_until_two_rows_are_separated(
    experiment: Path, invoke: Invoke, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    changes = ("--set", "budget.kept=[0.9]", "--results", results, "--quiet")
    names = "magnitude (connection)@0.9,random (connection)@0.9"
    ended = invoke("run", experiment, *changes, "--until-separated", names, "--max-seeds", 5)
    assert ended.code == 0
    runs = read_runs(results / "pair")
    seeds = {run.final.seed for run in runs}
    assert seeds >= {0, 1, 2}  # two seeds are too few for a verdict
    assert seeds <= set(range(5))
    assert "At most 3 tests, each at 98.33 %" in ended.out
    verdict = ended.out.splitlines()[-2]
    assert f"with {len(seeds)} seeds" in verdict
    if "better" not in verdict:
        assert len(seeds) == 5
    again = invoke("run", experiment, *changes, "--until-separated", names, "--max-seeds", 5)
    assert len(read_runs(results / "pair")) == len(runs)
    assert again.out.splitlines()[-2] == verdict


@pytest.mark.slow
def test_rows_that_share_no_budget_cannot_be_separated(
    experiment: Path, invoke: Invoke, tmp_path: Path
) -> None:
    ended = invoke("run", experiment, "--results", tmp_path / "r", "--quiet",
                   "--until-separated", "magnitude@0.5,random@0.1")  # fmt: skip
    assert ended.code == 2
    assert "no budget in common" in ended.err
    assert not (tmp_path / "r").exists(), "this is known before anything is trained"


@pytest.mark.parametrize(
    ("written", "expected"),
    [("a,b", ("a", "b")), ("m (weight, by params)@0.1, l0", ("m (weight, by params)@0.1", "l0"))],
)
def test_two_names_are_parted_outside_of_brackets(written: str, expected: tuple[str, str]) -> None:
    assert separate.rows_of(written) == expected


@pytest.mark.parametrize("written", ["a", "a,", ",b", "a,b,c", "a (b,c)"])
def test_anything_but_two_names_is_refused(written: str) -> None:
    with pytest.raises(BadInputError, match="write two rows"):
        separate.rows_of(written)


def test_histograms_count_every_score() -> None:
    scores = torch.tensor([0.0, 1e-12, 1e-3, 0.5, 1.0, -torch.inf])
    found = histogram(scores)
    assert (found["scale"], found["below"], found["gone"]) == ("log", 2, 1)
    assert (found["low"], found["high"]) == pytest.approx((10.0**-DECADES, 1.0))
    assert (sum(found["counts"]), len(found["counts"]), found["counts"][-1]) == (3, BINS, 1)
    linear = histogram(torch.tensor([[-2.0, 0.0], [1.0, 2.0]]))
    assert (linear["scale"], linear["low"], linear["high"], linear["below"]) == (
        "linear", -2.0, 2.0, 0,
    )  # fmt: skip
    expected, _ = np.histogram([-2.0, 0.0, 1.0, 2.0], BINS)
    assert linear["counts"] == expected.tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30), st.sampled_from([0, 2, 30]), st.booleans(), st.booleans())
def test_histograms_are_what_each_score_by_itself_says(
    seed: int, levels: int, positive: bool, odd: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(700, generator=generator) ** 3
    scores = (levels * scores).round() if levels else scores
    scores = scores.abs() if positive else scores
    if odd:
        scores[:50], scores[50:60], scores[60:90] = -torch.inf, torch.inf, 0.0
    found, finite = histogram(scores), scores[torch.isfinite(scores)].double()
    low, high = found["low"], found["high"]
    if found["scale"] == "log":
        finite = finite[finite >= low].log10()
        low, high = torch.tensor([low, high]).log10().tolist()
    bins = ((finite - low) / ((high - low) / BINS or 1.0)).floor().clamp(0, BINS - 1).long()
    assert found["counts"] == torch.bincount(bins, minlength=BINS).tolist()
    assert sum(found["counts"]) + found["below"] == int(torch.isfinite(scores).sum())


def test_histograms_of_one_value_and_of_none() -> None:
    assert histogram(torch.full((5,), 0.25))["counts"][0] == 5
    nothing = histogram(torch.full((5,), -torch.inf))
    assert (nothing["counts"], nothing["gone"]) == ([], 5)


def test_a_layer_without_a_mask_counts_as_kept() -> None:
    model = build("vgg6", 1, 10)
    structure = structure_of(model)
    first, *rest = (layer.weight for layer in structure.prunable)
    none = {name: torch.zeros_like(model.get_parameter(name), dtype=torch.bool) for name in rest}
    sample = mask_sample(structure, model, none)
    assert sample["weights"] == SAMPLED
    sizes = [model.get_parameter(name).numel() for name in (first, *rest)]
    kept = np.unpackbits(np.frombuffer(base64.b64decode(sample["kept"]), np.uint8))
    assert kept.mean() == pytest.approx(sizes[0] / sum(sizes), abs=0.01)
    assert sample == mask_sample(structure, model, none)


def test_chance_within_layers_takes_each_layer_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both keep the whole first layer: by chance within layers that part always overlaps."""
    made = Folder(tmp_path)
    kept = {
        "a": {"x": [1, 1, 1, 1], "y": [1, 0, 0, 0]},
        "b": {"x": [1, 1, 1, 1], "y": [0, 1, 1, 0]},
    }
    for name in kept:
        made.row(name, [1.0], method=name)
    rows, _ = make_rows(read_runs(tmp_path))
    found = {
        name: {layer: np.array(values, bool) for layer, values in layers.items()}
        for name, layers in kept.items()
    }
    monkeypatch.setattr(mask_overlap, "read", lambda run, _: found[run.final.label])
    (pair,) = mask_overlap.whole_overlaps(rows, tmp_path)
    assert pair.jaccard == pytest.approx(4 / 7)
    shares = 5 / 8, 6 / 8
    meeting = shares[0] * shares[1]
    assert pair.chance == pytest.approx(meeting / (sum(shares) - meeting))
    # Layer x: all four meet; layer y: 4 * 1/4 * 1/2 meet of 4 * (1/4 + 1/2 - 1/8).
    assert pair.within == pytest.approx((4 + 0.5) / (4 + 2.5))
