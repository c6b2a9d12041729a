"""Classes of unequal size: weights and orders by hand, and training against a plain loop."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.benchmarks import build
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, joined
from clsweep.methods.base import Batch
from clsweep.methods.parts.losses import label_loss, padded_label_loss, plain_phase
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.study.configurations import configurations
from clsweep.study.study import parse_study
from clsweep.training.batches import Order, batches
from clsweep.training.class_balance import class_weights, epoch_orders
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase


class Labels:
    """Examples that have labels alone."""

    def __init__(self, labels: list[int], tasks: list[int] | None = None) -> None:
        self.labels = torch.tensor(labels)
        self.task_of = None if tasks is None else torch.tensor(tasks)

    def __len__(self) -> int:
        return len(self.labels)

    def rows_at_once(self, most: int) -> int:
        return most

    def raw(self, index: torch.Tensor) -> torch.Tensor:
        return index.to(torch.uint8).view(-1, 1, 1, 1)


UNEVEN = [0] * 6 + [1] * 3 + [5]


def test_weights_are_inverse_frequencies_whose_mean_is_one() -> None:
    weights = class_weights(Labels(UNEVEN))
    # 10 examples and 3 classes: 10 / 18, 10 / 9, 10 / 3.
    expected = [10 / 18] * 6 + [10 / 9] * 3 + [10 / 3]
    torch.testing.assert_close(weights, torch.tensor(expected))
    assert float(weights.mean()) == pytest.approx(1)
    assert class_weights(Labels([3, 4, 3, 4])).tolist() == [1.0] * 4
    # The same label in two tasks is two classes under joint training.
    joint = class_weights(Labels([0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]))
    torch.testing.assert_close(joint, torch.tensor([2 / 3] * 3 + [2.0] + [1.0] * 2))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_classes(smoothing: float) -> None:
    data = Labels(UNEVEN)
    logits = torch.randn(10, 6, generator=generator(0, "logits"))
    each = F.cross_entropy(logits, data.labels, reduction="none", label_smoothing=smoothing)
    by_class = [each[data.labels == c].mean() for c in (0, 1, 5)]
    expected = torch.stack(by_class).mean()
    scale = Scale(torch.ones(1), torch.zeros(1))
    batch = Batch(logits, data.labels, logits, scale, {}, None, {}, smoothing, class_weights(data))
    torch.testing.assert_close(label_loss(logits, batch), expected)
    padded = F.pad(logits, (0, 2), value=float("-inf"))
    found = padded_label_loss(padded, data.labels, smoothing, batch.weights)
    torch.testing.assert_close(found, expected)


def orders(data: Labels, n_steps: int, seed: int = 0) -> list[torch.Tensor]:
    return list(epoch_orders(data, "resample", seed, 0, 4, n_steps))


def test_an_epoch_shows_every_class_alike_often() -> None:
    data = Labels(UNEVEN)
    found = orders(data, 3 * 8)
    assert [len(order) for order in found] == [10] * 8
    shown = [Counter(data.labels[order].tolist()) for order in found]
    assert all(sorted(counts.values()) == [3, 3, 4] for counts in shown)
    # Which class has one more differs between epochs.
    assert len({max(counts, key=counts.__getitem__) for counts in shown}) > 1
    for order in found:
        rows = Counter(order.tolist())
        assert max(rows[row] for row in range(6)) == 1  # of six, three or four: none twice
        assert sorted(rows[row] for row in (6, 7, 8)) in ([1, 1, 1], [1, 1, 2])
        assert rows[9] in (3, 4)
    assert len({tuple(order.tolist()) for order in found}) == 8
    assert {row for order in found for row in order.tolist()} == set(range(10))


def test_orders_are_drawn_by_seed_and_epoch_alone() -> None:
    data = Labels(UNEVEN)
    assert all(torch.equal(a, b) for a, b in zip(orders(data, 6), orders(data, 9), strict=False))
    assert not torch.equal(orders(data, 3)[0], orders(data, 3, seed=1)[0])
    (cut,) = orders(data, 2)
    assert torch.equal(cut, orders(data, 3)[0][:8])
    plain = [*epoch_orders(data, "none", 0, 0, 4, 6)]
    weighted = [*epoch_orders(data, "weights", 0, 0, 4, 6)]
    assert all(torch.equal(a, b) for a, b in zip(plain, weighted, strict=True))


def test_more_classes_than_an_epoch_shows() -> None:
    (order,) = epoch_orders(Labels([0, 1, 2, 3, 4]), "resample", 0, 0, 2, 1)
    assert len(set(order.tolist())) == 2


def test_notes_are_of_the_examples_that_are_shown() -> None:
    data, scale = Labels(UNEVEN), Scale(torch.ones(1), torch.zeros(1))
    order = Order(0, 0, 4, 9, "none", balance="resample")
    for _, chunk in batches(data, scale, order, lambda *_: {}, lambda x: {"twice": 2 * x}):
        for batch in chunk:
            assert torch.equal(batch.noted["twice"], 2 * batch.x)


@pytest.mark.parametrize("balance", ["weights", "resample"])
def test_training_is_a_plain_loop(balance: str) -> None:
    sequence = build(SplitBenchmark(examples_per_task=40), None, seed=0)
    task = sequence.tasks[0]
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads, None)
    params = net.init(generator(0, "init"))
    training = TrainingConfig(lr=0.1, batch_size=8, class_balance=balance)
    setting = Setting(net, sequence.scale, training, 0)
    run = train_phase(plain_phase(net), State(params, {}), task.train, setting, task=0, n_steps=7)
    weights = class_weights(task.train)
    own = {name: value.clone().requires_grad_() for name, value in params.items()}
    for order in epoch_orders(task.train, balance, 0, 0, 8, 7):
        for rows in order.split(8):
            logits = net.apply(own, sequence.scale(task.train.raw(rows)), 0)
            each = F.cross_entropy(logits, task.train.labels[rows], reduction="none")
            loss = (weights[rows] * each).mean() if balance == "weights" else each.mean()
            grads = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
            with torch.no_grad():
                for value, grad in zip(own.values(), grads, strict=True):
                    if grad is not None:
                        value -= 0.1 * grad
    for name, value in own.items():
        torch.testing.assert_close(run.params[name], value.detach(), rtol=0, atol=1e-6)


def test_joint_training_balances_the_classes_of_all_tasks() -> None:
    union = joined(build(SplitBenchmark(n_tasks=5, examples_per_task=30), None, seed=0))
    weights, keys = class_weights(union), union.task_of * 10 + union.labels
    sums = [float(weights[keys == key].sum()) for key in keys.unique()]
    assert sums == pytest.approx([len(union) / 10] * 10)


def test_the_default_is_in_no_identity_and_a_balance_is() -> None:
    text = 'name = "s"\n[benchmark]\nname = "split"\n{training}[[methods]]\nname = "ewc"\n'
    found = [
        [c.id for c in configurations(parse_study(text.format(training=training)))]
        for training in (
            "",
            '[training]\nclass_balance = "none"\n',
            '[training]\nclass_balance = "weights"\n',
            '[training]\nclass_balance = "resample"\n',
        )
    ]
    assert found[0] == found[1]
    assert len({ids[0] for ids in found}) == 3
    assert SimpleNamespace(**TrainingConfig().model_dump()).class_balance == "none"
