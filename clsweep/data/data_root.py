"""Where data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

from clsweep.data.dataset_specs import ARRAYS, FOLDER
from clsweep.process_environment import expanded

DEFAULT_ROOT = Path("~/.cache/clsweep/data")


def data_root(named: Path | str | None) -> Path | None:
    """The folder that holds data sets: the one that is named, else `CLSWEEP_DATA`, else None.

    Args:
        named: what `--data-root`, or a caller in Python, has given, if anything.
    """
    value = named or os.environ.get("CLSWEEP_DATA", "")
    return expanded(Path(value), "--data-root, or CLSWEEP_DATA") if value else None


def folder_path(name: str, root: Path | None) -> Path:
    """Where the files of `folder:PATH` or `arrays:PATH` lie; see `dataset_spec`."""
    path = expanded(Path(name.removeprefix(FOLDER).removeprefix(ARRAYS)), "[benchmark]")
    return path if root is None else root / path
