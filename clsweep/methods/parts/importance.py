"""Per-example importances summed over a data set: Fisher diagonal and MAS's Ω, in closed form.

For a linear layer y = W a + b the gradient of example n is δ_n a_nᵀ, hence

    Σ_n w_n (∂/∂W)² = (w δ∘δ)ᵀ (a∘a)        Σ_n |∂/∂W| = |δ|ᵀ |a|

one backward pass for a whole batch instead of one per example. Convolutions are linear layers on
unfolded patches. Any other parameter (a norm's gain, a tied weight) falls back to `torch.func`'s
per-example gradients. Sums run over examples, so the batch size cannot matter; only the estimator
named 'batched' squares the gradient of a mini-batch mean, as several libraries do.

Estimators of the Fisher diagonal F_i = E_x E_{y~p(y|x)} [(∂ log p(y|x)/∂θ_i)²]:

    exact           the inner expectation in full: Σ_y p(y|x) (…)²
    sampled         one y drawn from p(y|x)
    predicted       y = argmax p(y|x)
    empirical       y = the label
    label_weighted  y = the label, weighted by p(y|x) (Mammoth)
    reversed        y = the label, of the network with reversed logits: p = softmax(−z) (EWC-DR)
    batched         square of the mean gradient over batches of examples, labels as given

Of a regression p(y|x) = N(y; f(x), I), whose −log p is the loss ½ ‖f(x) − y‖² but for a constant:
'exact' is Σ_k (∂f_k/∂θ_i)², 'sampled' draws y from p, 'empirical' and 'batched' take the targets.
The others are of classes: at y = f(x) every gradient is zero.

Kunstner et al. 2019 and van de Ven 2025 (arXiv 2502.11756) compare them. 'reversed' is that of
"Elastic weight consolidation done right" (2026, CVPR, arXiv 2603.18596): where a network is sure
of the label, ∂ log p(y|x) vanishes, and that of the reversed logits does not. The authors' code
squares means over batches and caps every entry at 10⁻⁴; neither is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional as F

from clsweep.methods.base import LearntTask
from clsweep.methods.parts.activation_recorder import Recorder, Use
from clsweep.methods.parts.losses import mean_loss
from clsweep.nets.net import Net, shared
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params, zeros_like

_CHUNK = 256  # examples per backward pass; bounds memory, does not change any sum
Objective = Callable[[Tensor, Tensor], Tensor]  # (logits [B, K], y [B]) -> per-example value [B]


def fisher_diag(
    net: Net,
    params: Params,
    learnt: LearntTask,
    *,
    estimator: str = "exact",
    n_examples: int = 0,
    batch_size: int = 128,
) -> Params:
    """Diagonal of the Fisher information, a mean over the task's training examples.

    Args:
        net: the network; only its shared parameters get an importance.
        params: θ*, where the Fisher is taken.
        learnt: the task, whose head is used.
        estimator: see the module's table.
        n_examples: examples to use, drawn at random; 0 for all.
        batch_size: examples per squared gradient, for 'batched'.
    """
    if estimator == "batched":
        return _batched_fisher(net, params, learnt, n_examples, batch_size)

    if net.heads.is_regression:
        return _gaussian_fisher(net, params, learnt, estimator, n_examples)
    sign = -1 if estimator == "reversed" else 1

    def log_p(logits: Tensor, y: Tensor) -> Tensor:
        return (sign * logits).log_softmax(1).gather(1, y[:, None])[:, 0]

    total, n = zeros_like(shared(params)), 0
    for x, y in chunks(learnt, n_examples, _CHUNK):
        taps = _Taps(net, params, x, learnt.task.index)
        p = taps.logits.detach().softmax(1)
        for labels, weights in _labels(estimator, p, y, learnt.rng):
            taps.add(total, log_p, labels, weights, squared=True)
        n += len(x)
    return {name: value / n for name, value in total.items()}


def _gaussian_fisher(
    net: Net, params: Params, learnt: LearntTask, estimator: str, n_examples: int
) -> Params:
    """`fisher_diag` of a regression; −∂ log p(y|x)/∂θ = Σ_k (f_k − y_k) ∂f_k/∂θ."""
    total, n = zeros_like(shared(params)), 0
    for x, y in chunks(learnt, n_examples, _CHUNK):
        taps = _Taps(net, params, x, learnt.task.index)
        predicted, ones = taps.logits.detach(), torch.ones_like(y[:, 0])
        if estimator == "exact":
            for k in range(y.shape[1]):
                taps.add(total, _output(k), y, ones, squared=True)
        elif estimator in ("sampled", "empirical"):
            at = y
            if estimator == "sampled":
                at = predicted + torch.randn(y.shape, generator=learnt.rng).to(y.device)
            # Differentiated at the predictions, where Σ_k e_k f_k has the gradient of ½ ‖e‖².
            taps.add(total, _along, predicted - at, ones, squared=True)
        else:
            raise AssertionError(f"no Fisher estimator of a regression is called {estimator}")
        n += len(x)
    return {name: value / n for name, value in total.items()}


def _output(k: int) -> Objective:
    return lambda predicted, y: predicted[:, k]


def _along(predicted: Tensor, directions: Tensor) -> Tensor:
    return (predicted * directions).sum(1)


def _labels(
    estimator: str, p: Tensor, y: Tensor, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """The labels to differentiate at, and their weights, [B] each."""
    ones = torch.ones_like(p[:, 0])
    if estimator == "exact":
        for c in range(p.shape[1]):
            yield torch.full_like(y, c), p[:, c]
    elif estimator == "sampled":
        # Inverse of the distribution function, on the CPU's generator for every device.
        uniform = torch.rand(len(y), 1, generator=rng).to(p.device)
        yield (p.cumsum(1) < uniform).sum(1).clamp(max=p.shape[1] - 1), ones
    elif estimator == "predicted":
        yield p.argmax(1), ones
    elif estimator in ("empirical", "reversed"):
        yield y, ones
    elif estimator == "label_weighted":
        yield y, p.gather(1, y[:, None])[:, 0]
    else:
        raise AssertionError(f"no Fisher estimator is called {estimator}")


def _batched_fisher(
    net: Net, params: Params, learnt: LearntTask, n_examples: int, batch_size: int
) -> Params:
    names = list(shared(params))
    if not names:
        return {}
    total, n = zeros_like(shared(params)), 0
    for x, y in chunks(learnt, n_examples, batch_size):
        leaves = _leaves(params)
        logits = net.apply(leaves, x, learnt.task.index)
        loss = mean_loss(logits, y)
        grads = torch.autograd.grad(loss, [leaves[name] for name in names])
        for name, g in zip(names, grads, strict=True):
            total[name] += g.square()
        n += 1
    return {name: value / n for name, value in total.items()}


def mas_omega(net: Net, params: Params, learnt: LearntTask, *, n_examples: int = 0) -> Params:
    """MAS importances Ω_i = (1/N) Σ_n |∂‖F(x_n)‖²₂/∂θ_i|, F the logits of the task's head.

    Args:
        net: the network; only its shared parameters get an importance.
        params: θ*.
        learnt: the task; its labels are not used.
        n_examples: examples to use, drawn at random; 0 for all.
    """

    def squared_norm(logits: Tensor, y: Tensor) -> Tensor:
        return logits.square().sum(1)

    total, n = zeros_like(shared(params)), 0
    for x, y in chunks(learnt, n_examples, _CHUNK):
        taps = _Taps(net, params, x, learnt.task.index)
        ones = torch.ones(len(x), dtype=x.dtype, device=x.device)
        taps.add(total, squared_norm, y, ones, squared=False)
        n += len(x)
    return {name: value / n for name, value in total.items()}


def batched_mas_omega(
    net: Net, params: Params, learnt: LearntTask, *, n_examples: int = 0, batch_size: int = 20
) -> Params:
    """MAS importances of the authors' code, Ω_i = (1/N) Σ_batches |∂ Σ_n ‖F(x_n)‖²₂ / ∂θ_i|.

    Args:
        net: the network; only its shared parameters get an importance.
        params: θ*.
        learnt: the task; its labels are not used.
        n_examples: examples to use, drawn at random; 0 for all.
        batch_size: examples per gradient, in the order of the data set as the authors' are.
    """
    names = list(shared(params))
    if not names:
        return {}
    total, n = zeros_like(shared(params)), 0
    for x, _ in chunks(learnt, n_examples, batch_size):
        leaves = _leaves(params)
        value = net.apply(leaves, x, learnt.task.index).square().sum()
        grads = torch.autograd.grad(value, [leaves[name] for name in names])
        for name, g in zip(names, grads, strict=True):
            total[name] += g.abs()
        n += len(x)
    return {name: value / n for name, value in total.items()}


def _leaves(params: Params) -> Params:
    """Parameters to differentiate by; running statistics are none."""
    return {
        name: value.detach().requires_grad_(not is_statistic(name))
        for name, value in params.items()
    }


def chunks(learnt: LearntTask, n_examples: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels of the task's training set, or of a random part of it.

    Args:
        learnt: the task.
        n_examples: examples to use, drawn at random; 0 for all.
        size: examples per chunk.
    """
    data = learnt.task.train
    index = torch.arange(len(data))
    if 0 < n_examples < len(data):
        index = torch.randperm(len(data), generator=learnt.rng)[:n_examples]
    for rows in index.to(data.labels.device).split(size):
        yield learnt.scale(data.raw(rows)), data.labels[rows]


class _Taps:
    """One forward pass, with what is needed to sum per-example gradients of its outputs."""

    def __init__(self, net: Net, params: Params, x: Tensor, task: int) -> None:
        self.net, self.x, self.task = net, x, task
        self.params = _leaves(params)
        with torch.enable_grad(), Recorder(self.params) as recorder:
            self.logits = net.apply(self.params, x, task)
        wanted = set(shared(params))
        tapped = {name for use in recorder.uses for name in (use.weight, use.bias) if name}
        self.uses = [u for u in recorder.uses if {u.weight, u.bias} & (wanted - recorder.opaque)]
        self.rest = sorted(n for n in wanted if n in recorder.opaque or n not in tapped)

    def add(
        self, total: Params, objective: Objective, y: Tensor, weights: Tensor, *, squared: bool
    ) -> None:
        """Add Σ_n w_n g_n² (or w_n |g_n|) to `total`, g_n the gradient of example n's objective.

        Args:
            total: sums by name, updated.
            objective: per-example value [B] from logits and y.
            y: passed to the objective, [B].
            weights: w_n ≥ 0, [B].
            squared: squares, or absolute values.
        """
        value = objective(self.logits, y).sum()
        outputs = [use.output for use in self.uses]
        deltas = (
            torch.autograd.grad(value, outputs, retain_graph=True, allow_unused=True)
            if outputs
            else ()
        )
        per_example: Params = {}
        seen = [n for use in self.uses for n in (use.weight, use.bias) if n]
        for use, delta in zip(self.uses, deltas, strict=True):
            if delta is None:
                continue
            once = all(seen.count(n) == 1 for n in (use.weight, use.bias) if n)
            if use.conv is None and delta.ndim == 2 and once:
                _add_linear(total, use, delta, weights, squared)
                continue
            for name, g in _example_grads(use, delta):
                per_example[name] = per_example[name] + g if name in per_example else g
        if self.rest:
            per_example |= self._fallback(objective, y)
        for name, g in per_example.items():
            if name in total:
                size = g.square() if squared else g.abs()
                total[name] += torch.einsum("b...,b->...", size, weights)

    def _fallback(self, objective: Objective, y: Tensor) -> Params:
        held = {name: value.detach() for name, value in self.params.items()}

        def value(rest: Params, x: Tensor, label: Tensor) -> Tensor:
            logits = self.net.apply({**held, **rest}, x[None], self.task)
            return objective(logits, label[None])[0]

        rest = {name: held[name] for name in self.rest}
        found: Params = vmap(grad(value), in_dims=(None, 0, 0))(rest, self.x, y)
        return found


def _add_linear(total: Params, use: Use, delta: Tensor, weights: Tensor, squared: bool) -> None:
    """The closed form; `delta` [B, out], inputs [B, in]."""
    size = (delta.square() if squared else delta.abs()) * weights[:, None]
    inputs = use.inputs.square() if squared else use.inputs.abs()
    if use.weight in total:
        total[use.weight] += size.T @ inputs
    if use.bias in total:
        total[use.bias] += size.sum(0)


def _example_grads(use: Use, delta: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Per-example gradients [B, ...] of a convolution, or of a linear layer used anyhow."""
    if use.conv is None:
        delta = delta.flatten(1, -2) if delta.ndim > 2 else delta[:, None]
        inputs = use.inputs.reshape(*delta.shape[:2], -1)
        weight = torch.einsum("blo,bli->boi", delta, inputs)
        bias = delta.sum(1)
    else:
        patches = F.unfold(use.inputs, **use.conv)  # [B, C·k·k, positions]
        flat = delta.flatten(2)
        weight = torch.einsum("bop,bip->boi", flat, patches)
        weight = weight.unflatten(2, (use.inputs.shape[1], *use.conv["kernel_size"]))
        bias = flat.sum(2)
    yield use.weight, weight
    if use.bias:
        yield use.bias, bias
