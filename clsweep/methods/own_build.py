"""Building a user's own method in the process that trains it."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable

from pydantic import ValidationError

from clsweep.errors import ClsweepError, MethodError
from clsweep.methods.base import Method
from clsweep.methods.entry import MethodEntry
from clsweep.methods.guarded_hooks import HookCalls, guarded
from clsweep.methods.hyper_fields import Hyper
from clsweep.methods.own_methods import FORMS, code_fingerprint, imported, own_entry
from clsweep.nets.net import Net
from clsweep.records.recorded_inputs import short_fingerprint, unlike_nodes_error
from clsweep.signals import contained
from clsweep.text import shortened
from clsweep.user_code import definition_place, described, raising_place

# Seconds for which code of the user's may go without a sign of life.
PATIENCE = 1800.0


def check_planned(code: Iterable[tuple[str, str]]) -> None:
    """Refuse to train with another code than a run is planned with.

    Args:
        code: import path and fingerprint of all that a configuration needs of the user's own.

    Raises:
        StudyError: it is not here.
        StoreError: it is another one here.
    """
    for path, planned in code:
        here = code_fingerprint(path)
        if here != planned:
            mine, theirs = short_fingerprint(here), short_fingerprint(planned)
            text = f"{socket.gethostname()}: code '{path}': {mine}, for the driver {theirs}"
            raise unlike_nodes_error([text])


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


def patience_seconds(entry: MethodEntry) -> float:
    """How long `build` and a hook of a user's own method may take: what `build` says, or PATIENCE.

    Args:
        entry: what the driver knows about it.

    Raises:
        MethodError: what it says is no time.
        StudyError: it cannot be imported here.
    """
    code = imported(entry.path, entry.kind, FORMS[entry.kind])
    return checked_patience(code.found, entry.path, code.place)


def checked_patience(code: object, name: str, place: str) -> float:
    """The seconds that code of the user's says that it may take, or PATIENCE.

    Args:
        code: its function or class.
        name: of it, for messages.
        place: where it is defined.

    Raises:
        MethodError: what it says is no time.
    """
    said = getattr(code, "patience_seconds", PATIENCE)
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    if not is_number or not (said > 0 and math.isfinite(said)):
        raise MethodError(
            f"patience_seconds of '{name}' is {shortened(repr(said), 60)}",
            expected="a number of seconds above 0, such as 60",
            where=place,
        )
    return float(said)


def built(entry: MethodEntry, net: Net, hyper: Hyper, calls: HookCalls | None = None) -> Method:
    """The hooks of a user's own method; of a learner, its class.

    Args:
        entry: what the driver knows about it.
        net: the study's network.
        hyper: the method's numbers.
        calls: where it is noted what of it is at work; None for nowhere.

    Raises:
        MethodError: its `build` fails, or returns something else.
        StudyError: it cannot be imported here.
    """
    code = imported(entry.path, entry.kind, FORMS[entry.kind])
    numbers = own_numbers(entry, own_entry(entry.path, entry.kind).hyper, hyper)
    if entry.kind == "learner":
        return Method(net, numbers, (), learner=code.found)
    calls = calls or HookCalls()
    calls.current = "build"
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
    finally:
        calls.current = ""
    if not isinstance(method, Method):
        raise MethodError(
            f"'{entry.path}' returned a {type(method).__name__}",
            expected="a clsweep.methods.base.Method",
            where=code.place,
        )
    return guarded(method, entry.title, calls)
