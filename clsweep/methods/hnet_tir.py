"""Hypernetworks whose task is inferred by a classifier of tasks (HNET+TIR).

    k̂(x) = argmax_{k ≤ t} g_k(x; φ),   the logits of x under f_h(e_k̂; Θ_h) answer
    L(φ) = ½ CE(g(x; φ), t) + ½ CE(g(x̃; φ), k),   x̃ from the decoder of k, every k < t alike
    Θ_h and e_t are learnt as in `hnet`, the decoders as in `clsweep.methods.protected_generator`

von Oswald, Henning, Sacramento and Grewe 2020, "Continual learning with hypernetworks", ICLR. The
task-inference network g is plain: the study's network with one output per task, over the tasks
seen so far, whose only protection is the replay. Labels are hard, the halves do not depend on t.
While the first task is learnt g has one output, and nothing to learn.

Only where the task is hidden. Class-incremental: the network of a task is trained and asked for
the classes of its own task alone. Nothing can start from the shared source model: hypernetwork,
generator and task classifier are learnt within each trial, in as many steps each.

Counters of the record: `compression_ratio` is (Θ_h and all e_t) / (parameters of the target),
`decoder_compression_ratio` the same of the decoders. Batch norms are refused as by `hnet`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.catalog import Heads
from clsweep.methods import hnet
from clsweep.methods.base import Batch, Learnt, Memory, Method, Phase
from clsweep.methods.hypers import HnetTirHyper
from clsweep.methods.protected_generator import (
    decoder_ratio,
    generator_of,
    generator_phase,
    replay_codes,
)
from clsweep.nets import Net
from clsweep.trees import Params, with_prefix, without_prefix

__all__ = ["build"]

TASKS = "task_classifier."


def build(net: Net) -> Method:
    """HNET+TIR with the target `net`; its memory is what both hypernetworks generate."""
    targets, of_tasks = hnet.generated(net), _task_classifier(net)
    generate, begin_targets, absorb_target = targets.network, targets.begin, targets.absorb
    count = targets.counters
    assert generate
    assert begin_targets
    assert absorb_target
    assert count

    def network(net: Net, hyper: HnetTirHyper) -> Net:
        generated = generate(net, hyper)

        def init(rng: torch.Generator) -> Params:
            hypernet, generator = generated.init(rng), generator_of(net, hyper).init(rng)
            return {**hypernet, **generator, **with_prefix(of_tasks.init(rng), TASKS)}

        return generated._replace(init=init)

    def begin(params: Params, hyper: HnetTirHyper) -> Memory:
        memory = begin_targets(params, hyper)
        return {**memory, "decoders": generator_of(net, hyper).empty(memory["weights"].device)}

    def absorb(
        params: Params, memory: Memory, statistics: Params, learnt: Learnt, hyper: HnetTirHyper
    ) -> Memory:
        weights = absorb_target(params, memory, statistics, learnt, hyper)
        n_past = learnt.task.index + 1
        stored = generator_of(net, hyper).absorbed(params, memory["decoders"], n_past)
        return {**weights, "decoders": stored}

    def predict(network: Net, params: Params, x: Tensor, task: int, hyper: HnetTirHyper) -> Tensor:
        logits_TBK = hnet.logits_of_tasks(network, params, x, task)
        chosen = of_tasks.apply(without_prefix(params, TASKS), x, task).argmax(1)
        return logits_TBK[chosen, torch.arange(len(x), device=x.device)]

    def counters(params: Params, memory: Memory) -> dict[str, float]:
        ratios = count(params, memory)
        return {**ratios, "decoder_compression_ratio": decoder_ratio(params, memory)}

    phases = (*targets.phases, generator_phase(net), _inference_phase(net, of_tasks))
    return Method(
        net,
        phases,
        network=network,
        predict=predict,
        begin=begin,
        absorb=absorb,
        counters=counters,
    )


def _task_classifier(net: Net) -> Net:
    """The study's network with an output per task, in a softmax over the tasks seen so far."""
    return net.with_heads(Heads("class", (1,) * len(net.heads.sizes)))


def _inference_phase(net: Net, of_tasks: Net) -> Phase:
    def opened(params: Params, memory: Memory, task: int) -> Params:
        return {name: v for name, v in params.items() if name.startswith(TASKS)}

    def loss(full: Params, memory: Memory, batch: Batch, hyper: HnetTirHyper, task: int) -> Tensor:
        params = without_prefix(full, TASKS)
        new = F.cross_entropy(
            of_tasks.apply(params, batch.x, task), torch.full_like(batch.y, task)
        )
        if task == 0:
            return new
        generator = generator_of(net, hyper)
        x = batch.scale(generator.replayed(memory["decoders"], batch.draw["codes"], task))
        labels = torch.arange(task, device=x.device).repeat_interleave(len(x) // task)
        return 0.5 * new + 0.5 * F.cross_entropy(of_tasks.apply(params, x, task), labels)

    def draw(
        rng: torch.Generator, memory: Memory, hyper: HnetTirHyper, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        return replay_codes(net, hyper, rng, n_steps, batch_size)

    return Phase("task classifier", loss, open=opened, draw=draw)
