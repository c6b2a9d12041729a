"""The method of a configuration, in the process that trains it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clsweep import methods
from clsweep.methods.guarded_hooks import HookCalls
from clsweep.methods.own_build import built, check_planned, patience_seconds
from clsweep.training.guarded_code import interrupting

if TYPE_CHECKING:
    from clsweep.methods.base import Method
    from clsweep.nets.net import Net
    from clsweep.study.configurations import Configuration


@contextmanager
def built_method(configuration: Configuration, net: Net) -> Iterator[Method]:
    """The method of a configuration; within the block, what hangs of a user's own is interrupted.

    A learner watches itself.

    Args:
        configuration: of the study.
        net: the study's network.

    Raises:
        MethodError: the method does not fit the network; one of its hooks did not return.
        StoreError: its code is not that which the run is planned with.
    """
    if configuration.code:
        check_planned(configuration.code)
    name, hyper, own = configuration.method, configuration.hyper, configuration.own_entry
    if own is None:
        yield methods.build(name, net, hyper)
        return
    if own.kind == "learner":
        yield built(own, net, hyper)
        return
    calls = HookCalls()
    with interrupting(calls, own.title, patience_seconds(own)):
        yield built(own, net, hyper, calls)
