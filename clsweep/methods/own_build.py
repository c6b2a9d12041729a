"""Building a user's own method in the process that trains it."""

from __future__ import annotations

import socket

from pydantic import ValidationError

from clsweep.errors import ClsweepError, MethodError
from clsweep.methods.base import Method
from clsweep.methods.entry import MethodEntry
from clsweep.methods.hyper_fields import Hyper
from clsweep.methods.own_methods import FORMS, code_fingerprint, imported, own_entry
from clsweep.nets.net import Net
from clsweep.records.recorded_inputs import short_fingerprint, unlike_nodes_error
from clsweep.signals import contained
from clsweep.user_code import UserCode, definition_place, described, raising_place


def own_object(entry: MethodEntry) -> tuple[UserCode, type[Hyper]]:
    """(what the import path leads to, the class of its numbers); imports the user's code.

    Args:
        entry: what the driver knows about it.

    Raises:
        StudyError: it cannot be imported here.
        StoreError: its code is not the one that the run is planned with.
    """
    code = imported(entry.path, entry.kind, FORMS[entry.kind])
    here = code_fingerprint(entry.path)
    if entry.code and here != entry.code:
        mine, planned = short_fingerprint(here), short_fingerprint(entry.code)
        text = f"{socket.gethostname()}: code '{entry.path}': {mine}, for the driver {planned}"
        raise unlike_nodes_error([text])
    return code, own_entry(entry.path, entry.kind).hyper


def own_numbers(entry: MethodEntry, kind: type[Hyper], hyper: Hyper) -> Hyper:
    """The numbers in the user's class, which may do more than the declaration of its fields.

    Args:
        entry: the method.
        kind: the user's class.
        hyper: the numbers.

    Raises:
        MethodError: the class refuses them.
    """
    if isinstance(hyper, kind):
        return hyper
    try:
        return kind(**hyper.model_dump())
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        raise MethodError(
            f"the Hyper of '{entry.path}' refuses its numbers: {said}",
            where=definition_place(kind),
        ) from error


def built(entry: MethodEntry, net: Net, hyper: Hyper) -> Method:
    """The hooks of a user's own method.

    Args:
        entry: what the driver knows about it.
        net: the study's network.
        hyper: the method's numbers.

    Raises:
        MethodError: its `build` fails, or returns something else.
        StudyError: it cannot be imported here.
        StoreError: its code is not the one that the run is planned with.
    """
    code, kind = own_object(entry)
    numbers = own_numbers(entry, kind, hyper)
    try:
        with contained():
            method = code.found(net, numbers)
    except ClsweepError:
        raise
    except Exception as error:  # building runs the user's code
        raise MethodError(
            f"'{entry.path}' raised {described(error)}",
            where=raising_place(error) or code.place,
        ) from error
    if not isinstance(method, Method):
        raise MethodError(
            f"'{entry.path}' returned a {type(method).__name__}",
            expected="a clsweep.methods.base.Method",
            where=code.place,
        )
    return method
