"""Outputs of the network kept beside stored examples, and compared with those of later networks.

Outputs are kept in rows of the widest head that any example is compared under. An output that did
not exist when an example was stored is −∞ there, and takes no part.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.tasks import Scale
from clsweep.methods.parts.buffer import Buffer
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

OUTPUTS = "outputs"
_CHUNK_ROWS = 1024


def newest_head(net: Net, outputs: str) -> Callable[[int], int]:
    """(the task being learnt) -> the head of all examples that do not have one of their own.

    Args:
        net: the network.
        outputs: 'all' for all outputs of a class-incremental benchmark, 'seen' for those so far.
    """
    trains_all = outputs == "all" and net.heads.scenario == "class"
    return lambda task: len(net.heads.sizes) - 1 if trains_all else task


def n_kept(net: Net) -> int:
    """How many outputs are kept of an example.

    Args:
        net: the network.
    """
    return max(net.heads.sizes) if net.heads.scenario == "task" else net.heads.n_outputs


def widened(outputs: Tensor, net: Net) -> Tensor:
    """Outputs as they are kept, float32 [B, `n_kept`].

    Args:
        outputs: of one head, [B, K].
        net: the network.
    """
    padding = (0, n_kept(net) - outputs.shape[1])
    return F.pad(outputs.float(), padding, value=float("-inf"))


def noting(net: Net, params: Params, scale: Scale, head: int) -> Callable[[Tensor], Tensor]:
    """(raw inputs [B, ...]) -> their outputs as they are kept, without gradient.

    Args:
        net: the network.
        params: its parameters.
        scale: from stored values to inputs.
        head: whose outputs.
    """

    def outputs(raw: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [net.apply(params, scale(part), head) for part in raw.split(_CHUNK_ROWS)]
        return widened(torch.cat(parts), net)

    return outputs


def renewed(stored: Buffer, task: int, outputs: Callable[[Tensor], Tensor]) -> Buffer:
    """The buffer with new outputs for the examples of one task.

    Args:
        stored: the buffer.
        task: whose examples.
        outputs: as `noting` makes them.
    """
    kept = stored.noted[OUTPUTS]
    is_of_task = (stored.tasks == task)[:, None]
    found = torch.where(is_of_task, outputs(stored.raw), kept)
    return stored._replace(noted={**stored.noted, OUTPUTS: found})


def mean_squared_error(now: Tensor, then: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over the examples of (1/K) Σ_c (z_c − z'_c)², c the K outputs that existed then.

    Args:
        now: z, [B, K'], K' at least the outputs that existed; −∞ where a head has none.
        then: z', [B, `n_kept`], −∞ where there was none.
        weights: how much each example counts, [B]; None where all count 1.
    """
    then = then[:, : now.shape[1]]
    # A row without an example holds zeros, also where the head of its task has no output.
    existed = (then > float("-inf")) & (now > float("-inf"))
    squares = torch.where(existed, now - then, 0.0).square()
    each = squares.sum(1) / existed.sum(1)
    return each.mean() if weights is None else (weights * each).mean()
