"""Torch's optimisers without what they do for its compiler, which takes seconds to import."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch


@cache
def eager(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The optimiser, to be made and stepped with no import of `torch._dynamo`.

    Torch keeps `add_param_group` from being compiled, and wraps `step` with a break of the graph
    that is compiled. Nothing is compiled here, so that the functions inside are the same without.
    What else it wraps `step` with stays: hooks before and after it, and a note for its profiler.

    Args:
        kind: a class of `torch.optim`.
    """
    step: Any = torch.no_grad()(inspect.unwrap(kind.step))
    inside = {"step": step, "add_param_group": inspect.unwrap(kind.add_param_group)}
    return type(
        kind.__name__, (kind,), {"__module__": __name__, "__doc__": kind.__doc__, **inside}
    )
