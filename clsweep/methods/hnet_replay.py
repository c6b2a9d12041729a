"""Generative replay from decoders that a hypernetwork protects (HNET+R).

    L = (1 − w) CE_t + w T² KD,   KD = −Σ_c q_c log p_c averaged over replayed images
    q = softmax(teacher's logits / T), p = softmax(classifier's logits / T), T = 2, w = ½
    teacher: the classifier before task t; replay: equally many images from the decoder of every
    k < t, learnt as in `clsweep.methods.parts.protected_generator`

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

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hypernetwork_hypers import HnetReplayHyper
from clsweep.methods.parts.losses import padded_distillation, task_loss
from clsweep.methods.parts.protected_generator import (
    GENERATOR,
    Generator,
    decoder_ratio,
    generator_of,
    generator_phase,
    replay_codes,
)
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: HnetReplayHyper) -> Method:
    """HNET+R for `net`; its memory is the old classifier and the decoders of old tasks."""
    generator = generator_of(net, hyper)

    def init(rng: torch.Generator) -> Params:
        return {**net.init(rng), **generator.init(rng)}

    def features(params: Params, x: Tensor) -> Tensor:
        return net.features(_classifier(params), x)

    def begin(params: Params) -> Memory:
        teacher = _classifier(params)
        device = next(iter(teacher.values())).device
        return {"teacher": teacher, "decoders": generator.empty(device)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        stored = generator.absorbed(params, memory["decoders"], learnt.task.index + 1)
        return {"teacher": _classifier(params), "decoders": stored}

    phases = (
        generator_phase(generator, hyper.look_ahead),
        _classifier_phase(net, generator, hyper),
    )
    return Method(
        net._replace(init=init, features=features),
        hyper,
        phases,
        first_phases=phases[:1],
        adds_params=True,
        begin=begin,
        absorb=absorb,
        counters=_counters,
    )


def _counters(params: Params, memory: Memory) -> dict[str, float]:
    return {"decoder_compression_ratio": decoder_ratio(params, memory)}


def _classifier(params: Params) -> Params:
    return {name: v for name, v in params.items() if not name.startswith(GENERATOR)}


def _classifier_phase(net: Net, generator: Generator, hyper: HnetReplayHyper) -> Phase:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return _classifier(params)

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        classifier = _classifier(full)
        x = batch.scale(generator.replayed(memory["decoders"], batch.draw["codes"], task))
        old = _replay_loss(net, classifier, memory["teacher"], x, hyper.temperature, task)
        new = task_loss(net, classifier, batch, task)
        return (1 - hyper.weight) * new + hyper.weight * hyper.temperature**2 * old

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        return replay_codes(generator, hyper.replay_batch or batch_size, rng, n_steps)

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
