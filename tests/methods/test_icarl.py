"""iCaRL: herding against brute force, the nearest mean and the sigmoid loss by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from clsweep import methods
from clsweep.data.rng import generator
from clsweep.data.tasks import TaskSequence
from clsweep.errors import StudyError
from clsweep.methods.base import Batch, LearntTask, Method
from clsweep.methods.exemplar_hypers import IcarlHyper
from clsweep.methods.icarl import herded, outputs, sigmoid_loss
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.net import Net
from clsweep.study.study import load_study


def built(sequence: TaskSequence, size: int) -> tuple[Net, Method]:
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    return net, methods.build("icarl", net, IcarlHyper(memory_size=size))


def phi_of(net: Net, params: dict, sequence: TaskSequence, raw: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(net.features(params, sequence.scale(raw)).flatten(1))


def test_herding_is_brute_force() -> None:
    phi = torch.randn(30, 4, generator=generator(0, "phi"), dtype=torch.float64)
    mean, chosen = phi.mean(0), list[int]()
    for k in range(1, 13):
        total = phi[chosen].sum(0)
        far = {
            x: float((mean - (phi[x] + total) / k).norm()) for x in range(30) if x not in chosen
        }
        chosen.append(min(far, key=lambda x: far[x]))
    assert herded(phi, 12).tolist() == chosen
    assert sorted(herded(phi, 30).tolist()) == list(range(30))
    assert herded(phi, 0).tolist() == []


def test_the_loss_by_hand() -> None:
    z = torch.tensor([[0.5, -1.0, 2.0, 0.0], [1.5, 0.3, -0.2, 0.7]])
    old = torch.tensor([[0.9, 0.2], [0.4, 0.6]])
    classes = torch.tensor([3, 1])  # the second is an exemplar of an old class
    targets = [[0.9, 0.2, 0.0, 1.0], [0.4, 0.6, 0.0, 0.0]]
    total = 0.0
    for row, wanted in zip(z.tolist(), targets, strict=True):
        for value, target in zip(row, wanted, strict=True):
            p = 1 / (1 + math.exp(-value))
            total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    batch = Batch(z, classes, z, None, {})
    assert float(sigmoid_loss(z, classes, old, batch)) == pytest.approx(total / 8)
    first = sigmoid_loss(z, classes, None, batch)
    labels = torch.nn.functional.one_hot(classes, 4).float()
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(z, labels)
    torch.testing.assert_close(first, wanted)


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_exemplars_are_the_first_of_their_class_and_the_nearest_mean_wins(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net, method = built(sequence, 12)
    fresh = method.net.init(generator(0, "init"))
    memory = method.begin(fresh)
    nets = [method.net.init(generator(seed, "init")) for seed in range(2)]
    firsts: list[torch.Tensor] = []
    for index, params in enumerate(nets):
        task = sequence.tasks[index]
        learnt = LearntTask(task, sequence.scale, None, 9, generator(0, "fit", index))
        params, memory = method.fit({**fresh, **params}, memory, learnt)
        stored = memory["slots"]
        for label in task.train.labels.unique().tolist():
            members = (task.train.labels == label).nonzero().flatten()
            raw = task.train.raw(members)
            here = (stored.tasks == index) & (stored.labels == label)
            n = 12 // (2 * (index + 1))
            assert int(here.sum()) == n
            best = herded(phi_of(net, params, sequence, raw), n)
            assert torch.equal(stored.raw[here], raw[best])
        if index == 0:
            firsts = [stored.raw[stored.labels == k] for k in stored.labels.unique()]
    for label, before in zip(stored.labels[stored.tasks == 0].unique(), firsts, strict=True):
        here = (stored.tasks == 0) & (stored.labels == label)
        assert torch.equal(stored.raw[here], before[:3])  # cut from the end
    x = sequence.tasks[1].test.raw(torch.arange(10))
    for task in range(2):
        head = task if scenario == "task" else 1
        found = method.predict(params, sequence.scale(x), head).argmax(1)
        candidates = stored.tasks == task if scenario == "task" else stored.tasks >= 0
        means = {}
        for label in stored.labels[candidates].unique().tolist():
            own = phi_of(net, params, sequence, stored.raw[candidates & (stored.labels == label)])
            means[label] = own.mean(0) / own.mean(0).norm()
        for phi, label in zip(phi_of(net, params, sequence, x), found.tolist(), strict=True):
            far = {k: float((phi - mean).norm()) for k, mean in means.items()}
            assert far[label] <= min(far.values()) + 1e-6


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_old_outputs_are_held_on_new_examples_and_exemplars(
    scenario: str, short_sequences: dict[str, TaskSequence]
) -> None:
    sequence = short_sequences[scenario]
    net, method = built(sequence, 6)
    old = method.net.init(generator(0, "init"))
    (phase,) = method.phases
    memory = {**method.begin(old), "teacher": net.init(generator(3, "init"))}
    full = net.init(generator(1, "init"))
    data = sequence.tasks[1].train
    raw, y = data.raw(torch.arange(3)), data.labels[torch.arange(3)]
    first = sequence.tasks[0].train
    raw = torch.cat([raw, first.raw(torch.arange(2))])
    y, tasks = torch.cat([y, first.labels[:2]]), torch.tensor([1, 1, 1, 0, 0])
    x = sequence.scale(raw)
    noted = phase.note(old, memory, 1)(x)
    teacher = outputs(net, memory["teacher"], x, 0).sigmoid()
    torch.testing.assert_close(noted["old"], teacher)
    batch = Batch(x, y, raw, sequence.scale, {}, tasks, noted)
    z = outputs(net, full, x, 1)
    assert z.shape == (5, 4)
    classes = y + 2 * tasks if scenario == "task" else y
    wanted = sigmoid_loss(z, classes, teacher, batch)
    torch.testing.assert_close(phase.loss(full, memory, batch, 1), wanted)


def test_domains_are_refused_with_the_reason(tmp_path: Path) -> None:
    study = """
        name = "refused"
        benchmark = { name = "permuted", n_tasks = 2, scenario = "domain" }
        methods = [{ name = "icarl" }]
    """
    (tmp_path / "s.toml").write_text(study)
    with pytest.raises(StudyError, match="'domain': with one head for all domains no class is"):
        load_study(tmp_path / "s.toml")
