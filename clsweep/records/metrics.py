"""What stands in an accuracy table: the accuracy of a classifier, or the metric of a regression.

With targets y of n examples, predictions ŷ, and ȳ the mean target of the task and split,

    R²       1 − Σ ‖y − ŷ‖² / Σ ‖y − ȳ‖²        at most 1; 0 is as good as predicting ȳ
    NRMSE    √(Σ ‖y − ŷ‖² / Σ ‖y − ȳ‖²)         the root of the mean squared error in units of the
                                               targets' standard deviation; 1 is predicting ȳ

The larger R² the better, the smaller NRMSE. A table holds numbers of which the larger is better:
where the smaller is, their negative. Records hold the sums, so that any metric can be computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# Of a row of a regression: after_task, on_task, split, squared_error, n_total, fourth_power,
# squared_deviation, metric.
SUM_ROW_LENGTH = 8


class Metric(NamedTuple):
    """A metric, and how reports speak of it.

    Attributes:
        name: as study files and records name it.
        title: in sentences and heads of tables.
        meaning: in half a sentence; '' where everybody knows.
        larger_is_better: of the metric itself; a table holds its negative where it is not.
        bounds: smallest and largest number that a table can hold.
        guess: what a table holds of a network that predicts the mean target; 0 for accuracy,
            whose level of guessing depends on the number of classes.
    """

    name: str
    title: str
    meaning: str
    larger_is_better: bool
    bounds: tuple[float, float]
    guess: float

    @property
    def is_accuracy(self) -> bool:
        """Whether it is the share of examples that are classified correctly."""
        return self.name == "accuracy"

    @property
    def declaration(self) -> str:
        """What it is and which direction is better, as a sentence; '' for accuracy."""
        if self.is_accuracy:
            return ""
        if self.larger_is_better:
            return f"{self.title}: {self.meaning}; the larger the better."
        plain = self.title.removeprefix("−")
        return (
            f"{self.title}: the negative of {plain}, {self.meaning}; the smaller {plain} the "
            "better, and so the larger what is shown."
        )

    def of(self, squared_error: Any, squared_deviation: Any) -> Any:
        """What a table holds, of numbers or arrays alike.

        Args:
            squared_error: Σ ‖y − ŷ‖² ≥ 0.
            squared_deviation: Σ ‖y − ȳ‖² > 0.
        """
        # Not before it is needed: study files are read without it.
        import numpy as np

        share = squared_error / squared_deviation
        return 1 - share if self.larger_is_better else -np.sqrt(share)

    def error(self, squared_error: Any, n: Any, fourth_power: Any, squared_deviation: Any) -> Any:
        """Standard error that the draw of the test examples gives, of numbers or arrays alike.

            se(m) = √((q − m²) / (n − 1)),   m = Σ ‖e‖² / n,   q = Σ ‖e‖⁴ / n,   e = y − ŷ

        of the mean squared error, carried over by the derivative of the metric, with the spread of
        the targets as it is. NaN for a single example, and of NRMSE where nothing is wrong.

        Args:
            squared_error: Σ ‖e‖².
            n: examples.
            fourth_power: Σ ‖e‖⁴.
            squared_deviation: Σ ‖y − ȳ‖² > 0.
        """
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.asarray(squared_error, dtype=np.float64) / n
            spread = np.maximum(np.asarray(fourth_power, dtype=np.float64) / n - mean**2, 0.0)
            of_mean = np.sqrt(spread / (np.asarray(n, dtype=np.float64) - 1))
            of_share = of_mean * n / squared_deviation
            if self.larger_is_better:
                return of_share
            return of_share / (2 * np.sqrt(squared_error / squared_deviation))

    def in_words(self, text: str, kept: Iterable[str] = ()) -> str:
        """A text about accuracies as a text about this metric.

        Args:
            text: of a report.
            kept: names of the user's own, in which nothing is replaced.
        """
        if self.is_accuracy or not _OF_CLASSES.search(text):
            return text
        names = sorted((name for name in kept if _OF_CLASSES.search(name)), key=len, reverse=True)
        own = "|".join(map(re.escape, names))
        pattern = rf"(?P<own>{own})|{_OF_CLASSES.pattern}" if own else _OF_CLASSES.pattern

        def said(found: re.Match[str]) -> str:
            if own and found["own"]:
                return found["own"]
            words = {"y": self.title, "ies": f"{self.title} values"}
            return words[found["end"]] if found["end"] else "examples" if found["images"] else ""

        return re.sub(pattern, said, text)


# What reports say of classes alone; ACC is the average accuracy.
_OF_CLASSES = re.compile(
    r"[Aa]ccurac(?P<end>y|ies)|\b(?P<images>images)\b|\bACC, (?=%\))| \(ACC\)"
)
ACCURACY = Metric("accuracy", "accuracy", "", True, (0.0, 1.0), 0.0)
R2 = Metric(
    "r2",
    "R²",
    "the share of the targets' variance that predictions explain",
    True,
    (-math.inf, 1.0),
    0.0,
)
NRMSE = Metric(
    "nrmse",
    "−NRMSE",
    "the root mean squared error over the standard deviation of the task's targets",
    False,
    (-math.inf, 0.0),
    -1.0,
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in (ACCURACY, R2, NRMSE)}
REGRESSION_METRICS = ("r2", "nrmse")


def metric_of(records: Iterable[Mapping[str, Any]]) -> Metric:
    """The metric of the rows of records; accuracy where none has any.

    Args:
        records: of one study.
    """
    for record in records:
        for row in record["accuracy"]:
            return metric_of_row(row)
    return ACCURACY


def metric_of_row(row: Sequence[Any]) -> Metric:
    """The metric of one row of a trial.

    Args:
        row: of counts or of sums.
    """
    return METRICS[row[-1]] if len(row) == SUM_ROW_LENGTH else ACCURACY


def value_of(row: Sequence[Any]) -> float:
    """What the table holds for one row of a trial.

    Args:
        row: of counts or of sums.
    """
    if len(row) != SUM_ROW_LENGTH:
        return int(row[3]) / int(row[4])
    return float(METRICS[row[7]].of(row[3], row[6]))


def error_of(row: Sequence[Any]) -> float:
    """Standard error that the draw of the examples gives a row; NaN for a row of counts.

    Args:
        row: of counts or of sums.
    """
    if len(row) != SUM_ROW_LENGTH:
        return math.nan
    return float(METRICS[row[7]].error(*row[3:7]))
