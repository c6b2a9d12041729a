"""The page in a real browser without a window: Chromium, driven by selenium."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clsweep.reporting.render.page import LiveSection, page_of
from clsweep.reporting.render.page_values import page_values
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from tests.reporting.render.test_page import HOSTILE, choices, curves_of, relabelled
from tests.support.records import make_study, write_study

pytestmark = pytest.mark.browser

PATIENCE_SECONDS = 60
WIDE, PHONE = (1400, 1000), (400, 800)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    records = make_study(("EWC", "MAS"), n_values=5, n_seeds=6)
    records += [relabelled(r) for r in make_study(("LwF",), n_values=5, n_seeds=6, references=())]
    return build(write_study(tmp_path_factory.mktemp("browser") / "results", records))


@pytest.fixture(scope="module")
def folder(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page, to which the browser saves files."""
    made = tmp_path_factory.mktemp("page")
    (made / "report.html").write_text(page_of(data), encoding="utf-8")
    live = LiveSection('<p id="now">12 of 40</p>')
    (made / "served.html").write_text(page_of(data, live=live), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    downloads = {"download.default_directory": str(folder)}
    # A script that presses several buttons is otherwise asked whether it may.
    downloads |= {"profile.default_content_setting_values.automatic_downloads": 1}
    options.add_experimental_option("prefs", downloads)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # A busy machine needs minutes for what takes a second elsewhere.
    options.page_load_strategy = "none"
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_script_timeout(PATIENCE_SECONDS)
    yield browser
    browser.quit()


@pytest.fixture
def browser(opened: Any, folder: Path) -> Any:
    load(opened, folder / "report.html")
    return opened


def load(browser: Any, page: Path, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
    wide, high = size
    screen = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    # Another page first, so that the one that was there is not taken for the new one.
    browser.get("about:blank")
    wait(browser, "return location.href === 'about:blank'")
    browser.get(page.as_uri())
    wait(browser, "return location.protocol === 'file:' && document.body?.dataset.ready")


def wait(browser: Any, script: str, *arguments: Any) -> Any:
    """Until a script returns something true, which is returned."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := browser.execute_script(script, *arguments)):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.1)
    return found


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def count(browser: Any, selector: str) -> int:
    return browser.execute_script(
        "return document.querySelectorAll(arguments[0]).length", selector
    )


def focus(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).focus()", selector)


ROWS = """return [...document.querySelectorAll('#at-required tbody tr')]
    .map(row => [...row.cells].map(cell => cell.textContent))"""
SLIDE = """const slider = document.getElementById('required');
    slider.value = arguments[0]; slider.dispatchEvent(new Event('input'));
    return Number(slider.value)"""
TIP = (
    "return document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText"
)
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


class TestFigures:
    def test_no_error_and_nothing_is_fetched(self, browser: Any) -> None:
        assert browser.get_log("browser") == []
        loaded = browser.execute_script(
            "return performance.getEntriesByType('resource').map(entry => entry.name)"
        )
        assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []

    def test_every_point_front_ring_and_square_is_drawn(
        self, browser: Any, data: ReportData
    ) -> None:
        if count(browser, "#view-control:not([hidden])"):
            browser.execute_script("document.querySelector('[value=everything]').click()")
        curves = data.comparison.curves
        drawn = sum(len(c.points) for c in curves) + len(data.comparison.references)
        drawn += data.comparison.source_end is not None
        assert count(browser, "#fronts-plot .point") == drawn
        assert count(browser, "#fronts-plot path.line") == len(curves)
        n_on_front = sum(int(curve.on_front.sum()) for curve in curves)
        assert count(browser, "#fronts-plot path.bar") == 2 * n_on_front
        assert count(browser, "#fronts-plot .ring") == len(curves)
        assert count(browser, "#knobs-plots .panel") == len(curves)
        assert count(browser, ".matrix") == len(data.details.matrices)

    def test_slider_chooses_as_python_does(self, browser: Any, data: ReportData) -> None:
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
                curve = next(c for c in curves_of(values) if c["label"] == label)
                expected = "–" if index is None else curve["points"][index]["text"]
                assert configuration == expected
                assert (source == "not reached") == (index is None)
            assert [row[0] for row in rows] == list(wanted)
            seen.append(rows)
        assert seen[0] != seen[1] != seen[2]
        assert {row[2] for row in seen[2]} == {"not reached"}
        assert count(browser, "#fronts-plot .square") == 0

    def test_mark_gives_the_printed_requirement(self, browser: Any, data: ReportData) -> None:
        browser.execute_script("document.querySelectorAll('#requirements button')[1].click()")
        requirement = data.comparison.requirements[1]
        chosen = browser.execute_script(ROWS)
        for curve, row in zip(data.comparison.curves, chosen, strict=True):
            index = requirement.chosen[curve.label]
            assert index is not None
            assert row[2].startswith(f"{100 * curve.points[index].mean('test')[0]:.1f}")

    def test_hover_says_configuration_and_seeds(self, browser: Any, data: ReportData) -> None:
        from selenium.webdriver import ActionChains

        place = """const box = document.querySelector('#knobs-plots .s1 .point')
            .getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"""
        scroll = """document.getElementById('knobs-plots')
            .scrollIntoView({behavior: 'instant', block: 'center'})"""
        browser.execute_script(scroll)
        right, down = map(round, browser.execute_script(place))
        for step in (1, 0):  # a pointer that stands still says nothing
            actions = ActionChains(browser)
            actions.w3c_actions.pointer_action.move_to_location(right + step, down)
            actions.perform()
        lines = wait(browser, TIP).splitlines()
        assert lines[0] == "EWC"
        assert lines[1].startswith("λ=")
        assert lines[2].startswith("test: source ")
        assert lines[3].startswith("validation: source ")
        assert lines[-1].startswith("seed 5: ")
        assert count(browser, "#knobs-plots .active-ring") == 2, "source and target of its panel"
        assert count(browser, "#fronts-plot .active-ring") == 1, "the same configuration"

    def test_keys_go_from_point_to_point_and_are_spoken(self, browser: Any) -> None:
        from selenium.webdriver import Keys

        focus(browser, "#fronts-plot")
        said = []
        for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_DOWN):
            press(browser, key)
            said.append(browser.execute_script("return spoken.textContent"))
        assert said[0].startswith(f"{HOSTILE}. λ=")
        assert said[1].startswith(f"{HOSTILE}. λ=")
        assert said[0] != said[1]
        assert said[2].startswith("EWC. λ=")
        assert browser.execute_script(TIP).startswith("EWC")
        press(browser, Keys.ESCAPE)
        assert browser.execute_script(TIP) == ""

    def test_method_that_is_switched_off_leaves_figures_and_table(self, browser: Any) -> None:
        from selenium.webdriver import Keys

        shown = """return [...document.querySelectorAll('#at-required tbody tr:not(.off)')]
            .map(row => row.cells[0].textContent)"""
        focus(browser, "#legend button")
        press(browser, Keys.SPACE)
        pressed = "return document.querySelector('#legend button').ariaPressed"
        assert browser.execute_script(pressed) == "false"
        assert browser.execute_script(shown) == ["EWC", "MAS"]
        assert count(browser, "#fronts-plot .s0") == count(browser, "#knobs-plots .s0") == 0
        press(browser, Keys.SPACE)
        assert browser.execute_script(shown) == [HOSTILE, "EWC", "MAS"]

    def test_other_values_are_drawn_and_a_choice_of_the_reader_stays(self, browser: Any) -> None:
        browser.execute_script(SLIDE, 80.0)
        browser.execute_script(
            """const values = JSON.parse(document.getElementById('values').textContent);
            values.series[0].points = values.series[0].points.slice(0, 2);
            values.series[0].front = [0];
            values.picks.forEach((pick) => { pick.chosen[values.series[0].label] = 0; });
            values.series[0].knob.lines = [[0, 1]];
            clsweepPage.show(values)"""
        )
        assert count(browser, "#knobs-plots .panel:first-child .drawn .point") == 4
        assert browser.execute_script("return Number(required.value)") == pytest.approx(80.0)


class TestTables:
    COLUMN = """return [...document.querySelectorAll('#numbers-table tbody tr')]
        .map(row => row.cells[2].textContent)"""

    def test_sort_by_click_and_key_up_down_and_back(self, browser: Any) -> None:
        from selenium.webdriver import Keys

        first = browser.execute_script(self.COLUMN)
        button = "#numbers-table thead tr:nth-child(2) th:nth-child(3) button"
        orders = []
        focus(browser, button)
        for how in ("click", "enter", "space"):
            if how == "click":
                browser.execute_script("document.querySelector(arguments[0]).click()", button)
            else:
                press(browser, Keys.ENTER if how == "enter" else Keys.SPACE)
            orders.append(browser.execute_script(self.COLUMN))
        means = [float(text.split(" ± ")[0]) for text in first if text != "–"]
        shown = [[float(t.split(" ± ")[0]) for t in order if t != "–"] for order in orders]
        assert shown == [sorted(means), sorted(means, reverse=True), means]
        assert sorted(means) != means
        n_without = first.count("–")
        assert n_without, "a row has no number"
        for order in orders[:2]:
            assert order[-n_without:] == ["–"] * n_without, "such rows come last, up and down"

    def test_boxes_show_columns_and_what_they_mean(self, browser: Any) -> None:
        def shown() -> int:
            return count(browser, "#numbers-table tbody tr:first-child > :not([hidden])")

        before = shown()
        assert not browser.execute_script(
            "return document.querySelector('#numbers [data-group=transfer]').checked"
        )
        caption = "#numbers .captions [data-group=transfer]:not([hidden])"
        assert count(browser, caption) == 0
        browser.execute_script("document.querySelector('#numbers [data-group=transfer]').click()")
        assert shown() == before + 4
        assert count(browser, caption) == 1

    def test_matrix_of_pairs_colours_claims_of_the_measure_that_is_picked(
        self, browser: Any, data: ReportData
    ) -> None:
        assert count(browser, "[data-measure]:not([hidden])") == 1
        claims = [pair for pair in data.judgement.average_pairs if pair.is_claim]
        assert claims
        coloured = "[data-measure=average]:not([hidden]) [class^=claim]"
        assert count(browser, coloured) == 2 * len(claims)
        browser.execute_script("document.querySelector('[value=hypervolume]').click()")
        assert count(browser, "[data-measure=average]:not([hidden])") == 0
        assert count(browser, "[data-measure=hypervolume]:not([hidden])") == 1

    def test_all_points_are_a_table_too(self, browser: Any, data: ReportData) -> None:
        browser.execute_script("document.querySelector('#points-details summary').click()")
        n = sum(len(series["points"]) for series in page_values(data)["series"])
        selector = "return document.querySelectorAll('#points tbody tr').length === arguments[0]"
        wait(browser, selector, n)

    def test_hostile_label_is_shown_letter_by_letter(self, browser: Any) -> None:
        assert count(browser, "img") == 0
        assert any(row[0] == HOSTILE for row in browser.execute_script(ROWS))
        assert HOSTILE in browser.execute_script(
            "return [...document.querySelectorAll('#legend button')].map(e => e.textContent)"
        )


class TestReader:
    def test_terms_are_explained_on_focus_and_on_hover(self, browser: Any) -> None:
        from selenium.webdriver import ActionChains, Keys
        from selenium.webdriver.common.by import By

        focus(browser, "#theme")
        for _ in range(40):
            press(browser, Keys.TAB)
            if browser.execute_script("return document.activeElement.matches('a.term')"):
                break
        entry = "return document.getElementById(document.activeElement.hash.slice(1)).textContent"
        assert browser.execute_script(entry) in wait(browser, TIP)
        press(browser, Keys.ESCAPE)
        assert browser.execute_script(TIP) == ""
        heading = browser.find_element(By.CSS_SELECTOR, "#at-required [data-explains=target]")
        browser.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", heading
        )
        end = time.monotonic() + PATIENCE_SECONDS
        while "The last task" not in browser.execute_script(TIP):
            assert time.monotonic() < end, "nothing is explained"
            # What scrolls hides an explanation, and a pointer that stands still shows none.
            ActionChains(browser).move_by_offset(0, -60).move_to_element(heading).perform()
            time.sleep(0.1)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_colours_follow_the_system_and_the_switch(
        self, opened: Any, folder: Path, scheme: str
    ) -> None:
        load(opened, folder / "report.html", scheme=scheme)
        ground = "return getComputedStyle(document.body).backgroundColor"
        light, dark = "rgb(255, 255, 255)", "rgb(20, 23, 27)"
        opened.execute_script("localStorage.clear()")
        load(opened, folder / "report.html", scheme=scheme)
        assert opened.execute_script(ground) == (light if scheme == "light" else dark)
        opened.execute_script("theme.click()")
        assert opened.execute_script(ground) == light
        opened.execute_script("theme.click()")
        assert opened.execute_script(ground) == dark
        load(opened, folder / "report.html", scheme=scheme)
        assert opened.execute_script(ground) == dark, "what was chosen stays"
        opened.execute_script("localStorage.clear()")

    @pytest.mark.parametrize("name", ["report.html", "served.html"])
    def test_a_phone_scrolls_down_only(self, opened: Any, folder: Path, name: str) -> None:
        load(opened, folder / name, PHONE)
        opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        opened.execute_script(
            "document.querySelectorAll('[data-all]').forEach(button => button.click())"
        )
        assert opened.execute_script(OVERFLOW) == 0
        assert opened.execute_script("return document.documentElement.clientWidth") == PHONE[0]
        assert opened.get_log("browser") == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", [WIDE, PHONE])
    @pytest.mark.parametrize("name", ["report.html", "served.html"])
    def test_axe_finds_no_barrier(
        self, opened: Any, folder: Path, axe: str, name: str, size: tuple[int, int], scheme: str
    ) -> None:
        load(opened, folder / name, size, scheme)
        # The page's own policy lets no script of others in; the driver may.
        opened.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
        opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        opened.execute_script(
            "document.querySelectorAll('[data-all]').forEach(button => button.click())"
        )
        found = opened.execute_async_script(
            """const done = arguments[arguments.length - 1];
            axe.run().then((r) => done({passes: r.passes.length, violations: r.violations.map(
                (v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 200)).join(' ')}`)}))"""
        )
        assert found["violations"] == []
        assert found["passes"] > 20


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, to fetch axe-core")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(
        [npm, "pack", "axe-core@4"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    if packed.returncode:
        pytest.skip(f"axe-core cannot be fetched: {packed.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("axe-core-*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def saved(browser: Any, folder: Path, button: str, name: str) -> bytes:
    path = folder / name
    path.unlink(missing_ok=True)
    browser.execute_script("document.querySelector(arguments[0]).click()", button)
    end = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < end, f"{name} is never saved, only {[*folder.iterdir()]}"
        time.sleep(0.1)
    return path.read_bytes()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


class TestSaving:
    def test_figures_are_saved_as_svg_in_light_colours(self, opened: Any, folder: Path) -> None:
        load(opened, folder / "report.html", scheme="dark")
        wide = opened.execute_script(
            "return document.querySelector('#fronts-plot svg').clientWidth"
        )
        for button, name in (("#save-fronts", "fronts"), ("#save-knobs", "knobs")):
            text = saved(opened, folder, button, f"synthetic_{name}.svg").decode()
            root = ElementTree.fromstring(text)
            kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
            assert kinds <= {"svg", "g", "path", "rect", "text", "clipPath", "circle"}
            assert "var(" not in text
            assert "class=" not in text
            assert 'stroke="rgb(0, 114, 178)"' in text, "the blue of the first method"
            words = [element.text for element in root.iter() if element.text]
            assert "EWC" in words
            if name == "fronts":
                assert int(root.attrib["width"]) == wide
                assert any("standard error of 6 seeds" in word for word in words)
                assert any(word.startswith("synthetic: ") for word in words)
        dark = "return getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 27)'"
        assert opened.execute_script(dark), "the page stays dark"
        assert opened.get_log("browser") == []

    def test_points_and_pairs_are_saved_as_csv(
        self, browser: Any, folder: Path, data: ReportData
    ) -> None:
        rows = rows_of(saved(browser, folder, "#save-points", "synthetic_points.csv"))
        curve = next(curve for curve in data.comparison.curves if curve.label == "EWC")
        own = [row for row in rows if row["method"] == "EWC"]
        for point, row in zip(curve.points, own, strict=True):
            assert float(row["test_source"]) == pytest.approx(
                100 * point.mean("test")[0], abs=6e-4
            )
            assert float(row["target_seed_5"]) == pytest.approx(
                100 * point.test_S2[5, 1], abs=0.006
            )
        assert [row["chosen"] for row in own].index("true") == curve.best
        assert any(row["method"] == HOSTILE for row in rows)
        pairs = rows_of(saved(browser, folder, "#save-pairs", "synthetic_pairs.csv"))
        first = data.judgement.average_pairs[0]
        assert (pairs[0]["above"], pairs[0]["below"]) == (first.above, first.below)
        assert float(pairs[0]["low"]) == pytest.approx(100 * first.interval.low)
        assert pairs[0]["is_claim"] == str(first.is_claim).lower()

    def test_a_table_is_saved_with_the_columns_that_are_shown(
        self, browser: Any, folder: Path, data: ReportData
    ) -> None:
        button = "button[data-csv=numbers-table]"
        rows = rows_of(saved(browser, folder, button, "synthetic_numbers.csv"))
        curve = next(curve for curve in data.comparison.curves if curve.label == "EWC")
        assert curve.best is not None
        (row,) = (one for one in rows if one["method"] == "EWC")
        average = 100 * curve.points[curve.best].measures["average_accuracy"].mean()
        name = "best average accuracy (%): average"
        assert float(row[name]) == pytest.approx(average, abs=0.051)
        assert float(row[f"{name} error"]) > 0
        assert row[name] == f"{average:.1f}", "as it is printed"
        assert not any("backward" in name for name in row)
