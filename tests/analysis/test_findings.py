"""What reports conclude beside their tables, from records written as files."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ssbench
from ssbench.analysis import claims, find_row, mask_overlap, merge, pareto, stats
from ssbench.analysis.compare_folders import changes
from ssbench.analysis.compare_rows import receipt
from ssbench.analysis.dead_layers import layers_in_order
from ssbench.analysis.findings import findings
from ssbench.analysis.ranking import rankings
from ssbench.analysis.rows import Row, make_rows
from ssbench.errors import BadInputError
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import load, shipped
from ssbench.method.registry import discover
from ssbench.paths import bench_folder
from ssbench.pipeline.record import records
from ssbench.report.page import make_merged_page
from ssbench.report.render import render
from ssbench.storage.records import RunRecords, read_runs
from ssbench.storage.schema import Record
from tests.support.command_line import Invoke
from tests.support.records import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "exp"
    path.mkdir()
    return Folder(path)


def rows_of(folder: Folder) -> list[Row]:
    return make_rows(read_runs(folder.path))[0]


def bits(*kept: int) -> dict[str, Any]:
    packed = np.packbits(np.array(kept, dtype=bool))
    return {"weights": len(kept), "kept": base64.b64encode(packed.tobytes()).decode()}


def test_verdicts_between_neighbours_with_what_they_cost(folder: Folder) -> None:
    folder.row("best", [1.0, 1.1, 1.2], stage_id="same")
    folder.row("close", [1.2, 1.1, 1.5], method="close", stage_id="same")
    folder.row("far", [9.0, 9.1, 9.2], method="far", stage_id="other")
    first, second = findings(rows_of(folder)).verdicts
    assert (first.first, first.second, first.verdict.kind) == ("best", "close", "more seeds")
    # Both rows consist of one and the same stage of 2 s of training and 0.5 s of pruning.
    assert first.hours == pytest.approx(first.verdict.more * 2.5 / 3600)
    assert f"needs {first.verdict.more} more seeds, about 1 min" in str(first)
    assert (second.first, second.second, second.verdict.kind) == ("close", "far", "better")
    assert second.hours is None
    said = folder.render("md")["md"]
    assert str(first) in said
    assert "Three seeds at a paired standard deviation of 0.2 points separate only about" in said


def test_two_seeds_give_no_interval_anywhere(folder: Folder) -> None:
    folder.row("a", [1.0, 1.1])
    folder.row("b", [2.0, 2.1], method="b")
    content = folder.render("md", "csv")
    assert "no interval (2 shared seeds, an interval needs 3)" in content["md"]
    assert "No intervals: they need 3 seeds." in content["md"]
    table = pd.read_csv(folder.path / "report.csv")
    assert table["difference_to_best_low"].isna().all()


def test_ranks_are_taken_over_whole_cells_only(folder: Folder) -> None:
    for share in (0.5, 0.25, 0.1):
        folder.row("a", [1.0, 1.1, 1.2], budget_asked=share)
        folder.row("b", [3.0, 3.1, 3.2], method="b", budget_asked=share)
        folder.row("c", [2.0, 2.1, 2.2], method="c", budget_asked=share)
    folder.row("d", [0.1, 0.1, 0.1], method="d")
    folder.row("e", [0.1, 0.1, 0.1], method="e")
    folder.row("e", [0.1, 0.1, 0.1], method="e", budget_asked=0.25)
    folder.row("e", [0.1, 0.1], method="e", budget_asked=0.1)
    (found,) = rankings([rows_of(folder)])
    assert found.ranking.average == {"a": 1.0, "c": 2.0, "b": 3.0}
    assert found.left_out == (("d", 1), ("e", 2))
    assert "d (1 of 3 cells)" in str(found)
    assert found.cells[0] == "vgg6 on digits, 50 % of params"


def test_ranks_of_tables_that_cannot_be_compared_are_not_mixed(tmp_path: Path) -> None:
    folders = []
    for name, epochs in (("short", 20), ("long", 200), ("other", 20)):
        (tmp_path / name).mkdir()
        folders.append(tmp_path / name)
        made = Folder(tmp_path / name)
        changes: dict[str, Any] = {"experiment": name, "epochs_total": epochs}
        changes |= {"dataset": "mnist"} if name == "other" else {}
        for share in (0.5, 0.1):
            good, bad = ("b", "a") if name == "long" else ("a", "b")
            made.row(good, [1.0, 1.1, 1.2], method=good, budget_asked=share, **changes)
            made.row(bad, [3.0, 3.1, 3.2], method=bad, budget_asked=share, **changes)
    page = make_merged_page(merge.merge(folders))
    found = {ranks.under: ranks for ranks in page.overall.ranks}
    assert set(found) == {"20 epochs", "200 epochs"}
    assert found["20 epochs"].ranking.average == {"a": 1.0, "b": 2.0}
    assert found["200 epochs"].ranking.average == {"b": 1.0, "a": 2.0}
    assert len(found["20 epochs"].cells) == 4
    assert str(found["200 epochs"]).startswith("budgets of params (200 epochs), 2 cells: b 1.00")


def test_ranks_of_one_network_counted_in_two_ways_are_not_mixed(tmp_path: Path) -> None:
    folders = []
    for name, macs in (("one", 5000), ("two", 10_000)):
        (tmp_path / name).mkdir()
        folders.append(tmp_path / name)
        made = Folder(tmp_path / name)
        for label, error in (("a", 1.0), ("b", 3.0)):
            errors = [error, error + 0.1, error + 0.2]
            made.row(label, errors, method=label, macs_dense=macs, experiment=name)
    ranks = make_merged_page(merge.merge(folders)).overall.ranks
    assert [(found.under, len(found.cells)) for found in ranks] == [("group 1", 1), ("group 2", 1)]


def test_seeds_that_one_row_has_in_addition_leave_the_others_whole(folder: Folder) -> None:
    folder.row("more", [2.0, 2.1, 2.2, 2.3, 2.4])
    for name in ("a", "b", "c"):
        folder.row(name, [1.0, 1.1, 1.3], method=name)
    found = findings(rows_of(folder))
    assert (found.coverage.done, found.coverage.expected, found.coverage.further) == (12, 12, 2)
    assert {point[0] for point in found.fronts[0].points} == {"a", "b", "c"}
    assert rankings([rows_of(folder)])[0].left_out == ()
    assert (
        "12 of 12 runs have a result (every row with every seed), and 2 more of extra seeds"
        in (folder.render("md")["md"])
    )


def test_coverage_names_what_is_missing(folder: Folder) -> None:
    folder.row("a", [1.0, 1.1, 1.3])
    folder.row("b", [1.0, 1.1], method="b")
    folder.fail(2, "diverged", label="b", method="b")
    covered = findings(rows_of(folder)).coverage
    assert (covered.done, covered.expected) == (5, 6)
    assert [str(gap) for gap in covered.gaps] == [
        "b at 50 % of params: 2 done, no result for seed 2"
    ]


def test_the_front_and_the_area(folder: Folder) -> None:
    folder.dense([1.0, 1.0, 1.0])
    for share, error in ((0.5, 1.0), (0.25, 3.0), (0.125, 5.0)):
        folder.row("a", [error] * 3, budget_asked=share)
        folder.row("b", [2 * error] * 3, method="b", budget_asked=share)
    folder.row("short", [0.5] * 3, method="short", budget_asked=0.25)
    rows = rows_of(folder)
    front = pareto.front(rows, "params")
    assert [(name, budget) for name, budget, _, _ in front.points] == [
        ("a", "12.5 % of params"), ("short", "25 % of params"),
    ]  # fmt: skip
    areas = pareto.areas(rows, "params")
    assert areas is not None
    assert (areas.low, areas.high) == pytest.approx((2, 8), rel=2e-3)
    assert areas.means == pytest.approx({"a": 3.0, "b": 6.0}, rel=1e-3)
    assert areas.left_out == ("short",)


def test_dead_layers_are_mapped(folder: Folder) -> None:
    folder.row("dying", [90.0, 90.0], layers={"a.10": 0.0, "a.2": 0.0, "b": 1.0})
    folder.run(2, 5.0, label="dying", layers={"a.10": 0.0, "a.2": 0.1, "b": 1.0})
    found = findings(rows_of(folder)).dead
    assert [(d.layer, d.seeds, d.of) for d in found] == [("a.2", 2, 3), ("a.10", 3, 3)]


def test_layers_stand_in_the_order_of_their_calls(folder: Folder) -> None:
    layers = {"a.1": 0.0, "a.2": 0.0, "stem": 0.0}
    folder.row("dying", [90.0], layers=layers, layer_order=["stem", "a.2", "a.1"])
    rows = rows_of(folder)
    assert [dead.layer for dead in findings(rows).dead] == ["stem", "a.2", "a.1"]
    assert layers_in_order(rows) == ["stem", "a.2", "a.1"]


def test_masks_overlap_as_their_samples_do(folder: Folder) -> None:
    samples = {"a": bits(1, 1, 1, 1, 0, 0, 0, 0, 0, 0), "b": bits(1, 1, 0, 0, 1, 1, 0, 0, 0, 0)}
    for name, sample in samples.items():
        folder.row(name, [1.0, 1.1, 1.2], method=name, mask_sample=sample)
    folder.row("old", [1.0, 1.1, 1.2], method="old")
    (found,) = mask_overlap.overlaps(rows_of(folder))
    assert (found.first, found.second, found.seeds) == ("a", "b", 3)
    assert found.jaccard == pytest.approx(2 / 6)
    assert found.chance == pytest.approx(0.16 / 0.64)
    assert found.error == pytest.approx((1 / 3 * 2 / 3 / 6) ** 0.5)


@pytest.mark.parametrize(
    ("by", "ending"), [(0.0, "supported"), (0.5, "supported"), (1.0, "undecided"), (3.0, "contra")]
)
def test_a_claim_is_decided_by_its_interval(folder: Folder, by: float, ending: str) -> None:
    folder.row("a", [1.0, 1.1, 1.2])
    folder.row("b", [2.0, 2.1, 2.3], method="b")
    claim = claims.Claim(says="a beats b", better="a@0.5", than="b", by=by)
    (found,) = claims.settle([claim], rows_of(folder))
    assert found.ending.startswith(ending)
    assert found.interval is not None
    assert found.interval.mean == pytest.approx(1 + 0.1 / 3)
    (turned,) = claims.settle(
        [claims.Claim(says="b beats a", better="b", than="a")], rows_of(folder)
    )
    assert turned.ending == "contradicted"


def test_claims_without_rows_or_seeds_are_undecided(folder: Folder) -> None:
    folder.row("a", [1.0, 1.1])
    folder.row("b", [2.0, 2.1], method="b")
    made = [
        claims.Claim(says="x", better="a", than="b"),
        claims.Claim(says="y", better="a", than="nobody"),
        claims.Claim(says="z", better="a", than="b", model="other"),
    ]
    found = claims.settle(made, rows_of(folder))
    assert [settled.ending for settled in found] == ["undecided"] * 3
    assert "an interval needs 3" in found[0].why
    assert "nobody: no row of this name" in found[1].why


def test_the_report_prints_claims_about_its_experiment(folder: Folder, tmp_path: Path) -> None:
    folder.row("a", [1.0, 1.1, 1.2])
    folder.row("b", [2.0, 2.1, 2.3], method="b")
    path = tmp_path / "mine.toml"
    text = 'experiment = "exp"\n[[claims]]\nsays = "a < b"\nbetter = "a"\nthan = "b"\n'
    path.write_text(text)
    (tmp_path / "other.toml").write_text(text.replace('"exp"', '"another"').replace("<", ">"))
    render(folder.path, tmp_path / "out", ["md", "html"], sorted(tmp_path.glob("*.toml")))
    assert (
        "- supported: a \\< b (1.03 points less error" in (tmp_path / "out/report.md").read_text()
    )
    assert "supported: a &lt; b" in (tmp_path / "out/report.html").read_text()
    assert "a &gt; b" not in (tmp_path / "out/report.html").read_text()
    path.write_text(text.replace("than", "then"))
    with pytest.raises(BadInputError, match=r"mine\.toml: claims\.0\.than: field required"):
        render(folder.path, tmp_path / "out", ["md"], [path])


def test_shipped_claims_speak_of_rows_that_shipped_experiments_have() -> None:
    """Every row that a claim names is one that the experiment plans: claims come before runs."""
    files = claims.shipped(bench_folder())
    registry = discover()
    assert len(files) > 1
    for path in files:
        planned = plan(load(shipped()[path.stem]), registry, "data", path.name)
        rows, _ = make_rows(
            RunRecords(tuple(Record.model_validate(each) for each in records(run, [], "not run")))
            for run in planned
        )
        made = claims.read([path], path.stem)
        assert made
        for claim in made:
            for name in (claim.better, claim.than):
                row = find_row.find_row(rows, name)
                assert row.is_dense or row.like.protection or row.like.scope == "layerwise", name


def test_rows_are_found_by_name_and_budget(folder: Folder) -> None:
    for share in (0.5, 0.05):
        folder.row("m (weight)", [1.0], budget_asked=share)
        folder.row("m (filter)", [1.0], budget_asked=share, grain="filter")
    folder.row("m (weight)", [1.0], budget_asked="own")
    folder.row("unit", [1.0])
    folder.row("unit", [1.0], budget_unit="macs")
    folder.dense()
    rows = rows_of(folder)
    for written in ("m (weight)@0.05", "m (weight)@5%", "weight@5 %:params", "m (weight)@own"):
        row = find_row.find_row(rows, written.replace(" %", "%"))
        assert row.name == "m (weight)"
        assert find_row.find_row(rows, find_row.address(row)) is row
    assert find_row.find_row(rows, "dense").is_dense
    for written, words in (
        ("m@0.5", r"several rows fit; write one of: m \(weight\); m \(filter\)|m \(filter\); m"),
        ("filter", "several rows fit; write one of: m .filter.@0.5:params"),
        ("filter@0.3", "no row with this budget"),
        ("filter@x", "'x' is not a share"),
        ("m (filtre)@0.5", "did you mean 'm .filter.'"),
        ("", "no row of this name"),
    ):
        with pytest.raises(BadInputError, match=words):
            find_row.find_row(rows, written)


def test_a_row_of_several_experiments_says_how_to_choose(tmp_path: Path, invoke: Invoke) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Folder(tmp_path / name).row("a", [1.0, 1.1, 1.2], experiment=name)
    ended = invoke("compare", "a", "a", "--results", tmp_path)
    assert ended.code == 2
    assert "a: 2 rows of this name and budget (vgg6 on digits in one and vgg6 on" in ended.err
    assert "--results, its own folder" in ended.err
    ended = invoke("compare", tmp_path / "one", "a@0.5")
    assert ended.code == 2
    assert "a@0.5: not a folder, but " in ended.err


def test_a_receipt_shows_all_that_differs(folder: Folder) -> None:
    folder.row("a", [1.0, 1.1, 1.2], settings={"k": 1})
    folder.row(
        "b", [2.0, 2.1, 2.3], method="b", settings={"k": 2, "l": 3}, epochs_total=40,
        device_name="Another", scope="layerwise", seconds_train=8.0,
    )  # fmt: skip
    found = receipt(*(find_row.find_row(rows_of(folder), name) for name in "ab"))
    assert {item.what for item in found.differences} == {"epochs in total", "scope", "hardware"}
    assert ("data set", "digits") in found.equal
    assert [(i.what, i.first, i.second) for i in found.settings] == [
        ("k", "1", "2"), ("l", "–", "3"),  # noqa: RUF001
    ]  # fmt: skip
    costs = {item.what: (item.first, item.second) for item in found.costs}
    assert costs["seconds of training"] == ("4 s", "16 s")  # of two stages each
    assert (found.verdict.first, found.verdict.verdict.kind) == ("a", "better")


def test_changes_between_two_folders(tmp_path: Path) -> None:
    folders = []
    for number, (errors, commit) in enumerate((([1.0, 1.1, 1.2], "old"), ([4.0, 4.1, 4.3], "new"))):
        path = tmp_path / str(number)
        path.mkdir()
        made = Folder(path)
        made.row("moved", errors, method="moved", commit=commit)
        made.row("stayed", [2.0, 2.1, 2.2], method="stayed", commit=commit)
        made.row("noise", [2.0 + number, 2.5, 2.2], method="noise", commit=commit)
        made.row("few", [2.0 + number], method="few", commit=commit, params_nonzero=500 + number)
        made.row(f"only{number}", [1.0], method="only", commit=commit)
        manifest = {"name": "exp", "train": {"lr": 0.1 * (number + 1)}}
        (path / "experiment.json").write_text(json.dumps(manifest))
        folders.append(path)
    rows = [make_rows(read_runs(path))[0] for path in folders]
    found = changes(*rows, (folders[0], folders[1]))
    kinds = {row.name.split(", ")[1].split(" at")[0]: row.kind for row in found.rows}
    assert kinds == {"moved": "beyond noise", "stayed": "same", "noise": "within noise",
                     "few": "no interval"}  # fmt: skip
    assert "commit: old -> new" in found.conditions
    assert "train.lr: 0.1 -> 0.2" in found.conditions
    assert [name.split(", ")[1] for name in (*found.only_first, *found.only_second)] == [
        "only0 at 50 % of params", "only1 at 50 % of params",
    ]  # fmt: skip
    assert found.summary().startswith("4 rows in both: 1 same, 1 within noise, 1 beyond noise")
    assert "about 0.1 beyond noise" in found.summary()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs_total": 40}, "total epochs (20; 40)"),
        ({"test_images": 10_000}, "(1000 / 200 / 5000; 1000 / 200 / 10000)"),
        ({"macs_dense": 10_000}, "dense params / connections / MACs (1000 / 100 / 5000; 1000"),
        ({"start": "weights.pth"}, "initial weights (random; weights.pth)"),
    ],
)
def test_folders_that_cannot_be_compared_have_tables_of_their_own(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    for name, changed in (("one", {}), ("two", {}), ("three", change)):
        (tmp_path / name).mkdir()
        made = Folder(tmp_path / name)
        made.row(name, [1.0, 1.1, 1.2], method=name, experiment=name, **changed)
    folders = [tmp_path / name for name in ("one", "two", "three")]
    merged = merge.merge(folders)
    assert [part.folders for part in merged.parts["digits", "vgg6"]] == [("one", "two"), ("three",)]
    assert words in merged.warnings[0]
    render(folders, tmp_path / "out", ["md", "html", "tex", "csv"])
    content = (tmp_path / "out/report.md").read_text()
    assert "# one, two and three\n" in content
    assert "cannot be compared" in content
    assert "## vgg6 on digits (one and two, 20 epochs)" in content
    assert "## vgg6 on digits (three, " in content


def test_recipes_that_differ_are_said(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        Folder(tmp_path / name).row(name, [1.0, 1.1], method=name, experiment=name)
        manifest = {"name": name, "train": {"lr": 0.1 + number}}
        (tmp_path / name / "experiment.json").write_text(json.dumps(manifest))
    merged = merge.merge([tmp_path / "one", tmp_path / "two"])
    assert merged.warnings == ("The recipes of one and two differ in train.lr (0.1, 1.1).",)
    assert len(merged.parts["digits", "vgg6"]) == 1


def test_results_as_a_tidy_table(folder: Folder) -> None:
    folder.dense()
    folder.row("a", [1.0, 1.1, 1.2], settings={"lambda": 0.5, "what": [1, 2]}, layers={"x": 0.0})
    folder.row("own", [2.0], budget_asked="own")
    folder.fail(3, "diverged", label="a")
    table = ssbench.load_results(folder.path)
    assert len(table) == 3 + 3 + 1 + 1
    row = table[(table["label"] == "a") & (table["seed"] == 1)].iloc[0]
    assert row["test_top1_error"] == 1.1
    assert row["before_test_top1_error"] == pytest.approx(41.1)
    assert (row["kept_params"], row["seconds_train"], row["setting_lambda"]) == (0.5, 4.0, 0.5)
    assert (row["setting_what"], row["dead_layers"], row["budget_own"]) == ("[1, 2]", 1, False)
    assert table["budget_own"].sum() == 1
    assert (table["status"] == "failed").sum() == 1
    assert not any(isinstance(value, dict | list) for value in table.iloc[3])
    stages = ssbench.load_results(folder.path.parent, stages=True)
    assert len(stages) == 2 * 8
    assert stages[stages["number"] == 0]["stage"].isin(["prune", "train"]).all()
    with pytest.raises(BadInputError, match="no records"):
        ssbench.load_results(folder.path / "nowhere")


def test_parquet_holds_the_tidy_table(folder: Folder) -> None:
    pytest.importorskip("pyarrow")
    folder.row("a", [1.0, 1.1, 1.2], settings={"lambda": 0.5})
    (path,) = render(folder.path, folder.path, ["parquet"])
    found = pd.read_parquet(path)
    pd.testing.assert_frame_equal(found, ssbench.load_results(folder.path))


def test_parquet_without_its_library_says_what_to_install(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.row("a", [1.0])
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInputError, match=r"uv sync --extra parquet"):
        render(folder.path, folder.path, ["parquet"])


def test_results_are_loaded_without_torch(folder: Folder) -> None:
    folder.row("a", [1.0])
    code = "import sys, ssbench; ssbench.load_results(sys.argv[1]); print('torch' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)], capture_output=True, check=True
    )
    assert ended.stdout.strip() == b"False"


def test_the_smallest_gap_speaks_of_the_seeds_that_are_there(folder: Folder) -> None:
    folder.row("a", [1.0, 1.1, 1.3])
    folder.row("b", [1.2, 1.0, 1.4], method="b")
    found = findings(rows_of(folder)).verdicts
    spread = found[0].verdict.spread
    assert spread is not None
    said = folder.render("md")["md"]
    assert f"3 seeds separate {stats.detectable(spread, 3):.2f} points" in said


def test_reports_of_several_folders_from_the_command_line(tmp_path: Path, invoke: Invoke) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = Folder(tmp_path / name)
        made.row(name, [1.0, 1.1, 1.2], method=name, experiment=name)
        made.row("other", [3.0, 3.1, 3.3], method="other", experiment=name)
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'experiment = "two"\n[[claims]]\nsays = "it holds"\nbetter = "two"\nthan = "other"\n'
    )
    both = [tmp_path / "one", tmp_path / "two"]
    nowhere = invoke("report", *both)
    assert nowhere.code == 2
    assert "give its folder with --out" in nowhere.err
    ended = invoke("report", *both, "--format", "md", "--out", tmp_path / "out", "--claims", mine)
    assert ended.code == 0
    content = (tmp_path / "out/report.md").read_text()
    assert "supported: it holds" in content
    assert {"| one |", "| two |"} <= set(re.findall(r"\| (?:one|two) \|", content))
    missing = invoke("report", *both, tmp_path / "three", "--out", tmp_path / "out")
    assert missing.code == 2
    assert "three: no such folder" in missing.err


def test_only_the_masks_that_agree_most_are_listed(folder: Folder) -> None:
    same = bits(1, 1, 0, 0, 0, 0, 0, 0)
    for index in range(6):
        sample = same if index < 2 else bits(*(int(place in (index, 7)) for place in range(8)))
        folder.row(f"m{index}", [1.0], method=f"m{index}", mask_sample=sample)
    found = findings(rows_of(folder))
    assert len(found.overlaps) == 15
    assert len(found.most_alike()) == 10
    assert (found.most_alike()[0].first, found.most_alike()[0].second) == ("m0", "m1")
    assert "The 10 furthest beyond chance of 15 pairs." in folder.render("md")["md"]
