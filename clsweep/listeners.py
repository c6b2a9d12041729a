"""Who is told what a run does, beside the display of its progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clsweep.folders import Place
    from clsweep.runner import Summary
    from clsweep.schema import Record
    from clsweep.stages import Job
    from clsweep.study import Configuration, Study
    from clsweep.worker import Outcome

__all__ = ["Audience", "Listener"]


class Listener:
    """Is told what a run does, in the driver's main thread; the base does nothing with it.

    Attributes:
        name: for warnings.
        warnings: sentences that are to be shown; whoever shows them empties the list.
    """

    name = "a listener"

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def begin(
        self, study: Study, out: Place, n_trials: int, n_done: int, *, is_upper_limit: bool
    ) -> None:
        """The run has the folder, and knows what is to be done.

        Args:
            study: what is asked for.
            out: the results folder.
            n_trials: trials of the study; with a search at most.
            n_done: those that are done already.
            is_upper_limit: whether a search may end before it has asked for all of them.
        """

    def started(self, job: Job) -> None:
        """A job starts.

        Args:
            job: a stage or a trial.
        """

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        """A job has ended, and whatever it computed is on disk.

        Args:
            job: as it was started.
            outcome: how.
            configuration: the trial's; for a stage, that of one of the trials that need it.
            record: reads the record of a trial.
        """

    def end(self, summary: Summary) -> None:
        """The run is over, and the records are folded.

        Args:
            summary: how it ended.
        """

    def failed(self, message: str) -> None:
        """The run cannot go on.

        Args:
            message: why.
        """


class Audience(Listener):
    """Passes on what it is told; a listener that raises is sent away, and the run goes on.

    Args:
        listeners: to whom.
        show: shows a warning at once.
    """

    def __init__(self, listeners: Sequence[Listener], show: Callable[[str], None]) -> None:
        super().__init__()
        self._listeners, self._show = list(listeners), show

    def begin(
        self, study: Study, out: Place, n_trials: int, n_done: int, *, is_upper_limit: bool
    ) -> None:
        """See `Listener`."""
        self._each(
            lambda one: one.begin(study, out, n_trials, n_done, is_upper_limit=is_upper_limit)
        )

    def started(self, job: Job) -> None:
        """See `Listener`."""
        self._each(lambda one: one.started(job))

    def finished(
        self,
        job: Job,
        outcome: Outcome,
        configuration: Configuration,
        record: Callable[[], Record],
    ) -> None:
        """See `Listener`."""
        self._each(lambda one: one.finished(job, outcome, configuration, record))

    def end(self, summary: Summary) -> None:
        """See `Listener`."""
        self._each(lambda one: one.end(summary))

    def failed(self, message: str) -> None:
        """See `Listener`."""
        self._each(lambda one: one.failed(message))

    def collect(self) -> None:
        """Show what the listeners warn of, and keep it."""
        for one in self._listeners:
            while one.warnings:
                self.warn(one.warnings.pop(0))

    def warn(self, sentence: str) -> None:
        """Show a warning at once, and keep it.

        Args:
            sentence: what is doubtful, and what that means.
        """
        self.warnings.append(sentence)
        self._show(sentence)

    def _each(self, tell: Callable[[Listener], None]) -> None:
        for one in list(self._listeners):
            try:
                tell(one)
            except Exception as error:  # whoever watches a sweep must not end it
                self._listeners.remove(one)
                reason = f"{type(error).__name__}: {error}"
                self.warn(f"{one.name} is told no more, and the run goes on: {reason}")
        self.collect()
