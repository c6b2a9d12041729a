"""Progress of a run in a notebook: plain text that is replaced in place, without a widget."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from clsweep.execution.listeners.progress import (
    Clock,
    Progress,
    counts_text,
    progress_on_stream,
    table_lines,
    times_text,
)

_EVERY = 0.5


class _Handle(Protocol):
    """What IPython gives for something that it shows and that may change."""

    def update(self, data: dict[str, str], *, raw: bool) -> None: ...


# IPython.display.display
Display = Callable[..., Any]


class NotebookProgress(Progress):
    """Numbers and a table below the cell, replaced when a job starts; failures stay, a line each.

    Args:
        display: `IPython.display.display`.
        stream: where failures go; standard error if None.
        clock: seconds, from any origin.
    """

    shows = True

    def __init__(
        self, display: Display, stream: TextIO | None = None, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(clock)
        self._display = display
        self._stream = stream if stream is not None else sys.stderr
        self._shown: _Handle | None = None
        self._last_at = 0.0

    def text(self) -> str:
        """What stands below the cell."""
        now = self.clock()
        head = f"{counts_text(self.tally)}; {times_text(self.tally, now)}"
        return "\n".join([head, *table_lines(self.tally.curves, self.tally.metric)])

    def jobs_ended(self) -> None:
        """Leave the final numbers."""
        super().jobs_ended()
        if self._shown is not None:
            self._show()
            self._shown = None

    def _on_begin(self) -> None:
        self._shown = self._display({"text/plain": self.text()}, raw=True, display_id=True)

    def _on_preparing(self) -> None:
        self._show()

    def _on_start(self) -> None:
        if self.clock() - self._last_at >= _EVERY:
            self._show()

    def _on_failure(self, failure: str) -> None:
        self._stream.write(f"clsweep: {failure}\n")
        self._stream.flush()

    def _show(self) -> None:
        self._last_at = self.clock()
        if self._shown is not None:
            self._shown.update({"text/plain": self.text()}, raw=True)


def progress_on(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
    """The right kind of progress for a stream: a live table, plain lines, or a notebook's cell.

    Args:
        stream: where it would be shown; standard error if None. In a notebook that is below the
            cell.
        quiet: show nothing.
    """
    display = _notebook_display()
    if not quiet and display is not None and stream in (None, sys.stderr, sys.stdout):
        return NotebookProgress(display, stream)
    return progress_on_stream(stream, quiet=quiet)


def _notebook_display() -> Display | None:
    """How the notebook that this process serves shows something; None where it serves none.

    IPython is imported by whoever serves a notebook; where it is not there it is not needed.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):  # IPython on a terminal has no kernel
        return None
    from IPython.display import display

    return display  # type: ignore[no-any-return]
