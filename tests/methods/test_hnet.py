"""Hypernetworks as a method: loss, memory, inference of the task, look-ahead, refusals."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data import benchmarks
from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.errors import MethodError
from clsweep.methods import hnet
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.hypernetwork_hypers import HnetHyper
from clsweep.methods.parts.heads import owned_parameters
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import Params, without_prefix
from clsweep.training.config import TrainingConfig
from clsweep.training.engine import Setting, State, train_phase
from clsweep.training.learnt_models import LearntSequence
from clsweep.training.sequences import learn_sequence

SIZES = {"hidden": "6-5", "task_embedding": 4, "chunk_embedding": 3}
HYPER = HnetHyper(beta=0.5, chunk_size=20, **SIZES)
ONE = Scale(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))


def learnt(
    sequence: TaskSequence, hyper: HnetHyper, training: TrainingConfig, width: int = 20
) -> LearntSequence:
    net = build_net(NetConfig(hidden=(width,)), sequence.input_shape, sequence.heads)
    return learn_sequence(methods.build("hnet", net, hyper), sequence, training, 0, None, {})


class Parts:
    """A net of three tasks, of which two have been learnt."""

    def __init__(self, scenario: str, hyper: HnetHyper = HYPER) -> None:
        self.net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads(scenario, (2, 2, 2)))
        self.method = methods.build("hnet", self.net, hyper)
        self.network = self.method.net
        self.params, self.old = (self.network.init(generator(k, "init")) for k in (0, 1))
        shapes = {n: tuple(v.shape) for n, v in self.net.init(generator(0, "s")).items()}
        self.hypernet = hnet.Hypernet(shapes, 3, (6, 5), "relu", 4, 3, 20)
        empty = self.method.begin(self.old)["weights"]
        stored = self.hypernet.snapshot(without_prefix(self.old, hnet.MAIN), empty, 2)
        self.memory = {"weights": stored}
        x = torch.rand(4, 1, 2, 2, generator=generator(0, "x"))
        self.y = torch.tensor([0, 1, 1, 0])
        self.batch = Batch(x, self.y + self.net.heads.label_offset(2), x, ONE, {})

    def generated(self, task: int) -> Params:
        return self.hypernet.generated(without_prefix(self.params, hnet.MAIN), task)

    def own_logits(self, x: Tensor, task: int) -> Tensor:
        """Two logits: of the task's own classes, under its own network."""
        return self.net.apply(self.generated(task), x, task)[:, -2:]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_loss_by_hand(scenario: str) -> None:
    """Cross-entropy over the task's own classes, and β times the mean over two old tasks."""
    parts = Parts(scenario)
    new = F.cross_entropy(parts.own_logits(parts.batch.x, 2), parts.y)
    moved = [
        (
            torch.cat([v.flatten() for v in parts.generated(k).values()])
            - parts.memory["weights"][k]
        )
        for k in range(2)
    ]
    expected = new + 0.5 * (moved[0].square().sum() + moved[1].square().sum()) / 2
    found = parts.method.phases[0].loss(parts.params, parts.memory, parts.batch, 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_the_surest_network_answers(scenario: str) -> None:
    """Entropy by a loop over single examples; sure networks, with p = 0, included."""
    parts = Parts(scenario)
    x = torch.rand(30, 1, 2, 2, generator=generator(5, "x")) * 4 - 2
    found = parts.method.predict(parts.params, x, 2)
    offset = [0, 2, 4] if scenario == "class" else [0, 0, 0]
    answers = set()
    for i in range(len(x)):
        logits = [parts.own_logits(x[i : i + 1], k)[0] for k in range(3)]
        entropies = [float(-(z.softmax(0) * z.log_softmax(0)).sum()) for z in logits]
        k = min(range(3), key=lambda k: entropies[k])
        answers.add(k)
        expected = offset[k] + int(logits[k].argmax())
        assert int(found[i].argmax()) == expected
        assert torch.isfinite(found[i]).sum() == 2
    assert len(answers) > 1


def test_no_entropy_of_a_certain_network_is_nan() -> None:
    parts = Parts("domain")
    sure = {n: v * 1e4 if n.endswith("2.weight") else v for n, v in parts.params.items()}
    found = parts.method.predict(sure, parts.batch.x, 2)
    assert torch.isfinite(found).all()
    assert (found.softmax(1).min(1).values == 0).any()


def test_a_given_task_is_not_inferred() -> None:
    parts = Parts("task")
    for k in range(3):
        found = parts.method.predict(parts.params, parts.batch.x, k)
        torch.testing.assert_close(found, parts.own_logits(parts.batch.x, k))


def test_absorb_stores_what_old_embeddings_generate_now(
    sequences: dict[str, TaskSequence],
) -> None:
    parts = Parts("class")
    task = sequences["class"].tasks[1]
    data = LearntTask(task, ONE, None, 0, generator(0, "absorb"))
    memory = parts.method.absorb(parts.params, parts.memory, {}, data)
    for k in range(2):
        flat = torch.cat([v.flatten() for v in parts.generated(k).values()])
        torch.testing.assert_close(memory["weights"][k], flat)
    value = parts.hypernet.penalty(
        without_prefix(parts.params, hnet.MAIN), memory["weights"], 2, {}
    )
    assert float(value) == 0


def test_old_networks_stay_under_a_huge_penalty_and_move_without(
    sequences: dict[str, TaskSequence],
) -> None:
    """Distance of the first task's generated weights, over that of the second's."""
    sequence, moved = sequences["task"], {}
    net = build_net(NetConfig(hidden=(20,)), sequence.input_shape, sequence.heads)
    data = LearntTask(sequence.tasks[0], sequence.scale, None, 0, generator(0, "absorb"))
    for beta in (0.0, 1e4):
        hyper = HnetHyper(beta=beta, chunk_size=400, **SIZES)
        method = methods.build("hnet", net, hyper)
        start = method.net.init(generator(0, "init"))
        memory = method.absorb(start, method.begin(start), {}, data)
        training = TrainingConfig(optimizer="adam", lr=0.003, batch_size=20)
        end = train_phase(
            method.phases[0],
            State(start, memory),
            sequence.tasks[1].train,
            Setting(method.net, sequence.scale, training, 0),
            task=1,
            n_steps=60,
        ).params
        flat = [method.absorb(p, memory, {}, data)["weights"][0] for p in (start, end)]
        moved[beta] = float((flat[1] - flat[0]).norm() / flat[0].norm())
    assert moved[0.0] > 0.3
    assert moved[1e4] < 0.05 * moved[0.0]


def test_embeddings_of_other_tasks_are_not_stepped() -> None:
    parts = Parts("task")
    opened = parts.method.phases[0].open(parts.params, parts.memory, 1)
    assert parts.params.keys() - opened.keys() == {
        f"{hnet.MAIN}embeddings.0",
        f"{hnet.MAIN}embeddings.2",
    }


def test_look_ahead_takes_the_penalty_where_the_step_would_lead() -> None:
    parts = Parts("task", HYPER.model_copy(update={"look_ahead": True}))
    phase = parts.method.phases[0]
    plain = F.cross_entropy(parts.own_logits(parts.batch.x, 2), parts.y)
    found = phase.loss(parts.params, parts.memory, parts.batch, 2)
    torch.testing.assert_close(found, plain)
    opened = phase.open(parts.params, parts.memory, 2)
    grads = {name: torch.full_like(value, 0.01) for name, value in opened.items()}
    ahead = {n: v - 0.3 * grads[n] if n in grads else v for n, v in parts.params.items()}
    steered = phase.foresee(grads, ahead, parts.memory, parts.batch, 2)
    leaves = {n: ahead[n].clone().requires_grad_() for n in grads}
    held = without_prefix({**ahead, **leaves}, hnet.MAIN)
    value = 0.5 * parts.hypernet.penalty(held, parts.memory["weights"], 2, {})
    pull = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    for (name, grad), extra in zip(grads.items(), pull, strict=True):
        expected = grad if extra is None else grad + extra
        torch.testing.assert_close(steered[name], expected)


def test_compression_ratio_is_counted(sequences: dict[str, TaskSequence]) -> None:
    training = TrainingConfig(steps=1)
    hyper = HnetHyper(chunk_size=400, **SIZES)
    found = learnt(sequences["task"], hyper, training)
    n_target = 64 * 20 + 20 + 5 * 42
    n_hypernet = sum(value.numel() for value in found.params.values())
    assert found.counters == {"compression_ratio": n_hypernet / n_target}


IMAGE_NETS = {
    "resnet32, group": NetConfig(name="resnet32", depth=8, base_maps=4, norm="group"),
    "resnet32, none": NetConfig(name="resnet32", depth=8, base_maps=4, norm="none"),
    "resnet18, group": NetConfig(name="resnet18", base_maps=4, norm="group"),
    "resnet18, none": NetConfig(name="resnet18", base_maps=4, norm="none"),
    "conv, group": NetConfig(name="conv", channels=(4, 8), width=16, norm="group"),
    "conv, none": NetConfig(name="conv", channels=(4, 8), width=16, norm="none"),
}


@pytest.mark.parametrize(
    "config",
    [
        # The two kinds of residual networks differ in nothing that a hypernetwork sees but size.
        pytest.param(net, marks=[pytest.mark.slow] if "resnet18" in name else [], id=name)
        for name, net in IMAGE_NETS.items()
    ],
)
def test_convolutional_networks_are_generated_and_trained(config: NetConfig) -> None:
    """All parameters, with those of norms, come from the embedding, and learn a task."""
    digits = SplitBenchmark(
        name="split", dataset="digits", n_tasks=5, scenario="task", examples_per_task=60, pad=1
    )
    sequence = benchmarks.build(digits, None, 0)
    sequence = dataclasses.replace(sequence, tasks=sequence.tasks[:1])
    net = build_net(config, sequence.input_shape, sequence.heads)
    method = methods.build("hnet", net, HnetHyper(beta=0.01, chunk_size=500, hidden="20-20"))
    network = method.net
    params = network.init(generator(0, "init"))
    x = sequence.scale(sequence.tasks[0].test.raw(torch.arange(6)))
    shapes = {n: tuple(v.shape) for n, v in net.init(generator(0, "s")).items()}
    made = hnet.Hypernet(shapes, 5, (20, 20), "relu", 96, 96, 500)
    by_hand = net.apply(made.generated(without_prefix(params, hnet.MAIN), 1), x, 1)
    torch.testing.assert_close(network.apply(params, x, 1), by_hand)
    training = TrainingConfig(optimizer="adam", lr=0.001, batch_size=20, steps=150)
    found = learn_sequence(method, sequence, training, 0, None, {})
    (correct,) = [
        n / total for after, _, split, n, total in found.rows if (after, split) == (0, "test")
    ]
    assert correct > 0.9


def test_tasks_of_different_sizes_are_not_told_apart_by_entropies() -> None:
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads("class", (2, 3)))
    with pytest.raises(MethodError, match=r"\(2, 3\) classes(.|\n)*equally many"):
        methods.build("hnet", net, HYPER)


@pytest.mark.parametrize("numbers", [{}, {"penalty_tasks": 1}], ids=["all", "one"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_outputs_of_other_tasks_are_left_out_of_the_penalty(scenario: str, numbers: dict) -> None:
    """By a loop over the names: other heads, or their rows of the one head; all count in one."""
    parts = Parts(scenario, HYPER.model_copy(update={"penalty_heads": "own", **numbers}))
    batch = parts.batch._replace(draw={"penalty_keys": torch.tensor([0.3, 0.8, 0.9])})
    expected = []
    for k in range(2):
        before = parts.hypernet.shaped(parts.memory["weights"][k])
        total = torch.zeros(())
        for name, value in parts.generated(k).items():
            squares = (value - before[name]).square()
            if scenario == "class" and name.startswith("head."):
                squares = squares[2 * k : 2 * k + 2]
            if not name.startswith("heads.") or name.startswith(f"heads.{k}."):
                total = total + squares.sum()
        expected.append(total)
    mean = expected[1] if numbers else (expected[0] + expected[1]) / 2
    new = F.cross_entropy(parts.own_logits(batch.x, 2), parts.y)
    found = parts.method.phases[0].loss(parts.params, parts.memory, batch, 2)
    torch.testing.assert_close(found, new + 0.5 * mean)


def test_rows_of_a_layer_that_all_tasks_read_are_theirs_whatever_its_name() -> None:
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads("class", (2, 3)))
    shapes = {"hidden": (4,), "heads.1.weight": (5, 2), "heads.1.bias": (5,)}
    shared = net._replace(readout=lambda task: ("heads.1.weight", "heads.1.bias"))
    assert owned_parameters(shared, shapes) == ((4, -1), (4, 0), (6, 1), (2, 0), (3, 1))
    apart = net._replace(readout=lambda task: (f"last.{task}",))
    assert owned_parameters(apart, {"last.0": (2, 3), "last.1": (3, 3)}) == ((6, 0), (9, 1))


def test_outputs_of_no_known_layer_cannot_be_left_out() -> None:
    net = build_net(NetConfig(hidden=(5,)), (1, 2, 2), Heads("task", (2, 2)))
    unreadable = net._replace(readout=lambda task: ())
    hyper = HYPER.model_copy(update={"penalty_heads": "own"})
    with pytest.raises(MethodError, match="penalty_heads = 'own'"):
        methods.build("hnet", unreadable, hyper)


@pytest.mark.parametrize("look_ahead", [False, True])
def test_one_past_task_a_step_is_the_one_that_the_step_drew(look_ahead: bool) -> None:
    """Task 1 alone is pulled: what the method adds to the loss is β times its distance."""
    numbers = {"penalty_tasks": 1, "look_ahead": look_ahead}
    parts = Parts("task", HYPER.model_copy(update=numbers))
    phase = parts.method.phases[0]
    rng = generator(0, "draw")
    assert phase.draw(rng, parts.memory, 7, 4)["penalty_keys"].shape == (7, 3)
    keys = {"penalty_keys": torch.tensor([0.3, 0.8, 0.9])}
    batch = parts.batch._replace(draw=keys)
    held = without_prefix(parts.params, hnet.MAIN)
    names = [n for n in held if not n.startswith("embeddings.")]
    leaves = {n: held[n].clone().requires_grad_() for n in names}
    moved = parts.hypernet.flat({**held, **leaves}, range(1, 2))[0] - parts.memory["weights"][1]
    pull = torch.autograd.grad(0.5 * moved.square().sum(), list(leaves.values()))
    expected = dict(zip(names, pull, strict=True))
    opened = phase.open(parts.params, parts.memory, 2)
    if look_ahead:
        grads = {n: torch.zeros_like(v) for n, v in opened.items()}
        found = phase.foresee(grads, parts.params, parts.memory, batch, 2)
    else:
        leaves = {n: v.clone().requires_grad_() for n, v in opened.items()}
        full = {**parts.params, **leaves}
        new = F.cross_entropy(parts.network.apply(full, batch.x, 2), parts.y)
        loss = phase.loss(full, parts.memory, batch, 2) - new
        slopes = torch.autograd.grad(loss, list(leaves.values()))
        found = dict(zip(leaves, slopes, strict=True))
    for name, slope in expected.items():
        torch.testing.assert_close(found[hnet.MAIN + name], slope, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_with_the_pull_of_the_penalty_in_them(
    sequences: dict[str, TaskSequence],
) -> None:
    """A step of SGD with rate 1 is as long as the bound; with a wide one, as long as the sum."""
    sequence, lengths = sequences["task"], {}
    net = build_net(NetConfig(hidden=(20,)), sequence.input_shape, sequence.heads)
    method = methods.build(
        "hnet", net, HnetHyper(beta=3, chunk_size=400, look_ahead=True, **SIZES)
    )
    start = method.net.init(generator(0, "init"))
    memory = {"weights": method.begin(start)["weights"]}  # far away: the penalty is not 0
    for bound in (0.25, 1e9):
        training = TrainingConfig(optimizer="sgd", lr=1, batch_size=20, clip_norm=bound)
        setting = Setting(method.net, sequence.scale, training, 0)
        data, state = sequence.tasks[1].train, State(start, memory)
        end = train_phase(method.phases[0], state, data, setting, task=1, n_steps=1).params
        moved = [(end[name] - start[name]).square().sum() for name in start]
        lengths[bound] = float(torch.stack(moved).sum().sqrt())
    assert lengths[0.25] == pytest.approx(0.25, rel=1e-3)
    assert lengths[1e9] > 1
