"""Measures of the user's: what they are given, what they may return, where a mistake is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clsweep.errors import StudyError
from clsweep.records.trial_results import (
    TrialResults,
    check_measures,
    measure_code,
    measure_values,
    measured,
)

_MEASURES = """\
import numpy as np


def worst_task(results):
    return np.nanmin(results.accuracy()[-1])


def mean_margin(results):
    top = np.sort(results.logits(0), axis=1)
    return float((top[:, -1] - top[:, -2]).mean())


def right(results):
    return np.mean([(results.logits(t).argmax(1) == results.labels(t)).mean() for t in (0, 1)])


def nothing(results):
    return None


def a_list(results):
    return [0.5]


def nan(results):
    return float("nan")


def yes(results):
    return True


def fails(results):
    x = 1
    return x / 0


def beyond(results):
    return results.logits(9)


def odd_split(results):
    return results.accuracy("train")


def writes(results):
    results.logits(0)[:] = 0
    results.accuracy()[:] = 0
    return results.logits(0).sum()
"""
ROWS = [
    [-1, 0, "test", 1, 10],
    [0, 0, "test", 9, 10],
    [1, 0, "test", 6, 10],
    [1, 1, "test", 8, 10],
    [1, 0, "validation", 1, 10],
    [1, 1, "validation", 1, 10],
]


@pytest.fixture(autouse=True)
def measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own_measures.py"
    path.write_text(_MEASURES)
    yield path
    sys.modules.pop("own_measures", None)


def outputs(task: int, split: str):
    logits = np.array([[3.0, 1.0], [0.0, 4.0], [5.0, 4.0]], dtype=np.float32)
    return (logits if split == "test" else -logits), np.array([0, 1, 1])


def test_a_measure_of_accuracies_and_one_of_logits() -> None:
    results = TrialResults("task", 2, ROWS, outputs)
    assert measured(measure_code("own_measures:worst_task"), results) == 0.6
    assert measured(measure_code("own_measures:mean_margin"), results) == pytest.approx(7 / 3)
    assert measured(measure_code("own_measures:right"), results) == pytest.approx(2 / 3)


def test_what_a_measure_writes_to_is_a_copy() -> None:
    assert (
        measured(measure_code("own_measures:writes"), TrialResults("task", 2, ROWS, outputs)) == 17
    )


@pytest.mark.parametrize(
    ("name", "said", "line"),
    [
        ("nothing", "returned a NoneType", 17),
        ("a_list", "returned a list", 21),
        ("nan", "returned nan", 25),
        ("yes", "returned a bool", 29),
        ("fails", "raised ZeroDivisionError: division by zero", 35),
        ("beyond", "raised IndexError: there is no task 9: they are 0 to 1", 39),
        ("odd_split", "raised ValueError: there is no split 'train'", 43),
    ],
)
def test_a_broken_measure_is_one_message_with_file_and_line(
    measures: Path, name: str, said: str, line: int
) -> None:
    with pytest.raises(StudyError, match=f"'own_measures:{name}' {said}") as caught:
        check_measures(["own_measures:worst_task", f"own_measures:{name}"], "task", (5, 5))
    assert f"where: [report] measures: {measures}, line {line}" in str(caught.value)
    # In a trial it costs no result.
    first, second = measure_values(
        ["own_measures:worst_task", f"own_measures:{name}"], TrialResults("task", 2, ROWS, outputs)
    )
    assert (first.value, first.remark) == (0.6, "")
    assert second.value is None
    assert said in second.remark
    assert f"{measures}, line {line}" in second.remark
    assert "\n" not in second.remark


def test_a_report_has_no_logits() -> None:
    without = TrialResults("task", 2, ROWS)
    assert measured(measure_code("own_measures:worst_task"), without) == 0.6
    with pytest.raises(StudyError, match="logits are known while a trial runs, and not in a rep"):
        measured(measure_code("own_measures:mean_margin"), without)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_made_up_results_have_the_form_of_the_benchmark(scenario: str) -> None:
    sizes = (3, 3) if scenario == "domain" else (3, 1)
    check_measures(["own_measures:worst_task", "own_measures:right"], scenario, sizes)
