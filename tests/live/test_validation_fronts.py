"""Fronts of a sweep in the middle: those of a report of the same records, on validation data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.search.stored_validation import read_validation
from tests.support.live_pages import finish, read_always
from tests.support.study_folders import DiskFolder

LATER = "2025-01-02T00:00:00+00:00"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskFolder]:
    made = DiskFolder(tmp_path / "out")
    yield made
    made.store.close()


def test_points_are_those_that_a_report_would_draw(disk: DiskFolder) -> None:
    for index, (source, target) in enumerate([(0.5, 0.9), (0.6, 0.8), (0.7, 0.7), (0.65, 0.6)]):
        finish(disk, index, 0, validation=(source, target))
        if index == 1:
            finish(disk, index, 1, validation=(source + 0.1, target))
    watched = read_always(disk.place)
    for is_compacted in (False, True):
        if is_compacted:
            disk.store.compact()
        tuned, ewc = watched.state().fronts
        table = read_validation(disk.place)
        assert (tuned.is_reference, tuned.seeds, ewc.seeds) == (True, (0,), table.seeds)
        expected = {c.config_id: (c.source, c.target, c.average) for c in table.of("EWC")}
        found = {m.config_id: (m.source, m.target, m.average) for m in ewc.means}
        assert found.keys() == expected.keys()
        for key, numbers in found.items():
            assert numbers == pytest.approx(expected[key])
        assert [(m.source, m.on_front) for m in ewc.means] == [
            (0.6, True), (0.65, False), (0.7, True),
        ]  # fmt: skip
    # The second seed has caught up: two configurations would be dropped by neither.
    for index in (0, 2, 3):
        finish(disk, index, 1, validation=(0.9, 0.5))
    tuned, ewc = watched.state().fronts
    assert ewc.seeds == (0, 1) == read_validation(disk.place).seeds
    assert [m.source for m in ewc.means] == pytest.approx([0.65, 0.775, 0.8])


def test_what_diverged_with_a_seed_is_no_point_and_a_retry_counts(disk: DiskFolder) -> None:
    for index in (0, 1, 2):
        finish(disk, index, 0)
    disk.end(1, seed=1, status="diverged")
    watched = read_always(disk.place)
    assert [len(front.means) for front in watched.state().fronts] == [1, 1]
    disk.store.compact()
    assert [len(front.means) for front in watched.state().fronts] == [1, 1]
    # Tried again: the trial has another record, and another point.
    finish(disk, 2, 0, validation=(0.3, 0.3), at=LATER)
    disk.store.compact()
    (mean,) = watched.state().fronts[1].means
    assert (mean.source, mean.target) == (0.3, 0.3)
