"""Progress of a run: silent, in a live table on a terminal, or in plain lines for a log file."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from clsweep.execution.listeners.base import Listener, RunStart
from clsweep.text import duration, printable

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from clsweep.execution.outcomes import Outcome
    from clsweep.records.schema import Record
    from clsweep.study.configurations import Configuration
    from clsweep.study.planning import Job

Clock = Callable[[], float]
_FAILURES_SHOWN = 4
# Trials after the first, before a pace is told.
_FEWEST_ENDED = 2
# Columns of a terminal that has room for the numbers beside the bar.
_WIDE = 80


@dataclass
class Tally:
    """What has happened so far, as numbers.

    Attributes:
        n_total: trials of the study.
        n_before: trials that were done before this run.
        n_finished: trials that this run finished, whatever their status.
        n_failed: those of them that failed, diverged or ran out of memory.
        n_stopped: those of them that were stopped for being behind.
        running: (label, kind) -> how many.
        best: label -> best average validation accuracy of a trial of this run, in [0, 1].
        failures: the latest failures, one sentence each.
        first_at: clock when the first trial of this run had ended, seconds; None before.
    """

    n_total: int = 0
    n_before: int = 0
    n_finished: int = 0
    n_failed: int = 0
    n_stopped: int = 0
    running: Counter[tuple[str, str]] = field(default_factory=Counter)
    best: dict[str, float] = field(default_factory=dict)
    failures: deque[str] = field(default_factory=lambda: deque(maxlen=_FAILURES_SHOWN))
    first_at: float | None = None

    @property
    def n_done(self) -> int:
        """Trials that are done, now or before."""
        return self.n_before + self.n_finished

    @property
    def is_starting(self) -> bool:
        """Whether work is left, and none of it has begun."""
        return self.n_done < self.n_total and not (self.n_finished or self.running)

    def seconds_left(self, now: float) -> float | None:
        """Time to the end at the pace since the first trial had ended; None while that is unknown.

        Start-up, first stages and the first trial are slower than what follows, and no part of
        the pace. It is known when more trials have ended than run at a time: before, it would be
        that of trials that began together.

        Args:
            now: the clock, seconds.
        """
        n_since = self.n_finished - 1
        if self.first_at is None or n_since < max(_FEWEST_ENDED, self.running.total()):
            return None
        return (self.n_total - self.n_done) * (now - self.first_at) / n_since


class Progress(Listener):
    """Counts what a run tells and shows nothing; the base of those that do.

    Args:
        clock: seconds, from any origin.
    """

    name = "the display of the progress"

    def __init__(self, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self.tally = Tally()

    def begin(self, start: RunStart) -> None:
        """Count from here; a run without work shows nothing."""
        self.tally = Tally(n_total=start.n_trials, n_before=start.n_done)
        if start.has_work:
            self._on_begin()

    def started(self, job: Job) -> None:
        """Count a job among those that run."""
        self.tally.running[job.label, job.kind] += 1
        self._on_start()

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        """Count how a job ended, and keep the best accuracy of its label."""
        tally, status, average = self.tally, outcome.status, outcome.average_accuracy
        tally.running[job.label, job.kind] -= 1
        if tally.running[job.label, job.kind] <= 0:
            del tally.running[job.label, job.kind]
        if job.kind == "trial":
            tally.n_finished += 1
            tally.first_at = self.clock() if tally.first_at is None else tally.first_at
            tally.n_failed += status not in ("ok", "stopped")
            tally.n_stopped += status == "stopped"
        if math.isfinite(average):
            tally.best[job.label] = max(average, tally.best.get(job.label, 0.0))
        if status not in ("ok", "stopped"):
            said = f": {outcome.message}" if outcome.message else ""
            failure = _one_line(f"{job.label} ({job.kind}): {status}{said}")
            tally.failures.append(failure)
            self._on_failure(failure)

    def warned(self, sentence: str) -> None:
        """Show a warning among the failures."""
        warning = _one_line(f"warning: {sentence}")
        self.tally.failures.append(warning)
        self._on_failure(warning)

    def _on_begin(self) -> None:
        """Show the start."""

    def _on_start(self) -> None:
        """Show new numbers, with the job in them that took a finished one's place."""

    def _on_failure(self, failure: str) -> None:
        """Show a failure."""


class LineProgress(Progress):
    """Plain lines: one per failure, and otherwise at most one in `every` seconds.

    Args:
        stream: where the lines go; standard error if None.
        clock: seconds, from any origin.
        every: least time between two lines of numbers, seconds.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Clock = time.monotonic, every: float = 5.0
    ) -> None:
        super().__init__(clock)
        self.stream = stream if stream is not None else sys.stderr
        self.every = every
        self._last_at = -math.inf
        self._last = ""
        self._is_open = False

    def jobs_ended(self) -> None:
        """Write the final numbers, if they are not the last line already."""
        if self._is_open:
            self._is_open = False
            self._write_numbers()

    def _on_begin(self) -> None:
        self._is_open = True
        self._write_numbers()

    def _on_start(self) -> None:
        if self.clock() - self._last_at >= self.every:
            self._write_numbers()

    def _on_failure(self, failure: str) -> None:
        self._write(f"clsweep: {failure}")

    def _write_numbers(self) -> None:
        now = self.clock()
        line = f"clsweep: {_numbers(self.tally, now)}"
        best = ", ".join(f"{label} {100 * a:.1f} %" for label, a in self.tally.best.items())
        if best:
            line += f"; best trials of this run, average accuracy (validation): {best}"
        if line != self._last:
            self._write(line)
        self._last_at, self._last = now, line

    def _write(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


class LiveProgress(Progress):
    """A table that is redrawn in place, for terminals.

    Args:
        stream: the terminal; standard error if None.
        clock: seconds, from any origin.
    """

    def __init__(self, stream: TextIO | None = None, clock: Clock = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(clock)
        self._console = Console(file=stream if stream is not None else sys.stderr)
        self._live = Live(get_renderable=self.view, console=self._console, refresh_per_second=4)

    def jobs_ended(self) -> None:
        """Leave the last view on the terminal."""
        self._live.stop()

    def view(self) -> Group:
        """The numbers as they are now, as something that rich can print."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self.tally
        width = self._console.width
        bar = ProgressBar(
            total=max(tally.n_total, 1), completed=tally.n_done, width=min(40, width - 1)
        )
        numbers = Text(_numbers(tally, self.clock()))
        parts: list[RenderableType] = [bar, numbers]
        if width >= _WIDE:
            head = Table.grid(padding=(0, 1))
            head.add_row(bar, numbers)
            parts = [head]
        running = ", ".join(f"{n} × {label}" for (label, _), n in tally.running.most_common(6))
        if running:
            parts.append(Text(f"running: {running}", style="dim", no_wrap=True))
        if tally.best:
            parts.append(_best_table(tally.best))
        parts += [Text(failure, style="red") for failure in tally.failures]
        return Group(*parts)

    def _on_begin(self) -> None:
        self._live.start()


def progress_on(stream: TextIO, *, quiet: bool = False) -> Progress:
    """The right kind of progress for a stream.

    Args:
        stream: where it would be shown.
        quiet: show nothing.
    """
    if quiet:
        return Progress()
    if stream.isatty() and os.environ.get("TERM", "") != "dumb":
        return LiveProgress(stream)
    return LineProgress(stream)


def _numbers(tally: Tally, now: float) -> str:
    parts = [f"{tally.n_done}/{tally.n_total} trials done"]
    if tally.n_before:
        parts[0] += f" ({tally.n_before} before)"
    n_running = tally.running.total()
    if n_running:
        parts.append(f"{n_running} running")
    parts.append(f"{tally.n_failed} failed")
    if tally.n_stopped:
        parts.append(f"{tally.n_stopped} stopped")
    left = tally.seconds_left(now)
    if left:
        parts.append(f"about {duration(left)} left")
    if tally.is_starting:
        parts.append("starting")
    return ", ".join(parts)


def _best_table(best: dict[str, float]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "label", "best trial of this run, average accuracy (validation)", box=None, pad_edge=False
    )
    for label, accuracy in sorted(best.items(), key=lambda item: -item[1]):
        table.add_row(Text(label), f"{100 * accuracy:.1f} %")
    return table


def _one_line(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= 300 else line[:297] + "..."
