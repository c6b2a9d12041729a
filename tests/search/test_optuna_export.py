"""The exported studies open with Optuna, and say what the records say of validation data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy.exc
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from clsweep.errors import StoreError
from clsweep.search import pareto
from clsweep.search.optuna_export import export_optuna
from clsweep.search.search import Search
from clsweep.storage.store import Store
from clsweep.study.configurations import configuration_asked, study_identity
from clsweep.study.resolved_toml import resolved_toml
from tests.support.command_line import CommandLine
from tests.support.searches import searched, smooth, work


def world(configuration, seed):
    """Of LwF the second seed diverges for every other configuration; EWC has dominated points."""
    if configuration.method == "lwf" and seed == 1 and int(configuration.id, 16) % 2:
        return None
    source, target = smooth(configuration, seed)
    if configuration.method == "ewc" and int(configuration.id, 16) % 3 == 0:
        return source - 0.2, target - 0.2
    return source, target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("results")
    study = searched('kind = "optuna"\nsampler = "random"\ntrials = 12')
    records = work(study, world=world)
    # A configuration that has one of its two seeds is no trial yet.
    last = [r for r in records if r["trial"]["label"] == "EWC" and r["trial"]["seed"] == 1][-1]
    records.remove(last)
    with Store(directory).open_for_run(
        study_identity(study), resolved_toml(study), study.name
    ) as store:
        for record in records:
            store.commit(record)
        store.compact()
    return directory


@pytest.fixture(scope="module")
def small(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One configuration of it: what a file is called does not depend on what it holds."""
    whole, directory = Store(folder), tmp_path_factory.mktemp("small")
    study = searched('kind = "optuna"\nsampler = "random"\ntrials = 12')
    records = whole.load()
    few = [r for r in records if r["trial"]["config_id"] == records[0]["trial"]["config_id"]]
    with Store(directory).open_for_run(
        study_identity(study), resolved_toml(study), study.name
    ) as store:
        for record in few:
            store.commit(record)
        store.compact()
    return directory


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_an_exported_study_opens_with_the_front_of_the_validation_means(
    folder: Path, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    written = export_optuna(folder, file)
    assert written == {
        "searched: EWC": 11,
        "searched: LwF": 12,
        "searched: fine-tuning": 1,
        "searched: frozen trunk": 1,
    }
    sqlite = name.endswith(".db")
    storage = f"sqlite:///{file}" if sqlite else JournalStorage(JournalFileBackend(str(file)))
    study = searched('kind = "optuna"\nsampler = "random"\ntrials = 12')
    done = set(Store(folder).statuses())
    known = {c.id: c for c in Search(study, Store(folder).load(), done).known}

    ewc = optuna.load_study(study_name="searched: EWC", storage=storage)
    assert ewc.metric_names == ["source accuracy", "target accuracy"]
    assert {trial.state for trial in ewc.trials} == {TrialState.COMPLETE}
    means = []
    for trial in ewc.trials:
        configuration = known[trial.user_attrs["config_id"]]
        assert trial.params == {"lam": configuration.hyper.model_dump()["lam"]}
        means.append(np.mean([world(configuration, seed) for seed in (0, 1)], axis=0))
        assert trial.values == pytest.approx(means[-1], abs=1e-6)
    on_front = pareto.non_dominated(np.array(means))
    assert 1 < on_front.sum() < 11, "the case shows nothing"
    best = {trial.number for trial in ewc.best_trials}
    assert best == set(np.flatnonzero(on_front))

    lwf = optuna.load_study(study_name="searched: LwF", storage=storage)
    for trial in lwf.trials:
        failed = world(known[trial.user_attrs["config_id"]], 1) is None
        assert trial.state == (TrialState.FAIL if failed else TrialState.COMPLETE)
        assert ("message" in trial.user_attrs) == failed
    assert {t.state for t in lwf.trials} == {TrialState.FAIL, TrialState.COMPLETE}
    assert all(t.datetime_start < t.datetime_complete for t in lwf.trials)


def test_asked_configurations_come_back_from_what_they_say(folder: Path) -> None:
    study = searched('kind = "optuna"\nsampler = "random"\ntrials = 12')
    done = set(Store(folder).statuses())
    for configuration in Search(study, Store(folder).load(), done).known:
        assert configuration_asked(study, configuration.asked) == configuration


def test_mistakes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = CommandLine(capsys)
    cli("export", folder, "--optuna", tmp_path / "x.txt").is_mistake("x.txt", ".db", ".log")
    there = tmp_path / "there.db"
    there.write_text("precious")
    cli("export", folder, "--optuna", there).is_mistake("exists already")
    assert there.read_text() == "precious"
    cli("export", tmp_path / "nowhere", "--optuna", tmp_path / "x.db").is_mistake(
        "no record to export", "nowhere"
    )
    cli("export", folder, "--optuna", tmp_path / "no" / "x.db").is_mistake("cannot be written")
    with pytest.raises(StoreError, match="which kind"):
        export_optuna(folder, tmp_path / "x")
    ran = cli("export", folder, "--optuna", tmp_path / "x.log")
    assert ran.code == 0
    assert ran.err == ""
    assert "searched: EWC: 11 trials" in ran.out


@pytest.mark.parametrize(
    "name",
    [
        "what?.db",
        "50%.db",
        "a%20b.db",
        "c#.sqlite",
        "two words.db",
        "größe.db",
        "{x}.db",
        "a\nb.db",
    ]
    + [":memory:.db", "?mode=ro.log", "50%#{x} ü.journal"],
)
def test_a_file_of_any_name_is_written_where_it_is_named(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    odd, plain = tmp_path / "in a %23?#{folder}", tmp_path / f"plain{Path(name).suffix}"
    odd.mkdir()
    monkeypatch.chdir(odd)
    written = export_optuna(small, Path(name))
    assert [path.name for path in odd.iterdir()] == [name]
    shutil.copy(odd / name, plain)
    is_journal = name.endswith((".log", ".journal"))
    storage = (
        JournalStorage(JournalFileBackend(str(plain))) if is_journal else f"sqlite:///{plain}"
    )
    assert sorted(optuna.get_all_study_names(storage)) == sorted(written)


def test_a_disk_that_refuses_the_export_is_one_message(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(optuna, "create_study", refused)
    with pytest.raises(StoreError, match=r"cannot be written: disk I/O error(?s:.*)where: .*x.db"):
        export_optuna(folder, tmp_path / "x.db")
    assert not (tmp_path / "x.db").exists(), "half a file is taken away"
