"""`[callbacks] webhook`: who is told what, and that the address is written nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clsweep.errors import RunnerError, StudyError
from clsweep.execution import runner
from clsweep.execution.listeners import webhook
from clsweep.execution.listeners.base import RunStart
from clsweep.execution.listeners.webhook import Webhook
from clsweep.execution.outcomes import Outcome, Summary
from clsweep.study.configurations import configurations, study_identity
from clsweep.study.jobs import Job
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study
from tests.execution.listeners.test_validation_claims import study as records_of
from tests.support.command_line import TINY, CommandLine, tiny_study
from tests.support.web_servers import Hook, hook

TEXT = TINY.format(seeds=1, net="hidden = [4]", steps=2, lam="[100.0]")
FIRST = TEXT.index("[[methods]]")
SECTION = '[callbacks]\nwebhook = "${SWEEP_HOOK}"\n'
SUMMARY = Summary(5, 5, 5, 1, 0, 1, 1, 7, 0.0, 120.0, False, False, ())


def _study(section: str = SECTION) -> Study:
    return parse_study(f"{TEXT[:FIRST]}{section}{TEXT[FIRST:]}")


def _telling(server: Hook, out: Path, section: str = SECTION, **more: Any) -> Webhook:
    study = _study(section)
    telling = Webhook(study, {"SWEEP_HOOK": server.url}, **more)
    telling.begin(RunStart(study, out, 5, 0, is_upper_limit=False, has_work=True))
    return telling


def _fail(telling: Webhook, seed: int, status: str = "failed") -> None:
    ewc = configurations(_study())[1]
    job = Job(f"{ewc.id}-{seed}", "trial", "EWC", ewc.id, seed)
    told = Outcome(status, "cannot read s3://key:hunter99@bucket")
    telling.finished(job, told, ewc, lambda: records_of(1, 0.0)[0])


def test_a_run_that_is_done_and_one_with_trials_left(tmp_path: Path) -> None:
    with hook() as server:
        _telling(server, tmp_path).end(SUMMARY)
        told = server.next()
        assert (told["event"], told["n_done"], told["n_failed"]) == ("done", 5, 2)
        assert told["path"] == "/services/hunter22?key=hunter33"
        assert told["text"] == "tiny: 5 of 5 trials done after 2 min, 2 failed, 0 diverged"
        assert told["folder"] == str(tmp_path)
        _telling(server, tmp_path).end(SUMMARY._replace(n_done=3, interrupted=True))
        assert server.next()["event"] == "stopped"
        _telling(server, tmp_path, SECTION + 'webhook_events = ["done"]\n').end(
            SUMMARY._replace(n_done=3)
        )
        assert server.came.empty()


def test_failures_are_told_now_and_then(tmp_path: Path) -> None:
    with hook() as server:
        telling = _telling(server, tmp_path)
        for seed in range(12):
            _fail(telling, seed, "oom" if seed else "failed")
        _fail(telling, 12, "diverged")
        telling.failed("the disk is full")
        first, tenth, last = server.next(), server.next(), server.next()
        assert (first["n_failed"], first["seed"], first["hyper"]["lam"]) == (1, 0, 100.0)
        assert "hunter99" not in str(first)
        assert (tenth["n_failed"], tenth["status"]) == (10, "oom")
        assert "the run cannot go on: the disk is full" in last["text"]
        assert server.came.empty()
        early = Webhook(_study(), {"SWEEP_HOOK": server.url})
        early.failed("the folder belongs to another study")  # before it has begun
        assert server.next()["event"] == "failed"


def test_the_first_claim_is_told_once_when_its_time_has_come(tmp_path: Path) -> None:
    now = [0.0]
    with hook() as server:
        section = SECTION + 'webhook_events = ["claim"]\n'
        telling = _telling(server, tmp_path, section, clock=lambda: now[0])
        ewc = configurations(_study())[1]

        def tell(record: Any) -> None:
            trial = record["trial"]
            job = Job(trial["trial_id"], "trial", trial["label"], trial["config_id"], 0)
            telling.finished(job, Outcome("ok", "", 0.5, 1.0), ewc, lambda: record)

        for record in records_of(6, gap=0.1):
            tell(record)
        assert telling.posts is not None
        assert telling.posts._n_given == 0
        now[0] += webhook.CLAIMS_EVERY_SECONDS
        tell(records_of(6, gap=0.1)[0])
        told = server.next()
        assert (told["event"], told["split"], told["above"]) == ("claim", "validation", "A")
        assert (told["n_seeds"], told["n_claims"]) == (6, 2)
        assert 0 < told["low"] < told["difference"] == pytest.approx(0.1, abs=0.02)
        now[0] += webhook.CLAIMS_EVERY_SECONDS
        tell(records_of(6, gap=0.1)[1])
        telling.end(SUMMARY)
        assert server.came.empty()


def test_a_run_tells_and_its_folder_does_not_hold_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_study(tmp_path)
    text = path.read_text()
    path.write_text(
        f"{text[: text.index('[[methods]]')]}{SECTION}{text[text.index('[[methods]]') :]}"
    )
    with hook() as server:
        monkeypatch.setenv("SWEEP_HOOK", server.url)
        log = tmp_path / "log.jsonl"
        out = tmp_path / "out"
        ran = CommandLine(capsys)("run", path, "--inline", "--out", out, "--log-json", log)
        assert ran.code == 0
        told = server.next()
        assert (told["event"], told["n_done"]) == ("done", 2)
        assert "webhook" not in ran.err
        # Nothing is left to do, and nobody is told.
        assert CommandLine(capsys)("run", path, "--inline", "--out", out).code == 0
        assert server.came.empty()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    written = b"".join(file.read_bytes() for file in files) + (ran.out + ran.err).encode()
    assert b"hunter" not in written
    assert b"${SWEEP_HOOK}" in (out / "study.toml").read_bytes()


def test_a_server_that_refuses_is_a_warning_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as server:
        url = server.url
    monkeypatch.setattr(webhook, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setenv("SWEEP_HOOK", url)
    summary = runner.run(_study(), out=tmp_path / "out", inline=True)
    assert (summary.n_done, summary.n_failed) == (2, 0)
    (said,) = [one for one in summary.warnings if "webhook" in one]
    assert "1 message not delivered" in said
    assert "hunter" not in said


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "ftp://host/hunter22",
        "hunter22",
        "http://",
        "http://me:hunter22@host/",
        "http://host:99999999/hunter22",
        "http://ho st/hunter22",
    ],
)
def test_a_variable_without_an_address_ends_a_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SWEEP_HOOK", value)
    with pytest.raises(RunnerError, match=r"SWEEP_HOOK") as caught:
        runner.run(_study(), out=tmp_path / "out", inline=True)
    assert "hunter" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_identity_depends_on_it_and_no_file_may_hold_an_address() -> None:
    plain, told = parse_study(TEXT), _study()
    assert study_identity(plain) == study_identity(told)
    assert configurations(plain) == configurations(told)
    assert parse_study(resolved_toml(told)) == told
    # What was stored of studies with trackers stays as it is.
    assert "webhook" not in resolved_toml(_study("[callbacks]\ntensorboard = true\n"))
    for wrong in ("https://hooks.example.org/hunter22", "$SWEEP_HOOK", "${A}${B}"):
        with pytest.raises(StudyError) as caught:
            _study(f'[callbacks]\nwebhook = "{wrong}"\n')
        assert "'${NAME}'" in str(caught.value)
        assert "hunter" not in str(caught.value)
    with pytest.raises(StudyError, match="webhook_events"):
        _study(SECTION + 'webhook_events = ["claims"]\n')
    assert "SWEEP_HOOK" not in os.environ
