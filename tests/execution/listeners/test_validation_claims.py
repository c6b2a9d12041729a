"""Claims on validation data while a run goes on: six seeds, all pairs, and no test count."""

from __future__ import annotations

from typing import Any

import numpy as np

from clsweep.execution.listeners.validation_claims import validation_claims
from tests.support.records import make_record, split_rows


def study(n_seeds: int, gap: float, test: tuple[float, float] | None = None) -> list[Any]:
    """Three methods of two configurations; the first is better by `gap`, the others are alike."""
    rng = np.random.default_rng(0)
    records = []
    for label, method, above in (("A", "ewc", gap), ("B", "mas", 0.0), ("C", "lwf", 0.0)):
        for seed in range(n_seeds):
            luck = 0.01 * rng.standard_normal()
            for lam, worse in ((1.0, 0.0), (10.0, 0.05)):
                value = 0.7 + above + luck - worse
                rows = split_rows((value, value), test)
                records.append(make_record(label, method, seed, {"lam": lam}, accuracy=rows))
    return records


def pairs(records: list[Any]) -> set[tuple[str, str]]:
    return {(one.above, one.below) for one in validation_claims(records)}


def test_a_large_difference_is_a_claim_from_six_seeds_on() -> None:
    assert pairs(study(5, gap=0.1)) == set()
    assert pairs(study(6, gap=0.1)) == {("A", "B"), ("A", "C")}
    assert pairs(study(6, gap=0.0)) == set()


def test_test_accuracies_change_nothing() -> None:
    other = study(6, gap=0.0, test=(0.9, 0.9))
    for record in other:
        if record["trial"]["label"] == "A":
            record["accuracy"] = split_rows((0.7, 0.7), (0.99, 0.99))
    assert pairs(other) == pairs(
        [
            {**r, "accuracy": split_rows((0.7, 0.7))} if r["trial"]["label"] == "A" else r
            for r in other
        ]
    )
    assert [d.interval for d in validation_claims(study(6, 0.1, test=(0.1, 0.1)))] == [
        d.interval for d in validation_claims(study(6, 0.1, test=(0.9, 0.9)))
    ]


def test_nothing_is_found_where_nothing_can_be_compared() -> None:
    assert validation_claims([]) == ()
    assert pairs([r for r in study(6, 0.1) if r["trial"]["label"] == "A"]) == set()
