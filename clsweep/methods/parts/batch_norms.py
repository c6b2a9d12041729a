"""Batch norms of methods under which running statistics belong to a task: kept apart, or refused.

A method whose tasks have networks of their own keeps a set of running statistics for each, as
entries `statistics.<task>.<name>` of its parameters. They are absent until a phase on the task has
ended, so that it trains on the batch's, and nothing touches them afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from clsweep.errors import MethodError
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


class KeptStatistics(NamedTuple):
    """Where the running statistics of each task's network are among the parameters.

    Attributes:
        names: of the network's running statistics; empty where it has no batch norm.
        is_shared: whether there is one set, set anew after every task.
        is_frozen: whether there is one set, that of the first task, which later tasks are trained
            with.
    """

    names: frozenset[str]
    is_shared: bool = False
    is_frozen: bool = False

    def name(self, statistic: str, task: int) -> str:
        """Name of a statistic of a task's network.

        Args:
            statistic: its name in the network.
            task: which.
        """
        owner = "shared" if self.is_shared or self.is_frozen else task
        return f"statistics.{owner}.{statistic}"

    def renewed(self, task: int) -> frozenset[str]:
        """Names of what is set after a task.

        Args:
            task: which.
        """
        if self.is_frozen and task > 0:
            return frozenset()
        return frozenset(self.name(statistic, task) for statistic in self.names)

    def of(self, params: Params, task: int) -> Params:
        """Statistics of a task's network by their names in it; none where it has not been learnt.

        Args:
            params: all parameters of the method.
            task: which.
        """
        own = {statistic: self.name(statistic, task) for statistic in sorted(self.names)}
        return {s: params[name] for s, name in own.items() if name in params}

    def in_training(self, params: Params, task: int) -> Params:
        """`params` without the statistics that training on a task does not use.

        Args:
            params: all parameters of the method.
            task: the task being learnt.
        """
        absent = self.renewed(task)
        return {name: value for name, value in params.items() if name not in absent}

    def survey(
        self, net: Net, features: Callable[[Params, Tensor, int], Tensor], task: int
    ) -> Net:
        """A task's network over all parameters of the method, as `Phase.survey` returns it.

        Args:
            net: the network.
            features: (all parameters, x, task) -> what its heads read, by way of `of`.
            task: the task just learnt.
        """
        return net._replace(
            features=lambda params, x: features(params, x, task), statistics=self.renewed(task)
        )


def refuse_batch_norms(net: Net, method: str) -> None:
    """Refuse a network with running statistics.

    Args:
        net: the network.
        method: its name in study files.

    Raises:
        MethodError: it has some.
    """
    if not net.statistics:
        return
    layer = min(net.statistics).rpartition(".")[0]
    raise MethodError(
        f"'{method}' takes no batch norms, and '{layer}' is one: its running statistics belong "
        "to a task",
        expected="group normalisation, or none",
        where="[net]",
        next_step=f"choose or write such a network, or remove '{method}' from the study",
    )
