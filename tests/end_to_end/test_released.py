"""Folders that earlier commits wrote, and left half done, are read, reported and continued."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clsweep.storage.store import Store
from tests.support.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

RELEASED = Path(__file__).parents[1] / "released"
STUDY = RELEASED / "study.toml"
VERSIONS = ("f8c9ad0", "8a44fcb")
N_DONE = 7


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(RELEASED / request.param, tmp_path / "out"))


@pytest.fixture
def command_line(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def trials(folder: Path) -> dict[str, Any]:
    return {
        record["trial"]["trial_id"]: (record["accuracy"], record["trial"]["finished_at"])
        for record in Store(folder).load()
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


def test_the_records_of_both_hold_the_same_numbers() -> None:
    # On one machine, one after the other: between the two commits no identity and no number moved.
    old, new = (
        {
            path.name: json.loads(path.read_text(encoding="utf-8"))
            for path in (RELEASED / version / "records").glob("*.json")
        }
        for version in VERSIONS
    )
    assert old.keys() == new.keys()
    assert len(old) == N_DONE
    for name in old:
        assert old[name]["config"] == new[name]["config"]
        assert old[name]["accuracy"] == new[name]["accuracy"]
        assert old[name]["trial"]["stages"] == new[name]["trial"]["stages"]


def test_it_is_read_and_reported_as_it_lies(folder: Path, command_line: CommandLine) -> None:
    before = files_of(folder)
    assert len(trials(folder)) == N_DONE
    status = command_line("status", folder)
    assert status.code == 3  # no run is at work, and trials are missing
    assert f"{N_DONE} of at most 18 trials done: {N_DONE} ok" in status.out
    report = command_line("report", folder)
    assert report.code == 0
    for label in ("fine-tuning", "EWC", "experience replay"):
        assert label in report.out
    assert files_of(folder).items() >= before.items()


def test_it_is_continued_and_nothing_is_computed_twice(
    folder: Path, command_line: CommandLine
) -> None:
    before = trials(folder)
    planned = command_line("plan", STUDY, "--out", folder)
    assert f"{N_DONE} done in" in planned.out.replace("\n", " ")
    done = command_line("run", STUDY, "--inline", "--out", folder)
    assert done.code == 0
    after = trials(folder)
    assert len(after) > N_DONE
    assert {name: after[name] for name in before} == before
    # The source model of the first seed is the earlier run's.
    assert "source models: 1 trained" in done.out
