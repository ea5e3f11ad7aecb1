"""Which rows may be beaten: none that collapsed, missed its budget, or has a twin with a floor."""

from typing import Any

import pytest

from ssbench.analysis import stats
from ssbench.analysis.claims import Claim, settle
from ssbench.analysis.compare_folders import changes
from ssbench.analysis.findings import findings, overall
from ssbench.analysis.rows import Row, best, make_rows, printed, rivals
from ssbench.report.figures.style import COLOURS, Looks
from ssbench.storage.records import read_runs
from tests.support.records import Folder, folder

__all__ = ["folder"]
BARE = "kernels, unprotected"


def twins(folder: Folder, free: list[float], floored: list[float], **changes: Any) -> None:
    """A row without a floor, whose threshold empties a layer, and one with a floor."""
    dead = {"layers": {"a.2": 0.0, "a.10": 0.5}, "threshold": 0.5} | changes
    folder.row("kernels", free, method="kernels", protection=0.0, **dead)
    alive = {"layers": {"a.2": 0.005, "a.10": 0.4}, "threshold": 0.4, "protected": 1} | changes
    folder.row("kernels", floored, method="kernels", protection=0.005, **alive)


def rows_of(folder: Folder) -> list[Row]:
    return make_rows(read_runs(folder.path))[0]


def named(folder: Folder) -> dict[str, Row]:
    return {row.name: row for row in rows_of(folder)}


@pytest.fixture
def fair(folder: Folder) -> Folder:
    """A rival that dies without a floor and is good with one, beside another method."""
    folder.dense()
    twins(folder, [92.0, 92.0, 92.0], [2.0, 2.1, 2.2])
    folder.row("other", [2.6, 2.7, 2.8], method="other", protection=0.0)
    folder.row("other", [2.6, 2.7, 2.8], method="other", protection=0.005)
    return folder


def test_of_twins_the_one_with_a_floor_competes(fair: Folder) -> None:
    rows = named(fair)
    assert set(rows) == {"dense", "kernels", BARE, "other", "other, unprotected"}
    group = [row for row in rows.values() if not row.is_dense]
    assert {row.name for row in rivals(group)} == {"kernels", "other"}
    assert {row.name for row in best(group)} == {"kernels"}
    found = findings(list(rows.values()))
    assert [(pair.first, pair.second) for pair in found.verdicts] == [("kernels", "other")]
    assert all(BARE not in said for area in found.areas for said in (*area.means, *area.left_out))
    assert BARE not in str(fair.page().headline)
    assert overall([rows_of(fair)]).ranks[0].ranking.average == {"kernels": 1.0, "other": 2.0}


def test_the_collapse_stays_to_be_seen_beside_its_twin(fair: Folder) -> None:
    content = fair.render()
    assert (
        f"{BARE} at 50 % of params: a.2 (3 of 3 seeds); test error 92.00 ± 0.00 %, with a floor in "
        "every layer 2.10 ± 0.10 %" in content["md"]
    )
    bold = [line for line in content["md"].splitlines() if line.startswith("|") and "**" in line]
    assert [line.split("|")[3].strip() for line in bold] == ["kernels ¶"]
    caption = fair.caption()
    assert "every layer keeps at least 0.5 % of its units, the same for all methods" in caption
    assert "unprotected: the same row without this floor" in caption
    assert "no better than guessing, in some seed do not compete" in caption


def test_a_floor_that_never_acted_makes_one_row(fair: Folder) -> None:
    assert [row.name for row in printed(rows_of(fair))] == ["dense", "kernels", BARE, "other"]
    lines = fair.render("md")["md"].splitlines()
    assert not any("other, unprotected" in line for line in lines if line.startswith("|"))


def test_a_claim_cannot_rest_on_a_collapse(fair: Folder) -> None:
    rows = rows_of(fair)

    def ending(better: str, than: str) -> tuple[str, str]:
        (settled,) = settle([Claim(says="so", better=better, than=than)], rows)
        return settled.ending, settled.why

    assert ending("kernels@0.5", "other@0.5")[0] == "supported"
    said, why = ending("other@0.5", f"{BARE}@0.5")
    assert said == "undecided"
    assert why.startswith(
        f"{BARE} at 50 % of params collapsed; make the claim about a row with a floor"
    )


@pytest.mark.parametrize(
    ("facts", "errors", "chance"),
    [
        ({"classes": 10, "test_images": 500}, [92.6, 88.5, 5.0], 2),
        ({"classes": 10, "test_images": 500}, [85.0, 80.0, 5.0], 0),
        ({"test_guess_error": 30.0, "classes": 2, "test_images": 10_000}, [30.0, 29.5, 20.0], 2),
        ({"classes": None}, [99.0, 99.0, 99.0], 0),
    ],
)
def test_who_guesses_is_not_beaten(
    folder: Folder, facts: dict[str, Any], errors: list[float], chance: int
) -> None:
    folder.row("guesses", errors, method="guesses", **facts)
    folder.row("good", [2.0, 2.1, 2.2], method="good", **facts)
    row = named(folder)["guesses"]
    assert (row.at_chance(), row.broken) == (chance, chance > 0)
    assert bool(rivals(rows_of(folder))) is (chance == 0)
    said = f"guesses at 50 % of params (no better than guessing in {chance} of 3 seeds)"
    assert (said in folder.render("md")["md"]) is (chance > 0)


@pytest.mark.parametrize(("reached", "able"), [(0.53, False), (0.51, True), (0.47, False)])
def test_a_budget_that_is_missed_either_way_is_another_size(
    folder: Folder, reached: float, able: bool
) -> None:
    folder.row("off", [1.0, 1.1, 1.2], method="off", budget_reached=reached)
    for label in ("fair", "last"):
        folder.row(label, [2.0, 2.1, 2.3], method=label)
    rows = rows_of(folder)
    assert ("off" in {row.name for row in rivals(rows)}) is able
    note = next(n.text for n in folder.page().sections[0].table.notes if n.mark == "§")
    assert ("to compete; protection or scope = 'layerwise' may come closer" in note) is not able
    assert ("too little" in note) is (reached < 0.48)
    (settled,) = settle([Claim(says="so", better="off@0.5", than="fair@0.5")], rows)
    assert (settled.ending == "supported") is able


def test_no_collapsed_row_is_bold_even_alone_among_its_like(folder: Folder) -> None:
    for label in ("a", "b"):
        folder.row(label, [90.0, 90.0, 90.0], method=label, layers={"a.2": 0.0})
    assert best(rows_of(folder)) == set()


def test_layerwise_and_own_rows_are_not_called_unprotected(folder: Folder) -> None:
    folder.row("x", [2.0, 2.1, 2.2], scope="layerwise", protection=0.0)
    folder.row("x", [2.0, 2.1, 2.2], budget_asked="own", protection=0.0)
    folder.row("x", [2.0, 2.1, 2.2], protection=0.005)
    folder.row("x", [3.0, 2.1, 2.2], protection=0.0)
    assert sorted(named(folder)) == ["x, global", "x, global, unprotected", "x, layerwise"]


def test_a_twin_is_compared_with_its_like_in_another_folder(folder: Folder, tmp_path: Any) -> None:
    (tmp_path / "old").mkdir()
    old = Folder(tmp_path / "old")
    old.row("kernels", [90.0, 90.0, 90.0], method="kernels", protection=0.0)
    twins(folder, [92.0, 92.0, 92.0], [2.0, 2.1, 2.2])
    found = changes(rows_of(old), rows_of(folder), (old.path, folder.path))
    assert [row.kind for row in found.rows] == ["beyond noise"]
    (row,) = found.rows
    assert row.interval == stats.difference(
        dict.fromkeys(range(3), 92.0), dict.fromkeys(range(3), 90.0), 0.02
    )


def test_twins_share_a_colour_and_differ_in_mark_and_line(fair: Folder) -> None:
    looks = Looks.of(rows_of(fair))
    assert looks.colours["kernels"] == looks.colours[BARE] == COLOURS[0]
    assert looks.colours["other"] == COLOURS[1]
    assert looks.shapes["kernels"] != looks.shapes[BARE]
    assert looks.dashes["kernels"] != looks.dashes[BARE]
