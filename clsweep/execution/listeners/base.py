"""Listeners, who are told what a run does: the display of its progress, logs and trackers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from clsweep.execution.outcomes import Outcome, Summary
    from clsweep.records.schema import Record
    from clsweep.storage.remote_path import Place
    from clsweep.study.configurations import Configuration
    from clsweep.study.jobs import Job
    from clsweep.study.study import Study


class RunStart(NamedTuple):
    """The beginning of a run, which has the folder and knows what is to be done.

    Attributes:
        study: what is asked for.
        out: the results folder.
        n_trials: trials of the study that are done or that the run is for; with a search at most.
        n_done: those that are done already.
        is_upper_limit: whether a search may end before it has asked for all of them.
        has_work: whether any job is to be done.
        curves: label -> its trials as in `n_trials`, and those that are done, in file order.
        stages: the stages that are to be done first.
        best: reads label -> best average validation accuracy of a trial in the folder, in [0, 1].
    """

    study: Study
    out: Place
    n_trials: int
    n_done: int
    is_upper_limit: bool
    has_work: bool
    curves: Mapping[str, tuple[int, int]] = {}
    stages: Sequence[Job] = ()
    best: Callable[[], Mapping[str, float]] = dict


class Listener:
    """Is told what a run does, in the driver's main thread; the base does nothing with it.

    Attributes:
        name: for warnings.
        warnings: sentences that are to be shown; whoever shows them empties the list.
    """

    name = "a listener"

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def begin(self, start: RunStart) -> None:
        """The run begins.

        Args:
            start: with what.
        """

    def preparing(self, what: str) -> None:
        """Something is done before the first job, or after the last, that may take seconds.

        Args:
            what: in words, such as 'starting Ray'; '' when it is done.
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
            record: gives the record of a trial, without its test rows; it is read once for all.
        """

    def warned(self, sentence: str) -> None:
        """Something beside the trials went wrong, and the run goes on.

        A warning that a listener has in answer to another's is shown with the next event: were it
        shown at once, two that answer each other would never end.

        Args:
            sentence: what, and what that means.
        """

    def noted(self, sentence: str) -> None:
        """The run has found something out that is good to know, and nothing is wrong.

        Args:
            sentence: what.
        """

    def jobs_ended(self) -> None:
        """No job runs any more, however that came; told only if there was work."""

    def end(self, summary: Summary) -> None:
        """The run is over, and the records are compacted.

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
        listeners: to whom, in this order.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        super().__init__()
        self._listeners = list(listeners)

    def begin(self, start: RunStart) -> None:
        """See `Listener`."""
        self._each(lambda one: one.begin(start))

    def preparing(self, what: str) -> None:
        """See `Listener`."""
        self._each(lambda one: one.preparing(what))

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

    def warned(self, sentence: str) -> None:
        """Have a warning shown at once, and keep it.

        Args:
            sentence: what is doubtful, and what that means.
        """
        self._show(sentence)
        self.collect()

    def announce(self, sentence: str) -> None:
        """Have a sentence shown at once, which need not be said again when the run is over.

        Args:
            sentence: what is to be expected.
        """
        self._each(lambda one: one.warned(sentence))

    def noted(self, sentence: str) -> None:
        """See `Listener`."""
        self._each(lambda one: one.noted(sentence))

    def jobs_ended(self) -> None:
        """See `Listener`."""
        self._each(lambda one: one.jobs_ended())

    def end(self, summary: Summary) -> None:
        """See `Listener`."""
        self._each(lambda one: one.end(summary))

    def failed(self, message: str) -> None:
        """See `Listener`."""
        self._each(lambda one: one.failed(message))

    def collect(self) -> None:
        """Pass on what the listeners warn of; what they add meanwhile may wait, see `Listener`."""
        for one in list(self._listeners):  # who cannot show a warning is sent away meanwhile
            for _ in range(len(one.warnings)):
                self._show(one.warnings.pop(0))

    def _each(self, tell: Callable[[Listener], None]) -> None:
        self._tell(tell)
        self.collect()

    def _show(self, sentence: str) -> None:
        self.warnings.append(sentence)
        self._tell(lambda one: one.warned(sentence))

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        gone = []
        for one in list(self._listeners):
            try:
                tell(one)
            except Exception as error:  # whoever watches a sweep must not end it
                self._listeners.remove(one)
                reason = f"{type(error).__name__}: {error}"
                gone.append(f"{one.name} is told no more, and the run goes on: {reason}")
        for sentence in gone:
            self._show(sentence)
