"""Variational continual learning (VCL): the last posterior is the prior of the next task.

    min over q_t of  E_{q_t}[L_t(θ)] + (β / N_t) KL(q_t ‖ q_{t−1})
    q_t(θ) = Π_i N(μ_i, σ_i²),   q_0 = N(0, σ₀²),   N_t the training examples of task t

Nguyen, Li, Bui and Turner 2018, "Variational continual learning", ICLR: mean-field, without
coresets. μ starts where the shared source model has been trained to, as the authors' first task
starts from maximum likelihood, σ² at a small value; then the posterior of the first task is learnt
within each trial. The accuracy after the first task that is recorded is the source model's. A new
head starts from q_0. Predictions average the probabilities of networks drawn from the posterior,
the same networks for all inputs.

Deviations. The outputs of layers are drawn instead of their weights, once per step and example
(local reparameterisation), where the authors draw ten networks per step. β is 1 in the paper; it
tempers the prior. The study's weight decay does not act. An epoch's noise is drawn at once, which
is what limits the size of the network. The ε of the networks that predict are the same in all
trials, whatever their seed: seeds differ in the posterior alone. Plain SGD diverges beyond
η β / (N σ²) = 2; the authors train with Adam.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from clsweep.data.rng import generator
from clsweep.errors import MethodError
from clsweep.methods.base import Batch, LearntTask, Memory, Method, Phase
from clsweep.methods.parts.input_spaces import layer_uses
from clsweep.methods.parts.losses import task_loss
from clsweep.methods.parts.random_weights import SampledOutputs, divergence, sampled_networks
from clsweep.methods.regulariser_hypers import VclHyper
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params

_SPREAD = "log_variance."
_MOST_NOISE = 2**29  # numbers of an epoch, two gigabytes


class Prior(NamedTuple):
    """q of the tasks before.

    Attributes:
        mean: μ by parameter.
        variance: σ² by parameter.
    """

    mean: Params
    variance: Params


def build(net: Net, hyper: VclHyper) -> Method:
    """VCL of `net`; its memory is the `Prior` of the current task.

    Raises:
        MethodError: the network has parameters that are in no linear layer or convolution.
    """
    n_outputs = _n_outputs(net)
    start = math.log(hyper.initial_variance)

    def init(rng: torch.Generator) -> Params:
        means = net.init(rng)
        return {**means, **{_SPREAD + n: torch.full_like(v, start) for n, v in means.items()}}

    def begin(params: Params) -> Memory:
        means = {name: torch.zeros_like(value) for name, value in _means(params).items()}
        spread = {n: torch.full_like(v, hyper.prior_variance) for n, v in means.items()}
        return {"prior": Prior(means, spread)}

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        means, variances = _means(full), _variances(full)
        with SampledOutputs(means, variances, batch.draw["noise"]):
            total = task_loss(net, means, batch, task)
        prior: Prior = memory["prior"]
        for name in _used(net, means, task):
            kl = divergence(means[name], variances[name], prior.mean[name], prior.variance[name])
            total = total + hyper.beta / batch.n_examples * kl
        return total

    def draw(
        rng: torch.Generator, memory: Memory, n_steps: int, batch_size: int
    ) -> dict[str, Tensor]:
        return {"noise": _noise(rng, (n_steps, batch_size, n_outputs))}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        old: Prior = memory["prior"]
        means, variances = _means(params), _variances(params)
        used = _used(net, means, learnt.task.index)
        new = Prior({n: means[n] for n in used}, {n: variances[n] for n in used})
        return {"prior": Prior({**old.mean, **new.mean}, {**old.variance, **new.variance})}

    def predict(params: Params, x: Tensor, task: int) -> Tensor:
        return _predicted(net, params, x, task, hyper.n_networks)

    phase = Phase("train", loss, draw=draw, decays=False)
    return Method(
        net._replace(init=init),
        hyper,
        (phase,),
        first_phases=(phase,),
        adds_params=True,
        predict=predict,
        begin=begin,
        absorb=absorb,
    )


def _noise(rng: torch.Generator, size: tuple[int, int, int]) -> Tensor:
    """ε of every step, example and output of a layer."""
    if math.prod(size) > _MOST_NOISE:
        raise MethodError(
            f"an epoch of 'vcl' takes {math.prod(size):,} random numbers, {size[2]:,} per example",
            expected=f"at most {_MOST_NOISE:,}",
            where="[net]",
            next_step="a smaller network, or fewer examples_per_task",
        )
    return torch.randn(size, generator=rng)


def _predicted(net: Net, params: Params, x: Tensor, task: int, n_networks: int) -> Tensor:
    """The logits of the means, or log of the mean probability over networks drawn from q."""
    means, variances = _means(params), _variances(params)
    if not n_networks:
        return net.apply(means, x, task)
    rng = generator(0, "vcl", "prediction")
    used = _used(net, means, task)
    drawn = sampled_networks({n: means[n] for n in used}, variances, n_networks, rng)
    log_p = [net.apply({**means, **one}, x, task).log_softmax(1) for one in drawn]
    return torch.stack(log_p).logsumexp(0) - math.log(len(log_p))


def _means(params: Params) -> Params:
    return {name: value for name, value in params.items() if not name.startswith(_SPREAD)}


def _variances(params: Params) -> Params:
    n = len(_SPREAD)
    return {k[n:]: v.exp() for k, v in params.items() if k.startswith(_SPREAD)}


def _used(net: Net, means: Params, task: int) -> list[str]:
    """What serves a task: what all tasks share, and its own head."""
    return list(dict.fromkeys([*shared(means), *net.readout(task)]))


def _n_outputs(net: Net) -> int:
    """Outputs of all layers per example, those of the largest head among them."""
    params, most = net.init(generator(0, "shapes")), 0
    x = torch.zeros(1, *net.input_shape)
    for task in range(len(net.heads.sizes)):
        uses = layer_uses(net, params, x, task)
        most = max(most, sum(use.output.numel() for use in uses))
        found = {name for use in uses for name in (use.weight, use.bias)}
        odd = sorted(set(_used(net, params, task)) - found)
        if odd:
            raise MethodError(
                f"'vcl' cannot draw the parameter '{odd[0]}', which is in no linear layer or "
                "convolution",
                expected="a network of linear layers and convolutions, without norms",
                where="[net]",
                next_step="set net.norm = 'none', or remove 'vcl' from the study",
            )
    return most
