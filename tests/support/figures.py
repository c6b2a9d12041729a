"""Figures for tests that look at everything else of a report: drawn once in a process."""

from __future__ import annotations

from collections.abc import Sequence

from clsweep.reporting.render import plots
from clsweep.reporting.report_data import ReportData

_DRAWN: dict[str, bytes] = {}
_FILES = plots._files


def drawn_once(data: ReportData, view: plots.View, endings: Sequence[str]) -> dict[str, bytes]:
    """Figures as files: the first is drawn, and stands for those of all later reports."""
    missing = [ending for ending in endings if ending not in _DRAWN]
    if missing:
        _DRAWN.update(_FILES(data, view, missing))
    return {ending: _DRAWN[ending] for ending in endings}
