"""Gradients of the stored examples' loss, task by task, in one backward pass for all of them.

For a linear layer y = W a + b, task k's share of the gradient is

    ∂L_k/∂W = δ_kᵀ a_k        ∂L_k/∂b = Σ_n δ_kn

a_k the inputs and δ_k the loss's gradients at the outputs, of the stored examples of task k. One
pass forward and one pass back to the outputs serve all tasks; what remains per task is a product
of two matrices, written where it is wanted. Tasks in a row with equally many examples share one
batched product. Convolutions likewise, but task by task.

A network with any other trained parameter (a norm's gain, a tied weight that is transposed), or
one that folds the batch axis into another, gets one backward pass per task.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from clsweep.methods.parts.activation_recorder import Recorder, Use
from clsweep.methods.parts.losses import example_losses, mean_loss
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params


class TaskExamples(NamedTuple):
    """Stored examples in the order of their tasks.

    Attributes:
        x: inputs, float32 [N, C, H, W].
        y: labels in the numbering of the head of their task, int64 [N]; of a regression, targets
            float32 [N, K].
        counts: (task, number of its examples ≥ 1), in the order of x.
    """

    x: Tensor
    y: Tensor
    counts: tuple[tuple[int, int], ...]

    def spans(self) -> list[tuple[int, int]]:
        """First row of every task's examples, and last plus one."""
        stops = torch.tensor([n for _, n in self.counts]).cumsum(0).tolist()
        return list(zip([0, *stops], stops, strict=False))


class _Tap(NamedTuple):
    """A linear map that some tasks passed through; spans are (task's place, first, last + 1)."""

    use: Use
    spans: list[tuple[int, int, int]]


def task_gradients(
    net: Net, full: Params, stored: TaskExamples, newest: int, smoothing: float = 0.0
) -> Tensor:
    """Gradients of the mean cross-entropy of every task's stored examples, [T, P].

    Columns are the trained parameters, flattened, in their order in `full`; a head that a task
    does not use has zeros.

    Args:
        net: the network.
        full: its parameters; those that require a gradient are trained.
        stored: at least one example.
        newest: the task being learnt, whose columns of a shared head are used.
        smoothing: share of every label that is spread evenly over the classes of its head.
    """
    leaves = {name: v.detach().requires_grad_(v.requires_grad) for name, v in full.items()}
    trained = {name: value for name, value in leaves.items() if value.requires_grad}
    with torch.enable_grad():
        with Recorder(leaves) as trunk:
            h = net.features(leaves, stored.x)
        places = [(place, a, b) for place, (a, b) in enumerate(stored.spans())]
        taps = [_Tap(use, places) for use in trunk.uses]
        if not _separable(trunk, trained, taps, len(stored.x)):
            return _one_by_one(net, leaves, stored, newest, smoothing)
        loss, heads = _losses(net, leaves, h, stored, newest, smoothing)
    taps = [tap for tap in taps + heads if tap.use.output.requires_grad]
    tapped = {name for tap in taps for name in (tap.use.weight, tap.use.bias)}
    if shared(trained).keys() - tapped:
        return _one_by_one(net, leaves, stored, newest, smoothing)
    deltas = torch.autograd.grad(loss, [tap.use.output for tap in taps], allow_unused=True)
    return _rows(trained, taps, deltas, len(stored.counts))


def _separable(recorder: Recorder, trained: Params, taps: list[_Tap], n_examples: int) -> bool:
    """Whether every trained parameter was used by linear maps over the examples alone."""
    whole = all(len(tap.use.output) == len(tap.use.inputs) == n_examples for tap in taps)
    return whole and not recorder.opaque & trained.keys()


def _losses(
    net: Net, leaves: Params, h: Tensor, stored: TaskExamples, newest: int, smoothing: float
) -> tuple[Tensor, list[_Tap]]:
    """Σ_k L_k, and what the heads did."""
    if net.heads.scenario != "task":
        with Recorder(leaves) as recorder:
            logits = net.head(leaves, h, newest)
        share = torch.cat([h.new_full((n,), 1 / n) for _, n in stored.counts])
        each = example_losses(logits, stored.y, smoothing)
        loss = (each * share).sum()
        places = [(place, a, b) for place, (a, b) in enumerate(stored.spans())]
        return loss, [_Tap(use, places) for use in recorder.uses]
    losses, taps = [], []
    for place, ((task, n), (a, b)) in enumerate(zip(stored.counts, stored.spans(), strict=True)):
        with Recorder(leaves) as recorder:
            logits = net.head(leaves, h[a:b], task)
        losses.append(mean_loss(logits, stored.y[a:b], smoothing))
        taps += [_Tap(use, [(place, 0, n)]) for use in recorder.uses]
    return torch.stack(losses).sum(), taps


def _rows(
    trained: Params, taps: list[_Tap], deltas: tuple[Tensor | None, ...], n_tasks: int
) -> Tensor:
    """The gradients from every map's inputs and the loss's gradient at its outputs."""
    sizes = [value.numel() for value in trained.values()]
    rows = torch.empty(n_tasks, sum(sizes), device=next(iter(trained.values())).device)
    columns = dict(zip(trained, rows.split(sizes, 1), strict=True))
    # Every part is written once or more, since filling all with zeros first costs as much as a
    # tenth of the products.
    empty = {(name, place) for name in trained for place in range(n_tasks)}
    for (use, spans), delta in zip(taps, deltas, strict=True):
        if delta is None:
            continue
        for group in [[span] for span in spans] if use.conv else _alike(spans):
            places, a, b = slice(group[0][0], group[-1][0] + 1), group[0][1], group[-1][2]
            inputs, here = (t[a:b].unflatten(0, (len(group), -1)) for t in (use.inputs, delta))
            for name, add in (
                (use.weight, _add_weight_gradients),
                (use.bias, _add_bias_gradients),
            ):
                if name not in trained:
                    continue
                part = columns[name][places].unflatten(1, trained[name].shape)
                written = {(name, place) for place, _, _ in group}
                add(part, use, inputs, here, kept=0 if written <= empty else 1)
                empty -= written
    for name, place in empty:
        columns[name][place].zero_()
    return rows


def _alike(spans: list[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
    """Runs of tasks with equally many examples: one product serves all of a run."""
    return [list(run) for _, run in groupby(spans, key=lambda span: span[2] - span[1])]


def _add_weight_gradients(
    weights: Tensor, use: Use, inputs: Tensor, deltas: Tensor, kept: int
) -> None:
    """δᵀ a of every task, beside `kept` times what stands there; a convolution's of one task.

    Args:
        weights: a part of the rows, [tasks, *shape of the weight]; written to.
        use: the linear map.
        inputs: a, [tasks, examples, ...].
        deltas: δ, [tasks, examples, ...].
        kept: 0 or 1.
    """
    if use.conv is None:
        deltas_TON, inputs_TNI = deltas.flatten(1, -2).mT, inputs.flatten(1, -2)
        torch.baddbmm(weights, deltas_TON, inputs_TNI, beta=kept, out=weights)
        return
    options = {key: use.conv[key] for key in ("stride", "padding", "dilation")}
    found = conv2d_weight(inputs[0], weights.shape[1:], deltas[0], **options)[None]
    weights.copy_(found + weights if kept else found)


def _add_bias_gradients(
    biases: Tensor, use: Use, inputs: Tensor, deltas: Tensor, kept: int
) -> None:
    """Σ_n δ_n of every task; see `_add_weight_gradients` for the arguments."""
    units = 2 if use.conv else deltas.ndim - 1
    found = deltas.sum([d for d in range(1, deltas.ndim) if d != units])
    biases.copy_(found + biases if kept else found)


def _one_by_one(
    net: Net, leaves: Params, stored: TaskExamples, newest: int, smoothing: float
) -> Tensor:
    """One backward pass per task, which any network allows."""
    trained = [value for value in leaves.values() if value.requires_grad]
    rows = []
    for (task, _), (a, b) in zip(stored.counts, stored.spans(), strict=True):
        head = task if net.heads.scenario == "task" else newest
        with torch.enable_grad():
            logits = net.apply(leaves, stored.x[a:b], head)
            loss = mean_loss(logits, stored.y[a:b], smoothing)
            found = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)
