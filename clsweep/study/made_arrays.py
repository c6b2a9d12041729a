"""Arrays that a function of the user's makes, kept in the user's cache folder.

The function is called once for its code and arguments; what it returns is written as `arrays:PATH`
reads it, below `$XDG_CACHE_HOME/clsweep/arrays`, or `~/.cache`. When its module, or a local module
that it imports, says something else, it is called again. The folder may be deleted at any time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsweep.data.array_sets import is_array_name
from clsweep.data.array_surveys import survey
from clsweep.data.dataset_specs import ARRAYS
from clsweep.data.factory_calls import FACTORY, FactoryCall, factory_call
from clsweep.data.fingerprints import cache_file, combined
from clsweep.errors import StudyError
from clsweep.nets.code_files import check_unedited, code_files, factory_complaint
from clsweep.user_code import UserCode, user_code

if TYPE_CHECKING:
    from clsweep.data.benchmark_specs import BenchmarkConfig

_WHERE = "[benchmark] dataset"
_EXPECTED = (
    "a function that returns arrays by name: train_x, train_y, test_x, test_y, maybe val_x and "
    "val_y; or x, y, maybe split"
)


def located_arrays(name: str) -> str:
    """`arrays:FOLDER`, where the arrays of a `factory:` data set lie or will lie.

    Args:
        name: it starts with `FACTORY`.

    Raises:
        StudyError: its module is not there.
    """
    return ARRAYS + str(_folder(factory_call(name)))


def make_arrays(benchmark: BenchmarkConfig) -> None:
    """Call the functions whose arrays are not there.

    Args:
        benchmark: as the study names it.

    Raises:
        StudyError: a function cannot be imported, raises, or returns what cannot be used.
    """
    for name in dict.fromkeys(benchmark.datasets):
        if name.startswith(FACTORY):
            call = factory_call(name)
            folder = _folder(call)
            if not folder.is_dir():
                _make(call, folder)


def _folder(call: FactoryCall) -> Path:
    files = code_files(call.path.partition(":")[0])
    if not files:
        reason = factory_complaint(call.path) or "it is in no source file"
        raise StudyError(
            f"'{call.path}' cannot be imported: {reason}",
            expected=_EXPECTED,
            where=_WHERE,
            next_step="the module must be importable here and on every worker (installed, or in "
            "the current folder with PYTHONPATH=.)",
        )
    code = {file.module: file.meaning for file in files}
    cache = cache_file()
    if cache is None:
        raise StudyError(
            f"there is no folder to keep the arrays of '{call.path}' in: the user has no home",
            expected="XDG_CACHE_HOME, the name of a folder that may be written to",
            where=_WHERE,
        )
    key = combined([call.path, repr(call.arguments), code])
    return cache.parent / "arrays" / key / call.path.replace(":", ".")


def _make(call: FactoryCall, folder: Path) -> None:
    code = user_code(call.path, where=_WHERE, expected=_EXPECTED)
    check_unedited(call.path, _WHERE)  # the folder is that of what its files say
    returned = code.called(**call.arguments)
    if not isinstance(returned, Mapping):
        raise code.mistake(f"'{call.path}' returned a {type(returned).__name__}")
    unknown = [str(key) for key in returned if not is_array_name(str(key))]
    if unknown:
        raise code.mistake(f"'{call.path}' returned {', '.join(map(repr, sorted(unknown)))}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as beside:
            made = Path(beside) / folder.name
            made.mkdir()
            _write(code, returned, made)
            _survey(code, made)
            if not folder.is_dir():  # another process may have been faster
                os.replace(made, folder)
    except OSError as error:
        if folder.is_dir():
            return
        raise StudyError(
            f"the arrays of '{call.path}' cannot be written: {error.strerror or error}",
            expected="a folder that may be written to; XDG_CACHE_HOME names another",
            where=str(folder.parent),
        ) from error


def _write(code: UserCode, returned: Mapping[Any, Any], folder: Path) -> None:
    import numpy as np

    for key, value in returned.items():
        try:
            array = np.asarray(value)
            if array.dtype.hasobject:  # would be pickled
                raise TypeError(f"it holds {array.dtype}")
            np.save(folder / f"{key}.npy", array)
        except (ValueError, TypeError, RuntimeError) as error:
            text = " ".join(str(error).split())
            raise code.mistake(
                f"'{key}' of '{code.name}' is no array of numbers: {text}"
            ) from error


def _survey(code: UserCode, folder: Path) -> None:
    """Say what is wrong with the arrays in words of the function's."""
    try:
        survey(folder)
    except StudyError as error:
        found = error.found.replace(f"{folder}{os.sep}", "").replace(
            str(folder), "what it returned"
        )
        raise code.mistake(
            f"'{code.name}' returned arrays that cannot be used: {found}"
        ) from error
