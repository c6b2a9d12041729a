"""What the server answers over HTTP: to whom, with which headers, and that it writes nothing."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from clsweep.errors import StoreError
from clsweep.live.report_pages import ReportPages
from clsweep.live.server import PORT, LiveServer, opened_server
from clsweep.live.watched_sweep import WatchedSweep
from clsweep.reporting import results_reader
from clsweep.reporting.ledger import LEDGER, looks
from clsweep.reporting.results import Results
from clsweep.reporting.results_reader import read
from clsweep.study.study import parse_study
from tests.support.command_line import TINY, CommandLine
from tests.support.live_pages import Browser, finish, served
from tests.support.study_folders import DiskFolder

# Every address of a server of one folder but the report's.
ADDRESSES = (
    "/",
    "/live",
    "/live.js",
    "/live.css",
    "/svg.js",
    "/page.css",
    "/data/sweeps",
    "/data/0",
    "/data/0/trials",
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskFolder]:
    made = DiskFolder(tmp_path / "out")
    yield made
    made.store.close()


@pytest.fixture
def browser(disk: DiskFolder) -> Iterator[Browser]:
    with served(disk.place) as found:
        yield found


def done(folder: DiskFolder) -> None:
    """Let all trials of the folder end, and the run with them."""
    for index in range(4):
        for seed in (0, 1):
            finish(folder, index, seed, validation=(0.9 - 0.1 * index, 0.8))
    folder.store.compact()
    folder.store.close()


def test_nothing_is_shown_without_the_token(disk: DiskFolder, browser: Browser) -> None:
    for path in (*ADDRESSES, "/report/0", "/elsewhere", "/?token=", "/data/0?token=x"):
        got = browser.ask(path)
        assert got.status == 403, path
        assert b"clsweep serve" in got.body
        assert b"curl -L -c jar -b jar 'ADDRESS'" in got.body
        assert b"tiny" not in got.body
        assert "Set-Cookie" not in got.headers
    browser.enter()
    assert browser.token not in browser.cookie
    assert browser.ask("/data/0").value["study"] == "tiny"
    got = browser.ask(f"/data/0?token={browser.token}x")
    assert (got.status, b"not that of this server" in got.body) == (403, True)


def test_a_name_of_somebody_else_is_refused_before_the_token(browser: Browser) -> None:
    browser.enter()
    got = browser.ask("/data/0", Host="evil.example")
    assert got.status == 421
    got = browser.ask(f"/?token={browser.token}", Host="evil.example")
    assert (got.status, "Set-Cookie" in got.headers) == (421, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_answers_get_and_head_alone(browser: Browser, method: str) -> None:
    got = browser.enter().ask("/data/0", method)
    assert (got.status, got.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_and_no_body(browser: Browser) -> None:
    browser.enter()
    full, head = browser.ask("/live"), browser.ask("/live", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(full.body))


def test_headers_of_every_answer(browser: Browser) -> None:
    browser.enter()
    for path in (*ADDRESSES, "/nothing", f"/?token={browser.token}", "/?token=wrong"):
        headers = browser.ask(path).headers
        assert headers["Referrer-Policy"] == "no-referrer", path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Python" not in headers["Server"]
        assert "Access-Control-Allow-Origin" not in headers
    policy = browser.ask("/live").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_an_unchanged_folder_costs_no_body(disk: DiskFolder, browser: Browser) -> None:
    browser.enter()
    for path in ("/data/sweeps", "/data/0", "/data/0/trials"):
        first = browser.ask(path)
        again = browser.ask(path, If_None_Match=first.headers["ETag"])
        assert (again.status, again.body) == (304, b""), path
    tag = browser.ask("/data/0").headers["ETag"]
    disk.start(1)
    assert browser.ask("/data/0", If_None_Match=tag).status == 200
    packed = browser.ask("/live.js", Accept_Encoding="gzip")
    assert gzip.decompress(packed.body) == browser.ask("/live.js").body


def test_what_is_no_address_of_ours_leads_nowhere(browser: Browser) -> None:
    browser.enter()
    for path in (
        "/data/1",
        "/data/x",
        "/data/0/../../etc/passwd",
        "/web/live.js",
        "/live.py",
        "/report/-1",
        "//[",
        "/%2e%2e/study.toml",
    ):
        assert browser.ask(path).status == 404, path
    with socket.create_connection(("127.0.0.1", browser.server.port)) as line:
        line.sendall(b"GET / / HTTP/1.1\r\n\r\n")
        assert b" 400 " in line.recv(1000)


def test_nothing_is_written_down_of_a_request(
    browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("/?token=wrong", f"/?token={browser.token}"):
        browser.ask(path)
    assert capsys.readouterr() == ("", "")


def test_it_writes_nothing_while_trials_are_to_come(disk: DiskFolder, browser: Browser) -> None:
    finish(disk, 0)
    finish(disk, 1)
    disk.store.compact()
    finish(disk, 2)
    disk.start(3)
    (disk.place / "records" / "damaged-0.json").write_text("no record")
    before = disk.everything()
    browser.enter()
    for path in (*ADDRESSES, "/report/0"):
        browser.ask(path)
    assert disk.everything() == before
    assert browser.ask("/report/0").headers["Location"] == "../live"


def test_a_folder_that_may_not_be_written_is_served(disk: DiskFolder, tmp_path: Path) -> None:
    done(disk)
    folders = [disk.place, *(path for path in disk.place.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    disk.place.joinpath(".lock").chmod(0o444)
    try:
        with served(disk.place) as browser:
            browser.enter()
            assert browser.ask("/").headers["Location"] == "report/0"
            assert browser.ask("/data/0").value["n_done"] == 8
            assert b"<h1>" in browser.ask("/report/0").body
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_the_report_is_shown_when_all_is_done_and_counts_as_a_test_look(
    disk: DiskFolder, browser: Browser
) -> None:
    browser.enter()
    assert browser.ask("/").headers["Location"] == "live"
    done(disk)
    before = disk.everything()
    assert browser.ask("/").headers["Location"] == "report/0"
    assert browser.ask("/data/0").value["has_report"]
    first = browser.ask("/report/0")
    assert first.status == 200
    assert b'"split":"test"' in first.body
    assert b'href="../live"' in first.body
    assert "script-src" not in first.headers["Content-Security-Policy"]  # the page names its own
    again = browser.ask("/report/0", If_None_Match=first.headers["ETag"])
    assert again.status == 304
    assert len(looks(disk.place)) == 1
    after = disk.everything()
    assert after.keys() - before.keys() == {str(disk.place / LEDGER)}
    assert {k for k in before if after[k] != before[k]} <= {str(disk.place)}
    # Another seed is asked for: what is shown now would be seen while trials are to come.
    disk.open(parse_study(TINY.format(seeds=3, net="hidden = [4]", steps=2, lam="[1.0]")))
    assert browser.ask("/report/0").headers["Location"] == "../live"


def test_head_of_a_report_is_no_test_look(disk: DiskFolder, browser: Browser) -> None:
    browser.enter()
    assert browser.ask("/report/0", "HEAD").headers["Location"] == "../live"
    done(disk)
    head = browser.ask("/report/0", "HEAD")
    assert (head.status, head.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert head.headers.keys().isdisjoint({"Content-Length", "ETag"})
    assert looks(disk.place) == ()
    assert browser.ask("/report/0").status == 200
    assert len(looks(disk.place)) == 1


@pytest.mark.parametrize("is_data_older", [False, True])
def test_a_state_read_before_the_study_grew_opens_no_report(
    disk: DiskFolder, monkeypatch: pytest.MonkeyPatch, is_data_older: bool
) -> None:
    done(disk)
    watched = WatchedSweep(disk.place)
    watched.refreshed_after = 3600.0
    assert watched.state().is_done
    more = parse_study(TINY.format(seeds=3, net="hidden = [4]", steps=2, lam="[1.0]"))

    def read_and_grow(*args: Any, **kwargs: Any) -> Results:
        found = read(*args, **kwargs)
        disk.open(more)
        return found

    if is_data_older:
        monkeypatch.setattr(results_reader, "read", read_and_grow)
    else:
        disk.open(more)
        monkeypatch.setattr(watched, "state_now", watched.state)
    assert ReportPages((watched,)).page(0, "../live") is None
    assert looks(disk.place) == ()


def test_several_folders_and_a_link_to_each_report(tmp_path: Path) -> None:
    one, other = DiskFolder(tmp_path / "one"), DiskFolder(tmp_path / "other")
    done(one)
    with served(one.place, other.place) as browser:
        browser.enter()
        assert browser.ask("/").headers["Location"] == "live"
        told = browser.ask("/data/sweeps").value["sweeps"]
        assert [(s["folder"], s["n_done"], s["has_report"]) for s in told] == [
            (str(one.place), 8, True),
            (str(other.place), 0, False),
        ]
        assert browser.ask("/report/0").status == 200
        assert browser.ask("/report/1").headers["Location"] == "../live"
    other.store.close()


# ---------------------------------------------------------------------------- the command


def test_mistakes_are_named(
    disk: DiskFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = CommandLine(capsys)
    cli("serve", tmp_path / "nowhere").is_mistake(
        "does not exist", "results folder", "clsweep run"
    )
    (tmp_path / "empty").mkdir()
    cli("serve", tmp_path / "empty").is_mistake("holds no study.toml")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cli("serve", disk.place, "--port", port).is_mistake(
            "in use", f"--port {port}", "--port out"
        )
    cli("serve", disk.place, "--host", "192.0.2.1").is_mistake("192.0.2.1", "--host out")


def test_a_second_server_takes_another_port(
    disk: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = [WatchedSweep(disk.place)]
    with LiveServer(watched, "127.0.0.1", 0) as first:
        monkeypatch.setattr("clsweep.live.server.PORT", first.port)
        with opened_server(watched, "127.0.0.1", None) as second:
            assert second.port not in (first.port, PORT)
        with pytest.raises(StoreError, match="in use"):
            opened_server(watched, "127.0.0.1", first.port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_and_ends_with_a_line(disk: DiskFolder, number: int) -> None:
    code = (
        "import sys; from clsweep.cli.main import main; code = main(sys.argv[1:])\n"
        "sys.exit(code or [m for m in ('torch', 'ray') if m in sys.modules] or 0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(disk.place), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert str(disk.place) in lines[0]
    assert "ssh -L " in lines[2]
    url = urlsplit(lines[1].strip())
    assert url.query.startswith("token=")
    line = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=60)
    line.request("GET", f"/?{url.query}")
    cookie = line.getresponse().headers["Set-Cookie"].partition(";")[0]
    line.close()
    line.request("GET", "/data/0", headers={"Cookie": cookie})
    assert json.loads(line.getresponse().read())["n_trials"] == 8
    line.close()
    ended = threading.Timer(60, process.kill)
    ended.start()
    process.send_signal(number)
    out, err = process.communicate()
    ended.cancel()
    assert (process.returncode, err) == (0, "")
    assert "no longer served" in out
