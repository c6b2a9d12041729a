"""Keys of stages: equal for equal work, different for different work, and stable over releases."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from clsweep.study import planning
from clsweep.study.configurations import configurations
from clsweep.study.identity import identity
from clsweep.study.study import Study, parse_study

STUDY = """\
name = "s"
seeds = [3, 5]

[benchmark]
name = "split"
n_tasks = 5

[net]
hidden = [10]

[training]
lr = 0.1

[[methods]]
name = "joint"

[[methods]]
name = "ewc"
lam = [1, 10]

[[methods]]
name = "ewc"
label = "sampled"
lam = 10
fisher = "sampled"

[[methods]]
name = "finetune"
"""
INTERPOLATE = """
[[methods]]
name = "interpolate"
beta = [0.25, 0.5]
"""


def study(**changes: str) -> Study:
    text = STUDY
    for old, new in changes.items():
        text = text.replace(OLD[old], new)
    return parse_study(text)


OLD = {"name": 'name = "s"', "lr": "lr = 0.1", "hidden": "hidden = [10]", "tasks": "n_tasks = 5"}


def keys(of: Study) -> tuple[str, str]:
    """(source key, Fisher key) of the first EWC configuration with seed 3."""
    ewc = next(c for c in configurations(of) if c.method == "ewc")
    return planning.source_key(of, ewc.start, 3), planning.statistics_key(of, ewc.start, 3)


def test_golden_keys() -> None:
    # A change here throws away every user's cached stages: raise a version only when a stage's
    # code computes something else.
    assert keys(study()) == ("c5492b47e9dcd635c6b655e5", "4706a7bfdaf69d3bb9559f7a")
    assert planning.stage_key("source", 1, {"a": 1.0}) == "9ffcf194296241d1eb10b70e"


def test_golden_key_of_the_fine_tuned_network() -> None:
    both = parse_study(STUDY + INTERPOLATE)
    first, second = (c for c in configurations(both) if c.method == "interpolate")
    assert planning.finetuned_key(both, first.start, 3) == "5af842f4dfbd4fb5caf79c77"
    assert planning.finetuned_key(both, first.start, 3) == planning.finetuned_key(
        both, second.start, 3
    )
    assert planning.finetuned_key(both, first.start, 3) != planning.finetuned_key(
        both, first.start, 5
    )
    ewc = next(c for c in configurations(both) if c.method == "ewc")
    assert planning.finetuned_key(both, ewc.start, 3) == ""


def test_one_fine_tuned_network_per_seed() -> None:
    jobs = plan_of(parse_study(STUDY + INTERPOLATE)).jobs
    tuned = [job for job in jobs if job.kind == "finetuned"]
    assert [job.seed for job in tuned] == [3, 5]
    for job in jobs:
        if job.label == "weight interpolation":
            (own,) = (t for t in tuned if t.seed == job.seed)
            assert job.needs == (*own.needs, own.key)


def test_the_name_of_the_study_does_not_matter() -> None:
    assert keys(study(name='name = "other"')) == keys(study())


@pytest.mark.parametrize(
    ("what", "new"), [("lr", "lr = 0.2"), ("hidden", "hidden = [11]"), ("tasks", "n_tasks = 2")]
)
def test_everything_that_training_depends_on_matters(what: str, new: str) -> None:
    for before, after in zip(keys(study()), keys(study(**{what: new})), strict=True):
        assert before != after


def plan_of(of: Study, done: set[str] = frozenset(), cached: set[str] = frozenset()):
    return planning.plan(of, configurations(of), done, cached.__contains__)


def test_one_source_per_seed_and_one_fisher_per_estimator() -> None:
    jobs = plan_of(study()).jobs
    kinds = [job.kind for job in jobs]
    assert kinds.count("source") == 2
    assert kinds.count("statistics") == 4
    assert kinds.count("trial") == 10


def test_the_identity_of_a_source_is_worked_out_once_per_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def noted(model: BaseModel) -> dict[str, object]:
        asked.append(type(model))
        return identity(model)

    monkeypatch.setattr(planning, "identity", noted)
    of = study(lr="lr = 0.1234")
    made = planning.plan(of, configurations(of), set(), lambda key: False)
    assert made.n_sources == 2
    assert asked.count(type(of.benchmark)) == 2


def test_every_job_follows_what_it_needs_and_seeds_come_in_turn() -> None:
    seen: set[str] = set()
    jobs = plan_of(study()).jobs
    for job in jobs:
        assert seen.issuperset(job.needs)
        assert job.key not in seen
        seen.add(job.key)
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)


def test_done_trials_and_cached_stages_are_not_planned_again() -> None:
    full = plan_of(study())
    trial = next(job for job in full.jobs if job.kind == "trial" and job.label == "sampled")
    rest = plan_of(study(), {trial.key}, set(trial.needs[:1]))
    keys_left = {job.key for job in rest.jobs}
    # The Fisher of that trial is needed by nobody else; its source is, and is there.
    assert keys_left == {j.key for j in full.jobs} - {trial.key, *trial.needs}
    assert rest.n_done == 1
    assert rest.stages_in_cache == [trial.needs[0]]


def test_a_finished_study_needs_nothing() -> None:
    full = plan_of(study())
    done = {job.key for job in full.jobs if job.kind == "trial"}
    rest = plan_of(study(), done)
    assert rest.jobs == []
    assert rest.n_done == rest.n_trials == 10
