"""`clsweep run --log-json`: one line per event, for machines, whatever else goes wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from clsweep.execution import runner
from clsweep.execution.listeners.base import Audience, Listener, RunStart
from clsweep.execution.listeners.event_log import EventLog, event_log
from clsweep.execution.outcomes import Outcome, Summary
from clsweep.records.schema import Record
from clsweep.redaction import without_secrets
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations
from clsweep.study.jobs import Job
from clsweep.study.study import load_study
from tests.end_to_end.studies import clsweep_in_terminal
from tests.support.command_line import CommandLine, tiny_study

TRIAL = Job("c-3", "trial", "EWC", "c", 3, ("s",))
SOURCE = Job("s", "source", "source, seed 3", "c", 3)
SUMMARY = Summary(5, 4, 3, 0, 0, 0, 1, 7, 0.0, 120.0, False, False, ("odd file",))


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _no_record() -> Any:
    raise AssertionError("the log reads no record")


def test_every_event_is_one_line_with_its_time(tmp_path: Path) -> None:
    study = load_study(tiny_study(tmp_path))
    ewc = configurations(study)[1]
    stream, now = io.StringIO(), datetime(2026, 1, 2, 3, 4, 5, 678_900, timezone.utc)
    log = EventLog(stream, lambda: now)
    log.begin(RunStart(study, Path("out"), 8, 2, is_upper_limit=True, has_work=True))
    log.started(SOURCE)
    log.finished(SOURCE, Outcome("ok", wall_seconds=2.0), ewc, _no_record)
    log.started(TRIAL)
    log.finished(TRIAL, Outcome("ok", "", 0.5, 1.5), ewc, _no_record)
    log.finished(TRIAL, Outcome("failed", "two\nlines \udcff"), ewc, _no_record)
    log.end(SUMMARY)
    begin, made, source, began, good, bad, end = _lines(stream.getvalue())
    assert {line["time"] for line in _lines(stream.getvalue())} == {
        "2026-01-02T03:04:05.678+00:00"
    }
    assert (begin["event"], begin["n_trials"], begin["n_done"]) == ("begin", 8, 2)
    assert (begin["study"], begin["folder"], begin["is_upper_limit"]) == ("tiny", "out", True)
    assert (made["kind"], made["job"], made["config_id"], made["seed"]) == ("source", "s", "", 3)
    assert (source["hyper"], source["validation_average_accuracy"]) == ({}, None)
    assert (began["job"], began["label"], began["config_id"]) == ("c-3", "EWC", "c")
    assert (good["status"], good["validation_average_accuracy"]) == ("ok", 0.5)
    assert (good["wall_seconds"], good["hyper"]["lam"]) == (1.5, 1.0)
    assert (bad["status"], bad["message"]) == ("failed", "two\nlines ?")
    assert bad["validation_average_accuracy"] is None
    assert (end["n_done"], end["n_new"], end["warnings"]) == (4, 3, ["odd file"])
    assert {*SUMMARY._fields} < {*end}


def test_every_line_is_flushed() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as source, open(writing, "w") as stream:
        log = EventLog(stream)
        log.started(TRIAL)
        assert json.loads(source.read(4096))["event"] == "started"
        log.failed("no cluster")
        assert json.loads(source.read(4096))["message"] == "no cluster"


def test_a_whole_run(cli: CommandLine, tmp_path: Path) -> None:
    path = tiny_study(tmp_path, lam="[1.0, 1e30]", steps=20)
    ran = cli("run", path, "--inline", "--log-json", "log.jsonl")
    assert ran.code == 1
    events = _lines(Path("log.jsonl").read_text(encoding="utf-8"))
    assert [e["event"] for e in events[:2]] == ["begin", "started"]
    assert (events[0]["n_trials"], events[0]["n_done"]) == (3, 0)
    assert events[0]["folder"] == str(tmp_path / "results" / "tiny")
    trials = [e for e in events if e["event"] == "finished" and e["kind"] == "trial"]
    assert sorted(e["status"] for e in trials) == ["diverged", "ok", "ok"]
    assert {e["job"] for e in events if e["event"] == "started"} == {
        e["job"] for e in events if e["event"] == "finished"
    }
    end = events[-1]
    assert (end["event"], end["n_done"], end["n_diverged"], end["n_new"]) == ("end", 3, 1, 3)
    # A second run adds its lines, and has nothing to do.
    assert cli("run", path, "--inline", "-q", "--log-json", "log.jsonl").code == 1
    again = _lines(Path("log.jsonl").read_text(encoding="utf-8"))[len(events) :]
    assert [(e["event"], e["n_done"]) for e in again] == [("begin", 3), ("end", 3)]
    assert again[1]["n_new"] == 0


def test_the_accuracy_is_that_of_validation_data(cli: CommandLine, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    cli("run", tiny_study(tmp_path), "--inline", "--log-json", "log.jsonl")
    rows = pq.read_table("results/tiny/accuracy.parquet").to_pylist()
    for event in _lines(Path("log.jsonl").read_text(encoding="utf-8")):
        if event["event"] == "finished" and event["kind"] == "trial":
            final = [
                row["n_correct"] / row["n_total"]
                for row in rows
                if row["config_id"] == event["config_id"]
                and (row["after_task"], row["split"]) == (1, "validation")
            ]
            assert event["validation_average_accuracy"] == pytest.approx(sum(final) / 2)
            assert len(final) == 2


def test_standard_output_holds_nothing_else(cli: CommandLine, tmp_path: Path) -> None:
    ran = cli("run", tiny_study(tmp_path), "--inline", "--log-json", "-")
    events = _lines(ran.out)
    assert (events[0]["event"], events[-1]["event"]) == ("begin", "end")
    assert "2 of 2 trials done, 2 by this run" in ran.err
    assert "clsweep: 2/2 trials done" in ran.err


@pytest.mark.slow  # imports torch anew; the CI runs it by name
def test_beside_the_display_of_a_terminal(tmp_path: Path) -> None:
    path = tiny_study(tmp_path)
    command = ("run", path, "--inline", "--log-json", "log.jsonl", "--out", "out")
    shown = clsweep_in_terminal(*command, cwd=tmp_path)
    assert "\x1b[" in shown
    assert '"event"' not in shown
    assert _lines((tmp_path / "log.jsonl").read_text())[-1]["event"] == "end"


def test_what_stops_a_run_is_an_event(cli: CommandLine, tmp_path: Path) -> None:
    Path("photos").mkdir()
    Path("photos/cat.png").write_text("")
    path = tiny_study(tmp_path)
    ran = cli("run", path, "--inline", "--out", "photos", "--log-json", "log.jsonl")
    ran.is_mistake("not empty")
    (event,) = _lines(Path("log.jsonl").read_text())
    assert event["event"] == "error"
    assert "cat.png" in event["message"]


def test_a_log_that_cannot_be_written_is_named_at_once(cli: CommandLine, tmp_path: Path) -> None:
    path = tiny_study(tmp_path)
    for file in ("nowhere/log.jsonl", "."):
        ran = cli("run", path, "--inline", "--log-json", file)
        ran.is_mistake("the log cannot be written", f"--log-json {file}")
    assert not Path("results").exists()


GONE = """\
from clsweep.execution.listeners.event_log import event_log
from clsweep.execution.listeners.base import Audience, Listener
from clsweep.study.jobs import Job
class Shown(Listener):
    warned = staticmethod(print)
with event_log("-") as log:
    audience = Audience([log, Shown()])
    for _ in range(3):
        audience.started(Job("c-3", "trial", "EWC", "c", 3))
    print("the run goes on to its end")
"""


def test_a_reader_that_goes_away_does_not_end_the_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", GONE], stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    shown = process.stderr.read()
    assert process.wait(timeout=60) == 0, shown
    first, last = shown.splitlines()
    assert first.startswith("--log-json is told no more, and the run goes on: BrokenPipeError")
    assert last == "the run goes on to its end"


# --------------------------------------------------------------------------------- all listeners


class Shown(Listener):
    """Keeps the warnings that it is to show."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def warned(self, sentence: str) -> None:
        self.sentences.append(sentence)


class Deaf(Listener):
    """Raises the second time that it is told something."""

    name = "the deaf one"

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def started(self, job: Job) -> None:
        self.heard += 1
        if self.heard == 2:
            raise OSError("no space")


def test_a_listener_that_raises_is_sent_away() -> None:
    shown, deaf, stream = Shown(), Deaf(), io.StringIO()
    audience = Audience([shown, deaf, EventLog(stream)])
    for _ in range(4):
        audience.started(TRIAL)
    assert deaf.heard == 2
    expected = ["the deaf one is told no more, and the run goes on: OSError: no space"]
    assert audience.warnings == shown.sentences == expected
    assert len(_lines(stream.getvalue())) == 4


def test_warnings_of_a_listener_are_shown_once() -> None:
    shown, listener = Shown(), Listener()
    audience = Audience([listener, shown])
    listener.warnings.append("the server is away")
    audience.end(SUMMARY)
    audience.end(SUMMARY)
    assert shown.sentences == ["the server is away"]


class Broken(Shown):
    """Can show nothing."""

    name = "the broken one"

    def warned(self, sentence: str) -> None:
        raise BrokenPipeError("gone")


def test_who_cannot_show_a_warning_is_sent_away_and_the_others_show_both() -> None:
    shown = Shown()
    audience = Audience([Broken(), shown, Broken()])
    audience.warned("the data are odd")
    first, *others = shown.sentences
    assert first == "the data are odd"
    sent_away = "the broken one is told no more, and the run goes on: BrokenPipeError: gone"
    assert others == [sent_away] * 2
    assert audience.warnings == shown.sentences


class Brittle(Broken):
    """Can show nothing, and has something to say."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings += ["one", "two"]


def test_what_the_one_that_is_sent_away_and_the_next_have_said_is_shown_at_once() -> None:
    shown, other = Shown(), Listener()
    other.warnings.append("three")
    Audience([Brittle(), other, shown]).collect()
    assert shown.sentences[0] == "one"
    assert sorted(shown.sentences[2:]) == ["three", "two"]
    assert shown.sentences[1].startswith("the broken one is told no more")


class Echo(Shown):
    """Answers every warning with one of its own."""

    def warned(self, sentence: str) -> None:
        super().warned(sentence)
        self.warnings.append(f"heard: {sentence}")


def test_who_answers_a_warning_by_a_warning_is_heard_at_the_next_event() -> None:
    echo, shown = Echo(), Shown()
    audience = Audience([echo, shown])
    audience.warned("odd")
    assert shown.sentences == ["odd", "heard: odd"]
    audience.started(TRIAL)
    assert shown.sentences == ["odd", "heard: odd", "heard: heard: odd"]
    assert audience.warnings == shown.sentences == echo.sentences


class Reader(Listener):
    """Reads the record of every trial."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def finished(self, job: Job, outcome: Outcome, configuration: Any, record: Any) -> None:
        if job.kind == "trial":
            self.records.append(record())


def test_a_record_is_read_once_for_all_and_without_its_test_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: list[str] = []
    pending = Store.pending

    def counted(store: Store, trial_id: str, split: str | None = None) -> Record:
        read.append(trial_id)
        return pending(store, trial_id, split)

    monkeypatch.setattr(Store, "pending", counted)
    one, other = Reader(), Reader()
    study = load_study(tiny_study(tmp_path))
    runner.run(study, out=tmp_path / "out", inline=True, listeners=[one, other])
    assert sorted(read) == sorted(record["trial"]["trial_id"] for record in one.records)
    assert len(read) == 2
    assert one.records == other.records
    assert {row[2] for record in one.records for row in record["accuracy"]} == {"validation"}


# --------------------------------------------------------------------------------------- secrets


def test_secrets_are_removed() -> None:
    environment = {
        "WANDB_API_KEY": "0123456789abcdef",
        "MLFLOW_TRACKING_PASSWORD": "correct horse",
        "RAY_AUTH_TOKEN": "0123456789abcdef0123",
        "RAY_AUTH_TOKEN_PATH": "/home/me/token",
        "RAY_AUTH_MODE": "token",
        "SOME_TOKEN": "ok",
        "PATH": "/usr/bin",
    }
    text = (
        "401 for 0123456789abcdef0123, 0123456789abcdef and 'correct horse' at "
        "https://me:pass@host:5000/api; ok, see /home/me/token of /usr/bin, mode token"
    )
    assert without_secrets(text, environment) == (
        "401 for [removed], [removed] and '[removed]' at "
        "https://[removed]@host:5000/api; ok, see /home/me/token of /usr/bin, mode token"
    )


def test_a_secret_in_a_message_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    stream = io.StringIO()
    EventLog(stream).failed("refused: 0123456789abcdef")
    assert _lines(stream.getvalue())[0]["message"] == "refused: [removed]"


def test_the_log_of_a_pipe_ends_with_its_block() -> None:
    program = (
        "from clsweep.execution.listeners.event_log import event_log\n"
        "with event_log('-') as log:\n"
        "    print('for people'); log.failed('x')\n"
        "print('after')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    first, after = ran.stdout.splitlines()
    assert (json.loads(first)["event"], after, ran.stderr) == ("error", "after", "for people\n")
    with event_log(os.devnull) as log:
        log.failed("goes nowhere")
