"""Progress below a notebook's cell: one text, replaced in place, and no IPython where none is."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from clsweep.execution.listeners.base import RunStart
from clsweep.execution.listeners.notebook_progress import NotebookProgress, progress_on
from clsweep.execution.listeners.progress import LineProgress, Progress
from clsweep.execution.outcomes import Outcome
from clsweep.study.configurations import configurations
from clsweep.study.jobs import Job
from clsweep.study.study import parse_study
from tests.support.command_line import TINY

STUDY = parse_study(TINY.format(seeds=1, net="hidden = [4]", steps=2, lam="[1.0]"))
JOB = Job("c-0", "trial", "EWC", "c", 0)


class Cell:
    """The output of a cell, as `display` and its handle change it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.n_updates = 0

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        assert (raw, display_id) == (True, True)
        self.texts.append(data["text/plain"])
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.texts[-1] = data["text/plain"]
        self.n_updates += 1


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """This process as if it served a notebook."""
    cell = Cell()
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = cell.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return cell


def test_a_text_is_replaced_in_place_and_failures_stay(cell: Cell) -> None:
    now, stream = [0.0], io.StringIO()
    progress = NotebookProgress(cell.display, stream, lambda: now[0])
    configuration = next(c for c in configurations(STUDY) if c.method == "ewc")

    def refuse() -> None:
        raise AssertionError("a display reads no record")

    progress.begin(RunStart(STUDY, Path("out"), 99, 0, False, True, {"EWC": (99, 0)}))
    progress.preparing("loading torch")
    assert cell.texts[0].startswith("0/99 trials done, 0 failed; 0 s elapsed, loading torch\n")
    for i in range(98):
        progress.started(JOB)
        now[0] += 0.1
        outcome = Outcome("failed" if i == 50 else "ok", "odd" if i == 50 else "", 0.5)
        progress.finished(JOB, outcome, configuration, refuse)  # type: ignore[arg-type]
    progress.jobs_ended()
    assert cell.texts == [
        "98/99 trials done, 1 failed; 10 s elapsed\n"
        "trials done, and best single trial of any seed: average accuracy (validation)\n"
        "EWC     98/99   50.0 %"
    ]
    assert 10 <= cell.n_updates <= 10 / 0.5 + 2
    assert stream.getvalue() == "clsweep: EWC, λ = 1, seed 0: failed: odd\n"


def test_a_notebook_gets_its_own_progress_and_a_file_still_lines(cell: Cell) -> None:
    assert type(progress_on()) is NotebookProgress
    assert type(progress_on(sys.stderr)) is NotebookProgress
    assert type(progress_on(io.StringIO())) is LineProgress
    assert type(progress_on(quiet=True)) is Progress


def test_ipython_on_a_terminal_is_no_notebook(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())
    assert type(progress_on(io.StringIO())) is LineProgress
    assert type(progress_on(sys.stderr)) is not NotebookProgress


def test_ipython_is_not_imported() -> None:
    code = (
        "import sys, clsweep; clsweep.progress_on(sys.stderr); assert 'IPython' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
