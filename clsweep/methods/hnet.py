"""Task-conditioned hypernetworks (HNET).

    Θ_t = f_h(e_t; Θ_h),   L = CE_t(Θ_t) + (β / (t − 1)) Σ_{k<t} ‖f_h(e_k; Θ_h*) − f_h(e_k; Θ_h)‖²
    Θ_h* the hypernetwork before task t; trained are Θ_h and e_t, the old e_k are frozen
    look-ahead: the penalty's gradient at Θ_h + ΔΘ_h, ΔΘ_h the optimiser's step on CE_t alone

von Oswald, Henning, Sacramento and Grewe 2020, "Continual learning with hypernetworks", ICLR. The
network of the study is the target: `clsweep.methods.parts.hypernets` generates all of its
parameters. Nothing can start from the shared source model: the first task is learnt within each
trial.

Task. One head per task: the task is given, and its embedding chooses the network. Where the
scenario hides it, ENT ('entropy'): every task learnt so far classifies the example with its own
network, and the one whose softmax over its own classes has the least entropy answers. Entropies
compare only between tasks with equally many classes. Class-incremental: every network is trained
and asked for the classes of its own task alone.

The memory holds f_h(e_k; Θ_h*), computed once per task instead of once per step; Θ_h* alone would
do. The record's counter `compression_ratio` is (Θ_h and all e_t) / (parameters of the target).

Batch norms. Gains and biases are generated, running statistics are not: every task has its own,
which no later task touches, or all share those of the last one (`statistics`). Theirs are
exponential averages along the way, these the exact moments of the task's training data. They are
not counted in `compression_ratio`: two numbers per channel and task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.rng import generator
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.hyper_fields import layer_widths
from clsweep.methods.hypernetwork_hypers import GeneratedNetHyper, HnetHyper
from clsweep.methods.parts.batch_norms import KeptStatistics
from clsweep.methods.parts.heads import check_readout, owned_parameters
from clsweep.methods.parts.hypernets import Hypernet, looked_ahead, trained_on
from clsweep.methods.parts.losses import padded_label_loss
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params, n_elements, with_prefix, without_prefix

MAIN = "hypernet."


def build(net: Net, hyper: HnetHyper) -> Method:
    """HNET with the target `net`, its tasks inferred by entropy where they are hidden.

    Raises:
        MethodError: the network cannot be generated, or entropies cannot tell the tasks apart.
    """
    _check_sizes(net)
    target = target_of(net, hyper, hyper.statistics)

    def begin(params: Params) -> Memory:
        return {"weights": target.empty(params)}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {"weights": target.absorbed(params, memory["weights"], learnt.task.index + 1)}

    def predict(params: Params, x: Tensor, task: int) -> Tensor:
        return _entropy_logits(target.network, params, x, task)

    return Method(
        target.network,
        hyper,
        (target_phase(target, hyper.look_ahead),),
        predict=predict,
        begin=begin,
        absorb=absorb,
        counters=target_ratio,
    )


class Target(NamedTuple):
    """The study's network as a hypernetwork generates it; parameters are handed in.

    Attributes:
        network: the study's network with generated parameters.
        hypernet: generates them; an embedding for every task.
        beta: β.
        statistics: where those of its batch norms are among all parameters of the method.
        features: (all parameters, x, task) -> what the heads of the task's network read.
    """

    network: Net
    hypernet: Hypernet
    beta: float
    statistics: KeptStatistics
    features: Callable[[Params, Tensor, int], Tensor]

    def empty(self, params: Params) -> Tensor:
        """Room for what the hypernetwork generates, [T, n_generated] zeros.

        Args:
            params: all parameters of the method.
        """
        size = (self.hypernet.n_tasks, self.hypernet.n_generated)
        return torch.zeros(size, device=params[f"{MAIN}chunks"].device)

    def absorbed(self, params: Params, stored: Tensor, n_past: int) -> Tensor:
        """The stored weights after a task, [T, n_generated], a new tensor.

        Args:
            params: all parameters of the method.
            stored: the weights before the task.
            n_past: tasks learnt so far, at least 1.
        """
        return self.hypernet.snapshot(without_prefix(params, MAIN), stored, n_past)

    def penalty(
        self, params: Params, stored: Tensor, n_past: int, draw: Mapping[str, Tensor]
    ) -> Tensor:
        """The second term of L, shape ().

        Args:
            params: all parameters of the method.
            stored: f_h(e_k; Θ_h*) in row k.
            n_past: t − 1.
            draw: of this step.
        """
        held = without_prefix(params, MAIN)
        return self.beta * self.hypernet.penalty(held, stored, n_past, draw)

    def survey(self, memory: Memory, task: int) -> Net:
        """The network of a task just learnt, whose running statistics are to be set.

        Args:
            memory: not used.
            task: the task.
        """
        return self.statistics.survey(self.network, self.features, task)


def target_of(net: Net, hyper: GeneratedNetHyper, statistics: str = "per_task") -> Target:
    """The study's network, generated.

    Args:
        net: the study's network.
        hyper: sizes of the hypernetwork.
        statistics: of batch norms, 'per_task' or 'shared'.

    Raises:
        MethodError: nothing tells the outputs of one task from those of another, and the penalty
            needs that.
    """
    shapes = {n: tuple(v.shape) for n, v in net.init(generator(0, "shapes")).items()}
    owners: tuple[tuple[int, int], ...] = ()
    if hyper.penalty_heads == "own" and net.heads.scenario != "domain":
        check_readout(net, "penalty_heads = 'own' leaves out outputs of other tasks", "hnet")
        owners = owned_parameters(net, shapes)
    hypernet = Hypernet(
        shapes,
        len(net.heads.sizes),
        layer_widths(hyper.hidden),
        hyper.activation,
        hyper.task_embedding,
        hyper.chunk_embedding,
        hyper.chunk_size,
        hyper.penalty_tasks,
        hyper.task_embedding_std,
        hyper.chunk_embedding_std,
        owners,
    )
    kept = KeptStatistics(net.statistics, statistics == "shared", net.bn_mode == "frozen")

    def generated(params: Params, task: int) -> Params:
        made = hypernet.generated(without_prefix(params, MAIN), task)
        return {**made, **kept.of(params, task)}

    def features(params: Params, x: Tensor, task: int) -> Tensor:
        return net.features(generated(params, task), x)

    return Target(_generated_net(net, hypernet, generated), hypernet, hyper.beta, kept, features)


def target_phase(target: Target, look_ahead: bool) -> Phase:
    """Training of the hypernetwork on a task; old tasks' weights are at 'weights' in the memory.

    Args:
        target: what is generated.
        look_ahead: whether the penalty's gradient is taken where the step on the task would lead.
    """

    def opened(params: Params, memory: Memory, task: int) -> Params:
        return with_prefix(trained_on(without_prefix(params, MAIN), task), MAIN)

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        known = target.statistics.in_training(full, task)
        logits = target.network.apply(known, batch.x, task)
        new = padded_label_loss(logits, batch.y, batch.smoothing, batch.weights)
        if look_ahead:
            return new
        return new + target.penalty(full, memory["weights"], task, batch.draw)

    def foresee(grads: Params, ahead: Params, memory: Memory, batch: Batch, task: int) -> Params:
        if task == 0:
            return grads
        stored = memory["weights"]
        return looked_ahead(
            grads, ahead, lambda full: target.penalty(full, stored, task, batch.draw)
        )

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        return target.hypernet.penalty_keys(rng, n_steps)

    return Phase(
        "hypernetwork",
        loss,
        open=opened,
        draw=draw if target.hypernet.n_penalised else None,
        foresee=foresee if look_ahead else None,
        survey=target.survey if target.statistics.names else None,
    )


def target_ratio(params: Params, memory: Memory) -> dict[str, float]:
    """The counter `compression_ratio`: (Θ_h and all e_t) / (parameters of the target).

    Args:
        params: all parameters of the method.
        memory: holds 'weights'.
    """
    n_target = memory["weights"].shape[1]
    return {"compression_ratio": n_elements(without_prefix(params, MAIN)) / n_target}


def _check_sizes(net: Net) -> None:
    """Refuse tasks that entropies cannot tell apart."""
    if net.heads.scenario != "task" and len(set(net.heads.sizes)) > 1:
        raise MethodError(
            f"'hnet' finds the task by entropies, and the tasks have {net.heads.sizes} classes",
            expected="equally many classes in every task, or scenario = 'task'",
            where="[benchmark]",
        )


def _generated_net(
    net: Net, hypernet: Hypernet, generated: Callable[[Params, int], Params]
) -> Net:
    """`net` with generated parameters; its logits outside the task's own classes are −∞."""

    def init(rng: torch.Generator) -> Params:
        return with_prefix(hypernet.init(rng), MAIN)

    def features(params: Params, x: Tensor) -> Tensor:
        return x

    def head(params: Params, x: Tensor, task: int) -> Tensor:
        logits = net.apply(generated(params, task), x, task)
        offset = net.heads.label_offset(task)
        return logits.index_fill(1, torch.arange(offset, device=x.device), float("-inf"))

    # The engine looks after no statistics of this network: see `Target.survey`.
    return net._replace(
        init=init,
        features=features,
        head=head,
        readout=lambda task: (),
        statistics=frozenset(),
    )


def logits_of_tasks(net: Net, params: Params, x: Tensor, task: int) -> Tensor:
    """Logits under the network of every task learnt so far, [T, B, K], T = `task` + 1.

    Args:
        net: a network with one set of generated parameters per task.
        params: its parameters.
        x: inputs [B, C, H, W].
        task: the last task learnt; K classes belong to its head, those of others are −∞.
    """
    width = max(net.heads.columns(k)[1] for k in range(task + 1))
    logits = [net.apply(params, x, k) for k in range(task + 1)]
    return torch.stack([F.pad(z, (0, width - z.shape[1]), value=-torch.inf) for z in logits])


def _entropy_logits(net: Net, params: Params, x: Tensor, task: int) -> Tensor:
    """Logits under the given task's network, or under that of the inferred one."""
    if net.heads.scenario == "task":
        return net.apply(params, x, task)
    logits_TBK = logits_of_tasks(net, params, x, task)
    # entr(0) is 0, which a plain p log p is not.
    chosen = torch.special.entr(logits_TBK.softmax(2)).sum(2).argmin(0)
    return logits_TBK[chosen, torch.arange(len(x), device=x.device)]
