"""Normalisation layers as pure functions; running statistics are entries of the parameters.

    batch    y = g (x − μ) / √(σ² + ε) + b,   μ, σ² per channel: of the batch where the parameters
             hold no `<layer>.running_mean` and `<layer>.running_var`, those entries where they do
    group    the same with μ, σ² per example over gcd(C, 4) groups of channels (Wu and He 2018)

Ioffe and Szegedy 2015, "Batch normalization". A pass never changes a statistic. They are set once,
after training, by `clsweep.training.batch_norm_statistics`: the exact moments of the task's
training data, not an exponential average along the way.
"""

from __future__ import annotations

import math
from collections.abc import Set

from torch import Tensor
from torch.nn import functional as F

from clsweep.nets.parameter_trees import Params

STATISTIC_ENDINGS = (".running_mean", ".running_var")
EPSILON = 1e-5


def statistic_names(layer: str) -> tuple[str, str]:
    """Names of a batch norm's running mean and variance."""
    return layer + STATISTIC_ENDINGS[0], layer + STATISTIC_ENDINGS[1]


def is_statistic(name: str) -> bool:
    """Whether an entry of the parameters is a running statistic: never trained or regularised."""
    return name.endswith(STATISTIC_ENDINGS)


def has_statistics(params: Params, names: Set[str]) -> bool:
    """Whether `params` holds the running statistics `names`, of which there are some."""
    return bool(names) and names <= params.keys()


def without_statistics(params: Params) -> Params:
    """The parameters of a network in training mode."""
    return {name: value for name, value in params.items() if not is_statistic(name)}


def normalised(params: Params, layer: str, x: Tensor, kind: str) -> Tensor:
    """`x` after a normalisation layer, same shape.

    Args:
        params: hold `<layer>.weight` (g), `<layer>.bias` (b) and, in evaluation mode, the running
            statistics.
        layer: its name.
        x: [B, C, ...].
        kind: 'batch', 'group' or 'none'.
    """
    if kind == "none":
        return x
    gain, bias = params[f"{layer}.weight"], params[f"{layer}.bias"]
    if kind == "group":
        return F.group_norm(x, math.gcd(x.shape[1], 4), gain, bias, EPSILON)
    mean, var = (params.get(name) for name in statistic_names(layer))
    return F.batch_norm(x, mean, var, gain, bias, mean is None, 0.0, EPSILON)
