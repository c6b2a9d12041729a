"""The list of trials: order, search, pages; ten thousand of them in small answers."""

from __future__ import annotations

import json

import pytest

from clsweep.live.answers import trials_answer
from clsweep.live.trial_rows import STATES, TrialRow, Wanted, wanted_rows
from clsweep.live.watched_sweep import SweepState
from clsweep.status.validation_points import ValidationPoint


def row(i: int, state: str = "ok", **fields: object) -> TrialRow:
    usual = {
        "label": "EWC", "method": "ewc", "configuration": lambda: f"λ = {10**i}", "seed": 0,
        "at": float(i), "point": ValidationPoint(0.1 * i, 0.5, 0.2) if state == "ok" else None,
    }  # fmt: skip
    return TrialRow(trial_id=f"t{i}", state=state, **{**usual, **fields})  # type: ignore[arg-type]


def ids(rows: list[TrialRow], **wanted: object) -> list[str]:
    return [one.trial_id for one in wanted_rows(rows, Wanted(**wanted)).rows]  # type: ignore[arg-type]


def test_what_needs_eyes_comes_first() -> None:
    rows = [row(i, state) for i, state in enumerate(reversed(STATES))]
    rows += [row(7), row(8, "failed"), row(9, "running"), row(10, "to come", at=None)]
    assert ids(rows) == ["t6", "t9", "t8", "t5", "t4", "t3", "t2", "t7", "t1", "t0", "t10"]


def test_numbers_sort_by_value_and_what_has_none_comes_last() -> None:
    rows = [row(2), row(0), row(1, "failed", message="b"), row(10)]
    assert ids(rows, sort="configuration") == ["t0", "t1", "t2", "t10"]
    assert ids(rows, sort="configuration", is_descending=True) == ["t10", "t2", "t1", "t0"]
    assert ids(rows, sort="source") == ["t0", "t2", "t10", "t1"]
    assert ids(rows, sort="source", is_descending=True) == ["t10", "t2", "t0", "t1"]
    assert ids(rows, sort="message")[0] == "t1"


def test_search_by_words_of_any_column() -> None:
    rows = [row(0), row(1, "failed", message="CUDA error"), row(2, "oom", seed=3, machine="gpu7")]
    assert ids(rows, text="cuda ERROR") == ["t1"]
    assert ids(rows, text="gpu7, seed 3,") == ["t2"]
    assert ids(rows, text="λ = 1") == ["t0"]
    assert ids(rows, text="lam = 1") == ["t0"]
    assert ids(rows, text="lam = (") == []
    assert ids(rows, state="not ok", sort="seed") == ["t1", "t2"]
    assert ids(rows, label="SI") == []
    assert wanted_rows([], Wanted(page=7)) == ([], 1, 1, 0)


@pytest.mark.parametrize("query", ["", "text=lam&sort=configuration&size=100000", "page=77"])
def test_ten_thousand_trials_make_small_answers(query: str) -> None:
    rows = tuple(row(i % 90, message="x" * 3000, seed=i) for i in range(10_000))
    state = SweepState(None, {})
    state.__dict__["rows"] = rows
    told = trials_answer(state, query)
    assert (told["n_found"], told["n_trials"]) == (10_000, 10_000)
    assert len(told["rows"]) == (200 if "size" in query else 50)
    assert len(json.dumps(told)) < 400_000
