"""docs/watching.md names the keys that the code writes, and no others."""

from __future__ import annotations

import io
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from clsweep.doctor import doctor, machine_checks
from clsweep.doctor.findings import Finding, as_json, ok
from clsweep.execution.listeners.base import RunStart
from clsweep.execution.listeners.event_log import EventLog
from clsweep.execution.outcomes import Outcome, Summary
from clsweep.status.status import Curve, Error, Running, Status
from clsweep.study.configurations import configurations
from clsweep.study.jobs import Job
from clsweep.study.sections import CallbacksConfig
from clsweep.study.study import load_study
from tests.support.command_line import tiny_study

TEXT = (Path(__file__).parents[2] / "docs" / "watching.md").read_text(encoding="utf-8") + "\n"


def _keys(after: str) -> set[str]:
    """The first column of the first table behind a passage."""
    start = TEXT.index("| ", TEXT.index(after))
    table = TEXT[start : TEXT.index("\n\n", start)]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {key for cell in first for key in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ("### Keys of `clsweep status --json`", Status),
        ("Of `curves`:", Curve),
        ("Of `running`:", Running),
        ("Of `errors`:", Error),
    ],
)
def test_status(after: str, kind: Any) -> None:
    assert _keys(after) == {field.name for field in fields(kind)}


def test_events(tmp_path: Path) -> None:
    study = load_study(tiny_study(tmp_path))
    stream = io.StringIO()
    log = EventLog(stream)
    job = Job("c-3", "trial", "EWC", "c", 3)
    log.begin(RunStart(study, tmp_path, 2, 0, is_upper_limit=False, has_work=True))
    log.started(job)
    log.finished(job, Outcome("ok"), configurations(study)[1], dict)
    log.end(Summary(5, 4, 3, 0, 0, 0, 1, 7, 0.0, 120.0, False, False, ()))
    log.failed("x")
    common = _keys("Every line has:")
    for line in stream.getvalue().splitlines():
        event = json.loads(line)
        assert {*event} - common == _keys(f"\n`{event['event']}`"), event["event"]


def test_callbacks() -> None:
    assert _keys("## In a tracker") == {*CallbacksConfig.model_fields}


def test_doctor() -> None:
    told = as_json([ok("python", "3")])
    assert _keys("### Keys of `clsweep doctor --json`") == {*told}
    listed = TEXT[TEXT.index("| `findings` |") :]
    for field in fields(Finding):
        assert f"`{field.name}`" in listed
    sources = [Path(str(module.__file__)).read_text() for module in (doctor, machine_checks)]
    named = re.findall(r"(?:ok|warn|wrong|level|found_by)\(\s*\"([\w ]+)\"", "\n".join(sources))
    assert _keys("Each line is `ok`") == {*named}
