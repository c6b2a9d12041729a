"""Residual continual learning (ResCL).

    1. fine-tuning   θ_t* = argmin L_t(θ), from the source θ_s
    2. combination   y = (1 + α_s) ⊙ (W_s x) + α_t ⊙ (W_t x) in every unit, a number per channel,
                     from α_s = −½, α_t = +½, θ_t = θ_t*; over α_s, α_t and θ_t, θ_s frozen,
           min  Σ_{k<t} KD_k(net_s) + KD_t(net_t*) + λ ‖(α_s, α_t)‖₁ + (λ_dec/2) ‖θ_t‖²
                on the inputs of task t alone; KD as in LwF, of the source's outputs under head k
                and of the fine-tuned network's under head t; no label is used
    3. merge         into one network of the original size, the source of the next task

Lee, Joo, Hong and Kim 2020, "Residual continual learning", AAAI (arXiv 2002.06774), algorithm 1.
λ → ∞ is the source's trunk under a new head, α = (−1, 1) the fine-tuned network; at the start, the
mean of both, every layer is halfway. `clsweep.methods.parts.network_units` says where combinations
sit, `clsweep.methods.parts.network_combination` how they merge. All layers are combined, first
convolution and last norm among them: else α = 0 would not be the source. The fine-tuned network of
the second task is trained once per seed and shared.

Heads. A head that both networks have been trained with is a unit like any other. A head per task:
old ones are the source's, the new one is θ_t's. Class-incremental: rows of old classes are
combined, rows of new ones are θ_t's. Regression: KD is ½ ‖ŷ − ŷ*‖², without a temperature.

Where the paper is silent. Statistics of batch norms in 2: the source's are held, as everything of
it, and the target's are those of the batch, set anew from the task's data at the end; or those of
both are; or both are held, and then nothing normalises what is trained: at step sizes that are
usual with batch norm it diverges. Under `bn_mode = "frozen"` both are held in any case.
Temperature: LwF's T = 2, with the factor T²: the whole objective carries it, and without it the
steps of 2 would be shorter than those of 1 by that factor. Old heads: frozen with θ_s, since
λ → ∞ has to leave the source alone; or trained along. ‖·‖₁: summed, or the mean over channels,
which does not depend on the width. λ acts by its subgradient, or by soft-thresholding after the
step, which alone gives zeros; their share is the record's counter `alpha_zero_share`. The study's
weight decay acts in 1, λ_dec in 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clsweep.methods.base import Batch, LearntTask, Memory, Method, Note, Phase
from clsweep.methods.hypers import ResclHyper
from clsweep.methods.parts.heads import check_readout, new_outputs, old_heads
from clsweep.methods.parts.losses import (
    distillation,
    finetuning_phase,
    regression_distillation,
)
from clsweep.methods.parts.network_combination import Alphas, RenewedNorms, merged
from clsweep.methods.parts.network_units import Unit, units_of
from clsweep.nets.net import Net
from clsweep.nets.norms import without_statistics
from clsweep.nets.parameter_trees import Params, with_prefix, without_prefix

ALPHAS = ALPHA_S, ALPHA_T = "alpha.source", "alpha.target"  # of all units, one after the other
SOURCE, TARGET = "source.", "target."


def build(net: Net, hyper: ResclHyper) -> Method:
    """ResCL of `net`; its memory is the network before the current task.

    Raises:
        MethodError: a layer of the network cannot be combined, or it has no layer of heads.
    """
    if net.heads.scenario != "domain":
        needs = "'rescl' takes the outputs of new classes from the fine-tuned network"
        check_readout(net, needs, "rescl")
    combining = _Combining(net, units_of(net), hyper)
    phase = Phase(
        "combine",
        combining.loss,
        open=combining.open,
        note=combining.note,
        steer=combining.steer,
        settle=combining.settle if hyper.form == "proximal" else None,
        survey=combining.survey if combining.renewed else None,
        close=combining.close,
        holds_statistics=True,
        decays=False,
    )
    return Method(
        net,
        hyper,
        (finetuning_phase(net), phase),
        begin=_begin,
        absorb=_absorb,
        counters=_counters,
    )


def _begin(params: Params) -> Memory:
    share = torch.zeros((), device=next(iter(params.values())).device)
    return {"source": params, "zero_share": share}


def _absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
    return {**memory, "source": params}


def _counters(params: Params, memory: Memory) -> dict[str, float]:
    return {"alpha_zero_share": float(memory["zero_share"])}


class _Combining:
    """The hooks of the second phase.

    `full` holds the fine-tuned network under its own names, and beside it what is trained: θ_t as
    `target.*` and the coefficients as `alpha.*`. A survey adds statistics, those of the source
    as `source.*`.
    """

    def __init__(self, net: Net, units: list[Unit], hyper: ResclHyper) -> None:
        self.net, self.units, self.hyper = net, units, hyper
        is_regression = net.heads.is_regression
        self.distil = regression_distillation if is_regression else distillation
        has_scale = hyper.t_squared and not is_regression
        self.scale = hyper.temperature**2 if has_scale else 1.0
        # Branches whose batch norms train on the batch's statistics, and get new ones at the end.
        self.renewed: tuple[str, ...] = ()
        if net.statistics and net.bn_mode != "frozen":
            kinds = {"held": (), "target": (TARGET,), "batch": (SOURCE, TARGET)}
            self.renewed = kinds[hyper.statistics]

    def sizes(self, task: int) -> list[int]:
        """How many coefficients of each network every unit has.

        As many as channels; of a layer of heads only the outputs that both have been trained with.
        """
        net, found = self.net, []
        for unit in self.units:
            if net.heads.scenario == "domain" or unit.name not in net.readout(task):
                found.append(math.prod(unit.shape))
            else:
                is_class = net.heads.scenario == "class"
                found.append(net.heads.columns(task - 1)[1] if is_class else 0)
        return found

    def open(self, params: Params, memory: Memory, task: int) -> Params:
        half = next(iter(params.values())).new_full((sum(self.sizes(task)),), 0.5)
        return {**with_prefix(without_statistics(params), TARGET), ALPHA_S: -half, ALPHA_T: half}

    def coefficients(self, full: Params, task: int) -> Alphas:
        """(α_s, α_t) of every channel: trained ones, then those of outputs that have an owner."""
        sizes = self.sizes(task)
        pairs = zip(full[ALPHA_S].split(sizes), full[ALPHA_T].split(sizes), strict=True)
        found: Alphas = {}
        for unit, n, (source, target) in zip(self.units, sizes, pairs, strict=True):
            if n < math.prod(unit.shape):
                is_target = new_outputs(self.net, task, source.device)[n:]
                if self.hyper.old_heads == "trained":
                    is_target = torch.ones_like(is_target)
                owned = is_target.to(source.dtype)
                source, target = torch.cat([source, -owned]), torch.cat([target, owned])
            found[unit.name] = source.view(unit.shape), target.view(unit.shape)
        return found

    def branches(self, full: Params, memory: Memory, task: int) -> tuple[Params, Params]:
        """Source and target; what is in no unit is taken from the source, each head's owner."""
        names = {name: f"{TARGET}{name}" for name in memory["source"]}
        target = {name: full[own if own in full else name] for name, own in names.items()}
        source = {**memory["source"], **without_prefix(full, SOURCE)}
        heads = names if self.hyper.old_heads == "trained" else self.net.readout(task)
        source |= {name: target[name] for name in heads if name.startswith("heads.")}
        return source, target

    def note(self, params: Params, memory: Memory, task: int) -> Note:
        """Logits to distil: of the source under old heads, of the fine-tuned network's own."""
        net, source = self.net, memory["source"]

        def logits(x: Tensor) -> dict[str, Tensor]:
            h = net.features(source, x)
            found = {f"head {k}": net.head(source, h, k) for k, _ in old_heads(net, task)}
            return {**found, f"head {task}": net.apply(params, x, task)}

        return logits

    def loss(self, full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        net, hyper, renewed = self.net, self.hyper, self.renewed
        source, target = self.branches(full, memory, task)
        heads = [*old_heads(net, task), (task, 1)]
        alphas = self.coefficients(full, task)
        if renewed:
            source, target = (
                without_statistics(branch) if prefix in renewed else branch
                for prefix, branch in ((SOURCE, source), (TARGET, target))
            )
            with RenewedNorms(self.units, alphas, source, target) as both:
                h = net.features(both.params, batch.x)
                logits = [net.head(both.params, h, k) for k, _ in heads]
        else:
            one = merged(self.units, alphas, source, target)
            h = net.features(one, batch.x)
            logits = [net.head(one, h, k) for k, _ in heads]
        terms = [
            times * self.distil(z, batch.noted[f"head {k}"], hyper.temperature)
            for (k, times), z in zip(heads, logits, strict=True)
        ]
        return self.scale * torch.stack(terms).sum()

    def decay(self, full: Params) -> float:
        """λ in front of Σ|α|."""
        n, hyper = sum(full[name].numel() for name in ALPHAS), self.hyper
        return hyper.lam if hyper.lam_unit == "sum" else hyper.lam / max(n, 1)

    def steer(
        self, grads: Params, full: Params, memory: Memory, batch: Batch, task: int
    ) -> Params:
        found, weight = dict(grads), self.hyper.decay
        names = [name for name in grads if name.startswith(TARGET)]
        if weight and names:
            theta = [full[name] for name in names]
            decayed = torch._foreach_add([grads[name] for name in names], theta, alpha=weight)
            found |= dict(zip(names, decayed, strict=True))
        if self.hyper.form == "gradient":
            lam = self.decay(full)
            found |= {n: grads[n] + lam * full[n].sign() for n in ALPHAS if n in grads}
        return found

    def settle(self, trained: Params, memory: Memory, step_size: float, task: int) -> Params:
        """The proximal step of λ ‖α‖₁."""
        bound = step_size * self.decay(trained)
        alphas = {name: trained[name] for name in ALPHAS}
        # As torch's softshrink, for a bound that may be a tensor.
        shrunk = {name: value - value.clamp(-bound, bound) for name, value in alphas.items()}
        return {**trained, **shrunk}

    def survey(self, memory: Memory, task: int) -> Net:
        """The combination as a network of those branches' statistics that are set anew."""
        net, renewed = self.net, self.renewed

        def features(full: Params, x: Tensor) -> Tensor:
            source, target = self.branches(full, memory, task)
            alphas = self.coefficients(full, task)
            with RenewedNorms(self.units, alphas, source, target) as both:
                return net.features(both.params, x)

        names = frozenset(prefix + name for name in net.statistics for prefix in renewed)
        return net._replace(features=features, statistics=names)

    def close(self, full: Params, memory: Memory, task: int) -> tuple[Params, Memory]:
        source, target = self.branches(full, memory, task)
        one = merged(self.units, self.coefficients(full, task), source, target)
        alphas = torch.cat([full[name] for name in ALPHAS])
        zero_share = (alphas == 0).float().sum() / max(alphas.numel(), 1)
        return one, {**memory, "zero_share": zero_share}
