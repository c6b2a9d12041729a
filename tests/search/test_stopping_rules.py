"""Early stopping: a rule on two accuracies, and decisions that depend on records alone."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState

from clsweep import methods
from clsweep.data.tasks import TaskSequence
from clsweep.errors import StudyError
from clsweep.execution.trial_record import record_of
from clsweep.nets.net import Net
from clsweep.records.schema import Record, check_record
from clsweep.search import front_filling
from clsweep.search.observations import Observation
from clsweep.search.optuna_export import export_optuna
from clsweep.search.samplers import Ask, _trials, distributions, suggestion
from clsweep.search.search import Search
from clsweep.search.stopping_rules import counts_as_done, invalid_stops, packed_yardsticks
from clsweep.search.validation_table import validation_table
from clsweep.storage.store import Store
from clsweep.study import planning
from clsweep.study.configurations import Configuration, configurations, study_identity
from clsweep.study.jobs import Job
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.search_space import space_of
from clsweep.study.study import Study, parse_study
from clsweep.training import engine
from clsweep.training.early_stopping import (
    LEAD,
    Stopped,
    Watch,
    checkpoint_accuracies,
    deficit,
    lowest_accuracies,
)
from clsweep.training.sequences import learn_sequence, learn_source, measure_source
from tests.methods.cases import CASE_IDS, CASES, Case, marks_of
from tests.methods.test_batch_norm import net_for as batch_norm_net
from tests.methods.test_common import TRAINING, net_for, same, source_once

N_TASKS, PARTS = 4, 10**6
STUDY = """\
name = "stopped"
seeds = {seeds}
[benchmark]
name = "permuted"
dataset = "mnist"
n_tasks = {tasks}
scenario = "domain"
[search]
{search}
[[methods]]
name = "finetune"
[[methods]]
name = "ewc"
form = "proximal"
training = {{ lr = [0.01, 0.1] }}
[[methods]]
name = "lwf"
"""
RANDOM = 'kind = "optuna"\nsampler = "random"\ntrials = {trials}\nat_once = {at_once}\n'
TUNED = "training = { lr = [0.01, 0.1] }\n"
TPE = RANDOM.replace("random", "tpe")
FILL = 'kind = "fill"\ntrials = {trials}\nat_once = {at_once}\n'
STOPS = "stop_margin = {margin}\nstop_checks = 2\n"


def searched(
    margin: float = 0.05,
    *,
    trials: int = 12,
    at_once: int = 1,
    seeds: Any = 2,
    kind: str = RANDOM,
) -> Study:
    search = kind.format(trials=trials, at_once=at_once)
    search += STOPS.format(margin=margin) if margin < 1 else ""
    text = STUDY.format(seeds=seeds, tasks=N_TASKS, search=search)
    return parse_study(text.replace(TUNED, "") if kind == FILL else text)


# --------------------------------------------------------- a world in which trials cost nothing


def noise(*key: object) -> float:
    """A number in [0, 1) that is the same whenever it is asked for."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "big") / 2**32


def pair_at(configuration: Configuration, seed: int, point: float) -> tuple[float, float]:
    """(source, target) after `point` of three tasks: some configurations are bad in both."""
    quality = noise("quality", configuration.id)
    tilt = noise("tilt", configuration.id)
    luck = 0.1 * noise("luck", configuration.id, seed)
    source = 0.9 - 0.3 * quality - 0.1 * tilt * point - luck
    target = 0.9 - 0.3 * quality - 0.1 * (1 - tilt) - luck
    return source, target


def rows_after(task: int, pair: tuple[float, float], splits=("validation", "test")) -> list[Any]:
    """Accuracy rows right after a task; the test counts are far from the validation counts."""
    values = [*[pair[0]] * task, pair[1]]
    return [
        (task, on, split, round(PARTS * (value if split == "validation" else 0.1)), PARTS)
        for on, value in enumerate(values)
        for split in splits
    ]


def trial(study: Study, job: Job, configuration: Configuration, time: int) -> Record:
    """What a worker would commit, decided by what the job carries."""
    at = f"2026-01-01T{time // 3600:02d}:{time // 60 % 60:02d}:{time % 60:02d}.000+00:00"
    rows, status, message, counters = rows_after(0, (0.0, 0.95)), "ok", "", {}
    margin, n_checks = study.search.stop_margin, study.search.stop_checks
    watch = None
    if study.search.stops and job.asked:
        watch = Watch(job.yardsticks, N_TASKS, margin=margin, n_checks=n_checks)
    try:
        for task in range(1, N_TASKS):
            for share, value in (watch.shares if watch and task == 3 else {}).items():
                now = pair_at(configuration, job.seed, 2 + value)
                watch.within(share, rows_after(3, now, ("validation",)), 10)
            rows += rows_after(task, pair_at(configuration, job.seed, task))
            if watch:
                watch.after_task(rows, task)
    except Stopped as stop:
        status, message = "stopped", str(stop)
    if watch:
        counters = watch.counters
    return record_of(
        configuration,
        job.seed,
        status,
        message=message,
        accuracy=rows,
        finished_at=at,
        wall_seconds=1.0,
        counters=counters,
    )


def work(
    study: Study,
    records: list[Record] | None = None,
    *,
    n_new: int = 10**6,
    workers: int = 1,
    order: float = 0,
) -> list[Record]:
    """The records after a run of at most `n_new` more trials, as `runner` would drive it."""
    kept = {r["trial"]["trial_id"]: r for r in records or []}
    rng, time = random.Random(order), 10 * len(kept)
    done = {key for key, r in kept.items() if counts_as_done(study.search, r["trial"])}
    search = Search(study, list(kept.values()), done)
    asked = configurations(study) + search.known + search.more()
    by_id = {c.id: c for c in asked}
    waiting = search.with_yardsticks(planning.plan(study, asked, done, lambda key: True).jobs)
    running: list[Job] = []
    for _ in range(n_new):
        while waiting and len(running) < workers:
            running.append(waiting.pop(0))
        if not running:
            break
        job = running.pop(rng.randrange(len(running)))
        time += 1
        made = trial(study, job, by_id[job.config_id], time)
        check_record(json.loads(json.dumps(made)))
        kept[job.key] = made
        search.tell(made)
        new = search.more()
        by_id |= {c.id: c for c in new}
        waiting += search.with_yardsticks(planning.plan(study, new, set(), lambda key: True).jobs)
    return list(kept.values())


def essence(records: list[Record]) -> list[Any]:
    """What has to be the same whoever ran it."""
    return sorted(
        (r["trial"]["trial_id"], r["trial"]["status"], r["trial"]["message"], r["accuracy"])
        for r in records
    )


def statuses(records: list[Record]) -> Counter[str]:
    return Counter(r["trial"]["status"] for r in records)


# ------------------------------------------------------------------------------------ the rule


@pytest.mark.parametrize(
    ("pair", "lead", "by"),
    [
        ((0.50, 0.50), 0.30, "b"),  # a leads by (0.4, 0.1), b by (0.3, 0.35), c by (0.1, 0.4)
        ((0.50, 0.88), 0.02, "c"),
        ((0.85, 0.50), 0.05, "a"),
        ((0.95, 0.95), -0.15, "b"),  # ahead of all in both
        ((0.80, 0.85), 0.00, "b"),  # equal to b: behind by nothing
    ],
)
def test_the_lead_is_the_lesser_of_two_leads_over_the_best_yardstick(
    pair: tuple[float, float], lead: float, by: str
) -> None:
    table = [("a", 0.9, 0.6), ("b", 0.8, 0.85), ("c", 0.6, 0.9)]
    found = deficit(pair, table)
    assert (found.config_id, found.lead) == (by, pytest.approx(lead))
    assert deficit(pair, []).lead == float("-inf")


@pytest.mark.parametrize(("margin", "stops"), [(0.29, True), (0.3125, False), (0.35, False)])
def test_what_is_behind_by_no_more_than_the_margin_goes_on(margin: float, stops: bool) -> None:
    yardsticks = packed_yardsticks({"x": {"task 2": (0.8125, 0.9)}})
    watch = Watch(yardsticks, N_TASKS, margin=margin, n_checks=1)
    rows = rows_after(2, (0.5, 0.25))
    watch.after_task(rows_after(1, (0.0, 0.0)), 1)  # there is no yardstick at this point
    if not stops:
        watch.after_task(rows, 2)
        assert watch.counters == {}
        return
    with pytest.raises(Stopped, match=r"after task 3 of 4: 31\.2 points of source and 65\.0"):
        watch.after_task(rows, 2)
    assert watch.counters == {LEAD: 0.3125}


def test_neither_the_first_nor_the_last_task_ends_at_a_point() -> None:
    yardsticks = packed_yardsticks({"x": {f"task {task}": (1.0, 1.0) for task in range(N_TASKS)}})
    watch = Watch(yardsticks, N_TASKS, margin=0.05, n_checks=1)
    for task in (0, N_TASKS - 1):
        watch.after_task(rows_after(task, (0.0, 0.0)), task)


def test_points_are_read_from_validation_rows_by_hand() -> None:
    (configuration, *_) = configurations(searched())
    rows = [(-1, 0, "validation", 1, 10), (0, 0, "validation", 9, 10)]
    rows += [(0, 1, "validation", 3, 10)]  # forward transfer is no part of a point
    rows += [(1, 0, "validation", 6, 10), (1, 1, "validation", 8, 10), (1, 2, "validation", 1, 10)]
    rows += [(2, 0, "validation", 2, 10), (2, 1, "validation", 5, 10), (2, 2, "validation", 7, 10)]
    rows += [(3, on, "validation", 4, 10) for on in range(4)]
    rows += [(after, on, "test", 10, 10) for after, on, *_ in rows]
    seen = {"validation_source_at_0.5": 0.25, "validation_target_at_0.5": 0.75, "other": 1.0}
    record = record_of(configuration, 0, "ok", accuracy=rows, counters=seen)
    found = checkpoint_accuracies(record)
    assert found.keys() == {"task 1", "task 2", "last 0.5"}
    assert found["task 1"] == pytest.approx((0.6, 0.8))
    assert found["task 2"] == pytest.approx((0.35, 0.7))
    assert found["last 0.5"] == (0.25, 0.75)


def test_a_yardstick_is_as_good_as_its_worst_seed_in_each_accuracy() -> None:
    first = {"task 1": (0.9, 0.6), "task 2": (0.5, 0.5)}
    second = {"task 1": (0.7, 0.8), "last 0.5": (0.4, 0.4)}
    assert lowest_accuracies([first, second]) == {"task 1": (0.7, 0.6)}
    assert lowest_accuracies([first]) == first


def test_what_a_job_carries_decides_like_all_yardsticks_together() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        known = {f"k{i}": {"task 1": tuple(p)} for i, p in enumerate(rng.random((12, 2)).tolist())}
        carried = json.loads(packed_yardsticks(known))["task 1"]
        assert len(carried) < len(known)
        pair = tuple(rng.random(2).tolist())
        every = [min(s - pair[0], t - pair[1]) for (s, t) in (p["task 1"] for p in known.values())]
        assert deficit(pair, carried).lead == max(every)
    assert packed_yardsticks({}) == packed_yardsticks({"k": {}}) == ""


# ------------------------------------------------------------------------- what a search stops


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("margin", [0.02, 0.05, 0.15])
def test_what_is_stopped_was_beaten_by_more_than_the_margin_and_nothing_else_was(
    margin: float, at_once: int
) -> None:
    study = searched(margin, at_once=at_once, trials=15)
    records = work(study)
    done = {r["trial"]["trial_id"] for r in records}
    search = Search(study, records, done)
    by_trial = {(r["trial"]["config_id"], r["trial"]["seed"]): r for r in records}
    n_stopped = 0
    for label in ("EWC", "LwF"):
        ids = [c.id for c in search.known if c.label == label]
        for index, key in enumerate(ids):
            before = ids[: index - index % at_once]
            whole = [
                k for k in before if all(by_trial[k, s]["trial"]["status"] == "ok" for s in (0, 1))
            ]
            for seed in study.seeds:
                record = by_trial[key, seed]
                leads = {
                    name: max(
                        (
                            min(
                                min(np.subtract(_by_hand(by_trial[k, s])[name], pair))
                                for s in (0, 1)
                            )
                            for k in whole
                        ),
                        default=-1.0,
                    )
                    for name, pair in _by_hand(record).items()
                }
                if record["trial"]["status"] == "stopped":
                    *earlier, last = leads.values()
                    assert last > margin >= max(earlier, default=-1)
                    assert record["trial"]["counters"][LEAD] == pytest.approx(last)
                    assert max(row[0] for row in record["accuracy"]) < N_TASKS - 1
                    n_stopped += 1
                else:
                    assert max(leads.values()) <= margin
    assert n_stopped == statuses(records)["stopped"]
    assert n_stopped > 0 or margin > 0.1


def _by_hand(record: Record) -> dict[str, tuple[float, float]]:
    """Points in the order of training, written down independently of the module."""
    counts = {(r[0], r[1]): r[3] / r[4] for r in record["accuracy"] if r[2] == "validation"}
    found = {
        f"after {k}": ((sum(counts[k, j] for j in range(k)) / k), counts[k, k])
        for k in (1, 2)
        if (k, k) in counts
    }
    noted = record["trial"]["counters"]
    for share in ("0.333", "0.667"):
        if f"validation_source_at_{share}" in noted:
            found[share] = tuple(noted[f"validation_{x}_at_{share}"] for x in ("source", "target"))
    return found


@pytest.mark.parametrize(
    ("kind", "at_once"),
    [(RANDOM, 1), (RANDOM, 3), (TPE, 1), (FILL, 2)],
    ids=["random", "random, three at once", "tpe", "fill, two at once"],
)
def test_killed_anywhere_and_on_any_number_of_workers_the_same_is_stopped(
    kind: str, at_once: int
) -> None:
    study = searched(at_once=at_once, kind=kind, trials=10)
    whole = work(study)
    assert {"ok", "stopped"} == statuses(whole).keys()
    rng = random.Random(at_once)
    for _ in range(3):
        records: list[Record] = []
        while len(records) < len(whole):
            how = {"workers": rng.randrange(1, 6), "order": rng.random()}
            records = work(study, records, n_new=rng.randrange(1, len(whole)), **how)
        assert essence(records) == essence(whole)
        assert work(study, records) == records


def test_a_larger_budget_goes_on_where_the_smaller_one_ended() -> None:
    first = work(searched(trials=20))
    both = work(searched(trials=40), first)
    assert essence(both) == essence(work(searched(trials=40)))
    assert statuses(both)["stopped"] > statuses(first)["stopped"] > 0


def test_a_further_seed_of_what_is_known_runs_to_its_end_wherever_it_is_cut_short() -> None:
    two, three = searched(), searched(seeds=3)
    first = work(two)
    known = {r["trial"]["config_id"] for r in first}
    whole = work(three, first)
    new = [r for r in whole if r["trial"]["seed"] == 2 and r["trial"]["config_id"] in known]
    assert statuses(new).keys() == {"ok"}
    rng = random.Random(0)
    for _ in range(4):
        records = first
        while len(records) < len(whole):
            how = {"workers": rng.randrange(1, 4), "order": rng.random()}
            records = work(three, records, n_new=rng.randrange(1, 9), **how)
        assert essence(records) == essence(whole)


def test_without_stopping_what_was_stopped_is_run_to_its_end() -> None:
    records = work(searched(0.02))
    was = {r["trial"]["trial_id"] for r in records if r["trial"]["status"] == "stopped"}
    lower = work(searched(0.01), records)
    assert lower == records, "what was behind by more than 0.02 was behind by more than 0.01"
    off = searched(1.0)
    after = work(off, records)
    assert len(after) == len(records)
    assert statuses(after).keys() == {"ok"}
    unchanged = [r for r in after if r["trial"]["trial_id"] not in was]
    assert essence(unchanged) == essence([r for r in records if r["trial"]["status"] == "ok"])


def test_with_a_larger_margin_only_what_it_still_stops_stays_stopped() -> None:
    records = work(searched(0.02))
    leads = {
        r["trial"]["trial_id"]: r["trial"]["counters"][LEAD]
        for r in records
        if r["trial"]["status"] == "stopped"
    }
    margin = sorted(leads.values())[len(leads) // 2]
    wider = searched(margin)
    rng, once = random.Random(1), work(wider, records)
    again = records
    for _ in range(30):
        again = work(wider, again, n_new=rng.randrange(1, 4), workers=2, order=rng.random())
    assert essence(again) == essence(once)
    after = {r["trial"]["trial_id"]: r["trial"]["status"] for r in once}
    assert {after[key] for key, lead in leads.items() if lead <= margin} == {"ok"}
    assert {after[key] for key, lead in leads.items() if lead > margin} == {"stopped"}


def test_a_grid_runs_what_a_search_has_stopped(tmp_path: Path) -> None:
    study = searched(0.02)
    store = stored(tmp_path, study, work(study))
    trials = store.statuses()
    was = {key for key, status in trials.items() if status == "stopped"}
    assert invalid_stops(study.search, store, trials) == set()
    assert invalid_stops(searched(1.0).search, store, trials) == was
    grid = parse_study('name = "grid"\n[benchmark]\nname = "split"\n[[methods]]\nname = "lwf"\n')
    assert invalid_stops(grid.search, store, trials) == was


def stored(folder: Path, study: Study, records: list[Record]) -> Store:
    with Store(folder).open_for_run(study_identity(study), resolved_toml(study), "s") as store:
        for record in records:
            store.commit(record)
        store.compact()
    return Store(folder)


class Untouchable:
    """A count that fails whoever looks at it."""

    def _refuse(self, *_: object) -> None:
        raise AssertionError("a test count was read")

    __int__ = __float__ = __index__ = __truediv__ = __rtruediv__ = __add__ = __radd__ = _refuse
    __lt__ = __gt__ = __bool__ = __eq__ = __hash__ = _refuse  # type: ignore[assignment]


def test_test_counts_reach_neither_yardsticks_nor_the_watch() -> None:
    study = searched()
    records = work(study, n_new=20)
    done = {r["trial"]["trial_id"] for r in records}

    def bars(known: list[Record]) -> list[str]:
        search = Search(study, known, done)
        asked = search.known + search.more()
        return [
            job.yardsticks
            for job in search.with_yardsticks(
                planning.plan(study, asked, done, lambda key: True).jobs
            )
        ]

    expected = bars(records)
    assert any(expected)
    poisoned = copy.deepcopy(records)
    for record in poisoned:
        for row in map(list, record["accuracy"]):
            if row[2] == "test":
                row[3] = row[4] = Untouchable()
        record["accuracy"] = [
            (*row[:3], Untouchable(), Untouchable()) if row[2] == "test" else row
            for row in record["accuracy"]
        ]
    assert bars(poisoned) == expected
    (text, *_) = filter(None, expected)
    watch, rows = Watch(text, N_TASKS, margin=0.1, n_checks=1), rows_after(1, (0.9, 0.9))
    hidden = [(*r[:3], Untouchable(), Untouchable()) if r[2] == "test" else r for r in rows]
    watch.after_task(hidden, 1)
    # The counterpart: validation counts do reach both.
    with pytest.raises(Stopped):
        watch.after_task(rows_after(1, (0.0, 0.0)), 1)


# ------------------------------------------------------------------- what else hears of it


def test_a_stopped_configuration_is_a_pruned_trial_and_spent_budget(tmp_path: Path) -> None:
    study = searched(0.02, trials=10)
    records = work(study)
    search = Search(study, records, {r["trial"]["trial_id"] for r in records})
    assert search.n_to_come == {"EWC": 0, "LwF": 0}
    space = space_of(study, study.methods[1])
    (line,) = (line for line in search._lines if line.label == "EWC")
    told = [row.observation(study.seeds) for row in line.rows.values()]
    made = _trials(Ask("tpe", 0, "EWC", 10, 20), distributions(space.axes), told, [])
    states = Counter(t.state for t in made)
    assert states.keys() == {TrialState.COMPLETE, TrialState.PRUNED}
    for sampler in ("tpe", "gp", "nsga2"):
        ask = Ask(sampler, 0, "EWC", 10, 20)
        assert suggestion(space.axes, ask, told, []) not in [one.point for one in told]
    # A seed that failed weighs more than one that was stopped.
    (row, *_) = (r for r in line.rows.values() if r.observation(study.seeds).stopped)
    row.results[0], row.statuses[0] = None, "diverged"
    assert not row.observation(study.seeds).stopped
    stored(tmp_path / "out", study, records)
    export_optuna(tmp_path / "out", tmp_path / "file.db")
    import optuna

    loaded = optuna.load_study(
        study_name="stopped: EWC", storage=f"sqlite:///{tmp_path / 'file.db'}"
    )
    assert Counter(t.state for t in loaded.trials) == states


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "qmc", "random"])
def test_a_sampler_that_knows_little_but_what_was_stopped_goes_on(sampler: str) -> None:
    study = searched(trials=40)
    axes = space_of(study, study.methods[1]).axes
    points = [{"lam": float(10 + i), "training.lr": 0.1} for i in range(30)]
    told = [
        Observation(points[0], (0.8, 0.7)),
        *(Observation(p, None, stopped=True) for p in points[1:]),
    ]
    assert suggestion(axes, Ask(sampler, 0, "EWC", 30, 40), told, []) not in points


def test_it_is_no_candidate_and_its_seed_is_not_left_out() -> None:
    study = searched(0.02, trials=20)
    records = work(study)
    table = validation_table(records)
    assert table.seeds == study.seeds
    stopped = {r["trial"]["config_id"] for r in records if r["trial"]["status"] == "stopped"}
    assert stopped
    assert stopped.isdisjoint(c.config_id for c in table.candidates)
    # Even where nearly all trials of one seed were stopped.
    last = copy.deepcopy(records)
    finished = [r for r in last if r["trial"]["seed"] == 1 and r["trial"]["status"] == "ok"]
    for record in finished[3:]:
        record["trial"]["status"] = "stopped"
    assert validation_table(last).seeds == study.seeds


def test_the_fill_search_takes_a_stopped_value_for_one_that_is_beaten() -> None:
    study = searched(kind=FILL, trials=20)
    (axis,) = space_of(study, study.methods[2]).axes
    values = front_filling.coarse_values(axis, 5)
    known = {v: (0.5 + 0.1 * i, 0.9 - 0.1 * i) for i, v in enumerate(values)}
    ends = front_filling.Ends(float("nan"), lambda value: float("nan"))
    ask = {"coarse": 5, "gap": 0.15, "ends": ends}
    beaten, stopped = ({**known, values[2]: new} for new in ((0.1, 0.1), None))
    for _ in range(8):
        value = front_filling.next_value(axis, stopped, **ask)
        assert value == front_filling.next_value(axis, beaten, **ask)
        if value is None:
            break
        assert value not in stopped
        # Halfway in knob and accuracy between its neighbours.
        stopped[value], beaten[value] = None, (0.1, 0.1)
    records = work(study)
    assert len({r["trial"]["trial_id"] for r in records}) == len(records)
    asked = Counter(r["trial"]["config_id"] for r in records if r["trial"]["label"] == "LwF")
    assert set(asked.values()) == {2}


# ---------------------------------------------------------------- evaluated while it trains


def watched(case: Case, sequence: TaskSequence, net: Net, kind: str, watch: Watch | None) -> Any:
    method = methods.build(case.name, net, case.numbers())
    if not case.begins_at_source:
        return learn_sequence(method, sequence, TRAINING, 0, None, {}, watch=watch)
    source = source_once(net, sequence, TRAINING, kind)
    statistics = measure_source(method, sequence, source, 0)
    return learn_sequence(method, sequence, TRAINING, 0, source, statistics, watch=watch)


LOOKED_AT = [
    pytest.param(
        case,
        kind,
        id=f"{name}-{kind}",
        marks=marks_of(case),
    )
    for case, name in zip(CASES, CASE_IDS, strict=True)
    for kind in ("plain", "batch norm")
    if case.name != "joint" and (kind == "plain" or (case.batch_norm and case.trains))
]


@pytest.mark.parametrize(("case", "kind"), LOOKED_AT)
def test_looking_changes_no_bit(
    case: Case, kind: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[case.scenario]
    net = net_for(sequence) if kind == "plain" else batch_norm_net(sequence, "batch")
    n_tasks = len(sequence.tasks)
    watch = Watch("", n_tasks, margin=0.05, n_checks=1)
    plain, looked = (watched(case, sequence, net, kind, w) for w in (None, watch))
    assert same(plain.params, looked.params)
    assert plain[1:-1] == looked[1:-1]  # the last is a function
    # The last phase of an interpolation has no steps, between which one could look.
    has_steps = case.trains and case.name != "interpolate"
    n_looks = len(watch.shares) if has_steps else 0
    assert len(watch.counters) == 2 * n_looks
    if not n_looks:
        return
    # The same trial, were it behind at the last look.
    at = list(watch.shares)[-1]
    pair = tuple(watch.counters[f"validation_{x}_at_{at}"] for x in ("source", "target"))
    ahead = packed_yardsticks({"x": {f"last {at}": (pair[0] + 0.06, pair[1] + 0.06)}})
    stopped = watched(case, sequence, net, kind, Watch(ahead, n_tasks, margin=0.05, n_checks=1))
    assert "on the last task" in stopped.stopped
    assert stopped.rows == [row for row in plain.rows if row[0] < n_tasks - 1]
    assert stopped.n_steps < plain.n_steps


@pytest.mark.parametrize("name", ["ewc", "rescl", "interpolate"])
def test_a_look_shows_what_training_that_ends_there_would_give(
    name: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences["task"]
    net, task = net_for(sequence), sequence.tasks[1]
    hyper = next(case for case in CASES if case.name == name).numbers()
    method = methods.build(name, net, hyper)
    start = learn_source(net, sequence, TRAINING, 0)
    state = engine.State(start.params, method.begin(start.params) if method.begin else {})
    setting = engine.Setting(net, sequence.scale, TRAINING, 0)
    phase = method.phases[-1]
    if name == "rescl":
        state = engine.train_phase(method.phases[0], state, task.train, setting, task=1, n_steps=8)

    def run(n_steps: int, checkpoints: engine.Checkpoints | None = None) -> engine.State:
        return engine.train_phase(
            phase, state, task.train, setting, task=1, n_steps=n_steps, checkpoints=checkpoints
        )

    seen: dict[int, Any] = {}

    def show(step: int, shown: Any) -> None:
        seen[step] = {key: value.clone() for key, value in shown.items()}

    run(8, engine.Checkpoints({3, 5}, show))
    assert seen.keys() == {3, 5}
    for step, shown in seen.items():
        expected = run(step).params
        assert all(torch.equal(shown[key], expected[key]) for key in expected)
    assert not all(torch.equal(seen[3][key], seen[5][key]) for key in seen[3])


def test_points_within_the_last_task_are_evenly_spaced() -> None:
    for n in range(21):
        shares = list(Watch("", 2, margin=0.1, n_checks=n).shares.values())
        assert len(shares) == n
        assert all(b - a == pytest.approx(1 / (n + 1)) for a, b in pairwise([0, *shares, 1]))


# ---------------------------------------------------------------------------- the study file


def test_by_default_nothing_is_stopped_and_nothing_is_written_of_it() -> None:
    off = searched(1.0)
    assert not off.search.stops
    assert "stop" not in resolved_toml(off).partition("[search]")[2]
    assert parse_study(resolved_toml(off)) == off
    on = searched(0.05)
    assert "stop_margin = 0.05\nstop_checks = 2" in resolved_toml(on)
    assert parse_study(resolved_toml(on)) == on
    (one, *_), (other, *_) = (Search(study, [], set()).more() for study in (off, on))
    assert one.id == other.id, "an identity has moved"
    records = work(off)
    assert statuses(records).keys() == {"ok"}
    assert all(r["trial"]["counters"] == {} for r in records)


MISTAKES = {
    "a grid": ('kind = "grid"\nstop_margin = 0.1', 4, "none has finished with which"),
    "no margin": ('kind = "fill"\nstop_checks = 3', 4, "'stop_checks' means nothing without"),
    "nothing to compare": (
        'kind = "fill"\nstop_margin = 0.1\nstop_checks = 0',
        2,
        "with two tasks there is no task's end",
    ),
    "no margin at all": ('kind = "fill"\nstop_margin = 0.0', 4, "more than 0"),
}


@pytest.mark.parametrize(("search", "tasks", "found"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(search: str, tasks: int, found: str) -> None:
    text = STUDY.format(seeds=2, tasks=tasks, search=search)
    if "grid" in search or "fill" in search:
        text = text.replace(TUNED, "")
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    assert found in str(caught.value)
    assert "search.stop_" in str(caught.value)
