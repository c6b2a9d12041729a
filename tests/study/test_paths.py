"""Paths in a study file: their values, identities, labels and stages, and what is refused."""

from __future__ import annotations

import pytest

from clsweep.errors import StudyError
from clsweep.records.schema import trial_id_of
from clsweep.study import planning
from clsweep.study.configurations import Configuration, configurations
from clsweep.study.jobs import Job
from clsweep.study.paths import label_of, label_without_path
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study

STUDY = """\
name = "s"
seeds = [3, 5]
[benchmark]
name = "split"
n_tasks = {n_tasks}
[search]
kind = "path"
{search}
[[methods]]
name = "finetune"
[[methods]]
{table}
"""
LAM = "lam = [1, 100, 10]"


def study(table: str = LAM, search: str = "", n_tasks: int = 2, name: str = "ewc") -> Study:
    table = f'name = "{name}"\n{table}'
    return parse_study(STUDY.format(table=table, search=search, n_tasks=n_tasks))


def points(of: Study) -> list[Configuration]:
    return [one for one in configurations(of) if not one.reference]


def ids(*args: object, **kwargs: object) -> list[str]:
    return [one.id for one in points(study(*args, **kwargs))]  # type: ignore[arg-type]


def grid_ids() -> list[str]:
    text = STUDY.format(table=f'name = "ewc"\n{LAM}', search="", n_tasks=2)
    return [c.id for c in configurations(parse_study(text.replace('kind = "path"', "")))]


def test_values_go_from_large_to_small() -> None:
    assert [one.knobs["lam"] for one in points(study())] == [100, 10, 1]
    found = points(study("lam = { low = 1, high = 1000 }", "points = 4"))
    assert [one.knobs["lam"] for one in found] == [1000, 100, 10, 1]
    assert len(points(study("lam = { low = 1, high = 100, n = 3 }"))) == 3


def test_a_knob_that_the_file_leaves_open_has_its_declared_range() -> None:
    found = points(study("", "points = 5"))
    assert [one.knobs["lam"] for one in found] == pytest.approx([1e10, 10**7.5, 1e5, 10**2.5, 1])
    assert len(points(study(""))) == 50


def test_a_point_depends_on_the_values_above_it_and_on_none_below() -> None:
    assert ids()[:2] == ids("lam = [100, 10]") == ids("lam = [100, 10, 3, 2, 0]")[:2]
    other = ids("lam = [1000, 100, 10, 1]")
    assert not set(other) & set(ids())
    assert not {*ids()} & {*ids(search="point_steps = 0.2")}
    assert not {*ids()} & {*grid_ids()}


def test_references_are_those_of_any_study() -> None:
    (tuned,) = (one.id for one in configurations(study()) if one.reference)
    assert tuned in grid_ids()


def test_golden_identity_of_a_point() -> None:
    # A change here renames stored results.
    assert ids()[1] == "0a6b1cfb57176ca7"


def test_every_label_is_that_of_a_path() -> None:
    assert {one.label for one in points(study())} == {"EWC (path)"}
    assert {one.label for one in points(study('label = "a b"'))} == {"a b (path)"}
    assert label_of("x (path)") == label_of("x") == "x (path)"
    assert label_without_path("x (path)") == label_without_path("x") == "x"


def test_the_study_written_out_parses_back() -> None:
    for one in (study(), study("lam = { low = 1, high = 1000 }", "points = 4\npoint_steps = 0.5")):
        again = parse_study(resolved_toml(one))
        assert again == one
        assert configurations(again) == configurations(one)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "lwf", "table": ""}, ("cannot follow 'lwf'", "'l2', 'ewc', 'mas', 'si'")),
        ({"n_tasks": 5}, ("with 5 tasks", "n_tasks = 2")),
        ({"table": f'{LAM}\nfisher = ["exact", "sampled"]'}, ("follows one knob, lam",)),
        ({"table": f"{LAM}\ntraining = {{ lr = [0.1, 0.2] }}"}, ("training.lr has several",)),
        ({"table": f'{LAM}\nlabel = "{54 * "x"}"'}, ("too long for a path", "53")),
        ({"search": "trials = 3"}, ("'trials' means nothing for kind = 'path'", "'points'")),
        ({"search": "stop_margin = 0.1"}, ("a path asks for all",)),
        ({"search": "points = 1"}, ("points",)),
        ({"search": "point_steps = 0"}, ("point_steps",)),
    ],
)
def test_what_no_path_follows_is_refused_in_a_sentence(changes: dict, words: tuple) -> None:
    with pytest.raises(StudyError) as caught:
        study(**changes)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_two_labels_that_become_one_are_refused() -> None:
    second = f'[[methods]]\nname = "mas"\nlabel = "a (path)"\n{LAM}'
    with pytest.raises(StudyError, match=r"'a \(path\)' as well"):
        study(f'label = "a"\n{LAM}\n{second}')


def test_a_grid_takes_no_key_of_a_path() -> None:
    with pytest.raises(StudyError, match="'points' means nothing"):
        parse_study(
            'name = "s"\nbenchmark.name = "split"\nsearch.points = 3\n[[methods]]\nname="l2"'
        )


class TestPlan:
    def jobs(self, done: set[str] = frozenset(), cached: set[str] = frozenset()) -> list[Job]:
        of = study()
        plan = planning.plan(of, configurations(of), done, cached.__contains__)
        return [job for job in plan.jobs if job.seed == 3]

    def keys(self) -> list[str]:
        of = study()
        return [planning.path_key(of, one.start, 3) for one in points(of)]

    def kinds(self, *args: object) -> list[str]:
        return [job.kind for job in self.jobs(*args)]  # type: ignore[arg-type]

    def test_every_point_starts_from_the_one_above(self) -> None:
        first, second, third = (job for job in self.jobs() if job.kind == "path")
        assert [first.key, second.key, third.key] == self.keys()
        assert first.key not in first.needs
        assert first.key in second.needs
        assert second.key in third.needs
        assert first.key not in third.needs
        trials = [job for job in self.jobs() if job.kind == "trial"][1:]
        assert [job.needs[-1] for job in trials] == self.keys()

    def test_a_job_follows_all_that_it_needs(self) -> None:
        seen: set[str] = set()
        for job in self.jobs():
            assert seen >= {*job.needs}
            seen.add(job.key)

    def test_it_goes_on_below_the_last_point_that_is_there(self) -> None:
        done = {trial_id_of(one.id, seed) for one in configurations(study()) for seed in (3, 5)}
        last = trial_id_of(points(study())[-1].id, 3)
        source, fisher, *keys = (j.key for j in self.jobs() if j.kind != "trial")
        there = {source, fisher, *keys[:2]}
        assert self.kinds(done - {last}, there) == ["path", "trial"]
        # Without a network above it, the path begins again, for its stages alone.
        assert self.kinds(done - {last}, {source, fisher}) == ["path"] * 3 + ["trial"]
        assert self.kinds(done - {last}, {source, fisher, keys[0]}) == ["path"] * 2 + ["trial"]
        assert self.kinds(done, set()) == []

    def test_keys_differ_by_seed_and_by_data(self) -> None:
        of, (one, *_) = study(), points(study())
        found = {
            planning.path_key(of, one.start, 3),
            planning.path_key(of, one.start, 5),
            planning.path_key(of, one.start, 3, (("data x", "ab"),)),
        }
        assert len(found) == 3
        assert planning.key_above(of, one.start, 3) == ""
        assert planning.path_key(of, configurations(of)[0].start, 3) == ""
        assert [planning.key_above(of, c.start, 3) for c in points(of)[1:]] == self.keys()[:-1]
