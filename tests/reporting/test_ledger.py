"""Every look at test numbers is counted, whatever happened to the file."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rich.console import Console

import clsweep
from clsweep.reporting import analysis_version
from clsweep.reporting.analysis_version import ANALYSIS_VERSION, analysis_changes, analysis_of
from clsweep.reporting.ledger import (
    LEDGER,
    add_look,
    key_of_test_set,
    looks,
    looks_text,
    study_hash,
    users_ledger,
)
from clsweep.reporting.render import plots
from clsweep.reporting.render.publish import report
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from tests.support.records import STUDY_TOML, make_study, write_study

NOON = datetime(2025, 1, 31, 12, tzinfo=timezone.utc)


def test_looks_are_appended(tmp_path: Path) -> None:
    assert looks(tmp_path) == ()
    for n in range(3):
        before = (tmp_path / LEDGER).read_bytes() if n else b""
        add_look(tmp_path, "report", 10 + n, NOON)
        assert (tmp_path / LEDGER).read_bytes().startswith(before)
        assert len(looks(tmp_path)) == n + 1
    line = json.loads((tmp_path / LEDGER).read_text().splitlines()[2])
    assert line.pop("id")
    assert line == {
        "at": "2025-01-31T12:00:00.000+00:00",
        "by": "report",
        "study": "",
        "n_trials": 12,
        "test_set": "",
        "data": "",
        "analysis": None,
    }


@pytest.mark.parametrize("damage", [b'{"at": "20', b"\xff\xfe", b"[]", b"3"])
def test_a_damaged_line_is_still_a_look(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / LEDGER).write_bytes(damage)
    add_look(tmp_path, "report", 1, NOON)
    found = looks(tmp_path)
    assert [look.at[:10] for look in found] == ["", "2025-01-31"]


def test_the_sentence(tmp_path: Path) -> None:
    assert looks_text(()) == "Test numbers of this folder had not been shown before."
    add_look(tmp_path, "report", 1, NOON)
    assert "shown once before, first on 2025-01-31" in looks_text(looks(tmp_path))
    add_look(tmp_path, "report", 1, NOON)
    assert "shown 2 times before" in looks_text(looks(tmp_path))


def test_the_study_file_is_known_again(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("a = 1")
    add_look(tmp_path, "report", 1, NOON)
    assert looks(tmp_path)[0].study == study_hash(tmp_path) != ""
    (tmp_path / "study.toml").write_text("a = 2")
    assert looks(tmp_path)[0].study != study_hash(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plots, "draw", lambda data, stem, endings: [])
    return write_study(tmp_path / "r", make_study(("EWC",), n_values=2, n_seeds=1))


def test_every_report_is_a_look(folder: Path) -> None:
    for n in range(3):
        assert len(report(folder, console=Console(file=io.StringIO())).shown[0].looks) == n
    assert "had been shown 2 times before" in (folder / "report.txt").read_text(encoding="utf-8")


def test_a_notebook_looks_once_however_much_it_reads(folder: Path) -> None:
    before = len(looks(folder))
    loaded = clsweep.load(folder)
    assert loaded.fronts is not None
    assert loaded.accuracy is not None
    assert len(looks(folder)) == before + 1
    assert json.loads((folder / LEDGER).read_text().splitlines()[-1])["by"] == "load"


def test_a_look_that_cannot_be_counted_is_said(folder: Path) -> None:
    (folder / LEDGER).mkdir()
    (folder / LEDGER).rmdir()
    (folder / LEDGER).symlink_to(folder / "missing" / "file")
    data = report(folder, console=Console(file=io.StringIO()))
    assert any(note.startswith("This look is not counted") for note in data.notes)


# ------------------------------------------------------------------- the test set, not the folder


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A results folder of the same records under a study file of one's own."""
    monkeypatch.setattr(plots, "draw", lambda data, stem, endings: [])
    records = make_study(("EWC",), n_values=2, n_seeds=1)

    def made(name: str, toml: str = STUDY_TOML) -> Path:
        return write_study(tmp_path / name, records, toml)

    return made


def quietly(folder: Path, protocol: str | None = None) -> ReportData:
    console = Console(file=io.StringIO(), width=200)
    return report(folder, console=console, formats=(), protocol=protocol)


def header(folder: Path) -> str:
    return " ".join((folder / "report.txt").read_text(encoding="utf-8").split())


def test_a_look_outlives_its_folder(make: Callable[..., Path]) -> None:
    first = make("a")
    quietly(first)
    quietly(first)
    shutil.rmtree(first)
    again = make("b")
    quietly(again)
    assert looks(again) != ()
    assert "of this folder had not been shown before; those of the same data and task" in (
        header(again)
    )
    assert "sequence in other folders 2 times before, first on 20" in header(again)
    quietly(again)
    assert "of this folder had been shown once before" in header(again)
    assert "in other folders 2 times before" in header(again)


def test_a_look_that_both_files_tell_of_is_one(make: Callable[..., Path]) -> None:
    folder = make("a")
    quietly(folder)
    (shown,) = build(folder).shown
    assert (len(shown.looks), len(shown.elsewhere)) == (1, 0)
    path = users_ledger()
    assert path is not None
    assert path.read_bytes() == (folder / LEDGER).read_bytes()


def test_a_folder_tells_whoever_gets_it(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("a")
    quietly(folder)
    monkeypatch.setenv("CLSWEEP_LEDGER", str(tmp_path / "colleague" / LEDGER))
    quietly(folder)
    assert "of this folder had been shown once before" in header(folder)
    assert (tmp_path / "colleague" / LEDGER).exists()


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (("lr = 0.1", "lr = 0.2"), True),
        (('scenario = "domain"', 'scenario = "task"'), True),
        (('scenario = "domain"', 'scenario = "domain"\nvalidation_fraction = 0.2'), True),
        (('dataset = "mnist"', 'dataset = "fashion_mnist"'), False),
        (("n_tasks = 2", "n_tasks = 3"), False),
        (('scenario = "domain"', 'scenario = "domain"\ndata_seed = 1'), False),
        (('scenario = "domain"', 'scenario = "domain"\ndraws = "per_seed"'), False),
    ],
)
def test_another_study_of_the_same_test_set_is_named(
    make: Callable[..., Path], change: tuple[str, str], is_same: bool
) -> None:
    quietly(make("a"))
    assert change[0] in STUDY_TOML
    other = make("b", STUDY_TOML.replace(*change))
    quietly(other)
    named = [note for note in build(other).notes if "by other studies" in note]
    assert len(named) == is_same
    assert ("in other folders once before" in header(other)) == is_same


def test_draws_are_of_the_test_set_only_where_something_is_drawn() -> None:
    split = {"name": "split", "dataset": "mnist", "n_tasks": 5, "class_order": "sorted"}
    shuffled = {**split, "class_order": "shuffled"}
    given = {"name": "rotated", "angles": [0, 90]}
    for benchmark, is_drawn in ((split, False), (shuffled, True), (given, False)):
        keys = {key_of_test_set({**benchmark, "data_seed": seed}) for seed in (0, 1)}
        assert len(keys) == 1 + is_drawn
    assert key_of_test_set({}) == ""


def with_data(folder: Path, name: str, fingerprint: str) -> Path:
    """The folder with what its results were computed from."""
    path = folder / "versions.json"
    entry = {"fingerprint": fingerprint, "parts": {}, "decoding": 1}
    bound = {**json.loads(path.read_bytes()), "inputs": {f"data {name}": entry}}
    path.write_text(json.dumps(bound), encoding="utf-8")
    return folder


def test_data_are_the_same_by_what_they_hold_and_not_by_their_name(
    make: Callable[..., Path],
) -> None:
    pets = STUDY_TOML.replace('dataset = "mnist"', 'dataset = "folder:a/pets"')
    moved = STUDY_TOML.replace('dataset = "mnist"', 'dataset = "folder:b/pets"')
    quietly(with_data(make("a", pets), "folder:a/pets", "one"))
    found = {
        "the same in another place": (moved, "folder:b/pets", "one", 1),
        "others under the same name": (pets, "folder:a/pets", "two", 0),
    }
    for case, (toml, name, fingerprint, n) in found.items():
        folder = with_data(make(case, toml), name, fingerprint)
        assert len(build(folder).shown[0].elsewhere) == n, case
    # A folder of before it was recorded says the name alone.
    assert len(build(make("old", pets)).shown[0].elsewhere) == 1
    assert len(build(make("old, moved", moved)).shown[0].elsewhere) == 0


def test_a_key_by_content_needs_every_data_set() -> None:
    pair = {"name": "pair", "dataset": "mnist", "target": ["kmnist"]}
    assert key_of_test_set(pair, {"mnist": "x"}) == ""
    known = key_of_test_set(pair, {"mnist": "x", "kmnist": "y"})
    assert known not in ("", key_of_test_set(pair, {"mnist": "y", "kmnist": "x"}))


@pytest.mark.parametrize("content", [b'{"at": "20', b"\xff\xfe", b"[]", b'{"test_set": 3}'])
def test_a_damaged_ledger_of_the_user_hides_no_report(
    make: Callable[..., Path], content: bytes
) -> None:
    path = users_ledger()
    assert path is not None
    path.write_bytes(content)
    folder = make("a")
    quietly(folder)
    assert len(path.read_bytes().splitlines()) == 2


class TestWhereTheUsersLedgerLies:
    def test_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLSWEEP_LEDGER", str(tmp_path / "x"))
        assert users_ledger() == tmp_path / "x"

    def test_state_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CLSWEEP_LEDGER")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
        assert users_ledger() == tmp_path / "s" / "clsweep" / LEDGER
        for relative in ("", "s"):
            monkeypatch.setenv("XDG_STATE_HOME", relative)
            assert users_ledger() == tmp_path / ".local" / "state" / "clsweep" / LEDGER

    @pytest.mark.parametrize("home", ["/", "/nowhere/at/all", ""])
    def test_nobody(
        self, home: str, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CLSWEEP_LEDGER")
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setenv("HOME", home)
        assert users_ledger() is None
        folder = make("a")
        data = quietly(folder)
        assert not [note for note in data.notes if "look" in note]
        assert len(looks(folder)) == 1

    def test_one_that_cannot_be_written_is_said_and_the_folder_counts(
        self, make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("CLSWEEP_LEDGER", str(tmp_path / "file" / LEDGER))
        folder = make("a")
        (note,) = (note for note in quietly(folder).notes if "not counted" in note)
        assert "the user's ledger cannot be written" in note
        assert len(looks(folder)) == 1

    def test_one_that_cannot_be_read_is_said(
        self, make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / LEDGER).mkdir()
        monkeypatch.setenv("CLSWEEP_LEDGER", str(tmp_path / LEDGER))
        assert any("elsewhere are not known" in note for note in quietly(make("a")).notes)


# ------------------------------------------------------------- an analysis that changed afterwards


def changed(folder: Path, protocol: str | None = None) -> list[str]:
    return [n for n in build(folder, protocol=protocol).notes if "analysis was changed" in n]


def test_a_change_of_the_statistics_after_a_look_is_said(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("a")
    assert changed(folder) == []
    quietly(folder)
    assert changed(folder) == []
    monkeypatch.setattr(analysis_version, "ANALYSIS_VERSION", ANALYSIS_VERSION + 1)
    (note,) = changed(folder)
    was, now = ANALYSIS_VERSION, ANALYSIS_VERSION + 1
    assert f"version of the statistics (was {was}, is {now})" in note
    # Whoever deletes the folder and runs the same study again has seen the numbers, too.
    shutil.rmtree(folder)
    assert changed(make("b")) == [note]


def test_a_change_of_allowed_drops_after_a_look_is_said(make: Callable[..., Path]) -> None:
    folder = make("a")
    quietly(folder)
    toml = STUDY_TOML.replace("drops = [1.0, 5.0]", "drops = [2.5]")
    (folder / "study.toml").write_text(toml, encoding="utf-8")
    (note,) = changed(folder)
    assert "allowed drops in points (was 1, 5, is 2.5)" in note


def test_a_rule_that_the_file_did_not_name_had_its_default(make: Callable[..., Path]) -> None:
    folder = make("a")
    assert "margin" not in STUDY_TOML
    quietly(folder)
    toml = STUDY_TOML.replace("[report]", "[report]\nmargin = 1.0")
    (folder / "study.toml").write_text(toml, encoding="utf-8")
    assert changed(folder) == []
    (folder / "study.toml").write_text(toml.replace("1.0\n", "0.0\n", 1), encoding="utf-8")
    (note,) = changed(folder)
    assert "margin in standard errors (was 1, is 0)" in note


def test_a_protocol_that_is_asked_for_after_a_look_is_said(make: Callable[..., Path]) -> None:
    folder = make("a")
    assert changed(folder, "target") == []
    quietly(folder)
    (note,) = changed(folder, "target")
    assert "protocol asked for (was none, is target)" in note
    quietly(folder, "target")
    assert changed(folder) == []


def test_looks_of_earlier_releases_had_an_earlier_analysis() -> None:
    today = {**analysis_of({}, ""), "statistics": "2"}
    assert analysis_changes([None], today) == ""
    (later,) = [analysis_changes([None, today], {**today, "statistics": "4"})]
    assert "version of the statistics (was 2 or 2 or earlier, is 4)" in later
