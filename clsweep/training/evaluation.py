"""Between two tasks: whether a network has learnt at all, and its accuracy on every task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from clsweep.data.tasks import Examples, TaskSequence
from clsweep.methods.parts.losses import half_squared_error, mean_loss
from clsweep.nets.net import Net
from clsweep.nets.norms import is_statistic
from clsweep.nets.parameter_trees import Params
from clsweep.records.accuracy import AccuracyRow
from clsweep.records.schema import SPLITS
from clsweep.text import number_text
from clsweep.training.divergence import Diverged
from clsweep.training.learnt_models import Predict

# Large enough that the calls cost next to nothing, small enough for the processor's cache.
CHUNK_ROWS = 1024


def check_learnt(
    net: Net, before: Params, after: Params, sequence: TaskSequence, task: int
) -> None:
    """Tell a diverged network from one that merely learnt little.

    Chance prediction costs ln K; of a regression, predicting the mean target costs half the
    targets' variance. A network that costs twenty times that on the task it has just
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
    chance = _chance(sequence, task)
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
    """Mean loss of up to 512 training examples of a task."""
    data = sequence.tasks[task].train
    rows = torch.arange(min(512, len(data)), device=data.labels.device)
    with torch.inference_mode():
        logits = net.apply(params, sequence.scale(data.raw(rows)), task)
        return float(mean_loss(logits, data.labels[rows]))


def _chance(sequence: TaskSequence, task: int) -> float:
    """Mean loss of a network that has learnt nothing but how often, or how large."""
    if not sequence.heads.is_regression:
        return math.log(max(2, sequence.tasks[task].n_classes))
    targets = sequence.tasks[task].train.labels
    return float(half_squared_error(targets.mean(0), targets).mean())


def evaluate(
    predict: Predict,
    params: Params,
    sequence: TaskSequence,
    after_task: int,
    splits: Sequence[str] = SPLITS,
) -> list[AccuracyRow]:
    """Exact counts of correct predictions, on validation and test examples.

    Of a regression, the sums from which metrics are computed, see `records.metrics`. Covers every
    task learnt so far; with one shared head also the next task, for forward transfer, and before
    any training (`after_task` −1) all tasks.

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
            place = (after_task, on_task, split)
            outputs = _outputs(predict, params, sequence, examples, head)
            if sequence.heads.is_regression:
                rows.append((*place, *_sums(outputs, examples, place), sequence.heads.metric))
                continue
            n_correct = torch.zeros((), dtype=torch.int64, device=examples.labels.device)
            for part, logits in outputs:
                n_correct += (logits.argmax(1) == examples.labels[part]).sum()
            rows.append((*place, int(n_correct), len(examples)))
    return rows


def _outputs(
    predict: Predict, params: Params, sequence: TaskSequence, examples: Examples, head: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions of some examples, and what is predicted of them, until all have come."""
    index = torch.arange(len(examples), device=examples.labels.device)
    for part in index.split(examples.rows_at_once(CHUNK_ROWS)):
        with torch.inference_mode():
            found = predict(params, sequence.scale(examples.raw(part)), head)
        # Outside, or whoever asks for the next would go on in inference mode.
        yield part, found


def _sums(
    outputs: Iterable[tuple[Tensor, Tensor]], examples: Examples, place: tuple[int, int, str]
) -> tuple[float, int, float, float]:
    """Σ ‖y − ŷ‖², n, Σ ‖y − ŷ‖⁴ and Σ ‖y − ȳ‖², in double precision.

    Raises:
        Diverged: they are not finite.
    """
    y = examples.labels.double()
    each = torch.empty(len(y), dtype=torch.float64, device=y.device)
    for part, predicted in outputs:
        each[part] = (predicted.double() - y[part]).square().sum(1)
    error, fourth = float(each.sum()), float(each.square().sum())
    if not math.isfinite(fourth):
        after, on, split = place
        raise Diverged(
            f"after task {after + 1} the squared error on task {on + 1} ({split}) is {error:.3g}"
        )
    return error, len(y), fourth, float((y - y.mean(0)).square().sum())
