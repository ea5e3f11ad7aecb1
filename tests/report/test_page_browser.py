"""The HTML page in a real browser: sorting, filtering, runs on demand, names that stay text."""

import base64
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ssbench.report.paper.render import render_table
from tests.support.records import Folder, line, read

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (group dev)")
pytestmark = pytest.mark.slow

SCRIPT = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"
INPUT = r"\input{/etc/passwd}"
CURVES: dict[str, Any] = {
    "curve_loss": [2.0, 1.0, 0.5, 0.25],
    "curve_error": [80.0, 40.0, 20.0, 10.0],
}


def masks(bits: int) -> dict[str, Any]:
    """The sample of a mask: eight weights, those kept that are set."""
    return {"mask_sample": {"weights": 8, "kept": base64.b64encode(bytes([bits])).decode()}}


@dataclass
class Seen:
    """A page in the browser, and what it should not have done."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def table(self) -> Any:
        """The first table of results."""
        return self.page.locator("table[data-rows]").first

    def names(self) -> list[str]:
        """The methods of the first table's visible lines, from top to bottom."""
        lines = self.table().locator("tbody tr:visible th[scope=row]:not(.part) button")
        return list(lines.all_text_contents())

    def errors(self) -> list[str]:
        """The visible test errors of the first table."""
        return list(self.table().locator("tbody tr:visible td:nth-child(4)").all_text_contents())

    def head(self, title: str) -> Any:
        return self.table().locator("thead th", has_text=title).first


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here; apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not start for root; the page is this repository's own.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report_html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, two budgets, names that are markup, and a run that failed."""
    folder = Folder(tmp_path_factory.mktemp("page"))
    for model in ("vgg6", "vgg9"):
        folder.dense(model=model)
        for share in (0.1, 0.5):
            changes: dict[str, Any] = {"budget_asked": share, "model": model}
            folder.row("random", [9, 9.5, 9.2], method="random", **changes | masks(0b11110000))
            folder.row("magnitude", [2.0, 2.1, 2.2], **changes | CURVES | masks(0b10101010))
            folder.row("other", [10.4, 10.3, 10.5], method="other", **changes)
        # Has no place on an axis of MACs: panels differ in the methods that they show.
        folder.row("gone", [90.0, 90.0, 90.0], method="gone", model=model, macs_nonzero=0)
    folder.row(SCRIPT, [4.0, 4.1, 4.2], method=SCRIPT, settings={SCRIPT: SCRIPT})
    folder.row(INPUT, [5.0, 5.1, 5.2], method=INPUT)
    folder.fail(0, f"out of memory {SCRIPT}", label="short", method="short")
    folder.render("html")
    return folder.path / "report.html"


Open = Callable[..., Seen]


@pytest.fixture(scope="module")
def table_html(report_html: Path) -> Path:
    """Table 1 of the same records, with a published row."""
    folder = report_html.parent
    theirs = read(folder / "theirs.csv", line(model="vgg9", variant=SCRIPT))
    return render_table(1, [folder], folder, ["html"], theirs)[0]


@pytest.fixture
def show(browser: Any, report_html: Path) -> Iterator[Open]:
    """Open the page with a context's settings; at the end check for errors and requests."""
    opened: list[tuple[Any, Seen, Path]] = []

    def call(path: Path = report_html, **settings: Any) -> Seen:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | settings)
        seen = Seen(context.new_page())
        opened.append((context, seen, path))
        loud = ("error", "warning")
        seen.page.on("console", lambda m: seen.said.append(m.text) if m.type in loud else None)
        seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.goto(path.as_uri())
        if path == report_html:
            seen.page.wait_for_selector("figure .chart summary[aria-label]")
        return seen

    yield call
    for context, seen, path in opened:
        assert seen.said == []
        outside = [url for url in seen.asked if not url.startswith(("data:", "blob:"))]
        assert outside == [path.as_uri()]
        assert seen.page.evaluate("window.broken") is None
        context.close()


def open_all(page: Any) -> None:
    """Open every part of the page and wait for its figures, each of which is drawn when seen."""
    page.evaluate("""() => {
      for (const part of document.querySelectorAll("main section details")) {
        part.open = !part.closest(".chart");
      }
    }""")
    page.wait_for_function("""() => {
      const drawn = document.querySelectorAll(".chart summary[aria-label]");
      return drawn.length === document.querySelectorAll(".chart").length;
    }""")


def test_a_table_is_sorted_by_click_and_by_key(show: Open) -> None:
    seen = show()
    before, head = seen.errors(), seen.head("test error")
    button = head.locator("button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    numbers = [float(text.split()[0]) for text in seen.errors()[:-1]]
    assert numbers == sorted(numbers)
    assert max(numbers) > 10 > min(numbers), "as text, 10 comes before 2"
    assert seen.errors()[-1] == "failed"
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    # Words stand after numbers in both directions.
    assert [float(text.split()[0]) for text in seen.errors()[:-1]] == numbers[::-1]
    button.press("Space")
    assert head.get_attribute("aria-sort") is None
    assert seen.errors() == before
    assert "order of the report" in seen.page.locator("#said").inner_text()


def test_each_line_keeps_its_own_budget_when_moved(show: Open) -> None:
    seen = show()
    seen.head("test error").locator("button").click()
    lines = seen.table().locator("tbody tr").all()
    cells = [line.locator("th, td").all_text_contents() for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    assert {line[0] for line in cells} == {"vgg6"}
    found = {(line[1], line[2]) for line in cells}
    assert {("10 % of params", "magnitude"), ("50 % of params", "magnitude")} <= found
    assert ("100 %", "dense") in found


def test_tables_are_filtered_by_model_method_and_budget(show: Open) -> None:
    seen = show()
    page = seen.page
    total = page.get_by_role("status").inner_text()
    assert total.endswith(" rows")
    page.get_by_label("Method contains").fill("MAGNI")
    assert set(seen.names()) == {"magnitude"}
    assert page.get_by_role("status").inner_text() == f"4 of {total}"
    page.get_by_role("combobox", name="Budget").select_option("10 % of params")
    assert seen.names() == ["magnitude"]
    page.get_by_role("combobox", name="Model").select_option("vgg9")
    assert page.locator("section[data-model=vgg6]").is_hidden()
    assert page.locator("section[data-model=vgg9]").is_visible()
    assert page.get_by_role("status").inner_text() == f"1 of {total}"
    page.get_by_role("button", name="Clear").click()
    assert page.locator("section[data-model=vgg6]").is_visible()
    assert page.get_by_role("status").inner_text() == total


def test_the_runs_of_a_row_are_a_click_or_a_key_away(show: Open) -> None:
    seen = show()
    page, dialog = seen.page, seen.page.get_by_role("dialog")
    name = page.get_by_role("button", name="magnitude, 50 % of params: its runs").first
    name.press("Enter")
    assert dialog.get_by_role("heading", level=2).inner_text() == "magnitude, 50 % of params"
    assert dialog.locator("summary").all_text_contents() == [
        "Seed 0: 2.00 %", "Seed 1: 2.10 %", "Seed 2: 2.20 %",
    ]  # fmt: skip
    dialog.locator("summary").nth(1).press("Enter")
    said = dialog.locator("details[open]").inner_text()
    for words in (
        "Run run-", "Threshold\n0.25", "A processor, 2 threads", "ssbench 0.1.0, torch 2.15.0",
        "500 of 1,000", "ssbench run exp --set 'seeds=[1]' --device cpu", "ssbench show run-",
        "training loss: 2 after the first of 8 epochs, 0.25 after the last",
    ):  # fmt: skip
        assert words in said, words
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert name.evaluate("(button) => button === document.activeElement")
    seen.table().locator("tbody td", has_text="2.10").first.click()
    assert dialog.is_visible()
    dialog.get_by_role("button", name="Close").click()
    assert dialog.is_hidden()


def test_a_failed_run_is_listed_and_shown(show: Open) -> None:
    page = show().page
    table = page.locator("table[data-failed]")
    assert "out of memory" in table.inner_text()
    table.locator("tbody button").click()
    said = page.get_by_role("dialog").locator("details[open]").inner_text()
    assert "Failed in finetune: out of memory <script>" in said
    assert "no result for seeds 0, 1 and 2" in page.locator("#failed").text_content()


def test_names_stay_text_everywhere(show: Open) -> None:
    seen = show()
    page = seen.page
    assert {SCRIPT, INPUT} <= set(seen.names())
    page.get_by_label("Method contains").fill("<script>")
    assert seen.names() == [SCRIPT]
    seen.table().locator("tbody tr:visible button").first.click()
    said = page.get_by_role("dialog").inner_text()
    assert f"{SCRIPT}={SCRIPT}" in said
    assert page.locator("main img, dialog img").count() == 0
    page.keyboard.press("Escape")
    open_all(page)


def test_a_mark_tells_its_numbers(show: Open) -> None:
    page = show().page
    page.locator(".filters").evaluate("(form) => { form.style.position = 'static'; }")
    mark = page.locator("figure .chart svg .mark-symbol.role-mark path").first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert any(name in tip.inner_text() for name in ("random", "magnitude", "other", "<script>"))


def test_a_mark_opens_its_runs(show: Open) -> None:
    page = show().page
    page.locator(".filters").evaluate("(form) => { form.style.position = 'static'; }")
    heading = page.get_by_role("dialog").get_by_role("heading", level=2)
    mark = page.locator("figure .chart svg .mark-symbol.role-mark path").first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    method = tip.locator("tr", has_text="method").locator(".value").inner_text()
    budget = tip.locator("tr", has_text="budget").locator(".value").inner_text()
    mark.click(force=True)
    assert heading.inner_text() == f"{method}, {budget}"
    assert "Seed 0" in page.get_by_role("dialog").inner_text()


def test_what_a_mark_opens_is_there_for_the_keyboard(show: Open) -> None:
    page = show().page
    open_all(page)
    dialog = page.get_by_role("dialog")
    figures = page.locator("figure:has(.chart)")
    assert figures.count() > 3
    for figure in figures.all():
        control = figure.get_by_label("Runs behind a mark")
        choices = control.locator("option").all_text_contents()
        assert choices
        assert len(set(choices)) == len(choices)
        control.select_option(label=choices[-1])
        figure.get_by_role("button", name="Show").press("Enter")
        assert dialog.get_by_role("heading", level=2).inner_text() == choices[-1]
        page.keyboard.press("Escape")


def test_a_mark_of_two_masks_opens_the_rows_of_both(show: Open) -> None:
    page = show().page
    open_all(page)
    page.locator(".filters").evaluate("(form) => { form.style.position = 'static'; }")
    dialog = page.get_by_role("dialog")
    masks = page.locator("figure", has=page.locator("[data-chart^=masks]")).first
    masks.locator("svg .mark-rect.role-mark path").first.click(force=True)
    heading = dialog.get_by_role("heading", level=2).inner_text()
    names, budget = heading.rsplit(", ", 1)
    one, other = names.split(" and ")
    assert one != other
    buttons = dialog.locator("p button").all_text_contents()
    assert buttons == [f"{name}, {budget}, vgg6" for name in (one, other)]
    dialog.get_by_role("button", name=buttons[1]).click()
    assert dialog.get_by_role("heading", level=2).inner_text() == f"{other}, {budget}"
    page.keyboard.press("Escape")
    choices = masks.locator(".behind option").all_text_contents()
    assert heading in choices
    assert f"{other} and {one}, {budget}" not in choices, "a pair is listed once"


def test_a_mark_of_many_rows_lets_choose(show: Open) -> None:
    page = show().page
    open_all(page)
    ranks = page.locator("#overall figure", has=page.locator("[data-chart=ranks]"))
    mark = ranks.locator("svg .mark-symbol.role-mark path").first
    mark.scroll_into_view_if_needed()
    mark.click(force=True)
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_role("heading", level=2).inner_text()
    dialog.get_by_role("button", name="10 % of params, vgg9").click()
    assert dialog.get_by_role("heading", level=2).inner_text() == f"{name}, 10 % of params"
    assert "Network\nvgg9" in dialog.inner_text()


def test_a_table_of_the_paper_sorts_filters_and_opens(show: Open, table_html: Path) -> None:
    seen = show(table_html)
    page = seen.page
    count = page.get_by_role("status")
    total = int(count.inner_text().split()[0])
    lines = seen.table().locator("tbody tr")
    assert lines.count() == total
    head = seen.head("test error")
    head.locator("button").click()
    errors = seen.table().locator("tbody tr td:nth-child(3)").all_text_contents()
    numbers = [float(error.split()[0]) for error in errors if error[0].isdigit()]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 5
    models = seen.table().locator("tbody tr td:first-child").all_text_contents()
    assert set(models) == {"vgg6", "vgg9", "vgg9, published"}, "no line may lose its network"
    page.get_by_role("combobox", name="Model").select_option("vgg9")
    shown = seen.table().locator("tbody tr:visible td:first-child").all_text_contents()
    assert set(shown) == {"vgg9", "vgg9, published"}
    page.get_by_label("Method contains").fill("magni")
    page.get_by_role("combobox", name="Budget").select_option("10 % of params")
    assert count.inner_text() == f"1 of {total} rows"
    seen.table().locator("tbody tr:visible button").click()
    said = page.get_by_role("dialog").inner_text()
    assert "magnitude, 10 % of params" in said
    assert "Network\nvgg9" in said
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear").click()
    assert count.inner_text() == f"{total} rows"
    assert SCRIPT in seen.table().inner_text()


def test_on_a_phone_no_figure_is_wider_than_the_page(show: Open) -> None:
    page = show(viewport={"width": 375, "height": 812}).page
    open_all(page)
    kinds = "error|sizes|pareto|cost|training|finetuning|ranks"
    ends = page.evaluate(f"""() => [...document.querySelectorAll("[data-chart]")]
      .filter((place) => /^({kinds})\\b/.test(place.dataset.chart))
      .map((place) => [place.dataset.chart, place.querySelector("svg")])
      .map(([name, drawn]) => [name, drawn.getBoundingClientRect().right])
    """)
    assert len(ends) > 5
    assert [name for name, right in ends if right > 375] == []


def test_on_paper_all_is_open_and_every_figure_is_drawn(show: Open) -> None:
    page = show(color_scheme="dark").page
    closed = page.locator("main details:not([open]):not(.chart *)")
    assert closed.count() > 0
    places = page.locator("[data-chart]").count()
    drawn = page.evaluate("""() => {
      dispatchEvent(new Event("beforeprint"));
      // Printing waits for no task, only for promises that are kept at once.
      return Promise.resolve().then(async () => {
        for (let turn = 0; turn < 1000; turn++) await undefined;
        return [...document.querySelectorAll(".paper svg")].map((one) => one.outerHTML);
      });
    }""")
    assert len(drawn) == places > 10
    assert all("#1a1b1c" in one and "#e4e6e8" not in one for one in drawn), "paper is light"
    assert closed.count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator(".filters").is_hidden()
    assert page.locator(".chart:visible").count() == 0
    assert page.locator(".paper:visible").count() == places
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    scroll = page.locator(".scroll").first
    assert scroll.evaluate("(e) => getComputedStyle(e).overflowX") == "visible"
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert closed.count() > 0
    assert page.locator(".paper").count() == 0


def test_a_printed_page_holds_every_figure_and_its_heads(show: Open, tmp_path: Path) -> None:
    tool = shutil.which("pdftotext")
    if tool is None:
        pytest.skip("no pdftotext here; apt-get install poppler-utils")
    path = tmp_path / "page.pdf"
    show(color_scheme="dark").page.pdf(path=path, format="A4")
    said = subprocess.run(
        [tool, "-layout", path, "-"], capture_output=True, check=True, text=True
    ).stdout
    for words in ("MACs of nonzero weights, one image", "average rank (1 is best)",
                  "epoch, all stages", "time of training and pruning (s)",
                  "What cannot be concluded"):  # fmt: skip
        assert words in said, words


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_but_tables_and_figures_scrolls_on_a_phone(show: Open, scheme: str) -> None:
    seen = show(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = seen.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = seen.table().locator("..")
    assert box.evaluate("(box) => box.scrollWidth > box.clientWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}[scheme]
    seen.table().locator("tbody button").first.click()
    assert page.get_by_role("dialog").evaluate("(box) => box.scrollWidth <= box.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which is installed for the occasion and is no part of the project."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here to install axe-core with")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "axe-core@4"]
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install axe-core within two minutes")
    if ended.returncode:
        pytest.skip(f"npm cannot install axe-core: {ended.stderr.decode(errors='replace')[:200]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def serious(page: Any) -> list[str]:
    """What axe-core finds that is serious or critical, with the elements."""
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {[node['html'][:120] for node in rule['nodes'][:3]]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(show: Open, axe: str, scheme: str) -> None:
    page = show(color_scheme=scheme).page
    page.evaluate(axe)
    assert serious(page) == []
    open_all(page)
    assert serious(page) == []
    page.locator("table[data-rows] tbody button").first.evaluate("(button) => button.click()")
    page.get_by_role("dialog").locator("summary").first.click()
    assert serious(page) == []


def test_the_check_itself_finds_what_is_serious(show: Open, axe: str) -> None:
    page = show().page
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<input>')")
    page.evaluate(axe)
    assert any(found.startswith("label") for found in serious(page))
