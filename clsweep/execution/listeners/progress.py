"""Progress of a run: silent, in a live table on a terminal, or in plain lines for a log file."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TextIO

from clsweep.execution.listeners.base import Listener, RunStart
from clsweep.execution.listeners.tally import CurveTally, Tally, failure_text, one_line, tally_of
from clsweep.records.metrics import ACCURACY, Metric
from clsweep.text import duration

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from clsweep.execution.outcomes import Outcome
    from clsweep.records.schema import Record
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job

Clock = Callable[[], float]
# Columns of a terminal that has room for the numbers beside the bar.
_WIDE = 80
_BAR = 20
# Between lines of numbers, as a share of the time that has passed.
_SHARE = 0.01
# Seconds between two tables of a log.
_TABLE_EVERY = 60.0
_NOTE = "note: "
_BEST = "best single trial of any seed: average accuracy (validation)"


class Progress(Listener):
    """Counts what a run tells and shows nothing; the base of those that do.

    Args:
        clock: seconds, from any origin.
    """

    name = "the display of the progress"
    shows = False

    def __init__(self, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self.tally = Tally()
        self._training: dict[str, object] = {}

    def begin(self, start: RunStart) -> None:
        """Count from here; a run without work shows nothing."""
        if not self.shows:  # nobody reads what the records would have to be read for
            start = start._replace(best=dict)
        self.tally = tally_of(start, self.clock())
        self._training = start.study.training.model_dump()
        if start.has_work:
            self._on_begin()

    def preparing(self, what: str) -> None:
        """Show what is done before the first job, or after the last."""
        self.tally.doing = one_line(what)
        if what:
            self._on_preparing()

    def started(self, job: Job) -> None:
        """Count a job among those that run."""
        self.tally.started(job, self.clock())
        self._on_start()

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        """Count how a job ended, and keep the best accuracy of its label."""
        self.tally.finished(job, outcome, self.clock())
        if outcome.status not in ("ok", "stopped"):
            failure = failure_text(job, outcome, configuration, self._training)
            self.tally.failures.append(failure)
            self._on_failure(failure)

    def warned(self, sentence: str) -> None:
        """Show a warning among the failures."""
        self._show_apart(f"warning: {sentence}")

    def noted(self, sentence: str) -> None:
        """Show a note in the same place."""
        self._show_apart(f"{_NOTE}{sentence}")

    def _show_apart(self, text: str) -> None:
        line = one_line(text)
        self.tally.failures.append(line)
        self._on_failure(line)

    def jobs_ended(self) -> None:
        """Count nothing as running any more."""
        self.tally.jobs_ended()

    def _on_begin(self) -> None:
        """Show the start."""

    def _on_preparing(self) -> None:
        """Show what is done before the first job."""

    def _on_start(self) -> None:
        """Show new numbers, with the job in them that took a finished one's place."""

    def _on_failure(self, failure: str) -> None:
        """Show a failure, a warning or a note."""


class LineProgress(Progress):
    """Plain lines: one per failure; numbers at most every `every` seconds, a table every minute.

    Numbers become rarer as time passes, so that the log of a long run stays short.

    Args:
        stream: where the lines go; standard error if None.
        clock: seconds, from any origin.
        every: least time between two lines of numbers, seconds.
    """

    shows = True

    def __init__(
        self, stream: TextIO | None = None, clock: Clock = time.monotonic, every: float = 5.0
    ) -> None:
        super().__init__(clock)
        self.stream = stream if stream is not None else sys.stderr
        self.every = every
        self._last_at = self._table_at = -math.inf
        self._is_open = False

    def jobs_ended(self) -> None:
        """Write the final numbers and the table."""
        super().jobs_ended()
        if self._is_open:
            self._is_open = False
            self._write_numbers()
            if self.tally.n_finished:  # what did not come to a trial ends with its error alone
                self._write_table()

    def _on_begin(self) -> None:
        self._is_open = True
        self._table_at = self.clock()
        self._write_numbers()

    def _on_preparing(self) -> None:
        self._write(f"clsweep: {self.tally.doing}")

    def _on_start(self) -> None:
        now = self.clock()
        passed = now - self.tally.began_at
        if now - self._last_at >= max(self.every, _SHARE * passed):
            self._write_numbers()
        if now - self._table_at >= max(_TABLE_EVERY, 10 * _SHARE * passed):
            self._write_table()

    def _on_failure(self, failure: str) -> None:
        self._write(f"clsweep: {failure}")

    def _write_numbers(self) -> None:
        now = self.clock()
        self._write(f"clsweep: {counts_text(self.tally)}; {times_text(self.tally, now)}")
        self._last_at = now

    def _write_table(self) -> None:
        self._table_at = self.clock()
        for line in table_lines(self.tally.curves, self.tally.metric):
            self._write(f"clsweep:   {line}")

    def _write(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


class LiveProgress(Progress):
    """A table that is redrawn in place, for terminals; never higher than the terminal.

    Args:
        stream: the terminal; standard error if None.
        clock: seconds, from any origin.
    """

    shows = True

    def __init__(self, stream: TextIO | None = None, clock: Clock = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(clock)
        self._console = Console(file=stream if stream is not None else sys.stderr)
        self._live = Live(get_renderable=self.view, console=self._console, refresh_per_second=4)

    def jobs_ended(self) -> None:
        """Leave the last view on the terminal."""
        super().jobs_ended()
        self._live.stop()

    def view(self) -> Group:
        """The numbers as they are now, as something that rich can print."""
        from rich.console import Group

        tally, now = self.tally, self.clock()
        width, height = self._console.width, self._console.height
        parts = _head(tally, now, width)
        if stages := stages_text(tally.running):
            parts.append(_cropped(f"stages: {stages}", "dim"))
        failures = [*tally.failures]
        n_lines = height - 1 - len(parts)  # the cursor stands below
        rows = _rows(tally.curves, n_lines - 1 - min(2, len(failures)))
        if tally.curves:
            parts.append(_table(rows, width))
            n_lines -= 1 + len(rows)
        return Group(*parts, *_fitting(failures, n_lines, width))

    def _on_begin(self) -> None:
        self._live.start()


def progress_on_stream(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
    """A live table for a terminal, plain lines for anything else.

    Args:
        stream: where it would be shown; standard error if None.
        quiet: show nothing.
    """
    if quiet:
        return Progress()
    stream = stream if stream is not None else sys.stderr
    if stream.isatty() and os.environ.get("TERM", "") != "dumb":
        return LiveProgress(stream)
    return LineProgress(stream)


def counts_text(tally: Tally) -> str:
    """How many trials are done, running, failed, diverged, out of memory and stopped.

    Args:
        tally: what has happened so far.
    """
    at_most = "at most " if tally.is_upper_limit else ""
    parts = [f"{tally.n_done}/{at_most}{tally.n_total} trials done"]
    if tally.n_before:
        parts[0] += f" ({tally.n_before} before)"
    if n_running := tally.running.total():
        stages = stages_text(tally.running)
        parts.append(f"{n_running} running" + (f" ({stages})" if stages else ""))
    parts.append(f"{tally.statuses['failed']} failed")
    words = {"diverged": "diverged", "oom": "out of memory", "stopped": "stopped"}
    parts += [f"{tally.statuses[s]} {word}" for s, word in words.items() if tally.statuses[s]]
    return ", ".join(parts)


def times_text(tally: Tally, now: float) -> str:
    """The time that has passed, and the time left; or what is done before the first job.

    Args:
        tally: what has happened so far.
        now: the clock, seconds.
    """
    passed = f"{duration(now - tally.began_at)} elapsed"
    if tally.doing:
        return f"{passed}, {tally.doing}"
    left = tally.seconds_left(now)
    if not left:
        return passed
    return f"{passed}, {'at most' if tally.is_upper_limit else 'about'} {duration(left)} left"


def stages_text(running: Mapping[tuple[str, str], int]) -> str:
    """The stages that run, which belong to no label.

    Args:
        running: (label, kind) -> how many.
    """
    return ", ".join(label for label, kind in running if kind != "trial")


def table_lines(curves: Mapping[str, CurveTally], metric: Metric = ACCURACY) -> list[str]:
    """Trials done and the best of every label, under a heading; nothing without labels.

    Args:
        curves: by label.
        metric: what stands in accuracy's place.
    """
    if not curves:
        return []
    width = max(map(len, curves))
    rows = [
        f"{label:<{width}} {f'{one.n_done}/{one.n_trials}':>9} {_percent(one.best):>8}"
        for label, one in curves.items()
    ]
    return [f"trials done, and {metric.in_words(_BEST)}", *rows]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _head(tally: Tally, now: float, width: int) -> list[RenderableType]:
    """A bar, the counts and the times, in as few lines as there is room for."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    total = max(tally.n_total, 1)
    bar = ProgressBar(total=total, completed=tally.n_done, width=min(_BAR, width - 1))
    counts = _cropped(counts_text(tally))
    if width < _WIDE:
        return [bar, counts, _cropped(times_text(tally, now))]
    head = Table.grid(padding=(0, 1))
    head.add_row(bar, counts)
    return [head, _cropped(times_text(tally, now))]


def _rows(curves: dict[str, CurveTally], n_lines: int) -> list[tuple[str, str, str, str]]:
    """Label, trials done, running and best, in at most so many lines; the done ones go first."""
    shown = list(curves)
    if len(shown) > n_lines:
        unfinished = [label for label, one in curves.items() if one.n_done < one.n_trials]
        others = [label for label in shown if label not in unfinished]
        kept = {*[*unfinished, *others][: max(0, n_lines - 1)]}
        shown = [label for label in shown if label in kept]
    rows = [_row(label, curves[label]) for label in shown]
    if rest := [one for label, one in curves.items() if label not in shown]:
        n_done, n_trials = sum(one.n_done for one in rest), sum(one.n_trials for one in rest)
        rows.append((f"and {len(rest)} more", f"{n_done}/{n_trials}", "", ""))
    return rows


def _row(label: str, curve: CurveTally) -> tuple[str, str, str, str]:
    running = str(curve.n_running) if curve.n_running else ""
    return label, f"{curve.n_done}/{curve.n_trials}", running, _percent(curve.best)


def _table(rows: list[tuple[str, str, str, str]], width: int) -> RenderableType:
    """The rows under a heading; a label that is too long is cut."""
    from rich.table import Table

    heading = (
        "label",
        "done",
        "running",
        "best average (validation)" if width >= _WIDE else "best",
    )
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    # The numbers are never cut, so that what is left is for the labels.
    widths[0] = max(8, min(widths[0], width - sum(widths[1:]) - 3 * (len(widths) - 1)))
    for name, wide in zip(heading, widths, strict=True):
        justify: Literal["left", "right"] = "left" if name == "label" else "right"
        table.add_column(name, width=wide, justify=justify, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(_cropped(cell) for cell in row))
    return table


def _cropped(text: str, style: str = "") -> Text:
    """Text, not markup, that never takes a second line."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _fitting(failures: list[str], n_lines: int, width: int) -> Iterator[RenderableType]:
    """The latest failures in so many lines: whole where there is room, else a line each."""
    from rich.text import Text

    shown = failures[-n_lines:] if n_lines > 0 else []
    n_needed = sum(-(-len(text) // max(1, width - 8)) for text in shown)
    for text in shown:
        style = "" if text.startswith(_NOTE) else "red"
        yield Text(text, style=style) if n_needed <= n_lines else _cropped(text, style)
