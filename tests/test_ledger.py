"""Every look at test numbers is counted, whatever happened to the file."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rich.console import Console

import clsweep
from clsweep import plots
from clsweep.ledger import LEDGER, add_look, looks, looks_text, study_hash
from clsweep.report import report
from tests.records import make_study, write_study

NOON = datetime(2025, 1, 31, 12, tzinfo=timezone.utc)


def test_looks_are_appended(tmp_path: Path) -> None:
    assert looks(tmp_path) == ()
    for n in range(3):
        before = (tmp_path / LEDGER).read_bytes() if n else b""
        add_look(tmp_path, "report", 10 + n, NOON)
        assert (tmp_path / LEDGER).read_bytes().startswith(before)
        assert len(looks(tmp_path)) == n + 1
    line = json.loads((tmp_path / LEDGER).read_text().splitlines()[2])
    assert line == {
        "at": "2025-01-31T12:00:00.000+00:00",
        "by": "report",
        "study": "",
        "n_trials": 12,
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
        assert len(report(folder, None, Console(file=io.StringIO())).shown[0].looks) == n
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
    data = report(folder, None, Console(file=io.StringIO()))
    assert any(note.startswith("This look is not counted") for note in data.notes)
