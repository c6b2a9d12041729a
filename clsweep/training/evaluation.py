"""Between two tasks: whether a network has learnt at all, and its accuracy on every task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep.data.tasks import TaskSequence
from clsweep.nets.net import Net
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params
from clsweep.records.accuracy import AccuracyRow
from clsweep.records.schema import SPLITS
from clsweep.text import number_text
from clsweep.training.engine import Diverged

Predict = Callable[[Params, Tensor, int], Tensor]

# Large enough that the calls cost next to nothing, small enough for the processor's cache.
CHUNK_ROWS = 1024


def check_learnt(
    net: Net, before: Params, after: Params, sequence: TaskSequence, task: int
) -> None:
    """Tell a diverged network from one that merely learnt little.

    Chance prediction costs ln K. A network that costs twenty times that on the task it has just
    trained on, and twice what it cost before it did, oscillates instead of learning even if no
    number overflowed yet; so does one with a weight beyond 10⁴. (A network held at its source can
    be confidently wrong on a new task, hence the comparison with before.)

    Args:
        net: the network.
        before: its parameters when the task began.
        after: its parameters now.
        sequence: the tasks.
        task: index of the task just learnt.

    Raises:
        Diverged: one of the two holds.
    """
    check_weights(after, task)
    now, then = (_training_loss(net, params, sequence, task) for params in (after, before))
    chance = math.log(max(2, sequence.tasks[task].n_classes))
    if not now < max(20 * chance, 2 * then):
        raise Diverged(
            f"after task {task + 1} its own training loss is {now:.3g}; it was {then:.3g} before, "
            f"and chance costs {chance:.3g}"
        )


def check_weights(after: Params, task: int) -> None:
    """Refuse a network with a weight beyond 10⁴.

    Args:
        after: its parameters now.
        task: index of the task just learnt.

    Raises:
        Diverged: there is one.
    """
    weights = [value for name, value in after.items() if not is_statistic(name)]
    largest = max(float(value.abs().max()) for value in weights)
    if largest > 1e4:
        size = number_text(float(f"{largest:.3g}"))
        raise Diverged(f"a parameter grew to {size} by the end of task {task + 1}")


def _training_loss(net: Net, params: Params, sequence: TaskSequence, task: int) -> float:
    """Mean cross-entropy of up to 512 training examples of a task."""
    data = sequence.tasks[task].train
    rows = torch.arange(min(512, len(data)), device=data.labels.device)
    with torch.inference_mode():
        logits = net.apply(params, sequence.scale(data.raw(rows)), task)
        return float(F.cross_entropy(logits, data.labels[rows]))


def evaluate(
    predict: Predict,
    params: Params,
    sequence: TaskSequence,
    after_task: int,
    splits: Sequence[str] = SPLITS,
) -> list[AccuracyRow]:
    """Exact counts of correct predictions, on validation and test examples.

    Covers every task learnt so far; with one shared head also the next task, for forward transfer,
    and before any training (`after_task` −1) all tasks.

    Args:
        predict: (params, x, task) -> logits; `net.apply`, or what a method makes of it.
        params: the parameters.
        sequence: the tasks.
        after_task: index of the last task learnt, −1 for none.
        splits: of `schema.SPLITS`, which to test.
    """
    n_tasks = len(sequence.tasks)
    scenario = sequence.heads.scenario
    seen = list(range(after_task + 1))
    if scenario == "domain":
        seen = list(range(n_tasks if after_task < 0 else min(after_task + 2, n_tasks)))
    rows: list[AccuracyRow] = []
    for on_task in seen:
        head = on_task if scenario == "task" else max(after_task, 0)
        task = sequence.tasks[on_task]
        for split in splits:
            examples = task.validation if split == "validation" else task.test
            n_correct = torch.zeros((), dtype=torch.int64, device=examples.labels.device)
            index = torch.arange(len(examples), device=examples.labels.device)
            with torch.inference_mode():
                for part in index.split(examples.rows_at_once(CHUNK_ROWS)):
                    logits = predict(params, sequence.scale(examples.raw(part)), head)
                    n_correct += (logits.argmax(1) == examples.labels[part]).sum()
            rows.append((after_task, on_task, split, int(n_correct), len(examples)))
    return rows
