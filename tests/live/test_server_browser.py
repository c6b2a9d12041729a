"""The live page in a real browser without a window, while a real Ray run goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clsweep.reporting.ledger import looks
from tests.support.command_line import tiny_study
from tests.support.live_pages import finish, served
from tests.support.study_folders import DiskFolder

pytestmark = pytest.mark.browser

PATIENCE_SECONDS = 300
COUNTS = """return [Number(document.getElementById('bar').value),
    document.querySelectorAll('#fronts path.point').length,
    !document.getElementById('done').hidden]"""


@pytest.fixture
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1240,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def wait(browser: Any, script: str, *arguments: Any) -> Any:
    """Until a script returns something true; returns it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := browser.execute_script(script, *arguments)):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.1)
    return found


def test_the_page_follows_a_run_on_ray_to_its_report(browser: Any, tmp_path: Path) -> None:
    study = tiny_study(tmp_path, seeds=2, steps=3000, lam="[0.1, 1.0, 10.0, 100.0, 1000.0]")
    out = tmp_path / "results"
    command = ["run", str(study), "--out", str(out), "--workers", "1", "--quiet"]
    run = subprocess.Popen([sys.executable, "-m", "clsweep", *command])
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not (out / "study.toml").exists():
            assert time.monotonic() < end
            time.sleep(0.1)
        with served(out) as server:
            browser.get(server.server.url)
            assert "token" not in browser.current_url
            browser.execute_script("window.isSame = true")
            seen = []
            while not (seen and seen[-1][2]):
                assert time.monotonic() < end + PATIENCE_SECONDS
                seen.append(browser.execute_script(COUNTS))
                time.sleep(0.2)
            assert browser.execute_script("return window.isSame")  # it was never loaded again
            n_done = sorted({n for n, _, _ in seen})
            assert n_done[-1] == 12
            assert len(n_done) > 3, "the page did not follow the run"
            n_points = [n for _, n, _ in seen]
            assert n_points[0] < n_points[-1]
            assert looks(out) == ()
            href = browser.execute_script("return document.getElementById('report').href")
            browser.get(href)
            wait(browser, "return document.body?.dataset.ready === 'yes'")
            assert len(looks(out)) == 1
        assert run.wait(PATIENCE_SECONDS) == 0
    finally:
        run.kill()
    log = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert log == []


def test_a_wrong_token_is_refused_and_lists_are_searched_with_the_keyboard(
    browser: Any, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    disk = DiskFolder(tmp_path / "out")
    finish(disk, 1, validation=(0.6, 0.8))
    disk.end(2, status="failed", message="<img src=x onerror=alert(1)> and a fault")
    with served(disk.place) as server:
        url = server.server.url
        browser.get(f"{url}x")
        assert "needs its token" in browser.execute_script("return document.body.innerText")
        assert "tiny" not in browser.page_source
        browser.get(url.partition("?")[0])
        assert "needs its token" in browser.execute_script("return document.body.innerText")
        browser.get(url)
        rows = "return document.querySelectorAll('#trials tbody tr').length"
        wait(browser, f"{rows} === 8")
        # What a trial says is text.
        assert "<img src=x" in wait(browser, "return document.querySelector('.message').innerText")
        assert (
            browser.execute_script("return document.querySelectorAll('#trials img').length") == 0
        )
        browser.find_element("id", "text").send_keys("lam = 1, seed 0")
        wait(browser, f"{rows} === 1")
        browser.find_element("id", "text").send_keys(Keys.CONTROL, "a")
        browser.find_element("id", "text").send_keys(Keys.DELETE)
        wait(browser, f"{rows} === 8")
        heading = browser.find_element("css selector", "th[data-sort=average] button")
        heading.send_keys(Keys.ENTER)
        first = "return document.querySelector('#trials tbody td.number:nth-child(5)').innerText"
        wait(browser, f"{first} === '70.0'")
        assert heading.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    disk.store.close()
    refused = [line for line in browser.get_log("browser") if "403" not in line["message"]]
    assert refused == []


def test_an_address_of_no_folder_and_filters_of_another(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.support.select import Select

    one, other = DiskFolder(tmp_path / "one"), DiskFolder(tmp_path / "other")
    with served(one.place, other.place) as server:
        url = server.server.url
        browser.get(url)
        browser.get(f"{url.partition('?')[0]}live?sweep=9")
        rows = "return document.querySelectorAll('#trials tbody tr').length"
        wait(browser, f"{rows} === 8")
        assert "sweep=" not in browser.current_url
        Select(browser.find_element("id", "label")).select_by_index(1)
        wait(browser, f"{rows} === 2")
        browser.find_elements("css selector", "#folders button")[1].click()
        wait(browser, f"{rows} === 8")
        shown = "return ['text', 'state', 'label'].map((id) => document.getElementById(id).value)"
        assert browser.execute_script(shown) == ["", "", ""]
    one.store.close()
    other.store.close()
