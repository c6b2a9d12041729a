"""Torch's optimisers without what they do for its compiler, which takes seconds to import."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch


@cache
def eager(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The optimiser, to be made and stepped with no import of `torch._dynamo`.

    Torch wraps three things: `add_param_group`, which it keeps from being compiled; `step`, with
    a break of the graph that is compiled, and with no gradients; and `step` again, with a note
    for its profiler. Nothing is compiled here, so that the functions inside are the same without.

    Args:
        kind: a class of `torch.optim`.
    """
    step: Any = torch.no_grad()(inspect.unwrap(kind.step))
    step.hooked = True  # torch looks for it before it wraps the step for its profiler
    inside = {"step": step, "add_param_group": inspect.unwrap(kind.add_param_group)}
    return type(
        kind.__name__, (kind,), {"__module__": __name__, "__doc__": kind.__doc__, **inside}
    )
