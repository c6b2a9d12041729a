"""RanPAC: class prototypes of randomly projected inputs, decorrelated by their Gram matrix.

    h(x) = ReLU(Pᵀ x),   P [d, M], entries drawn once from N(0, 1)
    ŷ(x) = argmax_k s_k(x),   s(x) = Cᵀ (G + λ I)⁻¹ h(x)
    G = Σ_n h_n h_nᵀ,   C = Σ_n h_n y_nᵀ,   y_n one-hot, over all training examples so far

McDonnell, Gong, Parvaneh, Abbasnejad and van den Hengel 2023, "RanPAC: random projections and
pre-trained models for continual learning", NeurIPS. s is ridge regression of h on one-hot labels,
so that one pass over the tasks gives what the union of the tasks would at the same λ.

λ is chosen on every task, as published: a fifth of its training examples, drawn at random, is
held out, and of λ = 10⁻⁸, 10⁻⁷, ..., 10⁸ the one is taken whose solution on the other four fifths
of that task has the least squared error on it. λ for which rounding has made G + λ I singular are
left out. Validation and test examples take no part. `penalty_choice = "given"` takes `penalty`, as
does a task of fewer than five training examples.

Deviations. M is 2000 unless the study says otherwise; the paper has 10000, which costs 25 times
the memory (8 M² bytes for G) and 125 times the time of a solution. The paper's adaptation of the
network on the first task is left out: the inputs are what is given. Sums and solutions are in
float64; the authors' are in float32.

Run beside the authors' choice of λ and solution (github.com/RanPAC/RanPAC, 012927f) on 750 drawn
vectors of 10 classes in 5 tasks, M = 200, three seeds, the same P and held-out examples: in
float64 λ and all predictions of 500 others are equal. In float32 they are with two seeds; with the
third rounding takes another λ, and 494 are.

P is drawn from the trial's seed. It classifies the inputs as the benchmark gives them, with no use
for the study's network, its source model or its training; it is meant for features of a frozen
network. Domain-incremental: the sums run over all domains. One head per task: among the task's
classes, after sums over all tasks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.errors import MethodError
from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.hypers import RanpacHyper
from clsweep.methods.parts.input_classifiers import (
    Inputs,
    class_sums,
    examples,
    linear_classifier,
    with_classifier,
)
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

PENALTIES = tuple(10.0**exponent for exponent in range(-8, 9))
_HELD_OUT = 5  # one example in five


def build(net: Net, hyper: RanpacHyper) -> Method:
    """RanPAC on the inputs of `net`; its memory is G, C, a count per class and the latest λ."""
    own = linear_classifier(net, _projected(net, hyper.projection_size))

    def begin(params: Params) -> Memory:
        weight, bias = params["classifier.weight"], params["classifier.bias"]
        size = hyper.projection_size
        return {
            "gram": weight.new_zeros(size, size),
            "prototypes": weight.new_zeros(weight.shape),
            "counts": bias.new_zeros(bias.shape),
            "penalty": weight.new_zeros(()),
        }

    def fit(params: Params, memory: Memory, learnt: LearntTask) -> tuple[Params, Memory]:
        order = torch.randperm(len(learnt.task.train), generator=learnt.rng)
        n_held = len(order) // _HELD_OUT if hyper.penalty_choice == "held_out" else 0
        penalty = hyper.penalty
        gram, prototypes, counts = _sums(own, params, learnt, order[n_held:])
        if n_held:
            held = examples(own, params, learnt, order[:n_held])
            h, classes = (torch.cat(parts) for parts in zip(*held, strict=True))
            penalty = chosen_penalty(gram, prototypes, h, classes)
            gram = gram + h.T @ h
            sums, n = class_sums(h, classes, len(counts))
            prototypes, counts = prototypes + sums, counts + n
        gram, prototypes = memory["gram"] + gram, memory["prototypes"] + prototypes
        counts = memory["counts"] + counts
        weight = torch.linalg.solve(_ridged(gram, penalty), prototypes.T).T
        memory = {
            "gram": gram,
            "prototypes": prototypes,
            "counts": counts,
            "penalty": torch.full_like(memory["penalty"], penalty),
        }
        return with_classifier(params, weight, torch.zeros_like(counts), counts), memory

    def counters(params: Params, memory: Memory) -> dict[str, float]:
        return {"ridge_penalty": float(memory["penalty"])}

    return Method(own, hyper, (), begin=begin, fit=fit, counters=counters)


def chosen_penalty(gram: Tensor, prototypes: Tensor, h: Tensor, classes: Tensor) -> float:
    """Of `PENALTIES`, the λ with the least squared error on held-out examples.

    Args:
        gram: G of the others, float64 [M, M].
        prototypes: Cᵀ of the others, float64 [K, M].
        h: held-out examples, float64 [B, M].
        classes: of each, int64 [B].

    Raises:
        MethodError: G + λ I is singular for each of them.
    """
    labels = F.one_hot(classes, len(prototypes)).to(h.dtype)
    best, least = math.nan, math.inf
    for penalty in PENALTIES:
        factor, failed = torch.linalg.cholesky_ex(_ridged(gram, penalty))
        if int(failed):
            continue
        error = float((h @ torch.cholesky_solve(prototypes.T, factor) - labels).square().mean())
        if error < least:
            best, least = penalty, error
    if math.isnan(best):
        raise MethodError(
            "the projected inputs are so large that no λ up to 1e8 makes their Gram matrix "
            "definite",
            expected="inputs of about unit size",
            next_step="scale the features, or set penalty_choice = 'given' and a larger penalty",
        )
    return best


def _ridged(gram: Tensor, penalty: float) -> Tensor:
    return gram + penalty * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def _projected(net: Net, size: int) -> Inputs:
    """h: the projection is drawn with the initial weights, and is a parameter like these."""
    n_inputs = math.prod(net.input_shape)

    def projected(params: Params, x: Tensor) -> Tensor:
        return (x.flatten(1) @ params["projection"]).relu_().double()

    def init(rng: torch.Generator) -> Params:
        return {"projection": torch.randn(n_inputs, size, generator=rng)}

    return Inputs(size, projected, init)


def _sums(
    own: Net, params: Params, learnt: LearntTask, order: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """G, Cᵀ and the count of every class, of a part of a task's training examples."""
    weight = params["classifier.weight"]
    gram = weight.new_zeros(weight.shape[1], weight.shape[1])
    prototypes, counts = torch.zeros_like(weight), weight.new_zeros(len(weight))
    for h, classes in examples(own, params, learnt, order):
        gram = gram.addmm(h.T, h)
        sums, n = class_sums(h, classes, len(counts))
        prototypes, counts = prototypes + sums, counts + n
    return gram, prototypes, counts
