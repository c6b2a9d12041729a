"""Fair stability/plasticity fronts for continual-learning methods, as Ray Tune sweeps.

    study = clsweep.load_study("configs/quickstart.toml")
    summary = clsweep.run(study, out="results/quickstart", inline=True)
    results = clsweep.load("results/quickstart")

Names are imported when they are asked for: reading results must not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsweep.errors import ClsweepError
    from clsweep.execution.runner import run
    from clsweep.notebook import load
    from clsweep.study.study import Study, load_study

    __version__: str

__all__ = ["ClsweepError", "Study", "__version__", "load", "load_study", "run"]

_HOMES = {
    "ClsweepError": "clsweep.errors",
    "Study": "clsweep.study.study",
    "load": "clsweep.notebook",
    "load_study": "clsweep.study.study",
    "run": "clsweep.execution.runner",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("clsweep")
    if name not in _HOMES:
        raise AttributeError(f"module 'clsweep' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
