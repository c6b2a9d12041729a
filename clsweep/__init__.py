"""Fair stability/plasticity fronts for continual-learning methods, as Ray Tune sweeps.

    study = clsweep.load_study("configs/quickstart.toml")
    n_left = clsweep.plan(study).n_left
    summary = clsweep.run(study, inline=True)
    clsweep.report("results/quickstart")
    results = clsweep.load("results/quickstart")

The public interface is the names of `__all__`, with what docs/python.md says of them. Everything
else, every module and sub-package, is private and changes without notice.

Names are imported when they are asked for: reading results must not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clsweep.imported_sources import watch

if TYPE_CHECKING:
    from clsweep.errors import (
        CacheError,
        ClsweepError,
        MethodError,
        RunnerError,
        StoreError,
        StudyError,
    )
    from clsweep.execution.dry_run import plan
    from clsweep.execution.forecast import Forecast
    from clsweep.execution.listeners.base import Listener
    from clsweep.execution.listeners.notebook_progress import progress_on
    from clsweep.execution.outcomes import Summary
    from clsweep.execution.runner import run
    from clsweep.notebook import LoadedResults, load
    from clsweep.reporting.render.publish import report
    from clsweep.reporting.report_data import ReportData
    from clsweep.study.configurations import Configuration
    from clsweep.study.study import Study, load_studies, load_study

    __version__: str

__all__ = [
    "CacheError",
    "ClsweepError",
    "Configuration",
    "Forecast",
    "Listener",
    "LoadedResults",
    "MethodError",
    "ReportData",
    "RunnerError",
    "StoreError",
    "Study",
    "StudyError",
    "Summary",
    "__version__",
    "load",
    "load_studies",
    "load_study",
    "plan",
    "progress_on",
    "report",
    "run",
]

# No sub-package and no module of `clsweep` has one of these names: importing it would take the
# name's place.
_HOMES = {
    "CacheError": "clsweep.errors",
    "ClsweepError": "clsweep.errors",
    "Configuration": "clsweep.study.configurations",
    "Forecast": "clsweep.execution.forecast",
    "Listener": "clsweep.execution.listeners.base",
    "LoadedResults": "clsweep.notebook",
    "MethodError": "clsweep.errors",
    "ReportData": "clsweep.reporting.report_data",
    "RunnerError": "clsweep.errors",
    "StoreError": "clsweep.errors",
    "Study": "clsweep.study.study",
    "StudyError": "clsweep.errors",
    "Summary": "clsweep.execution.outcomes",
    "load": "clsweep.notebook",
    "load_studies": "clsweep.study.study",
    "load_study": "clsweep.study.study",
    "plan": "clsweep.execution.dry_run",
    "progress_on": "clsweep.execution.listeners.notebook_progress",
    "report": "clsweep.reporting.render.publish",
    "run": "clsweep.execution.runner",
}

watch()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("clsweep")
    if name not in _HOMES:
        raise AttributeError(f"module 'clsweep' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion in a notebook."""
    return sorted(__all__)
