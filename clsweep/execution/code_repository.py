"""The repository that a user's own code lies in: its commit, and whether that holds the code.

`git` is asked, by the driver, once per run, and only where a study has code of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.records.own_code import CODE_COMMIT, CODE_DIRTY

if TYPE_CHECKING:
    from clsweep.nets.code_files import CodeFile

_PATIENCE_SECONDS = 10.0


def repository_versions(files: Iterable[CodeFile]) -> dict[str, str]:
    """Commit and state of the repository of a study's own code; empty where there is none.

    It is that of the first file, by its module's name, that lies in one. Its state is 'dirty'
    where a tracked file differs from the commit, and where a file of the code is not tracked: new,
    ignored, or outside of that repository.

    Args:
        files: of the study's own code, see `own_code_files`.
    """
    paths = [file.path.resolve() for file in files]
    for folder in dict.fromkeys(path.parent for path in paths):
        found = _state(folder, paths)
        if found:
            return found
    return {}


def _state(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    top = _git(folder, "rev-parse", "--show-toplevel")
    if commit is None or not top:
        return {}
    root = Path(top).resolve()
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    inside = [str(file.relative_to(root)) for file in files if file.is_relative_to(root)]
    # Files of the repository's submodules are in its commit as well.
    listed = _git(
        root, "--literal-pathspecs", "ls-files", "-z", "--recurse-submodules", "--", *inside
    )
    if changes is None or listed is None:
        return {CODE_COMMIT: commit}
    tracked = {root / name for name in listed.split("\0") if name}
    is_dirty = bool(changes) or not tracked.issuperset(files)
    return {CODE_COMMIT: commit, CODE_DIRTY: "true" if is_dirty else "false"}


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
