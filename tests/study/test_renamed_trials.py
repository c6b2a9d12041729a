"""Stored trials whose identities hold numbers that others switch off: the same work, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsweep.execution.runner import run
from clsweep.execution.trial_record import record_of
from clsweep.methods import METHODS
from clsweep.records.schema import Record, trial_id_of
from clsweep.reporting import results_reader
from clsweep.search.optuna_export import export_optuna
from clsweep.search.search import Search
from clsweep.search.stored_validation import of_its_study, read_validation
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations, id_as_written, study_identity
from clsweep.study.renamed_trials import names_in, names_of
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study
from tests.support.command_line import CommandLine

# Ids that clsweep gave before: (fisher, fisher_batch) -> configuration.
OLD = {
    ("exact", 1): "19855ce94bda86f5",
    ("exact", 16): "a60e3c6df819c275",
    ("exact", 128): "9f73bdbe70140567",
    ("batched", 1): "135cd63596446506",
    ("batched", 16): "1e7c0d987d03acb4",
    ("batched", 128): "697e3d7c1759c8d9",
}
STUDY = """\
name = "cond1"
seeds = {seeds}
[benchmark]
name = "split"
dataset = "digits"
n_tasks = 2
scenario = "task"
validation_fraction = 0.2
[net]
name = "mlp"
hidden = [16]
[training]
lr = 0.1
batch_size = 32
epochs = 3
[[methods]]
name = "ewc"
lam = 1.0
fisher = ["exact", "batched"]
fisher_batch = [1, 16, 128]
form = "proximal"
"""


def old_record(
    study: Study, seed: int, status: str = "ok", *, source: int = 9, **numbers: object
) -> Record:
    """A trial's record as it was written when every number was part of the identity."""
    (request,) = study.methods
    hyper = METHODS[request.name].hyper(**numbers)
    training = study.training
    key = id_as_written(study, request, training, hyper)
    (first, *_) = configurations(study) or [None]
    if first is None:
        first = Search(study, [], set()).more()[0]
    rows = [
        (after, on, split, correct, 10)
        for split in ("validation", "test")
        for after, on, correct in ((-1, 0, 5), (0, 0, 9), (1, 0, source), (1, 1, 8))
    ]
    record = record_of(first, seed, status, accuracy=rows if status == "ok" else [])
    trial = {"config_id": key, "trial_id": f"{key}-{seed}"}
    config = {"config_id": key, "hyper": hyper.model_dump(mode="json")}
    return {
        **record,
        "trial": {**record["trial"], **trial},
        "config": {**record["config"], **config},
    }


def crossed(study: Study, seeds: tuple[int, ...] = (0,)) -> list[Record]:
    return [
        old_record(study, seed, lam=1.0, form="proximal", fisher=fisher, fisher_batch=batch)
        for seed in seeds
        for fisher, batch in OLD
    ]


def stored(folder: Path, study: Study, records: list[Record]) -> Path:
    with Store(folder) as store:
        store.open_for_run(study_identity(study), resolved_toml(study), study.name)
        for record in records:
            store.commit(record)
    return folder


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY.format(seeds="[0]"))


def test_the_identities_are_those_that_were_stored(study: Study) -> None:
    ids = [record["config"]["config_id"] for record in crossed(study)]
    assert ids == list(OLD.values())
    batched = [OLD["batched", batch] for batch in (1, 16, 128)]
    assert [c.id for c in configurations(study)] == [OLD["exact", 128], *batched]


def test_a_run_trains_nothing_again(study: Study, tmp_path: Path) -> None:
    # Without the trial that has the identity of today: one of the others stands for it.
    records = [r for r in crossed(study) if r["config"]["config_id"] != OLD["exact", 128]]
    folder = stored(tmp_path / "out", study, records)
    summary = run(study, out=folder, inline=True)
    assert (summary.n_trials, summary.n_done, summary.n_new) == (4, 4, 0)
    assert len(Store(folder).load()) == 5, "nothing is removed"


def test_a_run_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    study = parse_study(STUDY.format(seeds="[0, 1]").replace("epochs = 3", "steps = 2"))
    records = [r for r in crossed(study) if r["config"]["hyper"]["fisher_batch"] == 16]
    folder = stored(tmp_path / "out", study, records)
    summary = run(study, out=folder, inline=True)
    assert (summary.n_trials, summary.n_done, summary.n_new) == (8, 8, 6)
    assert run(study, out=folder, inline=True).n_new == 0


def test_a_failed_trial_counts_if_no_other_has_done_its_work(study: Study, tmp_path: Path) -> None:
    exact = [
        old_record(study, 0, status, lam=1.0, form="proximal", fisher_batch=batch)
        for batch, status in ((128, "failed"), (16, "ok"))
    ]
    names = names_of(study, (r["config"] for r in exact))
    (kept,) = names.records(exact)
    assert kept["trial"]["status"] == "ok"
    assert kept["config"]["config_id"] == OLD["exact", 128]
    assert kept["config"]["hyper"]["fisher_batch"] == 128
    diverged = [
        exact[0],
        old_record(study, 0, "diverged", lam=1.0, form="proximal", fisher_batch=1),
    ]
    (kept,) = names_of(study, (r["config"] for r in diverged)).records(diverged)
    assert kept["trial"]["status"] == "diverged", "it is an answer"
    statuses = {r["trial"]["trial_id"]: r["trial"]["status"] for r in exact}
    assert names.statuses(statuses) == {f"{OLD['exact', 128]}-0": "ok"}


def test_a_report_shows_and_counts_it_once(study: Study, tmp_path: Path) -> None:
    folder = stored(tmp_path / "out", study, crossed(study))
    found = results_reader.read(folder)
    assert len(found.records) == 4
    assert any("2 trials in the folder repeat others" in note for note in found.notes)
    assert len(read_validation(folder).candidates) == 4
    assert len(of_its_study(Store(folder))) == 4
    assert export_optuna(folder, tmp_path / "studies.log") == {"cond1: EWC": 4}


def test_plan_and_status_count_it_once(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "out", study, crossed(study)[1:2])
    (tmp_path / "study.toml").write_text(STUDY.format(seeds="[0]"), "utf-8")
    cli = CommandLine(capsys)
    assert "4 trials; 1 done" in cli("plan", tmp_path / "study.toml", "--out", folder).out
    assert "1 of 4 trials done" in cli("status", folder).out


@pytest.mark.parametrize(
    "change",
    [
        {"lam": 2.0},
        {"gamma": 0.5, "anchor": "online"},
    ],
    ids=["another grid", "another number"],
)
def test_other_work_is_not_taken_for_it(study: Study, change: dict[str, object]) -> None:
    numbers = {"lam": 1.0, "form": "proximal", "fisher_batch": 16, **change}
    assert not names_of(study, [old_record(study, 0, **numbers)["config"]])


def test_another_version_of_the_method_is_not_taken_for_it(study: Study) -> None:
    record = old_record(study, 0, lam=1.0, form="proximal", fisher_batch=16)
    config = {**record["config"], "config_id": "0123456789abcdef"}
    assert not names_of(study, [config])


def test_tables_are_not_read_where_everything_is_asked_for(study: Study, tmp_path: Path) -> None:
    records = [record_of(c, 0, "failed") for c in configurations(study)]
    store = Store(stored(tmp_path / "out", study, records))
    store.load = None  # type: ignore[assignment, method-assign]
    assert not names_in(study, store)


# ------------------------------------------------------------------------------ searches

SEARCH = """\
name = "searched"
seeds = [0]
[benchmark]
name = "split"
scenario = "task"
[search]
kind = "optuna"
sampler = "{sampler}"
trials = 12
at_once = {at_once}
nuisance = true
[[methods]]
name = "dgr"
targets = ["hard", "soft"]
t_squared = [false, true]
"""
SAMPLERS = ["tpe", "gp", "nsga2", "qmc", "random"]


def dgr_record(study: Study, weight: float, time: int, **numbers: object) -> Record:
    record = old_record(study, 0, source=time % 10, weight=weight, **numbers)
    at = f"2026-01-01T00:00:{time:02d}.000+00:00"
    return {**record, "trial": {**record["trial"], "finished_at": at}}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_goes_on_from_records_with_numbers_that_were_off(sampler: str) -> None:
    study = parse_study(SEARCH.format(sampler=sampler, at_once=1))
    stored_before = [
        dgr_record(study, 1.0, 1, targets="hard", temperature=3.1, t_squared=True),
        dgr_record(study, 1.0, 2, targets="hard", temperature=1.7),
        dgr_record(study, 0.5, 3, targets="soft", temperature=1.0, t_squared=True),
        dgr_record(study, 0.5, 4, targets="soft", temperature=2.5, t_squared=True),
        dgr_record(study, 2.0, 5, targets="hard"),
    ]
    asked = []
    for order in (stored_before, stored_before[::-1]):
        records = names_of(study, (r["config"] for r in order)).records(order)
        search = Search(study, records, {r["trial"]["trial_id"] for r in records})
        assert len(search.known) == 4, "two of the five did the same"
        assert search.n_to_come == {"generative replay": 8}
        asked.append([c.id for c in search.more()])
    assert asked[0] == asked[1]
    assert len(asked[0]) == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_asks_for_no_work_twice(sampler: str) -> None:
    study = parse_study(SEARCH.format(sampler=sampler, at_once=3))
    search = Search(study, [], set())
    made = []
    while new := search.more():
        for configuration in new:
            made.append(configuration)
            rows = [(1, 0, "validation", len(made) % 10, 10), (1, 1, "validation", 5, 10)]
            search.tell(record_of(configuration, 0, "ok", accuracy=rows))
    assert len({c.id for c in made}) == len(made) == 12
    for configuration in made:
        hyper = configuration.hyper
        assert hyper.targets == "soft" or (hyper.temperature, hyper.t_squared) == (2.0, False)
    # And who starts from the records knows the same configurations.
    records = [record_of(c, 0, "failed") for c in made]
    again = Search(study, records, {trial_id_of(c.id, 0) for c in made})
    assert {c.id for c in again.known} == {c.id for c in made}


def test_a_nuisance_that_never_acts_is_not_searched() -> None:
    text = SEARCH.format(sampler="tpe", at_once=1).replace('["hard", "soft"]', '"hard"')
    study = parse_study(text.replace("t_squared = [false, true]\n", ""))
    (request,) = study.methods
    assert request.axes()["temperature"] == (2.0,)


def test_a_search_of_nothing_but_numbers_that_are_off_is_refused() -> None:
    text = SEARCH.format(sampler="tpe", at_once=1).replace('["hard", "soft"]', '"hard"')
    with pytest.raises(Exception, match="searches numbers alone that others switch off"):
        parse_study(text + "weight = 1.0\n")
