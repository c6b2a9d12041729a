"""The page in a real browser without a window: Chromium, driven by selenium."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from clsweep.reporting.render.page import page_of
from clsweep.reporting.report_data import ReportData, build
from tests.reporting.render.test_page import HOSTILE, choices, relabelled
from tests.support.records import make_study, write_study

pytestmark = pytest.mark.browser

PATIENCE_SECONDS = 300


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    records = make_study(("EWC", "MAS"), n_values=5)
    records += [relabelled(r) for r in make_study(("LwF",), n_values=5, references=())]
    return build(write_study(tmp_path_factory.mktemp("browser") / "results", records))


@pytest.fixture(scope="module")
def browser(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1240,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # A busy machine needs minutes for what takes a second elsewhere.
    options.page_load_strategy = "none"
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_script_timeout(PATIENCE_SECONDS)
    page = tmp_path_factory.mktemp("browser") / "report.html"
    page.write_bytes(page_of(data).encode())
    opened.get(page.as_uri())
    wait(opened, "return document.body?.dataset.ready === 'yes'")
    yield opened
    opened.quit()


def wait(browser: Any, script: str, *arguments: Any) -> None:
    """Until a script returns something true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not browser.execute_script(script, *arguments):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.2)


ROWS = """return [...document.querySelectorAll('#at-required tbody tr')]
    .map(row => [...row.cells].map(cell => cell.textContent))"""
SLIDE = """const slider = document.getElementById('required');
    slider.value = arguments[0]; slider.dispatchEvent(new Event('input'));
    return Number(slider.value)"""


def test_no_error_and_nothing_fetched(browser: Any) -> None:
    assert browser.get_log("browser") == []
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []


def test_figures_are_drawn(browser: Any, data: ReportData) -> None:
    n_points = browser.execute_script("return document.querySelectorAll('#fronts .point').length")
    drawn = sum(len(c.points) for c in data.comparison.curves) + len(data.comparison.references)
    drawn += data.comparison.source_end is not None
    # Two rings per curve: the best average, and the choice at the required target.
    assert n_points == drawn + 2 * len(data.comparison.curves)
    assert browser.execute_script("return document.querySelectorAll('#responses .point').length")
    assert browser.execute_script("return document.querySelectorAll('#matrices .hm image').length")


def test_slider_changes_the_table_to_what_python_chooses(browser: Any, data: ReportData) -> None:
    from clsweep.reporting.render.page import page_values

    values = page_values(data)
    seen = []
    for wish in (75.0, 92.5, 100.0):
        # The slider ends just above what any method reaches.
        required = browser.execute_script(SLIDE, wish)
        assert required == pytest.approx(wish, abs=0.051) or wish == 100.0
        rows = browser.execute_script(ROWS)
        wanted = choices(values, required)
        for label, configuration, source, _ in rows:
            index = wanted[label]
            curve = next(c for c in values["curves"] if c["label"] == label)
            expected = "–" if index is None else curve["points"][index]["configuration"]
            assert configuration == expected
            assert (source == "not reached") == (index is None)
        assert [row[0] for row in rows] == list(wanted)
        seen.append(rows)
    assert seen[0] != seen[1] != seen[2]
    assert {row[2] for row in seen[2]} == {"not reached"}
    line = browser.execute_script("return document.getElementById('fronts').layout.shapes[0].y0")
    assert line == required


def test_mark_gives_the_printed_requirement(browser: Any, data: ReportData) -> None:
    browser.execute_script("document.querySelectorAll('#marks button')[1].click()")
    requirement = data.comparison.requirements[1]
    chosen = browser.execute_script(ROWS)
    for curve, row in zip(data.comparison.curves, chosen, strict=True):
        index = requirement.chosen[curve.label]
        assert index is not None
        assert row[2].startswith(f"{100 * curve.points[index].mean('test')[0]:.1f}")


def test_hover_shows_configuration_and_seeds(browser: Any, data: ReportData) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    plot = browser.find_element(By.ID, "fronts")
    curve = next(curve for curve in data.comparison.curves if curve.label == "EWC")
    assert curve.best is not None
    x, y = (float(v) for v in 100 * curve.points[curve.best].mean("test"))
    # In the window's own coordinates: an offset from an element counts from the middle of what is
    # in view of it, and the figure may reach beyond the window's lower edge.
    place = """const plot = arguments[0], l = plot._fullLayout;
        plot.scrollIntoView({block: 'center', behavior: 'instant'});
        const box = plot.getBoundingClientRect();
        return [box.x + l.xaxis.d2p(arguments[1]) + l._size.l,
                box.y + l.yaxis.d2p(arguments[2]) + l._size.t]"""
    right, down = map(round, browser.execute_script(place, plot, x, y))
    text = "return [...document.querySelectorAll('#fronts .hovertext')].map(e => e.textContent)"
    end = time.monotonic() + PATIENCE_SECONDS
    shown: list[str] = []
    while not shown and time.monotonic() < end:
        # A pointer that stands still says nothing.
        for step in (1, 0):
            actions = ActionChains(browser)
            actions.w3c_actions.pointer_action.move_to_location(right + step, down)
            actions.perform()
        time.sleep(0.5)
        shown = browser.execute_script(text)
    assert "EWC" in shown[0]
    assert "λ=10000" in shown[0]
    assert "seed 2" in shown[0]


def test_method_that_is_switched_off_leaves_the_table(browser: Any, data: ReportData) -> None:
    place = [curve.label for curve in data.comparison.curves].index("EWC")
    switch = """const plot = document.getElementById('fronts');
        const of = plot.data.map((t, i) => [t.meta, i]).filter(([m]) => m === arguments[1]);
        return Plotly.restyle(plot, {visible: arguments[0]}, of.map(([, i]) => i)).then(() => 1)"""
    hidden = """return [...document.querySelectorAll('#at-required tbody tr.off')]
        .map(row => row.cells[0].textContent)"""
    browser.execute_script(switch, "legendonly", place)
    assert browser.execute_script(hidden) == ["EWC"]
    browser.execute_script(switch, True, place)
    assert browser.execute_script(hidden) == []


def test_tables_sort_up_down_and_back(browser: Any) -> None:
    click = "document.querySelector('#table-0 thead th:nth-child(3)').click()"
    column = """return [...document.querySelectorAll('#table-0 tbody tr')]
        .map(row => row.cells[2].textContent)"""
    first = browser.execute_script(column)
    means = [float(text.split(" ± ")[0]) for text in first if text != "–"]
    orders = []
    for _ in range(3):
        browser.execute_script(click)
        orders.append(browser.execute_script(column))
    shown = [[float(t.split(" ± ")[0]) for t in order if t != "–"] for order in orders]
    assert shown == [sorted(means), sorted(means, reverse=True), means]
    assert sorted(means) != means
    n_without = first.count("–")
    assert n_without, "a row has no number"
    for order in orders[:2]:
        assert order[-n_without:] == ["–"] * n_without, "such rows come last, up and down"


def test_hostile_label_is_shown_letter_by_letter(browser: Any) -> None:
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert any(row[0] == HOSTILE for row in browser.execute_script(ROWS))
    legend = browser.execute_script(
        "return [...document.querySelectorAll('#fronts .legendtext')].map(e => e.textContent)"
    )
    assert any("<img src=x onerror=" in text for text in legend)
