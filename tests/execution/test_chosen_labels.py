"""A run of some labels: whose jobs it has, and what it leaves for later."""

from __future__ import annotations

import pytest

from clsweep.errors import RunnerError
from clsweep.execution.chosen_labels import chosen_labels, jobs_of, left_for_later
from clsweep.study import planning
from clsweep.study.configurations import configurations
from tests.support.searches import LWF, REFERENCES, searched

GRID = searched("kind = 'grid'", REFERENCES + '[[methods]]\nname = "ewc"\nlam = [1, 2]\n' + LWF)


NAMES = {one.label: one.name for one in GRID.methods}


def test_labels_are_named_by_themselves_or_by_their_method() -> None:
    assert chosen_labels(NAMES, [], fills=False) is None
    assert chosen_labels(NAMES, ["EWC", "frozen"], fills=False) == {"EWC", "frozen trunk"}
    assert chosen_labels(NAMES, ["lwf"], fills=False) == {"LwF"}
    with pytest.raises(RunnerError, match=r"no label 'ewcc'(.|\n)*clsweep plan"):
        chosen_labels(NAMES, ["EWC", "ewcc"], fills=False)


def test_fine_tuning_runs_along_where_the_ends_of_fronts_are_measured_by_it() -> None:
    assert chosen_labels(NAMES, ["EWC"], fills=True) == {"EWC", "fine-tuning"}


def test_a_stage_is_computed_for_whoever_needs_it_and_for_nobody_else() -> None:
    grid = configurations(GRID)
    jobs = planning.plan(GRID, grid, set(), lambda key: False).jobs
    assert jobs_of(jobs, None) == jobs
    for label, kinds in (("EWC", {"source", "statistics"}), ("LwF", {"source"})):
        own = jobs_of(jobs, {label})
        assert {job.label for job in own if job.kind == "trial"} == {label}
        assert {job.kind for job in own} - {"trial"} == kinds
        needed = {key for job in own for key in job.needs}
        assert needed == {job.key for job in own if job.kind != "trial"}
        assert [job for job in jobs if job in own] == own


def test_what_is_left_counts_what_a_search_may_still_ask_for() -> None:
    grid = configurations(GRID)
    wanted = {f"{one.id}-{seed}": one.label for one in grid for seed in GRID.seeds}
    done = {f"{one.id}-0" for one in grid if one.label == "EWC"}
    left = left_for_later(NAMES, wanted, done, {}, {"LwF"})
    assert left == {"fine-tuning": 2, "frozen trunk": 2, "EWC": 2}
    assert left_for_later(NAMES, wanted, done, {}, None) == {}
    named = {key: label for key, label in wanted.items() if label != "EWC"}
    assert left_for_later(NAMES, named, set(), {"EWC": 18}, {"frozen trunk", "LwF"}) == {
        "fine-tuning": 2,
        "EWC": 18,
    }
