"""Incremental classifier and representation learning (iCaRL).

    Σ_{c new} BCE(1[y = c], σ(z_c)) + Σ_{c old} BCE(σ(z'_c), σ(z_c)),   mean over batch and classes
    on the new task's examples and the exemplars together; z' the logits before the task
    ŷ(x) = argmin_c ‖φ(x) − μ_c‖,   μ_c the mean of φ over the exemplars of c
    φ    the features below the head, divided by their norm, and so is μ_c

    exemplars of a new class, one after the other (herding):
    p_k = argmin_x ‖μ − (φ(x) + Σ_{j<k} φ(p_j)) / k‖,   μ the mean of φ over the class

Rebuffi, Kolesnikov, Sperl and Lampert 2017, "iCaRL: incremental classifier and representation
learning", CVPR. With each task the memory is shared anew, K / (classes seen) exemplars for each,
and lists are cut from their end. No image is an exemplar twice. Classes have one label in all
tasks (class-incremental) or a head per task, which is trained as one layer of all outputs and
asked among the task's own at test time; with one head for all domains no class is ever new.

The network of the first task is trained with the sigmoid loss as well, and not taken from the
source model, whose outputs are those of a softmax. Distillation asks for the outputs of the
network before the task, which counts as carried.

Deviations. Means are those of exemplars, without their mirror images; slots that do not divide
evenly go round. Batches are drawn from the union in one order, in as many steps as other methods
make on the task alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.tasks import Scale, Task
from clsweep.methods.base import Batch, LearntTask, Memory, Method, Note, Phase, Prepared
from clsweep.methods.exemplar_hypers import IcarlHyper
from clsweep.methods.parts import buffer, filling
from clsweep.methods.parts.training_sets import with_stored
from clsweep.nets.net import Net
from clsweep.nets.parameter_trees import Params

_MEANS = "exemplar_means"
_FAR = 1e3  # where the mean of a class without exemplars lies: no feature of norm 1 is near
_CHUNK_ROWS = 1024


def build(net: Net, hyper: IcarlHyper) -> Method:
    """The hooks of iCaRL; its memory is a buffer and the network before the task."""
    own = net._replace(init=lambda rng: _with_means(net, rng))

    def begin(params: Params) -> Memory:
        slots = filling.empty_for(net, params, hyper.memory_size)
        return {"slots": slots, "teacher": _without_means(params)}

    def prepare(params: Params, memory: Memory, task: Task, rng: torch.Generator) -> Prepared:
        return Prepared(params, memory, with_stored(task, memory["slots"]))

    def opened(params: Params, memory: Memory, task: int) -> Params:
        return _without_means(params)

    def note(params: Params, memory: Memory, task: int) -> Note:
        def old_outputs(x: Tensor) -> dict[str, Tensor]:
            if task == 0:
                return {}
            return {"old": outputs(net, memory["teacher"], x, task - 1).sigmoid()}

        return old_outputs

    def loss(full: Params, memory: Memory, batch: Batch, task: int) -> Tensor:
        z = outputs(net, full, batch.x, task)
        classes = batch.y
        if net.heads.scenario == "task":
            classes = batch.y + _first_classes(net, batch, task)
        return sigmoid_loss(z, classes, batch.noted.get("old"), batch)

    def fit(params: Params, memory: Memory, learnt: LearntTask) -> tuple[Params, Memory]:
        def rank(members: Tensor, n: int) -> Tensor:
            raw = learnt.task.train.raw(members)
            return members[herded(_features(net, params, raw, learnt.scale), n)]

        slots = buffer.ranked(memory["slots"], learnt.task, rank)
        means = _class_means(net, params, slots, learnt.scale)
        return {**params, _MEANS: means}, {**memory, "slots": slots}

    def absorb(params: Params, memory: Memory, statistics: Params, learnt: LearntTask) -> Memory:
        return {**memory, "teacher": _without_means(params)}

    def predict(params: Params, x: Tensor, task: int) -> Tensor:
        start, stop = net.heads.columns(task)
        phi = F.normalize(net.features(params, x).flatten(1), dim=1)
        return -(phi[:, None] - params[_MEANS][None, start:stop]).square().sum(2)

    phase = Phase("train", loss, prepare=prepare, open=opened, note=note)
    return Method(
        own,
        hyper,
        (phase,),
        adds_params=True,
        predict=predict,
        begin=begin,
        fit=fit,
        absorb=absorb,
    )


def outputs(net: Net, params: Params, x: Tensor, task: int) -> Tensor:
    """The outputs of all classes up to a task, [B, K].

    Args:
        net: the network.
        params: its parameters.
        x: inputs [B, ...].
        task: the newest.
    """
    h = net.features(params, x)
    if net.heads.scenario != "task":
        return net.head(params, h, task)
    return torch.cat([net.head(params, h, k) for k in range(task + 1)], 1)


def sigmoid_loss(z: Tensor, classes: Tensor, old: Tensor | None, batch: Batch) -> Tensor:
    """Mean over batch and classes of the binary cross-entropies, shape ().

    Args:
        z: logits of all classes, [B, K].
        classes: of the examples, int64 [B].
        old: probabilities of the first classes before the task, [B, K']; None on the first.
        batch: holds the smoothing ε of labels, and weights.
    """
    labels = (classes[:, None] == torch.arange(z.shape[1], device=z.device)).to(z.dtype)
    targets = (1 - batch.smoothing) * labels + batch.smoothing / z.shape[1]
    if old is not None:
        targets = torch.cat([old, targets[:, old.shape[1] :]], 1)
    each = F.binary_cross_entropy_with_logits(z, targets, reduction="none").mean(1)
    return each.mean() if batch.weights is None else (batch.weights * each).mean()


def herded(phi: Tensor, n: int) -> Tensor:
    """Positions of n examples whose running mean stays closest to that of all, int64 [n].

    Args:
        phi: features, [N, d].
        n: at most N.
    """
    mean, total = phi.mean(0), torch.zeros_like(phi[0])
    lengths, chosen = phi.square().sum(1), list[Tensor]()
    for k in range(1, n + 1):
        # ‖k μ − Σ − φ‖² without what is the same for all.
        far = lengths - 2 * phi @ (k * mean - total)
        if chosen:
            far[torch.stack(chosen)] = float("inf")
        best = far.argmin()
        chosen.append(best)
        total = total + phi[best]
    return torch.stack(chosen) if chosen else torch.zeros(0, dtype=torch.int64, device=phi.device)


def _first_classes(net: Net, batch: Batch, task: int) -> Tensor:
    """The first class of each example's task, where every task has its own."""
    tasks = torch.full_like(batch.y, task) if batch.tasks is None else batch.tasks
    first = torch.zeros_like(batch.y)
    for k, size in enumerate(net.heads.sizes[:task], 1):
        first = first + size * (tasks >= k)
    return first


def _features(net: Net, params: Params, raw: Tensor, scale: Scale) -> Tensor:
    """φ of stored inputs, [N, d]."""
    with torch.no_grad():
        parts = [net.features(params, scale(part)).flatten(1) for part in raw.split(_CHUNK_ROWS)]
    return F.normalize(torch.cat(parts), dim=1)


def _class_means(net: Net, params: Params, stored: buffer.Buffer, scale: Scale) -> Tensor:
    """μ of every class, [C, d]."""
    n = stored.n_filled
    classes = stored.labels[:n]
    if net.heads.scenario == "task":
        starts = [net.heads.columns(k)[0] for k in range(len(net.heads.sizes))]
        classes = classes + torch.tensor(starts, device=classes.device)[stored.tasks[:n]]
    phi, means = _features(net, params, stored.raw[:n], scale), params[_MEANS]
    sums = torch.zeros_like(means).index_add(0, classes, phi)
    is_there = torch.bincount(classes, minlength=len(means))[:, None] > 0
    return torch.where(is_there, F.normalize(sums, dim=1), _FAR)


def _with_means(net: Net, rng: torch.Generator) -> Params:
    params = net.init(rng)
    shape = net.features(params, torch.zeros(2, *net.input_shape)).flatten(1).shape
    return {**params, _MEANS: torch.full((net.heads.n_outputs, shape[1]), _FAR)}


def _without_means(params: Params) -> Params:
    return {name: value for name, value in params.items() if name != _MEANS}
