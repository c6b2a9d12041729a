"""Nearest class mean: an example is of the class whose mean is closest to it.

    ŷ(x) = argmin_k ‖x − μ_k‖²,   μ_k the mean of all training examples of class k

Mensink, Verbeek, Perronnin and Csurka 2013, "Distance-based image classification", IEEE TPAMI; as
the classifier of a continual learner Rebuffi et al. 2017 (iCaRL), CVPR, who take the means of
stored examples, and of normalised features. Here they are running means of every example: what
one pass over the tasks computes is what the union of the tasks would give, in any order.

It is linear, W_k = 2 μ_k and b_k = −‖μ_k‖². It classifies the inputs as the benchmark gives them,
with no use for the study's network, its source model or its training: on images it compares
pixels, on the features of a frozen network it is the reference that a learner should beat.
Domain-incremental: a class's mean is that over all domains. One head per task: among the task's
classes.
"""

from __future__ import annotations

from clsweep.methods.base import LearntTask, Memory, Method
from clsweep.methods.hypers import NcmHyper
from clsweep.methods.parts.input_classifiers import (
    class_sums,
    examples,
    flat_inputs,
    linear_classifier,
    updated_means,
    with_classifier,
)
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: NcmHyper) -> Method:
    """Nearest class mean on the inputs of `net`; its memory is a mean and a count per class."""
    own = linear_classifier(net, flat_inputs(net))

    def begin(params: Params) -> Memory:
        weight, bias = params["classifier.weight"], params["classifier.bias"]
        return {"means": weight.new_zeros(weight.shape), "counts": bias.new_zeros(bias.shape)}

    def fit(params: Params, memory: Memory, learnt: LearntTask) -> tuple[Params, Memory]:
        means, counts = memory["means"], memory["counts"]
        for h, classes in examples(own, params, learnt):
            means, counts = updated_means(means, counts, *class_sums(h, classes, len(counts)))
        bias = -means.square().sum(1)
        memory = {"means": means, "counts": counts}
        return with_classifier(params, 2 * means, bias, counts), memory

    return Method(own, hyper, (), begin=begin, fit=fit)
