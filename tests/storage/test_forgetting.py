"""Trials that are taken out of a results folder: nothing is deleted, wherever it is cut short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clsweep.errors import StoreError
from clsweep.execution import runner
from clsweep.records.checksums import record_from_bytes
from clsweep.records.schema import Record
from clsweep.storage.attempts import attempts, mark_attempt
from clsweep.storage.folder_base import Folder
from clsweep.storage.local_folder import LocalFolder
from clsweep.storage.saved_files import model_name, saved_models
from clsweep.storage.store import Store
from clsweep.study.configurations import study_identity
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import load_study
from tests.support.command_line import CommandLine, tiny_study
from tests.support.searches import searched, work

STUDY = searched(
    "kind = 'grid'",
    '[[methods]]\nname = "finetune"\n[[methods]]\nname = "ewc"\nlam = [1e2, 1e4, 1e6]\n',
)
TABLES = ("accuracy.parquet", "configs.parquet", "trials.parquet")


def folder_of_records(directory: Path, records: list[Record], n_pending: int = 0) -> Path:
    """A folder in which the last records are not compacted yet."""
    with Store(directory).open_for_run(
        study_identity(STUDY), resolved_toml(STUDY), STUDY.name
    ) as store:
        for one in records[: len(records) - n_pending]:
            store.commit(one)
        store.compact()
        for one in records[len(records) - n_pending :]:
            store.commit(one)
    return directory


def ids(records: list[Record]) -> set[str]:
    return {one["trial"]["trial_id"] for one in records}


def forgotten(directory: Path) -> dict[str, Record]:
    found = {}
    for path in (directory / "forgotten").glob("*.json"):
        trial_id = path.name.split(".")[0]
        found[trial_id] = record_from_bytes(path.read_bytes(), trial_id, str(path))
    return found


@pytest.mark.parametrize("n_pending", [0, 3, 8])
def test_the_others_stay_as_if_the_trials_had_never_been(tmp_path: Path, n_pending: int) -> None:
    records = work(STUDY)
    gone = [r for r in records if r["config"]["hyper"].get("lam") == 1e4]
    kept = [one for one in records if one not in gone]
    assert len(gone) == 2
    out = folder_of_records(tmp_path / "o", records, n_pending)
    mark_attempt(out, gone[0]["trial"]["trial_id"])
    before = {r["trial"]["trial_id"]: r for r in Store(out).load()}
    assert Store(out).forget(ids(gone)) == 2
    without = folder_of_records(tmp_path / "without", kept)
    for name in TABLES:
        assert (out / name).read_bytes() == (without / name).read_bytes()
    assert Store(out).load() == Store(without).load()
    assert forgotten(out) == {key: before[key] for key in ids(gone)}
    assert not list((out / "records").iterdir())
    assert attempts(out, gone[0]["trial"]["trial_id"]) == 0
    assert Store(out).forget(ids(gone)) == 0


def test_all_of_them(tmp_path: Path) -> None:
    records = work(STUDY)
    out = folder_of_records(tmp_path / "o", records)
    assert Store(out).forget(ids(records)) == len(records)
    assert Store(out).load() == []
    assert len(forgotten(out)) == len(records)
    folder_of_records(out, records)  # and it can be filled again
    assert ids(Store(out).load()) == ids(records)


@pytest.mark.parametrize("fails_at", range(1, 12))
def test_wherever_it_is_cut_short_no_trial_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    records = work(STUDY)
    gone = ids([r for r in records if r["config"]["hyper"].get("lam") in (1e2, 1e4)])
    out = folder_of_records(tmp_path / "o", records)
    n_calls = 0

    def counted(function):
        def call(folder: Folder, *arguments):
            nonlocal n_calls
            n_calls += 1
            if n_calls == fails_at:
                raise KeyboardInterrupt
            return function(folder, *arguments)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "write", counted(LocalFolder.write))
        patched.setattr(LocalFolder, "move", counted(LocalFolder.move))
        with pytest.raises(KeyboardInterrupt):
            Store(out).forget(gone)
    there = ids(Store(out).load())
    assert there | forgotten(out).keys() == ids(records)
    assert not there & forgotten(out).keys()
    Store(out).forget(gone)
    assert ids(Store(out).load()) == ids(records) - gone
    assert forgotten(out).keys() == gone


def test_an_object_store_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = work(STUDY)
    out = folder_of_records(tmp_path / "o", records)
    before = {name: (out / name).read_bytes() for name in TABLES}
    monkeypatch.setattr(LocalFolder, "keeps_records", True)
    with pytest.raises(StoreError, match="in an object store no record is deleted"):
        Store(out).forget(ids(records))
    assert {name: (out / name).read_bytes() for name in TABLES} == before


def test_a_folder_of_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    records = work(STUDY)
    out = folder_of_records(tmp_path / "o", records)
    with (
        Store(out).open_for_run(study_identity(STUDY), resolved_toml(STUDY), STUDY.name),
        pytest.raises(StoreError, match="another run is writing"),
    ):
        Store(out).forget(ids(records))
    assert ids(Store(out).load()) == ids(records)


def test_the_command_shows_first_and_a_run_computes_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli, out = CommandLine(capsys), tmp_path / "o"
    path = tiny_study(tmp_path, lam="[1.0, 10.0]", more='[save]\nmodels = "all"\n')
    runner.run(load_study(path), out=out, inline=True)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    where = 'method = "ewc" and lam > 5'
    shown = cli("forget", out, "--where", where)
    assert shown.code == 0, shown.err
    assert "1 trial of 3 would be forgotten; nothing changed" in shown.out
    assert shown.out.endswith(f"\nnext: clsweep forget {out} --where '{where}' --yes\n")
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before

    done = cli("forget", out, "--where", where, "--yes")
    assert done.code == 0, done.err
    assert "forgot 1 trial of 3" in done.out
    assert done.out.endswith(f"\nnext: clsweep run {out}/study.toml --out {out}\n")
    (gone,) = forgotten(out)
    assert gone not in saved_models(out)
    (network,) = (out / "forgotten").glob("*.safetensors")
    assert network.read_bytes() == before[out / model_name(gone)]

    summary = runner.run(load_study(path), out=out, inline=True)
    assert (summary.n_new, summary.n_sources_trained) == (1, 0)
    for name in TABLES[:2]:
        assert (out / name).read_bytes() == before[out / name]
    assert (out / model_name(gone)).read_bytes() == before[out / model_name(gone)]


def test_what_cannot_be_forgotten_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli, out = CommandLine(capsys), folder_of_records(tmp_path / "o", work(STUDY))
    cli("forget", out, "--where", 'status = "failed"', "--yes").is_mistake("none of 8 trials fits")
    cli("forget", out, "--where", 'label = "ewc"').is_mistake("label: did you mean 'EWC'?")
    cli("forget", out, "--where", 'status = "OK" and seed = 0').is_mistake(
        "status: did you mean 'ok'?"
    )
    cli("forget", out, "--where", "lamb = 1").is_mistake("did you mean 'lam'?")
    cli("forget", out, "--where", "lam = 1 or seed = 1").is_mistake("'or' after a condition")
    cli("forget", tmp_path / "no", "--where", "seed = 1").is_mistake("there is no folder")
    assert cli("forget", out).code == 2
    assert len(Store(out).load()) == 8
    assert json.loads((out / "versions.json").read_text())["name"] == "searched"
