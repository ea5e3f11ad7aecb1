"""Every figure: valid, whole, labelled, the same looks everywhere, and there only with its data."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair
import pytest

from ssbench.analysis.rows import Row, by_table, make_rows
from ssbench.report.figures import draw, draw_overall
from ssbench.report.figures.chart import Figure
from ssbench.report.figures.error_size import Reference, error_against_sizes
from ssbench.report.figures.export import KINDS, convert
from ssbench.report.figures.style import Looks
from ssbench.report.figures.sweep import _shades
from ssbench.report.render import render
from ssbench.storage.records import read_runs
from tests.support.records import Folder

HISTOGRAM = {
    "scale": "log",
    "low": 0.01,
    "high": 10.0,
    "counts": [1, 0, 5, 4],
    "below": 2,
    "gone": 0,
}
SAMPLE = {"weights": 8, "kept": "8A=="}
CURVES = {"curve_loss": [1.0, 0.5], "curve_error": [50.0, 0.0]}
KINDS_OF_FIGURE = {
    "error", "sizes", "pareto", "finetuning", "layers", "collapse", "scores", "masks", "sweep",
    "cost", "training",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def full(folder: Folder) -> Folder:
    """A dense network and three methods of which every figure can be drawn."""
    more = {"score_histogram": HISTOGRAM, "mask_sample": SAMPLE, "bytes_sparse": 900, **CURVES}
    folder.dense(**CURVES)
    for share in (0.5, 0.25, 0.1):
        folder.row("random", [9, 9.5, 90.0], method="random", budget_asked=share, **more)
        folder.row("magnitude", [0.0, 0.1, 0.2], budget_asked=share, **more)
        for value in (0.1, 0.2):
            settings = {"lambda": value}
            folder.row("slim", [2.1, 2.0, value], method="slim", budget_asked=share,
                       settings=settings, layers={"a.2": 0.0, "a.10": share}, **more)  # fmt: skip
    return folder


def test_networks_without_a_weight_left_are_drawn(folder: Folder) -> None:
    folder.row("dead", [90.0, 90.0], layers={"a": 0.0, "b": 0.0})
    assert {"layers", "collapse"} <= figures_of(rows_of(folder)).keys()


def rows_of(folder: Folder) -> list[Row]:
    return make_rows(read_runs(folder.path))[0]


def figures_of(rows: list[Row]) -> dict[str, Figure]:
    looks = Looks.of(rows)
    drawn = [*draw(rows, looks, "x"), *draw_overall(list(by_table(rows).values()), looks)]
    return {figure.stem.removesuffix("-x"): figure for figure in drawn}


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a spec."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from parts(item)


def test_every_figure_is_drawn_where_its_data_are(full: Folder) -> None:
    assert set(figures_of(rows_of(full))) == KINDS_OF_FIGURE | {"ranks"}


@pytest.mark.parametrize(
    ("key", "absent"),
    [("score_histogram", "scores"), ("mask_sample", "masks"), ("curve_loss", "training"),
     ("layers", "layers"), ("seconds_train", "cost")],
)  # fmt: skip
def test_a_figure_without_data_is_left_out(full: Folder, key: str, absent: str) -> None:
    for path in full.path.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line[key] = {} if key == "layers" else None
            if key == "curve_loss":
                line["curve_error"] = None
        full.write(lines)
    assert absent not in figures_of(rows_of(full))
    assert "error" in figures_of(rows_of(full))


def test_older_records_have_the_figures_that_they_can(tmp_path: Path) -> None:
    """They lack what was not recorded then."""
    newer = ("curve_loss", "curve_error", "score_histogram", "mask_sample")
    folder = Path(__file__).parents[2] / "results/reference/lambda_sensitivity"
    for path in folder.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        older = [{k: v for k, v in line.items() if k not in newer} for line in lines]
        (tmp_path / path.name).write_text("".join(json.dumps(line) + "\n" for line in older))
    assert {"scores", "training"} <= set(figures_of(make_rows(read_runs(folder))[0]))
    rows, _ = make_rows(read_runs(tmp_path))
    found = set(figures_of(rows))
    assert {"error", "sizes", "pareto", "finetuning", "layers", "sweep", "cost", "ranks"} <= found
    assert not {"scores", "masks", "training"} & found


def test_nothing_is_drawn_of_a_dense_network_alone(folder: Folder) -> None:
    folder.dense([1.0])
    assert figures_of(rows_of(folder)) == {}


def test_specs_are_vega_lite_and_hold_all_that_they_need(full: Folder) -> None:
    for name, figure in figures_of(rows_of(full)).items():
        altair.Chart.from_dict(figure.spec, validate=True)
        json.dumps(figure.spec, allow_nan=False)
        for part in parts(figure.spec):
            assert "url" not in part, name
            if "data" in part:
                assert part["data"]["name"] in figure.spec["datasets"], name
        text = json.dumps(figure.spec)
        assert text.count("http") == text.count("https://vega.github.io/schema") == 1, name


def test_axes_have_titles_and_sparsity_has_a_noun(full: Folder) -> None:
    for name, figure in figures_of(rows_of(full)).items():
        titled = 0
        for part in parts(figure.spec):
            for channel in ("x", "y"):
                axis = part.get("encoding", {}).get(channel, {})
                if axis.get("type") == "quantitative" and axis.get("axis", True) is not None:
                    titled += bool(axis.get("title"))
        assert titled or name in ("masks", "collapse"), name
        assert "vgg6 on digits" in figure.caption or name == "ranks"
        assert not re.search("sparsity", json.dumps(figure.spec) + figure.caption)


def test_a_method_looks_the_same_in_every_figure(full: Folder) -> None:
    seen: dict[tuple[str, str], set[str]] = {}
    for figure in figures_of(rows_of(full)).values():
        for part in parts(figure.spec):
            for channel in ("color", "shape"):
                coded = part.get("encoding", {}).get(channel, {})
                if isinstance(coded, dict) and coded.get("field") == "method":
                    scale = coded["scale"]
                    for method, look in zip(scale["domain"], scale["range"], strict=True):
                        seen.setdefault((method, channel), set()).add(look)
    names = {"random", "magnitude", "slim, lambda=0.1", "slim, lambda=0.2"}
    assert {method for method, _ in seen} == names
    assert all(len(looks) == 1 for looks in seen.values())
    for channel in ("color", "shape"):
        assert len({tuple(seen[name, channel]) for name in names - {"random"}}) == 3


def test_looks_do_not_depend_on_the_table(full: Folder) -> None:
    every = Looks.of(rows_of(full))
    assert every.only(["slim, lambda=0.2", "random"]) == ["random", "slim, lambda=0.2"]
    assert every.colours["random"] not in {
        colour for name, colour in every.colours.items() if name != "random"
    }


def test_an_error_of_nothing_stands_at_half_an_image(folder: Folder) -> None:
    folder.row("none", [0.0, 0.0, 0.0])
    folder.row("some", [50.0, 50.0, 50.0], method="some")
    spec = figures_of(rows_of(folder))["error"].spec
    points = {p["method"]: p for data in spec["datasets"].values() for p in data}
    assert points["none"]["error"] == pytest.approx(100 / 5000 / 2)
    assert points["none"]["said"] == "0.00 % ± 0.00"


def test_one_share_has_bars_and_names_in_place_of_bands(folder: Folder) -> None:
    folder.row("a", [2.0, 2.1, 2.2], method="a")
    folder.row("b", [3.0, 3.1, 3.2], method="b")
    figures = figures_of(rows_of(folder))
    for name in ("error", "sizes", "finetuning"):
        bars = [part for part in parts(figures[name].spec) if "y2" in part or "x2" in part]
        marks = [part["mark"]["type"] for part in parts(figures[name].spec) if "mark" in part]
        assert bars, name
        assert "rule" in marks, name
    before, after = figures["finetuning"].spec["hconcat"]
    for panel in (before, after):
        assert panel["layer"][0]["encoding"]["y"]["field"] == "method"
        assert panel["title"].endswith("50 % of params")
    assert "ranks" not in figures, "one comparison has no average"


def test_several_shares_have_bands_and_a_tick_each(full: Folder) -> None:
    panel = figures_of(rows_of(full))["finetuning"].spec["hconcat"][0]
    kinds = [layer["mark"]["type"] for layer in panel["layer"]]
    assert kinds == ["area", "line", "point"]
    assert panel["layer"][0]["encoding"]["x"]["axis"]["values"] == [50, 25, 10]


def test_what_no_axis_has_a_place_for_is_named(full: Folder) -> None:
    full.row("gone", [90.0, 90.0, 90.0], method="gone", macs_nonzero=0)
    figures = figures_of(rows_of(full))
    for name in ("error", "sizes", "pareto"):
        assert (
            "Not on the axis of MACs, because none is left: gone at 50 % of params."
            in figures[name].caption
        )
    assert "gone at" not in figures["cost"].caption
    panels = figures["error"].spec["hconcat"]
    domains = [{tuple(found) for found in _domains(panel)} for panel in panels]
    assert domains[0] == domains[1] == domains[2], "colours are shared between panels"


def _domains(panel: dict[str, Any]) -> Iterator[list[str]]:
    for part in parts(panel):
        coded = part.get("encoding", {}).get("color", {})
        if isinstance(coded, dict) and coded.get("field") == "method":
            yield coded["scale"]["domain"]


def test_no_line_of_a_threshold_crosses_the_name_of_another(full: Folder) -> None:
    for place, share in enumerate((0.5, 0.25)):
        full.row("cut", [2.0, 2.1, 2.2], method="cut", budget_asked=share,
                 score_histogram=HISTOGRAM, threshold=(5.0, 0.5)[place])  # fmt: skip
    spec = figures_of(rows_of(full))["scores"].spec
    cuts = [data for data in spec["datasets"].values() if data and data[0].get("method") == "cut"]
    thresholds = next(data for data in cuts if "threshold" in data[0])
    assert [cut["threshold"] for cut in thresholds] == [0.5, 5.0]
    # From left to right each begins below the name of the one before.
    assert thresholds[0]["place"] + 8 < thresholds[1]["place"]


@pytest.mark.parametrize("count", range(1, 7))
def test_shares_of_a_sweep_have_shades_of_their_own_and_the_smallest_is_darkest(count: int) -> None:
    shades = _shades(count)
    assert len(set(shades)) == count
    assert shades[-1] == "#2f3f9e"
    assert count == 1 or shades[0] in ("#e08f3c", "#f0c27b")


def test_masks_name_both_methods_and_number_them_alike(full: Folder) -> None:
    spec = figures_of(rows_of(full))["masks"].spec
    points = [point for data in spec["datasets"].values() for point in data]
    numbers = {name: int(number) for number, name in (p["line"].split("  ", 1) for p in points)}
    assert all(numbers[point["first"]] != numbers[point["second"]] for point in points)
    assert all(point["column"] == numbers[point["second"]] for point in points)


def test_published_results_stand_beside_measured_ones(full: Folder) -> None:
    quoted = [Reference("slim", "Liu 2017", 6.2, {"params": 2.3e6})]
    rows = rows_of(full)
    drawn = {f.stem: f for f in draw(rows, Looks.of(rows), "x", quoted)}
    altair.Chart.from_dict(drawn["sizes-x"].spec, validate=True)
    assert "Liu 2017" in json.dumps(drawn["sizes-x"].spec)
    assert "Crosses: Liu 2017." in drawn["sizes-x"].caption
    assert "Liu 2017" not in json.dumps(drawn["error-x"].spec)
    assert error_against_sizes(rows, Looks.of(rows), quoted) == drawn["sizes-x"].spec


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_becomes_a_file_the_same_each_time(full: Folder, dark: bool) -> None:
    begins = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}
    for name, figure in figures_of(rows_of(full)).items():
        for kind in KINDS:
            content = convert(figure.spec, kind, dark=dark)
            assert content.startswith(begins[kind]), name
            assert content == convert(figure.spec, kind, dark=dark), (name, kind)


def test_light_and_dark_differ_in_text_and_not_in_data(full: Folder) -> None:
    spec = figures_of(rows_of(full))["error"].spec
    light, dark = (convert(spec, "svg", dark=dark).decode() for dark in (False, True))
    assert "#1a1b1c" in light
    assert "#1a1b1c" not in dark
    assert "#e4e6e8" in dark
    colours = [set(re.findall("#0072b2|#d55e00|#84898f", image)) for image in (light, dark)]
    assert colours[0] == colours[1] != set()


def test_all_figures_are_written_on_request(full: Folder, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    folder = Folder(tmp_path / "small")
    folder.row("a", [2.0, 2.1, 2.2])
    folder.row("b", [3.0, 3.1, 3.2], method="b")
    written = {path.name for path in render(full.path, full.path, ["svg"])}
    label = "digits-vgg6"
    assert written == {f"{kind}-{label}.svg" for kind in KINDS_OF_FIGURE} | {"ranks.svg"}
    for kind, begin in (("png", b"\x89PNG"), ("pdf", b"%PDF-")):
        files = render(folder.path, folder.path, [kind])
        assert {path.suffix for path in files} == {f".{kind}"}
        assert len(files) > 3
        assert all(path.read_bytes().startswith(begin) for path in files)
    with_text = {path.name for path in render(full.path, full.path, ["md"])}
    assert with_text == {"report.md", f"error-{label}.svg", f"error-{label}.png"}


def test_the_page_holds_every_figure_and_the_script_that_draws_them(full: Folder) -> None:
    full.row("</script><b>", [3.0, 3.1, 3.2], method="odd")
    content = full.render("html")["html"]
    scripts = re.findall("<script([^>]*)>(.*?)</script>", content, re.DOTALL)
    specs = next(json.loads(body) for attributes, body in scripts if "chart-specs" in attributes)
    places = re.findall('data-chart="([^"]+)"', content)
    assert set(places) == set(specs)
    assert len(places) == len(KINDS_OF_FIGURE) + 1
    drawn = specs["error-digits-vgg6"]["datasets"].values()
    assert "</script><b>" in {point["method"] for points in drawn for point in points}
    # What draws them is inside the page, and offers no way out of it.
    assert any("vegaEmbed" in body and len(body) > 500_000 for _, body in scripts)
    assert not any("src=" in attributes for attributes, _ in scripts)
    assert "editor: false" in scripts[-1][1]
