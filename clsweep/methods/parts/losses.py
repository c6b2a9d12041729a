"""Scalar terms of losses, shared by the methods."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from clsweep.methods.base import Batch, Memory, Phase
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params


def task_loss(net: Net, params: Params, batch: Batch, task: int) -> Tensor:
    """Mean cross-entropy of the batch under the head of `task`, shape ()."""
    return label_loss(net.apply(params, batch.x, task), batch)


def half_squared_error(predicted: Tensor, targets: Tensor) -> Tensor:
    """The loss of a regression, ½ ‖ŷ − y‖² of every example, shape [B].

    It is −log N(y; ŷ, I) without its constant: the loss of a Gaussian likelihood of unit variance,
    for which penalties on parameters are derived. torch's `mse_loss` of K outputs is 2/K of its
    mean.

    Args:
        predicted: ŷ [B, K].
        targets: y [B, K].
    """
    return 0.5 * (predicted - targets).square().sum(1)


def example_losses(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The loss of every example, [B]: cross-entropy, or of a regression `half_squared_error`.

    Args:
        logits: of the head, [B, K].
        labels: int64 [B], or targets float32 [B, K].
        smoothing: ε, see `label_loss`.
    """
    if labels.is_floating_point():
        return half_squared_error(logits, labels)
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def mean_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean of `example_losses`, shape (); see there for the arguments."""
    if labels.is_floating_point():
        return half_squared_error(logits, labels).mean()
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy −Σ_c q_c log p_c with the batch's labels, smoothed, shape ().

    Of a regression, the mean of `half_squared_error`.

    q = (1 − ε) [c = y] + ε / K over the K classes of the head (Szegedy et al. 2016, CVPR).
    Examples count as the study's class balance has it, see `training/class_balance.py`.

    Args:
        logits: of the head, [B, K].
        batch: holds labels, ε and weights.
    """
    if batch.y.is_floating_point():
        return _mean_of(half_squared_error(logits, batch.y), batch.weights)
    if batch.weights is None:
        return F.cross_entropy(logits, batch.y, label_smoothing=batch.smoothing)
    each = F.cross_entropy(logits, batch.y, label_smoothing=batch.smoothing, reduction="none")
    return (batch.weights * each).mean()


def padded_label_loss(
    logits: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None = None
) -> Tensor:
    """The loss of `label_loss` where outputs of −∞ stand for classes that a head lacks, shape ().

    K counts the others, example by example.

    Args:
        logits: [B, K'].
        labels: int64 [B]; of a regression, targets float32 [B, K'].
        smoothing: ε.
        weights: how much each example counts, [B]; None where all count 1.
    """
    if labels.is_floating_point():
        return _mean_of(half_squared_error(logits, labels), weights)
    if not smoothing and weights is None:
        return F.cross_entropy(logits, labels)
    log_p, is_there = logits.log_softmax(1), logits > float("-inf")
    spread = -log_p.where(is_there, 0.0).sum(1) / is_there.sum(1)
    hard = F.nll_loss(log_p, labels, reduction="none")
    each = (1 - smoothing) * hard + smoothing * spread
    return _mean_of(each, weights)


def _mean_of(each: Tensor, weights: Tensor | None) -> Tensor:
    return each.mean() if weights is None else (weights * each).mean()


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy −Σ_c q_c log p_c of softened outputs, mean over the batch, shape ().

    q = softmax(teacher / T) and p = softmax(student / T). Its gradient is zero where both agree;
    it carries no factor T².

    Args:
        student: logits [B, K], differentiated.
        teacher: logits [B, K], held.
        temperature: T > 0.
    """
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(1))


def padded_distillation(
    student: Tensor, teacher: Tensor, temperature: float, *, per_output: bool = False
) -> Tensor:
    """`distillation` of a wider student: its outputs that the teacher lacks have the target 0.

    Args:
        student: logits [B, K], differentiated.
        teacher: logits [B, K'], K' ≤ K: those of the student's first K' outputs; held.
        temperature: T > 0.
        per_output: divide by K.
    """
    n_new = student.shape[1] - teacher.shape[1]
    # An output of −∞ has the probability 0, and leaves the other probabilities as they are.
    kept = distillation(student, F.pad(teacher, (0, n_new), value=float("-inf")), temperature)
    return kept / student.shape[1] if per_output else kept


def regression_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Distillation of a regression, the mean of ½ ‖student − teacher‖², shape ().

    Args:
        student: predictions [B, K], differentiated.
        teacher: predictions [B, K], held.
        temperature: not used: there is no softmax.
    """
    return half_squared_error(student, teacher).mean()


def plain_phase(net: Net) -> Phase:
    """Training on the task's own loss and nothing else: the first task of every method."""

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        return task_loss(net, full, batch, task)

    return Phase("train", loss)


def finetuning_phase(net: Net) -> Phase:
    """Plain training of the previous network, whose outcome several methods share."""
    return replace(plain_phase(net), name="finetune", is_finetuning=True)
