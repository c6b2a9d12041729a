"""Generative replay from decoders that a hypernetwork protects (HNET+R).

    L = (1 − w) CE_t + w T² KD,   KD = −Σ_c q_c log p_c averaged over replayed images
    q = softmax(teacher's logits / T), p = softmax(classifier's logits / T), T = 2, w = ½
    teacher: the classifier before task t; replay: equally many images from the decoder of every
    k < t, learnt as in `clsweep.methods.protected_generator`

von Oswald, Henning, Sacramento and Grewe 2020, "Continual learning with hypernetworks", ICLR. The
classifier is an ordinary network that no hypernetwork generates. Unlike in `dgr`, the generator
does not learn old tasks from its own replay, and w does not grow with t.

Heads. One head per task: an image from the decoder of task k is distilled by the head of k.
Class-incremental: the softmax runs over all classes seen, and the targets are zero for those of
the new task; in their code the teacher's logits are zero there instead.

The classifier starts from the shared source model. The generator cannot: it learns the first task
within the trial, in a run as long as the classifier's. The record's counter
`decoder_compression_ratio` is (hypernetwork and all e_t) / (parameters of one decoder).
"""

from __future__ import annotations

import torch
from torch import Tensor

from clsweep.methods.base import Batch, Learnt, Memory, Method, Phase
from clsweep.methods.hypers import HnetReplayHyper
from clsweep.methods.protected_generator import (
    GENERATOR,
    decoder_ratio,
    generator_of,
    generator_phase,
    replay_codes,
)
from clsweep.methods.terms import padded_distillation, task_loss
from clsweep.nets import Net
from clsweep.trees import Params

__all__ = ["build"]


def build(net: Net) -> Method:
    """HNET+R for `net`; its memory is the old classifier and the decoders of old tasks."""

    def network(net: Net, hyper: HnetReplayHyper) -> Net:
        def init(rng: torch.Generator) -> Params:
            return {**net.init(rng), **generator_of(net, hyper).init(rng)}

        def features(params: Params, x: Tensor) -> Tensor:
            return net.features(_classifier(params), x)

        return net._replace(init=init, features=features)

    def begin(params: Params, hyper: HnetReplayHyper) -> Memory:
        teacher = _classifier(params)
        device = next(iter(teacher.values())).device
        return {"teacher": teacher, "decoders": generator_of(net, hyper).empty(device)}

    def absorb(
        params: Params, memory: Memory, statistics: Params, learnt: Learnt, hyper: HnetReplayHyper
    ) -> Memory:
        n_past = learnt.task.index + 1
        stored = generator_of(net, hyper).absorbed(params, memory["decoders"], n_past)
        return {"teacher": _classifier(params), "decoders": stored}

    def counters(params: Params, memory: Memory) -> dict[str, float]:
        return {"decoder_compression_ratio": decoder_ratio(params, memory)}

    phases = (generator_phase(net), _classifier_phase(net))
    return Method(
        net,
        phases,
        first_phases=phases[:1],
        network=network,
        begin=begin,
        absorb=absorb,
        counters=counters,
    )


def _classifier(params: Params) -> Params:
    return {name: v for name, v in params.items() if not name.startswith(GENERATOR)}


def _classifier_phase(net: Net) -> Phase:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return _classifier(params)

    def loss(
        full: Params, memory: Memory, batch: Batch, hyper: HnetReplayHyper, task: int
    ) -> Tensor:
        classifier, generator = _classifier(full), generator_of(net, hyper)
        x = batch.scale(generator.replayed(memory["decoders"], batch.draw["codes"], task))
        old = _replay_loss(net, classifier, memory["teacher"], x, hyper.temperature, task)
        new = task_loss(net, classifier, batch, task)
        return (1 - hyper.weight) * new + hyper.weight * hyper.temperature**2 * old

    def draw(
        rng: torch.Generator, memory: Memory, hyper: HnetReplayHyper, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        return replay_codes(net, hyper, rng, n_steps, batch_size)

    return Phase("classifier", loss, open=opened, draw=draw)


def _replay_loss(
    net: Net, classifier: Params, teacher: Params, x: Tensor, temperature: float, task: int
) -> Tensor:
    """KD on inputs x [N, C, H, W], N / `task` of every past task in their order."""
    h = net.features(classifier, x)
    with torch.no_grad():
        h_old = net.features(teacher, x)
    if net.heads.scenario != "task":
        student = net.head(classifier, h, task)
        return padded_distillation(student, net.head(teacher, h_old, task - 1), temperature)
    parts = zip(h.chunk(task), h_old.chunk(task), strict=True)
    terms = [
        padded_distillation(net.head(classifier, own, k), net.head(teacher, old, k), temperature)
        for k, (own, old) in enumerate(parts)
    ]
    return torch.stack(terms).mean()
