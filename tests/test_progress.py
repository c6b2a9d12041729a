"""Progress: what is counted, and that what is shown stays small."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from clsweep.progress import LineProgress, LiveProgress, Progress, Tally, progress_on
from clsweep.wording import duration


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _trial(
    progress: Progress,
    label: str,
    status: str = "ok",
    accuracy: float | None = None,
    message: str = "",
) -> None:
    progress.started(label, "trial")
    progress.finished(label, "trial", status, accuracy, message)


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
    progress.begin(10, 4)
    progress.started("source, seed 0", "source")
    progress.started("EWC", "trial")
    progress.started("EWC", "trial")
    assert progress.tally.running == {("source, seed 0", "source"): 1, ("EWC", "trial"): 2}
    progress.finished("source, seed 0", "source", "ok")
    progress.finished("EWC", "trial", "ok", 0.5)
    progress.finished("EWC", "trial", "diverged")
    tally = progress.tally
    # A stage is no trial.
    assert (tally.n_done, tally.n_finished, tally.n_failed) == (6, 2, 1)
    assert not tally.running


def test_a_second_run_counts_anew(clock: Clock) -> None:
    progress = Progress(clock)
    progress.begin(2, 0)
    _trial(progress, "EWC", "failed")
    progress.begin(2, 1)
    assert (progress.tally.n_done, progress.tally.n_failed) == (1, 0)


def test_the_best_per_label_is_kept(clock: Clock) -> None:
    progress = Progress(clock)
    progress.begin(5, 0)
    for label, accuracy in (("EWC", 0.6), ("SI", 0.0), ("EWC", 0.8), ("EWC", 0.7)):
        _trial(progress, label, accuracy=accuracy)
    _trial(progress, "MAS", "failed", accuracy=float("nan"))
    _trial(progress, "LwF", "failed", accuracy=None)
    assert progress.tally.best == {"EWC": 0.8, "SI": 0.0}


def test_time_left_is_that_of_the_missing_trials_at_this_runs_pace(clock: Clock) -> None:
    progress = Progress(clock)
    progress.begin(14, 4)
    assert progress.tally.seconds_left(clock()) is None
    clock.now += 30
    _trial(progress, "EWC")
    _trial(progress, "EWC", "failed")
    # Two of ten in 30 s: eight more take 120 s; the four from before say nothing about the pace.
    assert progress.tally.seconds_left(clock()) == 120
    for _ in range(8):
        _trial(progress, "EWC")
    assert progress.tally.seconds_left(clock()) == 0


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
    progress.begin(10_000, 0)
    for _ in range(10_000):
        clock.now += 0.01
        _trial(progress, "EWC", accuracy=0.5)
    progress.end()
    lines = stream.getvalue().splitlines()
    # 100 s at one line per 5 s, the first and the last.
    assert 15 <= len(lines) <= 100 / 5 + 2
    assert lines[0] == "clsweep: 0/10000 trials done, 0 failed, starting"
    assert lines[-1].startswith("clsweep: 10000/10000 trials done, 0 failed; best trials")


def test_every_failure_is_a_line_of_its_own(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.begin(20, 0)
    for i in range(20):
        _trial(progress, "SI", "diverged", None, f"seed {i}\nbecame nan")
    progress.end()
    lines = stream.getvalue().splitlines()
    assert lines[1:-1] == [
        f"clsweep: SI (trial): diverged: seed {i} became nan" for i in range(20)
    ]
    assert lines[-1] == "clsweep: 20/20 trials done, 20 failed"


def test_a_failed_stage_is_told_and_not_counted(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.begin(1, 0)
    progress.started("source, seed 0", "source")
    progress.finished("source, seed 0", "source", "failed", None, "boom")
    assert "clsweep: source, seed 0 (source): failed: boom\n" in stream.getvalue()
    assert progress.tally.n_failed == 0


def test_long_messages_are_cut(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.begin(1, 0)
    _trial(progress, "SI", "failed", None, "x" * 5000)
    assert max(map(len, stream.getvalue().splitlines())) < 320


def test_a_line_says_all_there_is_to_know(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.begin(9, 3)
    clock.now += 10
    _trial(progress, "EWC", accuracy=0.8125)
    progress.started("SI", "trial")
    clock.now += 5
    progress.started("SI", "trial")
    assert stream.getvalue().splitlines()[-1] == (
        "clsweep: 4/9 trials done (3 before), 2 running, 0 failed, about 1 min 15 s left; "
        "best trials of this run, average accuracy (validation): EWC 81.2 %"
    )


def test_the_end_is_written_once_and_only_if_it_is_news(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.end()
    assert stream.getvalue() == ""
    progress.begin(1, 0)
    _trial(progress, "EWC")
    progress.end()
    progress.end()
    assert stream.getvalue().splitlines() == [
        "clsweep: 0/1 trials done, 0 failed, starting",
        "clsweep: 1/1 trials done, 0 failed",
    ]


# --------------------------------------------------------------------------------- the live table


def test_the_view_shows_running_best_and_failures(clock: Clock) -> None:
    progress = LiveProgress(Terminal(), clock)
    progress.begin(10, 2)
    try:
        progress.started("LwF", "trial")
        progress.started("LwF", "trial")
        _trial(progress, "EWC", accuracy=0.5)
        _trial(progress, "SI [online]", accuracy=0.75)
        _trial(progress, "MAS", "oom", None, "out of [bold]memory")
        clock.now += 30
        shown = _view(progress)
    finally:
        progress.end()
    assert "5/10 trials done (2 before), 2 running, 1 failed, about 50 s left" in shown
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
    progress.begin(2, 0)
    progress.started("EWC", "trial")
    assert progress.tally.is_starting is False
    progress.end()
    assert stream.getvalue().splitlines() == [
        "clsweep: 0/2 trials done, 0 failed, starting",
        "clsweep: 0/2 trials done, 1 running, 0 failed",
    ]
    progress.begin(2, 2)
    assert progress.tally.is_starting is False


def test_the_view_stays_small(clock: Clock) -> None:
    progress = LiveProgress(Terminal(), clock)
    progress.begin(1000, 0)
    try:
        for i in range(1000):
            progress.started(f"label {i % 50}", "trial")
        for i in range(500):
            progress.finished(f"label {i % 50}", "trial", "failed", None, f"trial {i}")
        shown = _view(progress)
    finally:
        progress.end()
    assert "trial 499" in shown
    assert "trial 495" not in shown
    assert len(shown.splitlines()) <= 8


def test_the_view_of_nothing(clock: Clock) -> None:
    assert "0/0 trials done, 0 failed" in _view(LiveProgress(Terminal(), clock))


def test_the_last_view_stays_on_the_terminal(clock: Clock) -> None:
    stream = Terminal()
    progress = LiveProgress(stream, clock)
    progress.begin(1, 0)
    _trial(progress, "EWC", accuracy=0.5)
    progress.end()
    progress.end()
    assert "1/1 trials done" in stream.getvalue()
    assert "50.0 %" in stream.getvalue()


# ------------------------------------------------------------------------------------ the choice


def test_quiet_says_nothing(clock: Clock) -> None:
    stream = Terminal()
    progress = progress_on(stream, quiet=True)
    progress.begin(2, 0)
    _trial(progress, "EWC", "failed", None, "boom")
    progress.end()
    assert type(progress) is Progress
    assert stream.getvalue() == ""


def test_terminals_get_the_table_and_files_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(progress_on(Terminal())) is LiveProgress
    assert type(progress_on(io.StringIO())) is LineProgress
    monkeypatch.setenv("TERM", "dumb")
    assert type(progress_on(Terminal())) is LineProgress
