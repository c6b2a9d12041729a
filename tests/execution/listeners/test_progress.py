"""Progress: what is counted, and that what is shown stays small."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from clsweep.execution.listeners.base import RunStart
from clsweep.execution.listeners.progress import (
    LineProgress,
    LiveProgress,
    Progress,
    progress_on_stream,
)
from clsweep.execution.outcomes import Outcome
from clsweep.records.schema import Record
from clsweep.study.configurations import configurations
from clsweep.study.jobs import Job
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
CONFIGURATION = next(c for c in configurations(STUDY) if c.method == "ewc")
NAN = float("nan")


def _no_record() -> Record:
    raise AssertionError("a display reads no record")


def _begin(
    progress: Progress,
    n_trials: int,
    n_done: int,
    *,
    has_work: bool = True,
    curves: Mapping[str, tuple[int, int]] | None = None,
    best: Callable[[], Mapping[str, float]] = dict,
    stages: Sequence[Job] = (),
) -> None:
    curves = {"EWC": (n_trials, n_done)} if curves is None else curves
    progress.begin(
        RunStart(STUDY, Path("out"), n_trials, n_done, False, has_work, curves, stages, best)
    )


def _job(label: str, kind: str, key: str = "") -> Job:
    return Job(key or f"{label}-0", kind, label, "c", 0)


def _start(progress: Progress, label: str, kind: str = "trial", key: str = "") -> None:
    progress.started(_job(label, kind, key))


def _finish(
    progress: Progress,
    label: str,
    kind: str = "trial",
    status: str = "ok",
    accuracy: float = NAN,
    message: str = "",
    key: str = "",
) -> None:
    outcome = Outcome(status, message, accuracy)
    progress.finished(_job(label, kind, key), outcome, CONFIGURATION, _no_record)


def _trial(
    progress: Progress,
    label: str,
    status: str = "ok",
    accuracy: float = NAN,
    message: str = "",
    seconds: float = 0.0,
) -> None:
    _start(progress, label)
    if isinstance(progress.clock, Clock):
        progress.clock.now += seconds
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
    assert (tally.n_done, tally.n_finished) == (6, 2)
    assert tally.statuses == {"ok": 1, "diverged": 1}
    assert (tally.curves["EWC"].n_done, tally.curves["EWC"].n_running) == (6, 0)
    assert not tally.running


def test_a_second_run_counts_anew(clock: Clock) -> None:
    progress = Progress(clock)
    _begin(progress, 2, 0)
    _trial(progress, "EWC", "failed")
    _begin(progress, 2, 1)
    assert (progress.tally.n_done, progress.tally.statuses["failed"]) == (1, 0)


def test_the_best_of_a_label_is_that_of_the_folder_and_of_this_run(clock: Clock) -> None:
    progress, _ = _lines(clock)
    stored = {"EWC": 0.7, "SI": 0.9}
    _begin(progress, 9, 2, curves={"EWC": (5, 1), "SI": (4, 1)}, best=lambda: stored)
    for label, accuracy in (("EWC", 0.6), ("SI", 0.0), ("EWC", 0.8)):
        _trial(progress, label, accuracy=accuracy)
    _trial(progress, "EWC", "stopped", accuracy=0.99)  # of a trial cut short
    _trial(progress, "MAS", "failed")
    best = {label: curve.best for label, curve in progress.tally.curves.items()}
    assert best == {"EWC": 0.8, "SI": 0.9, "MAS": None}


def test_nobody_reads_the_records_for_a_run_that_shows_nothing(clock: Clock) -> None:
    def refuse() -> Mapping[str, float]:
        raise AssertionError("read")

    _begin(Progress(clock), 2, 1, best=refuse)
    _begin(_lines(clock)[0], 2, 2, best=refuse, has_work=False)


# ------------------------------------------------------------------------------------- time left


def test_time_left_is_that_of_the_missing_trials_at_the_pace_after_the_first(
    clock: Clock,
) -> None:
    progress = Progress(clock)
    _begin(progress, 14, 4)
    assert progress.tally.seconds_left(clock()) is None
    _trial(progress, "EWC", seconds=1000)  # the start of a process
    _trial(progress, "EWC", "failed", seconds=10)
    assert progress.tally.seconds_left(clock()) is None
    _trial(progress, "EWC", seconds=20)
    # Seven more at 15 s; the four from before say nothing about the pace.
    assert progress.tally.seconds_left(clock()) == 105
    _start(progress, "EWC")
    clock.now += 6
    assert progress.tally.seconds_left(clock()) == 99  # it counts down while a trial runs
    _finish(progress, "EWC")
    for _ in range(6):
        _trial(progress, "EWC", seconds=15)
    assert progress.tally.seconds_left(clock()) == 0


def test_every_label_and_stage_takes_its_own_time(clock: Clock) -> None:
    progress = Progress(clock)
    stages = [_job(f"fisher, seed {seed}", "statistics") for seed in (0, 1)]
    _begin(progress, 12, 0, curves={"long": (4, 0), "short": (8, 0)}, stages=stages)
    for label, kind, seconds in (
        ("fisher, seed 0", "statistics", 500.0),
        ("short", "trial", 70.0),
        ("long", "trial", 100.0),
        ("short", "trial", 1.0),
    ):
        _start(progress, label, kind)
        clock.now += seconds
        outcome = Outcome("ok", wall_seconds=30.0)
        progress.finished(_job(label, kind), outcome, CONFIGURATION, _no_record)
    # Three long, six short, and the other seed's statistics: its worker was busy for 30 s of the
    # 500 s that were its start.
    assert progress.tally.seconds_left(clock()) == 3 * 100 + 6 * 1 + 30


@pytest.mark.parametrize("n_workers", [1, 2, 4, 8])
def test_time_left_is_right_from_the_tenth_trial_on(clock: Clock, n_workers: int) -> None:
    """Every worker takes 60 s for its first trial and then 2 s for short, 10 s for long ones."""
    progress = Progress(clock)
    labels = ["short", "long"] * 60
    _begin(progress, 120, 0, curves={"short": (60, 0), "long": (60, 0)})
    ends: list[tuple[float, str, str]] = []  # of what runs
    told = []
    while labels or ends:
        while labels and len(ends) < n_workers:
            label, key = labels.pop(), f"{len(labels)}"
            seconds = {"short": 2.0, "long": 10.0}[label] + 60.0 * (len(labels) >= 120 - n_workers)
            ends.append((clock.now + seconds, label, key))
            _start(progress, label, key=key)
        ends.sort()
        clock.now, label, key = ends.pop(0)
        outcome = Outcome("ok", wall_seconds={"short": 2.0, "long": 10.0}[label])
        progress.finished(_job(label, "trial", key), outcome, CONFIGURATION, _no_record)
        told.append((clock.now, progress.tally.seconds_left(clock.now)))
    end = clock.now
    assert told[0][1] is None
    for at, left in told[max(9, n_workers) : -1]:
        assert left is not None
        assert left == pytest.approx(end - at, rel=0.3, abs=10)


def test_trials_that_began_together_tell_no_pace(clock: Clock) -> None:
    progress = Progress(clock)
    _begin(progress, 100, 0)
    for i in range(8):
        _start(progress, "EWC", key=f"{i}")
    clock.now += 60
    for i in range(8):
        _finish(progress, "EWC", "trial", key=f"{i}")
        _start(progress, "EWC", key=f"{8 + i}")
    assert progress.tally.seconds_left(clock()) is None


def test_what_never_began_ends_and_tells_no_pace(clock: Clock) -> None:
    progress = Progress(clock)
    _begin(progress, 4, 0)
    for i in range(4):  # their stage is lost
        _finish(progress, "EWC", "trial", "failed", key=f"{i}")
    assert progress.tally.seconds_left(clock()) is None
    assert progress.tally.curves["EWC"].n_done == 4


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
        _trial(progress, "EWC", accuracy=0.5, seconds=0.01)
    progress.jobs_ended()
    lines = stream.getvalue().splitlines()
    # 100 s at one line per 5 s, the first and the last, and a table of two lines per minute.
    assert 15 <= len(lines) <= 100 / 5 + 2 + 2 * 2
    assert lines[0] == "clsweep: 0/10000 trials done, 0 failed; 0 s elapsed"
    assert lines[-3:] == [
        "clsweep: 10000/10000 trials done, 0 failed; 1 min 40 s elapsed",
        "clsweep:   trials done, and best single trial of any seed: average accuracy (validation)",
        "clsweep:   EWC 10000/10000   50.0 %",
    ]


def test_a_run_of_a_week_writes_lines_by_the_hour(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 10_000, 0)
    for _ in range(10_000):
        _trial(progress, "EWC", seconds=60.0)
    assert len(stream.getvalue().splitlines()) < 1000


def test_a_failure_has_its_numbers_and_its_seed(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 20, 0)
    for i in range(20):
        _trial(progress, "EWC of ours", "diverged", NAN, f"step {i}\nbecame nan")
    progress.jobs_ended()
    lines = stream.getvalue().splitlines()
    assert lines[1:21] == [
        f"clsweep: EWC of ours, λ = 1, seed 0: diverged: step {i} became nan" for i in range(20)
    ]
    assert lines[21] == "clsweep: 20/20 trials done, 0 failed, 20 diverged; 0 s elapsed"


def test_a_failed_stage_is_told_and_not_counted(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 1, 0)
    _start(progress, "source, seed 0", "source")
    _finish(progress, "source, seed 0", "source", "failed", NAN, "boom")
    assert "clsweep: source, seed 0 (source): failed: boom\n" in stream.getvalue()
    assert progress.tally.n_finished == 0


def test_long_messages_are_cut(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 1, 0)
    _trial(progress, "SI", "failed", NAN, "x" * 5000)
    assert max(map(len, stream.getvalue().splitlines())) < 320


def test_a_line_says_all_there_is_to_know(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 9, 3)
    for _ in range(3):
        _trial(progress, "EWC", accuracy=0.8125, seconds=15)
    _start(progress, "EWC")
    clock.now += 5
    _start(progress, "EWC", key="another")
    assert stream.getvalue().splitlines()[-1] == (
        "clsweep: 6/9 trials done (3 before), 2 running, 0 failed; 50 s elapsed, about 40 s left"
    )


def test_a_start_that_takes_long_says_what_is_done(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 1, 0)
    progress.preparing("loading torch")
    clock.now += 12
    progress.preparing("starting workers")
    _start(progress, "source, seed 0", "source")
    clock.now += 6
    _finish(progress, "source, seed 0", "source")
    _start(progress, "EWC")
    progress.preparing("")
    assert stream.getvalue().splitlines() == [
        "clsweep: 0/1 trials done, 0 failed; 0 s elapsed",
        "clsweep: loading torch",
        "clsweep: starting workers",
        "clsweep: 0/1 trials done, 1 running (source, seed 0), 0 failed; 12 s elapsed, "
        "starting workers",
        "clsweep: 0/1 trials done, 1 running, 0 failed; 18 s elapsed",
    ]


def test_a_run_that_came_to_no_trial_shows_no_table(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 9, 0)
    progress.preparing("starting Ray")
    progress.jobs_ended()
    assert "best trial" not in stream.getvalue()


def test_what_was_cut_short_runs_no_more(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 9, 0)
    for _ in range(4):
        _trial(progress, "EWC", seconds=1)
    _start(progress, "EWC")
    progress.preparing("stopping")
    progress.jobs_ended()
    assert stream.getvalue().splitlines()[-4:] == [
        "clsweep: stopping",
        "clsweep: 4/9 trials done, 0 failed; 4 s elapsed",
        "clsweep:   trials done, and best single trial of any seed: average accuracy (validation)",
        "clsweep:   EWC       4/9        –",
    ]
    assert progress.tally.seconds_left(clock()) is None


def test_a_run_without_work_shows_nothing(clock: Clock) -> None:
    progress, stream = _lines(clock)
    _begin(progress, 2, 2, has_work=False)
    progress.jobs_ended()
    assert stream.getvalue() == ""
    assert progress.tally.n_done == 2


def test_a_warning_is_a_line_of_its_own(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.warned("the data\nare odd")
    assert stream.getvalue() == "clsweep: warning: the data are odd\n"


def test_a_note_is_a_line_of_its_own_and_warns_of_nothing(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.noted("lanes are\nfast")
    assert stream.getvalue() == "clsweep: note: lanes are fast\n"


def test_the_end_is_written_once(clock: Clock) -> None:
    progress, stream = _lines(clock)
    progress.jobs_ended()
    assert stream.getvalue() == ""
    _begin(progress, 1, 0)
    _trial(progress, "EWC")
    progress.jobs_ended()
    progress.jobs_ended()
    assert stream.getvalue().splitlines() == [
        "clsweep: 0/1 trials done, 0 failed; 0 s elapsed",
        "clsweep: 1/1 trials done, 0 failed; 0 s elapsed",
        "clsweep:   trials done, and best single trial of any seed: average accuracy (validation)",
        "clsweep:   EWC       1/1        –",
    ]


# --------------------------------------------------------------------------------- the live table


def test_the_view_shows_curves_running_best_and_failures(clock: Clock) -> None:
    progress = LiveProgress(Terminal(), clock)
    _begin(progress, 10, 2, curves={"EWC": (3, 0), "SI [online]": (3, 1), "LwF": (4, 1)})
    try:
        _start(progress, "source, seed 0", "source")
        _start(progress, "LwF", key="a")
        _start(progress, "LwF", key="b")
        _trial(progress, "EWC", accuracy=0.5, seconds=5)
        _trial(progress, "SI [online]", accuracy=0.75, seconds=10)
        _trial(progress, "EWC", "oom", NAN, "out of [bold]memory", seconds=10)
        shown = _view(progress)
    finally:
        progress.jobs_ended()
    head = "5/10 trials done (2 before), 3 running (source, seed 0), 0 failed, 1 out of memory"
    assert f" {head}\n25 s elapsed, about " in shown
    assert "stages: source, seed 0" in shown
    # Labels and messages are text, not markup.
    assert "EWC, λ = 1, seed 0: oom: out of [bold]memory" in shown
    rows = [line.split() for line in shown.splitlines()[-4:-1]]
    assert rows == [
        ["EWC", "2/3", "50.0", "%"],
        ["SI", "[online]", "2/3", "75.0", "%"],
        ["LwF", "1/4", "2", "–"],
    ]


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("n_labels", [17, 50])
def test_the_view_fits_a_terminal_of_24_lines(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, width: int, n_labels: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    progress = LiveProgress(Terminal(), clock)
    labels = [f"method {i} with a name that is rather long" for i in range(n_labels)]
    _begin(progress, 1000, 0, curves={label: (20, 0) for label in labels})
    try:
        for label in labels:
            _start(progress, label)
        for i, label in enumerate(labels):
            _finish(progress, label, "trial", "failed", 0.5, f"trial {i} " + "x" * 400)
        lines = _view(progress, width).splitlines()
    finally:
        progress.jobs_ended()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= width
    assert sum("method" in line and "1/20" in line for line in lines) >= min(n_labels, 15)
    if width == 80:  # the latest failure, in one line
        assert f"method {n_labels - 1} with a name that is rather long, λ = 1, seed 0" in lines[-1]
    if n_labels == 50:
        rest = next(line for line in lines if line.startswith("and "))
        n = int(rest.split()[1])
        assert rest.split()[2:] == ["more", f"{n}/{20 * n}"]


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
    progress = progress_on_stream(stream, quiet=True)
    _begin(progress, 2, 0)
    _trial(progress, "EWC", "failed", NAN, "boom")
    progress.jobs_ended()
    assert type(progress) is Progress
    assert stream.getvalue() == ""


def test_terminals_get_the_table_and_files_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(progress_on_stream(Terminal())) is LiveProgress
    assert type(progress_on_stream(io.StringIO())) is LineProgress
    monkeypatch.setenv("TERM", "dumb")
    assert type(progress_on_stream(Terminal())) is LineProgress
