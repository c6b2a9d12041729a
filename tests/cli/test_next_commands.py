"""The last line of a command is the one command that makes sense next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clsweep.cli.next_commands import after_export, after_report, python_path, run_command
from clsweep.reporting.report_building import build
from clsweep.storage.folder_kinds import folder_of
from clsweep.storage.remote_path import place_of
from tests.support.records import make_study, write_study


def test_a_report_leads_to_the_chosen_study_or_to_what_is_missing(tmp_path: Path) -> None:
    records = make_study(("EWC",), n_values=3)
    whole = write_study(tmp_path / "whole", records)
    assert after_report(build(whole), whole) == (
        f"next: clsweep export {whole} --study synthetic-chosen.toml"
    )
    # With seed 2 one trial alone has ended, and a report shows the two others.
    part = [r for r in records if r["trial"]["seed"] < 2 or r["trial"]["method"] == "joint"]
    short = write_study(tmp_path / "short", part)
    assert after_report(build(short), short) == f"next: clsweep status {short}"


def test_what_is_left_in_a_folder_is_run_from_its_study(tmp_path: Path) -> None:
    data = build(write_study(tmp_path / "r", make_study(("EWC",), n_values=3)))
    left = replace(data, unfinished=(tmp_path / "r",))
    again = f"clsweep run {tmp_path / 'r'}/study.toml --out {tmp_path / 'r'}"
    assert after_report(left, tmp_path / "r") == f"next: {again}"
    lock = folder_of(tmp_path / "r").lock()
    try:
        line = after_report(left, tmp_path / "r")
    finally:
        lock.release()
    assert line == f"a run is at work; next: clsweep status {tmp_path / 'r'}"
    place = place_of("s3://bucket/r")
    assert after_report(replace(data, unfinished=(place,)), place) == (
        "next: clsweep status s3://bucket/r"
    )


def test_the_run_is_named_with_what_says_what_is_run_and_where() -> None:
    plain = run_command(Path("a b.toml"), None, None, None)
    assert plain == "clsweep run 'a b.toml'"
    full = run_command(Path("s.toml"), "o", "st", "d d", address="auto", workers=3, inline=True)
    assert full == (
        "clsweep run s.toml --out o --stages st --data-root 'd d' --address auto --workers 3 "
        "--inline"
    )
    part = run_command(Path("s.toml"), None, None, None, only=["EWC", "my own"], time_limit="2h")
    assert part == "clsweep run s.toml --only EWC --only 'my own' --time-limit 2h"


@pytest.mark.parametrize(
    "line",
    [
        'method = "mine:build"',
        'learner = "mine.deep:Learner"',
        'dataset = "factory:mine:digits(n=3)"',
    ],
)
def test_code_in_the_current_folder_is_found_by_the_next_command_too(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "s.toml"
    study.write_text(f'name = "s"\n[[methods]]\n{line}\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert python_path(study) == "", "there is no mine.py"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", ".")
    monkeypatch.setattr("sys.path", ["bin", str(tmp_path)])
    assert run_command(Path("s.toml"), None, None, None) == "PYTHONPATH=. clsweep run s.toml"
    assert after_export(Path("s.toml"), None) == "next: PYTHONPATH=. clsweep plan s.toml"
    monkeypatch.delenv("PYTHONPATH")
    assert python_path(study) == "", "the folder is installed"
