"""What a worker computes from: that it is what the driver plans with, and loaded as it is now."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import lru_cache

from clsweep.data import benchmarks
from clsweep.errors import StoreError, StudyError
from clsweep.execution.outcomes import Context
from clsweep.nets.code_files import edited_file
from clsweep.records.recorded_inputs import Input, Inputs, input_differences, unlike_nodes_error
from clsweep.study.input_fingerprints import inputs_of

# What this process has loaded: an input's name and place, and its fingerprint. A process of a
# notebook lives on while files are edited.
_LOADED: dict[tuple[str, str], str] = {}


@lru_cache(maxsize=1)
def forget_changed(context: Context) -> None:
    """Load again what has changed since this process loaded it for an earlier run.

    Args:
        context: names the study and the data root.

    Raises:
        StoreError: it is code, which Python does not import twice; or it is not what the driver
            plans with, of which loading it might say something else.
    """
    found = _found(context)
    for one in found:
        if one.name.startswith("code ") and edited_file(one.name.removeprefix("code ")):
            raise StoreError(
                f"the {one.name} was edited after this process had imported it",
                expected="the code that is imported and its files to be the same",
                where=one.where,
                next_step="start a new process; in a notebook, restart the kernel",
            )
        if _LOADED.get((one.name, one.where), one.fingerprint) != one.fingerprint:
            benchmarks.forget()
    check_inputs(context, found)


@lru_cache(maxsize=1)
def inputs_here(context: Context) -> Inputs:
    """What this process computes from; looked at once per run, after it has been loaded.

    After, since the driver has looked before: what changes in between is then noticed.

    Args:
        context: names the study and the data root.

    Raises:
        StudyError: code of the user's own is in no file.
    """
    found = _found(context)
    nowhere = [one.name for one in found if one.name.startswith("code ") and not one.fingerprint]
    if nowhere:  # and yet it has been imported
        raise StudyError(
            f"the {nowhere[0]} is in no source file, so that nothing would tell when it changes",
            expected="a module with a file of its own",
            where="[net] factory, [training] optimizer or [benchmark] dataset",
            next_step="move what a notebook defines into a module",
        )
    _LOADED.update({(one.name, one.where): one.fingerprint for one in found})
    return found


def _found(context: Context) -> Inputs:
    """What is there for this process.

    Raises:
        StoreError: what the driver plans with is not there, or cannot be read: no trial is to
            blame, and those on other nodes may go on in another run.
    """
    try:
        return inputs_of(context.study, context.data_root)
    except StudyError as error:
        if context.inputs is None:  # there is no driver
            raise
        raise unlike_nodes_error([f"{socket.gethostname()}: {error.found}"]) from error


def check_inputs(context: Context, here: Sequence[Input]) -> None:
    """Refuse inputs that are not those which the driver plans with.

    Args:
        context: what all jobs share.
        here: what this process has.

    Raises:
        StoreError: one of them differs.
    """
    names = {one.name for one in here}
    expected = [one for one in context.inputs or () if one.name in names]
    differences = input_differences(expected, here)
    if differences:
        raise unlike_nodes_error([f"{socket.gethostname()}: {text}" for text in differences])
