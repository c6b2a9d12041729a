"""The most important findings: each where it is so, labels together, worst first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clsweep.reporting.findings import findings
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from tests.support.records import Record, make_record, split_rows, write_study

N_SEEDS = 6


def trials(
    label: str,
    method: str,
    sources: dict[float, float],
    diverged: tuple[float, ...] = (),
    targets: tuple[float, float] = (0.9, 0.9),
    **trial: object,
) -> list[Record]:
    """One label; its validation and test targets are the same for all values."""
    records = []
    for lam, source in sources.items():
        for seed in range(N_SEEDS):
            own = source + 0.01 * (seed % 2)
            rows = split_rows((own, targets[0]), (own, targets[1]), before=own)
            status = "diverged" if lam in diverged else "ok"
            made = make_record(
                label,
                method,
                seed,
                {"lam": lam, "variant": label},
                {"lam": lam},
                None if status != "ok" else rows,
                status,
                **trial,
            )
            records.append(made)
    return records


def tuned(target: float = 0.9) -> list[Record]:
    rows = split_rows((0.3, target))
    return [
        make_record("fine-tuning", "finetune", seed, {}, {}, rows, is_reference=True)
        for seed in range(N_SEEDS)
    ]


INSIDE = {1.0: 0.6, 10.0: 0.8, 100.0: 0.7}


def study(folder: Path, *records: list[Record]) -> ReportData:
    # The study file of these records names no methods, which is not what is tested.
    data = build(write_study(folder, [one for some in records for one in some]))
    return replace(data, urgent=())


def test_kinds_of_trouble_have_an_order_and_labels_of_one_trouble_are_together(
    tmp_path: Path,
) -> None:
    data = study(
        tmp_path / "r",
        trials("A", "ewc", {1.0: 0.6, 10.0: 0.8}),
        trials("B", "mas", {1.0: 0.6, 10.0: 0.8}),
        trials("C", "ewc", {1.0: 0.5, 10.0: 0.5, 100.0: 0.5}, diverged=(1.0, 10.0, 100.0)),
        tuned(),
    )
    found = findings(data)
    assert found[0] == (
        'C has no value that finished with every seed (diverged): try form = "proximal", which is '
        "stable for every λ; else a lower lr or a lower λ."
    )
    assert found[1].startswith("Unequal numbers of configurations")
    (edges,) = (one for one in found if "best average lies at the end" in one)
    assert edges.endswith("try further: A λ=10 (highest), B λ=10 (highest).")
    worse = replace(data, urgent=("The record of trial x is damaged. Run again.",))
    assert findings(worse) == ("The record of trial x is damaged.", *found)


def test_what_diverged_says_where_the_stable_values_end(tmp_path: Path) -> None:
    sources = {1.0: 0.6, 10.0: 0.8, 100.0: 0.7, 1000.0: 0.5}
    data = study(tmp_path / "r", trials("A", "ewc", sources, diverged=(1000.0,)), tuned())
    (found,) = (one for one in findings(data) if "diverged" in one)
    assert found.startswith("A: 1 of 4 configurations diverged, none up to λ=100; try form = ")
    (note,) = (one for one in data.notes if "diverged" in one)
    assert note.endswith(" None up to λ=100.")
    lowest = study(tmp_path / "l", trials("A", "ewc", sources, diverged=(1.0,)), tuned())
    (found,) = (one for one in findings(lowest) if "diverged" in one)
    assert "none up to" not in found


@pytest.mark.parametrize(("target", "is_missed"), [(0.84, True), (0.9, False)])
def test_a_target_that_is_missed_on_test_data_is_said(
    tmp_path: Path, target: float, is_missed: bool
) -> None:
    data = study(tmp_path / "r", trials("A", "ewc", INSIDE, targets=(0.9, target)), tuned())
    found = [one for one in findings(data) if one.startswith("†")]
    assert len(found) == is_missed
    if is_missed:
        assert found[0].endswith("looks better than it is: A at 1 point, A at 5 points.")


def test_a_best_average_that_hardly_learns_the_last_task_is_said(tmp_path: Path) -> None:
    data = study(tmp_path / "r", trials("A", "ewc", INSIDE, targets=(0.2, 0.2)), tuned())
    found = next(one for one in findings(data) if "hardly" in one)
    assert found == (
        "At the best average A hardly learns the last task (20 %, fine-tuning 90 %): compare the "
        "source kept."
    )


def test_a_change_after_a_look_is_said_and_its_reason_kept(tmp_path: Path) -> None:
    data = study(tmp_path / "r", trials("A", "ewc", INSIDE), tuned())
    note = "The analysis was changed: drops (was 1, is 2). Claims may be the work of the change."
    assert "The analysis was changed: drops (was 1, is 2)." in findings(
        replace(data, late_changes=(note,))
    )


def test_a_front_that_goes_on_is_said(tmp_path: Path) -> None:
    records = trials("A", "ewc", INSIDE)
    for record in records:
        for row in record["accuracy"]:
            if row[:2] == [0, 0]:
                row[3] = 950
    data = study(tmp_path / "r", records, tuned())
    (found,) = (one for one in findings(data) if one.startswith("Fronts that end below"))
    assert found.endswith("in source accuracy (points): A −14.5; more values may go on.")


def test_without_fine_tuning_it_is_said_what_to_add(tmp_path: Path) -> None:
    data = study(tmp_path / "r", trials("A", "ewc", INSIDE))
    assert any('add a method `name = "finetune"`' in one for one in findings(data))


# Halves of a point are rounded either way, and none comes of these.
SOURCES = {"A": 0.205, "B": 0.105, "C": 0.005, "D": 0.105, "E": 0.205}


def test_who_loses_to_fine_tuning_is_said_before_other_trouble(tmp_path: Path) -> None:
    # Fine-tuning has 0.3 of the source and 0.9 of the target: 60 %.
    one = study(
        tmp_path / "one",
        trials("A", "ewc", {1.0: 0.255}),
        trials("B", "mas", {1.0: 0.6, 10.0: 0.8}),
        tuned(),
    )
    assert findings(one)[0] == "A is below plain fine-tuning: 58.0 against 60.0 %."
    assert len(findings(one)) > 1
    (note,) = (note for note in one.notes if "plain fine-tuning" in note)
    assert note.startswith("A is below plain fine-tuning: 58.0 against 60.0 %. These are averages")
    several = study(
        tmp_path / "several",
        *(trials(label, "ewc", {1.0: s}) for label, s in SOURCES.items()),
        tuned(),
    )
    assert findings(several)[0] == (
        "5 methods are below plain fine-tuning (60.0 %): C 45.5, B 50.5, D 50.5, A 55.5 and 1 "
        "more."
    )
    (note,) = (note for note in several.notes if "plain fine-tuning" in note)
    assert "A 55.5, E 55.5. These" in note


@pytest.mark.parametrize(
    ("more", "said"), [(-1, "59.98 against 60.00"), (-12, "59.8 against 60.0"), (0, ""), (1, "")]
)
def test_only_what_is_below_is_below_and_is_seen_to_be(
    tmp_path: Path, more: int, said: str
) -> None:
    """With 0.295 of the source on average both have 60 %, until one trial has more or less."""
    records = trials("A", "ewc", {1.0: 0.295})
    for row in records[0]["accuracy"]:
        row[3] += more
    found = [
        one
        for one in findings(study(tmp_path / "r", records, tuned()))
        if "plain fine-tuning" in one
    ]
    assert found == ([f"A is below plain fine-tuning: {said} %."] if said else [])
