"""Function distance regularisation (FDR): stored examples keep their class probabilities.

    L_t(θ) + α E_{(x', z') ~ M} ‖softmax(z') − softmax(z_θ(x'))‖₂

    z'   the logits of x' of the network after the task of x', held from then on

Benjamin, Rolnick and Kording 2019, "Measuring and regularizing networks in function space", ICLR,
in the form of Buzzega et al. 2020 (Mammoth), whose numbers are published for it: the norm of an
example is not squared, and the memory holds equally many examples of every task, chosen when the
task ends; with each further task the shares shrink.

`step = "alternating"` is what Mammoth's code does: it makes one step down L_t and then one down
the distance, at the point to which the first has led; its α is read and not used (it is 1).
Both steps are made as one, along ∇L_t(θ) + α ∇D(θ − η ∇L_t): under plain SGD that is the same.

Outputs. Class-incremental, all outputs are trained and compared from the second task on (`outputs
= "all"`, as published), or those of the classes seen; then the probabilities are those among the
outputs that existed when the example was stored. One head per task: the example's own head.

The memory is filled when a task ends, so that the first one is plain training here as published.

Deviations. The authors keep the first examples of the last order of the task, here they are drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.exemplar_hypers import FdrHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.losses import label_loss
from clsweep.methods.parts.stored_outputs import OUTPUTS, n_kept, newest_head, noting
from clsweep.nets.net import Net, own_head_logits
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params


def build(net: Net, hyper: FdrHyper) -> Method:
    """FDR of `net`; its memory is a buffer with logits."""
    head_of = newest_head(net, hyper.outputs)

    def begin(params: Params) -> Memory:
        noted = {OUTPUTS: (n_kept(net),)}
        return {"slots": filling.empty_for(net, params, hyper.memory_size, noted)}

    def distance(h: Tensor, full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        stored: buffer.Buffer = memory["slots"]
        index = batch.draw["slots"]
        now = own_head_logits(net, full, h, stored.tasks[index], head_of(task))
        return probability_distance(now, stored.noted[OUTPUTS][index])

    def replayed(memory: Memory, batch: Batch) -> Tensor:
        return batch.scale(memory["slots"].raw[batch.draw["slots"]])

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        n_new = len(batch.x)
        h = net.features(full, torch.cat([batch.x, replayed(memory, batch)]))
        new = label_loss(net.head(full, h[:n_new], head_of(task)), batch)
        return new + hyper.weight * distance(h[n_new:], full, memory, batch, task)

    def new_loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        return label_loss(net.apply(full, batch.x, head_of(task)), batch)

    def foresee(grads: Params, ahead: Params, memory: Memory, batch: Batch, task: int) -> Params:
        leaves = {n: v.detach().requires_grad_() for n, v in ahead.items() if not is_statistic(n)}
        with torch.enable_grad():
            full = {**ahead, **leaves}
            h = net.features(full, replayed(memory, batch))
            value = hyper.weight * distance(h, full, memory, batch, task)
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        pulls = {n: pull for n, pull in zip(leaves, found, strict=True) if pull is not None}
        return {**grads, **{n: grads[n] + p if n in grads else p for n, p in pulls.items()}}

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        n_drawn = hyper.replay_batch or batch_size
        n_filled = memory["slots"].n_filled
        return {"slots": buffer.example_indices(rng, n_filled, n_drawn, n_steps)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        outputs = noting(net, params, learnt.scale, head_of(learnt.task.index))
        found = buffer.uniform(
            memory["slots"], learnt.task, learnt.rng, note=lambda raw: {OUTPUTS: outputs(raw)}
        )
        return {"slots": found}

    if hyper.step == "sum":
        phase = Phase("train", loss, draw=draw)
    else:
        phase = Phase("train", new_loss, draw=draw, foresee=foresee)
    return Method(net, hyper, (phase,), begin=begin, absorb=absorb)


def probability_distance(now: Tensor, then: Tensor) -> Tensor:
    """Mean over the examples of ‖softmax(z') − softmax(z)‖₂ among the outputs that existed then.

    Its gradient is 0 where both agree.

    Args:
        now: z, [B, K'], K' at least the outputs that existed; −∞ where a head has none.
        then: z', [B, K], −∞ where there was none.
    """
    then = then[:, : now.shape[1]]
    among = torch.where(then > float("-inf"), now, float("-inf"))
    far: Tensor = torch.linalg.vector_norm(then.softmax(1) - F.softmax(among, 1), dim=1)
    return far.mean()
