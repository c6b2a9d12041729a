"""Code of the user's own that travels to the nodes of a cluster, which need not have it.

It is all that workers call: methods, learners and estimators, the network's factory, functions
that make data, optimisers, and measures. A sampler proposes in the driver, and stays there.

Ray packs each folder or file, and puts it in front of the workers' path for this run alone. What
is installed is not sent: an installed package belongs to the environment of a node.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsweep.data.factory_calls import FACTORY, factory_call
from clsweep.nets.code_files import CodeFile, code_files
from clsweep.records.trial_extras import MEASURE_GROUP
from clsweep.records.trial_results import WHERE
from clsweep.study.declarations import code_of_methods
from clsweep.study.own_optimisers import own_optimisers
from clsweep.user_code import code_path

if TYPE_CHECKING:
    from clsweep.study.study import Study

_INSTALLED = ("site-packages", "dist-packages")
_EXCLUDED = ["__pycache__", "*.pyc", ".git", ".venv"]


def runtime_environment(study: Study) -> dict[str, Any]:
    """What Ray is told to send; empty where a study has no code of its own.

    Args:
        study: the study, in the process that has imported its code.
    """
    paths = {path for found in code_of_methods(study).values() for path in found}
    if study.net.name == "custom":
        paths.add(study.net.factory)
    paths |= {factory_call(n).path for n in study.benchmark.datasets if n.startswith(FACTORY)}
    paths.update(own_optimisers(study))
    paths |= {code_path(n, where=WHERE, group=MEASURE_GROUP) for n in study.report.measures}
    modules = sorted({path.partition(":")[0] for path in paths})
    places = shipped(file for module in modules for file in code_files(module))
    return {"py_modules": places, "excludes": _EXCLUDED} if places else {}


def shipped(files: Iterable[CodeFile]) -> list[str]:
    """The packages, as folders, and the single modules, as files, that hold some source files.

    Args:
        files: of modules; those of installed packages, and clsweep's, are left out.
    """
    found: set[Path] = set()
    for file in files:
        is_ours = file.module.partition(".")[0] == "clsweep"
        if is_ours or any(part in _INSTALLED for part in file.path.parts):
            continue
        depth = file.module.count(".") + (file.path.name == "__init__.py")
        found.add(file.path.parents[depth - 1] if depth else file.path)
    return sorted(map(str, found))
