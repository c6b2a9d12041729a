"""The order in which jobs start: references, a coarse grid, then the rest, seed by seed."""

from __future__ import annotations

import random

from clsweep.study import planning
from clsweep.study.configurations import configurations
from clsweep.study.job_order import breadth_first, halving_levels, ranks
from clsweep.study.jobs import Job
from clsweep.study.study import parse_study

STUDY = """\
name = "s"
seeds = [3, 5]
[benchmark]
name = "split"
[[methods]]
name = "ewc"
lam = [1, 3, 10, 30, 100]
[[methods]]
name = "lwf"
lam = [1, 2, 4]
temperature = [1, 2, 4]
[[methods]]
name = "finetune"
[[methods]]
name = "joint"
"""


def test_levels_halve_the_gaps() -> None:
    assert halving_levels(0) == []
    assert halving_levels(1) == [0]
    assert halving_levels(3) == [0, 0, 0]
    assert halving_levels(5) == [0, 1, 0, 1, 0]
    assert halving_levels(9) == [0, 2, 1, 2, 0, 2, 1, 2, 0]
    for n in range(2, 40):
        levels = halving_levels(n)
        assert (levels[0], levels[-1], levels[(n - 1) // 2]) == (0, 0, 0)
        for level in range(max(levels) + 1):
            there = [place for place, own in enumerate(levels) if own <= level]
            gaps = [b - a for a, b in zip(there, there[1:], strict=False)]
            assert max(gaps) <= -(-(n - 1) // 2 ** (level + 1)), "each level halves the gaps"


def test_a_coarse_figure_of_all_methods_comes_before_anything_is_filled() -> None:
    study = parse_study(STUDY)
    grid = configurations(study)
    jobs = planning.plan(study, grid, set(), lambda key: False).jobs
    by_id = {one.id: one for one in grid}

    def told(job: Job) -> tuple[object, ...]:
        made = by_id[job.config_id]
        return (made.label, *made.hyper.model_dump(include={"lam", "temperature"}).values())

    ordered = breadth_first(jobs, ranks(grid))
    trials = [job for job in ordered if job.kind == "trial"]
    assert [job.seed for job in trials] == [3] * 16 + [5] * 16
    first = [told(job) for job in trials[:16]]
    assert {one[0] for one in first[:2]} == {"fine-tuning", "joint"}
    coarse = [("EWC", 1.0), ("EWC", 10.0), ("EWC", 100.0)]
    coarse += [("LwF", lam, 2.0) for lam in (1.0, 2.0, 4.0)]
    assert first[2:8] == coarse
    assert first[8:10] == [("EWC", 3.0), ("EWC", 30.0)]
    assert {one[2] for one in first[10:]} == {1.0, 4.0}
    assert [told(job) for job in trials[16:]] == first

    assert {job.key for job in ordered} == {job.key for job in jobs}
    assert len(ordered) == len(jobs)
    seen: set[str] = set()
    for job in ordered:
        assert seen.issuperset(job.needs), "a stage comes before whoever needs it"
        seen.add(job.key)


def test_stages_that_no_trial_needs_any_more_come_last() -> None:
    study = parse_study(STUDY)
    grid = configurations(study)
    jobs = planning.plan(study, grid, set(), lambda key: False).jobs
    stages = [job for job in jobs if job.kind != "trial"]
    joint = [job for job in jobs if job.label == "joint"]
    assert breadth_first([*stages, *joint], ranks(grid)) == [*joint, *stages]


def test_any_part_of_a_plan_can_be_ordered() -> None:
    study = parse_study(STUDY)
    grid = configurations(study)
    draw = random.Random(0)
    for _ in range(20):
        done = {f"{one.id}-{seed}" for one in grid for seed in (3, 5) if draw.random() < 0.5}
        jobs = planning.plan(study, grid, done, lambda key: False).jobs
        assert sorted(breadth_first(jobs, ranks(grid)), key=str) == sorted(jobs, key=str)
