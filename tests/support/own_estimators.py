"""Importances by a function of the user's own, for tests."""

from __future__ import annotations

from clsweep.methods.base import LearntTask
from clsweep.methods.parts.importance import fisher_diag
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def fisher(net: Net, params: Params, learnt: LearntTask, n_examples: int) -> Params:
    """The Fisher diagonal where an Omega is asked for."""
    return fisher_diag(net, params, learnt, n_examples=n_examples)
