"""One trial as a measure of the user's sees it, and the values of such measures.

A measure is a function of `TrialResults`, by import path or entry point; it returns a finite
number. It sees test data, and so chooses nothing: its values stand in a table of their own, and
reports print them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsweep.errors import StudyError
from clsweep.records.accuracy import accuracy_table
from clsweep.records.schema import SPLITS
from clsweep.records.trial_extras import MEASURE_GROUP, MeasureValue
from clsweep.user_code import UserCode, checked_call, user_code

WHERE = "[report] measures"
_EXPECTED = "measure(results) -> a finite number; see docs/measures.md"

Outputs = Callable[[int, str], tuple[NDArray[np.float32], NDArray[np.int64]]]


class TrialResults:
    """One trial after its last task; every table and array is a copy.

    Attributes:
        scenario: 'task', 'domain' or 'class'.
        n_tasks: T.
    """

    def __init__(
        self,
        scenario: str,
        n_tasks: int,
        rows: Iterable[Sequence[Any]],
        outputs: Outputs | None = None,
    ) -> None:
        """Take what is known.

        Args:
            scenario: of the benchmark.
            n_tasks: T.
            rows: accuracy rows, see `records.accuracy`.
            outputs: (task, split) -> logits [n, K] and labels [n] of the final network; None
                where no network is at hand, as in a report.
        """
        self.scenario, self.n_tasks = scenario, n_tasks
        self._rows, self._outputs = list(rows), outputs

    def accuracy(self, split: str = "test") -> NDArray[np.float64]:
        """Accuracies in [0, 1], shape [T + 1, T]: row i is after i tasks, column j is task j.

        Args:
            split: 'test' or 'validation'.

        Returns:
            NaN where nothing was evaluated, as on tasks that were not learnt yet.
        """
        _check_split(split)
        return accuracy_table(self._rows, split, self.n_tasks)

    def logits(self, task: int, split: str = "test") -> NDArray[np.float32]:
        """Outputs of the final network for a task's examples, shape [n, K].

        K are the classes among which they are classified: the task's own, or under one head for
        all classes those of all tasks.

        Args:
            task: from 0.
            split: 'test' or 'validation'.

        Raises:
            RuntimeError: the network is not at hand.
        """
        return self._of(task, split)[0].copy()

    def labels(self, task: int, split: str = "test") -> NDArray[np.int64]:
        """The right columns of `logits`, shape [n]; see there."""
        return self._of(task, split)[1].copy()

    def _of(self, task: int, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        _check_split(split)
        if not 0 <= task < self.n_tasks:
            raise IndexError(f"there is no task {task}: they are 0 to {self.n_tasks - 1}")
        if self._outputs is None:
            raise RuntimeError("logits are known while a trial runs, and not in a report")
        return self._outputs(task, split)


def measure_code(name: str, where: str = WHERE) -> UserCode:
    """A measure of the user's.

    Args:
        name: an import path, or the name of an entry point of 'clsweep.measures'.
        where: the key that asks for it, for messages.

    Raises:
        StudyError: it cannot be imported.
    """
    return user_code(name, where=where, expected=_EXPECTED, group=MEASURE_GROUP)


def measured(code: UserCode, results: TrialResults) -> float:
    """The value of a measure.

    Args:
        code: the measure.
        results: of one trial.

    Raises:
        StudyError: it raises, or returns something else than a finite number.
    """
    return float(checked_call(code, _complaint, results))


def measure_values(names: Iterable[str], results: TrialResults) -> tuple[MeasureValue, ...]:
    """The values of measures; one that fails has a remark instead, and the trial is kept.

    Args:
        names: of measures.
        results: of one trial.
    """
    found = []
    for name in names:
        try:
            found.append(MeasureValue(name, measured(measure_code(name), results)))
        except StudyError as error:
            lines = (line.strip() for line in str(error).splitlines())
            found.append(MeasureValue(name, None, "; ".join(lines)))
    return tuple(found)


def check_measures(names: Iterable[str], scenario: str, sizes: Sequence[int]) -> None:
    """Try measures on made-up results of the benchmark's form, before anything is trained.

    Args:
        names: of measures.
        scenario: of the benchmark.
        sizes: classes of every task.

    Raises:
        StudyError: one cannot be imported, raises, or returns something else than a number.
    """
    made_up = _made_up(scenario, sizes)
    for name in names:
        measured(measure_code(name), made_up)


def _made_up(scenario: str, sizes: Sequence[int]) -> TrialResults:
    """Four examples per class, and a network that is right with three of them."""
    n_tasks, each = len(sizes), 4
    starts = [sum(sizes[:task]) if scenario == "class" else 0 for task in range(n_tasks)]
    rows = [
        [after, on, split, 3 * sizes[on], each * sizes[on]]
        for split in SPLITS
        for after in range(-1, n_tasks)
        for on in range(n_tasks)
        if on <= after or scenario == "domain"
    ]

    def outputs(task: int, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        width = sum(sizes) if scenario == "class" else sizes[task]
        labels = starts[task] + np.repeat(np.arange(sizes[task]), each)
        guessed = np.where(np.arange(len(labels)) % each == 0, (labels + 1) % width, labels)
        logits = np.zeros((len(labels), width), dtype=np.float32)
        logits[np.arange(len(labels)), guessed] = 1.0
        return logits, labels.astype(np.int64)

    return TrialResults(scenario, n_tasks, rows, outputs)


def _complaint(returned: Any) -> str:
    is_number = isinstance(returned, (int, float, np.integer, np.floating))
    if not is_number or isinstance(returned, bool):
        return f"returned a {type(returned).__name__}"
    return "" if math.isfinite(returned) else f"returned {float(returned)}"


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"there is no split '{split}': they are {' and '.join(SPLITS)}")
