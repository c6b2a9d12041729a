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

from clsweep.execution.own_code_files import own, own_code_files
from clsweep.nets.code_files import CodeFile

if TYPE_CHECKING:
    from clsweep.study.study_tables import StudyTables

_EXCLUDED = ["__pycache__", "*.pyc", ".git", ".venv"]


def runtime_environment(study: StudyTables) -> dict[str, Any]:
    """What Ray is told to send; empty where a study has no code of its own.

    Args:
        study: the study, in the process that has imported its code.
    """
    places = shipped(own_code_files(study))
    return {"py_modules": places, "excludes": _EXCLUDED} if places else {}


def shipped(files: Iterable[CodeFile]) -> list[str]:
    """The packages, as folders, and the single modules, as files, that hold some source files.

    Args:
        files: of modules; those of installed packages, and clsweep's, are left out.
    """
    found: set[Path] = set()
    for file in own(files):
        depth = file.module.count(".") + (file.path.name == "__init__.py")
        found.add(file.path.parents[depth - 1] if depth else file.path)
    return sorted(map(str, found))
