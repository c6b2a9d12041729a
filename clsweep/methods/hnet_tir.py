"""Hypernetworks whose task is inferred by a classifier of tasks (HNET+TIR).

    k̂(x) = argmax_{k ≤ t} g_k(x; φ),   the logits of x under f_h(e_k̂; Θ_h) answer
    L(φ) = ½ CE(g(x; φ), t) + ½ CE(g(x̃; φ), k),   x̃ from the decoder of k, every k < t alike
    Θ_h and e_t are learnt as in `hnet`, the decoders as in
    `clsweep.methods.parts.protected_generator`

von Oswald, Henning, Sacramento and Grewe 2020, "Continual learning with hypernetworks", ICLR. The
task-inference network g is plain: the study's network with one output per task, over the tasks
seen so far, whose only protection is the replay. Labels are hard, the halves do not depend on t.
While the first task is learnt g has one output, and nothing to learn.

Only where the task is hidden. Class-incremental: the network of a task is trained and asked for
the classes of its own task alone. Nothing can start from the shared source model: hypernetwork,
generator and task classifier are learnt within each trial, in as many steps each.

Counters of the record: `compression_ratio` is (Θ_h and all e_t) / (parameters of the target),
`decoder_compression_ratio` the same of the decoders. Batch norms are refused: g, of all tasks,
would need statistics of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.heads import Heads
from clsweep.methods import hnet
from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hypernetwork_hypers import HnetTirHyper
from clsweep.methods.parts.batch_norms import refuse_batch_norms
from clsweep.methods.parts.protected_generator import (
    Generator,
    decoder_ratio,
    generator_of,
    generator_phase,
    replay_codes,
)
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, with_prefix, without_prefix

TASKS = "task_classifier."


def build(net: Net, hyper: HnetTirHyper) -> Method:
    """HNET+TIR with the target `net`; its memory is what both hypernetworks generate.

    Raises:
        MethodError: the network has batch norms.
    """
    refuse_batch_norms(net, "hnet_tir")
    target, of_tasks = hnet.target_of(net, hyper), _task_classifier(net)
    generator = generator_of(net, hyper)

    def init(rng: torch.Generator) -> Params:
        hypernet, decoders = target.network.init(rng), generator.init(rng)
        return {**hypernet, **decoders, **with_prefix(of_tasks.init(rng), TASKS)}

    def begin(params: Params) -> Memory:
        weights = target.empty(params)
        return {"weights": weights, "decoders": generator.empty(weights.device)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        n_past = learnt.task.index + 1
        return {
            "weights": target.absorbed(params, memory["weights"], n_past),
            "decoders": generator.absorbed(params, memory["decoders"], n_past),
        }

    def predict(params: Params, x: Tensor, task: int) -> Tensor:
        logits_TBK = hnet.logits_of_tasks(target.network, params, x, task)
        chosen = of_tasks.apply(without_prefix(params, TASKS), x, task).argmax(1)
        return logits_TBK[chosen, torch.arange(len(x), device=x.device)]

    phases = (
        hnet.target_phase(target, hyper.look_ahead),
        generator_phase(generator, hyper.look_ahead),
        _inference_phase(of_tasks, generator, hyper),
    )
    return Method(
        target.network._replace(init=init),
        hyper,
        phases,
        predict=predict,
        begin=begin,
        absorb=absorb,
        counters=_counters,
    )


def _counters(params: Params, memory: Memory) -> dict[str, float]:
    ratios = hnet.target_ratio(params, memory)
    return {**ratios, "decoder_compression_ratio": decoder_ratio(params, memory)}


def _task_classifier(net: Net) -> Net:
    """The study's network with an output per task, in a softmax over the tasks seen so far."""
    return net.with_heads(Heads("class", (1,) * len(net.heads.sizes)))


def _inference_phase(of_tasks: Net, generator: Generator, hyper: HnetTirHyper) -> Phase:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return {name: v for name, v in params.items() if name.startswith(TASKS)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        params = without_prefix(full, TASKS)
        new = F.cross_entropy(
            of_tasks.apply(params, batch.x, task), torch.full_like(batch.y, task)
        )
        if task == 0:
            return new
        x = batch.scale(generator.replayed(memory["decoders"], batch.draw["codes"], task))
        labels = torch.arange(task, device=x.device).repeat_interleave(len(x) // task)
        return 0.5 * new + 0.5 * F.cross_entropy(of_tasks.apply(params, x, task), labels)

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        return replay_codes(generator, hyper.replay_batch or batch_size, rng, n_steps)

    return Phase("task classifier", loss, open=opened, draw=draw)
