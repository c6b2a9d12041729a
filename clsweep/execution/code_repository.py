"""The repository that a user's own code lies in: its commit, and whether files differ from it.

`git` is asked, by the driver, once per run, and only where a study has code of its own.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.nets.code_files import module_file
from clsweep.records.own_code import CODE_COMMIT, CODE_DIRTY
from clsweep.study.declarations import code_of_methods

if TYPE_CHECKING:
    from clsweep.study.study import Study

_PATIENCE_SECONDS = 10.0


def repository_versions(study: Study) -> dict[str, str]:
    """Commit and state of the repository of a study's own code; empty where there is none.

    Args:
        study: the study.
    """
    paths = sorted({path for found in code_of_methods(study).values() for path in found})
    if study.net.name == "custom":
        paths.append(study.net.factory)
    for path in paths:
        file = module_file(path.partition(":")[0])
        found = _state(file.resolve().parent) if file else {}
        if found:
            return found
    return {}


def _state(folder: Path) -> dict[str, str]:
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    dirty = {} if changes is None else {CODE_DIRTY: "true" if changes else "false"}
    return {CODE_COMMIT: commit, **dirty}


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None without git, or outside of a repository."""
    # Programs that a repository's own settings would start stay off.
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *words]
    try:
        ran = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None
