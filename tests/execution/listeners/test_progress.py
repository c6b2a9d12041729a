"""Progress: what is counted, and that what is shown stays small."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from clsweep.execution.listeners.base import RunStart
from clsweep.execution.listeners.progress import (
    LineProgress,
    LiveProgress,
    Progress,
    Tally,
    progress_on,
)
from clsweep.execution.outcomes import Outcome
from clsweep.records.schema import Record
from clsweep.study.configurations import configurations
from clsweep.study.planning import Job
from clsweep.study.study import parse_study
from clsweep.text import duration
from tests.support.command_line import TINY


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


STUDY = parse_study(TINY.format(seeds=1, net="hidden = [4]", steps=2, lam="[1.0]"))
NAN = float("nan")


def _no_record() -> Record:
    raise AssertionError("a display reads no record")


def _begin(progress: Progress, n_trials: int, n_done: int, *, has_work: bool = True) -> None:
    start = RunStart(STUDY, Path("out"), n_trials, n_done, False, has_work)
    progress.begin(start)


def _job(label: str, kind: str) -> Job:
    return Job(f"{label}-0", kind, label, "c", 0)


def _start(progress: Progress, label: str, kind: str = "trial") -> None:
    progress.started(_job(label, kind))


def _finish(
    progress: Progress,
    label: str,
    kind: str = "trial",
    status: str = "ok",
    accuracy: float = NAN,
    message: str = "",
) -> None:
    outcome = Outcome(status, message, accuracy)
    progress.finished(_job(label, kind), outcome, configurations(STUDY)[0], _no_record)


def _trial(
    progress: Progress, label: str, status: str = "ok", accuracy: float = NAN, message: str = ""
) -> None:
    _start(progress, label)
    _finish(progress, label, "trial", status, accuracy, message)


def _lines(clock: Clock) -> tuple[LineProgress, io.StringIO]:
    stream = io.StringIO()
    return LineProgress(stream, clock), stream


def _view(progress: LiveProgress, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(progress.view())
    return console.file.getvalue()  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


# ------------------------------------------------------------------------------------- numbers


def test_counts(clock: Clock) -> None:
    progress = Progress(clock)
    _begin(progress, 10, 4)
    _start(progress, "source, seed 0", "source")
    _start(progress, "EWC")
    _start(progress, "EWC")
    assert progress.tally.running == {("source, seed 0", "source"): 1, ("EWC", "trial"): 2}
    _finish(progress, "source, seed 0", "source", "ok")
    _finish(progress, "EWC", "trial", "ok", 0.5)
    _finish(progress, "EWC", "trial", "diverged")
    tally = progress.tally
    # A stage is no trial.
    assert (tally.n_done, tally.n_finished, tally.n_failed) == (6, 2, 1)
    assert not tally.running


def test_a_second_run_counts_anew(clock: Clock) -> None:
    progress = Progress(clock)
    _begin(progress, 2, 0)
    _trial(progress, "EWC", "failed")
    _begin(progress, 2, 1)
    assert (progress.tally.n_done, progress.tally.n_failed) == (1, 0)


def test_the_best_per_label_is_kept(clock: Clock) -> None:
    progress = Progress(clock)
    _begin(progress, 5, 0)
    for label, accuracy in (("EWC", 0.6), ("SI", 0.0), ("EWC", 0.8), ("EWC", 0.7)):
        _trial(progress, label, accuracy=accuracy)
    _trial(progress, "MAS", "failed", accuracy=float("nan"))
    _trial(progress, "LwF", "failed")
    assert progress.tally.best == {"EWC": 0.8, "SI": 0.0}


def test_time_left_is_that_of_the_missing_trials_at_the_pace_after_the_first(
    clock: Clock,
) -> None:
    progress = Progress(clock)
    _begin(progress, 14, 4)
    assert progress.tally.seconds_left(clock()) is None
    clock.now += 1000  # the start, stages, and the first trial of a process
    _trial(progress, "EWC")
    clock.now += 15
    _trial(progress, "EWC", "failed")
    assert progress.tally.seconds_left(clock()) is None
    clock.now += 15
    _trial(progress, "EWC")
    # Two in 30 s: seven more take 105 s; the four from before say nothing about the pace.
    assert progress.tally.seconds_left(clock()) == 105
    for _ in range(7):
        _trial(progress, "EWC")
    assert progress.tally.seconds_left(clock()) == 0


@pytest.mark.parametrize("n_workers", [1, 2, 4, 8])
def test_time_left_is_right_from_the_tenth_trial_on(clock: Clock, n_workers: int) -> None:
    """Every worker takes 60 s for its first trial and 2 s for each other."""
    progress = Progress(clock)
    n = 120
    _begin(progress, n, 0)
    ends = sorted(60.0 + 2.0 * turn for turn in range(n // n_workers) for _ in range(n_workers))
    for _ in range(n_workers):
        _start(progress, "EWC")
    for done, end in enumerate(ends, 1):
        clock.now = end
        _finish(progress, "EWC", "trial")
        if done + n_workers <= n:
            _start(progress, "EWC")
        told, true = progress.tally.seconds_left(end), ends[-1] - end
        if done >= max(10, 2 * n_workers) and true > 4:
            assert told is not None
            assert told == pytest.approx(true, rel=0.5, abs=4)


def test_trials_that_began_together_tell_no_pace(clock: Clock) -> None:
    progress = Progress(clock)
    _begin(progress, 100, 0)
    for _ in range(8):
        _start(progress, "EWC")
    clock.now += 60
    for _ in range(8):
        _finish(progress, "EWC", "trial")
        _start(progress, "EWC")
    assert progress.tally.seconds_left(clock()) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# ------------------------------------------------------------------------------------ plain lines


def test_lines_are_few_however_many_trials_there_are(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 10_000, 0)
    for _ in range(10_000):
        clock.now += 0.01
        _trial(progress, "EWC", accuracy=0.5)
    progress.jobs_ended()
    lines = stream.getvalue().splitlines()
    # 100 s at one line per 5 s, the first and the last.
    assert 15 <= len(lines) <= 100 / 5 + 2
    assert lines[0] == "clsweep: 0/10000 trials done, 0 failed, starting"
    assert lines[-1].startswith("clsweep: 10000/10000 trials done, 0 failed; best trials")


def test_every_failure_is_a_line_of_its_own(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 20, 0)
    for i in range(20):
        _trial(progress, "SI", "diverged", NAN, f"seed {i}\nbecame nan")
    progress.jobs_ended()
    lines = stream.getvalue().splitlines()
    assert lines[1:-1] == [
        f"clsweep: SI (trial): diverged: seed {i} became nan" for i in range(20)
    ]
    assert lines[-1] == "clsweep: 20/20 trials done, 20 failed"


def test_a_failed_stage_is_told_and_not_counted(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 1, 0)
    _start(progress, "source, seed 0", "source")
    _finish(progress, "source, seed 0", "source", "failed", NAN, "boom")
    assert "clsweep: source, seed 0 (source): failed: boom\n" in stream.getvalue()
    assert progress.tally.n_failed == 0


def test_long_messages_are_cut(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 1, 0)
    _trial(progress, "SI", "failed", NAN, "x" * 5000)
    assert max(map(len, stream.getvalue().splitlines())) < 320


def test_a_line_says_all_there_is_to_know(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 9, 3)
    for _ in range(3):
        clock.now += 15
        _trial(progress, "EWC", accuracy=0.8125)
    _start(progress, "SI")
    clock.now += 5
    _start(progress, "SI")
    assert stream.getvalue().splitlines()[-1] == (
        "clsweep: 6/9 trials done (3 before), 2 running, 0 failed, about 52 s left; "
        "best trials of this run, average accuracy (validation): EWC 81.2 %"
    )


def test_a_run_without_work_shows_nothing(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 2, 2, has_work=False)
    assert stream.getvalue() == ""
    assert progress.tally.n_done == 2


def test_a_warning_is_a_line_of_its_own(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.warned("the data\nare odd")
    assert stream.getvalue() == "clsweep: warning: the data are odd\n"


def test_the_end_is_written_once_and_only_if_it_is_news(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.jobs_ended()
    assert stream.getvalue() == ""
    _begin(progress, 1, 0)
    _trial(progress, "EWC")
    progress.jobs_ended()
    progress.jobs_ended()
    assert stream.getvalue().splitlines() == [
        "clsweep: 0/1 trials done, 0 failed, starting",
        "clsweep: 1/1 trials done, 0 failed",
    ]


# --------------------------------------------------------------------------------- the live table


def test_the_view_shows_running_best_and_failures(clock: Clock) -> None:
    progress = LiveProgress(Terminal(), clock)
    _begin(progress, 10, 2)
    try:
        _start(progress, "LwF")
        _start(progress, "LwF")
        _trial(progress, "EWC", accuracy=0.5)
        _trial(progress, "SI [online]", accuracy=0.75)
        _trial(progress, "MAS", "oom", NAN, "out of [bold]memory")
        clock.now += 30
        shown = _view(progress)
    finally:
        progress.jobs_ended()
    assert "5/10 trials done (2 before), 2 running, 1 failed, about 1 min 15 s left" in shown
    assert "running: 2 × LwF" in shown
    # Labels and messages are text, not markup; the best method stands first.
    assert "MAS (trial): oom: out of [bold]memory" in shown
    assert shown.index("SI [online]") < shown.index("75.0 %") < shown.index("EWC")


def test_the_bar_stands_apart_from_the_numbers(clock: Clock) -> None:
    progress = LiveProgress(Terminal(), clock)
    progress.tally = Tally(n_total=2, n_before=2)
    assert "━ 2/2 trials done (2 before), 0 failed" in _view(progress)


def test_a_start_that_takes_long_says_so(clock: Clock) -> None:
    # Ray and torch need seconds, and half a minute on a busy machine.
    progress, stream = _lines(clock)
    _begin(progress, 2, 0)
    _start(progress, "EWC")
    assert progress.tally.is_starting is False
    progress.jobs_ended()
    assert stream.getvalue().splitlines() == [
        "clsweep: 0/2 trials done, 0 failed, starting",
        "clsweep: 0/2 trials done, 1 running, 0 failed",
    ]
    _begin(progress, 2, 2)
    assert progress.tally.is_starting is False


def test_the_view_stays_small(clock: Clock) -> None:
    progress = LiveProgress(Terminal(), clock)
    _begin(progress, 1000, 0)
    try:
        for i in range(1000):
            _start(progress, f"label {i % 50}")
        for i in range(500):
            _finish(progress, f"label {i % 50}", "trial", "failed", NAN, f"trial {i}")
        shown = _view(progress)
    finally:
        progress.jobs_ended()
    assert "trial 499" in shown
    assert "trial 495" not in shown
    assert len(shown.splitlines()) <= 8


def test_the_view_of_nothing(clock: Clock) -> None:
    assert "0/0 trials done, 0 failed" in _view(LiveProgress(Terminal(), clock))


def test_the_last_view_stays_on_the_terminal(clock: Clock) -> None:
    stream = Terminal()
    progress = LiveProgress(stream, clock)
    _begin(progress, 1, 0)
    _trial(progress, "EWC", accuracy=0.5)
    progress.jobs_ended()
    progress.jobs_ended()
    assert "1/1 trials done" in stream.getvalue()
    assert "50.0 %" in stream.getvalue()


# ------------------------------------------------------------------------------------ the choice


def test_quiet_says_nothing(clock: Clock) -> None:
    stream = Terminal()
    progress = progress_on(stream, quiet=True)
    _begin(progress, 2, 0)
    _trial(progress, "EWC", "failed", NAN, "boom")
    progress.jobs_ended()
    assert type(progress) is Progress
    assert stream.getvalue() == ""


def test_terminals_get_the_table_and_files_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(progress_on(Terminal())) is LiveProgress
    assert type(progress_on(io.StringIO())) is LineProgress
    monkeypatch.setenv("TERM", "dumb")
    assert type(progress_on(Terminal())) is LineProgress
