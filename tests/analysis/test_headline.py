"""The headline and the limits of a report: who wins, how sure that is, what remains open."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ssbench.analysis import stats
from ssbench.analysis.headline import headline
from ssbench.analysis.merge import merge
from ssbench.report.figures import draw
from ssbench.report.figures.style import Looks
from ssbench.report.formats.drilldown import POINTS, drilldown
from ssbench.report.formats.escape import markdown
from ssbench.report.formats.latex import tex
from ssbench.report.page import make_merged_page
from tests.support.records import Folder, folder

__all__ = ["folder"]


def said(folder: Folder) -> tuple[str, str]:
    first, second = folder.page().headline
    return first, second


def test_a_win_names_its_budget_margin_and_interval(folder: Folder) -> None:
    folder.row("winner", [1.0, 1.1, 1.2])
    folder.row("close", [4.0, 4.2, 4.1])
    folder.row("last", [9.0, 9.1, 9.2])
    interval = stats.difference({0: 4.0, 1: 4.2, 2: 4.1}, {0: 1.0, 1: 1.1, 2: 1.2}, 0.02)
    assert interval is not None
    who, sure = said(folder)
    assert who == (
        "At the one budget one row's test error is lower than every other's: winner at 50 % of "
        "params (1.10 %, 3.00 points below the next, close, 95 % interval "
        f"{interval.low:.2f} to {interval.high:.2f})."
    )
    assert sure.startswith("Every one of these leads holds")
    assert "over 3 seeds; not corrected" in sure


def test_nobody_wins_over_a_network_that_lost_a_layer(folder: Folder) -> None:
    folder.row("a", [2.0, 2.1, 2.2], method="a")
    folder.row("b", [90.0, 90.1, 90.0], method="b", layers={"a.2": 0.0})
    first, _ = folder.page().headline
    assert first == (
        "No two rows compete at one budget; without 1 row that collapsed or missed the budget, "
        "so none is better than another."
    )
    folder.row("c", [80.0, 80.1, 80.0], method="c")
    first, second = folder.page().headline
    assert "below the next, c, 95 % interval" in first
    assert "without 1 row that collapsed or missed the budget" in second


def test_where_nothing_separates_nobody_wins(folder: Folder) -> None:
    for share in (0.1, 0.5):
        folder.row("a", [2.0, 2.4, 2.2], budget_asked=share)
        folder.row("b", [2.3, 2.1, 2.4], budget_asked=share)
    who, sure = said(folder)
    assert who == (
        "At none of 2 budgets is one row's test error clearly lower than every other's; the "
        "rows with the lowest mean, and at how many budgets: a (2)."
    )
    assert "At 2 of 2 budgets the lowest error cannot be told apart" in sure


def test_a_lead_over_the_next_is_no_win_where_another_is_open(folder: Folder) -> None:
    folder.row("first", [1.0, 1.1, 1.2])
    folder.row("steady", [1.6, 1.7, 1.8])
    folder.row("wild", [0.9, 5.0, 1.3])
    page = folder.page()
    (lead,) = headline([("", page.rows)]).leads
    assert (lead.second, lead.wins, lead.open) == ("steady", False, ("wild",))
    assert "told apart from 1 other row" in page.headline[1]


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_win_nothing(folder: Folder, seeds: int) -> None:
    folder.row("low", [1.0] * seeds)
    folder.row("high", [50.0] * seeds)
    who, sure = said(folder)
    assert who == (
        "At 50 % of params, the one budget, no row's test error is clearly lower than every "
        "other's; the lowest mean is that of low (1.00 %)."
    )
    assert f"share only {seeds} seed" in sure
    assert any("fewer than 3 seeds" in limit for limit in folder.page().limits)


def test_without_a_rival_there_is_no_winner(folder: Folder) -> None:
    folder.dense()
    folder.row("alone", [1.0, 1.1, 1.2])
    assert said(folder)[0].startswith("No two rows compete at one budget")


def test_wins_of_several_networks_name_them_and_the_largest_come_first(folder: Folder) -> None:
    for margin, model in enumerate(("m1", "m2", "m3", "m4"), 1):
        folder.row("good", [1.0, 1.1, 1.2], model=model)
        folder.row("bad", [1.0 + margin * 5, 1.1 + margin * 5, 1.2 + margin * 5], model=model)
    who, _ = said(folder)
    places = [who.index(f"({model} on digits)") for model in ("m4", "m3", "m2")]
    assert places == sorted(places)
    assert who.endswith("; and 1 more.")
    assert "m1" not in who


def test_who_is_lower_at_every_seed_but_not_separable_does_not_win(folder: Folder) -> None:
    folder.row("steady", [1.0, 1.1, 1.2])
    folder.row("broken", [5.0, 90.0, 90.0])
    page = folder.page()
    (lead,) = headline([("", page.rows)]).leads
    assert (lead.wins, lead.steady, lead.open) == (False, True, ("broken",))
    assert "no row's test error is clearly lower than every other's" in page.headline[0]
    assert (
        "told apart from 1 other row; it is lower at every seed, but not separable ("
        in page.headline[1]
    )
    assert "1 lower at every seed, but not separable" in page.limits[0]
    (pair,) = page.sections[0].findings.verdicts
    assert (
        str(pair)
        .partition(": ")[2]
        .startswith("steady before broken: lower at every seed, but not separable without ")
    )


def test_the_head_says_what_runs_went_through(folder: Folder) -> None:
    folder.dense()
    folder.row("a", [1.0, 1.1], budget_asked=0.1)
    facts = dict(folder.page().facts)
    assert facts["Budgets"] == "10 % of params"
    assert facts["Stages"] == "prune, finetune (10 epochs)"


def test_rows_of_tables_that_cannot_be_compared_are_not(tmp_path: Path) -> None:
    folders = []
    for name, error, epochs in (("short", 9.0, 20), ("long", 1.0, 200)):
        path = tmp_path / name
        path.mkdir()
        folders.append(path)
        errors = [error, error + 0.1, error + 0.2]
        Folder(path).row(name, errors, experiment=name, epochs_total=epochs)
    page = make_merged_page(merge(folders))
    assert len(page.sections) == 2
    assert page.headline[0].startswith("No two rows compete at one budget")


def test_the_sampling_error_is_the_score_interval_of_scipy(folder: Folder) -> None:
    scipy = pytest.importorskip("scipy.stats")
    for error in (0.0, 2.0):
        folder.row("a", [error] * 3, method="a", test_images=500, data_fingerprint="1")
        said = next(limit for limit in folder.page().limits if "same 500 images" in limit)
        expected = scipy.binomtest(int(5 * error), 500).proportion_ci(method="wilson")
        assert f"between {100 * expected.low:.2f} and {100 * expected.high:.2f} %" in said
        for path in folder.path.glob("*.jsonl"):
            path.unlink()


def test_what_stays_open_is_said(folder: Folder) -> None:
    folder.row("a", [2.0, 2.4, 2.2])
    folder.row("b", [2.3, 2.1, 2.4], epochs_total=40, micro_batch=32)
    folder.run(0, 3.0, label="short", method="short")
    folder.fail(1, "no luck", label="short", method="short")
    limits = "\n".join(folder.page().limits)
    for words in (
        "vgg6 on digits: which of two neighbours has the lower error is open for 2 of 2 pairs",
        "2 runs of short have no result (1 failed)",
        "Every seed was tested on 5,000 images; not all records say which ones.",
        "different numbers of epochs (20 to 40)",
        "were divided, among devices or because memory was short",
        "No method's hyper-parameters were tuned",
        "one network (vgg6) and one data set (digits)",
    ):
        assert words in limits, words


def test_what_is_closed_is_not_said(folder: Folder) -> None:
    for model in ("m1", "m2"):
        for dataset in ("digits", "other"):
            where: dict[str, Any] = {"model": model, "dataset": dataset}
            folder.row("good", [1.0, 1.1, 1.2], **where)
            folder.row("bad", [9.0, 9.1, 9.2], **where)
    limits = "\n".join(folder.page().limits)
    for words in ("neighbours", "no result", "epochs", "fewer than", "nothing follows", "Memory"):
        assert words not in limits, words


def test_a_run_is_told_with_its_command_and_a_thinned_curve(folder: Folder) -> None:
    folder.run(7, 2.0, run="r 1", experiment="my exp", curve_loss=[float(i) for i in range(400)])
    page = folder.page()
    data = drilldown({"t": page.sections[0].rows})
    (run,) = data["tables"]["t"][0]["runs"]
    again = "OMP_NUM_THREADS=2 ssbench run 'my exp' --set 'seeds=[7]' --device cpu"
    assert run["commands"] == [again, "ssbench show 'r 1'"]
    assert run["guessed"]
    (title, epochs, points), *_ = run["curves"]
    assert (title, epochs, len(points)) == ("training loss", 800, POINTS)
    assert (points[0], points[-1]) == (0.0, 399.0)
    facts = {what: data["texts"][index] for what, index in run["facts"]}
    assert (facts["Test error"], facts["Before finetuning"]) == ("2.00 %", "42.00 %")


def facts_of(folder: Folder) -> dict[str, str]:
    """The facts of the only run."""
    data = drilldown({"t": folder.page().rows})
    ((run,),) = [row["runs"] for row in data["tables"]["t"]]
    return {what: data["texts"][index] for what, index in run["facts"]}


def test_the_command_is_the_one_that_was_given(folder: Folder) -> None:
    given = ["my exp.toml", "--set", "name=x", "--method-file", "m.py", "--tuned", "t/tuned.json"]
    folder.run(7, 2.0, run="r", command=given, device="cuda", threads=8)
    (row,) = drilldown({"t": folder.page().rows})["tables"]["t"]
    assert row["runs"][0]["commands"][0] == (
        "ssbench run 'my exp.toml' --set name=x --method-file m.py --tuned t/tuned.json "
        "--set 'seeds=[7]' --device cuda"
    )
    assert "guessed" not in row["runs"][0]


def test_keys_that_are_not_known_are_shown_as_they_are(folder: Folder) -> None:
    changes: dict[str, Any] = {"again": True, "micro_batch": 32, "places": ["cuda:0", "cuda:1"]}
    changes |= {"later": {"a": 1 / 3, "b": None}, "long": "x" * 500, "off": False, "none": None}
    folder.run(0, 2.0, **changes)
    path = next(folder.path.glob("*.jsonl"))
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    folder.write([first | {"again": False, "only_here": 3}, second])
    found = facts_of(folder)
    assert found["Again"] == "finetune: yes"
    assert (found["Micro batch"], found["Places"]) == ("32", '["cuda:0", "cuda:1"]')
    assert found["Later"] == '{"a": 0.333333, "b": null}'
    assert (found["Long"], found["Only here"]) == ("x" * 200 + " \N{HORIZONTAL ELLIPSIS}", "3")
    assert not {"Off", "None"} & set(found)


def test_energy_is_told_where_it_is_known_of_all_stages(folder: Folder) -> None:
    for share, joules in ((0.5, 1250.0), (0.1, 1000.0)):
        folder.row("a", [2.0, 2.1, 2.2], budget_asked=share, energy_joules=joules)
        folder.row("b", [3.0, 3.1, 3.2], budget_asked=share, method="b")
    page = folder.page()
    data = drilldown({"t": page.rows})
    assert data["stages"][-1] == "joules"
    row = next(row for row in data["tables"]["t"] if row["name"] == "a")
    assert row["runs"][0]["stages"][0][-1] == "1.25e+03"
    said = {what: data["texts"][index] for what, index in row["runs"][0]["facts"]}
    assert said["Energy of all stages"] == "2.50k J"
    figures = {f.stem: f for f in draw(page.rows, Looks.of(page.rows), "x")}
    panels = figures["cost-x"].spec["concat"]
    assert [panel["encoding"]["x"]["title"] for panel in panels] == [
        "time of training and pruning (s), one seed", "energy of the devices (J), one seed",
    ]  # fmt: skip
    assert "without the rest of the machine" in figures["cost-x"].caption
    table = pd.read_csv(StringIO(folder.render("csv")["csv"])).set_index(["name", "budget_asked"])
    assert table.loc[("a", 0.1), "energy_joules"] == 2000
    assert pd.isna(table.loc[("b", 0.1), "energy_joules"])


def test_energy_of_some_stages_is_no_energy_of_a_run(folder: Folder) -> None:
    path = folder.run(0, 2.0, energy_joules=10.0)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    folder.write([first | {"energy_joules": None}, second])
    assert folder.page().rows[0].joules() is None
    assert "Energy of all stages" not in facts_of(folder)


def test_a_run_that_diverged_says_in_which_epoch(folder: Folder) -> None:
    folder.fail(0, "loss is nan", label="wild", diverged_epoch=3)
    content = folder.render("md", "tex", "html")
    for kind, written in content.items():
        assert "diverged in epoch 3: loss is nan" in written, kind


def test_batches_that_were_parted_are_said(folder: Folder) -> None:
    folder.row("a", [2.0, 2.1, 2.2], devices=4, device="cuda")
    folder.row("b", [3.0, 3.1, 3.2], method="b", micro_batch=64)
    folder.row("c", [4.0, 4.1, 4.2], method="c")
    page = folder.page()
    caption = page.sections[0].table.caption
    assert "Trained on 4 x cuda: a. In micro-batches of 64: b." in caption
    assert any(limit.startswith("The batches of a and b were divided") for limit in page.limits)


def test_the_first_and_the_last_words_are_in_every_format(folder: Folder) -> None:
    folder.row("a_1", [2.0, 2.4, 2.2])
    folder.row("b", [2.3, 2.1, 2.4], method="b")
    page, content = folder.page(), folder.render("md", "tex", "html")
    for kind, write in (("md", markdown), ("tex", tex)):
        for words in (*page.headline, *page.limits):
            assert write(words) in content[kind], (kind, words)
        assert "What cannot be concluded" in content[kind]
        places = [content[kind].index(write(words)) for words in (page.headline[0], page.limits[0])]
        assert places[0] < content[kind].index("test error of the last epoch") < places[1]


@pytest.mark.slow
def test_a_page_of_a_thousand_runs_is_small(folder: Folder) -> None:
    curves = {key: [0.12345] * 100 for key in ("curve_loss", "curve_error")}
    layers = {f"features.{i}": 0.123456 for i in range(16)}
    for number, share in ((n, s) for n in range(20) for s in (0.5, 0.2, 0.1, 0.05, 0.02)):
        errors = [1 + number + seed / 10 for seed in range(10)]
        folder.row(f"method {number}", errors, budget_asked=share, layers=layers, **curves)
    assert len(list(folder.path.glob("*.jsonl"))) == 1000
    assert len(folder.render("html")["html"].encode()) < 5_000_000
