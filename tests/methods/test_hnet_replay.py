"""Replay from protected decoders: weights, heads, closed-form gradient, a perfect generator."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsweep import methods
from clsweep.data.heads import Heads
from clsweep.data.rng import generator
from clsweep.data.tasks import Scale, TaskSequence
from clsweep.methods import hnet_replay
from clsweep.methods.base import Batch, LearntTask
from clsweep.methods.hypernetwork_hypers import HnetReplayHyper
from clsweep.methods.hypers import NoHyper
from clsweep.methods.parts.protected_generator import DECODERS, GENERATOR, generator_of
from clsweep.nets.build import build_net
from clsweep.nets.config import NetConfig
from clsweep.nets.parameter_trees import without_prefix
from clsweep.training.config import TrainingConfig
from clsweep.training.sequences import learn_joint, learn_sequence, learn_source
from tests.methods.cases import SMALL_GENERATOR

HYPER = HnetReplayHyper(weight=0.3, **SMALL_GENERATOR)
SCALE = Scale(torch.full((1, 1, 1), 0.02), torch.full((1, 1, 1), -1.5))
GREYS = torch.tensor([0.3, 0.8])


class Parts:
    """A net of three tasks in the middle of learning the third.

    The stored decoders are perfect generators of tasks with one grey image each.
    """

    def __init__(self, scenario: str, hidden: tuple[int, ...] = (5,)) -> None:
        self.net = build_net(NetConfig(hidden=hidden), (1, 2, 2), Heads(scenario, (2, 2, 2)))
        self.method = methods.build("hnet_replay", self.net, HYPER)
        network = self.method.net
        self.params, self.old = (network.init(generator(k, "init")) for k in (0, 1))
        self.memory = self.method.begin(self.old)
        hypernet = generator_of(self.net, HYPER).hypernet
        for k, grey in enumerate(GREYS):
            hypernet.shaped(self.memory["decoders"][k])["2.bias"].copy_(grey.logit())
        rng = generator(0, "data")
        raw = torch.randint(0, 256, (4, 1, 2, 2), generator=rng).to(torch.uint8)
        self.y = torch.tensor([0, 1, 1, 0]) + self.net.heads.label_offset(2)
        drawn = self.method.phases[1].draw(rng, self.memory, 1, 4)
        self.batch = Batch(SCALE(raw), self.y, raw, SCALE, {"codes": drawn["codes"][0]})

    def loss(self, hyper: HnetReplayHyper = HYPER) -> Tensor:
        phase = methods.build("hnet_replay", self.net, hyper).phases[1]
        return phase.loss(self.params, self.memory, self.batch, 2)

    def replayed(self, task: int) -> Tensor:
        """What the decoder of a task generates, as the classifier sees it."""
        return SCALE(torch.full((1, 1, 2, 2), 255 * float(GREYS[task])))


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_loss_by_hand(scenario: str) -> None:
    """Heads and targets as documented; an old task counts by one image or by two alike."""
    parts = Parts(scenario)
    terms = []
    for k in range(2):
        x = parts.replayed(k)
        student = parts.net.apply(parts.params, x, k if scenario == "task" else 2)
        teacher = parts.net.apply(parts.old, x, k if scenario == "task" else 1)
        q = torch.zeros_like(student)
        q[:, : teacher.shape[1]] = (teacher / 2).softmax(1)
        terms.append(-(q * (student / 2).log_softmax(1)).sum())
    new = F.cross_entropy(parts.net.apply(parts.params, parts.batch.x, 2), parts.y)
    torch.testing.assert_close(parts.loss(), 0.7 * new + 0.3 * 4 * (terms[0] + terms[1]) / 2)
    assert student.shape[1] == (6 if scenario == "class" else 2)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_gradient_in_closed_form(scenario: str) -> None:
    """At the logits: (1 − w)(p − y)/B of the new images, w T (p_T − q_T)/N of the replayed."""
    parts = Parts(scenario, hidden=())
    head = "heads.{}.weight" if scenario == "task" else "head.weight"
    leaves = {n: v.clone().requires_grad_() for n, v in parts.params.items() if "head" in n}
    parts.params = {**parts.params, **leaves}
    grads = dict(
        zip(leaves, torch.autograd.grad(parts.loss(), list(leaves.values())), strict=True)
    )
    expected = {name: torch.zeros_like(g) for name, g in grads.items()}

    def add(x: Tensor, task: int, slope: Tensor) -> None:
        own = expected[head.format(task)]
        own[: slope.shape[1]] += slope.T @ x.flatten(1)

    x = parts.batch.x
    p = parts.net.apply(parts.params, x, 2).softmax(1).detach()
    y = F.one_hot(parts.y, p.shape[1])
    add(x, 2, 0.7 * (p - y) / 4)
    for k in range(2):
        x = parts.replayed(k)
        p = (parts.net.apply(parts.params, x, k if scenario == "task" else 2) / 2).softmax(1)
        q = torch.zeros_like(p)
        teacher = parts.net.apply(parts.old, x, k if scenario == "task" else 1)
        q[:, : teacher.shape[1]] = (teacher / 2).softmax(1)
        # Two of the four replayed images come from each decoder.
        add(x, k, 0.3 * 2 * (p - q).detach() / 2)
    for name in grads:
        if name.endswith("weight"):
            torch.testing.assert_close(grads[name], expected[name])


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_no_gradient_of_the_distillation_at_the_teacher(scenario: str) -> None:
    parts = Parts(scenario)
    teacher = parts.memory["teacher"]
    x = torch.cat([parts.replayed(0), parts.replayed(1)])
    for start, still in ((teacher, True), (parts.params, False)):
        leaves = {n: start[n].clone().requires_grad_() for n in teacher}
        value = hnet_replay._replay_loss(parts.net, leaves, teacher, x, 2.0, 2)
        grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        largest = max(float(g.abs().max()) for g in grads if g is not None)
        assert (largest < 1e-6) == still


def test_memory_is_the_classifier_and_the_decoders(sequences: dict[str, TaskSequence]) -> None:
    parts = Parts("class")
    data = LearntTask(sequences["class"].tasks[1], SCALE, None, 0, generator(0, "absorb"))
    memory = parts.method.absorb(parts.params, parts.memory, {}, data)
    plain = {n for n in parts.params if not n.startswith(GENERATOR)}
    assert memory["teacher"].keys() == plain == parts.net.init(generator(0, "init")).keys()
    assert all(torch.equal(memory["teacher"][n], parts.params[n]) for n in plain)
    held = without_prefix(parts.params, DECODERS)
    hypernet = generator_of(parts.net, HYPER).hypernet
    assert torch.equal(memory["decoders"][:2], hypernet.flat(held, range(2)))
    assert not memory["decoders"][2].any()


def test_phases_train_their_own_half() -> None:
    parts = Parts("class")
    halves = [set(p.open(parts.params, parts.memory, 1)) for p in parts.method.phases]
    assert not halves[0] & halves[1]
    assert parts.params.keys() - halves[0] - halves[1] == {
        f"{DECODERS}embeddings.{k}" for k in (0, 2)
    }
    assert halves[1] == {n for n in parts.params if not n.startswith(GENERATOR)}


def test_the_classifier_starts_from_the_shared_source(
    sequences: dict[str, TaskSequence],
) -> None:
    """On the first task the generator alone is trained, beside the source model as it is."""
    sequence = dataclasses.replace(sequences["class"], tasks=sequences["class"].tasks[:1])
    net = build_net(NetConfig(hidden=(6,)), sequence.input_shape, sequence.heads)
    training = TrainingConfig(steps=5)
    source = learn_source(net, sequence, training, 0)
    method = methods.build("hnet_replay", net, HYPER)
    found = learn_sequence(method, sequence, training, 0, source, {})
    assert all(torch.equal(found.params[n], value) for n, value in source.params.items())
    fresh = method.net.init(generator(0, "init"))
    assert not torch.equal(found.params[f"{DECODERS}chunks"], fresh[f"{DECODERS}chunks"])
    assert found.n_steps == 5
    n_hypernet = sum(v.numel() for v in without_prefix(found.params, DECODERS).values())
    n_decoder = generator_of(net, HYPER).hypernet.n_generated
    assert found.counters == {"decoder_compression_ratio": n_hypernet / n_decoder}


class ClassifierOnly(HnetReplayHyper):
    """Without the phases of the generator."""

    def phase_steps(self, n_steps: int) -> tuple[int, ...]:
        return (n_steps,)

    def first_steps(self, n_steps: int) -> tuple[int, ...]:
        return ()


def test_with_a_perfect_generator_it_approaches_joint(
    sequences: dict[str, TaskSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = sequences["class"]
    net = build_net(NetConfig(hidden=(40,)), sequence.input_shape, sequence.heads)
    training = TrainingConfig(optimizer="adam", lr=0.003, batch_size=30, steps=150)
    source = learn_source(net, sequence, training, 0)
    images = [task.train.raw(torch.arange(len(task.train))) for task in sequence.tasks]

    def real(self: object, stored: Tensor, codes: Tensor, n_past: int) -> Tensor:
        n_each = -(-(len(codes) - 4) // n_past)
        uniform = torch.special.ndtr(codes[: n_each * n_past, 0]).split(n_each)
        return torch.cat([x[(u * len(x)).long()] for x, u in zip(images, uniform, strict=False)])

    def accuracy(rows: list[tuple[int, int, str, int, int]]) -> float:
        last = [(n, total) for after, _, split, n, total in rows if after == 4 and split == "test"]
        return sum(n for n, _ in last) / sum(total for _, total in last)

    hyper = ClassifierOnly(**SMALL_GENERATOR)
    whole = methods.build("hnet_replay", net, hyper)
    perfect = dataclasses.replace(whole, phases=whole.phases[1:], first_phases=())
    joint = learn_joint(methods.build("joint", net, NoHyper()), sequence, training, 0)
    finetune = methods.build("finetune", net, NoHyper())
    plain = learn_sequence(finetune, sequence, training, 0, source, {})
    monkeypatch.setattr(type(generator_of(net, hyper)), "replayed", real)
    found = learn_sequence(perfect, sequence, training, 0, source, {})
    assert accuracy(plain.rows) < 0.3
    assert accuracy(found.rows) > accuracy(joint.rows) - 0.1
