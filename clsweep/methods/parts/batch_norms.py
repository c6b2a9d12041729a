"""Refusal of batch norms, by methods under which their running statistics belong to a task."""

from __future__ import annotations

from clsweep.errors import MethodError
from clsweep.nets.net import Net


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
