"""The search: nothing lost, nothing repeated, the same choices whoever asks; no look at test."""

from __future__ import annotations

import copy
import io
import logging
import math
import random
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from clsweep.errors import StudyError
from clsweep.execution.forecast import fairness_notes
from clsweep.reporting import results_reader
from clsweep.search.observations import Observation
from clsweep.search.samplers import Ask, _trials, distributions, suggestion
from clsweep.search.search import Search, expected, extent
from clsweep.search.validation_table import validation_point
from clsweep.study.configurations import (
    Configuration,
    configuration_asked,
    configurations,
    examples,
)
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.search_space import space_of
from clsweep.study.study import parse_study
from tests.support.searches import (
    EWC,
    HEAD,
    LWF,
    REFERENCES,
    chosen,
    record,
    searched,
    share,
    smooth,
    work,
)

TPE = 'kind = "optuna"\ntrials = 13'
KINDS = {
    "tpe": TPE,
    "tpe, three at once": TPE + "\nat_once = 3",
    "nsga2": 'kind = "optuna"\nsampler = "nsga2"\ntrials = 13',
    "sobol": 'kind = "optuna"\nsampler = "qmc"\ntrials = 13\nat_once = 2',
    "random": 'kind = "optuna"\nsampler = "random"\ntrials = 6',
    "fill": 'kind = "fill"\ntrials = 13\ngap = 0.1',
    "fill, two at once": 'kind = "fill"\ntrials = 13\ngap = 0.1\nat_once = 2',
}


def ids(records) -> list[str]:
    return sorted(r["trial"]["trial_id"] for r in records)


@pytest.mark.parametrize("search", KINDS.values(), ids=KINDS)
def test_killed_anywhere_and_on_any_number_of_workers_it_chooses_the_same(search: str) -> None:
    study = searched(search)
    whole = work(study)
    assert len(set(ids(whole))) == len(whole), "a trial was repeated"
    rng = random.Random(search)
    for _ in range(2):
        records, n_kills = [], 0
        while len(records) < len(whole) and n_kills < 50:
            n_new = rng.randrange(1, len(whole) + 1)
            workers, order = rng.randrange(1, 6), rng.random()
            records = work(study, records, n_new=n_new, workers=workers, order=order)
            n_kills += 1
        assert work(study, records) == records, "there was more to do"
        assert ids(records) == ids(whole)
        assert chosen(study, records) == chosen(study, whole)


@pytest.mark.parametrize("search", [TPE, KINDS["fill"]], ids=["tpe", "fill"])
def test_a_larger_budget_goes_on_where_the_smaller_one_ended(search: str) -> None:
    small, large = (searched(search.replace("trials = 13", f"trials = {n}")) for n in (4, 8))
    first = work(small)
    assert {label: len(found) for label, found in chosen(small, first).items()} == {
        "EWC": 4,
        "LwF": 4,
    }
    both = work(large, first)
    assert both[: len(first)] == first
    assert ids(both) == ids(work(large)), "not what an uninterrupted run would have chosen"
    assert {len(found) for found in chosen(large, both).values()} == {8}


def test_more_seeds_are_trained_for_what_was_chosen_before_anything_new() -> None:
    records = work(searched(TPE.replace("13", "4"), seeds=1))
    wider = searched(TPE.replace("13", "5"), seeds=3)
    after = work(wider, records)
    assert len(after) == 3 * (2 + 2 * 5)
    new = after[len(records) :]
    before = {r["trial"]["config_id"] for r in records}
    first_unknown = next(i for i, r in enumerate(new) if r["trial"]["config_id"] not in before)
    # Each curve waits for its own four alone.
    label = new[first_unknown]["trial"]["label"]
    rest = [r for r in new[first_unknown:] if r["trial"]["label"] == label]
    assert not {r["trial"]["config_id"] for r in rest} & before


def test_every_curve_gets_the_same_number_and_references_run_once() -> None:
    diverges = lambda c, seed: None if c.method == "lwf" and seed else smooth(c, seed)  # noqa: E731
    records = work(searched(TPE), world=diverges)
    counts = Counter(r["trial"]["label"] for r in records)
    assert counts == {"fine-tuning": 2, "frozen trunk": 2, "EWC": 26, "LwF": 26}


class Untouchable:
    """A count that fails whoever looks at it."""

    def _refuse(self, *_: object) -> None:
        raise AssertionError("the search has read a test count")

    __int__ = __float__ = __index__ = __truediv__ = __rtruediv__ = __add__ = __radd__ = _refuse
    __lt__ = __gt__ = __bool__ = __eq__ = __hash__ = _refuse  # type: ignore[assignment]


@pytest.mark.parametrize("search", [TPE, KINDS["fill"]], ids=["tpe", "fill"])
def test_test_counts_cannot_reach_the_search(search: str) -> None:
    study = searched(search.replace("trials = 13", "trials = 12"))
    records = work(study)
    more = searched(search)
    done = {r["trial"]["trial_id"] for r in records}
    asked = [c.id for c in Search(more, records, done).more()]
    assert asked
    poisoned = copy.deepcopy(records)
    for one in poisoned:
        for row in one["accuracy"]:
            if row[2] == "test":
                row[3] = row[4] = Untouchable()
    assert [c.id for c in Search(more, poisoned, done).more()] == asked
    # The counterpart: validation counts do reach it.
    for one in poisoned:
        for row in one["accuracy"]:
            if row[2] == "validation":
                row[3] = 10**6 // 2
    assert [c.id for c in Search(more, poisoned, done).more()] != asked


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_failed_seed_fails_its_configuration_and_divergence_is_told_as_bad(status: str) -> None:
    study = searched(TPE.replace("13", "6"), seeds=2)
    space = space_of(study, study.methods[2])
    points = [{"lam": 10.0}, {"lam": 100.0}, {"lam": 1000.0}]
    search = Search(study, [], set())
    for at, (point, fails) in enumerate(zip(points, (None, 1, None), strict=True)):
        configuration = space.configuration(point)
        for seed in study.seeds:
            values = None if seed == fails else smooth(configuration, seed)
            made = record(configuration, seed, values, 10 * at + seed)
            made["trial"]["status"] = "ok" if values else status
            search.tell(made)
    (line,) = (line for line in search._lines if line.label == "EWC")
    told = [row.observation(study.seeds) for row in search._ordered(line)]
    assert [one.values is None for one in told] == [False, True, False]
    one, other = (smooth(space.configuration(points[0]), seed) for seed in study.seeds)
    mean = (one[0] + other[0]) / 2, (one[1] + other[1]) / 2
    assert told[0].values == pytest.approx(mean, abs=1e-6)
    ask = Ask("tpe", 0, "EWC", 3, 6)
    trials = _trials(ask, distributions(space.axes), told, [{"lam": 5.0}])
    states = [trial.state for trial in trials]
    ok, failed, running = TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING
    assert states == [ok, failed if status == "failed" else ok, ok, running]
    if status == "diverged":
        # As bad as the worst in each accuracy, so that it is better than none.
        values = [one.values for one in told if one.values]
        assert trials[1].values == [min(v[0] for v in values), min(v[1] for v in values)]
    assert search.n_to_come["EWC"] == 3, "a failure counts as spent"


def test_what_optuna_logs_of_itself_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    (axis,) = space_of(searched(TPE), searched(TPE).methods[2]).axes
    before = optuna.logging.get_verbosity()

    def sample(*arguments: object) -> dict[str, float]:
        optuna.logging.get_logger("optuna._gp.of_a_package").warning("greenlet is unavailable")
        return {}

    monkeypatch.setattr(optuna.samplers.GPSampler, "sample_relative", sample)
    monkeypatch.setattr(optuna.samplers.GPSampler, "sample_independent", lambda *a: 5.0)
    logged = io.StringIO()
    handlers = [logging.StreamHandler(logged)]
    monkeypatch.setattr(logging.getLogger("optuna"), "handlers", handlers)
    suggestion([axis], Ask("gp", 0, "EWC", 0, 13), [], [])
    assert logged.getvalue() == ""
    assert optuna.logging.get_verbosity() == before
    sample()
    assert "greenlet" in logged.getvalue()


def test_a_sampler_leaves_values_that_diverge() -> None:
    """The upper half of the range diverges. Told as failed, it is asked for 16 times out of 20."""
    study = searched(TPE)
    (axis,) = space_of(study, study.methods[2]).axes

    def n_lost(diverged: bool) -> int:
        told: list[Observation] = []
        for index in range(30):
            point = suggestion([axis], Ask("tpe", 0, "EWC", index, 30), told, [])
            at = math.log10(point["lam"]) / 8
            values = (at, 1 - at) if at < 1 / 2 else None
            told.append(Observation(point, values, diverged=diverged and values is None))
        return sum(one.values is None for one in told[10:])

    assert n_lost(diverged=True) <= 5 < 15 <= n_lost(diverged=False)


def test_accuracies_that_are_missing_are_no_accuracies() -> None:
    (configuration, *_) = configurations(searched(TPE))
    sound = record(configuration, 0, (0.25, 0.75), 0)
    assert validation_point(sound) == (0.25, 0.75)
    assert validation_point(record(configuration, 0, None, 0)) is None
    for lost in ([1, 0, "validation"], [1, 1, "validation"]):
        holed = copy.deepcopy(sound)
        holed["accuracy"] = [row for row in holed["accuracy"] if row[:3] != lost]
        assert validation_point(holed) is None


def test_what_is_chosen_is_the_configuration_of_a_grid_with_the_same_numbers() -> None:
    study = searched(TPE)
    (made, *_) = Search(study, [], set()).more()
    lam = made.hyper.model_dump()["lam"]
    assert len(f"{lam:.10g}".replace(".", "").strip("0")) <= 3 or lam >= 1000
    assert float(f"{lam:.3g}") == lam
    plain = HEAD.format(seeds=2, search="").replace("[search]\n", "")
    grid = parse_study(plain + EWC.replace("{ low = 1, high = 1e8 }", repr(lam)))
    assert [c.id for c in configurations(grid)] == [made.id]
    assert configuration_asked(study, made.asked) == made


def test_results_of_a_grid_count_as_trials_of_the_search() -> None:
    plain = HEAD.format(seeds=2, search="").replace("[search]\n", "")
    values = "[10.0, 1e4, 1e6]"
    grid = parse_study(plain + EWC.replace("{ low = 1, high = 1e8 }", values))
    records = [
        record(c, seed, smooth(c, seed), 0) for c in configurations(grid) for seed in (0, 1)
    ]
    outside = EWC.replace("{ low = 1, high = 1e8 }", "1e9")
    (other,) = configurations(parse_study(plain + outside))
    records += [record(other, seed, smooth(other, seed), 0) for seed in (0, 1)]
    study = searched(TPE, EWC)
    after = work(study, records)
    assert len(after) == 2 * (13 + 1), "10 are chosen beside the three; one is outside the range"
    assert len(chosen(study, after)["EWC"]) == 13


def test_a_space_that_is_used_up_ends_the_search() -> None:
    study = searched(TPE, EWC.replace("{ low = 1, high = 1e8 }", "[1.0, 10.0, 100.0]"))
    records = work(study)
    assert len(records) == 2 * 3
    done = {r["trial"]["trial_id"] for r in records}
    search = Search(study, records, done)
    assert search.more() == []
    assert search.n_to_come == {"EWC": 0}


@pytest.mark.parametrize(
    ("search", "undrawn"),
    [
        ('kind = "fill"\ntrials = 6\ngap = 0.02', ("EWC", "LwF")),
        ('kind = "fill"\ntrials = 200\ngap = 0.2', ()),
        ('kind = "optuna"\ntrials = 6', ()),
    ],
    ids=["budget spent", "drawn", "not fill"],
)
def test_a_front_that_is_not_drawn_to_its_end_is_named(
    search: str, undrawn: tuple[str, ...]
) -> None:
    study = searched(search)
    records = work(study)
    done = {r["trial"]["trial_id"] for r in records}
    found = Search(study, records, done)
    assert found.more() == []
    assert found.undrawn == undrawn
    assert Search(study, records[:-1], done - {records[-1]["trial"]["trial_id"]}).undrawn in (
        (),
        undrawn[:1],
    ), "what still runs is not judged"


@pytest.mark.parametrize("with_frozen", [True, False])
def test_with_one_head_the_stable_end_is_followed_to_the_source_model(with_frozen: bool) -> None:
    """A frozen trunk forgets through the head that all tasks share, and says nothing of it."""

    def world(configuration: Configuration, seed: int) -> tuple[float, float] | None:
        if configuration.reference:
            return (0.2, 0.95) if configuration.method == "finetune" else (0.14, 0.9)
        rise = 1 / (1 + math.exp(-20 * (share(configuration) - 1.1)))
        return 0.2 + 0.75 * rise, 0.95 - 0.85 * rise**2

    frozen = '[[methods]]\nname = "frozen"\n' if with_frozen else ""
    methods = f'[[methods]]\nname = "finetune"\n{frozen}' + EWC
    study = searched('kind = "fill"\ntrials = 30\ngap = 0.1', methods)
    assert not any("frozen" in note for note in fairness_notes(study))
    found = [r for r in work(study, world=world) if r["config"]["method"] == "ewc"]
    last = max(found, key=lambda r: float(r["config"]["hyper"]["lam"]))
    assert last["config"]["hyper"]["lam"] > 1e8
    (source, _) = validation_point(last) or (0.0, 0.0)
    assert source >= 0.95 - 0.1


def test_a_plan_counts_what_is_to_come() -> None:
    study = searched(TPE)
    grid = expected(study, [], set())
    assert Counter(c.label for c in grid) == {
        "fine-tuning": 1,
        "frozen trunk": 1,
        "EWC": 13,
        "LwF": 13,
    }
    assert len({c.id for c in grid}) == len(grid)
    half = work(study, n_new=30)
    known = expected(study, half, {r["trial"]["trial_id"] for r in half})
    assert len(known) == len(grid)
    assert {r["trial"]["config_id"] for r in half} <= {c.id for c in known}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "qmc", "random"])
def test_suggestions_lie_in_the_space_and_repeat_themselves(sampler: str) -> None:
    methods = '[[methods]]\nname = "replay"\nmemory_size = { low = 10, high = 500 }\nfill = '
    methods += '["balanced", "reservoir"]\ntraining = { lr = { low = 0.01, high = 0.1 } }\n'
    study = searched(f'kind = "optuna"\nsampler = "{sampler}"\ntrials = 40', methods)
    axes = space_of(study, study.methods[0]).axes
    assert [axis.key for axis in axes] == ["weight", "memory_size", "fill", "training.lr"]
    told: list[Observation] = []
    for index in range(12):
        ask = Ask(sampler, 3, "replay", index, 40)
        point = suggestion(axes, ask, told, [])
        assert point == suggestion(axes, ask, told, []), "not a function of what is known"
        assert point not in [one.point for one in told]
        assert all(axis.holds(point[axis.key]) for axis in axes)
        assert isinstance(point["memory_size"], int)
        values = None if index == 4 else (point["weight"] / 10, 1 - point["weight"] / 10)
        told.append(Observation(point, values))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_sampler_listens_to_both_objectives(sampler: str) -> None:
    # Good in both accuracies near λ = 1e6 alone: later suggestions gather there.
    study = searched(f'kind = "optuna"\nsampler = "{sampler}"\ntrials = 60', EWC, seeds=1)

    def world(configuration: Configuration, seed: int) -> tuple[float, float]:
        miss = abs(share(configuration) - 0.75)
        return 0.9 - miss, 0.8 - miss

    records = work(study, world=world)
    done = {r["trial"]["trial_id"] for r in records}
    misses = [abs(share(c) - 0.75) for c in Search(study, records, done).known]
    # Uniform draws miss by 0.31 on average.
    assert sum(misses[-20:]) / 20 < 0.15


# ------------------------------------------------------------ what belongs to a study


def strangers(records, rng: random.Random):
    """Records that no search of the study asks for: of another id, method, number or training."""
    made = copy.deepcopy(rng.sample(records, min(4, len(records))))
    for one, name in zip(made, "abcd", strict=False):
        one["trial"]["config_id"] = one["config"]["config_id"] = name * 16
        one["trial"]["trial_id"] = f"{name * 16}-{one['trial']['seed']}"
    for one, part, changed in zip(
        made[1:],
        ("method", "hyper", "training"),
        ("unknown", {"lam": 1e30}, {"lr": 0.77}),
        strict=False,
    ):
        own = one["config"][part]
        one["config"][part] = changed if part == "method" else {**own, **changed}
    return made


@pytest.mark.parametrize("stops", [False, True], ids=["to their end", "stopping"])
@pytest.mark.parametrize("search", KINDS.values(), ids=KINDS)
def test_what_belongs_to_a_study_is_what_its_search_takes_note_of(
    search: str, stops: bool
) -> None:
    """Told by numbers alone, it is what a search that is told of every record knows."""
    study = searched(search + "\nstop_margin = 0.05" * stops)
    whole, rng = work(study, workers=3), random.Random(search)
    for _ in range(4):
        # Killed, or with records lost; trials were stopped, or have failed.
        stored = copy.deepcopy(rng.sample(whole, rng.randrange(len(whole) + 1)))
        for one in rng.sample(stored, len(stored) // 4):
            one["trial"]["status"], one["accuracy"] = rng.choice(["stopped", "failed", "oom"]), []
        stored += strangers(stored, rng)
        done = {r["trial"]["trial_id"] for r in stored if rng.random() < 0.8}
        found = extent(study, stored, done)
        asked = Search(study, stored, done)
        if study.search.kind == "fill":
            asked.more()
        known = {c.id: c for c in configurations(study) + asked.known}
        assert {c.id: c for c in found.configurations} == known
        assert len(found.configurations) == len(known), "a configuration is counted twice"
        assert found.n_to_come == asked.n_to_come
        n_to_come = sum(found.n_to_come.values())
        assert len(expected(study, stored, done)) == len(known) + n_to_come
        assert not {name * 16 for name in "abcd"} & known.keys()


def test_numbers_in_the_space_belong_to_it_whoever_has_asked_for_them() -> None:
    # Of a study before it was edited: another sampler, other seeds, a value that is not rounded.
    other = searched('kind = "optuna"\nsampler = "random"\nseed = 7\ntrials = 3', EWC, seeds=[5])
    records = work(other)
    plain = HEAD.format(seeds=2, search="").replace("[search]\n", "")
    (odd,) = configurations(parse_study(plain + EWC.replace("{ low = 1, high = 1e8 }", "12.3456")))
    records.append(record(odd, 0, smooth(odd, 0), 9))
    study = searched(TPE, REFERENCES + EWC + 'label = "renamed"\n')
    found = extent(study, records, set())
    stored = {r["config"]["config_id"] for r in records}
    assert {c.id for c in found.configurations if c.label == "renamed"} == stored
    assert found.n_to_come == {"renamed": 13 - 4}


def test_without_a_search_a_study_is_what_its_file_names() -> None:
    plain = parse_study(HEAD.format(seeds=2, search="").replace("[search]\n", "") + REFERENCES)
    assert extent(plain, work(searched(TPE, EWC), n_new=4), set()) == (configurations(plain), {})


# ---------------------------------------------------------------------------- the study file


def test_the_declared_range_is_searched_where_the_file_names_none() -> None:
    study = searched(TPE + "\nnuisance = true\ntraining = { lr = [0.05, 0.1] }", REFERENCES + LWF)
    assert parse_study(resolved_toml(study)) == study
    assert [request.training.axes() for request in study.methods] == [{}, {}, {"lr": (0.05, 0.1)}]
    (lam, temperature, lr) = space_of(study, study.methods[2]).axes
    assert (lam.low, lam.high, lam.log) == (1e-2, 1e2, True)
    assert (temperature.low, temperature.high, temperature.log) == (1.0, 4.0, False)
    assert lr.choices == (0.05, 0.1)
    fixed = searched(TPE, LWF)
    assert [axis.key for axis in space_of(fixed, fixed.methods[0]).axes] == ["lam"]
    assert [c.label for c in examples(fixed)] == ["LwF", "LwF"]
    assert configurations(fixed) == []


def test_of_a_method_that_does_not_train_no_training_is_searched() -> None:
    methods = LWF + '[[methods]]\nname = "slda"\n[[methods]]\nname = "ranpac"\n'
    study = searched(TPE + "\nnuisance = true\ntraining = { lr = [0.05, 0.1] }", methods)
    assert [axis.key for axis in space_of(study, study.methods[1]).axes] == ["shrinkage"]
    assert [c.label for c in configurations(study)] == ["RanPAC"]  # nothing of it is searched


def test_whether_a_range_holds_whole_numbers_is_declared_and_not_guessed() -> None:
    methods = '[[methods]]\nname = "interpolate"\n[[methods]]\nname = "gem"\n'
    study = searched(TPE, methods + "memory_size = { low = 10, high = 99.0 }\n")
    (beta,) = space_of(study, study.methods[0]).axes
    assert (beta.low, beta.high, beta.whole, beta.log) == (0.0, 1.0, False, False)
    margin, size = space_of(study, study.methods[1]).axes
    assert (margin.whole, size.whole) == (False, True)
    assert (size.low, size.high, size.log) == (10, 99, True)
    assert parse_study(resolved_toml(study)) == study


def test_a_grid_is_what_it_was() -> None:
    plain = HEAD.format(seeds=2, search="").replace("[search]\n", "") + LWF
    assert parse_study(plain) == parse_study(plain + '[search]\nkind = "grid"\n')
    assert len(configurations(parse_study(plain))) == 1
    assert "[search]" not in resolved_toml(parse_study(plain))


MISTAKES = {
    "a range in a grid": ('kind = "grid"', EWC, "the range has no 'n'", "methods[0].lam"),
    "a key of another kind": (
        'kind = "fill"\nsampler = "gp"',
        EWC,
        "'sampler' means nothing for kind = 'fill'",
        "search.sampler",
    ),
    "an unknown sampler": (
        'kind = "optuna"\nsampler = "tpee"',
        EWC,
        "did you mean 'tpe'?",
        "search.sampler",
    ),
    "no trials": ('kind = "optuna"\ntrials = 0', EWC, "at least 1", "search.trials"),
    "fill with a list": (
        'kind = "fill"',
        EWC.replace("{ low = 1, high = 1e8 }", "[1, 2]"),
        "chooses the values, and lam lists them",
        "methods[0].lam",
    ),
    "fill with two knobs": (
        'kind = "fill"',
        EWC + "training = { lr = [0.1, 0.2] }\n",
        "turns one knob, and training.lr has several values",
        "methods[0].training.lr",
    ),
    "a search for what another finds": (
        'kind = "optuna"',
        EWC + EWC + 'label = "again"\n',
        "'EWC' and 'again' search the same configurations",
        "methods[1]",
    ),
    "a search for what another table names": (
        'kind = "optuna"',
        EWC + EWC.replace("{ low = 1, high = 1e8 }", "100.0") + 'label = "one value"\n',
        "'EWC' and 'one value' search the same configurations",
        "methods[1]",
    ),
    "fronts that meet beyond their ranges": (
        'kind = "fill"',
        EWC.replace("1e8", "100") + EWC.replace("low = 1,", "low = 1e3,") + 'label = "above"\n',
        "'EWC' and 'above' search the same configurations",
        "methods[1]",
    ),
    "a range for words": (
        'kind = "optuna"',
        EWC.replace('"proximal"', "{ low = 1, high = 2 }"),
        "a range needs a number",
        "methods[0].form",
    ),
    "an end that a number cannot take": (
        'kind = "optuna"',
        EWC.replace("low = 1,", "low = -1, log = false,"),
        "at least 0",
        "methods[0].lam",
    ),
    "a memory larger than the data": (
        'kind = "optuna"',
        '[[methods]]\nname = "replay"\n',
        "memory_size = 5000 is more than the benchmark's training examples",
        "methods[0]",
    ),
}


@pytest.mark.parametrize(("search", "methods", "found", "where"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(search: str, methods: str, found: str, where: str) -> None:
    with pytest.raises(StudyError) as caught:
        searched(search, methods)
    assert found in str(caught.value)
    assert where in str(caught.value)


def test_tables_that_differ_in_the_training_of_one_alone_are_two_curves() -> None:
    one = EWC.replace("{ low = 1, high = 1e8 }", "100.0") + 'label = "one value"\n'
    for methods in (EWC + "training = { lr = 0.5 }\n" + one, one + EWC + "training.lr = 0.5\n"):
        study = searched(TPE, methods)
        found = [c.id for c in extent(study, work(study, n_new=6), set()).configurations]
        assert len(set(found)) == len(found) > 2


@pytest.mark.parametrize("kind", ["tpe", "fill"])
def test_a_report_shows_what_was_searched_for(kind: str, tmp_path: Path) -> None:
    study = searched(KINDS[kind])
    records = work(study)
    (tmp_path / "study.toml").write_text(resolved_toml(study), encoding="utf-8")
    kept, missing, left_out, n_missing = results_reader._asked_for(records, tmp_path)
    assert len(kept) == len(records) > 16
    assert missing == left_out == []
    assert n_missing == 0
