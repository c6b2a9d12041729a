"""Classifiers that are linear in what is computed from the inputs, and are not trained.

    f(x) = W φ(x) + b,   a row of W and an entry of b per class

W and b are in float64 as the statistics that they are computed from. A class is a row: with one
head per task every class of every task has its own, and an example is classified among those of
its task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.errors import MethodError
from clsweep.methods.base import LearntTask
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

_CHUNK = 4096  # examples at once; bounds memory

# The bias of a class without an example, which is never predicted; −∞ would make NaN of a loss.
_NEVER = -1e300


class Inputs(NamedTuple):
    """What a linear classifier reads.

    Attributes:
        width: d, numbers per example.
        of: (params, x float32 [B, C, H, W]) -> φ(x), float64 [B, d].
        init: (generator) -> parameters of φ.
    """

    width: int
    of: Callable[[Params, Tensor], Tensor]
    init: Callable[[torch.Generator], Params]


def flat_inputs(net: Net) -> Inputs:
    """The inputs themselves as vectors.

    Args:
        net: says their shape.
    """
    return Inputs(math.prod(net.input_shape), lambda params, x: x.flatten(1).double(), _none)


def _none(rng: torch.Generator) -> Params:
    return {}


def linear_classifier(net: Net, inputs: Inputs) -> Net:
    """The classifier as a network; W and b start at zero.

    Args:
        net: the study's; its heads and the shape of its inputs are kept, nothing else.
        inputs: φ.
    """

    def init(rng: torch.Generator) -> Params:
        k = net.heads.n_outputs
        zero = torch.zeros(k, inputs.width, dtype=torch.float64)
        return {
            **inputs.init(rng),
            "classifier.weight": zero,
            "classifier.bias": zero[:, 0].clone(),
        }

    def head(params: Params, h: Tensor, task: int) -> Tensor:
        start, stop = net.heads.columns(task)
        weight, bias = params["classifier.weight"], params["classifier.bias"]
        return F.linear(h, weight[start:stop], bias[start:stop])

    return Net(
        init=init,
        features=inputs.of,
        head=head,
        heads=net.heads,
        input_shape=net.input_shape,
        readout=lambda task: ("classifier.weight", "classifier.bias"),
        with_heads=lambda heads: linear_classifier(net._replace(heads=heads), inputs),
    )


def with_classifier(params: Params, weight: Tensor, bias: Tensor, counts: Tensor) -> Params:
    """The parameters with another W and b; classes without an example are never predicted.

    Args:
        params: of a `linear_classifier`.
        weight: W, float64 [K, d].
        bias: b, float64 [K].
        counts: examples of each class, [K].
    """
    bias = torch.where(counts > 0, bias, _NEVER)
    return {**params, "classifier.weight": weight, "classifier.bias": bias}


def examples(
    net: Net, params: Params, learnt: LearntTask, order: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """φ(x), float64 [B, d], and classes as rows of W, int64 [B], of a task's training examples.

    Args:
        net: a `linear_classifier`.
        params: its parameters.
        learnt: the task.
        order: positions among the training examples, int64; None for all as they lie.

    Raises:
        MethodError: an input is NaN or infinite.
    """
    data, heads = learnt.task.train, net.heads
    first = heads.columns(learnt.task.index)[0] if heads.scenario == "task" else 0
    rows = torch.arange(len(data)) if order is None else order
    for index in rows.to(data.labels.device).split(_CHUNK):
        h = net.features(params, learnt.scale(data.raw(index)))
        if not bool(h.isfinite().all()):
            raise MethodError(
                f"inputs of task {learnt.task.index + 1} are NaN or infinite",
                expected="finite numbers",
                where="[benchmark]",
                next_step="look at the data, and at how its values are scaled",
            )
        yield h, data.labels[index] + first


def class_sums(h: Tensor, classes: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Sums of vectors by class, float64 [K, d], and their numbers, float64 [K].

    Args:
        h: vectors, float64 [B, d].
        classes: of each, int64 [B].
        n_classes: K.
    """
    sums = h.new_zeros(n_classes, h.shape[1]).index_add(0, classes, h)
    return sums, torch.bincount(classes, minlength=n_classes).to(h.dtype)


def updated_means(
    means: Tensor, counts: Tensor, sums: Tensor, new_counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Means and counts of classes with further examples.

    Args:
        means: μ_k so far, float64 [K, d].
        counts: c_k so far, float64 [K].
        sums: of the new examples by class, float64 [K, d].
        new_counts: how many they are, float64 [K].
    """
    total = counts + new_counts
    share = 1 / total.clamp(min=1)
    return (means * counts[:, None] + sums) * share[:, None], total
